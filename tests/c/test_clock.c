/* Regions that read their own clock, and the wall time of Reset. */
#include "support.h"

#include <time.h>

/* How far a coarse reading and what is added to make up for it may be from
 * the precise time, with a millisecond for rounding. */
static uint64_t lateness(void)
{
    struct timespec resolution;

    clock_getres(CLOCK_MONOTONIC_COARSE, &resolution);
    return 3 * ((uint64_t) resolution.tv_nsec / 1000000 + 1) + 1;
}

static uint64_t wall_ms(void)
{
    struct timespec now;

    clock_gettime(CLOCK_REALTIME, &now);
    return (uint64_t) now.tv_sec * 1000 + (uint64_t) now.tv_nsec / 1000000;
}

static uint64_t elapsed_ms(void)
{
    struct timespec now;

    clock_gettime(CLOCK_BOOTTIME, &now);
    return (uint64_t) now.tv_sec * 1000 + (uint64_t) now.tv_nsec / 1000000;
}

static void a_region_with_its_own_clock_limits(void)
{
    mavera_rl_policy policy = policy_of(60, MINUTE);

    for (uint32_t clock = MAVERA_RL_CLOCK_DEFAULT;
        clock <= MAVERA_RL_CLOCK_COARSE; clock++)
    {
        mavera_rl          *rl = clock_region(clock);
        uint64_t            began = elapsed_ms(), spent;
        unsigned            sum = 0;
        int                 rc = 0;
        mavera_rl_decision  d = patterned_decision();

        REQUIRE(rl != NULL);
        CHECK_INT(stats_of(rl).clock,
            clock == MAVERA_RL_CLOCK_DEFAULT ? MAVERA_RL_CLOCK_PRECISE
            : clock);
        for (int i = 0; i < 1000; i++) {
            rc = mavera_rl_check(rl, "key", 3, &policy, 1, &d);
            sum += rc == MAVERA_RL_ALLOWED;
        }
        spent = elapsed_ms() - began;
        CHECK(sum >= 60);
        /* Unless the machine stood still for a minute. */
        if (spent < MINUTE) {
            CHECK_INT(sum, 60);
            CHECK_INT(rc, MAVERA_RL_LIMITED);
            CHECK_INT(d.used, 60);
            CHECK_INT(d.remaining, 0);
            CHECK(d.retry_after_ms + spent + lateness() >= MINUTE);
            CHECK(d.retry_after_ms <= MINUTE + lateness());
            CHECK(d.retry_after_s >= 1 && d.retry_after_s <= 60);
            CHECK_INT(d.reset_after_ms, (uint64_t) d.retry_after_s * 1000);
            CHECK_INT(mavera_rl_peek(rl, "key", 3, &policy, 1, &d),
                MAVERA_RL_LIMITED);
            CHECK_INT(mavera_rl_peek(rl, "other", 5, &policy, 1, &d), 0);
        }
        mavera_rl_close(rl);
    }
}

/* Busy-waits for a window of a few ms: time passes by itself, so this is no
 * sleep, and it proves that waiting as told is enough on a real clock. */
static void waiting_as_long_as_told_is_enough_on_a_real_clock(void)
{
    mavera_rl_policy policy = policy_of(1, 5);

    for (uint32_t clock = MAVERA_RL_CLOCK_PRECISE;
        clock <= MAVERA_RL_CLOCK_COARSE; clock++)
    {
        mavera_rl          *rl = clock_region(clock);
        mavera_rl_decision  d = blank_decision();

        REQUIRE(rl != NULL);
        for (int i = 0; i < 20; i++) {
            uint64_t  began = elapsed_ms();
            int       rc = mavera_rl_check(rl, "key", 3, &policy, 1, &d);

            if (rc == MAVERA_RL_ALLOWED) {
                continue;
            }
            CHECK_INT(rc, MAVERA_RL_LIMITED);
            CHECK(d.retry_after_ms >= 1);
            CHECK(d.retry_after_ms <= 5 + lateness());
            /* Longer than told, for readings are rounded down, and a coarse
             * clock may show the past. */
            while (elapsed_ms() <= began + d.retry_after_ms + lateness()) {
            }
            CHECK_INT(mavera_rl_peek(rl, "key", 3, &policy, 1, NULL),
                MAVERA_RL_ALLOWED);
            CHECK_INT(mavera_rl_check(rl, "key", 3, &policy, 1, NULL),
                MAVERA_RL_ALLOWED);
        }
        mavera_rl_close(rl);
    }
}

/* Twice the coarse clock's resolution, and its rounding. */
static uint64_t coarse_slack_ms(void)
{
    struct timespec resolution;

    clock_getres(CLOCK_REALTIME_COARSE, &resolution);
    return 2 * (uint64_t)resolution.tv_nsec / 1000000 + 2;
}

static void reset_is_the_wall_time_after_the_wait(void)
{
    mavera_rl_policy policy = policy_of(1, MINUTE);

    for (enum entry e = 0; e < ENTRIES; e++) {
        int         own = e == CHECK_OWN || e == PEEK_OWN;
        mavera_rl  *rl = region_for(e);

        REQUIRE(rl != NULL);
        for (int i = 0; i < 3; i++) {
            mavera_rl_decision  d = patterned_decision();
            uint64_t            before = wall_ms();
            int                 rc;

            /* With Unix time for the caller's clock both are one. */
            rc = e == CHECK_AT
                ? mavera_rl_check_at(rl, "key", 3, &policy, 1, before, &d)
                : e == PEEK_AT
                ? mavera_rl_peek_at(rl, "key", 3, &policy, 1, before, &d)
                : call_entry(e, rl, "key", 3, &policy, 1, &d);
            CHECK(rc == MAVERA_RL_ALLOWED || rc == MAVERA_RL_LIMITED);
            CHECK(own || e == CHECK_AT || rc == MAVERA_RL_ALLOWED);
            CHECK(d.reset_unix_ms >= before + d.reset_after_ms);
            /* Wall time is read from the coarse clock and rounded up. */
            CHECK(d.reset_unix_ms
                <= wall_ms() + 1 + coarse_slack_ms() + d.reset_after_ms);
        }
        mavera_rl_close(rl);
    }
}

void run_clock(void);
void run_clock(void)
{
    RUN(a_region_with_its_own_clock_limits);
    RUN(waiting_as_long_as_told_is_enough_on_a_real_clock);
    RUN(reset_is_the_wall_time_after_the_wait);
}
