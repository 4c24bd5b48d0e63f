/* A worker process: one thread, one event loop, its own limiter handle. */
#ifndef MAVERA_GATEWAY_WORKER_H
#define MAVERA_GATEWAY_WORKER_H

#include <mavera_rl.h>

#include "options.h"

/* Exit status of a worker that could not begin: a restart would not help. */
#define WORKER_UNABLE  3

/*
 * Serves until SIGTERM, SIGINT (both blocked by the caller) or the end of
 * `lifeline`, a pipe that the supervisor alone holds the other end of; then
 * finishes the requests in progress. One byte goes to `ready` when it begins
 * to serve; -1: to nobody. Closes all three descriptors and returns the
 * process's exit status.
 */
int worker_run(const struct options *options, const mavera_rl_plan *plan,
    int listen_fd, int lifeline, int ready);

#endif
