/* Permits, which are requests in flight, in one process. */
#include "support.h"

#define CLASS  7
#define DAY    (24 * 60 * 60 * 1000)

/* A small region that reads its own clock. */
static mavera_rl *region(void)
{
    return clock_region(MAVERA_RL_CLOCK_PRECISE);
}

static mavera_rl *region_of(uint64_t permit_keys, uint32_t permit_cells,
    uint32_t on_full)
{
    mavera_rl_options  opts = caller_options(16);
    mavera_rl         *rl = NULL;

    opts.permit_keys = permit_keys;
    opts.permit_cells = permit_cells;
    opts.on_full = on_full;
    CHECK_INT(mavera_rl_open(NULL, &opts, &rl), 0);
    return rl;
}

static void at_most_max_are_in_flight_and_each_release_makes_room(void)
{
    mavera_rl         *rl = region();
    mavera_rl_permit   held[3], refused, before;

    REQUIRE(rl != NULL);
    CHECK_INT(in_flight_of(rl, "key", CLASS), 0);
    for (uint32_t i = 0; i < 3; i++) {
        CHECK_INT(take_permit(rl, "key", CLASS, 3, &held[i]), 0);
        CHECK(!is_zero_permit(held[i]));
        CHECK_INT(in_flight_of(rl, "key", CLASS), i + 1);
        for (uint32_t j = 0; j < i; j++) {
            CHECK(memcmp(&held[i], &held[j], sizeof(held[i])) != 0);
        }
    }
    before = patterned_permit();
    for (int i = 0; i < 5; i++) {
        CHECK_INT(take_permit(rl, "key", CLASS, 3, &refused),
            MAVERA_RL_BUSY);
        CHECK(memcmp(&refused, &before, sizeof(refused)) == 0);
    }
    CHECK_INT(in_flight_of(rl, "key", CLASS), 3);
    for (uint32_t i = 0; i < 3; i++) {
        CHECK_INT(mavera_rl_release(rl, held[i]), 0);
        CHECK_INT(in_flight_of(rl, "key", CLASS), 2);
        CHECK_INT(take_permit(rl, "key", CLASS, 3, &held[i]), 0);
        CHECK_INT(take_permit(rl, "key", CLASS, 3, &refused),
            MAVERA_RL_BUSY);
    }
    for (uint32_t i = 0; i < 3; i++) {
        CHECK_INT(mavera_rl_release(rl, held[i]), 0);
    }
    CHECK_INT(in_flight_of(rl, "key", CLASS), 0);
    mavera_rl_close(rl);
}

static void a_second_release_changes_nothing(void)
{
    mavera_rl         *rl = region();
    mavera_rl_permit   first, second;

    REQUIRE(rl != NULL);
    CHECK_INT(take_permit(rl, "key", CLASS, 1, &first), 0);
    CHECK_INT(mavera_rl_release(rl, first), 0);
    CHECK_INT(mavera_rl_release(rl, first), MAVERA_RL_NOT_HELD);
    /* Nor where somebody else has it by now. */
    CHECK_INT(take_permit(rl, "key", CLASS, 1, &second), 0);
    CHECK_INT(mavera_rl_release(rl, first), MAVERA_RL_NOT_HELD);
    CHECK_INT(in_flight_of(rl, "key", CLASS), 1);
    CHECK_INT(mavera_rl_release(rl, second), 0);
    CHECK_INT(mavera_rl_release(rl, first), MAVERA_RL_NOT_HELD);
    CHECK_INT(mavera_rl_release(rl, second), MAVERA_RL_NOT_HELD);
    mavera_rl_close(rl);
}

static void a_permit_of_zeros_is_none_and_may_be_released(void)
{
    mavera_rl_permit   none, held;
    mavera_rl         *rl = region();

    REQUIRE(rl != NULL);
    memset(&none, 0, sizeof(none));
    CHECK_INT(mavera_rl_release(rl, none), 0);
    CHECK_INT(take_permit(rl, "key", CLASS, 1, &held), 0);
    CHECK_INT(mavera_rl_release(rl, none), 0);
    CHECK_INT(mavera_rl_release(rl, none), 0);
    CHECK_INT(in_flight_of(rl, "key", CLASS), 1);
    mavera_rl_close(rl);
}

static void keys_classes_and_quota_do_not_know_of_each_other(void)
{
    mavera_rl         *rl = region();
    mavera_rl_policy   policy = policy_of(1, MINUTE);
    mavera_rl_permit   permit;

    REQUIRE(rl != NULL);
    CHECK_INT(take_permit(rl, "key", CLASS, 1, &permit), 0);
    CHECK_INT(take_permit(rl, "key", CLASS, 1, &permit), MAVERA_RL_BUSY);
    CHECK_INT(take_permit(rl, "other", CLASS, 1, &permit), 0);
    CHECK_INT(take_permit(rl, "key", CLASS + 1, 1, &permit), 0);
    CHECK_INT(take_permit(rl, "key", 0, 1, &permit), 0);
    CHECK_INT(take_permit(rl, "key", UINT32_MAX, 1, &permit), 0);
    CHECK_INT(take_permit(rl, "", CLASS, 1, &permit), 0);
    CHECK_INT(take_permit(rl, "", CLASS, 1, &permit), MAVERA_RL_BUSY);
    /* Keys are bytes. */
    CHECK_INT(mavera_rl_acquire(rl, "a\0b", 3, CLASS, 1, 0, &permit), 0);
    CHECK_INT(mavera_rl_acquire(rl, "a\0c", 3, CLASS, 1, 0, &permit), 0);
    CHECK_INT(mavera_rl_acquire(rl, "a\0c", 3, CLASS, 1, 0, &permit),
        MAVERA_RL_BUSY);
    CHECK_INT(in_flight_of(rl, "key", CLASS), 1);
    CHECK_INT(in_flight_of(rl, "key", CLASS + 2), 0);
    CHECK_INT(in_flight_of(rl, "nobody", CLASS), 0);

    CHECK_INT(mavera_rl_check(rl, "key", 3, &policy, 1, NULL), 0);
    CHECK_INT(mavera_rl_check(rl, "key", 3, &policy, 1, NULL),
        MAVERA_RL_LIMITED);
    CHECK_INT(stats_of(rl).keys_held, 1);
    CHECK_INT(stats_of(rl).inserted, 1);
    mavera_rl_close(rl);
}

static void a_maximum_is_from_one_to_the_regions_cells(void)
{
    static const uint32_t  cells[] = { 0, 8, 16, 24, 256 };
    mavera_rl_permit       permit, before = patterned_permit();
    char                   text[32];

    for (size_t i = 0; i < sizeof(cells) / sizeof(*cells); i++) {
        mavera_rl *rl = region_of(0, cells[i], 0);
        uint32_t   most = cells[i] == 0 ? 16 : cells[i];
        uint32_t   wrong[] = { 0, most + 1, UINT32_MAX };

        REQUIRE(rl != NULL);
        CHECK_INT(stats_of(rl).permit_cells, most);
        for (int w = 0; w < 3; w++) {
            CHECK_INT(take_permit(rl, "key", CLASS, wrong[w], &permit),
                MAVERA_RL_EINVAL);
            CHECK(memcmp(&permit, &before, sizeof(permit)) == 0);
            snprintf(text, sizeof(text), "max is %" PRIu32, wrong[w]);
            CHECK(strstr(last_error(), text) != NULL);
            snprintf(text, sizeof(text), "permit_cells, %" PRIu32, most);
            CHECK(strstr(last_error(), text) != NULL);
        }
        for (uint32_t held = 0; held < most; held++) {
            CHECK_INT(take_permit(rl, "key", CLASS, most, &permit), 0);
        }
        CHECK_INT(take_permit(rl, "key", CLASS, most, &permit),
            MAVERA_RL_BUSY);
        CHECK_INT(in_flight_of(rl, "key", CLASS), most);
        mavera_rl_close(rl);
    }
}

static void options_of_permits_out_of_range_are_refused(void)
{
    static const uint32_t  cells[] = { 1, 7, 12, 257, 264, UINT32_MAX };
    static const uint64_t  keys[] = { (UINT64_C(1) << 32) + 1, UINT64_MAX };
    mavera_rl             *rl, *const none = (mavera_rl *) &rl;
    mavera_rl_options      opts;
    char                   text[64];

    for (size_t i = 0; i < sizeof(cells) / sizeof(*cells); i++) {
        opts = caller_options(16);
        opts.permit_cells = cells[i];
        rl = none;
        CHECK_INT(mavera_rl_open(NULL, &opts, &rl), MAVERA_RL_EINVAL);
        CHECK(rl == none);
        snprintf(text, sizeof(text), "permit_cells is %" PRIu32, cells[i]);
        CHECK(strstr(last_error(), text) != NULL);
        CHECK(strstr(last_error(), "multiple of 8 from 8 to 256") != NULL);
        CHECK_INT(mavera_rl_region_size(&opts), 0);
    }
    for (size_t i = 0; i < sizeof(keys) / sizeof(*keys); i++) {
        opts = caller_options(16);
        opts.permit_keys = keys[i];
        CHECK_INT(mavera_rl_open(NULL, &opts, &rl), MAVERA_RL_EINVAL);
        CHECK(rl == none);
        CHECK(strstr(last_error(), "permit_keys") != NULL);
        CHECK_INT(mavera_rl_region_size(&opts), 0);
    }
}

static void the_capacity_is_what_was_asked_for(void)
{
    static const uint64_t keys[] = { 1, 16, 1000, 5000 };

    for (size_t i = 0; i < sizeof(keys) / sizeof(*keys); i++) {
        mavera_rl         *rl = region_of(keys[i], 8, 0);
        mavera_rl_stats_t  stats;

        REQUIRE(rl != NULL);
        stats = stats_of(rl);
        CHECK(stats.permit_capacity >= 2 * keys[i]);
        CHECK(stats.permit_capacity <= 2 * keys[i] + 64);
        CHECK_INT(stats.permit_cells, 8);
        CHECK_INT(stats.reserved, 0);
        mavera_rl_close(rl);
    }
}

static void null_is_refused_and_nothing_is_written(void)
{
    mavera_rl         *rl = region();
    mavera_rl_permit   permit = patterned_permit(), before = permit;
    uint32_t           count = 77;

    REQUIRE(rl != NULL);
    CHECK_INT(mavera_rl_acquire(NULL, "key", 3, CLASS, 1, 0, &permit),
        MAVERA_RL_EINVAL);
    CHECK_INT(mavera_rl_acquire(rl, NULL, 3, CLASS, 1, 0, &permit),
        MAVERA_RL_EINVAL);
    CHECK_INT(mavera_rl_acquire(rl, NULL, 0, CLASS, 1, 0, &permit),
        MAVERA_RL_EINVAL);
    CHECK_INT(mavera_rl_acquire(rl, "key", SIZE_MAX, CLASS, 1, 0, &permit),
        MAVERA_RL_EINVAL);
    CHECK_INT(mavera_rl_acquire(rl, "key", 3, CLASS, 1, 0, NULL),
        MAVERA_RL_EINVAL);
    CHECK(memcmp(&permit, &before, sizeof(permit)) == 0);
    CHECK_INT(mavera_rl_release(NULL, permit), MAVERA_RL_EINVAL);
    memset(&permit, 0, sizeof(permit));
    CHECK_INT(mavera_rl_release(NULL, permit), MAVERA_RL_EINVAL);
    CHECK_INT(mavera_rl_in_flight(NULL, "key", 3, CLASS, &count),
        MAVERA_RL_EINVAL);
    CHECK_INT(mavera_rl_in_flight(rl, NULL, 3, CLASS, &count),
        MAVERA_RL_EINVAL);
    CHECK_INT(mavera_rl_in_flight(rl, "key", SIZE_MAX, CLASS, &count),
        MAVERA_RL_EINVAL);
    CHECK_INT(mavera_rl_in_flight(rl, "key", 3, CLASS, NULL),
        MAVERA_RL_EINVAL);
    CHECK_INT(count, 77);
    CHECK_INT(in_flight_of(rl, "key", CLASS), 0);
    mavera_rl_close(rl);
}

/* An old generator, but the same everywhere. */
static uint64_t next_random(uint64_t *state)
{
    *state = *state * UINT64_C(6364136223846793005)
        + UINT64_C(1442695040888963407);
    return *state ^ *state >> 29;
}

static void garbage_is_not_held_and_does_no_harm(void)
{
    mavera_rl         *rl = region();
    mavera_rl_permit   held[2], permit;
    uint64_t           random = 1;

    REQUIRE(rl != NULL);
    /* Before the first permit, and after it. */
    for (int round = 0; round < 2; round++) {
        for (int i = 0; i < 20000; i++) {
            permit.place = next_random(&random);
            permit.word = next_random(&random) | 1;
            if (i % 2 == 0) {
                /* Where there may be something. */
                permit.place &= 0x7FFFF;
            }
            if (mavera_rl_release(rl, permit) != MAVERA_RL_NOT_HELD) {
                CHECK(!"garbage was held");
            }
        }
        for (int i = 0; i < 2 && round == 0; i++) {
            CHECK_INT(take_permit(rl, "key", CLASS, 2, &held[i]), 0);
        }
    }
    permit = patterned_permit();
    CHECK_INT(mavera_rl_release(rl, permit), MAVERA_RL_NOT_HELD);
    /* One bit off is another permit. */
    for (int bit = 0; bit < 64; bit++) {
        permit = held[0];
        permit.word ^= UINT64_C(1) << bit;
        CHECK_INT(mavera_rl_release(rl, permit), MAVERA_RL_NOT_HELD);
    }
    permit.place = UINT64_MAX;
    permit.word = held[0].word;
    CHECK_INT(mavera_rl_release(rl, permit), MAVERA_RL_NOT_HELD);
    CHECK_INT(in_flight_of(rl, "key", CLASS), 2);
    CHECK_INT(mavera_rl_release(rl, held[0]), 0);
    CHECK_INT(mavera_rl_release(rl, held[1]), 0);
    mavera_rl_close(rl);
}

static void a_permit_of_another_region_is_not_held(void)
{
    mavera_rl         *one = region(), *other = region();
    mavera_rl_permit   permit;

    REQUIRE(one != NULL && other != NULL);
    CHECK_INT(take_permit(one, "key", CLASS, 1, &permit), 0);
    CHECK_INT(mavera_rl_release(other, permit), MAVERA_RL_NOT_HELD);
    CHECK_INT(in_flight_of(other, "key", CLASS), 0);
    CHECK_INT(mavera_rl_release(one, permit), 0);
    mavera_rl_close(one);
    mavera_rl_close(other);
}

static void a_limit_is_lowered_and_raised_while_permits_are_out(void)
{
    mavera_rl         *rl = region();
    mavera_rl_permit   held[10], third, fourth, permit;

    REQUIRE(rl != NULL);
    for (int i = 0; i < 10; i++) {
        CHECK_INT(take_permit(rl, "key", CLASS, 10, &held[i]), 0);
    }
    CHECK_INT(take_permit(rl, "key", CLASS, 3, &permit), MAVERA_RL_BUSY);
    for (int i = 0; i < 8; i++) {
        CHECK_INT(mavera_rl_release(rl, held[i]), 0);
    }
    /* Two remain, beyond the lower limit. */
    CHECK_INT(in_flight_of(rl, "key", CLASS), 2);
    CHECK_INT(take_permit(rl, "key", CLASS, 2, &permit), MAVERA_RL_BUSY);
    CHECK_INT(take_permit(rl, "key", CLASS, 3, &third), 0);
    CHECK_INT(take_permit(rl, "key", CLASS, 3, &permit), MAVERA_RL_BUSY);
    CHECK_INT(take_permit(rl, "key", CLASS, 4, &fourth), 0);
    CHECK_INT(take_permit(rl, "key", CLASS, 4, &permit), MAVERA_RL_BUSY);
    CHECK_INT(mavera_rl_release(rl, held[8]), 0);
    CHECK_INT(mavera_rl_release(rl, held[9]), 0);
    CHECK_INT(take_permit(rl, "key", CLASS, 2, &permit), MAVERA_RL_BUSY);
    CHECK_INT(mavera_rl_release(rl, third), 0);
    CHECK_INT(mavera_rl_release(rl, fourth), 0);
    CHECK_INT(take_permit(rl, "key", CLASS, 1, &held[0]), 0);
    CHECK_INT(take_permit(rl, "key", CLASS, 1, &permit), MAVERA_RL_BUSY);
    for (int i = 1; i < 16; i++) {
        CHECK_INT(take_permit(rl, "key", CLASS, 16, &permit), 0);
    }
    CHECK_INT(in_flight_of(rl, "key", CLASS), 16);
    mavera_rl_close(rl);
}

#define LEASES         2
#define LATE_MS        2500     /* two seconds are allowed */
#define GIVE_UP_MS     20000

static void a_lease_ends_and_a_late_release_changes_nothing(void)
{
    static const uint32_t     leases[LEASES] = { 1, 1000 };
    static const char *const  keys[LEASES] = { "short", "long" };
    mavera_rl                *rl = region();
    mavera_rl_permit          lost[LEASES], next[LEASES], kept;
    uint64_t                  begun[LEASES], ended[LEASES] = { 0, 0 };
    uint64_t                  start = milliseconds();

    REQUIRE(rl != NULL);
    CHECK_INT(take_permit(rl, "kept", CLASS, 1, &kept), 0);
    for (int i = 0; i < LEASES; i++) {
        begun[i] = milliseconds();
        CHECK_INT(mavera_rl_acquire(rl, keys[i], strlen(keys[i]), CLASS, 1,
            leases[i], &lost[i]), 0);
    }
    CHECK_INT(take_permit(rl, "long", CLASS, 1, &next[1]), MAVERA_RL_BUSY);
    while ((ended[0] == 0 || ended[1] == 0)
        && milliseconds() - start < GIVE_UP_MS)
    {
        for (int i = 0; i < LEASES; i++) {
            if (ended[i] == 0
                && take_permit(rl, keys[i], CLASS, 1, &next[i]) == 0)
            {
                ended[i] = milliseconds() - begun[i];
            }
        }
    }
    for (int i = 0; i < LEASES; i++) {
        REQUIRE(ended[i] > 0);
        /* Milliseconds of two clocks may differ by one. */
        CHECK(ended[i] + 2 >= leases[i]);
        CHECK(ended[i] <= leases[i] + LATE_MS);
        CHECK_INT(mavera_rl_release(rl, lost[i]), MAVERA_RL_NOT_HELD);
        CHECK_INT(in_flight_of(rl, keys[i], CLASS), 1);
        CHECK_INT(mavera_rl_release(rl, next[i]), 0);
    }
    /* Without a lease it stays. */
    CHECK_INT(take_permit(rl, "kept", CLASS, 1, &next[0]), MAVERA_RL_BUSY);
    CHECK_INT(mavera_rl_release(rl, kept), 0);
    mavera_rl_close(rl);
}

static void a_lease_is_at_most_a_day(void)
{
    static const uint32_t  wrong[] = { DAY + 1, UINT32_MAX };
    mavera_rl             *rl = region();
    mavera_rl_permit       permit, before = patterned_permit();

    REQUIRE(rl != NULL);
    for (int i = 0; i < 2; i++) {
        permit = before;
        CHECK_INT(mavera_rl_acquire(rl, "key", 3, CLASS, 1, wrong[i],
            &permit), MAVERA_RL_EINVAL);
        CHECK(memcmp(&permit, &before, sizeof(permit)) == 0);
        CHECK(strstr(last_error(), "lease") != NULL);
    }
    CHECK_INT(mavera_rl_acquire(rl, "key", 3, CLASS, 1, DAY, &permit), 0);
    CHECK_INT(take_permit(rl, "key", CLASS, 1, &before), MAVERA_RL_BUSY);
    CHECK_INT(mavera_rl_release(rl, permit), 0);
    mavera_rl_close(rl);
}

static void where_the_caller_supplies_the_time_there_are_no_leases(void)
{
    mavera_rl         *rl = caller_region(16);
    mavera_rl_permit   permit, refused;

    REQUIRE(rl != NULL);
    CHECK_INT(take_permit(rl, "key", CLASS, 1, &permit), 0);
    CHECK_INT(take_permit(rl, "key", CLASS, 1, &refused), MAVERA_RL_BUSY);
    CHECK_INT(in_flight_of(rl, "key", CLASS), 1);
    refused = patterned_permit();
    CHECK_INT(mavera_rl_acquire(rl, "key", 3, CLASS, 2, 5, &refused),
        MAVERA_RL_EINVAL);
    CHECK(strstr(last_error(), "clock") != NULL);
    CHECK_INT(mavera_rl_release(rl, permit), 0);
    CHECK_INT(in_flight_of(rl, "key", CLASS), 0);
    mavera_rl_close(rl);
}

static void permits_work_in_the_callers_memory_and_end_with_the_handle(void)
{
    mavera_rl_options  opts = caller_options(16);
    size_t             need = mavera_rl_region_size(&opts);
    void              *memory = malloc(need);
    mavera_rl_permit   permit[3], refused;

    REQUIRE(memory != NULL);
    for (int round = 0; round < 3; round++) {
        mavera_rl *rl = NULL;

        CHECK_INT(mavera_rl_init(memory, need, &opts, &rl), 0);
        REQUIRE(rl != NULL);
        CHECK_INT(in_flight_of(rl, "key", CLASS), 0);
        if (round > 0) {
            CHECK_INT(mavera_rl_release(rl, permit[0]), MAVERA_RL_NOT_HELD);
        }
        for (int i = 0; i < 3; i++) {
            CHECK_INT(take_permit(rl, "key", CLASS, 3, &permit[i]), 0);
        }
        CHECK_INT(take_permit(rl, "key", CLASS, 3, &refused),
            MAVERA_RL_BUSY);
        CHECK_INT(mavera_rl_release(rl, permit[2]), 0);
        CHECK_INT(in_flight_of(rl, "key", CLASS), 2);
        /* Two are left to the close. */
        mavera_rl_close(rl);
    }
    free(memory);
}

static void a_full_table_answers_by_policy_and_takes_from_nobody(void)
{
    static const uint32_t policies[] = {
        MAVERA_RL_ON_FULL_DENY, MAVERA_RL_ON_FULL_ALLOW,
    };

    for (int p = 0; p < 2; p++) {
        mavera_rl         *rl = region_of(1, 8, policies[p]);
        mavera_rl_permit   held[256], permit, before = patterned_permit();
        uint64_t           capacity;
        char               key[32];

        REQUIRE(rl != NULL);
        capacity = stats_of(rl).permit_capacity;
        REQUIRE(capacity <= 256);
        /* Idle records are used again without end. */
        for (uint64_t i = 0; i < 10 * capacity; i++) {
            snprintf(key, sizeof(key), "idle-%" PRIu64, i);
            CHECK_INT(take_permit(rl, key, CLASS, 1, &permit), 0);
            CHECK_INT(mavera_rl_release(rl, permit), 0);
        }
        for (uint64_t i = 0; i < capacity; i++) {
            snprintf(key, sizeof(key), "key-%" PRIu64, i);
            CHECK_INT(take_permit(rl, key, CLASS, 1, &held[i]), 0);
            CHECK(!is_zero_permit(held[i]));
        }
        CHECK_INT(stats_of(rl).full, 0);
        for (int again = 1; again <= 3; again++) {
            if (policies[p] == MAVERA_RL_ON_FULL_DENY) {
                CHECK_INT(take_permit(rl, "more", CLASS, 1, &permit),
                    MAVERA_RL_FULL);
                CHECK(memcmp(&permit, &before, sizeof(permit)) == 0);
            } else {
                CHECK_INT(take_permit(rl, "more", CLASS, 1, &permit), 0);
                CHECK(is_zero_permit(permit));
                CHECK_INT(mavera_rl_release(rl, permit), 0);
            }
            CHECK_INT(stats_of(rl).full, again);
        }
        CHECK_INT(in_flight_of(rl, "more", CLASS), 0);
        for (uint64_t i = 0; i < capacity; i++) {
            CHECK_INT(mavera_rl_release(rl, held[i]), 0);
        }
        CHECK_INT(take_permit(rl, "more", CLASS, 1, &permit), 0);
        CHECK(!is_zero_permit(permit));
        mavera_rl_close(rl);
    }
}

struct handed {
    mavera_rl         *rl;
    mavera_rl_permit   permit;
};

static unsigned release_handed(unsigned thread, void *data)
{
    const struct handed *handed = data;

    (void) thread;
    return mavera_rl_release(handed->rl, handed->permit) == 0;
}

static void a_permit_is_released_in_another_thread_and_once(void)
{
    struct handed handed;

    handed.rl = region();
    REQUIRE(handed.rl != NULL);
    CHECK_INT(take_permit(handed.rl, "key", CLASS, 1, &handed.permit), 0);
    CHECK_INT(in_threads(1, release_handed, &handed), 1);
    CHECK_INT(mavera_rl_release(handed.rl, handed.permit),
        MAVERA_RL_NOT_HELD);
    /* All at once: it is one thread's. */
    for (int round = 0; round < 50; round++) {
        CHECK_INT(take_permit(handed.rl, "key", CLASS, 1, &handed.permit),
            0);
        CHECK_INT(in_threads(8, release_handed, &handed), 1);
    }
    CHECK_INT(in_flight_of(handed.rl, "key", CLASS), 0);
    mavera_rl_close(handed.rl);
}

#define MOST  3

struct crowd {
    mavera_rl    *rl;
    atomic_uint   holders;
    atomic_uint   taken;
};

/* Returns how often something was wrong. */
static unsigned take_and_give_back(unsigned thread, void *data)
{
    struct crowd      *crowd = data;
    mavera_rl_permit   permit;
    unsigned           wrong = 0;
    uint32_t           seen;

    (void) thread;
    for (int i = 0; i < 20000; i++) {
        int rc = take_permit(crowd->rl, "key", CLASS, MOST, &permit);

        wrong += rc != 0 && rc != MAVERA_RL_BUSY;
        wrong += mavera_rl_in_flight(crowd->rl, "key", 3, CLASS, &seen) != 0;
        if (rc == 0) {
            atomic_fetch_add(&crowd->taken, 1);
            wrong += atomic_fetch_add(&crowd->holders, 1) >= MOST;
            atomic_fetch_sub(&crowd->holders, 1);
            wrong += mavera_rl_release(crowd->rl, permit) != 0;
        }
    }
    return wrong;
}

static void many_threads_never_hold_more_and_nothing_is_left_over(void)
{
    struct crowd      crowd;
    mavera_rl_permit  permit;

    crowd.rl = region();
    atomic_init(&crowd.holders, 0);
    atomic_init(&crowd.taken, 0);
    REQUIRE(crowd.rl != NULL);
    CHECK_INT(in_threads(8, take_and_give_back, &crowd), 0);
    CHECK(crowd.taken > 20000);
    CHECK_INT(in_flight_of(crowd.rl, "key", CLASS), 0);
    for (int i = 0; i < MOST; i++) {
        CHECK_INT(take_permit(crowd.rl, "key", CLASS, MOST, &permit), 0);
    }
    CHECK_INT(take_permit(crowd.rl, "key", CLASS, MOST, &permit),
        MAVERA_RL_BUSY);
    mavera_rl_close(crowd.rl);
}

void run_permits(void);
void run_permits(void)
{
    RUN(at_most_max_are_in_flight_and_each_release_makes_room);
    RUN(a_second_release_changes_nothing);
    RUN(a_permit_of_zeros_is_none_and_may_be_released);
    RUN(keys_classes_and_quota_do_not_know_of_each_other);
    RUN(a_maximum_is_from_one_to_the_regions_cells);
    RUN(options_of_permits_out_of_range_are_refused);
    RUN(the_capacity_is_what_was_asked_for);
    RUN(null_is_refused_and_nothing_is_written);
    RUN(garbage_is_not_held_and_does_no_harm);
    RUN(a_permit_of_another_region_is_not_held);
    RUN(a_limit_is_lowered_and_raised_while_permits_are_out);
    RUN(a_lease_ends_and_a_late_release_changes_nothing);
    RUN(a_lease_is_at_most_a_day);
    RUN(where_the_caller_supplies_the_time_there_are_no_leases);
    RUN(permits_work_in_the_callers_memory_and_end_with_the_handle);
    RUN(a_full_table_answers_by_policy_and_takes_from_nobody);
    RUN(a_permit_is_released_in_another_thread_and_once);
    RUN(many_threads_never_hold_more_and_nothing_is_left_over);
}
