/*
 * The freestanding library in use: memory of our own, a time of our own, and
 * no allocation. Linked with the library alone besides libc, which only this
 * file needs, to print.
 */
#include <mavera_rl.h>
#include <stdio.h>
#include <string.h>

static unsigned char memory[4 * 1024 * 1024];

static int failed;

static void check(int right, const char *what)
{
    if (!right) {
        failed++;
    }
    printf("%s %s\n", right ? "ok" : "FAILED", what);
}

int main(void)
{
    mavera_rl_options options = {
        .size = sizeof options, .keys = 1000, .clock = MAVERA_RL_CLOCK_CALLER};
    const mavera_rl_policy policy = {sizeof policy, 60, 60000};
    mavera_rl_decision decision = {.size = sizeof decision};
    mavera_rl *rl;
    char text[512];
    uint64_t now = 1000;
    int code = 0;

    check(mavera_rl_init(memory, sizeof memory, &options, &rl) ==
              MAVERA_RL_EINVAL, "a secret is needed");
    memcpy(options.secret, "0123456789abcdef", sizeof options.secret);
    check(mavera_rl_region_size(&options) <= sizeof memory, "size fits");
    check(mavera_rl_init(memory, 4096, &options, &rl) == MAVERA_RL_ENOMEM,
          "too little memory is refused");
    options.clock = MAVERA_RL_CLOCK_PRECISE;
    check(mavera_rl_init(memory, sizeof memory, &options, &rl) ==
              MAVERA_RL_EINVAL, "there is no clock");
    options.clock = MAVERA_RL_CLOCK_DEFAULT;
    check(mavera_rl_init(memory, sizeof memory, &options, &rl) == 0, "init");

    for (int i = 0; i < 60; i++) {
        code |= mavera_rl_check_at(rl, "key", 3, &policy, 1, now, &decision);
    }
    check(code == 0 && decision.remaining == 0, "60 are admitted");
    code = mavera_rl_check_at(rl, "key", 3, &policy, 1, now, &decision);
    check(code == MAVERA_RL_LIMITED && decision.retry_after_ms == 60000,
          "the 61st is not");
    check(mavera_rl_format_headers(&decision, MAVERA_RL_HEADERS_LEGACY, text,
                                   sizeof text) > 0 &&
              strstr(text, "Retry-After: 60\r\n") != NULL, "headers");
    check(mavera_rl_format_body(&decision, text, sizeof text) > 0, "body");
    check(mavera_rl_peek_at(rl, "key", 3, &policy, 1, now + 59999, NULL) ==
              MAVERA_RL_LIMITED, "a tick before, it is not");
    check(mavera_rl_check_at(rl, "key", 3, &policy, 1, now + 60000, NULL) ==
              MAVERA_RL_ALLOWED, "after the wait it is");
    mavera_rl_close(rl);
    printf("%d failed\n", failed);
    return failed != 0;
}
