/*
 * Each worker has a listening socket, which the supervisor holds too: a killed
 * worker's queue waits for its replacement. The supervisor never opens the
 * limiter's region and serves no request, so it has little to fail with.
 *
 * A worker that dies soon after its start is started again later and later,
 * so that a fault which kills every worker does not turn into a fork loop.
 */
#include "supervisor.h"

#include "clock.h"
#include "listener.h"
#include "log.h"
#include "worker.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/signalfd.h>
#include <sys/wait.h>
#include <unistd.h>

/* A worker that lived this long is replaced at once. Otherwise the delay
 * begins at DELAY_MIN_MS and doubles up to DELAY_MAX_MS. */
#define LIVED_MS      1000
#define DELAY_MIN_MS  100
#define DELAY_MAX_MS  2000

/* Longer than any worker takes to stop by itself; then it is killed. */
#define STOP_MS       15000

#define URL_CAP       128

struct slot {
    pid_t    pid;       /* 0: no process */
    int64_t  since;     /* when it was started */
    int64_t  due;       /* when to start the next */
    int      delay;     /* the last delay, ms */
};

struct supervisor {
    const struct options *options;
    const mavera_rl_plan *plan;
    struct slot           slots[WORKERS_MAX];
    int                   listen_fds[WORKERS_MAX];  /* a slot's, or -1 */
    int                   signal_fd;
    int                   lifeline[2];  /* its end tells workers of ours */
    int                   ready[2];     /* a byte from each first worker */
    unsigned              unready;      /* those still to come */
    bool                  stopping;
    bool                  pid_written;
    bool                  failed;
    int64_t               kill_at;      /* when stopping takes too long */
    char                  url[URL_CAP];
};

enum after_fork { IN_SUPERVISOR, IN_WORKER };

static void shut(int *fd)
{
    if (*fd >= 0) {
        close(*fd);
        *fd = -1;
    }
}

static void shut_all(struct supervisor *self)
{
    listeners_close(self->listen_fds, self->options->workers);
    shut(&self->signal_fd);
    shut(&self->lifeline[0]);
    shut(&self->lifeline[1]);
    shut(&self->ready[0]);
    shut(&self->ready[1]);
}

/* In a worker, `status` is its exit status. */
static enum after_fork start(struct supervisor *self, struct slot *slot,
    int *status)
{
    pid_t pid = fork();

    if (pid == 0) {
        int *listener = &self->listen_fds[slot - self->slots];
        int listen_fd = *listener;
        int lifeline = self->lifeline[0];
        int ready = self->ready[1];

        /* The lifeline's other end above all: while any worker held it too,
         * no worker would see the supervisor go. */
        *listener = self->lifeline[0] = self->ready[1] = -1;
        shut_all(self);
        *status = worker_run(self->options, self->plan, listen_fd, lifeline,
            ready);
        return IN_WORKER;
    }
    slot->since = now_ms();
    if (pid < 0) {
        log_line("fork: %s", strerror(errno));
        slot->delay = DELAY_MAX_MS;
        slot->due = slot->since + slot->delay;
    } else {
        slot->pid = pid;
    }
    return IN_SUPERVISOR;
}

static void stop(struct supervisor *self)
{
    if (self->stopping) {
        return;
    }
    self->stopping = true;
    listeners_close(self->listen_fds, self->options->workers);
    self->kill_at = now_ms() + STOP_MS;
    for (unsigned i = 0; i < self->options->workers; i++) {
        if (self->slots[i].pid > 0) {
            (void) kill(self->slots[i].pid, SIGTERM);
        }
    }
}

/* Says how a worker ended, unless it was asked to and did. */
static void report(const struct supervisor *self, pid_t pid, int status)
{
    if (WIFSIGNALED(status)) {
        log_line("worker %ld was killed by signal %d", (long) pid,
            WTERMSIG(status));
    } else if (WEXITSTATUS(status) != 0 || !self->stopping) {
        log_line("worker %ld exited with status %d", (long) pid,
            WEXITSTATUS(status));
    }
}

static void ended(struct supervisor *self, struct slot *slot, int status)
{
    int64_t now = now_ms();

    report(self, slot->pid, status);
    slot->pid = 0;
    if (self->stopping) {
        self->failed = self->failed || !WIFEXITED(status)
            || WEXITSTATUS(status) != EXIT_SUCCESS;
        return;
    }
    /* What a first worker cannot open, none can. Later it may be a passing
     * want of memory or descriptors, and others are still serving. */
    if (self->unready > 0 && WIFEXITED(status)
        && WEXITSTATUS(status) == WORKER_UNABLE)
    {
        self->failed = true;
        stop(self);
        return;
    }
    if (now - slot->since >= LIVED_MS) {
        slot->delay = 0;
    } else if (slot->delay == 0) {
        slot->delay = DELAY_MIN_MS;
    } else {
        slot->delay *= 2;
        slot->delay = slot->delay < DELAY_MAX_MS ? slot->delay : DELAY_MAX_MS;
    }
    slot->due = now + slot->delay;
}

static void reap(struct supervisor *self)
{
    pid_t pid;
    int   status;

    while ((pid = waitpid(-1, &status, WNOHANG)) > 0) {
        for (unsigned i = 0; i < self->options->workers; i++) {
            if (self->slots[i].pid == pid) {
                ended(self, &self->slots[i], status);
            }
        }
    }
}

/* Signals may have come together: Ctrl-C reaches the workers too, and their
 * end must not look like a death. So stop first, then reap. */
static void read_signals(struct supervisor *self)
{
    struct signalfd_siginfo info;
    bool                    stopping = false;

    while (read(self->signal_fd, &info, sizeof(info)) == sizeof(info)) {
        stopping = stopping || info.ssi_signo != SIGCHLD;
    }
    if (stopping) {
        stop(self);
    }
    reap(self);
}

static void announce(struct supervisor *self)
{
    const char *path = self->options->pid_file;
    FILE       *file;
    bool        written;

    if (path != NULL) {
        file = fopen(path, "we");
        written = file != NULL
            && fprintf(file, "%ld\n", (long) getpid()) > 0;
        /* Only closing it tells whether the disk took it. */
        if (file != NULL && fclose(file) != 0) {
            written = false;
        }
        if (!written) {
            log_line("cannot write %s: %s", path, strerror(errno));
            self->failed = true;
            stop(self);
            return;
        }
        self->pid_written = true;
    }
    printf("mavera-gateway: %s, workers %u, supervisor %ld\n", self->url,
        self->options->workers, (long) getpid());
    fflush(stdout);
}

static void read_ready(struct supervisor *self)
{
    char    bytes[WORKERS_MAX];
    ssize_t got = read(self->ready[0], bytes, sizeof(bytes));

    if (got <= 0) {
        return;
    }
    self->unready -= (unsigned) got < self->unready ? (unsigned) got
        : self->unready;
    if (self->unready == 0) {
        shut(&self->ready[0]);
        shut(&self->ready[1]);
        if (!self->stopping) {
            announce(self);
        }
    }
}

/* Starts what is due. Sets `wait` to the milliseconds until the next is, or
 * until stopping takes too long; -1: neither. */
static enum after_fork start_due(struct supervisor *self, int *wait,
    int *status)
{
    int64_t next = self->stopping ? self->kill_at : -1;
    int64_t now = now_ms();

    for (unsigned i = 0; i < self->options->workers; i++) {
        struct slot *slot = &self->slots[i];

        if (slot->pid != 0 || self->stopping) {
            continue;
        }
        if (slot->due <= now
            && start(self, slot, status) == IN_WORKER)
        {
            return IN_WORKER;
        }
        if (slot->pid == 0 && (next < 0 || slot->due < next)) {
            next = slot->due;
        }
    }
    *wait = next < 0 ? -1 : next > now ? (int) (next - now) : 0;
    return IN_SUPERVISOR;
}

static bool any_left(const struct supervisor *self)
{
    for (unsigned i = 0; i < self->options->workers; i++) {
        if (self->slots[i].pid > 0) {
            return true;
        }
    }
    return false;
}

static void kill_late(struct supervisor *self)
{
    for (unsigned i = 0; i < self->options->workers; i++) {
        if (self->slots[i].pid > 0) {
            log_line("worker %ld does not stop; killing it",
                (long) self->slots[i].pid);
            (void) kill(self->slots[i].pid, SIGKILL);
        }
    }
    self->kill_at = now_ms() + STOP_MS;
}

static enum after_fork loop(struct supervisor *self, int *status)
{
    int wait;

    while (!self->stopping || any_left(self)) {
        struct pollfd events[] = {
            { .fd = self->signal_fd, .events = POLLIN },
            /* poll ignores a descriptor of -1 */
            { .fd = self->ready[0],  .events = POLLIN }
        };

        if (start_due(self, &wait, status) == IN_WORKER) {
            return IN_WORKER;
        }
        (void) poll(events, 2, wait);
        /* Who is ready before who has died: a worker can do both. */
        if (events[1].revents != 0) {
            read_ready(self);
        }
        read_signals(self);
        if (self->stopping && now_ms() >= self->kill_at) {
            kill_late(self);
        }
    }
    *status = self->failed ? EXIT_FAILURE : EXIT_SUCCESS;
    return IN_SUPERVISOR;
}

static int prepare(struct supervisor *self)
{
    sigset_t set;

    /* Blocked before the first fork, so that no process ever misses one. */
    sigemptyset(&set);
    sigaddset(&set, SIGTERM);
    sigaddset(&set, SIGINT);
    sigaddset(&set, SIGCHLD);
    if (sigprocmask(SIG_BLOCK, &set, NULL) != 0
        || signal(SIGPIPE, SIG_IGN) == SIG_ERR
        || pipe2(self->lifeline, O_CLOEXEC) != 0
        || pipe2(self->ready, O_CLOEXEC) != 0
        || (self->signal_fd = signalfd(-1, &set,
            SFD_CLOEXEC | SFD_NONBLOCK)) < 0)
    {
        log_line("cannot prepare: %s", strerror(errno));
        return -1;
    }
    return listeners_open(self->options->bind, self->options->port,
        self->listen_fds, self->options->workers, self->url,
        sizeof(self->url));
}

int supervise(const struct options *options, const mavera_rl_plan *plan)
{
    struct supervisor self = {
        .options = options, .plan = plan, .unready = options->workers,
        .signal_fd = -1, .lifeline = { -1, -1 }, .ready = { -1, -1 }
    };
    enum after_fork where = IN_SUPERVISOR;
    int             status = EXIT_FAILURE;

    for (unsigned i = 0; i < options->workers; i++) {
        self.listen_fds[i] = -1;
    }
    if (prepare(&self) == 0) {
        where = loop(&self, &status);
    }
    if (where == IN_SUPERVISOR && self.pid_written) {
        (void) unlink(options->pid_file);
    }
    shut_all(&self);
    return status;
}
