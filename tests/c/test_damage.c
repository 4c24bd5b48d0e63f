/* Files that are no region, or no longer one, or one of another version. */
#include "support.h"

#include <unistd.h>

static char dir[64];

/* Bytes of the header that are tried one by one. */
#define HEADER  256

static void not_a_region(const void *bytes, size_t len)
{
    mavera_rl_options  opts = caller_options(16);
    mavera_rl         *rl, *const none = (mavera_rl *) &rl;
    unsigned char     *after;
    size_t             size = 0;

    rl = none;
    write_file(path_in(dir, "file"), bytes, len);
    CHECK_INT(mavera_rl_open(path_in(dir, "file"), &opts, &rl),
        MAVERA_RL_EFORMAT);
    CHECK(rl == none);
    CHECK(strstr(last_error(), "file") != NULL);
    /* Somebody else's file stays as it was. */
    after = read_file(path_in(dir, "file"), &size);
    REQUIRE(after != NULL);
    CHECK_INT(size, len);
    CHECK(size == len && memcmp(after, bytes, len) == 0);
    free(after);
    CHECK_INT(unlink(path_in(dir, "file")), 0);
    CHECK_INT(files_in(dir), 0);
}

static void files_that_are_no_regions_are_refused_and_kept(void)
{
    static const char     text[] = "starter = 60\nbasic = 120\n";
    static unsigned char  large[1 << 18];

    not_a_region("", 0);
    not_a_region("x", 1);
    not_a_region(text, sizeof(text) - 1);
    not_a_region(large, sizeof(large));
    memset(large, 0xFF, sizeof(large));
    not_a_region(large, sizeof(large));
    for (size_t i = 0; i < sizeof(large); i++) {
        large[i] = (unsigned char) text[i % (sizeof(text) - 1)];
    }
    not_a_region(large, sizeof(large));
}

/* A region with one spent key, as bytes to be freed. */
static unsigned char *region_bytes(size_t *len)
{
    mavera_rl_options  opts = caller_options(16);
    mavera_rl         *rl = NULL;
    unsigned char     *bytes;

    CHECK_INT(mavera_rl_open(path_in(dir, "whole"), &opts, &rl), 0);
    if (rl == NULL) {
        return NULL;
    }
    CHECK_INT(admitted(rl, "key", 60, MINUTE, 100, T0), 60);
    mavera_rl_close(rl);
    bytes = read_file(path_in(dir, "whole"), len);
    CHECK(bytes != NULL);
    CHECK_INT(unlink(path_in(dir, "whole")), 0);
    return bytes;
}

static void a_copy_of_a_region_is_a_region(void)
{
    size_t          len = 0;
    unsigned char  *bytes = region_bytes(&len);
    mavera_rl      *rl = NULL;

    REQUIRE(bytes != NULL);
    write_file(path_in(dir, "copy"), bytes, len);
    free(bytes);
    CHECK_INT(mavera_rl_open(path_in(dir, "copy"), NULL, &rl), 0);
    REQUIRE(rl != NULL);
    CHECK_INT(admitted(rl, "key", 60, MINUTE, 1, T0 + 59999), 0);
    CHECK_INT(admitted(rl, "key", 60, MINUTE, 99, T0 + 60000), 60);
    mavera_rl_close(rl);
    CHECK_INT(unlink(path_in(dir, "copy")), 0);
}

static void a_truncated_region_is_refused(void)
{
    size_t          len = 0;
    unsigned char  *bytes = region_bytes(&len);

    REQUIRE(bytes != NULL && len > 8192);
    not_a_region(bytes, len - 1);
    not_a_region(bytes, len - 4096);
    not_a_region(bytes, len / 2);
    not_a_region(bytes, 4096);
    not_a_region(bytes, 64);
    not_a_region(bytes, 9);
    not_a_region(bytes, 8);
    free(bytes);
}

/*
 * Where the layout's version stands is the library's own affair, so every
 * byte of the header is changed in turn. Some must be taken for another
 * version, the first for another kind of file, and none may do harm.
 */
static void each_byte_of_the_header_is_believed_only_if_it_can_be(void)
{
    mavera_rl_options  opts = caller_options(16);
    size_t             len = 0;
    unsigned char     *bytes = region_bytes(&len);
    unsigned           versions = 0, formats = 0, wrong = 0;

    REQUIRE(bytes != NULL && len > HEADER);
    for (size_t i = 0; i < HEADER; i++) {
        static const unsigned char  flips[] = { 0x01, 0x80, 0xFF };

        for (size_t f = 0; f < sizeof(flips); f++) {
            mavera_rl  *rl = NULL;
            int         rc;

            bytes[i] ^= flips[f];
            write_file(path_in(dir, "region"), bytes, len);
            bytes[i] ^= flips[f];
            /* With options, for a header that speaks of another boot may have
             * its region replaced. */
            rc = mavera_rl_open(path_in(dir, "region"), &opts, &rl);
            versions += rc == MAVERA_RL_EVERSION;
            formats += rc == MAVERA_RL_EFORMAT;
            wrong += (rc == 0) != (rl != NULL);
            wrong += rc > 0 || rc == MAVERA_RL_EINTERNAL;
            if (i < 4) {
                CHECK_INT(rc, MAVERA_RL_EFORMAT);
            }
            if (rl != NULL) {
                /* Whatever clock it has by now, it must answer. */
                admitted(rl, "key", 60, MINUTE, 100, T0);
                wrong += stats_of(rl).bytes > len;
                mavera_rl_close(rl);
            }
            CHECK_INT(unlink(path_in(dir, "region")), 0);
        }
    }
    CHECK(versions > 0);
    CHECK(formats > 0);
    CHECK_INT(wrong, 0);
    CHECK_INT(files_in(dir), 0);
    free(bytes);
}

/* In a child, for a crash is what this is about. */
static unsigned use_damaged_region(unsigned child, void *data)
{
    mavera_rl  *rl = NULL;
    char        key[16];

    (void) child;
    (void) data;
    if (mavera_rl_open(path_in(dir, "region"), NULL, &rl) != 0) {
        return 1;
    }
    for (int i = 0; i < 600; i++) {
        snprintf(key, sizeof(key), "key-%d", i % 300);
        check_key(rl, key, 60, MINUTE, 1, T0 + i * 1000, NULL);
        check_key(rl, key, 600, MINUTE, 1, T0 + i * 1000, NULL);
        peek_key(rl, key, 60, 1000, 7, T0, NULL);
    }
    mavera_rl_close(rl);
    return 1;
}

static void a_damaged_table_cannot_make_the_library_write_elsewhere(void)
{
    size_t          len = 0;
    unsigned char  *bytes = region_bytes(&len);
    uint64_t        random = 88172645463325252u;

    REQUIRE(bytes != NULL && len > 2 * HEADER);
    for (int round = 0; round < 24; round++) {
        for (size_t i = HEADER; i < len; i++) {
            random ^= random << 13;
            random ^= random >> 7;
            random ^= random << 17;
            /* From a byte here and there to noise throughout. */
            if (random % 256 < (uint64_t) round * 11) {
                bytes[i] = (unsigned char) (random >> 32);
            }
        }
        write_file(path_in(dir, "region"), bytes, len);
        CHECK_INT(in_children(1, use_damaged_region, NULL), 1);
        CHECK_INT(unlink(path_in(dir, "region")), 0);
    }
    free(bytes);
}

void run_damage(void);
void run_damage(void)
{
    make_directory(dir);
    RUN(files_that_are_no_regions_are_refused_and_kept);
    RUN(a_copy_of_a_region_is_a_region);
    RUN(a_truncated_region_is_refused);
    RUN(each_byte_of_the_header_is_believed_only_if_it_can_be);
    RUN(a_damaged_table_cannot_make_the_library_write_elsewhere);
    remove_directory(dir);
}
