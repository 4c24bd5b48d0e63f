/*
 * Structs of other versions: every struct begins with its size. Too small is
 * an error; larger is accepted when what this version does not know is zero.
 */
#include "support.h"

/* Sizes that no version ever had. */
static const size_t too_small[] = { 0, 1, sizeof(size_t) - 1, sizeof(size_t) };

#define TOO_SMALL  (sizeof(too_small) / sizeof(*too_small))
#define TAIL       64

/* A struct of this version with the tail of a later one, and a guard. */
#define LATER(type) \
    struct { type now; unsigned char tail[TAIL]; unsigned char guard[TAIL]; }

static int policy_with_size(mavera_rl *rl, enum entry e,
    mavera_rl_policy *policy)
{
    mavera_rl_decision d = patterned_decision(), before = d;
    int                rc = call_entry(e, rl, "key", 3, policy, 1, &d);

    if (rc < 0) {
        CHECK(memcmp(&d, &before, sizeof(d)) == 0);
    }
    return rc;
}

static void the_policy_follows_the_rules_of_sizes(void)
{
    for (enum entry e = 0; e < ENTRIES; e++) {
        mavera_rl                *rl = region_for(e);
        LATER(mavera_rl_policy)   later;

        REQUIRE(rl != NULL);
        memset(&later, 0, sizeof(later));
        later.now = policy_of(1000, MINUTE);
        for (size_t i = 0; i < TOO_SMALL; i++) {
            later.now.size = too_small[i];
            CHECK_INT(policy_with_size(rl, e, &later.now), MAVERA_RL_ESIZE);
        }
        later.now.size = sizeof(mavera_rl_policy) - 1;
        CHECK_INT(policy_with_size(rl, e, &later.now), MAVERA_RL_ESIZE);

        for (size_t tail = 1; tail <= TAIL; tail++) {
            later.now.size = sizeof(mavera_rl_policy) + tail;
            CHECK_INT(policy_with_size(rl, e, &later.now), 0);
            /* One byte that is not zero, wherever it lies in the tail. */
            later.tail[tail - 1] = 1;
            CHECK_INT(policy_with_size(rl, e, &later.now), MAVERA_RL_ESIZE);
            /* Beyond the tail it is none of the library's business. */
            later.now.size -= 1;
            CHECK_INT(policy_with_size(rl, e, &later.now), 0);
            later.tail[tail - 1] = 0;
        }
        later.tail[0] = 1;
        later.now.size = SIZE_MAX;
        CHECK_INT(policy_with_size(rl, e, &later.now), MAVERA_RL_ESIZE);
        mavera_rl_close(rl);
    }
}

static void only_as_much_of_a_decision_is_written_as_the_caller_knows(void)
{
    static const size_t sizes[] = {
        DECISION_MIN, offsetof(mavera_rl_decision, in_flight),
        offsetof(mavera_rl_decision, max_in_flight),
        offsetof(mavera_rl_decision, endpoint), sizeof(mavera_rl_decision),
    };

    for (enum entry e = 0; e < ENTRIES; e++) {
        mavera_rl        *rl = region_for(e);
        mavera_rl_policy  policy = policy_of(60, MINUTE);

        REQUIRE(rl != NULL);
        for (size_t i = 0; i < sizeof(sizes) / sizeof(*sizes); i++) {
            mavera_rl_decision  d = patterned_decision();
            unsigned char      *bytes = (unsigned char *) &d;

            d.size = sizes[i];
            CHECK_INT(call_entry(e, rl, "key", 3, &policy, 1, &d), 0);
            CHECK_INT(d.size, sizes[i]);
            CHECK_INT(d.outcome, 0);
            CHECK_INT(d.limit, 60);
            CHECK_INT(d.used + d.remaining, 60);
            CHECK_INT(d.retry_after_ms, 0);
            CHECK(all_bytes(bytes + sizes[i], sizeof(d) - sizes[i],
                PATTERN));
        }
        mavera_rl_close(rl);
    }
}

static void a_decision_of_the_wrong_size_is_refused_and_not_charged(void)
{
    for (enum entry e = 0; e < ENTRIES; e++) {
        mavera_rl                  *rl = region_for(e);
        mavera_rl_policy            policy = policy_of(60, MINUTE);
        LATER(mavera_rl_decision)   later, before;

        REQUIRE(rl != NULL);
        memset(&later, 0, sizeof(later));
        later.now = patterned_decision();
        for (size_t size = 0; size < DECISION_MIN; size++) {
            later.now.size = size;
            before = later;
            CHECK_INT(call_entry(e, rl, "key", 3, &policy, 1, &later.now),
                MAVERA_RL_ESIZE);
            CHECK(memcmp(&later, &before, sizeof(later)) == 0);
        }
        for (size_t tail = 1; tail <= TAIL; tail++) {
            later.now.size = sizeof(mavera_rl_decision) + tail;
            later.tail[tail - 1] = 1;
            before = later;
            CHECK_INT(call_entry(e, rl, "key", 3, &policy, 1, &later.now),
                MAVERA_RL_ESIZE);
            CHECK(memcmp(&later, &before, sizeof(later)) == 0);
            later.tail[tail - 1] = 0;
        }
        later.tail[0] = 1;
        later.now.size = SIZE_MAX;
        before = later;
        CHECK_INT(call_entry(e, rl, "key", 3, &policy, 1, &later.now),
            MAVERA_RL_ESIZE);
        CHECK(memcmp(&later, &before, sizeof(later)) == 0);
        CHECK_INT(stats_of(rl).inserted, 0);
        mavera_rl_close(rl);
    }
}

static void the_tail_of_a_later_decision_stays_untouched(void)
{
    for (enum entry e = 0; e < ENTRIES; e++) {
        mavera_rl                  *rl = region_for(e);
        mavera_rl_policy            policy = policy_of(60, MINUTE);
        LATER(mavera_rl_decision)   later;

        REQUIRE(rl != NULL);
        memset(&later, 0, sizeof(later));
        memset(later.guard, PATTERN, sizeof(later.guard));
        for (size_t tail = 1; tail <= TAIL; tail++) {
            later.now = patterned_decision();
            later.now.size = sizeof(mavera_rl_decision) + tail;
            CHECK(call_entry(e, rl, "key", 3, &policy, 1, &later.now) >= 0);
            CHECK_INT(later.now.size, sizeof(mavera_rl_decision) + tail);
            CHECK_INT(later.now.limit, 60);
            CHECK(all_bytes(later.tail, TAIL, 0));
            CHECK(all_bytes(later.guard, TAIL, PATTERN));
        }
        mavera_rl_close(rl);
    }
}

static void the_stats_follow_the_rules_of_sizes(void)
{
    mavera_rl                 *rl = caller_region(16);
    LATER(mavera_rl_stats_t)   later, before;

    REQUIRE(rl != NULL);
    memset(&later, PATTERN, sizeof(later));
    for (size_t i = 0; i < TOO_SMALL; i++) {
        later.now.size = too_small[i];
        before = later;
        CHECK_INT(mavera_rl_stats(rl, &later.now), MAVERA_RL_ESIZE);
        CHECK(memcmp(&later, &before, sizeof(later)) == 0);
    }
    later.now.size = sizeof(mavera_rl_stats_t) + TAIL;
    before = later;
    CHECK_INT(mavera_rl_stats(rl, &later.now), MAVERA_RL_ESIZE);
    CHECK(memcmp(&later, &before, sizeof(later)) == 0);
    memset(later.tail, 0, TAIL);
    CHECK_INT(mavera_rl_stats(rl, &later.now), 0);
    CHECK_INT(later.now.keys_held, 0);
    CHECK(all_bytes(later.tail, TAIL, 0));
    CHECK(all_bytes(later.guard, TAIL, PATTERN));
    mavera_rl_close(rl);
}

/* region_size has no code to return: 0 stands for every bad option. */
static void options_are_judged(mavera_rl_options *opts, int code)
{
    static unsigned char  memory[1 << 20];
    mavera_rl            *rl, *const none = (mavera_rl *) &rl;

    CHECK(mavera_rl_region_size(opts) > 0 ? code == 0 : code < 0);
    rl = none;
    CHECK_INT(mavera_rl_init(memory, sizeof(memory), opts, &rl), code);
    CHECK(code == 0 ? rl != none : rl == none);
    if (code == 0) {
        mavera_rl_close(rl);
    }
    rl = none;
    CHECK_INT(mavera_rl_open(NULL, opts, &rl), code);
    CHECK(code == 0 ? rl != none : rl == none);
    if (code == 0) {
        mavera_rl_close(rl);
    }
}

static void the_options_follow_the_rules_of_sizes(void)
{
    LATER(mavera_rl_options) later;

    memset(&later, 0, sizeof(later));
    later.now = caller_options(16);
    for (size_t i = 0; i < TOO_SMALL; i++) {
        later.now.size = too_small[i];
        options_are_judged(&later.now, MAVERA_RL_ESIZE);
    }
    later.now.size = OPTIONS_MIN - 1;
    options_are_judged(&later.now, MAVERA_RL_ESIZE);
    later.now.size = OPTIONS_MIN;
    options_are_judged(&later.now, 0);
    /* What comes after an older struct is none of the library's business. */
    later.now.permit_cells = 7;
    options_are_judged(&later.now, 0);
    later.now.size = offsetof(mavera_rl_options, permit_keys);
    options_are_judged(&later.now, 0);
    later.now.size = sizeof(mavera_rl_options);
    options_are_judged(&later.now, MAVERA_RL_EINVAL);
    later.now.permit_cells = 0;
    options_are_judged(&later.now, 0);
    for (size_t tail = 1; tail <= TAIL; tail++) {
        later.now.size = sizeof(mavera_rl_options) + tail;
        options_are_judged(&later.now, 0);
        later.tail[tail - 1] = 0x80;
        options_are_judged(&later.now, MAVERA_RL_ESIZE);
        later.tail[tail - 1] = 0;
    }
    later.tail[0] = 1;
    later.now.size = SIZE_MAX;
    options_are_judged(&later.now, MAVERA_RL_ESIZE);
}

static void the_plans_structs_follow_the_rules_of_sizes(void)
{
    mavera_rl_plan              *plan = NULL;
    LATER(mavera_rl_policy)      policy, policy_before;
    LATER(mavera_rl_endpoint)    endpoint, endpoint_before;

    CHECK_INT(mavera_rl_plan_default(&plan), 0);
    REQUIRE(plan != NULL);
    memset(&policy, PATTERN, sizeof(policy));
    memset(&endpoint, PATTERN, sizeof(endpoint));
    for (size_t i = 0; i <= TOO_SMALL; i++) {
        /* After the sizes that are too small, a tail that is not zero. */
        policy.now.size = i < TOO_SMALL
            ? too_small[i] : sizeof(policy.now) + TAIL;
        endpoint.now.size = i < TOO_SMALL
            ? too_small[i] : sizeof(endpoint.now) + TAIL;
        policy_before = policy;
        endpoint_before = endpoint;
        CHECK_INT(mavera_rl_plan_policy(plan, "starter", &policy.now),
            MAVERA_RL_ESIZE);
        CHECK_INT(mavera_rl_plan_endpoint_at(plan, 0, &endpoint.now),
            MAVERA_RL_ESIZE);
        CHECK_INT(mavera_rl_plan_endpoint(plan, "/mave/chat",
            &endpoint.now), MAVERA_RL_ESIZE);
        CHECK(memcmp(&policy, &policy_before, sizeof(policy)) == 0);
        CHECK(memcmp(&endpoint, &endpoint_before, sizeof(endpoint)) == 0);
    }
    memset(policy.tail, 0, TAIL);
    memset(endpoint.tail, 0, TAIL);
    CHECK_INT(mavera_rl_plan_policy(plan, "starter", &policy.now), 0);
    CHECK_INT(mavera_rl_plan_endpoint_at(plan, 0, &endpoint.now), 0);
    CHECK_INT(mavera_rl_plan_endpoint(plan, "/mave/chat", &endpoint.now),
        0);
    CHECK_INT(policy.now.limit, 60);
    CHECK(all_bytes(policy.tail, TAIL, 0));
    CHECK(all_bytes(endpoint.tail, TAIL, 0));
    CHECK(all_bytes(policy.guard, TAIL, PATTERN));
    CHECK(all_bytes(endpoint.guard, TAIL, PATTERN));
    mavera_rl_plan_free(plan);
}

void run_sizes(void);
void run_sizes(void)
{
    RUN(the_policy_follows_the_rules_of_sizes);
    RUN(only_as_much_of_a_decision_is_written_as_the_caller_knows);
    RUN(a_decision_of_the_wrong_size_is_refused_and_not_charged);
    RUN(the_tail_of_a_later_decision_stays_untouched);
    RUN(the_stats_follow_the_rules_of_sizes);
    RUN(the_options_follow_the_rules_of_sizes);
    RUN(the_plans_structs_follow_the_rules_of_sizes);
}
