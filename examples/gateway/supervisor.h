/* The supervisor: binds the socket, keeps the workers alive, ends them. */
#ifndef MAVERA_GATEWAY_SUPERVISOR_H
#define MAVERA_GATEWAY_SUPERVISOR_H

#include <mavera_rl.h>

#include "options.h"

/*
 * Returns the process's exit status: in the supervisor when all workers have
 * ended, and in each worker when that one ends, so that both leave through
 * the caller's clean-up.
 */
int supervise(const struct options *options, const mavera_rl_plan *plan);

#endif
