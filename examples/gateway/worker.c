#include "worker.h"

#include "clock.h"
#include "gateway.h"
#include "log.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/select.h>
#include <sys/signalfd.h>
#include <unistd.h>

/* How long a stopping worker waits: for requests in progress, and for clients
 * that have connected but not asked yet (they may just be about to). */
#define DRAIN_MS         10000
#define DRAIN_SILENT_MS  500

/* A region's longest window, unless it is asked for another. */
#define DEFAULT_MAX_WINDOW_MS 60000

/* Connections still taken from the queue by a stopping worker, in rounds of a
 * few each, before it leaves the rest to the kernel. */
#define LAST_ROUNDS      100

struct worker {
    struct gateway     gateway;
    struct MHD_Daemon *daemon;
    int                signal_fd;
    int                lifeline;
};

static bool readable(int fd)
{
    struct pollfd event = { .fd = fd, .events = POLLIN };

    return poll(&event, 1, 0) > 0;
}

/* When MHD must run again, or `most`, as select wants it; -1 and no timeout
 * of MHD: NULL, for ever. */
static struct timeval *timeout(struct MHD_Daemon *daemon, int64_t most,
    struct timeval *out)
{
    MHD_UNSIGNED_LONG_LONG ms;

    if (MHD_get_timeout(daemon, &ms) == MHD_YES
        && (most < 0 || ms < (MHD_UNSIGNED_LONG_LONG) most))
    {
        most = (int64_t) ms;
    }
    if (most < 0) {
        return NULL;
    }
    *out = (struct timeval) {
        .tv_sec = (time_t) (most / 1000),
        .tv_usec = (suseconds_t) (most % 1000 * 1000)
    };
    return out;
}

static void watch(int fd, fd_set *reads, int *max)
{
    FD_SET(fd, reads);
    *max = fd > *max ? fd : *max;
}

/*
 * Waits until there is something to do, at most `most` milliseconds (-1: for
 * ever), and does it. `*stop` becomes true when the worker is to stop; NULL:
 * it knows.
 *
 * select, because MHD 0.9.75 offers only it and edge-triggered epoll to a
 * loop of one's own, and with the latter overlooks that a client has gone if
 * its last bytes came together with the close.
 */
static bool turn(struct worker *worker, int64_t most, bool *stop)
{
    fd_set         reads, writes, excepts;
    struct timeval tv;
    int            max = -1;
    int64_t        next = gateway_wake(&worker->gateway, worker->daemon);

    if (next >= 0 && (most < 0 || next < most)) {
        most = next;
    }
    FD_ZERO(&reads);
    FD_ZERO(&writes);
    FD_ZERO(&excepts);
    if (MHD_get_fdset2(worker->daemon, &reads, &writes, &excepts, &max,
        FD_SETSIZE) != MHD_YES)
    {
        log_line("the HTTP server has no descriptors");
        return false;
    }
    if (stop != NULL) {
        watch(worker->signal_fd, &reads, &max);
        watch(worker->lifeline, &reads, &max);
    }
    if (select(max + 1, &reads, &writes, &excepts,
        timeout(worker->daemon, most, &tv)) < 0)
    {
        /* No signal is handled here, so not even EINTR can be. */
        log_line("select: %s", strerror(errno));
        return false;
    }
    if (MHD_run_from_select(worker->daemon, &reads, &writes, &excepts)
        != MHD_YES)
    {
        log_line("the HTTP server failed");
        return false;
    }
    if (stop != NULL && FD_ISSET(worker->signal_fd, &reads)) {
        *stop = true;
    }
    /* Nothing is ever written to it: the supervisor is gone. Whoever starts
     * the gateway again must find the port free. */
    if (stop != NULL && FD_ISSET(worker->lifeline, &reads)) {
        log_line("the supervisor is gone; stopping");
        *stop = true;
    }
    return true;
}

/* Whether it returned because it was to stop. */
static bool serve(struct worker *worker)
{
    bool stop = false;

    while (!stop) {
        if (!turn(worker, -1, &stop)) {
            return false;
        }
    }
    return true;
}

/*
 * Stops accepting and closes `listen_fd`, then waits for what it took. A connection that is
 * kept alive without a request on it is closed, as its client must expect.
 */
static void drain(struct worker *worker, int listen_fd)
{
    struct gateway *gateway = &worker->gateway;
    int64_t         begun = now_ms();
    int64_t         left;

    gateway->draining = true;
    for (int i = 0; i < LAST_ROUNDS && readable(listen_fd); i++) {
        if (!turn(worker, 0, NULL)) {
            break;
        }
    }
    /* Closed at once: as long as it listens, the kernel lets clients connect
     * whom nobody would answer. */
    (void) MHD_quiesce_daemon(worker->daemon);
    close(listen_fd);

    while (gateway->in_progress > 0 || gateway->silent > 0) {
        left = begun - now_ms()
            + (gateway->in_progress > 0 ? DRAIN_MS : DRAIN_SILENT_MS);
        if (left <= 0 || !turn(worker, left, NULL)) {
            break;
        }
    }
    if (gateway->in_progress > 0) {
        log_line("gave up on %u requests", gateway->in_progress);
    }
}

static int watch_signals(void)
{
    sigset_t set;

    sigemptyset(&set);
    sigaddset(&set, SIGTERM);
    sigaddset(&set, SIGINT);
    return signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
}

/* The longest window the region has to serve, 0 for the default. */
static uint32_t max_window_ms(const struct options *options,
    const mavera_rl_plan *plan)
{
    uint32_t longest = mavera_rl_plan_max_window_ms(plan);

    if (options->max_window_ms != 0) {
        return options->max_window_ms;
    }
    return longest > DEFAULT_MAX_WINDOW_MS ? longest : 0;
}

static int open_limiter(const struct options *options,
    const mavera_rl_plan *plan, mavera_rl **limiter)
{
    /* What is 0 is the default of a new region, and whatever an existing one
     * has. Given values must be those of an existing one. */
    const mavera_rl_options asked = {
        .size = sizeof(asked),
        .keys = options->keys,
        .max_window_ms = max_window_ms(options, plan)
    };
    int rc = mavera_rl_open(options->region, &asked, limiter);

    if (rc != 0) {
        log_limiter_error("cannot open the rate limiter's region", rc);
    }
    return rc;
}

int worker_run(const struct options *options, const mavera_rl_plan *plan,
    int listen_fd, int lifeline, int ready)
{
    struct worker worker = {
        .gateway = { .plan = plan, .flavour = options->flavour },
        .signal_fd = -1,
        .lifeline = lifeline
    };
    int status = WORKER_UNABLE;

    /*
     * By its path, and after the fork: every worker is a process of its own
     * to the limiter, exactly as if it had been started separately. They find
     * the same region, so they share the same limits.
     */
    if (open_limiter(options, plan, &worker.gateway.limiter) != 0) {
        goto done;
    }
    worker.signal_fd = watch_signals();
    if (worker.signal_fd < 0) {
        log_line("signalfd: %s", strerror(errno));
        goto done;
    }
    worker.daemon = gateway_start(&worker.gateway, listen_fd);
    if (worker.daemon == NULL) {
        goto done;
    }
    if (ready >= 0) {
        /* Whom it tells may have been killed; then the lifeline says so. */
        ssize_t told = write(ready, "", 1);

        (void) told;
        close(ready);
        ready = -1;
    }
    status = serve(&worker) ? EXIT_SUCCESS : EXIT_FAILURE;
    drain(&worker, listen_fd);
    listen_fd = -1;
    /* The daemon must not be stopped with connections suspended. */
    gateway_wake_all(&worker.gateway, worker.daemon);
    MHD_stop_daemon(worker.daemon);

done:
    /* The file stays, and what is counted in it: the next worker that opens
     * it goes on from there. */
    mavera_rl_close(worker.gateway.limiter);
    if (worker.signal_fd >= 0) {
        close(worker.signal_fd);
    }
    if (ready >= 0) {
        close(ready);
    }
    if (listen_fd >= 0) {
        close(listen_fd);
    }
    close(lifeline);
    return status;
}
