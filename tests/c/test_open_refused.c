/* Paths that cannot become a region. */
#include "support.h"

#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

static char dir[64];

/* Opens and expects `code` (or `other`), no handle and a message. */
static void refused(const char *path, const mavera_rl_options *opts, int code,
    int other)
{
    mavera_rl *rl, *const none = (mavera_rl *) &rl;
    int        rc;

    rl = none;
    rc = mavera_rl_open(path, opts, &rl);
    if (rc != other) {
        CHECK_INT(rc, code);
    }
    CHECK(rl == none);
    CHECK(last_error()[0] != '\0');
}

static void null_is_refused_by_open(void)
{
    mavera_rl_options opts = caller_options(16);

    CHECK_INT(mavera_rl_open(NULL, &opts, NULL), MAVERA_RL_EINVAL);
    CHECK_INT(mavera_rl_open(path_in(dir, "region"), &opts, NULL),
        MAVERA_RL_EINVAL);
    CHECK_INT(files_in(dir), 0);
}

static void an_empty_path_is_refused(void)
{
    mavera_rl_options opts = caller_options(16);

    refused("", &opts, MAVERA_RL_EINVAL, MAVERA_RL_ESYS);
}

static void a_path_that_is_too_long_is_refused(void)
{
    static char        path[70000];
    mavera_rl_options  opts = caller_options(16);

    memset(path, 'a', sizeof(path) - 1);
    path[0] = '/';
    refused(path, &opts, MAVERA_RL_ESYS, MAVERA_RL_EINVAL);
}

static void a_directory_is_no_region(void)
{
    mavera_rl_options opts = caller_options(16);

    refused(dir, &opts, MAVERA_RL_ESYS, MAVERA_RL_ESYS);
    CHECK(strstr(last_error(), dir) != NULL);
    CHECK_INT(files_in(dir), 0);
}

static void a_missing_parent_directory_is_not_made(void)
{
    mavera_rl_options opts = caller_options(16);

    refused(path_in(dir, "missing/region"), &opts, MAVERA_RL_ESYS,
        MAVERA_RL_ESYS);
    CHECK(strstr(last_error(), "missing/region") != NULL);
    CHECK_INT(files_in(dir), 0);
}

static void a_file_is_no_parent_directory(void)
{
    mavera_rl_options opts = caller_options(16);

    write_file(path_in(dir, "file"), "text", 4);
    refused(path_in(dir, "file/region"), &opts, MAVERA_RL_ESYS,
        MAVERA_RL_ESYS);
    CHECK_INT(unlink(path_in(dir, "file")), 0);
}

static void devices_and_pipes_are_no_regions(void)
{
    mavera_rl_options  opts = caller_options(16);
    mavera_rl         *rl, *const none = (mavera_rl *) &rl;

    rl = none;
    CHECK(mavera_rl_open("/dev/null", &opts, &rl) < 0);
    CHECK(mavera_rl_open("/dev/zero", &opts, &rl) < 0);
    CHECK_INT(mkfifo(path_in(dir, "pipe"), 0600), 0);
    /* Must not wait for somebody at the pipe's other end. */
    CHECK(mavera_rl_open(path_in(dir, "pipe"), &opts, &rl) < 0);
    CHECK(rl == none);
    CHECK_INT(unlink(path_in(dir, "pipe")), 0);
}

static void a_link_planted_at_the_path_is_not_followed(void)
{
    mavera_rl_options opts = caller_options(16);

    CHECK_INT(symlink("elsewhere", path_in(dir, "link")), 0);
    refused(path_in(dir, "link"), &opts, MAVERA_RL_ESYS, MAVERA_RL_ESYS);
    CHECK(access(path_in(dir, "elsewhere"), F_OK) != 0);
    CHECK_INT(unlink(path_in(dir, "link")), 0);
    CHECK_INT(files_in(dir), 0);
}

static void a_region_that_no_file_system_holds_leaves_no_file(void)
{
    mavera_rl_options opts = caller_options(UINT64_C(1) << 32);

    /* Some 45 TB. */
    opts.cells = 1024;
    refused(path_in(dir, "region"), &opts, MAVERA_RL_ENOMEM,
        MAVERA_RL_ENOMEM);
    CHECK_INT(files_in(dir), 0);
}

static void options_out_of_range_make_no_file(void)
{
    mavera_rl_options opts = caller_options(16);

    opts.cells = 7;
    refused(path_in(dir, "region"), &opts, MAVERA_RL_EINVAL,
        MAVERA_RL_EINVAL);
    opts = caller_options(16);
    opts.size = sizeof(size_t);
    refused(path_in(dir, "region"), &opts, MAVERA_RL_ESIZE,
        MAVERA_RL_ESIZE);
    opts = caller_options(16);
    opts.mode = 010600;
    refused(path_in(dir, "region"), &opts, MAVERA_RL_EINVAL,
        MAVERA_RL_EINVAL);
    /* A region that its owner cannot open again is of no use. */
    opts.mode = 0400;
    refused(path_in(dir, "region"), &opts, MAVERA_RL_EINVAL,
        MAVERA_RL_EINVAL);
    CHECK_INT(files_in(dir), 0);
}

/* Bits of the child's exit status: what it saw without privileges. */
enum { SAW_CREATE = 1, SAW_ATTACH = 2, CANNOT_DROP = 4 };

static int without_permission(void)
{
    mavera_rl_options  opts = caller_options(16);
    mavera_rl         *rl = NULL;
    int                saw = 0;

    if (geteuid() == 0 && (setgid(65534) != 0 || setuid(65534) != 0)) {
        return CANNOT_DROP;
    }
    /* The directory can be searched but not written to, and the file is
     * there but closed to everybody. */
    if (mavera_rl_open(path_in(dir, "new"), &opts, &rl) == MAVERA_RL_ESYS
        && rl == NULL)
    {
        saw |= SAW_CREATE;
    }
    if (mavera_rl_open(path_in(dir, "closed"), &opts, &rl) == MAVERA_RL_ESYS
        && rl == NULL && strstr(last_error(), "closed") != NULL)
    {
        saw |= SAW_ATTACH;
    }
    return saw;
}

static void without_permission_there_is_no_region(void)
{
    mavera_rl_options  opts = caller_options(16);
    mavera_rl         *rl = NULL;
    pid_t              child;
    int                status = -1;

    CHECK_INT(mavera_rl_open(path_in(dir, "closed"), &opts, &rl), 0);
    mavera_rl_close(rl);
    chmod(path_in(dir, "closed"), 0);
    chmod(dir, 0555);
    fflush(stdout);
    child = fork();
    if (child == 0) {
        _exit(without_permission());
    }
    CHECK(child > 0 && waitpid(child, &status, 0) == child);
    chmod(dir, 0700);
    CHECK_INT(unlink(path_in(dir, "closed")), 0);
    REQUIRE(WIFEXITED(status));
    if (WEXITSTATUS(status) == CANNOT_DROP) {
        SKIP("runs as root and cannot become another user");
    }
    CHECK_INT(WEXITSTATUS(status), SAW_CREATE | SAW_ATTACH);
    CHECK_INT(files_in(dir), 0);
}

void run_open_refused(void);
void run_open_refused(void)
{
    make_directory(dir);
    RUN(null_is_refused_by_open);
    RUN(an_empty_path_is_refused);
    RUN(a_path_that_is_too_long_is_refused);
    RUN(a_directory_is_no_region);
    RUN(a_missing_parent_directory_is_not_made);
    RUN(a_file_is_no_parent_directory);
    RUN(devices_and_pipes_are_no_regions);
    RUN(a_link_planted_at_the_path_is_not_followed);
    RUN(a_region_that_no_file_system_holds_leaves_no_file);
    RUN(options_out_of_range_make_no_file);
    RUN(without_permission_there_is_no_region);
    remove_directory(dir);
}
