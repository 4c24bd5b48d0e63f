/* Several keys in one call: strides, order, and errors of single elements. */
#include "support.h"

#define MANY  16

static mavera_rl_policy hour = { sizeof(mavera_rl_policy), 60, 3600000 };
static mavera_rl_policy sixty = { sizeof(mavera_rl_policy), 60, MINUTE };
static mavera_rl_policy one = { sizeof(mavera_rl_policy), 1, MINUTE };
static mavera_rl_policy nothing = { sizeof(mavera_rl_policy), 0, MINUTE };
static mavera_rl_policy small = { sizeof(mavera_rl_policy) - 1, 60, MINUTE };

static mavera_rl_request request_of(const char *key,
    const mavera_rl_policy *policy, uint32_t cost)
{
    mavera_rl_request request;

    memset(&request, 0, sizeof(request));
    request.size = sizeof(request);
    request.key = key;
    request.key_len = key == NULL ? 0 : strlen(key);
    request.policy = policy;
    request.cost = cost;
    return request;
}

static void fill(mavera_rl_request *requests, mavera_rl_decision *out)
{
    for (int i = 0; i < MANY; i++) {
        requests[i] = request_of("key", &sixty, 1);
        out[i] = patterned_decision();
    }
}

static void requests_are_judged_in_their_order(void)
{
    mavera_rl          *rl = caller_region(64);
    mavera_rl_request   requests[MANY];
    mavera_rl_decision  out[MANY];

    REQUIRE(rl != NULL);
    fill(requests, out);
    requests[0] = request_of("a", &sixty, 59);
    requests[1] = request_of("b", &one, 1);
    requests[2] = request_of("a", &sixty, 2);
    requests[3] = request_of("a", &sixty, 1);
    requests[4] = request_of("b", &one, 1);
    requests[5] = request_of("a", &sixty, 0);
    /* A refusal is an answer and not an error of the call. */
    CHECK_INT(mavera_rl_check_many_at(rl, requests, 6, T0, out), 0);
    CHECK_INT(out[0].outcome, MAVERA_RL_ALLOWED);
    CHECK_INT(out[0].used, 59);
    CHECK_INT(out[1].outcome, MAVERA_RL_ALLOWED);
    CHECK_INT(out[1].limit, 1);
    CHECK_INT(out[2].outcome, MAVERA_RL_LIMITED);
    CHECK_INT(out[2].remaining, 1);
    CHECK_INT(out[2].retry_after_ms, 60000);
    CHECK_INT(out[3].outcome, MAVERA_RL_ALLOWED);
    CHECK_INT(out[3].used, 60);
    CHECK_INT(out[4].outcome, MAVERA_RL_LIMITED);
    CHECK_INT(out[4].retry_after_s, 60);
    CHECK_INT(out[5].used, 60);
    /* Only as many are written as were asked for. */
    CHECK(all_bytes((unsigned char *) &out[6] + sizeof(size_t),
        sizeof(out[6]) - sizeof(size_t), PATTERN));
    mavera_rl_close(rl);
}

static void an_error_of_one_request_stays_its_own(void)
{
    mavera_rl          *rl = caller_region(64);
    mavera_rl_request   requests[MANY];
    mavera_rl_decision  out[MANY];

    REQUIRE(rl != NULL);
    fill(requests, out);
    requests[0] = request_of("a", &sixty, 1);
    requests[1] = request_of(NULL, &sixty, 1);
    requests[2] = request_of("a", &sixty, 61);
    requests[3] = request_of("a", NULL, 1);
    requests[4] = request_of("a", &hour, 1);
    requests[5] = request_of("a", &small, 1);
    requests[6] = request_of("a", &sixty, UINT32_MAX);
    requests[7] = request_of("a", &sixty, 1);
    requests[7].key_len = SIZE_MAX;
    requests[8] = request_of("a", &nothing, 1);
    requests[9] = request_of("a", &sixty, 1);
    requests[9].reserved = 1;
    requests[10] = request_of("a", &sixty, 1);
    CHECK_INT(mavera_rl_check_many_at(rl, requests, 11, T0, out), 0);
    CHECK_INT(out[0].outcome, MAVERA_RL_ALLOWED);
    CHECK_INT(out[1].outcome, MAVERA_RL_EINVAL);
    CHECK_INT(out[2].outcome, MAVERA_RL_ECOST);
    CHECK_INT(out[3].outcome, MAVERA_RL_EINVAL);
    CHECK_INT(out[4].outcome, MAVERA_RL_EINVAL);
    CHECK_INT(out[5].outcome, MAVERA_RL_ESIZE);
    CHECK_INT(out[6].outcome, MAVERA_RL_ECOST);
    CHECK_INT(out[7].outcome, MAVERA_RL_EINVAL);
    CHECK_INT(out[8].outcome, MAVERA_RL_ECOST);
    CHECK_INT(out[9].outcome, MAVERA_RL_EINVAL);
    CHECK_INT(out[10].outcome, MAVERA_RL_ALLOWED);
    CHECK_INT(out[10].used, 2);
    CHECK_INT(stats_of(rl).inserted, 1);
    mavera_rl_close(rl);
}

static void arguments_that_are_wrong_leave_all_as_it_was(void)
{
    mavera_rl          *rl = caller_region(64);
    mavera_rl_request   requests[MANY];
    mavera_rl_decision  out[MANY], before[MANY];
    int                 rc;

    REQUIRE(rl != NULL);
    fill(requests, out);
    memcpy(before, out, sizeof(out));
#define REFUSED(code, call) \
    do { \
        CHECK_INT((call), (code)); \
        CHECK(memcmp(out, before, sizeof(out)) == 0); \
    } while (0)
    REFUSED(MAVERA_RL_EINVAL,
        mavera_rl_check_many_at(NULL, requests, MANY, T0, out));
    REFUSED(MAVERA_RL_EINVAL,
        mavera_rl_check_many_at(rl, NULL, MANY, T0, out));
    REFUSED(MAVERA_RL_EINVAL,
        mavera_rl_check_many_at(rl, requests, MANY, T0, NULL));
    REFUSED(MAVERA_RL_EINVAL,
        mavera_rl_check_many_at(rl, requests, SIZE_MAX, T0, out));
    REFUSED(MAVERA_RL_EINVAL,
        mavera_rl_check_many_at(rl, requests, SIZE_MAX / 2 + 1, T0, out));
    /* A product that wraps round to something small. */
    REFUSED(MAVERA_RL_EINVAL, mavera_rl_check_many_at(rl, requests,
        SIZE_MAX / sizeof(mavera_rl_decision) + 2, T0, out));
    REFUSED(MAVERA_RL_EINVAL, mavera_rl_check_many(NULL, requests, MANY,
        out));
    rc = mavera_rl_check_many_at(rl, requests, 0, T0, out);
    CHECK(rc == 0 || rc == MAVERA_RL_EINVAL);
    CHECK(memcmp(out, before, sizeof(out)) == 0);

    requests[0].size = sizeof(size_t);
    REFUSED(MAVERA_RL_ESIZE,
        mavera_rl_check_many_at(rl, requests, MANY, T0, out));
    requests[0].size = sizeof(requests[0]);
    out[0].size = before[0].size = DECISION_MIN - 1;
    REFUSED(MAVERA_RL_ESIZE,
        mavera_rl_check_many_at(rl, requests, 2, T0, out));
    /* A stride beyond the struct, over the pattern of the next. */
    out[0].size = before[0].size = sizeof(out[0]) + 16;
    REFUSED(MAVERA_RL_ESIZE,
        mavera_rl_check_many_at(rl, requests, 2, T0, out));
    /* Sizes that are not all the same. */
    out[0].size = before[0].size = sizeof(out[0]);
    out[MANY - 1].size = before[MANY - 1].size = DECISION_MIN;
    REFUSED(MAVERA_RL_ESIZE,
        mavera_rl_check_many_at(rl, requests, MANY, T0, out));
    out[MANY - 1].size = before[MANY - 1].size = sizeof(out[0]);
    requests[MANY - 1].size = 0;
    REFUSED(MAVERA_RL_ESIZE,
        mavera_rl_check_many_at(rl, requests, MANY, T0, out));
#undef REFUSED
    CHECK_INT(stats_of(rl).inserted, 0);
    mavera_rl_close(rl);
}

static void strides_of_earlier_and_later_versions_are_kept(void)
{
    static const size_t strides[] = {
        DECISION_MIN, sizeof(mavera_rl_decision),
        sizeof(mavera_rl_decision) + 8, sizeof(mavera_rl_decision) + 64,
    };
    mavera_rl_request         requests[MANY];
    union {
        mavera_rl_decision  first;
        unsigned char       bytes[(sizeof(mavera_rl_decision) + 64)
                                * (MANY + 1)];
    } out;

    for (size_t i = 0; i < sizeof(strides) / sizeof(*strides); i++) {
        size_t      stride = strides[i];
        size_t      known = stride < sizeof(mavera_rl_decision)
                        ? stride : sizeof(mavera_rl_decision);
        mavera_rl  *rl = caller_region(16);

        REQUIRE(rl != NULL);
        memset(&out, PATTERN, sizeof(out));
        for (int k = 0; k < MANY; k++) {
            requests[k] = request_of("key", &sixty, 1);
            memset(out.bytes + stride * k, 0, stride);
            memcpy(out.bytes + stride * k, &stride, sizeof(stride));
        }
        CHECK_INT(mavera_rl_check_many_at(rl, requests, MANY, T0,
            &out.first), 0);
        for (uint32_t k = 0; k < MANY; k++) {
            mavera_rl_decision d;

            memset(&d, 0, sizeof(d));
            memcpy(&d, out.bytes + stride * k, known);
            CHECK_INT(d.size, stride);
            CHECK_INT(d.outcome, MAVERA_RL_ALLOWED);
            CHECK_INT(d.used, k + 1);
            CHECK_INT(d.remaining, 59 - k);
            CHECK_INT(d.reset_after_ms, 60000);
            CHECK(all_bytes(out.bytes + stride * k + known, stride - known,
                0));
        }
        CHECK(all_bytes(out.bytes + stride * MANY,
            sizeof(out) - stride * MANY, PATTERN));
        mavera_rl_close(rl);
    }
}

static void requests_of_a_later_version_are_read_by_their_stride(void)
{
    struct { mavera_rl_request now; uint64_t tail[3]; } requests[MANY];
    mavera_rl_decision  out[MANY];
    mavera_rl          *rl = caller_region(16);
    char                keys[MANY][16];

    REQUIRE(rl != NULL);
    memset(requests, 0, sizeof(requests));
    for (int i = 0; i < MANY; i++) {
        snprintf(keys[i], sizeof(keys[i]), "key-%d", i);
        requests[i].now = request_of(keys[i], &sixty, (uint32_t) i + 1);
        requests[i].now.size = sizeof(requests[i]);
        out[i] = patterned_decision();
    }
    CHECK_INT(mavera_rl_check_many_at(rl, &requests[0].now, MANY, T0, out),
        0);
    for (int i = 0; i < MANY; i++) {
        CHECK_INT(out[i].outcome, MAVERA_RL_ALLOWED);
        CHECK_INT(out[i].used, i + 1);
    }
    CHECK_INT(stats_of(rl).inserted, MANY);

    requests[0].tail[2] = 1;
    CHECK_INT(mavera_rl_check_many_at(rl, &requests[0].now, MANY, T0, out),
        MAVERA_RL_ESIZE);
    mavera_rl_close(rl);
}

static void a_clock_of_its_own_is_read_for_many(void)
{
    mavera_rl          *rl = clock_region(MAVERA_RL_CLOCK_PRECISE);
    mavera_rl_request   requests[MANY];
    mavera_rl_decision  out[MANY];
    int                 allowed = 0;

    REQUIRE(rl != NULL);
    fill(requests, out);
    for (int i = 0; i < MANY; i++) {
        requests[i] = request_of(i % 2 ? "odd" : "even", &one, 1);
    }
    CHECK_INT(mavera_rl_check_many(rl, requests, MANY, out), 0);
    for (int i = 0; i < MANY; i++) {
        allowed += out[i].outcome == MAVERA_RL_ALLOWED;
        CHECK_INT(out[i].outcome,
            i < 2 ? MAVERA_RL_ALLOWED : MAVERA_RL_LIMITED);
    }
    CHECK_INT(allowed, 2);
    mavera_rl_close(rl);
}

static void the_wrong_clock_is_each_requests_own_error(void)
{
    mavera_rl          *theirs = caller_region(16);
    mavera_rl          *own = clock_region(MAVERA_RL_CLOCK_PRECISE);
    mavera_rl_request   requests[MANY];
    mavera_rl_decision  out[MANY];

    REQUIRE(theirs != NULL && own != NULL);
    fill(requests, out);
    CHECK_INT(mavera_rl_check_many(theirs, requests, MANY, out), 0);
    for (int i = 0; i < MANY; i++) {
        CHECK_INT(out[i].outcome, MAVERA_RL_ECLOCK);
    }
    fill(requests, out);
    CHECK_INT(mavera_rl_check_many_at(own, requests, MANY, T0, out), 0);
    for (int i = 0; i < MANY; i++) {
        CHECK_INT(out[i].outcome, MAVERA_RL_ECLOCK);
    }
    CHECK_INT(stats_of(theirs).inserted, 0);
    CHECK_INT(stats_of(own).inserted, 0);
    mavera_rl_close(theirs);
    mavera_rl_close(own);
}

static void a_batch_of_any_length_is_answered_in_full(void)
{
    enum { LONG = 1000 };
    static mavera_rl_request   requests[LONG];
    static mavera_rl_decision  out[LONG];
    static const size_t        counts[] = { 1, 2, 15, 16, 17, 31, 33, 1000 };

    for (size_t c = 0; c < sizeof(counts) / sizeof(*counts); c++) {
        mavera_rl  *rl = caller_region(16);
        size_t      wrong = 0;

        REQUIRE(rl != NULL);
        for (size_t i = 0; i < LONG; i++) {
            requests[i] = request_of(i % 3 ? "a" : "b", &sixty, 1);
            out[i] = patterned_decision();
        }
        CHECK_INT(mavera_rl_check_many_at(rl, requests, counts[c], T0, out),
            0);
        for (size_t i = 0, a = 0, b = 0; i < counts[c]; i++) {
            size_t nth = i % 3 ? ++a : ++b;

            wrong += nth <= 60
                ? out[i].outcome != MAVERA_RL_ALLOWED || out[i].used != nth
                : out[i].outcome != MAVERA_RL_LIMITED || out[i].used != 60;
        }
        CHECK_INT(wrong, 0);
        mavera_rl_close(rl);
    }
}

void run_many(void);
void run_many(void)
{
    RUN(requests_are_judged_in_their_order);
    RUN(an_error_of_one_request_stays_its_own);
    RUN(arguments_that_are_wrong_leave_all_as_it_was);
    RUN(strides_of_earlier_and_later_versions_are_kept);
    RUN(requests_of_a_later_version_are_read_by_their_stride);
    RUN(a_clock_of_its_own_is_read_for_many);
    RUN(the_wrong_clock_is_each_requests_own_error);
    RUN(a_batch_of_any_length_is_answered_in_full);
}
