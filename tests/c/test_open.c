/* Regions in files: created, attached to, shared, and kept. */
#include "support.h"

#include <sys/stat.h>
#include <unistd.h>

static char dir[64];

static mavera_rl *open_file(const char *name, const mavera_rl_options *opts)
{
    mavera_rl *rl = NULL;

    CHECK_INT(mavera_rl_open(path_in(dir, name), opts, &rl), 0);
    return rl;
}

static void two_handles_of_one_file_share_their_counts(void)
{
    mavera_rl_options   opts = caller_options(16);
    mavera_rl          *first = open_file("region", &opts);
    mavera_rl          *second = open_file("region", &opts);
    mavera_rl_decision  d;

    REQUIRE(first != NULL && second != NULL);
    CHECK_INT(admitted(first, "key", 60, MINUTE, 40, T0), 40);
    CHECK_INT(admitted(second, "key", 60, MINUTE, 40, T0), 20);
    CHECK_INT(check_key(first, "key", 60, MINUTE, 1, T0, &d),
        MAVERA_RL_LIMITED);
    CHECK_INT(d.used, 60);
    CHECK_INT(stats_of(first).inserted, 1);
    CHECK_INT(stats_of(second).inserted, 1);
    mavera_rl_close(first);
    CHECK_INT(admitted(second, "key", 60, MINUTE, 9, T0 + 59999), 0);
    mavera_rl_close(second);
    CHECK_INT(unlink(path_in(dir, "region")), 0);
}

static void closing_keeps_the_file_and_its_counts(void)
{
    mavera_rl_options  opts = caller_options(16);
    mavera_rl         *rl = open_file("region", &opts);

    REQUIRE(rl != NULL);
    CHECK_INT(admitted(rl, "key", 60, MINUTE, 59, T0), 59);
    mavera_rl_close(rl);
    CHECK_INT(access(path_in(dir, "region"), F_OK), 0);
    rl = open_file("region", &opts);
    REQUIRE(rl != NULL);
    CHECK_INT(admitted(rl, "key", 60, MINUTE, 9, T0), 1);
    mavera_rl_close(rl);
    CHECK_INT(unlink(path_in(dir, "region")), 0);
}

static void a_removed_file_is_a_new_region_for_those_who_come_later(void)
{
    mavera_rl_options  opts = caller_options(16);
    mavera_rl         *old = open_file("region", &opts), *rl;

    REQUIRE(old != NULL);
    CHECK_INT(admitted(old, "key", 60, MINUTE, 99, T0), 60);
    CHECK_INT(unlink(path_in(dir, "region")), 0);
    rl = open_file("region", &opts);
    REQUIRE(rl != NULL);
    CHECK_INT(admitted(rl, "key", 60, MINUTE, 99, T0), 60);
    CHECK_INT(admitted(old, "key", 60, MINUTE, 1, T0 + 59999), 0);
    CHECK_INT(admitted(old, "key", 60, MINUTE, 1, T0 + 60000), 1);
    mavera_rl_close(old);
    mavera_rl_close(rl);
    CHECK_INT(unlink(path_in(dir, "region")), 0);
}

static void creating_leaves_one_file_of_the_regions_size(void)
{
    mavera_rl_options  opts = caller_options(16);
    mavera_rl         *rl = open_file("region", &opts);
    struct stat        info;

    REQUIRE(rl != NULL);
    CHECK_INT(files_in(dir), 1);
    CHECK_INT(stat(path_in(dir, "region"), &info), 0);
    CHECK(S_ISREG(info.st_mode));
    CHECK_INT(info.st_size, stats_of(rl).bytes);
    /* Reserved to the last byte: a sparse file in a full /dev/shm would be a
     * SIGBUS later. */
    CHECK((uint64_t) info.st_blocks * 512 >= (uint64_t) info.st_size);
    mavera_rl_close(rl);
    CHECK_INT(files_in(dir), 1);
    CHECK_INT(unlink(path_in(dir, "region")), 0);
}

static mode_t mode_made(uint32_t mode, mode_t mask)
{
    mavera_rl_options  opts = caller_options(16);
    mode_t             before = umask(mask);
    mavera_rl         *rl;
    struct stat        info;

    opts.mode = mode;
    rl = open_file("region", &opts);
    umask(before);
    mavera_rl_close(rl);
    memset(&info, 0, sizeof(info));
    CHECK_INT(stat(path_in(dir, "region"), &info), 0);
    CHECK_INT(unlink(path_in(dir, "region")), 0);
    return info.st_mode & 07777;
}

static void a_new_file_is_private_unless_asked_otherwise(void)
{
    CHECK_INT(mode_made(0, 022), 0600);
    CHECK_INT(mode_made(0, 0), 0600);
    CHECK_INT(mode_made(0600, 0), 0600);
    CHECK_INT(mode_made(0640, 022), 0640);
    CHECK_INT(mode_made(0660, 0), 0660);
    /* Asked for is asked for, so that processes of several users can share a
     * region whatever the umask of the one that comes first. */
    CHECK_INT(mode_made(0660, 077), 0660);
    CHECK_INT(mode_made(0666, 0), 0666);
}

static void attaching_does_not_change_the_mode(void)
{
    mavera_rl_options  opts = caller_options(16);
    mavera_rl         *first, *second;
    struct stat        info;

    opts.mode = 0640;
    first = open_file("region", &opts);
    opts.mode = 0;
    second = open_file("region", &opts);
    CHECK_INT(stat(path_in(dir, "region"), &info), 0);
    CHECK_INT(info.st_mode & 07777, 0640);
    mavera_rl_close(first);
    mavera_rl_close(second);
    CHECK_INT(unlink(path_in(dir, "region")), 0);
}

static void zeros_attach_to_whatever_the_region_has(void)
{
    mavera_rl_options  made = caller_options(5000), zeros;
    mavera_rl         *first, *second, *third;
    mavera_rl_stats_t  stats;

    made.cells = 16;
    made.max_window_ms = 90000;
    made.on_full = MAVERA_RL_ON_FULL_ALLOW;
    first = open_file("region", &made);
    memset(&zeros, 0, sizeof(zeros));
    zeros.size = sizeof(zeros);
    second = open_file("region", &zeros);
    third = open_file("region", NULL);
    REQUIRE(first != NULL && second != NULL && third != NULL);
    stats = stats_of(second);
    CHECK_INT(stats.cells, 16);
    CHECK_INT(stats.max_window_ms, 90000);
    CHECK_INT(stats.clock, MAVERA_RL_CLOCK_CALLER);
    CHECK_INT(stats.on_full, MAVERA_RL_ON_FULL_ALLOW);
    CHECK_INT(stats.keys_capacity, stats_of(first).keys_capacity);
    CHECK_INT(stats.bytes, stats_of(first).bytes);
    CHECK_INT(admitted(first, "key", 4, 90000, 3, T0), 3);
    CHECK_INT(admitted(third, "key", 4, 90000, 3, T0), 1);
    CHECK_INT(admitted(second, "key", 4, 90000, 3, T0 + 89999), 0);
    mavera_rl_close(first);
    mavera_rl_close(second);
    mavera_rl_close(third);
    CHECK_INT(unlink(path_in(dir, "region")), 0);
}

/* Whether `text` says the number as a word of its own, or its name. */
static int says(const char *text, const char *number, const char *name)
{
    char word[32];

    snprintf(word, sizeof(word), " %s ", number);
    return strstr(text, word) != NULL || strstr(text, name) != NULL;
}

struct value { const char *number, *name; };

#define VALUE(number, name)  ((struct value) { (number), (name) })

/* The last error has to name what was asked for and what is there. */
static void mismatch(const mavera_rl_options *opts, struct value asked,
    struct value there)
{
    mavera_rl *rl, *const none = (mavera_rl *) &rl;
    char       text[600];

    rl = none;
    CHECK_INT(mavera_rl_open(path_in(dir, "region"), opts, &rl),
        MAVERA_RL_EMISMATCH);
    CHECK(rl == none);
    /* A blank after the last word, so that it is one as well. */
    snprintf(text, sizeof(text), "%.500s ", last_error());
    check_that(says(text, asked.number, asked.name)
        && says(text, there.number, there.name), __FILE__, __LINE__, text);
}

static void options_that_differ_are_an_error_that_names_both(void)
{
    mavera_rl_options  made = caller_options(300), opts;
    mavera_rl         *rl;

    made.cells = 16;
    made.max_window_ms = 90000;
    made.on_full = MAVERA_RL_ON_FULL_ALLOW;
    rl = open_file("region", &made);
    REQUIRE(rl != NULL);
    CHECK_INT(admitted(rl, "key", 5, MINUTE, 3, T0), 3);

    opts = made;
    opts.cells = 128;
    mismatch(&opts, VALUE("128", "128"), VALUE("16", "16"));
    opts = made;
    opts.keys = 7000;
    mismatch(&opts, VALUE("7000", "7000"), VALUE("300", "300"));
    opts = made;
    opts.max_window_ms = 45000;
    mismatch(&opts, VALUE("45000", "45000"),
        VALUE("90000", "90000"));
    opts = made;
    opts.clock = MAVERA_RL_CLOCK_COARSE;
    mismatch(&opts, VALUE("2", "coarse"), VALUE("3", "caller"));
    opts = made;
    opts.on_full = MAVERA_RL_ON_FULL_DENY;
    mismatch(&opts, VALUE("1", "deny"), VALUE("2", "allow"));

    /* A failed attachment does not disturb the region. */
    CHECK_INT(admitted(rl, "key", 5, MINUTE, 9, T0), 2);
    mavera_rl_close(rl);
    rl = open_file("region", &made);
    CHECK_INT(admitted(rl, "key", 5, MINUTE, 9, T0), 0);
    mavera_rl_close(rl);
    CHECK_INT(unlink(path_in(dir, "region")), 0);
}

static void private_regions_are_independent_and_leave_no_file(void)
{
    mavera_rl *first = caller_region(16), *second = caller_region(16);

    REQUIRE(first != NULL && second != NULL);
    CHECK_INT(admitted(first, "key", 60, MINUTE, 100, T0), 60);
    CHECK_INT(admitted(second, "key", 60, MINUTE, 100, T0), 60);
    CHECK_INT(files_in(dir), 0);
    mavera_rl_close(first);
    mavera_rl_close(second);
}

static void handles_do_not_leak(void)
{
    mavera_rl_options  opts = caller_options(16);
    int                next, last;

    /* The lowest free descriptor tells how many are open. */
    next = dup(1);
    REQUIRE(next >= 0);
    close(next);
    for (int i = 0; i < 200; i++) {
        mavera_rl *rl = open_file("region", &opts);

        REQUIRE(rl != NULL);
        mavera_rl_close(rl);
    }
    last = dup(1);
    CHECK_INT(last, next);
    close(last);
    CHECK_INT(unlink(path_in(dir, "region")), 0);
}

void run_open(void);
void run_open(void)
{
    make_directory(dir);
    RUN(two_handles_of_one_file_share_their_counts);
    RUN(closing_keeps_the_file_and_its_counts);
    RUN(a_removed_file_is_a_new_region_for_those_who_come_later);
    RUN(creating_leaves_one_file_of_the_regions_size);
    RUN(a_new_file_is_private_unless_asked_otherwise);
    RUN(attaching_does_not_change_the_mode);
    RUN(zeros_attach_to_whatever_the_region_has);
    RUN(options_that_differ_are_an_error_that_names_both);
    RUN(private_regions_are_independent_and_leave_no_file);
    RUN(handles_do_not_leak);
    remove_directory(dir);
}
