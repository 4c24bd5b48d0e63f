/*
 * mavera_rl.h: exact sliding-window rate limits, shared by threads, processes
 * and languages through one region of memory.
 *
 * Generated from the sources by cbindgen: change those, then run
 * MAVERA_RL_BLESS=1 cargo test --test header
 *
 * In short:
 *
 *     mavera_rl *rl;
 *     mavera_rl_policy policy = {sizeof policy, 60, 60000};
 *     mavera_rl_decision decision = {sizeof decision};
 *
 *     if (mavera_rl_open("/dev/shm/limits", NULL, &rl) != 0)
 *         ... mavera_rl_last_error(...) says why
 *     switch (mavera_rl_check(rl, key, strlen(key), &policy, 1, &decision)) {
 *     case MAVERA_RL_ALLOWED: ... serve
 *     case MAVERA_RL_LIMITED: ... 429, decision.retry_after_s
 *     }
 *     mavera_rl_close(rl);
 *
 * Results: 0 is allowed or done, a small positive number a refusal, a negative
 * one an error (mavera_rl_strerror, mavera_rl_last_error). A refusal is not an
 * error, and writes nothing.
 *
 * Structs begin with their size: set it to sizeof, and the rest to zero before
 * you fill it in. An older program's smaller structs are understood; bytes
 * beyond what this library knows must be zero. Outputs are written only on
 * success.
 *
 * Pointers must be NULL only where that is said. Memory is never kept beyond
 * the call, but for what mavera_rl_init is given. Nothing is printed, no
 * thread started, no signal handled.
 *
 * Requests in flight: mavera_rl_admit asks for permit and quota at once, by a
 * plan and the request's path; mavera_rl_release gives the permit back when
 * the response is finished. A process that dies leaves none behind.
 *
 * Fork: a handle on a path may be used by parent and child; permits stay with
 * whoever took them. A private region (no path, or mavera_rl_init in memory
 * that is not shared) is copied by fork: the two then count apart.
 *
 * Promised: in any span of one window never more than the limit is admitted,
 * over all threads, processes and languages on the region; a process may be
 * killed between any two instructions without loss and without blocking
 * anyone; a clock that steps, a late thread or a suspended machine only make
 * it stricter. Limits up to cells - 4 (60 by default) are exact to the
 * millisecond; above that an answer may come up to one quantum, about window /
 * cells, later than that of an exact log.
 *
 * The freestanding library, libmavera_rl_freestanding.a, has mavera_rl_init
 * with MAVERA_RL_CLOCK_CALLER and a secret of yours, the functions that end in
 * _at, mavera_rl_stats, _format_..., _strerror, _region_size, _close and the
 * versions; it calls memcpy and memset, and nothing else.
 */

#ifndef MAVERA_RL_H
#define MAVERA_RL_H

#include <stddef.h>
#include <stdint.h>

/**
 * Done, or: the request may go on, and was charged.
 */
#define MAVERA_RL_ALLOWED 0

/**
 * Refused: the quota is spent.
 */
#define MAVERA_RL_LIMITED 1

/**
 * Refused: as many requests are in flight as may be.
 */
#define MAVERA_RL_BUSY 2

/**
 * Refused: the table holds only keys that still owe, or permits that are all
 * held, and the region's policy is to deny.
 */
#define MAVERA_RL_FULL 3

/**
 * Of mavera_rl_release: nothing was changed, for the permit was not held: it
 * had been given back, its lease had ended and somebody has it, or another
 * process took it.
 */
#define MAVERA_RL_NOT_HELD 4

/**
 * An argument is NULL or out of its range.
 */
#define MAVERA_RL_EINVAL -1

/**
 * A struct's size is too small, or its unknown tail is not zero.
 */
#define MAVERA_RL_ESIZE -2

/**
 * The cost exceeds the limit: no wait would ever be enough.
 */
#define MAVERA_RL_ECOST -3

/**
 * A time was given to a region that reads its own clock, or none to one
 * whose caller supplies it.
 */
#define MAVERA_RL_ECLOCK -4

/**
 * No memory, no room in the file system, or the memory given is too small.
 */
#define MAVERA_RL_ENOMEM -5

/**
 * The system refused: not found, no permission, a directory.
 */
#define MAVERA_RL_ESYS -6

/**
 * The file is not a region, or a damaged one.
 */
#define MAVERA_RL_EFORMAT -7

/**
 * The file is a region of another layout version.
 */
#define MAVERA_RL_EVERSION -8

/**
 * An option differs from what the existing region has.
 */
#define MAVERA_RL_EMISMATCH -9

/**
 * The plan file cannot be read or has a fault.
 */
#define MAVERA_RL_EPLAN -10

/**
 * The plan has no such tier, key or index.
 */
#define MAVERA_RL_ENOENT -11

/**
 * All process slots of the region are taken by processes that are alive, or
 * the system did not let this one register.
 */
#define MAVERA_RL_ESLOTS -13

/**
 * A defect of the library was caught; the handle answers this from then on.
 */
#define MAVERA_RL_EINTERNAL -12

/**
 * Of mavera_rl_options.clock: the precise one when a region is created;
 * whatever it has when one is attached to.
 */
#define MAVERA_RL_CLOCK_DEFAULT 0

/**
 * CLOCK_BOOTTIME to the millisecond, about 20 ns a reading.
 */
#define MAVERA_RL_CLOCK_PRECISE 1

/**
 * CLOCK_MONOTONIC_COARSE, about 3 ns a reading; answers come up to twice its
 * resolution (often 8 ms) later.
 */
#define MAVERA_RL_CLOCK_COARSE 2

/**
 * The caller passes the time: the functions that end in _at.
 */
#define MAVERA_RL_CLOCK_CALLER 3

/**
 * Of mavera_rl_options.on_full: deny when a region is created; whatever it
 * has when one is attached to.
 */
#define MAVERA_RL_ON_FULL_DEFAULT 0

/**
 * A key that finds no room hears MAVERA_RL_FULL.
 */
#define MAVERA_RL_ON_FULL_DENY 1

/**
 * A key that finds no room is allowed without being counted.
 */
#define MAVERA_RL_ON_FULL_ALLOW 2

/**
 * Version of the binary interface: the number in the library's soname. It
 * changes when a program must be compiled anew.
 */
#define MAVERA_RL_ABI_VERSION 0

/**
 * X-RateLimit-Limit, X-RateLimit-Remaining, X-RateLimit-Reset
 */
#define MAVERA_RL_HEADERS_LEGACY 1

/**
 * RateLimit-Policy and RateLimit of draft-ietf-httpapi-ratelimit-headers-11
 */
#define MAVERA_RL_HEADERS_IETF 2

/**
 * Both of them
 */
#define MAVERA_RL_HEADERS_BOTH 3

/**
 * A handle on a region. All functions that take one may be called from any
 * number of threads at once, but for mavera_rl_close.
 */
typedef struct mavera_rl mavera_rl;

/**
 * A plan. All functions that take one may be called from any number of
 * threads at once, but for mavera_rl_plan_free.
 */
typedef struct mavera_rl_plan mavera_rl_plan;

/**
 * Options of a region. Set size to sizeof(mavera_rl_options) and the rest to
 * zero, then what is to differ. Zero means the default when a region is
 * created, and "whatever it has" when one is attached to; what is set must
 * then agree with it.
 */
typedef struct mavera_rl_options {
    /**
     * sizeof(mavera_rl_options)
     */
    size_t size;
    /**
     * Keys active within one window, 1..2^32; default 100000. The table has
     * room for 32 % more.
     */
    uint64_t keys;
    /**
     * Cells of a key's ring: a power of two, 8..1024; default 64. Limits up to
     * cells - 4 are exact to the millisecond, above to about window / cells.
     * Memory per key is about 10.6 bytes times cells.
     */
    uint32_t cells;
    /**
     * The longest window any policy may have, in ms; default 60000. A record
     * can be reused this long after its key's last admission.
     */
    uint32_t max_window_ms;
    /**
     * MAVERA_RL_CLOCK_*
     */
    uint32_t clock;
    /**
     * MAVERA_RL_ON_FULL_*
     */
    uint32_t on_full;
    /**
     * Permission bits of a new region file, the umask not applied; default
     * 0600.
     */
    uint32_t mode;
    /**
     * 0
     */
    uint32_t reserved;
    /**
     * Secret that keys are hashed with. All zero: drawn from the system. The
     * freestanding library needs one, and it must be random.
     */
    uint8_t secret[16];
    /**
     * Keys with requests in flight at one time, each counted once for every
     * class, 1..2^32; default 4096, or keys if that is less. There is room for
     * twice as many.
     */
    uint64_t permit_keys;
    /**
     * Most permits of a key and class: a multiple of 8, 8..256; default 16.
     */
    uint32_t permit_cells;
    /**
     * 0
     */
    uint32_t reserved2;
} mavera_rl_options;

/**
 * What a region is and has seen.
 */
typedef struct mavera_rl_stats_t {
    /**
     * sizeof(mavera_rl_stats_t)
     */
    size_t size;
    /**
     * Records the table can hold.
     */
    uint64_t keys_capacity;
    /**
     * Records given to keys and not taken back.
     */
    uint64_t keys_held;
    /**
     * Records ever given to a key.
     */
    uint64_t inserted;
    /**
     * Records taken back: from idle keys, and in a full table now and then
     * from one that was given but not charged yet.
     */
    uint64_t evicted;
    /**
     * Checks and acquisitions answered by on_full.
     */
    uint64_t full;
    /**
     * Size of the region in bytes.
     */
    uint64_t bytes;
    /**
     * As in mavera_rl_options.
     */
    uint32_t cells;
    /**
     * As in mavera_rl_options.
     */
    uint32_t clock;
    /**
     * As in mavera_rl_options.
     */
    uint32_t on_full;
    /**
     * As in mavera_rl_options.
     */
    uint32_t max_window_ms;
    /**
     * Keys and classes that can have permits at one time.
     */
    uint64_t permit_capacity;
    /**
     * As in mavera_rl_options.
     */
    uint32_t permit_cells;
    /**
     * 0
     */
    uint32_t reserved;
} mavera_rl_stats_t;

/**
 * A limit: at most limit units in any span of window_ms milliseconds. It is
 * passed with every call, so a key's tier changes by passing another limit,
 * and what the key has spent is kept. One key under two window lengths is two
 * records.
 */
typedef struct mavera_rl_policy {
    /**
     * sizeof(mavera_rl_policy)
     */
    size_t size;
    /**
     * Units, 0..8388608 (2^23)
     */
    uint32_t limit;
    /**
     * Milliseconds, from 1 to the region's max_window_ms
     */
    uint32_t window_ms;
} mavera_rl_policy;

/**
 * The answer to one check, with all that response headers need, from the same
 * atomic step.
 */
typedef struct mavera_rl_decision {
    /**
     * sizeof(mavera_rl_decision); set it before the call
     */
    size_t size;
    /**
     * MAVERA_RL_ALLOWED, _LIMITED, _BUSY or _FULL; in a batch also a negative error
     */
    int32_t outcome;
    /**
     * The limit asked about
     */
    uint32_t limit;
    /**
     * Units charged in the window, this call's included
     */
    uint32_t used;
    /**
     * Units that may still be spent now
     */
    uint32_t remaining;
    /**
     * The window asked about, in ms
     */
    uint32_t window_ms;
    /**
     * For Retry-After: whole seconds, rounded up, at least 1; 0 when allowed
     */
    uint32_t retry_after_s;
    /**
     * The exact wait, if nobody else spends; 0 when allowed
     */
    uint64_t retry_after_ms;
    /**
     * Allowed: until the oldest unit leaves the window, 0 if it holds none.
     * Refused: retry_after_s in ms
     */
    uint64_t reset_after_ms;
    /**
     * The same as wall time, in Unix ms: never early, and late by at most two
     * ticks of the coarse clock (often 8 ms). At the caller's time, by that.
     */
    uint64_t reset_unix_ms;
    /**
     * 1: allowed without being counted, because the table was full
     */
    uint32_t untracked;
    /**
     * Requests of the key in flight on the endpoint, this one included if it
     * was allowed; 0 where no permit was asked for
     */
    uint32_t in_flight;
    /**
     * How many there may be; 0 where no permit was asked for
     */
    uint32_t max_in_flight;
    /**
     * 0
     */
    uint32_t reserved;
    /**
     * The endpoint by the plan's name, which lives as long as the plan; NULL
     * where no permit was asked for
     */
    const char *endpoint;
} mavera_rl_decision;

/**
 * One request of a batch.
 */
typedef struct mavera_rl_request {
    /**
     * sizeof(mavera_rl_request), the same in all of a batch
     */
    size_t size;
    /**
     * The API key, any bytes
     */
    const void *key;
    /**
     * Bytes of the key
     */
    size_t key_len;
    /**
     * Its limit
     */
    const struct mavera_rl_policy *policy;
    /**
     * Units it costs
     */
    uint32_t cost;
    /**
     * 0
     */
    uint32_t reserved;
} mavera_rl_request;

/**
 * A permit: a plain value, passed and kept by value, given back once by
 * mavera_rl_release on any thread of the process that took it. All zero: none,
 * and releasing it does nothing.
 */
typedef struct mavera_rl_permit {
    /**
     * Where it is
     */
    uint64_t place;
    /**
     * Which it is
     */
    uint64_t word;
} mavera_rl_permit;

/**
 * An endpoint with a limit on requests in flight.
 */
typedef struct mavera_rl_endpoint {
    /**
     * sizeof(mavera_rl_endpoint)
     */
    size_t size;
    /**
     * The request path; lives as long as the plan
     */
    const char *path;
    /**
     * The endpoint's class, as mavera_rl_class_id says of its path
     */
    uint32_t class_id;
    /**
     * Most requests of one key in flight
     */
    uint32_t max_in_flight;
} mavera_rl_endpoint;

#ifdef __cplusplus
extern "C" {
#endif // __cplusplus

/**
 * What a code means, in English.
 *
 * Returns: a static string, for every int there is.
 * Thread safety: any thread. Progress: wait-free. Allocates and blocks: no.
 * Since 0.1.
 */
const char *mavera_rl_strerror(int code);

/**
 * The calling thread's last error in full: it names the values at odds, and
 * for files the path, the line and the key.
 *
 * buf, cap: where it goes; as `snprintf`, at most cap - 1 bytes and a NUL.
 * Returns: the whole length without the NUL; 0 if there was no error.
 * Thread safety: any thread, each has its own. Progress: wait-free.
 * Allocates and blocks: no. Not in the freestanding library. Since 0.1.
 */
size_t mavera_rl_last_error(char *buf, size_t cap);

/**
 * Bytes that mavera_rl_init needs for a region with these options.
 *
 * opts: NULL for the defaults.
 * Returns: the bytes, whatever the memory's alignment; 0 if an option is out
 * of its range (mavera_rl_last_error says which).
 * Thread safety: any thread. Progress: wait-free. Allocates and blocks: no.
 * Since 0.1.
 */
size_t mavera_rl_region_size(const struct mavera_rl_options *opts);

/**
 * Makes a region in the caller's memory, for threads of this process. The
 * memory is cleared, and belongs to the handle until mavera_rl_close.
 *
 * memory, len: at least mavera_rl_region_size(opts) bytes.
 * opts: NULL for the defaults.
 * out: gets the handle, which lies in the memory.
 * Returns: 0; MAVERA_RL_EINVAL, _ESIZE, _ENOMEM (len is too small).
 * Thread safety: any thread. Progress: wait-free. Allocates and blocks: no.
 * Since 0.1.
 */
int mavera_rl_init(void *memory,
                   size_t len,
                   const struct mavera_rl_options *opts,
                   struct mavera_rl **out);

/**
 * Opens the region of all processes that open this path, and creates it if
 * there is none. Creation is atomic: whoever opens at the same time gets the
 * same region. A region from before a reboot is replaced.
 *
 * path: best on /dev/shm; a symbolic link is not followed. NULL: a region of
 * this process alone.
 * opts: NULL for the defaults.
 * out: gets the handle; give it to mavera_rl_close.
 * Returns: 0; MAVERA_RL_EINVAL, _ESIZE, _ENOMEM (no memory, or the file
 * system is full), _ESYS, _EFORMAT, _EVERSION, _EMISMATCH.
 * mavera_rl_last_error names the path and the values at odds.
 * Thread safety: any thread. Progress: may wait for another process that
 * replaces the region of an earlier boot. Allocates and makes system calls.
 * Open after fork, or before: both work. Not in the freestanding library.
 * Since 0.1.
 */
int mavera_rl_open(const char *path,
                   const struct mavera_rl_options *opts,
                   struct mavera_rl **out);

/**
 * Closes a handle. The region's file, and what is counted in it, stay; memory
 * given to mavera_rl_init is the caller's again. Permits that were taken
 * through the handle are given back.
 *
 * rl: NULL is allowed and does nothing.
 * Thread safety: no other thread may use the handle any more. Progress:
 * wait-free. Makes a system call. Since 0.1.
 */
void mavera_rl_close(struct mavera_rl *rl);

/**
 * What the region is and has seen. Counters are exact when nobody is writing.
 *
 * out: size set; gets the rest.
 * Returns: 0; MAVERA_RL_EINVAL, _ESIZE, _EINTERNAL.
 * Thread safety: any thread. Progress: wait-free. Allocates and blocks: no.
 * Since 0.1.
 */
int mavera_rl_stats(const struct mavera_rl *rl, struct mavera_rl_stats_t *out);

/**
 * The library's MAVERA_RL_ABI_VERSION, to compare with the header's.
 *
 * Returns: the number in the library's soname.
 * Thread safety: any thread. Progress: wait-free. Allocates and blocks: no.
 * Since 0.1.
 */
uint32_t mavera_rl_abi_version(void);

/**
 * The library's version, as in "0.1.0".
 *
 * Returns: a static string.
 * Thread safety: any thread. Progress: wait-free. Allocates and blocks: no.
 * Since 0.1.
 */
const char *mavera_rl_version(void);

/**
 * Charges cost units to the key if its policy admits them now.
 *
 * key, key_len: the API key, any bytes; not stored.
 * policy: its limit.
 * cost: units; 0 charges nothing and is answered as by mavera_rl_peek.
 * out: size set; gets the decision. May be NULL.
 * Returns: MAVERA_RL_ALLOWED, _LIMITED, _FULL; MAVERA_RL_EINVAL, _ESIZE,
 * _ECOST, _ECLOCK, _EINTERNAL.
 * Thread safety: any thread, any process on the region. Progress: lock-free;
 * a refusal writes nothing. Allocates and blocks: no. Not in the freestanding
 * library. Since 0.1.
 */
int mavera_rl_check(struct mavera_rl *rl,
                    const void *key,
                    size_t key_len,
                    const struct mavera_rl_policy *policy,
                    uint32_t cost,
                    struct mavera_rl_decision *out);

/**
 * mavera_rl_check at the caller's time.
 *
 * now_ms: milliseconds of any clock that is the same for all callers on the
 * region; its first reading fixes the epoch. Readings may lie up to 2.2 years
 * before it and 32 years after; beyond, windows stay closed. Time that runs
 * backwards never admits more. With Unix milliseconds, reset_unix_ms is right.
 * Otherwise as mavera_rl_check, but also in the freestanding library.
 * Since 0.1.
 */
int mavera_rl_check_at(struct mavera_rl *rl,
                       const void *key,
                       size_t key_len,
                       const struct mavera_rl_policy *policy,
                       uint32_t cost,
                       uint64_t now_ms,
                       struct mavera_rl_decision *out);

/**
 * Whether mavera_rl_check would admit cost units now. Writes nothing to the
 * region; used does not count the cost.
 *
 * Parameters, returns and the rest as mavera_rl_check. Since 0.1.
 */
int mavera_rl_peek(struct mavera_rl *rl,
                   const void *key,
                   size_t key_len,
                   const struct mavera_rl_policy *policy,
                   uint32_t cost,
                   struct mavera_rl_decision *out);

/**
 * mavera_rl_peek at the caller's time, as mavera_rl_check_at. Since 0.1.
 */
int mavera_rl_peek_at(struct mavera_rl *rl,
                      const void *key,
                      size_t key_len,
                      const struct mavera_rl_policy *policy,
                      uint32_t cost,
                      uint64_t now_ms,
                      struct mavera_rl_decision *out);

/**
 * mavera_rl_check of many requests, each on its own and in order, with the
 * memory of several asked for at once: for keys at random several times as
 * fast.
 *
 * requests, count: the batch; requests[0].size is the distance between two.
 * out: count decisions; out[0].size is the distance between two, and all
 * sizes must be set. The outcome of a request that is wrong is its error.
 * Returns: 0; MAVERA_RL_EINVAL, _ESIZE (then nothing was charged),
 * _EINTERNAL.
 * Thread safety, progress and the rest as mavera_rl_check. Since 0.1.
 */
int mavera_rl_check_many(struct mavera_rl *rl,
                         const struct mavera_rl_request *requests,
                         size_t count,
                         struct mavera_rl_decision *out);

/**
 * mavera_rl_check_many at the caller's time, as mavera_rl_check_at.
 * Since 0.1.
 */
int mavera_rl_check_many_at(struct mavera_rl *rl,
                            const struct mavera_rl_request *requests,
                            size_t count,
                            uint64_t now_ms,
                            struct mavera_rl_decision *out);

/**
 * Takes a permit: at most max requests of a key and class are in flight at
 * once, on the whole host. It is free again when it is released, and when
 * the process that took it is dead, however it died.
 *
 * key, key_len: the API key, any bytes; not stored.
 * class_id: tells a key's endpoints apart (mavera_rl_class_id).
 * max: 1 to the region's permit_cells; passed with every call. After it was
 * lowered, what is in flight above it runs out.
 * lease_ms: 0, or after how long, at most a day, a permit that was not given
 * back may be taken by another, up to two seconds later: for callers that
 * lose track.
 * out: gets the permit.
 * Returns: 0; MAVERA_RL_BUSY (max or more are in flight), _FULL;
 * MAVERA_RL_EINVAL, _ESLOTS, _EINTERNAL. A permit that was allowed because the
 * table was full is all zero.
 * Thread safety: any thread, any process on the region. Progress: lock-free.
 * Allocates and blocks: no. System calls: when the process takes its first
 * permit, to register; and when it meets other processes' permits and finds
 * no free one, to see whether they live, each at most once in 5 ms. Not in
 * the freestanding library. Since 0.1.
 */
int mavera_rl_acquire(struct mavera_rl *rl,
                      const void *key,
                      size_t key_len,
                      uint32_t class_id,
                      uint32_t max,
                      uint32_t lease_ms,
                      struct mavera_rl_permit *out);

/**
 * Gives a permit back.
 *
 * permit: as mavera_rl_acquire or mavera_rl_admit gave it.
 * Returns: 0; MAVERA_RL_NOT_HELD (nothing was changed); MAVERA_RL_EINVAL,
 * _EINTERNAL.
 * Thread safety: any thread of the process that took it. Progress: wait-free.
 * Allocates and blocks: no. Not in the freestanding library. Since 0.1.
 */
int mavera_rl_release(struct mavera_rl *rl, struct mavera_rl_permit permit);

/**
 * Requests of a key and class in flight. While others come and go it was true
 * of each permit at some moment of the call; permits of a process that has
 * just died may still count.
 *
 * key, key_len, class_id: as for mavera_rl_acquire.
 * out: gets the number.
 * Returns: 0; MAVERA_RL_EINVAL, _EINTERNAL.
 * Thread safety: any thread. Progress: lock-free; loads only. Allocates and
 * blocks: no. Not in the freestanding library. Since 0.1.
 */
int mavera_rl_in_flight(struct mavera_rl *rl,
                        const void *key,
                        size_t key_len,
                        uint32_t class_id,
                        uint32_t *out);

/**
 * The built-in plan: tiers starter 60, basic 120, professional 240 and
 * enterprise 600 per 60 s; in flight /mave/chat 10, /focus-groups 5,
 * /video-analyses 3; no keys.
 *
 * out: gets the plan; give it to mavera_rl_plan_free.
 * Returns: 0; MAVERA_RL_EINVAL.
 * Thread safety: any thread. Progress: wait-free. Allocates. Not in the
 * freestanding library. Since 0.1.
 */
int mavera_rl_plan_default(struct mavera_rl_plan **out);

/**
 * Reads a plan from a TOML file:
 *
 * | window = "60s"                # default; ms, or "500ms" "60s" "5m" "1h"
 * | [tiers]
 * | starter = 60                  # requests per window
 * | trial = { limit = 5, window = "10s" }
 * | [endpoints]
 * | "/mave/chat" = 10             # requests of one key in flight
 * | "/focus-groups" = { in_flight = 5, also = ["/v1/focus-groups"] }
 * | [keys]                        # API keys, if the gateway keeps them here
 * | "key-one" = "starter"
 * | "key-two" = { tier = "enterprise", limit = 5000 }
 *
 * A part that is missing is the built-in plan's, but for keys.
 *
 * out: gets the plan; give it to mavera_rl_plan_free.
 * Returns: 0; MAVERA_RL_EINVAL, _EPLAN (mavera_rl_last_error names file, line
 * and key).
 * Thread safety: any thread. Allocates and reads a file. Not in the
 * freestanding library. Since 0.1.
 */
int mavera_rl_plan_load(const char *toml_path, struct mavera_rl_plan **out);

/**
 * Frees a plan.
 *
 * plan: NULL is allowed and does nothing.
 * Thread safety: no other thread may use the plan any more. Since 0.1.
 */
void mavera_rl_plan_free(struct mavera_rl_plan *plan);

/**
 * What a tier may.
 *
 * tier: its name.
 * out: size set; gets limit and window.
 * Returns: 0; MAVERA_RL_ENOENT, _EINVAL, _ESIZE.
 * Thread safety: any thread, also beside mavera_rl_plan_set_tier. Progress:
 * wait-free. Allocates and blocks: no. Since 0.1.
 */
int mavera_rl_plan_policy(const struct mavera_rl_plan *plan,
                          const char *tier,
                          struct mavera_rl_policy *out);

/**
 * What a key of the plan's own list may.
 *
 * key, key_len: the API key.
 * out: size set; gets limit and window.
 * Returns: 0; MAVERA_RL_ENOENT (the plan does not know it), _EINVAL, _ESIZE.
 * Thread safety: any thread, also beside mavera_rl_plan_set_tier. Progress:
 * wait-free. Allocates and blocks: no. Since 0.1.
 */
int mavera_rl_plan_key_policy(const struct mavera_rl_plan *plan,
                              const void *key,
                              size_t key_len,
                              struct mavera_rl_policy *out);

/**
 * Gives a tier other numbers, for all checks from now on. What its keys have
 * spent is kept, unless the window's length changes.
 *
 * tier: its name.
 * limit: units, 0..8388608. window_ms: from 1.
 * Returns: 0; MAVERA_RL_ENOENT, _EINVAL.
 * Thread safety: any thread. Progress: wait-free. Allocates and blocks: no.
 * Since 0.1.
 */
int mavera_rl_plan_set_tier(struct mavera_rl_plan *plan,
                            const char *tier,
                            uint32_t limit,
                            uint32_t window_ms);

/**
 * The longest window of the plan's tiers and keys: what a region that serves
 * it needs as max_window_ms.
 *
 * Returns: milliseconds; 0 if plan is NULL.
 * Thread safety: any thread, also beside mavera_rl_plan_set_tier. Progress:
 * wait-free. Allocates and blocks: no. Since 0.1.
 */
uint32_t mavera_rl_plan_max_window_ms(const struct mavera_rl_plan *plan);

/**
 * The class of an endpoint's path: the same in every process and in every
 * order of a plan.
 *
 * name: a path as a plan has it; any other name will do for a class of the
 * caller's own. A trailing slash does not count.
 * Returns: the class; of NULL, as of "".
 * Thread safety: any thread. Progress: wait-free. Allocates and blocks: no.
 * Since 0.1.
 */
uint32_t mavera_rl_class_id(const char *name);

/**
 * The endpoint whose limit on requests in flight a request falls under.
 *
 * target: the request target as it came, with its query or without.
 * out: size set; gets the endpoint.
 * Returns: 0; MAVERA_RL_ENOENT (under none); MAVERA_RL_EINVAL, _ESIZE.
 * Thread safety: any thread. Progress: wait-free. Allocates and blocks: no.
 * Since 0.1.
 */
int mavera_rl_plan_endpoint(const struct mavera_rl_plan *plan,
                            const char *target,
                            struct mavera_rl_endpoint *out);

/**
 * The plan's endpoints, one by one.
 *
 * index: from 0.
 * out: size set; gets the endpoint.
 * Returns: 0; MAVERA_RL_ENOENT past the last; MAVERA_RL_EINVAL, _ESIZE.
 * Thread safety: any thread. Progress: wait-free. Allocates and blocks: no.
 * Since 0.1.
 */
int mavera_rl_plan_endpoint_at(const struct mavera_rl_plan *plan,
                               size_t index,
                               struct mavera_rl_endpoint *out);

/**
 * Whether a request may go on: by its tier's quota, one unit, and by the limit
 * on requests in flight of the plan's endpoint that its path falls under
 * (mavera_rl_plan_endpoint). The permit is taken first, because it can be
 * given back: a request refused for what is in flight charges nothing, and
 * one refused for its quota leaves nothing in flight.
 *
 * key, key_len: the API key, any bytes; not stored.
 * tier: its name. NULL: what the plan's own list says of the key.
 * path: the request target as it came, with its query or without.
 * out: size set; gets the decision; its outcome says which limit refused. Its
 * endpoint lives as long as the plan. May be NULL.
 * permit: gets the request's permit, for mavera_rl_release when its response
 * is finished; all zero when it was refused or is under no such limit.
 * Returns: MAVERA_RL_ALLOWED, _LIMITED, _BUSY, _FULL; MAVERA_RL_ENOENT (no such
 * tier or key), _EINVAL, _ESIZE, _ECOST, _ECLOCK, _ESLOTS, _EINTERNAL: then
 * nothing was charged. An endpoint with more in flight than the region has
 * permit_cells, or with a lease where the caller supplies the time, is
 * MAVERA_RL_EINVAL at every request under it.
 * Thread safety: any thread, any process on the region. Progress: lock-free.
 * Allocates and blocks: no; system calls as mavera_rl_acquire. Not in the
 * freestanding library. Since 0.1.
 */
int mavera_rl_admit(struct mavera_rl *rl,
                    const struct mavera_rl_plan *plan,
                    const void *key,
                    size_t key_len,
                    const char *tier,
                    const char *path,
                    struct mavera_rl_decision *out,
                    struct mavera_rl_permit *permit);

/**
 * mavera_rl_admit at the caller's time, as mavera_rl_check_at. Since 0.1.
 */
int mavera_rl_admit_at(struct mavera_rl *rl,
                       const struct mavera_rl_plan *plan,
                       const void *key,
                       size_t key_len,
                       const char *tier,
                       const char *path,
                       uint64_t now_ms,
                       struct mavera_rl_decision *out,
                       struct mavera_rl_permit *permit);

/**
 * mavera_rl_admit by a policy that the caller knows: a negotiated one that
 * the plan does not list.
 *
 * policy: limit and window; the plan says the endpoints.
 * Otherwise as mavera_rl_admit, but for tiers and keys that are unknown.
 * Since 0.1.
 */
int mavera_rl_admit_policy(struct mavera_rl *rl,
                           const struct mavera_rl_plan *plan,
                           const void *key,
                           size_t key_len,
                           const struct mavera_rl_policy *policy,
                           const char *path,
                           struct mavera_rl_decision *out,
                           struct mavera_rl_permit *permit);

/**
 * mavera_rl_admit_policy at the caller's time, as mavera_rl_check_at.
 * Since 0.1.
 */
int mavera_rl_admit_policy_at(struct mavera_rl *rl,
                              const struct mavera_rl_plan *plan,
                              const void *key,
                              size_t key_len,
                              const struct mavera_rl_policy *policy,
                              const char *path,
                              uint64_t now_ms,
                              struct mavera_rl_decision *out,
                              struct mavera_rl_permit *permit);

/**
 * All headers of a decision, as lines that end with CR LF; a refusal's
 * include Retry-After.
 *
 * d: a decision.
 * flavour: MAVERA_RL_HEADERS_*
 * buf, cap: where they go; as snprintf, at most cap - 1 bytes and a NUL. 512
 * are enough.
 * Returns: the whole length without the NUL; 0 if d or flavour is wrong.
 * Thread safety: any thread. Progress: wait-free. Allocates and blocks: no.
 * Since 0.1.
 */
size_t mavera_rl_format_headers(const struct mavera_rl_decision *d,
                                uint32_t flavour,
                                char *buf,
                                size_t cap);

/**
 * One header of a decision, for servers that take them one by one.
 *
 * d: a decision.
 * flavour: MAVERA_RL_HEADERS_*
 * index: from 0.
 * name: gets the header's name, a static string; NULL past the last.
 * buf, cap: where the value goes; as snprintf. 64 are enough.
 * Returns: the value's length without the NUL; 0 past the last, or if an
 * argument is wrong.
 * Thread safety: any thread. Progress: wait-free. Allocates and blocks: no.
 * Since 0.1.
 */
size_t mavera_rl_format_header(const struct mavera_rl_decision *d,
                               uint32_t flavour,
                               size_t index,
                               const char **name,
                               char *buf,
                               size_t cap);

/**
 * The JSON error of a refusal; its status is 429 and its Content-Type
 * application/json.
 *
 * d: a decision; one that was refused for requests in flight names its
 * endpoint, so its plan must not be freed.
 * buf, cap: where it goes; as snprintf. 256 are enough, and of a refusal for
 * requests in flight as many as the endpoint's name has besides.
 * Returns: the whole length without the NUL; 0 if the decision allows, or d
 * is wrong.
 * Thread safety: any thread. Progress: wait-free. Allocates and blocks: no.
 * Since 0.1.
 */
size_t mavera_rl_format_body(const struct mavera_rl_decision *d,
                             char *buf,
                             size_t cap);

#ifdef __cplusplus
}  // extern "C"
#endif  // __cplusplus

#endif  /* MAVERA_RL_H */

/* SPDX-License-Identifier: Apache-2.0 OR MIT */
