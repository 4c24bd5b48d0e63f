/* Several processes on one file: totals are exact here too. */
#include "support.h"

#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#define PROCESSES  4

static char dir[64];

/* A number no child admits: says that something else went wrong. */
#define BROKEN  1000000

static unsigned open_and_spend(unsigned child, void *data)
{
    const uint64_t    *now = data;
    mavera_rl_options  opts = caller_options(16);
    mavera_rl         *rl = NULL;
    unsigned           sum;

    (void) child;
    if (mavera_rl_open(path_in(dir, "region"), &opts, &rl) != 0) {
        return BROKEN;
    }
    sum = admitted(rl, "key", 60, MINUTE, 2000, *now);
    mavera_rl_close(rl);
    return sum;
}

static void processes_share_one_limit_to_the_last_unit(void)
{
    mavera_rl_options   opts = caller_options(16);
    mavera_rl          *rl = NULL;
    mavera_rl_decision  d;

    CHECK_INT(mavera_rl_open(path_in(dir, "region"), &opts, &rl), 0);
    REQUIRE(rl != NULL);
    for (uint64_t now = T0; now < T0 + 10 * MINUTE; now += MINUTE) {
        CHECK_INT(in_children(PROCESSES, open_and_spend, &now), 60);
        CHECK_INT(peek_key(rl, "key", 60, MINUTE, 1, now, &d),
            MAVERA_RL_LIMITED);
        CHECK_INT(d.used, 60);
        CHECK_INT(d.retry_after_ms, 60000);
    }
    CHECK_INT(stats_of(rl).inserted, 1);
    mavera_rl_close(rl);
    CHECK_INT(unlink(path_in(dir, "region")), 0);
}

static void processes_that_open_at_once_get_the_same_region(void)
{
    for (int round = 0; round < 20; round++) {
        uint64_t now = T0;

        CHECK_INT(in_children(2 * PROCESSES, open_and_spend, &now), 60);
        /* Those who lost the race left nothing behind. */
        CHECK_INT(files_in(dir), 1);
        CHECK_INT(unlink(path_in(dir, "region")), 0);
    }
}

static unsigned spend_inherited(unsigned child, void *data)
{
    unsigned sum = admitted(data, "key", 600, MINUTE, 1000, T0);

    /* Half of them close what they inherited, half just end. */
    if (child % 2 == 0) {
        mavera_rl_close(data);
    }
    return sum;
}

static void an_inherited_handle_works_unasked(void)
{
    mavera_rl_options   opts = caller_options(16);
    mavera_rl          *rl = NULL;
    mavera_rl_decision  d;

    CHECK_INT(mavera_rl_open(path_in(dir, "region"), &opts, &rl), 0);
    REQUIRE(rl != NULL);
    CHECK_INT(admitted(rl, "key", 600, MINUTE, 100, T0), 100);
    CHECK_INT(in_children(PROCESSES, spend_inherited, rl), 500);
    CHECK_INT(peek_key(rl, "key", 600, MINUTE, 1, T0, &d),
        MAVERA_RL_LIMITED);
    CHECK_INT(d.used, 600);
    mavera_rl_close(rl);
    CHECK_INT(unlink(path_in(dir, "region")), 0);
}

static unsigned close_inherited(unsigned child, void *data)
{
    (void) child;
    mavera_rl_close(data);
    return 1;
}

static void closing_in_a_child_does_not_disturb_the_parent(void)
{
    mavera_rl_options   opts = caller_options(16);
    size_t              need = mavera_rl_region_size(&opts);
    void               *memory = malloc(need);
    mavera_rl          *handles[3] = { NULL, NULL, NULL };

    REQUIRE(memory != NULL);
    CHECK_INT(mavera_rl_open(path_in(dir, "region"), &opts, &handles[0]), 0);
    CHECK_INT(mavera_rl_open(NULL, &opts, &handles[1]), 0);
    CHECK_INT(mavera_rl_init(memory, need, &opts, &handles[2]), 0);
    for (int i = 0; i < 3; i++) {
        REQUIRE(handles[i] != NULL);
        CHECK_INT(admitted(handles[i], "key", 60, MINUTE, 30, T0), 30);
        CHECK_INT(in_children(PROCESSES, close_inherited, handles[i]),
            PROCESSES);
        CHECK_INT(admitted(handles[i], "key", 60, MINUTE, 60, T0), 30);
        CHECK_INT(admitted(handles[i], "key", 60, MINUTE, 60, T0 + 60000),
            60);
    }
    CHECK_INT(access(path_in(dir, "region"), F_OK), 0);
    for (int i = 0; i < 3; i++) {
        mavera_rl_close(handles[i]);
    }
    free(memory);
    CHECK_INT(unlink(path_in(dir, "region")), 0);
}

static unsigned close_after_parent(unsigned child, void *data)
{
    unsigned sum = admitted(data, "key", 600, MINUTE, 10, T0);

    (void) child;
    mavera_rl_close(data);
    return sum;
}

static void a_child_outlives_the_parents_handle(void)
{
    mavera_rl_options  opts = caller_options(16);
    mavera_rl         *rl = NULL;
    int                gate[2];
    pid_t              child;
    int                status = -1;

    CHECK_INT(mavera_rl_open(path_in(dir, "region"), &opts, &rl), 0);
    REQUIRE(rl != NULL && pipe(gate) == 0);
    fflush(stdout);
    child = fork();
    if (child == 0) {
        char byte;

        close(gate[1]);
        /* Waits until the parent has closed its handle and the gate. */
        if (read(gate[0], &byte, 1) != 0) {
            _exit(1);
        }
        _exit(close_after_parent(0, rl) == 10 ? 0 : 1);
    }
    close(gate[0]);
    mavera_rl_close(rl);
    close(gate[1]);
    CHECK(child > 0 && waitpid(child, &status, 0) == child);
    CHECK_INT(status, 0);
    CHECK_INT(unlink(path_in(dir, "region")), 0);
}

/* Dies by SIGKILL in the middle of spending; what it admitted it tells
 * through the pipe, one byte each, before the next call. */
static void spend_until_killed(mavera_rl *rl, int told)
{
    for (;;) {
        if (check_key(rl, "key", 600, MINUTE, 1, T0, NULL) == 0
            && write(told, "+", 1) != 1)
        {
            _exit(1);
        }
    }
}

static void a_killed_process_loses_nothing_and_blocks_nobody(void)
{
    for (unsigned round = 0; round < 20; round++) {
        mavera_rl_options   opts = caller_options(16);
        mavera_rl          *rl = NULL;
        mavera_rl_decision  d;
        int                 told[2];
        pid_t               child;
        char                byte;
        unsigned            known = 0, rest;

        CHECK_INT(mavera_rl_open(path_in(dir, "region"), &opts, &rl), 0);
        REQUIRE(rl != NULL && pipe(told) == 0);
        fflush(stdout);
        child = fork();
        if (child == 0) {
            close(told[0]);
            spend_until_killed(rl, told[1]);
        }
        close(told[1]);
        while (known <= round * 5 && read(told[0], &byte, 1) == 1) {
            known++;
        }
        CHECK_INT(kill(child, SIGKILL), 0);
        CHECK_INT(waitpid(child, NULL, 0), child);
        while (read(told[0], &byte, 1) == 1) {
            known++;
        }
        close(told[0]);
        peek_key(rl, "key", 600, MINUTE, 1, T0, &d);
        /* At most the one charge that was not told any more. */
        CHECK(d.used == known || d.used == known + 1);
        rest = admitted(rl, "key", 600, MINUTE, 1000, T0);
        CHECK_INT(d.used + rest, 600);
        mavera_rl_close(rl);
        CHECK_INT(unlink(path_in(dir, "region")), 0);
    }
}

void run_processes(void);
void run_processes(void)
{
    make_directory(dir);
    RUN(processes_share_one_limit_to_the_last_unit);
    RUN(processes_that_open_at_once_get_the_same_region);
    RUN(an_inherited_handle_works_unasked);
    RUN(closing_in_a_child_does_not_disturb_the_parent);
    RUN(a_child_outlives_the_parents_handle);
    RUN(a_killed_process_loses_nothing_and_blocks_nobody);
    remove_directory(dir);
}
