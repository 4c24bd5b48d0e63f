/* What the operator reads: lines on stderr, each naming its process. */
#ifndef MAVERA_GATEWAY_LOG_H
#define MAVERA_GATEWAY_LOG_H

void log_line(const char *format, ...)
    __attribute__((format(printf, 1, 2)));

/*
 * A failed call of the rate limiter: `what` was being done, `code` is the
 * negative number it answered. Must be called on the thread that got it, and
 * before its next call, because the library keeps the details per thread.
 */
void log_limiter_error(const char *what, int code);

#endif
