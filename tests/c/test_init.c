/* Regions in memory that the caller provides, and what options may be. */
#include "support.h"

#define GUARD  64

static void too_little_memory_is_an_error_that_writes_nothing(void)
{
    mavera_rl_options  opts = caller_options(16);
    size_t             need = mavera_rl_region_size(&opts);
    unsigned char     *memory = malloc(need);
    size_t             given[] = { 0, 1, 63, 64, need / 2, need - 1 };
    mavera_rl         *rl, *const none = (mavera_rl *) &rl;

    REQUIRE(need > 0 && memory != NULL);
    memset(memory, PATTERN, need);
    for (size_t i = 0; i < sizeof(given) / sizeof(*given); i++) {
        rl = none;
        CHECK_INT(mavera_rl_init(memory, given[i], &opts, &rl),
            MAVERA_RL_ENOMEM);
        CHECK(rl == none);
        CHECK(all_bytes(memory, need, PATTERN));
    }
    CHECK(last_error()[0] != '\0');
    free(memory);
}

static void null_is_refused_by_init(void)
{
    mavera_rl_options  opts = caller_options(16);
    size_t             need = mavera_rl_region_size(&opts);
    unsigned char     *memory = malloc(need);
    mavera_rl         *rl, *const none = (mavera_rl *) &rl;

    REQUIRE(need > 0 && memory != NULL);
    memset(memory, PATTERN, need);
    rl = none;
    CHECK_INT(mavera_rl_init(NULL, need, &opts, &rl), MAVERA_RL_EINVAL);
    CHECK_INT(mavera_rl_init(NULL, 0, &opts, &rl), MAVERA_RL_EINVAL);
    CHECK(rl == none);
    CHECK_INT(mavera_rl_init(memory, need, &opts, NULL), MAVERA_RL_EINVAL);
    CHECK(all_bytes(memory, need, PATTERN));
    free(memory);
}

static void memory_needs_no_alignment_and_may_hold_garbage(void)
{
    static const size_t        offsets[] = { 0, 1, 7, 8, 9, 31, 32, 63 };
    static const unsigned char garbage[] = { 0x00, 0xFF, 0xA5, 0x01 };
    mavera_rl_options          opts = caller_options(16);
    size_t                     need = mavera_rl_region_size(&opts);
    unsigned char             *memory = malloc(need + 64 + 2 * GUARD);

    REQUIRE(need > 0 && memory != NULL);
    for (size_t i = 0; i < sizeof(offsets) / sizeof(*offsets); i++) {
        unsigned char  value = garbage[i % 4];
        unsigned char *at = memory + GUARD + offsets[i];
        mavera_rl     *rl = NULL;

        memset(memory, value, need + 64 + 2 * GUARD);
        CHECK_INT(mavera_rl_init(at, need, &opts, &rl), 0);
        REQUIRE(rl != NULL);
        CHECK_INT(stats_of(rl).keys_held, 0);
        CHECK_INT(stats_of(rl).inserted, 0);
        CHECK_INT(admitted(rl, "key", 60, MINUTE, 100, T0), 60);
        for (int k = 0; k < 16; k++) {
            char key[16];

            snprintf(key, sizeof(key), "key-%d", k);
            CHECK_INT(admitted(rl, key, 5, MINUTE, 9, T0), 5);
        }
        CHECK(all_bytes(memory, GUARD + offsets[i], value));
        CHECK(all_bytes(at + need, 64 - offsets[i] + GUARD, value));
        mavera_rl_close(rl);
    }
    free(memory);
}

static void memory_of_exactly_the_size_is_enough(void)
{
    static const uint32_t cells[] = { 8, 16, 64, 1024 };

    for (size_t i = 0; i < sizeof(cells) / sizeof(*cells); i++) {
        mavera_rl_options  opts = caller_options(1000);
        size_t             need;
        void              *memory;
        mavera_rl         *rl = NULL;

        opts.cells = cells[i];
        need = mavera_rl_region_size(&opts);
        /* A block of its own, so that a sanitizer sees a byte too many. */
        memory = malloc(need);
        REQUIRE(need > 0 && memory != NULL);
        CHECK_INT(mavera_rl_init(memory, need, &opts, &rl), 0);
        REQUIRE(rl != NULL);
        /* Besides the region the memory holds the handle, and a gap. */
        CHECK(stats_of(rl).bytes > 0 && stats_of(rl).bytes <= need);
        CHECK_INT(stats_of(rl).cells, cells[i]);
        for (int k = 0; k < 900; k++) {
            char key[16];

            snprintf(key, sizeof(key), "key-%d", k);
            CHECK_INT(admitted(rl, key, 2, MINUTE, 3, T0), 2);
        }
        mavera_rl_close(rl);
        free(memory);
    }
}

static void two_regions_in_two_memories_are_independent(void)
{
    mavera_rl_options  opts = caller_options(16);
    size_t             need = mavera_rl_region_size(&opts);
    unsigned char     *memory = malloc(2 * need);
    mavera_rl         *first = NULL, *second = NULL;

    REQUIRE(need > 0 && memory != NULL);
    CHECK_INT(mavera_rl_init(memory, need, &opts, &first), 0);
    CHECK_INT(mavera_rl_init(memory + need, need, &opts, &second), 0);
    REQUIRE(first != NULL && second != NULL && first != second);
    CHECK_INT(admitted(first, "key", 60, MINUTE, 100, T0), 60);
    CHECK_INT(stats_of(second).inserted, 0);
    CHECK_INT(admitted(second, "key", 60, MINUTE, 100, T0), 60);
    mavera_rl_close(first);
    CHECK_INT(admitted(second, "key", 60, MINUTE, 1, T0 + 59999), 0);
    CHECK_INT(admitted(second, "key", 60, MINUTE, 1, T0 + 60000), 1);
    mavera_rl_close(second);
    free(memory);
}

static void closing_leaves_the_memory_to_the_caller(void)
{
    mavera_rl_options  opts = caller_options(16);
    size_t             need = mavera_rl_region_size(&opts);
    unsigned char     *memory = malloc(need);

    REQUIRE(need > 0 && memory != NULL);
    for (int i = 0; i < 3; i++) {
        mavera_rl *rl = NULL;

        CHECK_INT(mavera_rl_init(memory, need, &opts, &rl), 0);
        REQUIRE(rl != NULL);
        /* Made anew: nothing is left of the region that lay here before. */
        CHECK_INT(admitted(rl, "key", 60, MINUTE, 100, T0), 60);
        mavera_rl_close(rl);
        memset(memory, PATTERN, need);
    }
    free(memory);
}

static void options_may_lie_in_the_memory_they_describe(void)
{
    mavera_rl_options  opts = caller_options(16), *inside;
    size_t             need = mavera_rl_region_size(&opts);
    unsigned char     *memory = malloc(need);
    mavera_rl         *rl = NULL;

    REQUIRE(need > sizeof(opts) && memory != NULL);
    inside = (mavera_rl_options *) memory;
    *inside = opts;
    CHECK_INT(mavera_rl_init(memory, need, inside, &rl), 0);
    REQUIRE(rl != NULL);
    CHECK_INT(stats_of(rl).clock, MAVERA_RL_CLOCK_CALLER);
    CHECK_INT(admitted(rl, "key", 60, MINUTE, 100, T0), 60);
    mavera_rl_close(rl);
    free(memory);
}

static void zeros_and_null_stand_for_the_defaults(void)
{
    mavera_rl_options  zeros, said;
    mavera_rl         *rl = NULL;
    mavera_rl_stats_t  stats;

    memset(&zeros, 0, sizeof(zeros));
    zeros.size = sizeof(zeros);
    said = zeros;
    said.keys = 100000;
    said.cells = 64;
    said.max_window_ms = 60000;
    said.clock = MAVERA_RL_CLOCK_PRECISE;
    said.on_full = MAVERA_RL_ON_FULL_DENY;
    said.mode = 0600;
    CHECK(mavera_rl_region_size(NULL) > 0);
    CHECK_INT(mavera_rl_region_size(NULL), mavera_rl_region_size(&zeros));
    CHECK_INT(mavera_rl_region_size(NULL), mavera_rl_region_size(&said));
    CHECK_INT(mavera_rl_open(NULL, NULL, &rl), 0);
    REQUIRE(rl != NULL);
    stats = stats_of(rl);
    CHECK_INT(stats.cells, 64);
    CHECK_INT(stats.max_window_ms, 60000);
    CHECK_INT(stats.clock, MAVERA_RL_CLOCK_PRECISE);
    CHECK_INT(stats.on_full, MAVERA_RL_ON_FULL_DENY);
    CHECK(stats.keys_capacity >= 128000);
    CHECK_INT(stats.keys_capacity % 256, 0);
    CHECK(stats.bytes >= stats.keys_capacity * (16 + 8 * 64));
    CHECK(stats.bytes <= mavera_rl_region_size(NULL));
    mavera_rl_close(rl);
}

static void options_are_refused(const mavera_rl_options *opts)
{
    static unsigned char  memory[1 << 20];
    mavera_rl            *rl, *const none = (mavera_rl *) &rl;

    rl = none;
    CHECK_INT(mavera_rl_region_size(opts), 0);
    CHECK_INT(mavera_rl_init(memory, sizeof(memory), opts, &rl),
        MAVERA_RL_EINVAL);
    CHECK_INT(mavera_rl_open(NULL, opts, &rl), MAVERA_RL_EINVAL);
    CHECK(rl == none);
}

static void options_out_of_range_are_refused(void)
{
    static const uint32_t  cells[] = { 1, 2, 4, 7, 9, 63, 65, 100, 1023,
        1025, 2048, 1u << 31, UINT32_MAX };
    mavera_rl_options      opts;

    for (size_t i = 0; i < sizeof(cells) / sizeof(*cells); i++) {
        opts = caller_options(16);
        opts.cells = cells[i];
        options_are_refused(&opts);
    }
    opts = caller_options(16);
    opts.clock = MAVERA_RL_CLOCK_CALLER + 1;
    options_are_refused(&opts);
    opts.clock = UINT32_MAX;
    options_are_refused(&opts);
    opts = caller_options(16);
    opts.on_full = MAVERA_RL_ON_FULL_ALLOW + 1;
    options_are_refused(&opts);
    opts.on_full = UINT32_MAX;
    options_are_refused(&opts);
}

static void reserved_fields_must_be_zero(void)
{
    mavera_rl_options  opts = caller_options(16);
    mavera_rl         *rl, *const none = (mavera_rl *) &rl;
    int                rc;

    rl = none;
    for (int field = 0; field < 2; field++) {
        opts.reserved = field == 0;
        opts.reserved2 = field == 1;
        CHECK_INT(mavera_rl_region_size(&opts), 0);
        rc = mavera_rl_open(NULL, &opts, &rl);
        CHECK(rc == MAVERA_RL_EINVAL || rc == MAVERA_RL_ESIZE);
        CHECK(rl == none);
    }
}

static void a_table_that_cannot_exist_is_an_error(void)
{
    static const uint64_t keys[] = { UINT64_MAX, UINT64_MAX / 2,
        UINT64_C(1) << 54, UINT64_C(1) << 48 };
    static unsigned char  memory[1 << 16];

    for (size_t i = 0; i < sizeof(keys) / sizeof(*keys); i++) {
        mavera_rl_options  opts = caller_options(keys[i]);
        mavera_rl         *rl, *const none = (mavera_rl *) &rl;
        size_t             need = mavera_rl_region_size(&opts);
        int                rc;

        /* 0, or what it would take: never a product that wrapped. */
        CHECK(need == 0 || need / 128 >= keys[i]);
        rl = none;
        rc = mavera_rl_open(NULL, &opts, &rl);
        CHECK(rc == MAVERA_RL_EINVAL || rc == MAVERA_RL_ENOMEM);
        rc = mavera_rl_init(memory, sizeof(memory), &opts, &rl);
        CHECK(rc == MAVERA_RL_EINVAL || rc == MAVERA_RL_ENOMEM);
        CHECK(rl == none);
    }
}

void run_init(void);
void run_init(void)
{
    RUN(too_little_memory_is_an_error_that_writes_nothing);
    RUN(null_is_refused_by_init);
    RUN(memory_needs_no_alignment_and_may_hold_garbage);
    RUN(memory_of_exactly_the_size_is_enough);
    RUN(two_regions_in_two_memories_are_independent);
    RUN(closing_leaves_the_memory_to_the_caller);
    RUN(options_may_lie_in_the_memory_they_describe);
    RUN(zeros_and_null_stand_for_the_defaults);
    RUN(options_out_of_range_are_refused);
    RUN(reserved_fields_must_be_zero);
    RUN(a_table_that_cannot_exist_is_an_error);
}
