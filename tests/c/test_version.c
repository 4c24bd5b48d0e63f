/* Versions, error texts, and the last error of each thread. */
#include "support.h"

#include <ctype.h>
#include <limits.h>

static const int codes[] = {
    MAVERA_RL_ALLOWED, MAVERA_RL_LIMITED, MAVERA_RL_BUSY, MAVERA_RL_FULL,
    MAVERA_RL_NOT_HELD,
    MAVERA_RL_EINVAL, MAVERA_RL_ESIZE, MAVERA_RL_ECOST, MAVERA_RL_ECLOCK,
    MAVERA_RL_ENOMEM, MAVERA_RL_ESYS, MAVERA_RL_EFORMAT, MAVERA_RL_EVERSION,
    MAVERA_RL_EMISMATCH, MAVERA_RL_EPLAN, MAVERA_RL_ENOENT,
    MAVERA_RL_EINTERNAL, MAVERA_RL_ESLOTS,
};

#define CODES  (sizeof(codes) / sizeof(*codes))

static void the_numbers_of_the_abi_never_change(void)
{
    CHECK_INT(MAVERA_RL_ALLOWED, 0);
    CHECK_INT(MAVERA_RL_LIMITED, 1);
    CHECK_INT(MAVERA_RL_BUSY, 2);
    CHECK_INT(MAVERA_RL_FULL, 3);
    CHECK_INT(MAVERA_RL_NOT_HELD, 4);
    CHECK_INT(MAVERA_RL_EINVAL, -1);
    CHECK_INT(MAVERA_RL_ESIZE, -2);
    CHECK_INT(MAVERA_RL_ECOST, -3);
    CHECK_INT(MAVERA_RL_ECLOCK, -4);
    CHECK_INT(MAVERA_RL_ENOMEM, -5);
    CHECK_INT(MAVERA_RL_ESYS, -6);
    CHECK_INT(MAVERA_RL_EFORMAT, -7);
    CHECK_INT(MAVERA_RL_EVERSION, -8);
    CHECK_INT(MAVERA_RL_EMISMATCH, -9);
    CHECK_INT(MAVERA_RL_EPLAN, -10);
    CHECK_INT(MAVERA_RL_ENOENT, -11);
    CHECK_INT(MAVERA_RL_EINTERNAL, -12);
    CHECK_INT(MAVERA_RL_ESLOTS, -13);
    CHECK_INT(MAVERA_RL_CLOCK_DEFAULT, 0);
    CHECK_INT(MAVERA_RL_CLOCK_PRECISE, 1);
    CHECK_INT(MAVERA_RL_CLOCK_COARSE, 2);
    CHECK_INT(MAVERA_RL_CLOCK_CALLER, 3);
    CHECK_INT(MAVERA_RL_ON_FULL_DEFAULT, 0);
    CHECK_INT(MAVERA_RL_ON_FULL_DENY, 1);
    CHECK_INT(MAVERA_RL_ON_FULL_ALLOW, 2);
    CHECK_INT(MAVERA_RL_HEADERS_LEGACY, 1);
    CHECK_INT(MAVERA_RL_HEADERS_IETF, 2);
    CHECK_INT(MAVERA_RL_HEADERS_BOTH, 3);
}

static void the_library_tells_its_version(void)
{
    const char *version = mavera_rl_version();
    int         dots = 0;

    /* The number in the soname, libmavera_rl.so.0. */
    CHECK_INT(mavera_rl_abi_version(), MAVERA_RL_ABI_VERSION);
    REQUIRE(version != NULL);
    CHECK(isdigit((unsigned char) version[0]));
    for (const char *at = version; *at != '\0'; at++) {
        dots += *at == '.';
    }
    CHECK(dots >= 2);
}

static void every_number_has_an_error_text(void)
{
    for (int code = -50; code <= 50; code++) {
        const char *text = mavera_rl_strerror(code);

        CHECK(text != NULL && text[0] != '\0');
        /* Static: the caller may keep it. */
        CHECK(mavera_rl_strerror(code) == text);
    }
    CHECK(mavera_rl_strerror(INT_MIN) != NULL);
    CHECK(mavera_rl_strerror(INT_MAX) != NULL);
    CHECK(mavera_rl_strerror(INT_MIN)[0] != '\0');
    CHECK(mavera_rl_strerror(INT_MAX)[0] != '\0');
}

static void every_code_has_a_text_of_its_own(void)
{
    const char *unknown = mavera_rl_strerror(INT_MIN);

    for (size_t i = 0; i < CODES; i++) {
        const char *text = mavera_rl_strerror(codes[i]);

        CHECK(strcmp(text, unknown) != 0);
        for (size_t j = 0; j < i; j++) {
            CHECK(strcmp(text, mavera_rl_strerror(codes[j])) != 0);
        }
    }
}

static unsigned last_error_of_a_new_thread(unsigned thread, void *data)
{
    char    text[64];
    size_t  len;

    (void) thread;
    (void) data;
    memset(text, PATTERN, sizeof(text));
    len = mavera_rl_last_error(text, sizeof(text));
    return len == 0 && text[0] == '\0';
}

static unsigned fail_apart(unsigned thread, void *data)
{
    char        path[128];
    mavera_rl  *rl = NULL;
    unsigned    own = 0;

    (void) data;
    snprintf(path, sizeof(path), "/no-such-directory/region-%u", thread);
    for (int i = 0; i < 50; i++) {
        own += mavera_rl_open(path, NULL, &rl) == MAVERA_RL_ESYS
            && strstr(last_error(), path) != NULL;
    }
    return own;
}

static void each_thread_has_its_own_last_error(void)
{
    mavera_rl *rl = NULL;

    CHECK_INT(mavera_rl_open("/no-such-directory/region", NULL, &rl),
        MAVERA_RL_ESYS);
    CHECK(strstr(last_error(), "/no-such-directory/region") != NULL);
    CHECK_INT(in_threads(1, last_error_of_a_new_thread, NULL), 1);
    CHECK(strstr(last_error(), "/no-such-directory/region") != NULL);
    CHECK_INT(in_threads(8, fail_apart, NULL), 8 * 50);
}

static void an_invalid_call_leaves_a_last_error(void)
{
    CHECK_INT(mavera_rl_open(NULL, NULL, NULL), MAVERA_RL_EINVAL);
    CHECK(last_error()[0] != '\0');
}

static void last_error_keeps_the_contract_of_snprintf(void)
{
    mavera_rl     *rl = NULL;
    char           whole[1024];
    unsigned char  part[1024 + 2];
    size_t         len;

    CHECK_INT(mavera_rl_open("/no-such-directory/region", NULL, &rl),
        MAVERA_RL_ESYS);
    len = mavera_rl_last_error(whole, sizeof(whole));
    REQUIRE(len > 0 && len < sizeof(whole));
    CHECK_INT(strlen(whole), len);
    CHECK_INT(mavera_rl_last_error(NULL, 0), len);
    for (size_t cap = 0; cap <= len + 2; cap++) {
        size_t written = cap == 0 ? 0 : cap <= len ? cap : len + 1;

        memset(part, PATTERN, sizeof(part));
        CHECK_INT(mavera_rl_last_error((char *) part, cap), len);
        if (written > 0) {
            CHECK(memcmp(part, whole, written - 1) == 0);
            CHECK_INT(part[written - 1], 0);
        }
        CHECK(all_bytes(part + written, sizeof(part) - written, PATTERN));
    }
}

void run_version(void);
void run_version(void)
{
    RUN(the_numbers_of_the_abi_never_change);
    RUN(the_library_tells_its_version);
    RUN(every_number_has_an_error_text);
    RUN(every_code_has_a_text_of_its_own);
    RUN(each_thread_has_its_own_last_error);
    RUN(an_invalid_call_leaves_a_last_error);
    RUN(last_error_keeps_the_contract_of_snprintf);
}
