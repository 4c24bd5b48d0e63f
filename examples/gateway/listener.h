/* The listening sockets: one for each worker, all on the same port. */
#ifndef MAVERA_GATEWAY_LISTENER_H
#define MAVERA_GATEWAY_LISTENER_H

#include <stddef.h>

/*
 * Listens `count` times on a numeric address and a decimal port; the kernel
 * spreads connections evenly over the sockets. Writes the URL they can be
 * reached at, with the port that port 0 became.
 *
 * 0 on success. -1 on failure, after logging it and closing what was opened.
 */
int listeners_open(const char *address, const char *port, int fds[],
    size_t count, char *url, size_t cap);

void listeners_close(int fds[], size_t count);

#endif
