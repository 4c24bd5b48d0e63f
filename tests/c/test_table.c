/* A table that is full, and the numbers of its statistics. */
#include "support.h"

#define WAYS  256

static mavera_rl *smallest_table(uint32_t on_full)
{
    mavera_rl_options  opts = caller_options(1);
    mavera_rl         *rl = NULL;

    opts.on_full = on_full;
    CHECK_INT(mavera_rl_open(NULL, &opts, &rl), 0);
    return rl;
}

/* Charges one unit to each key of a range; returns how many were allowed. */
static unsigned charge_keys(mavera_rl *rl, int from, int to, uint64_t now)
{
    unsigned  sum = 0;
    char      key[16];

    for (int i = from; i < to; i++) {
        snprintf(key, sizeof(key), "key-%d", i);
        sum += admitted(rl, key, 60, MINUTE, 1, now);
    }
    return sum;
}

static void expect_stats(const mavera_rl *rl, uint64_t held,
    uint64_t inserted, uint64_t evicted, uint64_t full)
{
    mavera_rl_stats_t stats = stats_of(rl);

    CHECK_INT(stats.keys_held, held);
    CHECK_INT(stats.inserted, inserted);
    CHECK_INT(stats.evicted, evicted);
    CHECK_INT(stats.full, full);
}

static void a_full_table_denies_new_keys_and_counts_them(void)
{
    static const uint32_t policies[] = {
        MAVERA_RL_ON_FULL_DEFAULT, MAVERA_RL_ON_FULL_DENY,
    };

    for (size_t i = 0; i < 2; i++) {
        mavera_rl          *rl = smallest_table(policies[i]);
        mavera_rl_decision  d;

        REQUIRE(rl != NULL);
        CHECK_INT(stats_of(rl).keys_capacity, WAYS);
        CHECK_INT(stats_of(rl).on_full, MAVERA_RL_ON_FULL_DENY);
        CHECK_INT(charge_keys(rl, 0, WAYS, T0), WAYS);
        expect_stats(rl, WAYS, WAYS, 0, 0);
        for (int again = 1; again <= 3; again++) {
            CHECK_INT(check_key(rl, "new", 60, MINUTE, 1, T0, &d),
                MAVERA_RL_FULL);
            CHECK_INT(d.outcome, MAVERA_RL_FULL);
            CHECK_INT(d.limit, 60);
            CHECK_INT(d.remaining, 0);
            CHECK_INT(d.untracked, 0);
            CHECK(d.retry_after_ms >= 1);
            CHECK_INT(d.retry_after_s, (d.retry_after_ms + 999) / 1000);
            CHECK_INT(d.reset_after_ms, (uint64_t) d.retry_after_s * 1000);
            expect_stats(rl, WAYS, WAYS, 0, again);
        }
        mavera_rl_close(rl);
    }
}

static void a_full_table_still_knows_the_keys_it_holds(void)
{
    mavera_rl *rl = smallest_table(MAVERA_RL_ON_FULL_DENY);

    REQUIRE(rl != NULL);
    CHECK_INT(charge_keys(rl, 0, WAYS, T0), WAYS);
    CHECK_INT(charge_keys(rl, WAYS, 2 * WAYS, T0), 0);
    for (int i = 0; i < WAYS; i++) {
        char key[16];

        snprintf(key, sizeof(key), "key-%d", i);
        CHECK_INT(admitted(rl, key, 60, MINUTE, 100, T0 + 59999), 59);
    }
    expect_stats(rl, WAYS, WAYS, 0, WAYS);
    mavera_rl_close(rl);
}

static void a_full_table_allows_new_keys_if_told_to_and_says_so(void)
{
    mavera_rl          *rl = smallest_table(MAVERA_RL_ON_FULL_ALLOW);
    mavera_rl_decision  d;

    REQUIRE(rl != NULL);
    CHECK_INT(stats_of(rl).on_full, MAVERA_RL_ON_FULL_ALLOW);
    CHECK_INT(check_key(rl, "key-0", 60, MINUTE, 1, T0, &d), 0);
    CHECK_INT(d.untracked, 0);
    CHECK_INT(charge_keys(rl, 1, WAYS, T0), WAYS - 1);
    for (int again = 1; again <= 100; again++) {
        CHECK_INT(check_key(rl, "new", 60, MINUTE, 1, T0, &d), 0);
        CHECK_INT(d.outcome, MAVERA_RL_ALLOWED);
        CHECK_INT(d.untracked, 1);
        CHECK_INT(d.limit, 60);
        CHECK_INT(d.retry_after_ms, 0);
        CHECK_INT(d.retry_after_s, 0);
        expect_stats(rl, WAYS, WAYS, 0, again);
    }
    /* Allowing strangers does not loosen the limits of those it knows. */
    CHECK_INT(admitted(rl, "key-0", 60, MINUTE, 100, T0), 59);
    mavera_rl_close(rl);
}

static void only_keys_that_owe_nothing_are_forgotten(void)
{
    mavera_rl *rl = smallest_table(MAVERA_RL_ON_FULL_DENY);

    REQUIRE(rl != NULL);
    CHECK_INT(charge_keys(rl, 0, WAYS / 2, T0), WAYS / 2);
    CHECK_INT(charge_keys(rl, WAYS / 2, WAYS, T0 + 1000), WAYS / 2);
    CHECK_INT(charge_keys(rl, 1000, 1001, T0 + 59999), 0);
    expect_stats(rl, WAYS, WAYS, 0, 1);
    /* Half of them have an empty window now: room for as many and no more. */
    CHECK_INT(charge_keys(rl, 2000, 2000 + WAYS, T0 + 60000), WAYS / 2);
    expect_stats(rl, WAYS, WAYS + WAYS / 2, WAYS / 2, 1 + WAYS / 2);
    /* The other half was not forgotten. */
    for (int i = WAYS / 2; i < WAYS; i++) {
        char                key[16];
        mavera_rl_decision  d;

        snprintf(key, sizeof(key), "key-%d", i);
        CHECK_INT(peek_key(rl, key, 60, MINUTE, 1, T0 + 60000, &d), 0);
        CHECK_INT(d.used, 1);
    }
    mavera_rl_close(rl);
}

static void a_table_turns_over_as_keys_come_and_go(void)
{
    mavera_rl *rl = smallest_table(MAVERA_RL_ON_FULL_DENY);

    REQUIRE(rl != NULL);
    for (int turn = 0; turn < 20; turn++) {
        CHECK_INT(charge_keys(rl, turn * WAYS, (turn + 1) * WAYS,
            T0 + (uint64_t) turn * MINUTE), WAYS);
        expect_stats(rl, WAYS, (uint64_t) (turn + 1) * WAYS,
            (uint64_t) turn * WAYS, 0);
    }
    mavera_rl_close(rl);
}

static void only_a_charge_takes_a_record(void)
{
    mavera_rl          *rl = caller_region(16);
    mavera_rl_policy    policy = policy_of(60, MINUTE);
    mavera_rl_stats_t   before, after;

    REQUIRE(rl != NULL);
    expect_stats(rl, 0, 0, 0, 0);
    peek_key(rl, "a", 60, MINUTE, 1, T0, NULL);
    check_key(rl, "a", 60, MINUTE, 0, T0, NULL);
    check_key(rl, "a", 60, MINUTE, 61, T0, NULL);
    check_key(rl, "a", 60, MINUTE + 1, 1, T0, NULL);
    mavera_rl_check_at(rl, NULL, 0, &policy, 1, T0, NULL);
    expect_stats(rl, 0, 0, 0, 0);
    CHECK_INT(admitted(rl, "a", 60, MINUTE, 60, T0), 60);
    expect_stats(rl, 1, 1, 0, 0);
    CHECK_INT(admitted(rl, "b", 60, MINUTE, 1, T0), 1);
    expect_stats(rl, 2, 2, 0, 0);
    /* A refusal writes nothing. */
    before = stats_of(rl);
    CHECK_INT(admitted(rl, "a", 60, MINUTE, 1000, T0), 0);
    after = stats_of(rl);
    CHECK(memcmp(&before, &after, sizeof(before)) == 0);
    /* An idle key keeps its record until somebody needs it. */
    CHECK_INT(admitted(rl, "a", 60, MINUTE, 1, T0 + 10 * MINUTE), 1);
    expect_stats(rl, 2, 2, 0, 0);
    mavera_rl_close(rl);
}

static void the_stats_tell_what_the_region_was_made_with(void)
{
    mavera_rl_options  opts = caller_options(1000);
    mavera_rl         *rl = NULL;
    mavera_rl_stats_t  stats;

    opts.cells = 32;
    opts.max_window_ms = 12345;
    opts.on_full = MAVERA_RL_ON_FULL_ALLOW;
    CHECK_INT(mavera_rl_open(NULL, &opts, &rl), 0);
    REQUIRE(rl != NULL);
    stats = stats_of(rl);
    CHECK_INT(stats.size, sizeof(stats));
    CHECK(stats.keys_capacity >= 1280);
    CHECK_INT(stats.keys_capacity % WAYS, 0);
    CHECK_INT(stats.cells, 32);
    CHECK_INT(stats.clock, MAVERA_RL_CLOCK_CALLER);
    CHECK_INT(stats.on_full, MAVERA_RL_ON_FULL_ALLOW);
    CHECK_INT(stats.max_window_ms, 12345);
    CHECK(stats.bytes <= mavera_rl_region_size(&opts));
    CHECK(stats.bytes >= stats.keys_capacity * (16 + 8 * 32));
    mavera_rl_close(rl);
}

static void as_many_keys_fit_as_were_asked_for(void)
{
    /* Few enough per set that no secret puts too many into one. */
    static const uint64_t keys[] = { 1, 200, 201, 500 };

    for (size_t i = 0; i < sizeof(keys) / sizeof(*keys); i++) {
        mavera_rl *rl = caller_region_of(keys[i], 8);

        REQUIRE(rl != NULL);
        CHECK_INT(charge_keys(rl, 0, (int) keys[i], T0), keys[i]);
        expect_stats(rl, keys[i], keys[i], 0, 0);
        mavera_rl_close(rl);
    }
}

void run_table(void);
void run_table(void)
{
    RUN(a_full_table_denies_new_keys_and_counts_them);
    RUN(a_full_table_still_knows_the_keys_it_holds);
    RUN(a_full_table_allows_new_keys_if_told_to_and_says_so);
    RUN(only_keys_that_owe_nothing_are_forgotten);
    RUN(a_table_turns_over_as_keys_come_and_go);
    RUN(only_a_charge_takes_a_record);
    RUN(the_stats_tell_what_the_region_was_made_with);
    RUN(as_many_keys_fit_as_were_asked_for);
}
