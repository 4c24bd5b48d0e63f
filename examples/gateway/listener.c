/*
 * SO_REUSEPORT, and not one socket that all workers accept from: of processes
 * that wait on one socket, the kernel wakes the same one first every time, so
 * that under little load a single worker does nearly all the work.
 *
 * A socket's queue outlives a worker, because the supervisor holds the socket
 * too: connections that wait in it when the worker is killed are served by
 * the replacement.
 */
#include "listener.h"

#include "log.h"

#include <errno.h>
#include <netdb.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define HOST_CAP  64
#define PORT_CAP  8

static bool set(int fd, int option)
{
    const int on = 1;

    return setsockopt(fd, SOL_SOCKET, option, &on, sizeof(on)) == 0;
}

/*
 * The first socket asks for SO_REUSEPORT only after it is bound. Had it asked
 * before, it could also join the port of a gateway that runs already, and
 * both would answer in turn; so that is an error, as it should be.
 */
static int listen_at(const struct addrinfo *at, bool first)
{
    int fd = socket(at->ai_family,
        at->ai_socktype | SOCK_NONBLOCK | SOCK_CLOEXEC, at->ai_protocol);

    if (fd < 0) {
        return -1;
    }
    /* Connections of the gateway that ran before may still be in TIME_WAIT. */
    if (!set(fd, SO_REUSEADDR)
        || (!first && !set(fd, SO_REUSEPORT))
        || bind(fd, at->ai_addr, at->ai_addrlen) != 0
        || (first && !set(fd, SO_REUSEPORT))
        || listen(fd, SOMAXCONN) != 0)
    {
        int error = errno;

        close(fd);
        errno = error;
        return -1;
    }
    return fd;
}

static int resolve(const char *address, const char *port,
    struct addrinfo **at)
{
    const struct addrinfo wanted = {
        .ai_flags = AI_NUMERICHOST | AI_NUMERICSERV | AI_PASSIVE,
        .ai_socktype = SOCK_STREAM
    };
    int rc = getaddrinfo(address, port, &wanted, at);

    if (rc != 0) {
        log_line("address %s, port %s: %s", address, port, gai_strerror(rc));
        return -1;
    }
    return 0;
}

/* Where a socket is bound, as text. */
static int bound_to(int fd, char host[HOST_CAP], char port[PORT_CAP])
{
    struct sockaddr_storage bound;
    socklen_t               len = sizeof(bound);

    return getsockname(fd, (struct sockaddr *) &bound, &len) == 0
        && getnameinfo((struct sockaddr *) &bound, len, host, HOST_CAP,
            port, PORT_CAP, NI_NUMERICHOST | NI_NUMERICSERV) == 0 ? 0 : -1;
}

static int open_all(const char *address, const char *port, int fds[],
    size_t count, char *url, size_t cap)
{
    char             host[HOST_CAP];
    char             number[PORT_CAP];
    struct addrinfo *at;
    bool             v6;

    if (resolve(address, port, &at) != 0) {
        return -1;
    }
    v6 = at->ai_family == AF_INET6;
    fds[0] = listen_at(at, true);
    freeaddrinfo(at);
    if (fds[0] < 0 || bound_to(fds[0], host, number) != 0) {
        log_line("cannot listen on %s, port %s: %s", address, port,
            strerror(errno));
        return -1;
    }
    (void) snprintf(url, cap, "http://%s%s%s:%s", v6 ? "[" : "", host,
        v6 ? "]" : "", number);

    /* The others on what the first one got. */
    if (resolve(address, number, &at) != 0) {
        return -1;
    }
    for (size_t i = 1; i < count; i++) {
        fds[i] = listen_at(at, false);
        if (fds[i] < 0) {
            log_line("cannot listen on %s again: %s", url, strerror(errno));
            break;
        }
    }
    freeaddrinfo(at);
    return fds[count - 1] < 0 ? -1 : 0;
}

int listeners_open(const char *address, const char *port, int fds[],
    size_t count, char *url, size_t cap)
{
    for (size_t i = 0; i < count; i++) {
        fds[i] = -1;
    }
    if (open_all(address, port, fds, count, url, cap) != 0) {
        listeners_close(fds, count);
        return -1;
    }
    return 0;
}

void listeners_close(int fds[], size_t count)
{
    for (size_t i = 0; i < count; i++) {
        if (fds[i] >= 0) {
            close(fds[i]);
            fds[i] = -1;
        }
    }
}
