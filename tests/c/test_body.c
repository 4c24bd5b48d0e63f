/* The body of a 429, byte for byte. */
#include "support.h"

#define BODY(seconds) \
    "{\"error\":{\"message\":\"Rate limit exceeded. Please retry after " \
    seconds " seconds.\",\"type\":\"rate_limit_error\"," \
    "\"code\":\"rate_limit_exceeded\",\"param\":null}}"

static mavera_rl_decision refused_for(uint32_t seconds)
{
    mavera_rl_decision d = blank_decision();

    d.outcome = MAVERA_RL_LIMITED;
    d.limit = 60;
    d.used = 60;
    d.window_ms = 60000;
    d.retry_after_s = seconds;
    d.retry_after_ms = (uint64_t) seconds * 1000;
    d.reset_after_ms = d.retry_after_ms;
    d.reset_unix_ms = UINT64_C(1700000000000) + d.retry_after_ms;
    return d;
}

static void the_body_of_a_refusal_is_the_contracts(void)
{
    static const struct { uint32_t seconds; const char *body; } cases[] = {
        { 60, BODY("60") }, { 1, BODY("1") }, { 9, BODY("9") },
        { 3600, BODY("3600") }, { UINT32_MAX, BODY("4294967295") },
    };

    for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
        mavera_rl_decision  d = refused_for(cases[i].seconds);
        char                text[512] = "";

        CHECK_INT(mavera_rl_format_body(&d, text, sizeof(text)),
            strlen(cases[i].body));
        CHECK_STR(text, cases[i].body);
    }
}

static void a_real_refusal_makes_the_contracts_body(void)
{
    mavera_rl          *rl = caller_region(16);
    mavera_rl_decision  d;
    char                text[512] = "";

    REQUIRE(rl != NULL);
    CHECK_INT(admitted(rl, "key", 60, MINUTE, 60, T0), 60);
    CHECK_INT(check_key(rl, "key", 60, MINUTE, 1, T0 + 17500, &d),
        MAVERA_RL_LIMITED);
    CHECK(mavera_rl_format_body(&d, text, sizeof(text)) > 0);
    CHECK_STR(text, BODY("43"));
    mavera_rl_close(rl);
}

static void a_full_table_has_a_body_too(void)
{
    mavera_rl_decision  d = refused_for(60);
    char                text[512] = "";
    size_t              len;

    d.outcome = MAVERA_RL_FULL;
    len = mavera_rl_format_body(&d, text, sizeof(text));
    CHECK(len > 0 && len < sizeof(text));
    CHECK(strncmp(text, "{\"error\":{\"message\":\"", 21) == 0);
    CHECK(strstr(text, "\"type\":\"rate_limit_error\"") != NULL);
    CHECK(len > 2 && strcmp(text + len - 2, "}}") == 0);
}

static void an_allowed_request_has_no_body(void)
{
    mavera_rl_decision  d = refused_for(0);
    char                text[512] = "";

    d.outcome = MAVERA_RL_ALLOWED;
    CHECK_INT(mavera_rl_format_body(&d, text, sizeof(text)), 0);
    CHECK_INT(mavera_rl_format_body(&d, NULL, 0), 0);
    CHECK_STR(text, "");
}

static void no_decision_has_no_body(void)
{
    static const size_t  sizes[] = { 0, 1, sizeof(size_t), DECISION_MIN - 1 };
    mavera_rl_decision   d = refused_for(60);
    char                 text[512] = "";

    CHECK_INT(mavera_rl_format_body(NULL, text, sizeof(text)), 0);
    CHECK_INT(mavera_rl_format_body(NULL, NULL, 0), 0);
    for (size_t i = 0; i < sizeof(sizes) / sizeof(*sizes); i++) {
        d.size = sizes[i];
        CHECK_INT(mavera_rl_format_body(&d, text, sizeof(text)), 0);
    }
    d = refused_for(60);
    mavera_rl_format_body(&d, NULL, 100);
}

static void the_body_keeps_the_contract_of_snprintf(void)
{
    mavera_rl_decision  d = refused_for(60);
    const char         *whole = BODY("60");
    size_t              len = strlen(whole);
    unsigned char       part[512];

    CHECK_INT(mavera_rl_format_body(&d, NULL, 0), len);
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

void run_body(void);
void run_body(void)
{
    RUN(the_body_of_a_refusal_is_the_contracts);
    RUN(a_real_refusal_makes_the_contracts_body);
    RUN(a_full_table_has_a_body_too);
    RUN(an_allowed_request_has_no_body);
    RUN(no_decision_has_no_body);
    RUN(the_body_keeps_the_contract_of_snprintf);
}
