/* Plans: the built-in tiers and endpoints, and changes at run time. */
#include "support.h"

static mavera_rl_plan *default_plan(void)
{
    mavera_rl_plan *plan = NULL;

    CHECK_INT(mavera_rl_plan_default(&plan), 0);
    return plan;
}

static void tier(const mavera_rl_plan *plan, const char *name,
    uint32_t limit, uint32_t window_ms)
{
    mavera_rl_policy policy;

    memset(&policy, PATTERN, sizeof(policy));
    policy.size = sizeof(policy);
    CHECK_INT(mavera_rl_plan_policy(plan, name, &policy), 0);
    CHECK_INT(policy.size, sizeof(policy));
    CHECK_INT(policy.limit, limit);
    CHECK_INT(policy.window_ms, window_ms);
}

static void the_built_in_tiers_are_the_contracts(void)
{
    mavera_rl_plan *plan = default_plan();

    REQUIRE(plan != NULL);
    tier(plan, "starter", 60, MINUTE);
    tier(plan, "basic", 120, MINUTE);
    tier(plan, "professional", 240, MINUTE);
    tier(plan, "enterprise", 600, MINUTE);
    mavera_rl_plan_free(plan);
}

static void the_built_in_endpoints_are_the_contracts(void)
{
    static const struct {
        const char *path;
        uint32_t    max;
        uint32_t    class_id;
    } wanted[] = {
        { "/mave/chat", 10, 0x5b0a4851 },
        { "/focus-groups", 5, 0x2ab52a12 },
        { "/video-analyses", 3, 0xf9fe258e },
    };
    mavera_rl_plan      *plan = default_plan();
    mavera_rl_endpoint   found[3], extra, before;

    REQUIRE(plan != NULL);
    for (size_t i = 0; i < 3; i++) {
        memset(&found[i], PATTERN, sizeof(found[i]));
        found[i].size = sizeof(found[i]);
        REQUIRE(mavera_rl_plan_endpoint_at(plan, i, &found[i]) == 0);
    }
    for (size_t w = 0; w < 3; w++) {
        int times = 0;

        for (size_t i = 0; i < 3; i++) {
            times += strcmp(found[i].path, wanted[w].path) == 0
                && found[i].max_in_flight == wanted[w].max
                && found[i].class_id == wanted[w].class_id;
        }
        CHECK_INT(times, 1);
    }
    memset(&extra, PATTERN, sizeof(extra));
    extra.size = sizeof(extra);
    before = extra;
    CHECK_INT(mavera_rl_plan_endpoint_at(plan, 3, &extra),
        MAVERA_RL_ENOENT);
    CHECK_INT(mavera_rl_plan_endpoint_at(plan, SIZE_MAX, &extra),
        MAVERA_RL_ENOENT);
    CHECK(memcmp(&extra, &before, sizeof(extra)) == 0);
    mavera_rl_plan_free(plan);
}

static void a_class_is_the_same_everywhere_and_told_by_the_path(void)
{
    /* Processes of other versions share regions: these never change. */
    CHECK_INT(mavera_rl_class_id("/mave/chat"), 0x5b0a4851);
    CHECK_INT(mavera_rl_class_id("/focus-groups"), 0x2ab52a12);
    CHECK_INT(mavera_rl_class_id("/video-analyses"), 0xf9fe258e);
    CHECK_INT(mavera_rl_class_id("/mave/chat/"), 0x5b0a4851);
    CHECK(mavera_rl_class_id("/mave") != mavera_rl_class_id("/mave/chat"));
    CHECK(mavera_rl_class_id("a name") != mavera_rl_class_id("a Name"));
    CHECK_INT(mavera_rl_class_id(NULL), mavera_rl_class_id(""));
    /* Bytes that are no UTF-8 do no harm. */
    CHECK_INT(mavera_rl_class_id("\xFF\xFE"),
        mavera_rl_class_id("\xFF\xFE"));
}

static void a_request_finds_its_endpoint_however_it_is_spelled(void)
{
    static const struct { const char *target, *path; } cases[] = {
        { "/mave/chat", "/mave/chat" }, { "/mave/chat/", "/mave/chat" },
        { "/mave/chat/7/messages", "/mave/chat" },
        { "/mave/chat?stream=1", "/mave/chat" },
        { "//mave///chat", "/mave/chat" }, { "/m%61ve/chat", "/mave/chat" },
        { "/x/../mave/./chat", "/mave/chat" },
        { "/focus-groups", "/focus-groups" },
        { "/video-analyses%2F7", "/video-analyses" },
        { "/", NULL }, { "", NULL }, { "/mave", NULL },
        { "/mave/chats", NULL }, { "/MAVE/CHAT", NULL },
        { "/models?x=/mave/chat", NULL }, { "\xFF\xFE", NULL },
        { "/mave/chat/../x", NULL },
    };
    mavera_rl_plan *plan = default_plan();

    REQUIRE(plan != NULL);
    for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
        mavera_rl_endpoint  endpoint, before;
        int                 rc;

        memset(&endpoint, PATTERN, sizeof(endpoint));
        endpoint.size = sizeof(endpoint);
        before = endpoint;
        rc = mavera_rl_plan_endpoint(plan, cases[i].target, &endpoint);
        if (cases[i].path == NULL) {
            CHECK_INT(rc, MAVERA_RL_ENOENT);
            CHECK(memcmp(&endpoint, &before, sizeof(endpoint)) == 0);
        } else if (CHECK_INT(rc, 0)) {
            CHECK_INT(endpoint.size, sizeof(endpoint));
            CHECK_STR(endpoint.path, cases[i].path);
            CHECK_INT(endpoint.class_id, mavera_rl_class_id(cases[i].path));
        } else {
            printf("  %s\n", cases[i].target);
        }
    }
    mavera_rl_plan_free(plan);
}

static void an_unknown_tier_or_key_is_not_found(void)
{
    static const char *const  unknown[] = { "gold", "starte", "starter ",
        "starterx" };
    mavera_rl_plan           *plan = default_plan();
    mavera_rl_policy          policy, before;
    int                       rc;

    REQUIRE(plan != NULL);
    memset(&policy, PATTERN, sizeof(policy));
    policy.size = sizeof(policy);
    before = policy;
    for (size_t i = 0; i < sizeof(unknown) / sizeof(*unknown); i++) {
        CHECK_INT(mavera_rl_plan_policy(plan, unknown[i], &policy),
            MAVERA_RL_ENOENT);
    }
    rc = mavera_rl_plan_policy(plan, "", &policy);
    CHECK(rc == MAVERA_RL_ENOENT || rc == MAVERA_RL_EINVAL);
    /* Bytes that are no UTF-8 name no tier, and do no harm. */
    rc = mavera_rl_plan_policy(plan, "\xFF\xFE", &policy);
    CHECK(rc == MAVERA_RL_ENOENT || rc == MAVERA_RL_EINVAL);
    CHECK_INT(mavera_rl_plan_key_policy(plan, "key", 3, &policy),
        MAVERA_RL_ENOENT);
    CHECK(memcmp(&policy, &before, sizeof(policy)) == 0);
    mavera_rl_plan_free(plan);
}

static void null_is_refused_by_every_call_of_a_plan(void)
{
    mavera_rl_plan      *plan = default_plan();
    mavera_rl_policy     policy = policy_of(7, 7);
    mavera_rl_endpoint   endpoint;

    REQUIRE(plan != NULL);
    memset(&endpoint, 0, sizeof(endpoint));
    endpoint.size = sizeof(endpoint);
    CHECK_INT(mavera_rl_plan_default(NULL), MAVERA_RL_EINVAL);
    CHECK_INT(mavera_rl_plan_policy(NULL, "starter", &policy),
        MAVERA_RL_EINVAL);
    CHECK_INT(mavera_rl_plan_policy(plan, NULL, &policy), MAVERA_RL_EINVAL);
    CHECK_INT(mavera_rl_plan_policy(plan, "starter", NULL),
        MAVERA_RL_EINVAL);
    CHECK_INT(mavera_rl_plan_key_policy(NULL, "key", 3, &policy),
        MAVERA_RL_EINVAL);
    CHECK_INT(mavera_rl_plan_key_policy(plan, NULL, 3, &policy),
        MAVERA_RL_EINVAL);
    CHECK_INT(mavera_rl_plan_key_policy(plan, "key", 3, NULL),
        MAVERA_RL_EINVAL);
    CHECK_INT(mavera_rl_plan_key_policy(plan, "key", SIZE_MAX, &policy),
        MAVERA_RL_EINVAL);
    CHECK_INT(mavera_rl_plan_set_tier(NULL, "starter", 60, MINUTE),
        MAVERA_RL_EINVAL);
    CHECK_INT(mavera_rl_plan_set_tier(plan, NULL, 60, MINUTE),
        MAVERA_RL_EINVAL);
    CHECK_INT(mavera_rl_plan_endpoint_at(NULL, 0, &endpoint),
        MAVERA_RL_EINVAL);
    CHECK_INT(mavera_rl_plan_endpoint_at(plan, 0, NULL), MAVERA_RL_EINVAL);
    CHECK_INT(mavera_rl_plan_endpoint(NULL, "/mave/chat", &endpoint),
        MAVERA_RL_EINVAL);
    CHECK_INT(mavera_rl_plan_endpoint(plan, NULL, &endpoint),
        MAVERA_RL_EINVAL);
    CHECK_INT(mavera_rl_plan_endpoint(plan, "/mave/chat", NULL),
        MAVERA_RL_EINVAL);
    CHECK_INT(policy.limit, 7);
    CHECK_INT(policy.window_ms, 7);
    CHECK(endpoint.path == NULL);
    mavera_rl_plan_free(plan);
}

static void a_tier_changes_at_run_time_for_this_plan_only(void)
{
    mavera_rl_plan *plan = default_plan(), *other = default_plan();

    REQUIRE(plan != NULL && other != NULL);
    CHECK_INT(mavera_rl_plan_set_tier(plan, "enterprise", 5000, 30000), 0);
    tier(plan, "enterprise", 5000, 30000);
    tier(plan, "starter", 60, MINUTE);
    tier(other, "enterprise", 600, MINUTE);
    CHECK_INT(mavera_rl_plan_set_tier(plan, "starter", LIMIT_MAX, 1), 0);
    tier(plan, "starter", LIMIT_MAX, 1);
    /* Shuts the tier. */
    CHECK_INT(mavera_rl_plan_set_tier(plan, "starter", 0, MINUTE), 0);
    tier(plan, "starter", 0, MINUTE);
    mavera_rl_plan_free(plan);
    tier(other, "starter", 60, MINUTE);
    mavera_rl_plan_free(other);
}

static void a_tier_cannot_become_what_no_policy_can_be(void)
{
    mavera_rl_plan *plan = default_plan();

    REQUIRE(plan != NULL);
    CHECK_INT(mavera_rl_plan_set_tier(plan, "starter", 60, 0),
        MAVERA_RL_EINVAL);
    CHECK_INT(mavera_rl_plan_set_tier(plan, "starter", LIMIT_MAX + 1,
        MINUTE), MAVERA_RL_EINVAL);
    tier(plan, "starter", 60, MINUTE);
    mavera_rl_plan_free(plan);
}

static void a_tier_that_is_not_there_is_not_made(void)
{
    mavera_rl_plan    *plan = default_plan();
    mavera_rl_policy   policy = policy_of(7, 7);

    REQUIRE(plan != NULL);
    CHECK_INT(mavera_rl_plan_set_tier(plan, "gold", 90, 1000),
        MAVERA_RL_ENOENT);
    CHECK_INT(mavera_rl_plan_policy(plan, "gold", &policy),
        MAVERA_RL_ENOENT);
    mavera_rl_plan_free(plan);
}

static void a_changed_tier_keeps_the_history_of_its_keys(void)
{
    mavera_rl_plan      *plan = default_plan();
    mavera_rl           *rl = caller_region(16);
    mavera_rl_policy     policy = policy_of(0, 0);
    mavera_rl_decision   d = blank_decision();

    REQUIRE(plan != NULL && rl != NULL);
    CHECK_INT(mavera_rl_plan_policy(plan, "starter", &policy), 0);
    CHECK_INT(mavera_rl_check_at(rl, "key", 3, &policy, 50, T0, &d), 0);
    CHECK_INT(mavera_rl_plan_set_tier(plan, "starter", 40, MINUTE), 0);
    CHECK_INT(mavera_rl_plan_policy(plan, "starter", &policy), 0);
    CHECK_INT(mavera_rl_check_at(rl, "key", 3, &policy, 1, T0, &d),
        MAVERA_RL_LIMITED);
    CHECK_INT(d.limit, 40);
    CHECK_INT(d.used, 50);
    CHECK_INT(d.remaining, 0);
    mavera_rl_close(rl);
    mavera_rl_plan_free(plan);
}

struct readers {
    mavera_rl_plan *plan;
    atomic_int      done;
};

#define READERS  4

/* Thread 0 changes the tier, the others read it; returns what they saw that
 * nobody had written. */
static unsigned change_or_read(unsigned thread, void *data)
{
    struct readers *shared = data;
    unsigned        wrong = 0, reads = 0;

    if (thread == 0) {
        for (uint32_t i = 0; i < 100000; i++) {
            uint32_t n = 1 + i % 1000;

            wrong += mavera_rl_plan_set_tier(shared->plan, "starter", n,
                n * 10) != 0;
        }
        atomic_store(&shared->done, 1);
        return wrong;
    }
    do {
        mavera_rl_policy    policy = policy_of(0, 0);
        mavera_rl_endpoint  endpoint;

        memset(&endpoint, 0, sizeof(endpoint));
        endpoint.size = sizeof(endpoint);
        wrong += mavera_rl_plan_policy(shared->plan, "starter", &policy)
            != 0;
        /* Limit and window belong together. */
        wrong += policy.limit < 1 || policy.limit > 1000
            || policy.window_ms != policy.limit * 10;
        wrong += mavera_rl_plan_policy(shared->plan, "basic", &policy) != 0
            || policy.limit != 120;
        wrong += mavera_rl_plan_endpoint_at(shared->plan, 0, &endpoint) != 0
            || endpoint.path == NULL || endpoint.path[0] != '/';
        reads++;
    } while (!atomic_load(&shared->done));
    return wrong + (reads == 0);
}

static void a_tier_may_change_while_others_read_it(void)
{
    struct readers shared;

    shared.plan = default_plan();
    atomic_init(&shared.done, 0);
    REQUIRE(shared.plan != NULL);
    CHECK_INT(mavera_rl_plan_set_tier(shared.plan, "starter", 1, 10), 0);
    CHECK_INT(in_threads(1 + READERS, change_or_read, &shared), 0);
    tier(shared.plan, "starter", 1000, 10000);
    mavera_rl_plan_free(shared.plan);
}

void run_plan(void);
void run_plan(void)
{
    RUN(the_built_in_tiers_are_the_contracts);
    RUN(the_built_in_endpoints_are_the_contracts);
    RUN(a_class_is_the_same_everywhere_and_told_by_the_path);
    RUN(a_request_finds_its_endpoint_however_it_is_spelled);
    RUN(an_unknown_tier_or_key_is_not_found);
    RUN(null_is_refused_by_every_call_of_a_plan);
    RUN(a_tier_changes_at_run_time_for_this_plan_only);
    RUN(a_tier_cannot_become_what_no_policy_can_be);
    RUN(a_tier_that_is_not_there_is_not_made);
    RUN(a_changed_tier_keeps_the_history_of_its_keys);
    RUN(a_tier_may_change_while_others_read_it);
}
