/*
 * Request handling: who asks, may they, and what do they hear.
 *
 * Each request goes through the same steps:
 *
 *   1. the API key, from X-API-Key or Authorization: Bearer     else 401
 *   2. its tier, from the plan's [keys]                         else 401
 *   3. a permit for the endpoint that the path falls under      else 429
 *   4. one unit of the tier's quota                             else 429
 *   5. a path that the plan has                                 else 404
 *   6. a method that the endpoint has                           else 405
 *
 * Steps 2 to 4 are one call. The permit is given back when the answer was sent
 * or the client is gone; a worker that is killed gives back all of its own.
 *
 * The quota comes before the path: an answer of 404 or 405 costs the gateway
 * as much as one of 200, so it is charged like one, and a key whose quota is
 * spent cannot go on probing for paths.
 *
 * ?delay_ms=N makes the endpoints as slow as those that they stand for.
 */
#ifndef MAVERA_GATEWAY_GATEWAY_H
#define MAVERA_GATEWAY_GATEWAY_H

#include <mavera_rl.h>
#include <microhttpd.h>

#include <stdbool.h>
#include <stdint.h>

struct request;

/* One worker's. Used on the thread that runs the daemon, and only there. */
struct gateway {
    mavera_rl            *limiter;
    const mavera_rl_plan *plan;
    uint32_t              flavour;      /* MAVERA_RL_HEADERS_* */

    bool                  draining;     /* answers close their connection */
    unsigned              in_progress;  /* requests begun, not answered yet */
    unsigned              silent;       /* connections without a request yet */
    struct request       *waiting;      /* admitted, and slow to answer */

    int64_t               quiet_until;  /* next time a failure is logged, ms */
    unsigned              suppressed;   /* failures that were not */
};

/*
 * Serves `listen_fd`, which stays the caller's until the daemon is quiesced.
 * The caller runs the daemon whenever it has something to do. NULL on error, after logging it.
 */
struct MHD_Daemon *gateway_start(struct gateway *gateway, int listen_fd);

/* Goes on with requests that have waited long enough, or whose client is gone.
 * Returns in how many milliseconds it is to be called again, -1: no need. */
int64_t gateway_wake(struct gateway *gateway, struct MHD_Daemon *daemon);

/* Goes on with all that wait, so that the daemon can be stopped. */
void gateway_wake_all(struct gateway *gateway, struct MHD_Daemon *daemon);

#endif
