/*
 * The whole test framework: checks that count, print where they failed, and
 * go on. Safe to use from several threads. A forked child has counters of its
 * own, which are lost when it ends: it reports through its exit status.
 */
#ifndef MAVERA_RL_TESTS_CHECK_H
#define MAVERA_RL_TESTS_CHECK_H

#include <inttypes.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>

extern atomic_uint check_passed;
extern atomic_uint check_failed;
extern atomic_uint check_skipped;
extern const char *check_test;      /* the test that runs now */
extern const char *check_only;      /* part of the names to run; NULL: all */

static inline int check_that(int ok, const char *file, int line,
    const char *what)
{
    if (ok) {
        atomic_fetch_add(&check_passed, 1);
    } else {
        atomic_fetch_add(&check_failed, 1);
        printf("%s:%d: %s: %s\n", file, line, check_test, what);
    }
    return ok;
}

static inline int check_int(intmax_t got, intmax_t want, const char *file,
    int line, const char *what)
{
    char text[512];

    snprintf(text, sizeof(text), "%s (got %" PRIdMAX ", want %" PRIdMAX ")",
        what, got, want);
    return check_that(got == want, file, line, text);
}

static inline int check_str(const char *got, const char *want,
    const char *file, int line, const char *what)
{
    char text[2048];
    int  ok = got != NULL && strcmp(got, want) == 0;

    if (ok) {
        return check_that(1, file, line, what);
    }
    snprintf(text, sizeof(text), "%s\n  got:  %s\n  want: %s", what,
        got == NULL ? "(null)" : got, want);
    return check_that(0, file, line, text);
}

#define CHECK(expr) \
    check_that((expr) ? 1 : 0, __FILE__, __LINE__, #expr)

#define CHECK_INT(got, want) \
    check_int((intmax_t) (got), (intmax_t) (want), __FILE__, __LINE__, \
        #got " == " #want)

#define CHECK_STR(got, want) \
    check_str((got), (want), __FILE__, __LINE__, #got " == " #want)

/* For what the rest of a test stands on: leaves the test when it fails. */
#define REQUIRE(expr) \
    do { \
        if (!CHECK(expr)) { \
            return; \
        } \
    } while (0)

/* Never silent: a skipped test looks different from a passed one. */
#define SKIP(reason) \
    do { \
        atomic_fetch_add(&check_skipped, 1); \
        printf("SKIPPED %s: %s\n", check_test, (reason)); \
        return; \
    } while (0)

#define RUN(test) \
    do { \
        if (check_only == NULL || strstr(#test, check_only) != NULL) { \
            check_test = #test; \
            test(); \
        } \
    } while (0)

#endif
