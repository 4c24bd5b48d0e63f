/* Several threads on one handle: totals are exact, not merely close. */
#include "support.h"

#define THREADS  8

struct job {
    mavera_rl  *rl;
    uint32_t    limit;
    uint32_t    cost;
    unsigned    calls;
    unsigned    keys;
    uint64_t    now;
    uint64_t    step;       /* ticks from one call to the next */
};

/* Returns the units admitted. */
static unsigned spend(unsigned thread, void *data)
{
    const struct job *job = data;
    unsigned          units = 0;
    char              key[16];

    for (unsigned i = 0; i < job->calls; i++) {
        int rc;

        /* Threads take the keys in different orders. */
        snprintf(key, sizeof(key), "key-%u",
            (i * (2 * thread + 1) + thread) % job->keys);
        rc = check_key(job->rl, key, job->limit, MINUTE, job->cost,
            job->now + i * job->step, NULL);
        if (rc == MAVERA_RL_ALLOWED) {
            units += job->cost;
        } else if (rc != MAVERA_RL_LIMITED) {
            return 1000000;
        }
    }
    return units;
}

static uint32_t used_by(mavera_rl *rl, unsigned key, uint32_t limit,
    uint64_t now)
{
    char                name[16];
    mavera_rl_decision  d;

    snprintf(name, sizeof(name), "key-%u", key);
    CHECK(peek_key(rl, name, limit, MINUTE, 1, now, &d) >= 0);
    return d.used;
}

static void threads_share_one_limit_to_the_last_unit(void)
{
    struct job job = { caller_region(16), 60, 1, 5000, 1, T0, 0 };

    REQUIRE(job.rl != NULL);
    /* One window after another, so that runs are opened, joined and expire
     * under contention. */
    for (int round = 0; round < 20; round++) {
        CHECK_INT(in_threads(THREADS, spend, &job), 60);
        CHECK_INT(used_by(job.rl, 0, 60, job.now), 60);
        CHECK_INT(used_by(job.rl, 0, 60, job.now + 59999), 60);
        CHECK_INT(used_by(job.rl, 0, 60, job.now + 60000), 0);
        job.now += 60000;
    }
    CHECK_INT(stats_of(job.rl).inserted, 1);
    mavera_rl_close(job.rl);
}

static void threads_share_a_limit_in_coarse_steps_too(void)
{
    struct job job = { caller_region(16), 600, 1, 5000, 1, T0, 0 };

    REQUIRE(job.rl != NULL);
    for (int round = 0; round < 10; round++) {
        CHECK_INT(in_threads(THREADS, spend, &job), 600);
        CHECK_INT(used_by(job.rl, 0, 600, job.now), 600);
        job.now += 2 * MINUTE;
    }
    mavera_rl_close(job.rl);
}

static void costs_of_threads_are_charged_whole(void)
{
    struct job job = { caller_region(16), 600, 7, 1000, 1, T0, 0 };

    REQUIRE(job.rl != NULL);
    CHECK_INT(in_threads(THREADS, spend, &job), 600 / 7 * 7);
    CHECK_INT(used_by(job.rl, 0, 600, T0), 600 / 7 * 7);
    mavera_rl_close(job.rl);
}

static void threads_whose_time_moves_share_one_limit(void)
{
    /* All calls of all threads lie within one window. */
    struct job job = { caller_region(16), 60, 1, 5000, 1, T0, 11 };

    REQUIRE(job.rl != NULL);
    CHECK_INT(in_threads(THREADS, spend, &job), 60);
    mavera_rl_close(job.rl);
}

static void threads_that_meet_new_keys_insert_each_once(void)
{
    for (int round = 0; round < 20; round++) {
        struct job job = { caller_region(200), 10, 1, 2000, 100, T0, 0 };

        REQUIRE(job.rl != NULL);
        CHECK_INT(in_threads(THREADS, spend, &job), 10 * 100);
        CHECK_INT(stats_of(job.rl).inserted, 100);
        CHECK_INT(stats_of(job.rl).keys_held, 100);
        CHECK_INT(stats_of(job.rl).full, 0);
        for (unsigned key = 0; key < 100; key++) {
            CHECK_INT(used_by(job.rl, key, 10, T0), 10);
        }
        mavera_rl_close(job.rl);
    }
}

struct turn {
    mavera_rl  *rl;
    unsigned    number;
};

#define KEYS_PER_THREAD  24

/* Each thread spends three units of each of its new keys. */
static unsigned bring_new_keys(unsigned thread, void *data)
{
    const struct turn *turn = data;
    unsigned           sum = 0;
    char               key[48];

    for (unsigned i = 0; i < KEYS_PER_THREAD; i++) {
        snprintf(key, sizeof(key), "%u-%u-%u", turn->number, thread, i);
        sum += admitted(turn->rl, key, 3, MINUTE, 5,
            T0 + (uint64_t) turn->number * MINUTE);
    }
    return sum;
}

static void threads_evict_what_is_idle_and_nothing_else(void)
{
    const unsigned     keys = THREADS * KEYS_PER_THREAD;
    struct turn        turn = { caller_region(1), 0 };
    mavera_rl_stats_t  stats;

    REQUIRE(turn.rl != NULL);
    /* The table holds 256: from the second turn on, the keys of a turn need
     * the places of those of the turn before. */
    for (; turn.number < 50; turn.number++) {
        CHECK_INT(in_threads(THREADS, bring_new_keys, &turn), 3 * keys);
    }
    stats = stats_of(turn.rl);
    CHECK_INT(stats.full, 0);
    CHECK(stats.inserted >= 50 * keys);
    CHECK(stats.keys_held <= stats.keys_capacity);
    CHECK_INT(stats.keys_held, stats.inserted - stats.evicted);
    mavera_rl_close(turn.rl);
}

static unsigned spend_on_own_clock(unsigned thread, void *data)
{
    mavera_rl_policy  policy = policy_of(100, MINUTE);
    unsigned          sum = 0;

    (void) thread;
    for (int i = 0; i < 20000; i++) {
        sum += mavera_rl_check(data, "key", 3, &policy, 1, NULL)
            == MAVERA_RL_ALLOWED;
    }
    return sum;
}

static void threads_on_a_real_clock_never_exceed_the_limit(void)
{
    for (uint32_t clock = MAVERA_RL_CLOCK_PRECISE;
        clock <= MAVERA_RL_CLOCK_COARSE; clock++)
    {
        mavera_rl           *rl = clock_region(clock);
        mavera_rl_policy     policy = policy_of(100, MINUTE);
        mavera_rl_decision   d = blank_decision();

        REQUIRE(rl != NULL);
        /* Far below a window in length, so the limit is also reached. */
        CHECK_INT(in_threads(THREADS, spend_on_own_clock, rl), 100);
        CHECK_INT(mavera_rl_peek(rl, "key", 3, &policy, 1, &d),
            MAVERA_RL_LIMITED);
        CHECK_INT(d.used, 100);
        mavera_rl_close(rl);
    }
}

/* Every answer must be one that the order of admissions allows. */
static unsigned read_own_answers(unsigned thread, void *data)
{
    mavera_rl  *rl = data;
    unsigned    wrong = 0;
    uint32_t    before = 0;

    (void) thread;
    for (int i = 0; i < 2000; i++) {
        mavera_rl_decision d;
        int rc = check_key(rl, "key", 5000, MINUTE, 1, T0, &d);

        wrong += rc != d.outcome;
        wrong += d.used + d.remaining != 5000;
        wrong += d.used < before + (rc == MAVERA_RL_ALLOWED);
        wrong += rc == MAVERA_RL_LIMITED && d.used != 5000;
        before = d.used;
    }
    return wrong;
}

static void each_answer_fits_into_one_order_of_all_admissions(void)
{
    mavera_rl *rl = caller_region(16);

    REQUIRE(rl != NULL);
    CHECK_INT(in_threads(THREADS, read_own_answers, rl), 0);
    CHECK_INT(stats_of(rl).inserted, 1);
    mavera_rl_close(rl);
}

void run_threads(void);
void run_threads(void)
{
    RUN(threads_share_one_limit_to_the_last_unit);
    RUN(threads_share_a_limit_in_coarse_steps_too);
    RUN(costs_of_threads_are_charged_whole);
    RUN(threads_whose_time_moves_share_one_limit);
    RUN(threads_that_meet_new_keys_insert_each_once);
    RUN(threads_evict_what_is_idle_and_nothing_else);
    RUN(threads_on_a_real_clock_never_exceed_the_limit);
    RUN(each_answer_fits_into_one_order_of_all_admissions);
}
