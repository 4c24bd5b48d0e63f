/*
 * mavera-gateway: an HTTP gateway of several processes under one rate limit.
 *
 * An example of mavera_rl's C interface. What it shows:
 *
 *   worker.c   opening a region by its path, in each process on its own
 *   gateway.c  key -> policy -> check -> headers and body of the answer
 *   log.c      what to log of an error
 *
 * The rest (options, listener, supervisor) is what any such server needs.
 */
#include <mavera_rl.h>

#include <stdlib.h>

#include "log.h"
#include "options.h"
#include "supervisor.h"

#define EXIT_USAGE  2

int main(int argc, char **argv)
{
    struct options  options;
    mavera_rl_plan *plan;
    int             rc = options_read(&options, argc, argv);

    if (rc != 0) {
        return rc > 0 ? EXIT_SUCCESS : EXIT_USAGE;
    }
    /* Read once, before the fork: a faulty plan stops the gateway before it
     * listens, and all workers, restarted ones too, have the same plan. */
    rc = mavera_rl_plan_load(options.plan, &plan);
    if (rc != 0) {
        log_limiter_error("cannot use the plan", rc);
        return EXIT_USAGE;
    }
    rc = supervise(&options, plan);
    mavera_rl_plan_free(plan);
    return rc;
}
