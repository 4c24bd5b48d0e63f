#include "log.h"

#include <mavera_rl.h>

#include <stdarg.h>
#include <stdio.h>
#include <unistd.h>

#define LINE_MAX_LEN  1024

void log_line(const char *format, ...)
{
    char    text[LINE_MAX_LEN];
    va_list args;

    va_start(args, format);
    (void) vsnprintf(text, sizeof(text), format, args);
    va_end(args);
    /* One call, so that the lines of several workers do not mix: stderr is
     * unbuffered, and stdio formats a whole call before it writes. */
    fprintf(stderr, "mavera-gateway[%ld]: %s\n", (long) getpid(), text);
}

void log_limiter_error(const char *what, int code)
{
    char detail[LINE_MAX_LEN / 2];

    /* strerror says what kind of error it is, last_error names the values
     * that are at odds. */
    mavera_rl_last_error(detail, sizeof(detail));
    log_line("%s: %s (%d)%s%s", what, mavera_rl_strerror(code), code,
        detail[0] == '\0' ? "" : ": ", detail);
}
