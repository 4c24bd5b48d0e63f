/* Response headers, byte for byte. */
#include "support.h"

#define LEGACY \
    "X-RateLimit-Limit: 60\r\n" \
    "X-RateLimit-Remaining: 0\r\n" \
    "X-RateLimit-Reset: 1700000060\r\n"
#define IETF \
    "RateLimit-Policy: \"default\";q=60;w=60\r\n" \
    "RateLimit: \"default\";r=0;t=60\r\n"
#define RETRY  "Retry-After: 60\r\n"

/* The whole quota was spent at one moment, 1700000000. */
static mavera_rl_decision spent(int outcome)
{
    mavera_rl_decision d = blank_decision();

    d.outcome = outcome;
    d.limit = 60;
    d.used = 60;
    d.remaining = 0;
    d.window_ms = 60000;
    d.reset_after_ms = 60000;
    d.reset_unix_ms = UINT64_C(1700000060000);
    if (outcome != MAVERA_RL_ALLOWED) {
        d.retry_after_ms = 60000;
        d.retry_after_s = 60;
    }
    return d;
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

static void the_contracts_headers_are_exact(void)
{
    mavera_rl_decision allowed = spent(MAVERA_RL_ALLOWED);
    mavera_rl_decision limited = spent(MAVERA_RL_LIMITED);

    CHECK_STR(headers_of(&allowed, MAVERA_RL_HEADERS_LEGACY), LEGACY);
    CHECK_STR(headers_of(&limited, MAVERA_RL_HEADERS_LEGACY), LEGACY RETRY);
}

static void the_ietf_headers_are_exact(void)
{
    mavera_rl_decision allowed = spent(MAVERA_RL_ALLOWED);
    mavera_rl_decision limited = spent(MAVERA_RL_LIMITED);

    CHECK_STR(headers_of(&allowed, MAVERA_RL_HEADERS_IETF), IETF);
    CHECK_STR(headers_of(&limited, MAVERA_RL_HEADERS_IETF), IETF RETRY);
}

static void both_flavours_carry_retry_after_once(void)
{
    mavera_rl_decision  allowed = spent(MAVERA_RL_ALLOWED);
    mavera_rl_decision  limited = spent(MAVERA_RL_LIMITED);
    const char         *text;

    CHECK_STR(headers_of(&allowed, MAVERA_RL_HEADERS_BOTH), LEGACY IETF);
    /* Headers have no order: Retry-After may end the first or the whole. */
    text = headers_of(&limited, MAVERA_RL_HEADERS_BOTH);
    if (strcmp(text, LEGACY RETRY IETF) != 0) {
        CHECK_STR(text, LEGACY IETF RETRY);
    }
}

static void a_full_table_is_refused_with_the_same_headers(void)
{
    mavera_rl_decision d = spent(MAVERA_RL_FULL);

    CHECK_STR(headers_of(&d, MAVERA_RL_HEADERS_LEGACY), LEGACY RETRY);
    CHECK_STR(headers_of(&d, MAVERA_RL_HEADERS_IETF), IETF RETRY);
}

static void the_numbers_are_those_of_the_decision(void)
{
    mavera_rl_decision d = spent(MAVERA_RL_ALLOWED);

    d.limit = 240;
    d.used = 195;
    d.remaining = 45;
    d.window_ms = 3600000;
    d.reset_after_ms = 12000;
    d.reset_unix_ms = UINT64_C(1700000012000);
    CHECK_STR(headers_of(&d, MAVERA_RL_HEADERS_BOTH),
        "X-RateLimit-Limit: 240\r\n"
        "X-RateLimit-Remaining: 45\r\n"
        "X-RateLimit-Reset: 1700000012\r\n"
        "RateLimit-Policy: \"default\";q=240;w=3600\r\n"
        "RateLimit: \"default\";r=45;t=12\r\n");
    /* Early is wrong, a fraction of a second late is not: rounded up. */
    d.reset_after_ms = 11001;
    d.reset_unix_ms = UINT64_C(1700000011001);
    CHECK(strstr(headers_of(&d, MAVERA_RL_HEADERS_LEGACY),
        "X-RateLimit-Reset: 1700000012\r\n") != NULL);
    CHECK(strstr(headers_of(&d, MAVERA_RL_HEADERS_IETF), ";t=12\r\n")
        != NULL);
    d.reset_after_ms = 0;
    CHECK(strstr(headers_of(&d, MAVERA_RL_HEADERS_IETF), ";t=0\r\n")
        != NULL);
}

static void the_greatest_numbers_fit(void)
{
    mavera_rl_decision d = blank_decision();

    memset((unsigned char *) &d + sizeof(size_t), 0xFF,
        sizeof(d) - sizeof(size_t));
    d.outcome = MAVERA_RL_LIMITED;
    d.endpoint = NULL;
    for (uint32_t f = MAVERA_RL_HEADERS_LEGACY; f <= MAVERA_RL_HEADERS_BOTH;
        f++)
    {
        const char *text = headers_of(&d, f);

        CHECK(strstr(text, "4294967295") != NULL);
        CHECK(strstr(text, "-1") == NULL);
        CHECK(strstr(text, "Retry-After: 4294967295\r\n") != NULL);
    }
}

static void headers_keep_the_contract_of_snprintf(void)
{
    for (uint32_t f = MAVERA_RL_HEADERS_LEGACY; f <= MAVERA_RL_HEADERS_BOTH;
        f++)
    {
        for (int outcome = MAVERA_RL_ALLOWED; outcome <= MAVERA_RL_LIMITED;
            outcome++)
        {
            mavera_rl_decision  d = spent(outcome);
            unsigned char       part[1024];
            char                whole[1024];
            size_t              len;

            len = mavera_rl_format_headers(&d, f, whole, sizeof(whole));
            REQUIRE(len > 0 && len + 2 < sizeof(whole));
            CHECK_INT(mavera_rl_format_headers(&d, f, NULL, 0), len);
            for (size_t cap = 0; cap <= len + 2; cap++) {
                size_t end = cap == 0 ? 0 : cap <= len ? cap : len + 1;

                memset(part, PATTERN, sizeof(part));
                CHECK_INT(mavera_rl_format_headers(&d, f, (char *) part + 1,
                    cap), len);
                if (end > 0) {
                    CHECK(memcmp(part + 1, whole, end - 1) == 0);
                    CHECK_INT(part[end], 0);
                }
                CHECK_INT(part[0], PATTERN);
                CHECK(all_bytes(part + 1 + end, sizeof(part) - 1 - end,
                    PATTERN));
            }
        }
    }
}

static void one_header_keeps_the_contract_of_snprintf(void)
{
    mavera_rl_decision  d = spent(MAVERA_RL_LIMITED);
    const char         *name;
    char                whole[256];

    for (size_t i = 0;; i++) {
        size_t len = mavera_rl_format_header(&d, MAVERA_RL_HEADERS_BOTH, i,
            &name, whole, sizeof(whole));

        if (name == NULL) {
            CHECK_INT(len, 0);
            CHECK_INT(i, 6);
            break;
        }
        REQUIRE(len > 0 && len < sizeof(whole) && i < 20);
        CHECK_INT(strlen(whole), len);
        for (size_t cap = 0; cap <= len + 2; cap++) {
            size_t         end = cap == 0 ? 0 : cap <= len ? cap : len + 1;
            unsigned char  part[256];
            const char    *again = NULL;

            memset(part, PATTERN, sizeof(part));
            CHECK_INT(mavera_rl_format_header(&d, MAVERA_RL_HEADERS_BOTH, i,
                &again, cap == 0 ? NULL : (char *) part, cap), len);
            CHECK(again != NULL && strcmp(again, name) == 0);
            if (end > 0) {
                CHECK(memcmp(part, whole, end - 1) == 0);
                CHECK_INT(part[end - 1], 0);
            }
            CHECK(all_bytes(part + end, sizeof(part) - end, PATTERN));
        }
    }
}

static void the_single_headers_are_the_lines_of_all(void)
{
    for (uint32_t f = MAVERA_RL_HEADERS_LEGACY; f <= MAVERA_RL_HEADERS_BOTH;
        f++)
    {
        for (int outcome = MAVERA_RL_ALLOWED; outcome <= MAVERA_RL_LIMITED;
            outcome++)
        {
            mavera_rl_decision  d = spent(outcome);
            char                joined[1024] = "", value[256];
            const char         *name = NULL;
            size_t              at = 0, i;

            for (i = 0; i < 20; i++) {
                mavera_rl_format_header(&d, f, i, &name, value,
                    sizeof(value));
                if (name == NULL) {
                    break;
                }
                at += (size_t) snprintf(joined + at, sizeof(joined) - at,
                    "%s: %s\r\n", name, value);
            }
            CHECK_INT(i, (f == MAVERA_RL_HEADERS_IETF ? 2
                : f == MAVERA_RL_HEADERS_LEGACY ? 3 : 5) + outcome);
            CHECK_STR(headers_of(&d, f), joined);
            name = "unchanged";
            CHECK_INT(mavera_rl_format_header(&d, f, SIZE_MAX, &name, value,
                sizeof(value)), 0);
            CHECK(name == NULL);
        }
    }
}

static void nothing_is_said_about_no_decision(void)
{
    mavera_rl_decision   d = spent(MAVERA_RL_LIMITED);
    static const size_t  sizes[] = { 0, 1, sizeof(size_t), DECISION_MIN - 1 };
    static const uint32_t flavours[] = { 0, 4, UINT32_MAX };
    const char          *name = NULL;
    char                 text[1024];

    CHECK_INT(mavera_rl_format_headers(NULL, MAVERA_RL_HEADERS_LEGACY, text,
        sizeof(text)), 0);
    CHECK_INT(mavera_rl_format_headers(NULL, MAVERA_RL_HEADERS_LEGACY, NULL,
        0), 0);
    CHECK_INT(mavera_rl_format_header(NULL, MAVERA_RL_HEADERS_LEGACY, 0,
        &name, text, sizeof(text)), 0);
    for (size_t i = 0; i < sizeof(flavours) / sizeof(*flavours); i++) {
        CHECK_INT(mavera_rl_format_headers(&d, flavours[i], text,
            sizeof(text)), 0);
        CHECK_INT(mavera_rl_format_header(&d, flavours[i], 0, &name, text,
            sizeof(text)), 0);
    }
    for (size_t i = 0; i < sizeof(sizes) / sizeof(*sizes); i++) {
        d.size = sizes[i];
        CHECK_INT(mavera_rl_format_headers(&d, MAVERA_RL_HEADERS_LEGACY,
            text, sizeof(text)), 0);
        CHECK_INT(mavera_rl_format_header(&d, MAVERA_RL_HEADERS_LEGACY, 0,
            &name, text, sizeof(text)), 0);
    }
}

static void no_buffer_and_no_name_do_no_harm(void)
{
    mavera_rl_decision  d = spent(MAVERA_RL_LIMITED);
    const char         *name = NULL;
    char                value[64] = "";

    /* What is returned for a capacity without a buffer is left open. */
    mavera_rl_format_headers(&d, MAVERA_RL_HEADERS_LEGACY, NULL, 100);
    mavera_rl_format_header(&d, MAVERA_RL_HEADERS_LEGACY, 0, &name, NULL,
        100);
    mavera_rl_format_header(&d, MAVERA_RL_HEADERS_LEGACY, 0, NULL, value,
        sizeof(value));
    mavera_rl_last_error(NULL, 100);
    CHECK(1);
}

static void decisions_of_earlier_and_later_versions_are_formatted(void)
{
    struct { mavera_rl_decision now; uint64_t tail[4]; } later;

    memset(&later, 0, sizeof(later));
    later.now = spent(MAVERA_RL_LIMITED);
    later.now.size = DECISION_MIN;
    CHECK_STR(headers_of(&later.now, MAVERA_RL_HEADERS_LEGACY),
        LEGACY RETRY);
    later.now.size = sizeof(later);
    CHECK_STR(headers_of(&later.now, MAVERA_RL_HEADERS_LEGACY),
        LEGACY RETRY);
}

void run_headers(void);
void run_headers(void)
{
    RUN(the_contracts_headers_are_exact);
    RUN(the_ietf_headers_are_exact);
    RUN(both_flavours_carry_retry_after_once);
    RUN(a_full_table_is_refused_with_the_same_headers);
    RUN(the_numbers_are_those_of_the_decision);
    RUN(the_greatest_numbers_fit);
    RUN(headers_keep_the_contract_of_snprintf);
    RUN(one_header_keeps_the_contract_of_snprintf);
    RUN(the_single_headers_are_the_lines_of_all);
    RUN(nothing_is_said_about_no_decision);
    RUN(no_buffer_and_no_name_do_no_harm);
    RUN(decisions_of_earlier_and_later_versions_are_formatted);
}
