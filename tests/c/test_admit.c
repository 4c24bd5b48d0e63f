/* Permit and quota in one call, and what a response says of them. */
#include "support.h"

#define VIDEO   "/video-analyses?x=1"
#define BUSY_BODY(where, most, seconds) \
    "{\"error\":{\"message\":\"Too many requests in flight" where \
    ": at most " most " at a time. Please retry after " seconds \
    " seconds.\",\"type\":\"rate_limit_error\"," \
    "\"code\":\"concurrency_limit_exceeded\",\"param\":null}}"

static mavera_rl_plan *default_plan(void)
{
    mavera_rl_plan *plan = NULL;

    CHECK_INT(mavera_rl_plan_default(&plan), 0);
    return plan;
}

static mavera_rl_plan *plan_of(const char *text)
{
    mavera_rl_plan *plan = NULL;
    char            dir[64];

    make_directory(dir);
    write_file(path_in(dir, "plan.toml"), text, strlen(text));
    if (!CHECK_INT(mavera_rl_plan_load(path_in(dir, "plan.toml"), &plan),
        0))
    {
        printf("  %s\n", last_error());
    }
    remove_directory(dir);
    return plan;
}

/* A request of the starter "key" at T0; writes over all of both outputs. */
static int admit(mavera_rl *rl, const mavera_rl_plan *plan,
    const char *path, mavera_rl_decision *d, mavera_rl_permit *permit)
{
    *d = patterned_decision();
    *permit = patterned_permit();
    return mavera_rl_admit_at(rl, plan, "key", 3, "starter", path, T0, d,
        permit);
}

static uint32_t video_in_flight(mavera_rl *rl)
{
    return in_flight_of(rl, "key", mavera_rl_class_id("/video-analyses"));
}

static const char *headers_of(const mavera_rl_decision *d, uint32_t flavour)
{
    static char  text[1024];
    size_t       len;

    memset(text, 0, sizeof(text));
    len = mavera_rl_format_headers(d, flavour, text, sizeof(text));
    CHECK_INT(strlen(text), len);
    return text;
}

static const char *body_of(const mavera_rl_decision *d)
{
    static char  text[1024];
    size_t       len;

    memset(text, 0, sizeof(text));
    len = mavera_rl_format_body(d, text, sizeof(text));
    CHECK_INT(strlen(text), len);
    return text;
}

static void an_admission_has_a_permit_and_charges_one_unit(void)
{
    mavera_rl           *rl = caller_region(16);
    mavera_rl_plan      *plan = default_plan();
    mavera_rl_permit     permit;
    mavera_rl_decision   d;

    REQUIRE(rl != NULL && plan != NULL);
    for (uint32_t used = 1; used <= 3; used++) {
        CHECK_INT(admit(rl, plan, VIDEO, &d, &permit), MAVERA_RL_ALLOWED);
        CHECK_INT(d.size, sizeof(d));
        CHECK_INT(d.outcome, MAVERA_RL_ALLOWED);
        CHECK_INT(d.limit, 60);
        CHECK_INT(d.window_ms, MINUTE);
        CHECK_INT(d.used, used);
        CHECK_INT(d.remaining, 60 - used);
        CHECK_INT(d.retry_after_s, 0);
        CHECK_INT(d.retry_after_ms, 0);
        CHECK_INT(d.untracked, 0);
        CHECK_INT(d.in_flight, 1);
        CHECK_INT(d.max_in_flight, 3);
        CHECK_INT(d.reserved, 0);
        CHECK_STR(d.endpoint, "/video-analyses");
        CHECK_STR(body_of(&d), "");
        CHECK(!is_zero_permit(permit));
        CHECK_INT(video_in_flight(rl), 1);
        CHECK_INT(mavera_rl_release(rl, permit), 0);
        CHECK_INT(mavera_rl_release(rl, permit), MAVERA_RL_NOT_HELD);
        CHECK_INT(video_in_flight(rl), 0);
    }
    mavera_rl_plan_free(plan);
    mavera_rl_close(rl);
}

static void a_refusal_for_what_is_in_flight_charges_no_quota(void)
{
    mavera_rl           *rl = caller_region(16);
    mavera_rl_plan      *plan = default_plan();
    mavera_rl_permit     held[3], permit;
    mavera_rl_decision   d;

    REQUIRE(rl != NULL && plan != NULL);
    for (uint32_t i = 0; i < 3; i++) {
        CHECK_INT(admit(rl, plan, VIDEO, &d, &held[i]), 0);
        CHECK_INT(d.in_flight, i + 1);
    }
    for (int i = 0; i < 5; i++) {
        CHECK_INT(admit(rl, plan, VIDEO, &d, &permit), MAVERA_RL_BUSY);
        CHECK(is_zero_permit(permit));
        CHECK_INT(d.outcome, MAVERA_RL_BUSY);
        CHECK_INT(d.in_flight, 3);
        CHECK_INT(d.max_in_flight, 3);
        CHECK_STR(d.endpoint, "/video-analyses");
        CHECK_INT(d.used, 3);
        CHECK_INT(d.remaining, 57);
        CHECK_INT(d.retry_after_s, 1);
        CHECK_INT(d.retry_after_ms, 1000);
        CHECK_INT(d.reset_after_ms, 1000);
        CHECK_INT(d.reset_unix_ms, T0 + 1000);
    }
    /* Others are not concerned. */
    CHECK_INT(admit(rl, plan, "/mave/chat", &d, &permit), 0);
    CHECK(!is_zero_permit(permit));
    CHECK_INT(d.max_in_flight, 10);
    CHECK_INT(mavera_rl_admit_at(rl, plan, "other", 5, "starter", VIDEO, T0,
        NULL, &permit), 0);
    CHECK_INT(mavera_rl_release(rl, held[1]), 0);
    CHECK_INT(admit(rl, plan, VIDEO, &d, &permit), 0);
    CHECK_INT(d.in_flight, 3);
    CHECK_INT(d.used, 5);
    mavera_rl_plan_free(plan);
    mavera_rl_close(rl);
}

static void a_response_tells_of_what_is_in_flight(void)
{
    mavera_rl           *rl = caller_region(16);
    mavera_rl_plan      *plan = default_plan();
    mavera_rl_permit     permit;
    mavera_rl_decision   d;

    REQUIRE(rl != NULL && plan != NULL);
    CHECK_INT(admit(rl, plan, VIDEO, &d, &permit), 0);
    CHECK_STR(headers_of(&d, MAVERA_RL_HEADERS_LEGACY),
        "X-RateLimit-Limit: 60\r\n"
        "X-RateLimit-Remaining: 59\r\n"
        "X-RateLimit-Reset: 1061\r\n");
    CHECK_STR(headers_of(&d, MAVERA_RL_HEADERS_IETF),
        "RateLimit-Policy: \"default\";q=60;w=60, "
        "\"in-flight\";q=3;qu=\"concurrent-requests\"\r\n"
        "RateLimit: \"default\";r=59;t=60, \"in-flight\";r=2\r\n");
    CHECK_INT(admit(rl, plan, VIDEO, &d, &permit), 0);
    CHECK_INT(admit(rl, plan, VIDEO, &d, &permit), 0);
    CHECK_INT(admit(rl, plan, VIDEO, &d, &permit), MAVERA_RL_BUSY);
    CHECK_STR(headers_of(&d, MAVERA_RL_HEADERS_LEGACY),
        "X-RateLimit-Limit: 60\r\n"
        "X-RateLimit-Remaining: 57\r\n"
        "X-RateLimit-Reset: 1002\r\n"
        "Retry-After: 1\r\n");
    CHECK_STR(headers_of(&d, MAVERA_RL_HEADERS_IETF),
        "RateLimit-Policy: \"default\";q=60;w=60, "
        "\"in-flight\";q=3;qu=\"concurrent-requests\"\r\n"
        "RateLimit: \"default\";r=57;t=1, \"in-flight\";r=0\r\n"
        "Retry-After: 1\r\n");
    CHECK_STR(body_of(&d), BUSY_BODY(" on /video-analyses", "3", "1"));
    /* Without an endpoint there is none to name. */
    d.endpoint = NULL;
    CHECK_STR(body_of(&d), BUSY_BODY("", "3", "1"));
    d.endpoint = "/a\"b\\c\n\xC3\xBC";
    CHECK_STR(body_of(&d),
        BUSY_BODY(" on /a\\\"b\\\\c\\u000a\xC3\xBC", "3", "1"));
    mavera_rl_plan_free(plan);
    mavera_rl_close(rl);
}

static void the_body_keeps_the_contract_of_snprintf(void)
{
    const char          *whole = BUSY_BODY(" on /mave/chat", "10", "7");
    size_t               len = strlen(whole);
    mavera_rl_decision   d = blank_decision();
    unsigned char        part[512];

    d.outcome = MAVERA_RL_BUSY;
    d.limit = 60;
    d.window_ms = MINUTE;
    d.retry_after_s = 7;
    d.in_flight = 10;
    d.max_in_flight = 10;
    d.endpoint = "/mave/chat";
    for (size_t cap = 0; cap <= len + 2; cap++) {
        size_t end = cap == 0 ? 0 : cap <= len ? cap : len + 1;

        memset(part, PATTERN, sizeof(part));
        CHECK_INT(mavera_rl_format_body(&d, (char *) part + 1, cap), len);
        if (end > 0) {
            CHECK(memcmp(part + 1, whole, end - 1) == 0);
            CHECK_INT(part[end], 0);
        }
        CHECK_INT(part[0], PATTERN);
        CHECK(all_bytes(part + 1 + end, sizeof(part) - 1 - end, PATTERN));
    }
}

static void a_refusal_for_quota_leaves_nothing_in_flight(void)
{
    mavera_rl           *rl = caller_region(16);
    mavera_rl_plan      *plan = default_plan();
    mavera_rl_permit     permit;
    mavera_rl_decision   d;

    REQUIRE(rl != NULL && plan != NULL);
    for (int i = 0; i < 60; i++) {
        CHECK_INT(admit(rl, plan, VIDEO, &d, &permit), 0);
        CHECK_INT(mavera_rl_release(rl, permit), 0);
    }
    CHECK_INT(admit(rl, plan, VIDEO, &d, &permit), MAVERA_RL_LIMITED);
    CHECK(is_zero_permit(permit));
    CHECK_INT(d.outcome, MAVERA_RL_LIMITED);
    CHECK_INT(d.retry_after_ms, 60000);
    CHECK_INT(d.retry_after_s, 60);
    CHECK_INT(d.used, 60);
    CHECK_INT(d.remaining, 0);
    CHECK_INT(d.in_flight, 0);
    CHECK_INT(d.max_in_flight, 3);
    CHECK_STR(d.endpoint, "/video-analyses");
    CHECK(strstr(body_of(&d), "\"rate_limit_exceeded\"") != NULL);
    CHECK_INT(video_in_flight(rl), 0);
    /* A window later it goes on. */
    CHECK_INT(mavera_rl_admit_at(rl, plan, "key", 3, "starter", VIDEO,
        T0 + 60000, &d, &permit), 0);
    CHECK_INT(d.used, 1);
    mavera_rl_plan_free(plan);
    mavera_rl_close(rl);
}

static void a_refusal_for_both_waits_for_the_quota_too(void)
{
    mavera_rl           *rl = caller_region(16);
    mavera_rl_plan      *plan = default_plan();
    mavera_rl_permit     permit;
    mavera_rl_decision   d;

    REQUIRE(rl != NULL && plan != NULL);
    for (int i = 0; i < 60; i++) {
        CHECK_INT(admit(rl, plan, i < 3 ? VIDEO : "/other", &d, &permit),
            0);
    }
    CHECK_INT(admit(rl, plan, VIDEO, &d, &permit), MAVERA_RL_BUSY);
    CHECK(is_zero_permit(permit));
    CHECK_INT(d.retry_after_s, 60);
    CHECK_INT(d.retry_after_ms, 60000);
    CHECK_INT(d.remaining, 0);
    CHECK_STR(body_of(&d), BUSY_BODY(" on /video-analyses", "3", "60"));
    mavera_rl_plan_free(plan);
    mavera_rl_close(rl);
}

static void a_path_that_is_no_endpoint_has_a_quota_only(void)
{
    mavera_rl           *rl = caller_region(16);
    mavera_rl_plan      *plan = default_plan();
    mavera_rl_permit     permit;
    mavera_rl_decision   d;

    REQUIRE(rl != NULL && plan != NULL);
    for (uint32_t used = 1; used <= 61; used++) {
        CHECK_INT(admit(rl, plan, used % 2 == 0 ? "/models" : "", &d,
            &permit), used > 60 ? MAVERA_RL_LIMITED : MAVERA_RL_ALLOWED);
        CHECK(is_zero_permit(permit));
        CHECK_INT(d.used, used > 60 ? 60 : used);
        CHECK_INT(d.in_flight, 0);
        CHECK_INT(d.max_in_flight, 0);
        CHECK(d.endpoint == NULL);
        CHECK(strstr(headers_of(&d, MAVERA_RL_HEADERS_BOTH), "in-flight")
            == NULL);
    }
    mavera_rl_plan_free(plan);
    mavera_rl_close(rl);
}

static void other_spellings_do_not_slip_past(void)
{
    static const char *const spellings[] = {
        "/video-analyses", "/video-analyses/", "//video-analyses/7",
        "/%76ideo-analyses?x", "/x/../video-analyses",
        "/video-analyses%2F7",
    };
    mavera_rl           *rl = caller_region(16);
    mavera_rl_plan      *plan = default_plan();
    mavera_rl_permit     permit;
    mavera_rl_decision   d;

    REQUIRE(rl != NULL && plan != NULL);
    for (size_t i = 0; i < sizeof(spellings) / sizeof(*spellings); i++) {
        CHECK_INT(admit(rl, plan, spellings[i], &d, &permit),
            i < 3 ? MAVERA_RL_ALLOWED : MAVERA_RL_BUSY);
        CHECK_STR(d.endpoint, "/video-analyses");
    }
    mavera_rl_plan_free(plan);
    mavera_rl_close(rl);
}

/* Expects `code`, and that nothing was written, taken or charged. */
#define REFUSES(code, call) \
    do { \
        mavera_rl_decision d = patterned_decision(), d_before = d; \
        mavera_rl_permit permit = patterned_permit(), p_before = permit; \
        CHECK_INT((call), (code)); \
        CHECK(memcmp(&d, &d_before, sizeof(d)) == 0); \
        CHECK(memcmp(&permit, &p_before, sizeof(permit)) == 0); \
        CHECK_INT(stats_of(rl).inserted, 0); \
        CHECK_INT(video_in_flight(rl), 0); \
    } while (0)

static void an_unknown_tier_or_key_is_an_error_that_takes_nothing(void)
{
    mavera_rl       *rl = caller_region(16);
    mavera_rl_plan  *plan = default_plan();

    REQUIRE(rl != NULL && plan != NULL);
    REFUSES(MAVERA_RL_ENOENT, mavera_rl_admit_at(rl, plan, "key", 3, "gold",
        VIDEO, T0, &d, &permit));
    REFUSES(MAVERA_RL_ENOENT, mavera_rl_admit_at(rl, plan, "key", 3, "",
        VIDEO, T0, &d, &permit));
    REFUSES(MAVERA_RL_ENOENT, mavera_rl_admit_at(rl, plan, "key", 3,
        "\xFF\xFE", VIDEO, T0, &d, &permit));
    /* The built-in plan knows no key. */
    REFUSES(MAVERA_RL_ENOENT, mavera_rl_admit_at(rl, plan, "key", 3, NULL,
        VIDEO, T0, &d, &permit));
    REFUSES(MAVERA_RL_ENOENT, mavera_rl_admit_at(rl, plan, "key", 3, "gold",
        "/models", T0, &d, &permit));
    mavera_rl_plan_free(plan);
    mavera_rl_close(rl);
}

static void a_negotiated_policy_needs_no_entry_in_the_plan(void)
{
    mavera_rl          *rl = caller_region(16);
    mavera_rl_plan     *plan = default_plan();
    mavera_rl_policy    two = {sizeof(two), 2, MINUTE};
    mavera_rl_policy    odd = {sizeof(odd), 2, 0};
    mavera_rl_policy    small = {1, 2, MINUTE};
    mavera_rl_decision  d = {.size = sizeof(d)};
    mavera_rl_permit    permit;

    REQUIRE(rl != NULL && plan != NULL);
    for (uint32_t left = 2; left-- > 0; ) {
        CHECK_INT(mavera_rl_admit_policy_at(rl, plan, "key", 3, &two, VIDEO,
            T0, &d, &permit), MAVERA_RL_ALLOWED);
        CHECK_INT(d.limit, 2);
        CHECK_INT(d.remaining, left);
        CHECK_INT(d.max_in_flight, 3);
        CHECK(d.endpoint != NULL && strcmp(d.endpoint, "/video-analyses") == 0);
        CHECK_INT(mavera_rl_release(rl, permit), 0);
    }
    CHECK_INT(mavera_rl_admit_policy_at(rl, plan, "key", 3, &two, VIDEO, T0,
        &d, &permit), MAVERA_RL_LIMITED);
    CHECK(is_zero_permit(permit));
    CHECK_INT(video_in_flight(rl), 0);
    /* It has the same quota as a tier with that limit. */
    CHECK_INT(mavera_rl_admit_at(rl, plan, "key", 3, "starter", "/models", T0,
        &d, &permit), MAVERA_RL_ALLOWED);
    CHECK_INT(d.used, 3);
    CHECK_INT(mavera_rl_admit_policy_at(rl, plan, "key", 3, NULL, VIDEO, T0,
        &d, &permit), MAVERA_RL_EINVAL);
    CHECK_INT(mavera_rl_admit_policy_at(rl, plan, "key", 3, &odd, VIDEO, T0,
        &d, &permit), MAVERA_RL_EINVAL);
    CHECK_INT(mavera_rl_admit_policy_at(rl, plan, "key", 3, &small, VIDEO, T0,
        &d, &permit), MAVERA_RL_ESIZE);
    CHECK_INT(mavera_rl_admit_policy(rl, plan, "key", 3, &two, VIDEO, &d,
        &permit), MAVERA_RL_ECLOCK);
    mavera_rl_close(rl);
    rl = clock_region(MAVERA_RL_CLOCK_PRECISE);
    REQUIRE(rl != NULL);
    CHECK_INT(mavera_rl_admit_policy(rl, plan, "key", 3, &two, VIDEO, &d,
        &permit), MAVERA_RL_ALLOWED);
    CHECK_INT(mavera_rl_release(rl, permit), 0);
    mavera_rl_plan_free(plan);
    mavera_rl_close(rl);
}

static void the_wrong_clock_is_an_error_that_takes_nothing(void)
{
    mavera_rl       *rl = caller_region(16);
    mavera_rl_plan  *plan = default_plan();

    REQUIRE(rl != NULL && plan != NULL);
    REFUSES(MAVERA_RL_ECLOCK, mavera_rl_admit(rl, plan, "key", 3, "starter",
        VIDEO, &d, &permit));
    REFUSES(MAVERA_RL_ECLOCK, mavera_rl_admit(rl, plan, "key", 3, "starter",
        "/models", &d, &permit));
    mavera_rl_close(rl);
    rl = clock_region(MAVERA_RL_CLOCK_PRECISE);
    REQUIRE(rl != NULL);
    REFUSES(MAVERA_RL_ECLOCK, mavera_rl_admit_at(rl, plan, "key", 3,
        "starter", VIDEO, T0, &d, &permit));
    mavera_rl_plan_free(plan);
    mavera_rl_close(rl);
}

static void null_is_refused_but_for_tier_and_decision(void)
{
    mavera_rl         *rl = caller_region(16);
    mavera_rl_plan    *plan = default_plan();
    mavera_rl_permit   permit;

    REQUIRE(rl != NULL && plan != NULL);
    REFUSES(MAVERA_RL_EINVAL, mavera_rl_admit_at(NULL, plan, "key", 3,
        "starter", VIDEO, T0, &d, &permit));
    REFUSES(MAVERA_RL_EINVAL, mavera_rl_admit_at(rl, NULL, "key", 3,
        "starter", VIDEO, T0, &d, &permit));
    REFUSES(MAVERA_RL_EINVAL, mavera_rl_admit_at(rl, plan, NULL, 3,
        "starter", VIDEO, T0, &d, &permit));
    REFUSES(MAVERA_RL_EINVAL, mavera_rl_admit_at(rl, plan, "key", SIZE_MAX,
        "starter", VIDEO, T0, &d, &permit));
    REFUSES(MAVERA_RL_EINVAL, mavera_rl_admit_at(rl, plan, "key", 3,
        "starter", NULL, T0, &d, &permit));
    REFUSES(MAVERA_RL_EINVAL, mavera_rl_admit_at(rl, plan, "key", 3,
        "starter", VIDEO, T0, &d, NULL));
    REFUSES(MAVERA_RL_EINVAL, mavera_rl_admit(rl, NULL, "key", 3, "starter",
        VIDEO, &d, &permit));
    CHECK_INT(mavera_rl_admit_at(rl, plan, "key", 3, "starter", VIDEO, T0,
        NULL, &permit), 0);
    CHECK(!is_zero_permit(permit));
    CHECK_INT(video_in_flight(rl), 1);
    mavera_rl_plan_free(plan);
    mavera_rl_close(rl);
}

static void a_decision_of_the_wrong_size_takes_nothing(void)
{
    mavera_rl       *rl = caller_region(16);
    mavera_rl_plan  *plan = default_plan();

    REQUIRE(rl != NULL && plan != NULL);
    for (size_t size = 0; size < DECISION_MIN; size++) {
        mavera_rl_decision  d = patterned_decision(), before;
        mavera_rl_permit    permit = patterned_permit();

        d.size = size;
        before = d;
        CHECK_INT(mavera_rl_admit_at(rl, plan, "key", 3, "starter", VIDEO,
            T0, &d, &permit), MAVERA_RL_ESIZE);
        CHECK(memcmp(&d, &before, sizeof(d)) == 0);
        CHECK(all_bytes(&permit, sizeof(permit), PATTERN));
    }
    CHECK_INT(stats_of(rl).inserted, 0);
    CHECK_INT(video_in_flight(rl), 0);
    mavera_rl_plan_free(plan);
    mavera_rl_close(rl);
}

static void an_older_callers_decision_is_filled_as_far_as_it_goes(void)
{
    static const size_t sizes[] = {
        DECISION_MIN, offsetof(mavera_rl_decision, in_flight),
        offsetof(mavera_rl_decision, max_in_flight),
        offsetof(mavera_rl_decision, reserved),
        offsetof(mavera_rl_decision, endpoint),
    };

    for (size_t i = 0; i < sizeof(sizes) / sizeof(*sizes); i++) {
        mavera_rl        *rl = caller_region(16);
        mavera_rl_plan   *plan = default_plan();
        mavera_rl_permit  permit;

        REQUIRE(rl != NULL && plan != NULL);
        for (uint32_t call = 1; call <= 4; call++) {
            mavera_rl_decision  d = patterned_decision();
            unsigned char      *bytes = (unsigned char *) &d;

            d.size = sizes[i];
            CHECK_INT(mavera_rl_admit_at(rl, plan, "key", 3, "starter",
                VIDEO, T0, &d, &permit),
                call > 3 ? MAVERA_RL_BUSY : MAVERA_RL_ALLOWED);
            CHECK_INT(d.size, sizes[i]);
            CHECK_INT(d.outcome, call > 3 ? MAVERA_RL_BUSY : 0);
            CHECK_INT(d.used, call > 3 ? 3 : call);
            CHECK_INT(is_zero_permit(permit), call > 3);
            CHECK(all_bytes(bytes + sizes[i], sizeof(d) - sizes[i],
                PATTERN));
            /* Nor is what lies behind it read. */
            CHECK_INT(strstr(body_of(&d), "concurrency_limit_exceeded")
                != NULL, call > 3);
            CHECK_INT(strstr(headers_of(&d, MAVERA_RL_HEADERS_BOTH),
                "Retry-After: 1\r\n") != NULL, call > 3);
        }
        mavera_rl_plan_free(plan);
        mavera_rl_close(rl);
    }
}

static void a_table_without_room_for_a_permit_answers_by_policy(void)
{
    static const uint32_t policies[] = {
        MAVERA_RL_ON_FULL_DENY, MAVERA_RL_ON_FULL_ALLOW,
    };

    for (int p = 0; p < 2; p++) {
        mavera_rl           *rl = NULL;
        mavera_rl_plan      *plan = default_plan();
        mavera_rl_options    opts = caller_options(16);
        mavera_rl_permit     permit;
        mavera_rl_decision   d;
        char                 key[32];

        opts.permit_keys = 1;
        opts.on_full = policies[p];
        CHECK_INT(mavera_rl_open(NULL, &opts, &rl), 0);
        REQUIRE(rl != NULL && plan != NULL);
        for (uint64_t i = 0; i < stats_of(rl).permit_capacity; i++) {
            snprintf(key, sizeof(key), "key-%" PRIu64, i);
            CHECK_INT(take_permit(rl, key, 1, 1, &permit), 0);
        }
        if (policies[p] == MAVERA_RL_ON_FULL_DENY) {
            CHECK_INT(admit(rl, plan, VIDEO, &d, &permit), MAVERA_RL_FULL);
            CHECK_INT(d.outcome, MAVERA_RL_FULL);
            CHECK_INT(d.used, 0);
            CHECK_INT(d.retry_after_s, 1);
            CHECK_INT(d.in_flight, 0);
            CHECK(body_of(&d)[0] == '{');
        } else {
            CHECK_INT(admit(rl, plan, VIDEO, &d, &permit), 0);
            CHECK_INT(d.used, 1);
            CHECK_INT(d.untracked, 1);
            CHECK_INT(mavera_rl_release(rl, permit), 0);
        }
        CHECK_INT(d.max_in_flight, 3);
        CHECK(is_zero_permit(permit));
        /* Where there is no such limit, there is no such trouble. */
        CHECK_INT(admit(rl, plan, "/models", &d, &permit), 0);
        CHECK_INT(d.untracked, 0);
        mavera_rl_plan_free(plan);
        mavera_rl_close(rl);
    }
}

#define TOML \
    "[tiers]\nstarter = 60\ntrial = { limit = 5, window = \"10s\" }\n" \
    "[endpoints]\n\"/mave/chat\" = { in_flight = 2, " \
    "also = [\"/*/mave/chat\"], lease = \"5m\" }\n" \
    "[keys]\n\"key-one\" = \"trial\"\n"

static void a_plan_file_says_other_paths_and_a_lease(void)
{
    static const char *const  paths[] = { "/mave/chat", "/v1/mave/chat/7",
        "/v2/mave/chat?x" };
    mavera_rl                *rl = clock_region(MAVERA_RL_CLOCK_PRECISE);
    mavera_rl_plan           *plan = plan_of(TOML);
    mavera_rl_permit          held[2], permit;
    mavera_rl_decision        d;

    REQUIRE(rl != NULL && plan != NULL);
    for (uint32_t i = 0; i < 3; i++) {
        d = patterned_decision();
        permit = patterned_permit();
        CHECK_INT(mavera_rl_admit(rl, plan, "key-one", 7, NULL, paths[i],
            &d, &permit), i < 2 ? MAVERA_RL_ALLOWED : MAVERA_RL_BUSY);
        CHECK_INT(d.limit, 5);
        CHECK_INT(d.window_ms, 10000);
        CHECK_INT(d.used, i < 2 ? i + 1 : 2);
        CHECK_INT(d.in_flight, i < 2 ? i + 1 : 2);
        CHECK_INT(d.max_in_flight, 2);
        CHECK_STR(d.endpoint, "/mave/chat");
        if (i < 2) {
            held[i] = permit;
        }
    }
    CHECK_STR(body_of(&d), BUSY_BODY(" on /mave/chat", "2", "1"));
    CHECK_INT(in_flight_of(rl, "key-one", mavera_rl_class_id("/mave/chat")),
        2);
    /* A tier that is named goes before the plan's list. */
    CHECK_INT(mavera_rl_admit(rl, plan, "key-one", 7, "starter", "/models",
        &d, &permit), 0);
    CHECK_INT(d.limit, 60);
    CHECK_INT(mavera_rl_admit(rl, plan, "key-two", 7, NULL, "/models", &d,
        &permit), MAVERA_RL_ENOENT);
    /* This plan's endpoints are its own. */
    CHECK_INT(mavera_rl_admit(rl, plan, "key-one", 7, "starter", VIDEO, &d,
        &permit), 0);
    CHECK(is_zero_permit(permit));
    CHECK(d.endpoint == NULL);
    for (int i = 0; i < 2; i++) {
        CHECK_INT(mavera_rl_release(rl, held[i]), 0);
    }
    mavera_rl_plan_free(plan);
    mavera_rl_close(rl);
}

static void a_lease_cannot_be_had_where_the_caller_supplies_the_time(void)
{
    mavera_rl       *rl = caller_region(16);
    mavera_rl_plan  *plan = plan_of(TOML);

    REQUIRE(rl != NULL && plan != NULL);
    REFUSES(MAVERA_RL_EINVAL, mavera_rl_admit_at(rl, plan, "key", 3,
        "starter", "/mave/chat", T0, &d, &permit));
    CHECK(strstr(last_error(), "lease") != NULL);
    mavera_rl_plan_free(plan);
    mavera_rl_close(rl);
}

static void an_endpoint_may_have_no_more_than_the_region_has_cells(void)
{
    mavera_rl         *rl = caller_region(16);
    mavera_rl_plan    *plan = plan_of("[endpoints]\n\"/a\" = 16\n"
        "\"/b\" = 17\n");
    mavera_rl_permit   permit;

    REQUIRE(rl != NULL && plan != NULL);
    REFUSES(MAVERA_RL_EINVAL, mavera_rl_admit_at(rl, plan, "key", 3,
        "starter", "/b", T0, &d, &permit));
    CHECK(strstr(last_error(), "17") != NULL);
    CHECK(strstr(last_error(), "permit_cells, 16") != NULL);
    for (int i = 0; i < 17; i++) {
        CHECK_INT(mavera_rl_admit_at(rl, plan, "key", 3, "starter", "/a",
            T0, NULL, &permit),
            i < 16 ? MAVERA_RL_ALLOWED : MAVERA_RL_BUSY);
    }
    mavera_rl_plan_free(plan);
    mavera_rl_close(rl);
}

struct crowd {
    mavera_rl       *rl;
    mavera_rl_plan  *plan;
    atomic_uint      holders;
};

/* Returns the requests admitted, or far more if anything was wrong. */
static unsigned ask_for_all(unsigned thread, void *data)
{
    struct crowd      *crowd = data;
    mavera_rl_permit   permit;
    unsigned           sum = 0;

    (void) thread;
    for (int i = 0; i < 2000; i++) {
        int rc = mavera_rl_admit_at(crowd->rl, crowd->plan, "key", 3,
            "enterprise", VIDEO, T0, NULL, &permit);

        if (rc == MAVERA_RL_ALLOWED) {
            sum += atomic_fetch_add(&crowd->holders, 1) < 3 ? 1 : 1000000;
            atomic_fetch_sub(&crowd->holders, 1);
            sum += mavera_rl_release(crowd->rl, permit) == 0 ? 0 : 1000000;
        } else if (rc != MAVERA_RL_BUSY && rc != MAVERA_RL_LIMITED) {
            sum += 1000000;
        }
    }
    return sum;
}

static void threads_share_both_limits_to_the_last_unit(void)
{
    struct crowd  crowd;
    long          sum;

    crowd.rl = caller_region(16);
    crowd.plan = default_plan();
    atomic_init(&crowd.holders, 0);
    REQUIRE(crowd.rl != NULL && crowd.plan != NULL);
    sum = in_threads(8, ask_for_all, &crowd);
    CHECK_INT(video_in_flight(crowd.rl), 0);
    /* What they left, where they were in each other's way. */
    CHECK_INT(sum + ask_for_all(0, &crowd), 600);
    CHECK_INT(video_in_flight(crowd.rl), 0);
    mavera_rl_plan_free(crowd.plan);
    mavera_rl_close(crowd.rl);
}

void run_admit(void);
void run_admit(void)
{
    RUN(an_admission_has_a_permit_and_charges_one_unit);
    RUN(a_refusal_for_what_is_in_flight_charges_no_quota);
    RUN(a_response_tells_of_what_is_in_flight);
    RUN(the_body_keeps_the_contract_of_snprintf);
    RUN(a_refusal_for_quota_leaves_nothing_in_flight);
    RUN(a_refusal_for_both_waits_for_the_quota_too);
    RUN(a_path_that_is_no_endpoint_has_a_quota_only);
    RUN(other_spellings_do_not_slip_past);
    RUN(an_unknown_tier_or_key_is_an_error_that_takes_nothing);
    RUN(a_negotiated_policy_needs_no_entry_in_the_plan);
    RUN(the_wrong_clock_is_an_error_that_takes_nothing);
    RUN(null_is_refused_but_for_tier_and_decision);
    RUN(a_decision_of_the_wrong_size_takes_nothing);
    RUN(an_older_callers_decision_is_filled_as_far_as_it_goes);
    RUN(a_table_without_room_for_a_permit_answers_by_policy);
    RUN(a_plan_file_says_other_paths_and_a_lease);
    RUN(a_lease_cannot_be_had_where_the_caller_supplies_the_time);
    RUN(an_endpoint_may_have_no_more_than_the_region_has_cells);
    RUN(threads_share_both_limits_to_the_last_unit);
}
