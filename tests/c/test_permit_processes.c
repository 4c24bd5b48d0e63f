/* Permits of several processes on one file: forks, deaths, stops, closes. */
#include "support.h"

#include <sched.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#define CLASS    7
#define SOON_MS  500    /* within which a dead process's permits are free */

static char dir[64];

static mavera_rl *file_region(uint32_t clock)
{
    mavera_rl_options  opts = caller_options(16);
    mavera_rl         *rl = NULL;

    opts.clock = clock;
    CHECK_INT(mavera_rl_open(path_in(dir, "region"), &opts, &rl), 0);
    return rl;
}

static void remove_region(void)
{
    CHECK_INT(unlink(path_in(dir, "region")), 0);
}

/* Whether a permit is to be had before SOON_MS are over: its owner may have
 * been found alive a moment ago. */
static int take_soon(mavera_rl *rl, const char *key, uint32_t max,
    mavera_rl_permit *out)
{
    uint64_t start = milliseconds();

    while (take_permit(rl, key, CLASS, max, out) != 0) {
        if (milliseconds() - start >= SOON_MS) {
            return 0;
        }
        sched_yield();
    }
    return 1;
}

/* Forks a child that takes `count` permits of "key", says so and waits until
 * `go_on` can be read, releases them and ends with 0 if all were its own. */
static pid_t holder(mavera_rl *rl, unsigned count, uint32_t max, int go_on[2])
{
    int    told[2];
    pid_t  child;
    char   byte = 0;

    if (pipe(told) != 0 || pipe(go_on) != 0) {
        return -1;
    }
    fflush(stdout);
    child = fork();
    if (child == 0) {
        mavera_rl_permit  held[16];
        int               wrong = 0;

        alarm(60);
        close(told[0]);
        close(go_on[1]);
        for (unsigned i = 0; i < count; i++) {
            wrong += take_permit(rl, "key", CLASS, max, &held[i]) != 0;
        }
        if (wrong != 0 || write(told[1], "!", 1) != 1
            || read(go_on[0], &byte, 1) != 1)
        {
            _exit(1);
        }
        for (unsigned i = 0; i < count; i++) {
            wrong += mavera_rl_release(rl, held[i]) != 0;
        }
        _exit(wrong != 0);
    }
    close(told[1]);
    close(go_on[0]);
    CHECK(child > 0 && read(told[0], &byte, 1) == 1);
    close(told[0]);
    return child;
}

static void kill_child(pid_t child)
{
    int status = 0;

    CHECK_INT(kill(child, SIGKILL), 0);
    CHECK_INT(waitpid(child, &status, 0), child);
    CHECK(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
}

static unsigned meddle(unsigned child, void *data)
{
    const mavera_rl_permit  *permit = data;
    mavera_rl               *rl = file_region(MAVERA_RL_CLOCK_PRECISE);
    mavera_rl_permit         other;
    unsigned                 right;

    (void) child;
    right = rl != NULL
        && mavera_rl_release(rl, *permit) == MAVERA_RL_NOT_HELD
        && in_flight_of(rl, "key", CLASS) == 1
        && take_permit(rl, "key", CLASS, 1, &other) == MAVERA_RL_BUSY
        && mavera_rl_release(rl, *permit) == MAVERA_RL_NOT_HELD;
    mavera_rl_close(rl);
    return right;
}

struct inherited {
    mavera_rl         *rl;
    mavera_rl_permit   permit;
};

static unsigned meddle_inherited(unsigned child, void *data)
{
    struct inherited  *inherited = data;
    mavera_rl_permit   other;
    char               key[16];
    unsigned           right;

    snprintf(key, sizeof(key), "child-%u", child);
    right = mavera_rl_release(inherited->rl, inherited->permit)
            == MAVERA_RL_NOT_HELD
        && take_permit(inherited->rl, "key", CLASS, 1, &other)
            == MAVERA_RL_BUSY
        && take_permit(inherited->rl, key, CLASS, 1, &other) == 0
        /* Now that it is registered too. */
        && mavera_rl_release(inherited->rl, inherited->permit)
            == MAVERA_RL_NOT_HELD;
    if (child % 2 == 0) {
        mavera_rl_close(inherited->rl);
    }
    return right;
}

static void a_parents_permits_stay_its_own(void)
{
    struct inherited  inherited;
    mavera_rl_permit  other;

    inherited.rl = file_region(MAVERA_RL_CLOCK_PRECISE);
    REQUIRE(inherited.rl != NULL);
    CHECK_INT(take_permit(inherited.rl, "key", CLASS, 1, &inherited.permit),
        0);
    CHECK_INT(in_children(4, meddle_inherited, &inherited), 4);
    CHECK_INT(in_children(4, meddle, &inherited.permit), 4);
    CHECK_INT(take_permit(inherited.rl, "key", CLASS, 1, &other),
        MAVERA_RL_BUSY);
    CHECK_INT(mavera_rl_release(inherited.rl, inherited.permit), 0);
    /* What the children did not give back is free, closed or not. */
    CHECK(take_soon(inherited.rl, "child-0", 1, &other));
    CHECK(take_soon(inherited.rl, "child-1", 1, &other));
    mavera_rl_close(inherited.rl);
    remove_region();
}

static void a_killed_childs_permits_are_free_soon(void)
{
    static const uint32_t clocks[] = {
        MAVERA_RL_CLOCK_PRECISE, MAVERA_RL_CLOCK_COARSE,
        MAVERA_RL_CLOCK_CALLER,
    };

    for (int c = 0; c < 3; c++) {
        mavera_rl         *rl = file_region(clocks[c]);
        mavera_rl_permit   permits[3], refused;
        int                go_on[2];
        pid_t              child;

        REQUIRE(rl != NULL);
        child = holder(rl, 2, 3, go_on);
        REQUIRE(child > 0);
        CHECK_INT(in_flight_of(rl, "key", CLASS), 2);
        CHECK_INT(take_permit(rl, "key", CLASS, 2, &refused),
            MAVERA_RL_BUSY);
        CHECK_INT(take_permit(rl, "key", CLASS, 3, &permits[2]), 0);
        CHECK_INT(take_permit(rl, "key", CLASS, 3, &refused),
            MAVERA_RL_BUSY);
        kill_child(child);
        CHECK(take_soon(rl, "key", 3, &permits[0]));
        CHECK_INT(take_permit(rl, "key", CLASS, 3, &permits[1]), 0);
        /* Only the dead one's. */
        CHECK_INT(take_permit(rl, "key", CLASS, 3, &refused),
            MAVERA_RL_BUSY);
        for (int i = 0; i < 3; i++) {
            CHECK_INT(mavera_rl_release(rl, permits[i]), 0);
        }
        close(go_on[1]);
        mavera_rl_close(rl);
        remove_region();
    }
}

static void a_stopped_childs_permits_stay(void)
{
    mavera_rl         *rl = file_region(MAVERA_RL_CLOCK_PRECISE);
    mavera_rl_permit   permit;
    int                go_on[2], status = 0;
    unsigned           taken = 0;
    uint64_t           start;
    pid_t              child;

    REQUIRE(rl != NULL);
    child = holder(rl, 1, 1, go_on);
    REQUIRE(child > 0);
    CHECK_INT(kill(child, SIGSTOP), 0);
    CHECK_INT(waitpid(child, &status, WUNTRACED), child);
    CHECK(WIFSTOPPED(status));
    start = milliseconds();
    while (milliseconds() - start < 200) {
        taken += take_permit(rl, "key", CLASS, 1, &permit)
            != MAVERA_RL_BUSY;
    }
    CHECK_INT(taken, 0);
    CHECK_INT(kill(child, SIGCONT), 0);
    CHECK_INT(write(go_on[1], "!", 1), 1);
    CHECK_INT(waitpid(child, &status, 0), child);
    CHECK_INT(status, 0);
    CHECK_INT(take_permit(rl, "key", CLASS, 1, &permit), 0);
    close(go_on[1]);
    mavera_rl_close(rl);
    remove_region();
}

static void closing_gives_back_permits_at_once(void)
{
    mavera_rl         *one = file_region(MAVERA_RL_CLOCK_PRECISE);
    mavera_rl         *other = file_region(MAVERA_RL_CLOCK_PRECISE);
    mavera_rl_permit   lost, permit;

    REQUIRE(one != NULL && other != NULL);
    CHECK_INT(take_permit(one, "key", CLASS, 2, &lost), 0);
    CHECK_INT(take_permit(one, "key", CLASS, 2, &lost), 0);
    CHECK_INT(take_permit(other, "key", CLASS, 2, &permit), MAVERA_RL_BUSY);
    /* A permit is the handle's that took it. */
    CHECK_INT(mavera_rl_release(other, lost), MAVERA_RL_NOT_HELD);
    CHECK_INT(in_flight_of(other, "key", CLASS), 2);
    mavera_rl_close(one);
    CHECK_INT(in_flight_of(other, "key", CLASS), 0);
    CHECK_INT(take_permit(other, "key", CLASS, 2, &permit), 0);
    CHECK_INT(mavera_rl_release(other, lost), MAVERA_RL_NOT_HELD);
    CHECK_INT(take_permit(other, "key", CLASS, 2, &permit), 0);
    CHECK_INT(take_permit(other, "key", CLASS, 2, &permit), MAVERA_RL_BUSY);
    mavera_rl_close(other);
    remove_region();
}

static unsigned use_a_copy(unsigned child, void *data)
{
    struct inherited  *inherited = data;
    mavera_rl_permit   permit, refused;
    unsigned           right;

    right = mavera_rl_release(inherited->rl, inherited->permit)
            == MAVERA_RL_NOT_HELD
        && take_permit(inherited->rl, "key", CLASS, 1, &permit) == 0
        && take_permit(inherited->rl, "key", CLASS, 1, &refused)
            == MAVERA_RL_BUSY;
    if (child % 2 == 0) {
        mavera_rl_close(inherited->rl);
    }
    return right;
}

static void in_a_childs_copy_of_a_private_region_nothing_is_in_flight(void)
{
    mavera_rl_options  opts = caller_options(16);
    size_t             need = mavera_rl_region_size(&opts);
    void              *memory = malloc(need);

    REQUIRE(memory != NULL);
    for (int own = 0; own < 2; own++) {
        struct inherited  inherited = { NULL, { 0, 0 } };
        mavera_rl_permit  refused;

        CHECK_INT(own ? mavera_rl_init(memory, need, &opts, &inherited.rl)
            : mavera_rl_open(NULL, &opts, &inherited.rl), 0);
        REQUIRE(inherited.rl != NULL);
        CHECK_INT(take_permit(inherited.rl, "key", CLASS, 1,
            &inherited.permit), 0);
        CHECK_INT(in_children(2, use_a_copy, &inherited), 2);
        CHECK_INT(take_permit(inherited.rl, "key", CLASS, 1, &refused),
            MAVERA_RL_BUSY);
        CHECK_INT(mavera_rl_release(inherited.rl, inherited.permit), 0);
        mavera_rl_close(inherited.rl);
    }
    free(memory);
}

#define MOST  3

static unsigned take_and_give_back(unsigned child, void *data)
{
    atomic_uint       *holders = data;
    mavera_rl         *rl = file_region(MAVERA_RL_CLOCK_PRECISE);
    mavera_rl_permit   permit;
    unsigned           wrong = 0;

    (void) child;
    for (int i = 0; i < 20000 && rl != NULL; i++) {
        int rc = take_permit(rl, "key", CLASS, MOST, &permit);

        wrong += rc != 0 && rc != MAVERA_RL_BUSY;
        if (rc == 0) {
            wrong += atomic_fetch_add(holders, 1) >= MOST;
            atomic_fetch_sub(holders, 1);
            wrong += mavera_rl_release(rl, permit) != 0;
        }
    }
    mavera_rl_close(rl);
    return wrong + (rl == NULL);
}

static void many_processes_never_hold_more_than_there_are(void)
{
    mavera_rl    *rl = file_region(MAVERA_RL_CLOCK_PRECISE);
    atomic_uint  *holders = mmap(NULL, sizeof(*holders),
        PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);

    REQUIRE(rl != NULL && holders != MAP_FAILED);
    atomic_init(holders, 0);
    CHECK_INT(in_children(8, take_and_give_back, holders), 0);
    CHECK_INT(in_flight_of(rl, "key", CLASS), 0);
    munmap(holders, sizeof(*holders));
    mavera_rl_close(rl);
    remove_region();
}

static void options_of_permits_must_be_those_of_the_file(void)
{
    mavera_rl_options  opts = caller_options(16);
    mavera_rl         *first = NULL, *rl, *const none = (mavera_rl *) &rl;

    opts.permit_keys = 100;
    opts.permit_cells = 24;
    CHECK_INT(mavera_rl_open(path_in(dir, "region"), &opts, &first), 0);
    REQUIRE(first != NULL);
    opts.permit_cells = 32;
    rl = none;
    CHECK_INT(mavera_rl_open(path_in(dir, "region"), &opts, &rl),
        MAVERA_RL_EMISMATCH);
    CHECK(strstr(last_error(), "permit_cells") != NULL);
    CHECK(strstr(last_error(), "24") != NULL);
    CHECK(strstr(last_error(), "32") != NULL);
    opts.permit_cells = 24;
    opts.permit_keys = 5000;
    CHECK_INT(mavera_rl_open(path_in(dir, "region"), &opts, &rl),
        MAVERA_RL_EMISMATCH);
    CHECK(strstr(last_error(), "permit_keys") != NULL);
    CHECK(rl == none);
    /* Zero: whatever it has. */
    opts.permit_keys = 0;
    opts.permit_cells = 0;
    CHECK_INT(mavera_rl_open(path_in(dir, "region"), &opts, &rl), 0);
    CHECK_INT(stats_of(rl).permit_cells, 24);
    CHECK_INT(stats_of(rl).permit_capacity, stats_of(first).permit_capacity);
    mavera_rl_close(rl);
    mavera_rl_close(first);
    remove_region();
}

static void a_closed_handle_leaves_no_descriptor_behind(void)
{
    unsigned before = files_in("/proc/self/fd");

    if (before == 0) {
        SKIP("there is no /proc");
    }
    for (int i = 0; i < 50; i++) {
        mavera_rl         *rl = file_region(MAVERA_RL_CLOCK_PRECISE);
        mavera_rl_permit   permit;

        REQUIRE(rl != NULL);
        CHECK_INT(take_permit(rl, "key", CLASS, 1, &permit), 0);
        mavera_rl_close(rl);
    }
    CHECK_INT(files_in("/proc/self/fd"), before);
    remove_region();
}

void run_permit_processes(void);
void run_permit_processes(void)
{
    make_directory(dir);
    RUN(a_parents_permits_stay_its_own);
    RUN(a_killed_childs_permits_are_free_soon);
    RUN(a_stopped_childs_permits_stay);
    RUN(closing_gives_back_permits_at_once);
    RUN(a_closed_handle_leaves_no_descriptor_behind);
    RUN(in_a_childs_copy_of_a_private_region_nothing_is_in_flight);
    RUN(many_processes_never_hold_more_than_there_are);
    RUN(options_of_permits_must_be_those_of_the_file);
    remove_directory(dir);
}
