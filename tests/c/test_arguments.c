/* Pointers that are NULL, numbers that are zero or huge, memory that is used
 * for two arguments at once: over every call that judges one key. */
#include "support.h"

/* Expects `code`, an untouched decision and an uncharged key. */
#define REFUSES(code, entry, rl, key, len, policy, cost) \
    do { \
        mavera_rl_decision d_ = patterned_decision(); \
        mavera_rl_decision before_ = d_; \
        CHECK_INT(call_entry((entry), (rl), (key), (len), (policy), (cost), \
            &d_), (code)); \
        CHECK(memcmp(&d_, &before_, sizeof(d_)) == 0); \
    } while (0)

static void null_is_refused_for_every_pointer(void)
{
    mavera_rl_policy policy = policy_of(60, MINUTE);

    for (enum entry e = 0; e < ENTRIES; e++) {
        mavera_rl *rl = region_for(e);

        REQUIRE(rl != NULL);
        REFUSES(MAVERA_RL_EINVAL, e, NULL, "key", 3, &policy, 1);
        REFUSES(MAVERA_RL_EINVAL, e, rl, NULL, 3, &policy, 1);
        REFUSES(MAVERA_RL_EINVAL, e, rl, NULL, 0, &policy, 1);
        REFUSES(MAVERA_RL_EINVAL, e, rl, "key", 3, NULL, 1);
        REFUSES(MAVERA_RL_EINVAL, e, NULL, NULL, 0, NULL, 0);
        CHECK_INT(stats_of(rl).inserted, 0);
        mavera_rl_close(rl);
    }
}

static void a_check_without_a_decision_charges_all_the_same(void)
{
    for (enum entry e = 0; e < ENTRIES; e++) {
        mavera_rl        *rl = region_for(e);
        mavera_rl_policy  policy = policy_of(2, MINUTE);

        REQUIRE(rl != NULL);
        CHECK_INT(call_entry(e, rl, "key", 3, &policy, 1, NULL), 0);
        CHECK_INT(call_entry(e, rl, "key", 3, &policy, 1, NULL), 0);
        CHECK_INT(call_entry(e, rl, "key", 3, &policy, 1, NULL),
            e == CHECK_AT || e == CHECK_OWN
            ? MAVERA_RL_LIMITED : MAVERA_RL_ALLOWED);
        mavera_rl_close(rl);
    }
}

static void a_limit_or_window_out_of_range_is_refused(void)
{
    mavera_rl_policy no_window = policy_of(60, 0);
    mavera_rl_policy above = policy_of(LIMIT_MAX + 1, MINUTE);
    mavera_rl_policy highest = policy_of(UINT32_MAX, MINUTE);
    mavera_rl_policy longer = policy_of(60, MINUTE + 1);
    mavera_rl_policy longest = policy_of(60, UINT32_MAX);
    mavera_rl_policy nothing = policy_of(0, MINUTE);
    mavera_rl_policy most = policy_of(LIMIT_MAX, MINUTE);

    for (enum entry e = 0; e < ENTRIES; e++) {
        mavera_rl *rl = region_for(e);

        REQUIRE(rl != NULL);
        REFUSES(MAVERA_RL_EINVAL, e, rl, "key", 3, &no_window, 1);
        REFUSES(MAVERA_RL_EINVAL, e, rl, "key", 3, &above, 1);
        REFUSES(MAVERA_RL_EINVAL, e, rl, "key", 3, &highest, 1);
        /* The regions' max_window_ms is the default, a minute. */
        REFUSES(MAVERA_RL_EINVAL, e, rl, "key", 3, &longer, 1);
        REFUSES(MAVERA_RL_EINVAL, e, rl, "key", 3, &longest, 1);
        /* A limit of 0 admits nothing, however long one waits. */
        REFUSES(MAVERA_RL_ECOST, e, rl, "key", 3, &nothing, 1);
        CHECK_INT(stats_of(rl).inserted, 0);

        CHECK_INT(call_entry(e, rl, "key", 3, &most, LIMIT_MAX, NULL), 0);
        mavera_rl_close(rl);
    }
}

static void a_cost_above_the_limit_is_an_error_and_no_wait(void)
{
    mavera_rl_policy policy = policy_of(60, MINUTE);

    for (enum entry e = 0; e < ENTRIES; e++) {
        mavera_rl *rl = region_for(e);

        REQUIRE(rl != NULL);
        REFUSES(MAVERA_RL_ECOST, e, rl, "key", 3, &policy, 61);
        REFUSES(MAVERA_RL_ECOST, e, rl, "key", 3, &policy, LIMIT_MAX + 1);
        REFUSES(MAVERA_RL_ECOST, e, rl, "key", 3, &policy, UINT32_MAX);
        /* (limit + cost) must not wrap round to something small. */
        REFUSES(MAVERA_RL_ECOST, e, rl, "key", 3, &policy, UINT32_MAX - 59);
        CHECK_INT(stats_of(rl).inserted, 0);
        CHECK_INT(call_entry(e, rl, "key", 3, &policy, 60, NULL), 0);
        mavera_rl_close(rl);
    }
}

static void a_key_of_impossible_length_is_refused(void)
{
    mavera_rl_policy policy = policy_of(60, MINUTE);

    for (enum entry e = 0; e < ENTRIES; e++) {
        mavera_rl *rl = region_for(e);

        REQUIRE(rl != NULL);
        REFUSES(MAVERA_RL_EINVAL, e, rl, "key", SIZE_MAX, &policy, 1);
        REFUSES(MAVERA_RL_EINVAL, e, rl, "key", SIZE_MAX / 2 + 1, &policy,
            1);
        CHECK_INT(stats_of(rl).inserted, 0);
        mavera_rl_close(rl);
    }
}

static void an_empty_key_is_refused_or_limited_but_never_waved_through(void)
{
    mavera_rl_policy  policy = policy_of(2, MINUTE);
    mavera_rl        *rl = caller_region(16);
    int               rc;

    REQUIRE(rl != NULL);
    rc = mavera_rl_check_at(rl, "", 0, &policy, 2, T0, NULL);
    CHECK(rc == MAVERA_RL_ALLOWED || rc == MAVERA_RL_EINVAL);
    if (rc == MAVERA_RL_ALLOWED) {
        CHECK_INT(mavera_rl_check_at(rl, "", 0, &policy, 1, T0, NULL),
            MAVERA_RL_LIMITED);
        /* A key like any other: the bytes behind it are not part of it. */
        CHECK_INT(mavera_rl_check_at(rl, "other", 0, &policy, 1, T0, NULL),
            MAVERA_RL_LIMITED);
    }
    CHECK_INT(mavera_rl_check_at(rl, "other", 5, &policy, 1, T0, NULL), 0);
    mavera_rl_close(rl);
}

static void keys_are_bytes_and_not_strings(void)
{
    static const char *const  keys[] = { "\0", "\0\0", "a\0b", "a\0c", "a" };
    static const size_t       lens[] = { 1, 2, 3, 3, 1 };
    mavera_rl_policy          policy = policy_of(1, MINUTE);
    mavera_rl                *rl = caller_region(16);
    char                     *large = malloc(1 << 20);

    REQUIRE(rl != NULL && large != NULL);
    for (size_t i = 0; i < 5; i++) {
        CHECK_INT(mavera_rl_check_at(rl, keys[i], lens[i], &policy, 1, T0,
            NULL), MAVERA_RL_ALLOWED);
        CHECK_INT(mavera_rl_check_at(rl, keys[i], lens[i], &policy, 1, T0,
            NULL), MAVERA_RL_LIMITED);
    }
    /* Long keys count in full: they differ in their last byte only. */
    memset(large, 'k', 1 << 20);
    CHECK_INT(mavera_rl_check_at(rl, large, 1 << 20, &policy, 1, T0, NULL),
        MAVERA_RL_ALLOWED);
    large[(1 << 20) - 1] = 'l';
    CHECK_INT(mavera_rl_check_at(rl, large, 1 << 20, &policy, 1, T0, NULL),
        MAVERA_RL_ALLOWED);
    CHECK_INT(mavera_rl_check_at(rl, large, 1 << 20, &policy, 1, T0, NULL),
        MAVERA_RL_LIMITED);
    CHECK_INT(stats_of(rl).inserted, 7);
    free(large);
    mavera_rl_close(rl);
}

/* Arguments are read before outputs are written, so they may share memory. */
static void a_key_or_policy_may_lie_in_the_decisions_memory(void)
{
    union {
        mavera_rl_decision decision;
        mavera_rl_policy   policy;
        unsigned char      bytes[sizeof(mavera_rl_decision)];
    } shared;
    mavera_rl_policy  policy = policy_of(2, MINUTE);
    mavera_rl        *rl = caller_region(16);

    REQUIRE(rl != NULL);
    for (uint32_t used = 1; used <= 2; used++) {
        shared.decision = blank_decision();
        memcpy(shared.bytes + sizeof(size_t), "overlapping", 11);
        CHECK_INT(mavera_rl_check_at(rl, shared.bytes + sizeof(size_t), 11,
            &policy, 1, T0, &shared.decision), 0);
        CHECK_INT(shared.decision.used, used);
    }
    CHECK_INT(check_key(rl, "overlapping", 2, MINUTE, 1, T0, NULL),
        MAVERA_RL_LIMITED);

    /* A policy as large as a decision: the rest of it is a tail of zeros. */
    shared.decision = blank_decision();
    shared.policy.limit = 60;
    shared.policy.window_ms = MINUTE;
    CHECK_INT(mavera_rl_check_at(rl, "other", 5, &shared.policy, 60, T0,
        &shared.decision), 0);
    CHECK_INT(shared.decision.limit, 60);
    CHECK_INT(shared.decision.window_ms, MINUTE);
    CHECK_INT(shared.decision.used, 60);
    mavera_rl_close(rl);
}

static void the_wrong_clock_is_an_error_and_not_a_guess(void)
{
    mavera_rl_policy  policy = policy_of(60, MINUTE);
    mavera_rl        *theirs = caller_region(16);

    REQUIRE(theirs != NULL);
    REFUSES(MAVERA_RL_ECLOCK, CHECK_OWN, theirs, "key", 3, &policy, 1);
    REFUSES(MAVERA_RL_ECLOCK, PEEK_OWN, theirs, "key", 3, &policy, 1);
    CHECK_INT(stats_of(theirs).inserted, 0);
    mavera_rl_close(theirs);

    for (uint32_t clock = MAVERA_RL_CLOCK_DEFAULT;
        clock <= MAVERA_RL_CLOCK_COARSE; clock++)
    {
        mavera_rl *own = clock_region(clock);

        REQUIRE(own != NULL);
        REFUSES(MAVERA_RL_ECLOCK, CHECK_AT, own, "key", 3, &policy, 1);
        REFUSES(MAVERA_RL_ECLOCK, PEEK_AT, own, "key", 3, &policy, 1);
        CHECK_INT(stats_of(own).inserted, 0);
        mavera_rl_close(own);
    }
}

static void stats_refuses_null(void)
{
    mavera_rl         *rl = caller_region(16);
    mavera_rl_stats_t  stats, before;

    REQUIRE(rl != NULL);
    memset(&stats, PATTERN, sizeof(stats));
    stats.size = sizeof(stats);
    before = stats;
    CHECK_INT(mavera_rl_stats(NULL, &stats), MAVERA_RL_EINVAL);
    CHECK(memcmp(&stats, &before, sizeof(stats)) == 0);
    CHECK_INT(mavera_rl_stats(rl, NULL), MAVERA_RL_EINVAL);
    mavera_rl_close(rl);
}

static void closing_nothing_is_fine(void)
{
    mavera_rl_close(NULL);
    mavera_rl_plan_free(NULL);
    CHECK(1);
}

void run_arguments(void);
void run_arguments(void)
{
    RUN(null_is_refused_for_every_pointer);
    RUN(a_check_without_a_decision_charges_all_the_same);
    RUN(a_limit_or_window_out_of_range_is_refused);
    RUN(a_cost_above_the_limit_is_an_error_and_no_wait);
    RUN(a_key_of_impossible_length_is_refused);
    RUN(an_empty_key_is_refused_or_limited_but_never_waved_through);
    RUN(keys_are_bytes_and_not_strings);
    RUN(a_key_or_policy_may_lie_in_the_decisions_memory);
    RUN(the_wrong_clock_is_an_error_and_not_a_guess);
    RUN(stats_refuses_null);
    RUN(closing_nothing_is_fine);
}
