/* One key, one limit, a clock supplied by the test: exact numbers. */
#include "support.h"

static void expect(const mavera_rl_decision *d, int outcome, uint32_t limit,
    uint32_t used, uint64_t retry_after_ms, uint64_t reset_after_ms)
{
    CHECK_INT(d->size, sizeof(*d));
    CHECK_INT(d->outcome, outcome);
    CHECK_INT(d->limit, limit);
    CHECK_INT(d->used, used);
    CHECK_INT(d->remaining, used > limit ? 0 : limit - used);
    CHECK_INT(d->window_ms, MINUTE);
    CHECK_INT(d->retry_after_ms, retry_after_ms);
    CHECK_INT(d->retry_after_s, (retry_after_ms + 999) / 1000);
    CHECK_INT(d->reset_after_ms, reset_after_ms);
    CHECK_INT(d->untracked, 0);
}

static void sixty_are_admitted_and_the_next_waits_a_minute(void)
{
    mavera_rl          *rl = caller_region(16);
    mavera_rl_decision  d;

    REQUIRE(rl != NULL);
    for (uint32_t used = 1; used <= 60; used++) {
        CHECK_INT(check_key(rl, "key", 60, MINUTE, 1, T0, &d),
            MAVERA_RL_ALLOWED);
        expect(&d, MAVERA_RL_ALLOWED, 60, used, 0, 60000);
    }
    CHECK_INT(check_key(rl, "key", 60, MINUTE, 1, T0, &d),
        MAVERA_RL_LIMITED);
    expect(&d, MAVERA_RL_LIMITED, 60, 60, 60000, 60000);

    /* One tick less than Retry-After is not enough, Retry-After is. */
    CHECK_INT(check_key(rl, "key", 60, MINUTE, 1, T0 + 59999, &d),
        MAVERA_RL_LIMITED);
    expect(&d, MAVERA_RL_LIMITED, 60, 60, 1, 1000);
    CHECK_INT(check_key(rl, "key", 60, MINUTE, 1, T0 + 60000, &d),
        MAVERA_RL_ALLOWED);
    expect(&d, MAVERA_RL_ALLOWED, 60, 1, 0, 60000);
    mavera_rl_close(rl);
}

static void the_window_slides_one_admission_at_a_time(void)
{
    mavera_rl          *rl = caller_region(16);
    mavera_rl_decision  d;

    REQUIRE(rl != NULL);
    for (uint32_t i = 0; i < 60; i++) {
        CHECK_INT(check_key(rl, "key", 60, MINUTE, 1, T0 + 1000 * i, &d), 0);
        expect(&d, MAVERA_RL_ALLOWED, 60, i + 1, 0, 60000 - 1000 * i);
    }
    CHECK_INT(check_key(rl, "key", 60, MINUTE, 1, T0 + 59500, &d),
        MAVERA_RL_LIMITED);
    expect(&d, MAVERA_RL_LIMITED, 60, 60, 500, 1000);
    /* Each second one unit leaves, and exactly one may come. */
    for (uint32_t i = 0; i < 120; i++) {
        uint64_t now = T0 + 60000 + 1000 * (uint64_t) i;

        CHECK_INT(peek_key(rl, "key", 60, MINUTE, 1, now - 1, NULL),
            MAVERA_RL_LIMITED);
        CHECK_INT(check_key(rl, "key", 60, MINUTE, 1, now, &d), 0);
        expect(&d, MAVERA_RL_ALLOWED, 60, 60, 0, 1000);
        CHECK_INT(check_key(rl, "key", 60, MINUTE, 1, now, &d),
            MAVERA_RL_LIMITED);
        expect(&d, MAVERA_RL_LIMITED, 60, 60, 1000, 1000);
    }
    mavera_rl_close(rl);
}

static void refused_requests_do_not_extend_the_wait(void)
{
    mavera_rl          *rl = caller_region(16);
    mavera_rl_decision  d;

    REQUIRE(rl != NULL);
    CHECK_INT(admitted(rl, "key", 60, MINUTE, 60, T0), 60);
    for (uint64_t t = 0; t < 60000; t += 77) {
        CHECK_INT(check_key(rl, "key", 60, MINUTE, 1, T0 + t, &d),
            MAVERA_RL_LIMITED);
        expect(&d, MAVERA_RL_LIMITED, 60, 60, 60000 - t,
            (60000 - t + 999) / 1000 * 1000);
    }
    CHECK_INT(admitted(rl, "key", 60, MINUTE, 100, T0 + 60000), 60);
    mavera_rl_close(rl);
}

static void a_cost_is_charged_whole_or_not_at_all(void)
{
    mavera_rl          *rl = caller_region(16);
    mavera_rl_decision  d;

    REQUIRE(rl != NULL);
    CHECK_INT(check_key(rl, "key", 60, MINUTE, 25, T0, &d), 0);
    expect(&d, MAVERA_RL_ALLOWED, 60, 25, 0, 60000);
    CHECK_INT(check_key(rl, "key", 60, MINUTE, 25, T0, &d), 0);
    expect(&d, MAVERA_RL_ALLOWED, 60, 50, 0, 60000);
    CHECK_INT(check_key(rl, "key", 60, MINUTE, 11, T0, &d),
        MAVERA_RL_LIMITED);
    expect(&d, MAVERA_RL_LIMITED, 60, 50, 60000, 60000);
    CHECK_INT(check_key(rl, "key", 60, MINUTE, 10, T0, &d), 0);
    expect(&d, MAVERA_RL_ALLOWED, 60, 60, 0, 60000);
    mavera_rl_close(rl);
}

static void the_wait_depends_on_how_much_is_asked_for(void)
{
    static const struct { uint32_t cost; uint64_t wait; } cases[] = {
        { 1, 57500 }, { 20, 57500 }, { 21, 58500 }, { 40, 58500 },
        { 41, 59500 }, { 60, 59500 },
    };
    mavera_rl          *rl = caller_region(16);
    mavera_rl_decision  d;

    REQUIRE(rl != NULL);
    for (uint64_t i = 0; i < 3; i++) {
        CHECK_INT(check_key(rl, "key", 60, MINUTE, 20, T0 + 1000 * i, NULL),
            0);
    }
    for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
        uint64_t wait = cases[i].wait;

        CHECK_INT(check_key(rl, "key", 60, MINUTE, cases[i].cost, T0 + 2500,
            &d), MAVERA_RL_LIMITED);
        expect(&d, MAVERA_RL_LIMITED, 60, 60, wait,
            (wait + 999) / 1000 * 1000);
        CHECK_INT(peek_key(rl, "key", 60, MINUTE, cases[i].cost,
            T0 + 2500 + wait - 1, NULL), MAVERA_RL_LIMITED);
        CHECK_INT(peek_key(rl, "key", 60, MINUTE, cases[i].cost,
            T0 + 2500 + wait, NULL), MAVERA_RL_ALLOWED);
    }
    mavera_rl_close(rl);
}

static void a_peek_answers_as_a_check_would_and_charges_nothing(void)
{
    mavera_rl          *rl = caller_region(16);
    mavera_rl_decision  d;

    REQUIRE(rl != NULL);
    for (int i = 0; i < 100; i++) {
        CHECK_INT(peek_key(rl, "key", 60, MINUTE, 1, T0, &d), 0);
        expect(&d, MAVERA_RL_ALLOWED, 60, 0, 0, 0);
    }
    CHECK_INT(stats_of(rl).inserted, 0);
    CHECK_INT(check_key(rl, "key", 60, MINUTE, 50, T0, NULL), 0);
    CHECK_INT(peek_key(rl, "key", 60, MINUTE, 10, T0 + 100, &d), 0);
    expect(&d, MAVERA_RL_ALLOWED, 60, 50, 0, 59900);
    CHECK_INT(peek_key(rl, "key", 60, MINUTE, 11, T0 + 100, &d),
        MAVERA_RL_LIMITED);
    expect(&d, MAVERA_RL_LIMITED, 60, 50, 59900, 60000);
    CHECK_INT(check_key(rl, "key", 60, MINUTE, 10, T0 + 100, NULL), 0);
    CHECK_INT(peek_key(rl, "key", 60, MINUTE, 1, T0 + 60000, &d), 0);
    expect(&d, MAVERA_RL_ALLOWED, 60, 10, 0, 100);
    CHECK_INT(peek_key(rl, "key", 60, MINUTE, 1, T0 + 60100, &d), 0);
    expect(&d, MAVERA_RL_ALLOWED, 60, 0, 0, 0);
    mavera_rl_close(rl);
}

static void a_cost_of_zero_is_a_peek(void)
{
    mavera_rl          *rl = caller_region(16);
    mavera_rl_decision  checked, peeked;

    REQUIRE(rl != NULL);
    CHECK_INT(check_key(rl, "key", 60, MINUTE, 0, T0, &checked), 0);
    expect(&checked, MAVERA_RL_ALLOWED, 60, 0, 0, 0);
    CHECK_INT(stats_of(rl).inserted, 0);
    for (uint32_t spent = 1; spent <= 60; spent++) {
        CHECK_INT(check_key(rl, "key", 60, MINUTE, 1, T0, NULL), 0);
        for (int again = 0; again < 2; again++) {
            CHECK_INT(check_key(rl, "key", 60, MINUTE, 0, T0 + 1, &checked),
                peek_key(rl, "key", 60, MINUTE, 0, T0 + 1, &peeked));
            CHECK_INT(checked.used, spent);
            CHECK_INT(checked.outcome, peeked.outcome);
            CHECK_INT(checked.used, peeked.used);
            CHECK_INT(checked.remaining, peeked.remaining);
            CHECK_INT(checked.retry_after_ms, peeked.retry_after_ms);
            CHECK_INT(checked.reset_after_ms, peeked.reset_after_ms);
        }
    }
    mavera_rl_close(rl);
}

static void keys_do_not_share_a_limit(void)
{
    mavera_rl *rl = caller_region(64);
    char       key[16];

    REQUIRE(rl != NULL);
    for (int i = 0; i < 50; i++) {
        snprintf(key, sizeof(key), "key-%d", i);
        CHECK_INT(admitted(rl, key, 3, MINUTE, 5, T0), 3);
    }
    CHECK_INT(stats_of(rl).inserted, 50);
    mavera_rl_close(rl);
}

static void a_clock_that_starts_at_zero_is_a_clock(void)
{
    mavera_rl          *rl = caller_region(16);
    mavera_rl_decision  d;

    REQUIRE(rl != NULL);
    CHECK_INT(admitted(rl, "key", 60, MINUTE, 100, 0), 60);
    CHECK_INT(check_key(rl, "key", 60, MINUTE, 1, 0, &d),
        MAVERA_RL_LIMITED);
    expect(&d, MAVERA_RL_LIMITED, 60, 60, 60000, 60000);
    CHECK_INT(check_key(rl, "key", 60, MINUTE, 1, 59999, NULL),
        MAVERA_RL_LIMITED);
    CHECK_INT(check_key(rl, "key", 60, MINUTE, 1, 60000, &d), 0);
    expect(&d, MAVERA_RL_ALLOWED, 60, 1, 0, 60000);
    mavera_rl_close(rl);
}

static void unix_milliseconds_are_a_clock(void)
{
    const uint64_t      today = UINT64_C(1700000000000);
    mavera_rl          *rl = caller_region(16);
    mavera_rl_decision  d;

    REQUIRE(rl != NULL);
    CHECK_INT(admitted(rl, "key", 60, MINUTE, 100, today), 60);
    CHECK_INT(check_key(rl, "key", 60, MINUTE, 1, today, &d),
        MAVERA_RL_LIMITED);
    expect(&d, MAVERA_RL_LIMITED, 60, 60, 60000, 60000);
    CHECK_INT(check_key(rl, "key", 60, MINUTE, 1, today + 60000, NULL), 0);
    mavera_rl_close(rl);
}

/* Beyond the end of time the library may refuse; it may not admit freely. */
static void an_impossible_time_never_mints_quota(void)
{
    static const uint64_t times[] = {
        UINT64_MAX, UINT64_MAX - 1, UINT64_MAX / 2 + 1,
        UINT64_C(1) << 40, (UINT64_C(1) << 40) - 1,
    };
    char key[16];

    for (size_t i = 0; i < sizeof(times) / sizeof(*times); i++) {
        mavera_rl *rl = caller_region(16);

        REQUIRE(rl != NULL);
        snprintf(key, sizeof(key), "key-%zu", i);
        CHECK(admitted(rl, key, 60, MINUTE, 200, times[i]) <= 60);
        /* A detour to another time does not forget what was charged. */
        CHECK(admitted(rl, "other", 60, MINUTE, 60, T0) <= 60);
        admitted(rl, "other", 60, MINUTE, 60, times[i]);
        CHECK_INT(admitted(rl, "other", 60, MINUTE, 1, T0), 0);
        mavera_rl_close(rl);
    }
}

static void windows_of_every_length_are_exact(void)
{
    static const uint32_t windows[] = { 1, 2, 10, 999, 1000, 1001, 59999 };
    char key[16];
    mavera_rl *rl = caller_region(16);

    REQUIRE(rl != NULL);
    for (size_t i = 0; i < sizeof(windows) / sizeof(*windows); i++) {
        uint32_t            window = windows[i];
        mavera_rl_decision  d;

        snprintf(key, sizeof(key), "key-%zu", i);
        CHECK_INT(admitted(rl, key, 5, window, 10, T0), 5);
        CHECK_INT(check_key(rl, key, 5, window, 1, T0, &d),
            MAVERA_RL_LIMITED);
        CHECK_INT(d.window_ms, window);
        CHECK_INT(d.retry_after_ms, window);
        CHECK_INT(d.retry_after_s, (window + 999) / 1000);
        CHECK_INT(admitted(rl, key, 5, window, 1, T0 + window - 1), 0);
        CHECK_INT(admitted(rl, key, 5, window, 10, T0 + window), 5);
    }
    mavera_rl_close(rl);
}

void run_window(void);
void run_window(void)
{
    RUN(sixty_are_admitted_and_the_next_waits_a_minute);
    RUN(the_window_slides_one_admission_at_a_time);
    RUN(refused_requests_do_not_extend_the_wait);
    RUN(a_cost_is_charged_whole_or_not_at_all);
    RUN(the_wait_depends_on_how_much_is_asked_for);
    RUN(a_peek_answers_as_a_check_would_and_charges_nothing);
    RUN(a_cost_of_zero_is_a_peek);
    RUN(keys_do_not_share_a_limit);
    RUN(a_clock_that_starts_at_zero_is_a_clock);
    RUN(unix_milliseconds_are_a_clock);
    RUN(an_impossible_time_never_mints_quota);
    RUN(windows_of_every_length_are_exact);
}
