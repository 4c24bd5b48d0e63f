#include "gateway.h"

#include "clock.h"
#include "log.h"

#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/select.h>
#include <unistd.h>

#define UNITS_PER_REQUEST     1
#define CONNECTION_TIMEOUT_S  30u
/* What select can hold, but for the worker's own descriptors. Whoever comes
 * above it waits in the socket's queue. */
#define CONNECTION_LIMIT      (FD_SETSIZE - 32u)
#define LOG_INTERVAL_MS       1000

/* Longest header value and body that the library writes, with room to spare:
 * both are a few fixed words and numbers of at most 20 digits. */
#define HEADER_CAP            128
#define BODY_CAP              512

#define API_KEY_HEADER        "X-API-Key"
#define WORKER_HEADER         "X-Worker-Pid"
#define BEARER                "Bearer "
#define METHODS               "GET, POST"

#define ERROR_BODY(message, type, code) \
    "{\"error\":{\"message\":\"" message "\",\"type\":\"" type "\"," \
    "\"code\":\"" code "\",\"param\":null}}"

#define NO_KEY_BODY \
    ERROR_BODY("No API key. Send it as X-API-Key or Authorization: Bearer.", \
        "authentication_error", "invalid_api_key")
#define UNKNOWN_KEY_BODY \
    ERROR_BODY("Invalid API key.", "authentication_error", "invalid_api_key")
#define NOT_FOUND_BODY \
    ERROR_BODY("No such endpoint.", "invalid_request_error", "not_found")
#define METHOD_BODY \
    ERROR_BODY("Method not allowed. Use " METHODS ".", \
        "invalid_request_error", "method_not_allowed")
#define UNAVAILABLE_BODY \
    ERROR_BODY("The service is unavailable. Please retry later.", \
        "api_error", "service_unavailable")
#define OK_BODY  "{\"status\":\"ok\"}"

/* What is told about a connection while it is open. */
struct link {
    bool spoken;    /* has sent the first line of a request */
    bool busy;      /* has sent one, and has not got its answer yet */
};

struct answer {
    unsigned                  status;
    const char               *body;
    const mavera_rl_decision *decision;  /* its headers; NULL: none */
    const char               *name;      /* one header more; NULL: none */
    const char               *value;
};

/*
 * A limiter that fails does so for every request. One line a second says that,
 * and a disk full of them would be the next failure.
 */
static void log_failure(struct gateway *gateway, const char *what, int code)
{
    int64_t now = now_ms();

    if (now < gateway->quiet_until) {
        gateway->suppressed++;
        return;
    }
    log_limiter_error(what, code);
    if (gateway->suppressed > 0) {
        log_line("%u failures before it were not logged", gateway->suppressed);
    }
    gateway->suppressed = 0;
    gateway->quiet_until = now + LOG_INTERVAL_MS;
}

static bool add(struct MHD_Response *response, const char *name,
    const char *value)
{
    return MHD_add_response_header(response, name, value) == MHD_YES;
}

/* The decision's headers. Their number depends on the flavour and on whether
 * it is a refusal; past the last one the name is NULL. */
static bool add_decision(const struct gateway *gateway,
    struct MHD_Response *response, const mavera_rl_decision *decision)
{
    char        value[HEADER_CAP];
    const char *name;

    for (size_t i = 0; ; i++) {
        (void) mavera_rl_format_header(decision, gateway->flavour, i, &name,
            value, sizeof(value));
        if (name == NULL) {
            return true;
        }
        if (!add(response, name, value)) {
            return false;
        }
    }
}

static enum MHD_Result respond(const struct gateway *gateway,
    struct MHD_Connection *connection, const struct answer *answer)
{
    struct MHD_Response *response;
    char                 pid[HEADER_CAP];
    enum MHD_Result      rc = MHD_NO;

    /* Copied: the body may lie on the caller's stack. The cast only drops a
     * const that this mode does not need. */
    response = MHD_create_response_from_buffer(strlen(answer->body),
        (void *) (uintptr_t) answer->body, MHD_RESPMEM_MUST_COPY);
    if (response == NULL) {
        return MHD_NO;
    }
    (void) snprintf(pid, sizeof(pid), "%ld", (long) getpid());
    if (add(response, "Content-Type", "application/json")
        && add(response, WORKER_HEADER, pid)
        && (answer->name == NULL
            || add(response, answer->name, answer->value))
        && (!gateway->draining || add(response, "Connection", "close"))
        && (answer->decision == NULL
            || add_decision(gateway, response, answer->decision)))
    {
        rc = MHD_queue_response(connection, answer->status, response);
    }
    MHD_destroy_response(response);
    return rc;
}

/* The request's API key, or NULL. X-API-Key wins over a bearer token. */
static const char *api_key(struct MHD_Connection *connection)
{
    const char *value;

    value = MHD_lookup_connection_value(connection, MHD_HEADER_KIND,
        API_KEY_HEADER);
    if (value == NULL || value[0] == '\0') {
        value = MHD_lookup_connection_value(connection, MHD_HEADER_KIND,
            MHD_HTTP_HEADER_AUTHORIZATION);
        /* The scheme's name is case-insensitive. */
        if (value == NULL || strncasecmp(value, BEARER, strlen(BEARER)) != 0) {
            return NULL;
        }
        value += strlen(BEARER);
        value += strspn(value, " ");
    }
    return value[0] == '\0' ? NULL : value;
}

/* 1: the plan has this endpoint. 0: it has not. Negative: an error. */
static int has_endpoint(const mavera_rl_plan *plan, const char *path)
{
    mavera_rl_endpoint endpoint = { .size = sizeof(endpoint) };
    int                rc;

    for (size_t i = 0; ; i++) {
        rc = mavera_rl_plan_endpoint_at(plan, i, &endpoint);
        if (rc != 0) {
            return rc == MAVERA_RL_ENOENT ? 0 : rc;
        }
        if (strcmp(endpoint.path, path) == 0) {
            return 1;
        }
    }
}

/*
 * Steps 1 to 5. `decision` and `body` are the caller's room for what the
 * answer may point to.
 */
static struct answer judge(struct gateway *gateway,
    struct MHD_Connection *connection, const char *path, const char *method,
    mavera_rl_decision *decision, char body[BODY_CAP])
{
    const struct answer unavailable = {
        .status = MHD_HTTP_SERVICE_UNAVAILABLE, .body = UNAVAILABLE_BODY
    };
    struct answer    unauthorized = {
        .status = MHD_HTTP_UNAUTHORIZED, .body = NO_KEY_BODY,
        .name = MHD_HTTP_HEADER_WWW_AUTHENTICATE, .value = "Bearer"
    };
    mavera_rl_policy policy = { .size = sizeof(policy) };
    const char      *key;
    int              rc;

    key = api_key(connection);
    if (key == NULL) {
        return unauthorized;
    }
    rc = mavera_rl_plan_key_policy(gateway->plan, key, strlen(key), &policy);
    if (rc == MAVERA_RL_ENOENT) {
        unauthorized.body = UNKNOWN_KEY_BODY;
        return unauthorized;
    }
    if (rc != 0) {
        log_failure(gateway, "cannot look up a key's policy", rc);
        return unavailable;
    }

    /*
     * The one call that matters: it decides and charges in one atomic step,
     * for all workers. A refusal (positive) charges nothing, an error
     * (negative) leaves the decision as it was. An error is answered 503:
     * letting the request pass would switch the limit off.
     */
    rc = mavera_rl_check(gateway->limiter, key, strlen(key), &policy,
        UNITS_PER_REQUEST, decision);
    if (rc < 0) {
        log_failure(gateway, "cannot check a key's limit", rc);
        return unavailable;
    }
    if (rc != MAVERA_RL_ALLOWED) {
        size_t length = mavera_rl_format_body(decision, body, BODY_CAP);

        return (struct answer) {
            .status = MHD_HTTP_TOO_MANY_REQUESTS,
            /* As of snprintf, a greater length means that it was cut. */
            .body = length < BODY_CAP ? body : UNAVAILABLE_BODY,
            .decision = decision
        };
    }

    rc = has_endpoint(gateway->plan, path);
    if (rc < 0) {
        log_failure(gateway, "cannot read the plan's endpoints", rc);
        return unavailable;
    }
    if (rc == 0) {
        return (struct answer) {
            .status = MHD_HTTP_NOT_FOUND, .body = NOT_FOUND_BODY,
            .decision = decision
        };
    }
    if (strcmp(method, MHD_HTTP_METHOD_GET) != 0
        && strcmp(method, MHD_HTTP_METHOD_POST) != 0)
    {
        return (struct answer) {
            .status = MHD_HTTP_METHOD_NOT_ALLOWED, .body = METHOD_BODY,
            .decision = decision,
            .name = MHD_HTTP_HEADER_ALLOW, .value = METHODS
        };
    }
    return (struct answer) {
        .status = MHD_HTTP_OK, .body = OK_BODY, .decision = decision
    };
}

/*
 * MHD calls this when a request's headers are there, then for each piece of
 * its body, then once more. Only the last call judges: an answer before the
 * body was read would close the connection under a client that is still
 * sending, and take the 429 and its Retry-After with it. The endpoints here
 * have no use for a body, so it is dropped as it comes.
 */
static enum MHD_Result handle(void *cls, struct MHD_Connection *connection,
    const char *url, const char *method, const char *version,
    const char *upload_data, size_t *upload_data_size, void **req_cls)
{
    static char         seen;
    struct gateway     *gateway = cls;
    mavera_rl_decision  decision = { .size = sizeof(decision) };
    char                body[BODY_CAP];
    struct answer       answer;

    (void) version;
    (void) upload_data;
    if (*req_cls == NULL) {
        *req_cls = &seen;
        return MHD_YES;
    }
    if (*upload_data_size > 0) {
        *upload_data_size = 0;
        return MHD_YES;
    }
    answer = judge(gateway, connection, url, method, &decision, body);
    return respond(gateway, connection, &answer);
}

static struct link *link_of(struct MHD_Connection *connection)
{
    const union MHD_ConnectionInfo *info;

    info = MHD_get_connection_info(connection,
        MHD_CONNECTION_INFO_SOCKET_CONTEXT);
    return info == NULL ? NULL : info->socket_context;
}

/* MHD has read a request's first line. What it returns starts `req_cls`. */
static void *request_begins(void *cls, const char *uri,
    struct MHD_Connection *connection)
{
    struct gateway *gateway = cls;
    struct link    *link = link_of(connection);

    (void) uri;
    if (link != NULL && !link->busy) {
        gateway->silent -= link->spoken ? 0 : 1;
        gateway->in_progress++;
        link->spoken = true;
        link->busy = true;
    }
    return NULL;
}

/* The answer was sent, or the client is gone. */
static void request_ends(void *cls, struct MHD_Connection *connection,
    void **req_cls, enum MHD_RequestTerminationCode how)
{
    struct gateway *gateway = cls;
    struct link    *link = link_of(connection);

    (void) req_cls;
    (void) how;
    if (link != NULL && link->busy) {
        gateway->in_progress--;
        link->busy = false;
    }
}

/* A connection without memory for its link is served, but not waited for. */
static void connection_changes(void *cls, struct MHD_Connection *connection,
    void **socket_context, enum MHD_ConnectionNotificationCode what)
{
    struct gateway *gateway = cls;
    struct link    *link = *socket_context;

    (void) connection;
    if (what == MHD_CONNECTION_NOTIFY_STARTED) {
        link = calloc(1, sizeof(*link));
        if (link != NULL) {
            gateway->silent++;
        }
        *socket_context = link;
    } else if (link != NULL) {
        gateway->silent -= link->spoken ? 0 : 1;
        gateway->in_progress -= link->busy ? 1 : 0;
        free(link);
        *socket_context = NULL;
    }
}

struct MHD_Daemon *gateway_start(struct gateway *gateway, int listen_fd)
{
    struct MHD_Daemon *daemon;

    /* No thread of its own: MHD runs when the worker's loop calls it, so that
     * signals, the supervisor's end and requests are handled in one place. */
    daemon = MHD_start_daemon(MHD_USE_ERROR_LOG, 0,
        NULL, NULL, handle, gateway,
        MHD_OPTION_LISTEN_SOCKET, listen_fd,
        MHD_OPTION_CONNECTION_LIMIT, CONNECTION_LIMIT,
        MHD_OPTION_CONNECTION_TIMEOUT, CONNECTION_TIMEOUT_S,
        MHD_OPTION_SIGPIPE_HANDLED_BY_APP, 1,
        MHD_OPTION_URI_LOG_CALLBACK, request_begins, gateway,
        MHD_OPTION_NOTIFY_COMPLETED, request_ends, gateway,
        MHD_OPTION_NOTIFY_CONNECTION, connection_changes, gateway,
        MHD_OPTION_END);
    if (daemon == NULL) {
        log_line("cannot start the HTTP server");
    }
    return daemon;
}
