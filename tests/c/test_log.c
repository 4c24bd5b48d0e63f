/*
 * Random sequences against the plainest limiter there is: a list of all that
 * was admitted. Strict: what is admitted fits into the list's window. Live:
 * what the list would admit is admitted, within the promised lateness.
 */
#include "support.h"

#define STEPS    20000
#define ENTRIES_MAX  STEPS

struct log {
    uint64_t  time[ENTRIES_MAX];
    uint32_t  units[ENTRIES_MAX];
    size_t    count;
};

/* xorshift64: repeatable everywhere. */
static uint64_t next_random(uint64_t *state)
{
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    return *state;
}

/* Units admitted in the window that ends with `now`. */
static uint32_t log_used(const struct log *log, uint32_t window, uint64_t now)
{
    uint32_t used = 0;

    for (size_t i = log->count; i > 0 && log->time[i - 1] + window > now;
        i--)
    {
        used += log->units[i - 1];
    }
    return used;
}

static void log_append(struct log *log, uint64_t now, uint32_t units)
{
    log->time[log->count] = now;
    log->units[log->count] = units;
    log->count += 1;
}

struct sequence {
    uint32_t  cells, limit, window, lateness, max_cost;
    uint64_t  seed;
};

static void run_sequence(const struct sequence *s)
{
    static struct log   log;
    mavera_rl          *rl = caller_region_of(16, s->cells);
    uint64_t            now = T0, random = s->seed;
    unsigned            loose = 0, late = 0, dishonest = 0, inexact = 0;

    REQUIRE(rl != NULL);
    log.count = 0;
    for (int step = 0; step < STEPS; step++) {
        uint64_t            r = next_random(&random);
        uint32_t            cost = 1 + (uint32_t) ((r >> 32) % s->max_cost);
        uint32_t            used;
        mavera_rl_decision  d;
        int                 rc;

        /* Bursts, a steady trickle, and now and then a long silence. */
        now += r % 100 < 60 ? 0
            : r % 100 < 98 ? (r >> 8) % (2 * s->window / s->limit + 2)
            : (r >> 8) % (2 * (uint64_t) s->window);
        used = log_used(&log, s->window, now);
        rc = check_key(rl, "key", s->limit, s->window, cost, now, &d);
        if (rc == MAVERA_RL_ALLOWED) {
            loose += used + cost > s->limit;
            log_append(&log, now, cost);
            used += cost;
        } else {
            late += now < s->lateness
                || log_used(&log, s->window, now - s->lateness) + cost
                    <= s->limit
                || rc != MAVERA_RL_LIMITED;
            dishonest += d.retry_after_ms < 1
                || d.retry_after_ms > s->window + s->lateness
                || d.retry_after_s != (d.retry_after_ms + 999) / 1000
                || peek_key(rl, "key", s->limit, s->window, cost,
                       now + d.retry_after_ms - 1, NULL)
                    != MAVERA_RL_LIMITED
                || peek_key(rl, "key", s->limit, s->window, cost,
                       now + d.retry_after_ms, NULL) != MAVERA_RL_ALLOWED;
        }
        /* What the limiter says is used is what the list adds up to, or has
         * added up to at most the lateness ago. */
        inexact += d.used < used
            || d.used > (s->lateness == 0 ? used
                : log_used(&log, s->window, now - s->lateness));
    }
    CHECK_INT(loose, 0);
    CHECK_INT(late, 0);
    CHECK_INT(dishonest, 0);
    CHECK_INT(inexact, 0);
    CHECK(log.count > STEPS / 100);
    mavera_rl_close(rl);
}

static void up_to_cells_minus_four_the_limiter_is_the_exact_log(void)
{
    static const struct sequence sequences[] = {
        { 64, 60, 60000, 0, 1, 1 },     { 64, 60, 60000, 0, 60, 2 },
        { 64, 1, 60000, 0, 1, 3 },      { 64, 7, 1000, 0, 3, 4 },
        { 8, 4, 60000, 0, 4, 5 },       { 8, 1, 1, 0, 1, 6 },
        { 1024, 1020, 60000, 0, 9, 7 }, { 1024, 600, 60000, 0, 600, 8 },
        { 16, 12, 100, 0, 2, 9 },       { 64, 60, 59999, 0, 2, 10 },
    };

    for (size_t i = 0; i < sizeof(sequences) / sizeof(*sequences); i++) {
        run_sequence(&sequences[i]);
    }
}

static void above_that_it_is_strict_and_late_by_less_than_a_quantum(void)
{
    /* The quantum is the smallest power of two that is at least
     * window / (cells - 4), and its last tick is what is recorded. */
    static const struct sequence sequences[] = {
        { 64, 120, 60000, 1023, 1, 1 },   { 64, 240, 60000, 1023, 5, 2 },
        { 64, 600, 60000, 1023, 60, 3 },  { 64, 61, 60000, 1023, 1, 4 },
        { 8, 60, 60000, 16383, 2, 5 },    { 8, 5, 1000, 255, 1, 6 },
        { 64, 5000, 60000, 1023, 999, 7 }, { 1024, 1021, 60000, 63, 3, 8 },
        { 16, 60, 10000, 1023, 1, 9 },
    };

    for (size_t i = 0; i < sizeof(sequences) / sizeof(*sequences); i++) {
        run_sequence(&sequences[i]);
    }
}

void run_log(void);
void run_log(void)
{
    RUN(up_to_cells_minus_four_the_limiter_is_the_exact_log);
    RUN(above_that_it_is_strict_and_late_by_less_than_a_quantum);
}
