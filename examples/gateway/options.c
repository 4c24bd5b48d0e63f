#include "options.h"

#include <mavera_rl.h>

#include <errno.h>
#include <getopt.h>
#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define NAME  "mavera-gateway"

enum { REGION = 256, KEYS, MAX_WINDOW, PLAN, HEADERS, PID_FILE, VERSION };

static const struct option LONG[] = {
    { "port",          required_argument, NULL, 'p' },
    { "bind",          required_argument, NULL, 'b' },
    { "workers",       required_argument, NULL, 'w' },
    { "region",        required_argument, NULL, REGION },
    { "keys",          required_argument, NULL, KEYS },
    { "max-window-ms", required_argument, NULL, MAX_WINDOW },
    { "plan",          required_argument, NULL, PLAN },
    { "headers",       required_argument, NULL, HEADERS },
    { "pid-file",      required_argument, NULL, PID_FILE },
    { "help",          no_argument,       NULL, 'h' },
    { "version",       no_argument,       NULL, VERSION },
    { NULL,            0,                 NULL, 0 }
};

static const char USAGE[] =
    "usage: " NAME " --region PATH --plan FILE.toml [OPTION...]\n"
    "\n"
    "  --region PATH        file of the rate limiter, best on /dev/shm;\n"
    "                       created if there is none\n"
    "  --plan FILE.toml     tiers, endpoints and API keys\n"
    "  -p, --port N         port to listen on (8080); 0: a free one\n"
    "  -b, --bind ADDRESS   address to listen on (127.0.0.1)\n"
    "  -w, --workers N      worker processes, 1 to 64 (2)\n"
    "  --headers FLAVOUR    legacy (default), ietf or both\n"
    "  --keys N             keys active within one window, for a new region\n"
    "  --max-window-ms N    longest window the region serves;\n"
    "                       default 60 s, or the plan's if that is longer\n"
    "  --pid-file PATH      write the supervisor's process id there\n"
    "  -h, --help           this text\n"
    "  --version            version of the library\n"
    "\n"
    "SIGTERM and SIGINT stop it after the requests in progress.\n"
    "Status: 0 stopped as asked, 1 failed, 2 wrong options or plan.\n";

static bool number(const char *option, const char *text, uint64_t min,
    uint64_t max, uint64_t *out)
{
    char     *end;
    uint64_t  value;

    /* strtoull would also take spaces and signs. */
    if (text[0] >= '0' && text[0] <= '9') {
        errno = 0;
        value = strtoull(text, &end, 10);
        if (errno == 0 && *end == '\0' && value >= min && value <= max) {
            *out = value;
            return true;
        }
    }
    fprintf(stderr, NAME ": %s is \"%s\", but must be a whole number from "
        "%" PRIu64 " to %" PRIu64 "\n", option, text, min, max);
    return false;
}

static bool flavour(const char *text, uint32_t *out)
{
    static const struct {
        const char *name;
        uint32_t    value;
    } FLAVOURS[] = {
        { "legacy", MAVERA_RL_HEADERS_LEGACY },
        { "ietf",   MAVERA_RL_HEADERS_IETF },
        { "both",   MAVERA_RL_HEADERS_BOTH }
    };

    for (size_t i = 0; i < sizeof(FLAVOURS) / sizeof(FLAVOURS[0]); i++) {
        if (strcmp(text, FLAVOURS[i].name) == 0) {
            *out = FLAVOURS[i].value;
            return true;
        }
    }
    fprintf(stderr, NAME ": --headers is \"%s\", but must be legacy, ietf or "
        "both\n", text);
    return false;
}

static bool given(const char *option, const char *text)
{
    if (text == NULL || text[0] == '\0') {
        fprintf(stderr, NAME ": %s is missing\n", option);
        return false;
    }
    return true;
}

int options_read(struct options *options, int argc, char **argv)
{
    uint64_t value;
    int      option;
    bool     ok = true;

    *options = (struct options) {
        .bind = "127.0.0.1", .port = "8080", .workers = 2,
        .flavour = MAVERA_RL_HEADERS_LEGACY
    };
    while (ok && (option = getopt_long(argc, argv, "p:b:w:h", LONG, NULL))
        != -1)
    {
        switch (option) {
        case 'p':
            ok = number("--port", optarg, 0, UINT16_MAX, &value);
            options->port = optarg;
            break;
        case 'b':
            options->bind = optarg;
            break;
        case 'w':
            ok = number("--workers", optarg, 1, WORKERS_MAX, &value);
            options->workers = ok ? (unsigned) value : 0;
            break;
        case REGION:
            options->region = optarg;
            break;
        case KEYS:
            ok = number("--keys", optarg, 1, UINT64_MAX, &options->keys);
            break;
        case MAX_WINDOW:
            ok = number("--max-window-ms", optarg, 1, UINT32_MAX, &value);
            options->max_window_ms = ok ? (uint32_t) value : 0;
            break;
        case PLAN:
            options->plan = optarg;
            break;
        case HEADERS:
            ok = flavour(optarg, &options->flavour);
            break;
        case PID_FILE:
            options->pid_file = optarg;
            break;
        case 'h':
            fputs(USAGE, stdout);
            return 1;
        case VERSION:
            printf(NAME ", mavera_rl %s\n", mavera_rl_version());
            return 1;
        default:
            /* getopt has said what is wrong. */
            ok = false;
        }
    }
    if (ok && optind < argc) {
        fprintf(stderr, NAME ": unexpected argument \"%s\"\n", argv[optind]);
        ok = false;
    }
    ok = ok && given("--region", options->region)
        && given("--plan", options->plan);
    if (!ok) {
        fprintf(stderr, "Try '" NAME " --help'.\n");
    }
    return ok ? 0 : -1;
}
