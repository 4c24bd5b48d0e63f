/* Milliseconds of a clock that no one sets, for intervals. */
#ifndef MAVERA_GATEWAY_CLOCK_H
#define MAVERA_GATEWAY_CLOCK_H

#include <stdint.h>
#include <time.h>

static inline int64_t now_ms(void)
{
    struct timespec now;

    /* Cannot fail: the clock exists on every Linux. */
    (void) clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t) now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

#endif
