/* What several test files need: regions, policies, calls, files, children. */
#ifndef MAVERA_RL_TESTS_SUPPORT_H
#define MAVERA_RL_TESTS_SUPPORT_H

#include <mavera_rl.h>

#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/types.h>

#include "check.h"

/* Where the caller's clock starts in most tests: far from 0 and no multiple
 * of any quantum. */
#define T0       UINT64_C(1000003)
#define MINUTE   60000
#define PATTERN  0xA5

/* The first decision ended before `untracked`: the smallest valid size. */
#define DECISION_MIN  offsetof(mavera_rl_decision, untracked)

/* Options ended after `reserved` at first. */
#define OPTIONS_MIN \
    (offsetof(mavera_rl_options, reserved) + sizeof(uint32_t))

/* Greatest limit of a policy, 2^23. */
#define LIMIT_MAX  8388608u

/* A small region whose time the test supplies. */
mavera_rl_options caller_options(uint64_t keys);
mavera_rl        *caller_region(uint64_t keys);
mavera_rl        *caller_region_of(uint64_t keys, uint32_t cells);
/* A small region that reads its own clock. */
mavera_rl        *clock_region(uint32_t clock);

mavera_rl_policy   policy_of(uint32_t limit, uint32_t window_ms);
mavera_rl_decision blank_decision(void);
/* Every byte PATTERN, but for a valid size. */
mavera_rl_decision patterned_decision(void);
mavera_rl_stats_t  stats_of(const mavera_rl *rl);

/* check_at and peek_at of a string key; the decision goes to `d`. */
int check_key(mavera_rl *rl, const char *key, uint32_t limit,
    uint32_t window_ms, uint32_t cost, uint64_t now, mavera_rl_decision *d);
int peek_key(mavera_rl *rl, const char *key, uint32_t limit,
    uint32_t window_ms, uint32_t cost, uint64_t now, mavera_rl_decision *d);
/* Answers of 0 among `times` calls of cost 1. */
unsigned admitted(mavera_rl *rl, const char *key, uint32_t limit,
    uint32_t window_ms, unsigned times, uint64_t now);

/* acquire without a lease, and in_flight, of a string key. */
int      take_permit(mavera_rl *rl, const char *key, uint32_t class_id,
    uint32_t max, mavera_rl_permit *out);
uint32_t in_flight_of(mavera_rl *rl, const char *key, uint32_t class_id);
int      is_zero_permit(mavera_rl_permit permit);
/* Every byte PATTERN. */
mavera_rl_permit patterned_permit(void);
/* A clock's reading that only differences of mean something. */
uint64_t milliseconds(void);

/* The four calls that judge one key, to run one test over all of them. */
enum entry { CHECK_AT, PEEK_AT, CHECK_OWN, PEEK_OWN, ENTRIES };

mavera_rl *region_for(enum entry entry);
int call_entry(enum entry entry, mavera_rl *rl, const void *key,
    size_t key_len, const mavera_rl_policy *policy, uint32_t cost,
    mavera_rl_decision *out);

int all_bytes(const void *memory, size_t len, unsigned char value);

/* The thread's last error, in a buffer that the next call overwrites. */
const char *last_error(void);
/* Whether `text` names that line, as ":3" or "line 3". */
int names_line(const char *text, unsigned line);

/* A temporary directory (in shared memory where there is some), and a path in
 * it, in one of a few buffers used in turn. */
void        make_directory(char dir[64]);
void        remove_directory(const char *dir);
unsigned    files_in(const char *dir);
const char *path_in(const char *dir, const char *name);
void        write_file(const char *path, const void *bytes, size_t len);
/* The whole file, to be freed; NULL if it cannot be read. */
unsigned char *read_file(const char *path, size_t *len);

/* Forks `count` children that start together and returns the sum of what
 * `body` returned in them, or -1 if one of them died. */
long in_children(unsigned count, unsigned (*body)(unsigned child, void *data),
    void *data);
/* The same with threads. */
long in_threads(unsigned count, unsigned (*body)(unsigned thread, void *data),
    void *data);

#endif
