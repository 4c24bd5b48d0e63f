/*
 * Runs every suite, or only the tests whose names contain the argument.
 * Ends with "N passed, N failed"; the exit status is 1 when any check failed.
 */
#include "check.h"

#include <signal.h>
#include <unistd.h>

/* A hang is a failure too. Generous, because the sanitizers slow everything
 * down. */
#define GIVE_UP_AFTER_S  600

atomic_uint  check_passed;
atomic_uint  check_failed;
atomic_uint  check_skipped;
const char  *check_test = "";
const char  *check_only;

void run_version(void);
void run_arguments(void);
void run_sizes(void);
void run_window(void);
void run_history(void);
void run_log(void);
void run_clock(void);
void run_many(void);
void run_init(void);
void run_open(void);
void run_open_refused(void);
void run_damage(void);
void run_table(void);
void run_headers(void);
void run_body(void);
void run_plan(void);
void run_plan_file(void);
void run_threads(void);
void run_processes(void);
void run_permits(void);
void run_permit_processes(void);
void run_admit(void);
void run_scenarios(void);

/* Says which test it was that crashed or hung, then dies of it. */
static void died(int signal_number)
{
    static const char  text[] = "DIED in ";
    ssize_t            ignored;

    ignored = write(STDOUT_FILENO, text, sizeof(text) - 1);
    ignored = write(STDOUT_FILENO, check_test, strlen(check_test));
    ignored = write(STDOUT_FILENO, "\n", 1);
    (void) ignored;
    raise(signal_number);
}

static void name_the_test_that_dies(void)
{
    static const int signals[] = {
        SIGALRM, SIGABRT,
#ifndef __SANITIZE_ADDRESS__
        /* The sanitizer says more about these. */
        SIGSEGV, SIGBUS, SIGILL, SIGFPE,
#endif
    };
    struct sigaction action;

    memset(&action, 0, sizeof(action));
    action.sa_handler = died;
    action.sa_flags = SA_RESETHAND | SA_NODEFER;
    for (size_t i = 0; i < sizeof(signals) / sizeof(*signals); i++) {
        sigaction(signals[i], &action, NULL);
    }
}

int main(int argc, char **argv)
{
    check_only = argc > 1 ? argv[1] : NULL;
    setvbuf(stdout, NULL, _IOLBF, 0);
    name_the_test_that_dies();
    alarm(GIVE_UP_AFTER_S);

    run_version();
    run_arguments();
    run_sizes();
    run_window();
    run_history();
    run_log();
    run_clock();
    run_many();
    run_init();
    run_open();
    run_open_refused();
    run_damage();
    run_table();
    run_headers();
    run_body();
    run_plan();
    run_plan_file();
    run_threads();
    run_processes();
    run_permits();
    run_permit_processes();
    run_admit();
    run_scenarios();

    if (check_skipped > 0) {
        printf("%u skipped\n", check_skipped);
    }
    printf("%u passed, %u failed\n", check_passed, check_failed);
    return check_failed > 0 || check_passed == 0;
}
