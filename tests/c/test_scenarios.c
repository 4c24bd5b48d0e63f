/* The table of scenarios that every language plays, in C.
 *
 * tests/scenarios/make.py says what it is and writes it; to_c.py turns it into
 * the table that is included below. */
#include "support.h"

#define HEADERS_MAX  4

enum call {
    CALL_CHECK, CALL_PEEK, CALL_CHECK_MANY, CALL_ADMIT, CALL_ACQUIRE,
    CALL_RELEASE, CALL_IN_FLIGHT,
};

struct key {
    const char *bytes;
    size_t      len;
};

struct header {
    const char *name;
    const char *value;
};

/* What a step must answer. -1, and NULL: that is not said. */
struct answer {
    int            code;
    int64_t        limit;
    int64_t        used;
    int64_t        remaining;
    int64_t        retry_after_ms;
    int64_t        retry_after_s;
    int64_t        reset_after_ms;
    int64_t        untracked;
    int64_t        in_flight;
    int64_t        max_in_flight;
    int            holds;       /* a permit */
    const char    *endpoint;    /* "": none */
    const char    *body;
    struct header  legacy[HEADERS_MAX + 1];
    struct header  ietf[HEADERS_MAX + 1];
};

/* One of a batch, and what it must answer. */
struct batched {
    struct key  key;
    int         outcome;
    uint32_t    used;
    uint32_t    remaining;
    uint64_t    retry_after_ms;
};

struct step {
    enum call              call;
    uint64_t               at;
    struct key             key;
    const char            *tier;        /* NULL: limit and window_ms */
    uint32_t               limit;
    uint32_t               window_ms;
    uint32_t               cost;
    const char            *target;
    const char            *name;        /* of a class */
    uint32_t               max;
    size_t                 permit;      /* its place */
    const struct batched  *batch;
    size_t                 count;
    struct answer          expect;
};

struct scenario {
    const char         *name;
    mavera_rl_options   options;
    size_t              permits;
    const struct step  *steps;
    size_t              count;
};

#include "scenarios.inc"

/* The step that is played. */
static size_t number;

static void expect_int(const char *what, int64_t got, int64_t want)
{
    char  text[128];

    snprintf(text, sizeof(text), "step %zu: %s", number, what);
    check_int(got, want, __FILE__, __LINE__, text);
}

static void expect_said(const char *what, uint64_t got, int64_t want)
{
    if (want >= 0) {
        expect_int(what, (int64_t) got, want);
    }
}

static void expect_str(const char *what, const char *got, const char *want)
{
    char  text[128];

    snprintf(text, sizeof(text), "step %zu: %s", number, what);
    check_str(got, want, __FILE__, __LINE__, text);
}

/* All the headers of a flavour, in whatever order, and no others. */
static void expect_headers(const mavera_rl_decision *d, uint32_t flavour,
    const struct header *want)
{
    size_t  wanted = 0, found = 0;

    if (want[0].name == NULL) {
        return;
    }
    while (want[wanted].name != NULL) {
        wanted++;
    }
    for (;; found++) {
        const char *name = NULL;
        char        value[128];
        size_t      i = 0;

        mavera_rl_format_header(d, flavour, found, &name, value,
            sizeof(value));
        if (name == NULL) {
            break;
        }
        while (i < wanted && strcmp(want[i].name, name) != 0) {
            i++;
        }
        expect_str(name, value, i < wanted ? want[i].value : "(no header)");
    }
    expect_int("headers", (int64_t) found, (int64_t) wanted);
}

static void expect_decision(const mavera_rl_decision *d, uint64_t at,
    const struct answer *want)
{
    char  body[512];

    expect_int("outcome", d->outcome, want->code);
    expect_said("limit", d->limit, want->limit);
    expect_said("used", d->used, want->used);
    expect_said("remaining", d->remaining, want->remaining);
    expect_said("retry_after_ms", d->retry_after_ms, want->retry_after_ms);
    expect_said("retry_after_s", d->retry_after_s, want->retry_after_s);
    expect_said("reset_after_ms", d->reset_after_ms, want->reset_after_ms);
    if (want->reset_after_ms >= 0) {
        expect_said("reset_unix_ms", d->reset_unix_ms,
            (int64_t) at + want->reset_after_ms);
    }
    expect_said("untracked", d->untracked, want->untracked);
    expect_said("in_flight", d->in_flight, want->in_flight);
    expect_said("max_in_flight", d->max_in_flight, want->max_in_flight);
    if (want->endpoint != NULL) {
        expect_str("endpoint", d->endpoint == NULL ? "" : d->endpoint,
            want->endpoint);
    }
    if (want->body != NULL) {
        mavera_rl_format_body(d, body, sizeof(body));
        expect_str("body", body, want->body);
    }
    expect_headers(d, MAVERA_RL_HEADERS_LEGACY, want->legacy);
    expect_headers(d, MAVERA_RL_HEADERS_IETF, want->ietf);
}

/* What a step's tier may, or its own numbers. */
static int policy_for(const mavera_rl_plan *plan, const struct step *step,
    mavera_rl_policy *policy)
{
    *policy = policy_of(step->limit, step->window_ms);
    if (step->tier == NULL) {
        return 0;
    }
    return mavera_rl_plan_policy(plan, step->tier, policy);
}

static void play_check(mavera_rl *rl, const mavera_rl_plan *plan,
    const struct step *step)
{
    mavera_rl_decision  d = patterned_decision();
    mavera_rl_policy    policy;
    int                 code = policy_for(plan, step, &policy);

    if (code == 0) {
        code = (step->call == CALL_PEEK ? mavera_rl_peek_at
            : mavera_rl_check_at)(rl, step->key.bytes, step->key.len, &policy,
            step->cost, step->at, &d);
    }
    expect_int("result", code, step->expect.code);
    if (code >= 0) {
        expect_decision(&d, step->at, &step->expect);
    }
}

static void play_batch(mavera_rl *rl, const mavera_rl_plan *plan,
    const struct step *step)
{
    size_t               count = step->count;
    mavera_rl_request   *requests = calloc(count, sizeof(*requests));
    mavera_rl_decision  *out = calloc(count, sizeof(*out));
    mavera_rl_policy     policy;

    REQUIRE(requests != NULL && out != NULL);
    expect_int("policy", policy_for(plan, step, &policy), 0);
    for (size_t i = 0; i < count; i++) {
        requests[i].size = sizeof(*requests);
        requests[i].key = step->batch[i].key.bytes;
        requests[i].key_len = step->batch[i].key.len;
        requests[i].policy = &policy;
        requests[i].cost = 1;
        out[i] = patterned_decision();
    }
    expect_int("result", mavera_rl_check_many_at(rl, requests, count, step->at,
        out), step->expect.code);
    for (size_t i = 0; i < count; i++) {
        const struct batched *want = &step->batch[i];

        expect_int("outcome", out[i].outcome, want->outcome);
        expect_int("used", out[i].used, want->used);
        expect_int("remaining", out[i].remaining, want->remaining);
        expect_int("retry_after_ms", (int64_t) out[i].retry_after_ms,
            (int64_t) want->retry_after_ms);
    }
    free(requests);
    free(out);
}

static void play_admit(mavera_rl *rl, const mavera_rl_plan *plan,
    const struct step *step, mavera_rl_permit *permits)
{
    mavera_rl_decision  d = patterned_decision();
    mavera_rl_permit    permit = patterned_permit();
    mavera_rl_policy    policy;
    int                 code;

    if (step->tier != NULL) {
        code = mavera_rl_admit_at(rl, plan, step->key.bytes, step->key.len,
            step->tier, step->target, step->at, &d, &permit);
    } else {
        policy = policy_of(step->limit, step->window_ms);
        code = mavera_rl_admit_policy_at(rl, plan, step->key.bytes,
            step->key.len, &policy, step->target, step->at, &d, &permit);
    }
    expect_int("result", code, step->expect.code);
    if (code >= 0) {
        expect_decision(&d, step->at, &step->expect);
        expect_int("holds", !is_zero_permit(permit), step->expect.holds);
        permits[step->permit] = permit;
    }
}

static void play_permit(mavera_rl *rl, const struct step *step,
    mavera_rl_permit *permits)
{
    uint32_t          class_id = mavera_rl_class_id(step->name);
    mavera_rl_permit  permit = permits[step->permit];
    uint32_t          in_flight = 0;
    int               code;

    if (step->call == CALL_RELEASE) {
        code = mavera_rl_release(rl, permit);
    } else if (step->call == CALL_ACQUIRE) {
        code = mavera_rl_acquire(rl, step->key.bytes, step->key.len, class_id,
            step->max, 0, &permits[step->permit]);
    } else {
        code = mavera_rl_in_flight(rl, step->key.bytes, step->key.len,
            class_id, &in_flight);
        expect_said("in_flight", in_flight, step->expect.in_flight);
    }
    expect_int("result", code, step->expect.code);
}

static void play(const struct scenario *scenario)
{
    mavera_rl_options   options = scenario->options;
    mavera_rl_permit   *permits = calloc(scenario->permits, sizeof(*permits));
    mavera_rl_plan     *plan = NULL;
    mavera_rl          *rl = NULL;

    options.size = sizeof(options);
    options.clock = MAVERA_RL_CLOCK_CALLER;
    REQUIRE(permits != NULL);
    CHECK_INT(mavera_rl_open(NULL, &options, &rl), 0);
    CHECK_INT(mavera_rl_plan_default(&plan), 0);
    REQUIRE(rl != NULL && plan != NULL);
    for (number = 0; number < scenario->count; number++) {
        const struct step *step = &scenario->steps[number];

        switch (step->call) {
        case CALL_CHECK:
        case CALL_PEEK:
            play_check(rl, plan, step);
            break;
        case CALL_CHECK_MANY:
            play_batch(rl, plan, step);
            break;
        case CALL_ADMIT:
            play_admit(rl, plan, step, permits);
            break;
        case CALL_ACQUIRE:
        case CALL_RELEASE:
        case CALL_IN_FLIGHT:
            play_permit(rl, step, permits);
            break;
        }
    }
    mavera_rl_plan_free(plan);
    mavera_rl_close(rl);
    free(permits);
}

void run_scenarios(void)
{
    size_t  count = sizeof(scenarios) / sizeof(*scenarios);

    for (size_t i = 0; i < count; i++) {
        const char *name = scenarios[i].name;

        if (check_only == NULL || strstr(name, check_only) != NULL) {
            check_test = name;
            play(&scenarios[i]);
        }
    }
}
