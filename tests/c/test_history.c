/* What a key has spent outlives changes of its limit and of the clock. */
#include "support.h"

static void a_raised_limit_keeps_what_was_spent(void)
{
    /* With 1,024 cells limits up to 1,020 are exact to the millisecond. */
    mavera_rl          *rl = caller_region_of(16, 1024);
    mavera_rl_decision  d;

    REQUIRE(rl != NULL);
    CHECK_INT(admitted(rl, "key", 60, MINUTE, 100, T0), 60);
    CHECK_INT(check_key(rl, "key", 600, MINUTE, 1, T0 + 10, &d), 0);
    CHECK_INT(d.limit, 600);
    CHECK_INT(d.used, 61);
    CHECK_INT(d.remaining, 539);
    CHECK_INT(d.reset_after_ms, 59990);
    CHECK_INT(admitted(rl, "key", 600, MINUTE, 1000, T0 + 20), 539);
    CHECK_INT(check_key(rl, "key", 600, MINUTE, 1, T0 + 20, &d),
        MAVERA_RL_LIMITED);
    CHECK_INT(d.used, 600);
    CHECK_INT(d.retry_after_ms, 59980);
    /* The first 60 leave first. */
    CHECK_INT(admitted(rl, "key", 600, MINUTE, 1000, T0 + 60000), 60);
    mavera_rl_close(rl);
}

static void a_lowered_limit_keeps_what_was_spent(void)
{
    mavera_rl          *rl = caller_region(16);
    mavera_rl_decision  d;

    REQUIRE(rl != NULL);
    CHECK_INT(admitted(rl, "key", 60, MINUTE, 30, T0), 30);
    CHECK_INT(admitted(rl, "key", 60, MINUTE, 30, T0 + 1000), 30);
    CHECK_INT(check_key(rl, "key", 30, MINUTE, 1, T0 + 2000, &d),
        MAVERA_RL_LIMITED);
    CHECK_INT(d.limit, 30);
    CHECK_INT(d.used, 60);
    CHECK_INT(d.remaining, 0);
    /* 31 units have to leave, and the first run holds only 30. */
    CHECK_INT(d.retry_after_ms, 59000);
    CHECK_INT(d.retry_after_s, 59);
    CHECK_INT(check_key(rl, "key", 30, MINUTE, 1, T0 + 60999, &d),
        MAVERA_RL_LIMITED);
    CHECK_INT(d.used, 30);
    CHECK_INT(d.retry_after_ms, 1);
    CHECK_INT(check_key(rl, "key", 30, MINUTE, 1, T0 + 61000, &d), 0);
    CHECK_INT(d.used, 1);
    mavera_rl_close(rl);
}

static void a_limit_that_goes_up_and_down_never_forgets(void)
{
    mavera_rl          *rl = caller_region(16);
    mavera_rl_decision  d;

    REQUIRE(rl != NULL);
    CHECK_INT(admitted(rl, "key", 20, MINUTE, 99, T0), 20);
    CHECK_INT(admitted(rl, "key", 60, MINUTE, 99, T0 + 1), 40);
    CHECK_INT(admitted(rl, "key", 20, MINUTE, 99, T0 + 2), 0);
    CHECK_INT(admitted(rl, "key", 60, MINUTE, 99, T0 + 2), 0);
    /* A limit beyond the exact ones is kept in coarser steps; the units of
     * finer ones count all the same. */
    CHECK_INT(admitted(rl, "key", 240, MINUTE, 999, T0 + 3), 180);
    CHECK_INT(check_key(rl, "key", 60, MINUTE, 1, T0 + 3, &d),
        MAVERA_RL_LIMITED);
    CHECK_INT(d.used, 240);
    CHECK_INT(admitted(rl, "key", 60, MINUTE, 99, T0 + 59999), 0);
    CHECK_INT(admitted(rl, "key", 60, MINUTE, 99, T0 + 62000), 60);
    mavera_rl_close(rl);
}

static void one_key_under_two_windows_is_two_records(void)
{
    mavera_rl          *rl = caller_region(16);
    mavera_rl_decision  d;

    REQUIRE(rl != NULL);
    CHECK_INT(admitted(rl, "key", 5, 1000, 10, T0), 5);
    CHECK_INT(admitted(rl, "key", 7, MINUTE, 10, T0), 7);
    CHECK_INT(stats_of(rl).inserted, 2);
    CHECK_INT(check_key(rl, "key", 5, 1000, 1, T0, &d), MAVERA_RL_LIMITED);
    CHECK_INT(d.used, 5);
    CHECK_INT(d.retry_after_ms, 1000);
    CHECK_INT(check_key(rl, "key", 7, MINUTE, 1, T0, &d),
        MAVERA_RL_LIMITED);
    CHECK_INT(d.used, 7);
    CHECK_INT(d.retry_after_ms, 60000);
    CHECK_INT(admitted(rl, "key", 5, 1000, 10, T0 + 1000), 5);
    CHECK_INT(admitted(rl, "key", 7, MINUTE, 10, T0 + 1000), 0);
    mavera_rl_close(rl);
}

static void the_longest_window_is_the_regions(void)
{
    mavera_rl_options  opts = caller_options(16);
    mavera_rl         *rl = NULL;

    opts.max_window_ms = 1000;
    CHECK_INT(mavera_rl_open(NULL, &opts, &rl), 0);
    REQUIRE(rl != NULL);
    CHECK_INT(check_key(rl, "key", 5, 1000, 1, T0, NULL), 0);
    CHECK_INT(check_key(rl, "key", 5, 1001, 1, T0, NULL), MAVERA_RL_EINVAL);
    mavera_rl_close(rl);

    opts.max_window_ms = 3600000;
    CHECK_INT(mavera_rl_open(NULL, &opts, &rl), 0);
    CHECK_INT(admitted(rl, "key", 5, 3600000, 9, T0), 5);
    CHECK_INT(admitted(rl, "key", 5, 3600000, 9, T0 + 3599999), 0);
    CHECK_INT(admitted(rl, "key", 5, 3600000, 9, T0 + 3600000), 5);
    mavera_rl_close(rl);
}

static void a_late_clock_never_mints_quota(void)
{
    static const uint64_t late[] = { 1, 999, 1000, 1024, 59999, 60000,
        120000, 999999, T0 };
    char key[16];
    mavera_rl *rl = caller_region(16);

    REQUIRE(rl != NULL);
    for (size_t i = 0; i < sizeof(late) / sizeof(*late); i++) {
        uint64_t past = T0 - late[i];

        snprintf(key, sizeof(key), "key-%zu", i);
        CHECK_INT(admitted(rl, key, 60, MINUTE, 59, T0), 59);
        /* The last unit goes to a late caller, and counts from T0 on. */
        CHECK_INT(admitted(rl, key, 60, MINUTE, 9, past), 1);
        CHECK_INT(admitted(rl, key, 60, MINUTE, 9, past), 0);
        CHECK_INT(admitted(rl, key, 60, MINUTE, 9, T0), 0);
        CHECK_INT(admitted(rl, key, 60, MINUTE, 9, past + 60000), 0);
        CHECK_INT(admitted(rl, key, 60, MINUTE, 9, T0 + 59999), 0);
        CHECK_INT(admitted(rl, key, 60, MINUTE, 99, T0 + 60000), 60);
        /* And none once the window has moved on. */
        CHECK_INT(admitted(rl, key, 60, MINUTE, 9, past), 0);
        CHECK_INT(admitted(rl, key, 60, MINUTE, 9, T0), 0);
        CHECK_INT(admitted(rl, key, 60, MINUTE, 9, T0 + 119999), 0);
    }
    mavera_rl_close(rl);
}

static void a_clock_that_jumps_back_and_forth_stays_strict(void)
{
    mavera_rl *rl = caller_region(16);
    unsigned   sum = 0;

    REQUIRE(rl != NULL);
    /* All calls lie within one window, in no order. */
    for (uint64_t i = 0; i < 5000; i++) {
        sum += admitted(rl, "key", 60, MINUTE, 1,
            T0 + i * 7919 % 60000);
    }
    CHECK_INT(sum, 60);
    mavera_rl_close(rl);
}

static void a_late_first_call_opens_no_second_window(void)
{
    mavera_rl *rl = caller_region(16);

    REQUIRE(rl != NULL);
    CHECK_INT(admitted(rl, "key", 60, MINUTE, 60, T0), 60);
    CHECK_INT(admitted(rl, "key", 60, MINUTE, 60, T0 + 60000), 60);
    /* More than a window late: the clock is taken to stand where it stood. */
    CHECK_INT(admitted(rl, "key", 60, MINUTE, 60, T0 - 60001), 0);
    CHECK_INT(admitted(rl, "key", 60, MINUTE, 60, 0), 0);
    CHECK_INT(admitted(rl, "key", 60, MINUTE, 60, T0 + 119999), 0);
    CHECK_INT(admitted(rl, "key", 60, MINUTE, 99, T0 + 120000), 60);
    mavera_rl_close(rl);
}

static void the_count_survives_going_round_its_circle(void)
{
    mavera_rl *rl = caller_region(16);
    unsigned   wrong = 0;

    REQUIRE(rl != NULL);
    /* More than 2^24 units and 2^18 runs. */
    for (uint64_t i = 0; i < 300000; i++) {
        uint64_t now = T0 + i * 1000;

        wrong += check_key(rl, "key", 60, 1000, 60, now, NULL)
            != MAVERA_RL_ALLOWED;
        wrong += check_key(rl, "key", 60, 1000, 1, now + 999, NULL)
            != MAVERA_RL_LIMITED;
    }
    CHECK_INT(wrong, 0);
    mavera_rl_close(rl);
}

void run_history(void);
void run_history(void)
{
    RUN(a_raised_limit_keeps_what_was_spent);
    RUN(a_lowered_limit_keeps_what_was_spent);
    RUN(a_limit_that_goes_up_and_down_never_forgets);
    RUN(one_key_under_two_windows_is_two_records);
    RUN(the_longest_window_is_the_regions);
    RUN(a_late_clock_never_mints_quota);
    RUN(a_clock_that_jumps_back_and_forth_stays_strict);
    RUN(a_late_first_call_opens_no_second_window);
    RUN(the_count_survives_going_round_its_circle);
}
