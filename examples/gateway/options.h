/* What the command line says. */
#ifndef MAVERA_GATEWAY_OPTIONS_H
#define MAVERA_GATEWAY_OPTIONS_H

#include <stdint.h>

#define WORKERS_MAX  64

struct options {
    const char *bind;           /* numeric address */
    const char *port;           /* decimal; "0": any free one */
    unsigned    workers;        /* 1 to WORKERS_MAX */
    const char *region;         /* the limiter's file */
    uint64_t    keys;           /* 0: the library's default */
    uint32_t    max_window_ms;  /* 0: the library's default */
    const char *plan;           /* TOML file */
    uint32_t    flavour;        /* MAVERA_RL_HEADERS_* */
    const char *pid_file;       /* NULL: none */
};

/* 0: go on. 1: help or version was printed. -1: wrong, and said on stderr. */
int options_read(struct options *options, int argc, char **argv);

#endif
