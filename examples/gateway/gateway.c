#include "gateway.h"

#include "clock.h"
#include "log.h"

#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/select.h>
#include <sys/socket.h>
#include <unistd.h>

#define UNITS_PER_REQUEST     1
#define CONNECTION_TIMEOUT_S  30u
/* What select can hold, but for the worker's own descriptors. Whoever comes
 * above it waits in the socket's queue. */
#define CONNECTION_LIMIT      (FD_SETSIZE - 32u)
#define LOG_INTERVAL_MS       1000

/* Longest header value and body that the library writes, with room to spare:
 * a few fixed words, numbers of at most 20 digits, and an endpoint's path. */
#define HEADER_CAP            256
#define BODY_CAP              4096

#define DELAY                 "delay_ms"
#define LONGEST_DELAY_MS      60000
/* How soon it is noticed that a client who waits is gone. */
#define LOOK_INTERVAL_MS      20

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
#define DELAY_BODY \
    ERROR_BODY(DELAY " must be a whole number from 0 to 60000.", \
        "invalid_request_error", "invalid_parameter")
#define OK_BODY  "{\"status\":\"ok\"}"

/* What is told about a connection while it is open. */
struct link {
    bool spoken;    /* has sent the first line of a request */
    bool busy;      /* has sent one, and has not got its answer yet */
};

/* From its first line to the end of its answer. */
struct request {
    char                  *target;      /* as it came, undecoded */
    struct MHD_Connection *connection;
    mavera_rl_decision     decision;
    mavera_rl_permit       permit;      /* all zero: none */
    bool                   begun;       /* its headers are there */
    bool                   waits;       /* suspended, and in the list */
    bool                   admitted;    /* has waited; only the answer lacks */
    int64_t                until;       /* end of the wait, ms */
    struct request        *next;
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

/* The wait a request asks for; -1: what it asks for is no such number. */
static int64_t delay_ms(struct MHD_Connection *connection)
{
    const char *text;
    char       *end;
    long        value;

    text = MHD_lookup_connection_value(connection, MHD_GET_ARGUMENT_KIND,
        DELAY);
    if (text == NULL) {
        return 0;
    }
    /* strtol would also take spaces and signs. */
    if (text[0] < '0' || text[0] > '9') {
        return -1;
    }
    value = strtol(text, &end, 10);
    return *end == '\0' && value <= LONGEST_DELAY_MS ? value : -1;
}

/* Steps 1 to 6. `body` is the caller's room for what the answer may point to. */
static struct answer judge(struct gateway *gateway, struct request *request,
    const char *method, int64_t delay, char body[BODY_CAP])
{
    const struct answer unavailable = {
        .status = MHD_HTTP_SERVICE_UNAVAILABLE, .body = UNAVAILABLE_BODY
    };
    struct answer       unauthorized = {
        .status = MHD_HTTP_UNAUTHORIZED, .body = NO_KEY_BODY,
        .name = MHD_HTTP_HEADER_WWW_AUTHENTICATE, .value = "Bearer"
    };
    mavera_rl_decision *decision = &request->decision;
    const char         *key;
    int                 rc;

    key = api_key(request->connection);
    if (key == NULL) {
        return unauthorized;
    }

    /*
     * The one call that matters: it decides for all workers, by the path as
     * the client spelled it. A refusal (positive) charges nothing and leaves
     * nothing in flight, nor does an error (negative), which is answered 503:
     * letting the request pass would switch the limits off.
     */
    rc = mavera_rl_admit(gateway->limiter, gateway->plan, key, strlen(key),
        NULL, request->target, decision, &request->permit);
    if (rc == MAVERA_RL_ENOENT) {
        unauthorized.body = UNKNOWN_KEY_BODY;
        return unauthorized;
    }
    if (rc < 0) {
        log_failure(gateway, "cannot admit a request", rc);
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
    if (decision->endpoint == NULL) {
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
    if (delay < 0) {
        return (struct answer) {
            .status = MHD_HTTP_BAD_REQUEST, .body = DELAY_BODY,
            .decision = decision
        };
    }
    return (struct answer) {
        .status = MHD_HTTP_OK, .body = OK_BODY, .decision = decision
    };
}

static void release(struct gateway *gateway, struct request *request)
{
    int rc = mavera_rl_release(gateway->limiter, request->permit);

    if (rc != 0) {
        log_failure(gateway, "cannot give a permit back", rc);
    }
    request->permit = (mavera_rl_permit) { 0, 0 };
}

/* Leaves the connection alone until gateway_wake. */
static void suspend(struct gateway *gateway, struct request *request,
    int64_t delay)
{
    request->until = now_ms() + delay;
    request->waits = true;
    request->next = gateway->waiting;
    gateway->waiting = request;
    MHD_suspend_connection(request->connection);
}

static bool is_gone(struct MHD_Connection *connection)
{
    const union MHD_ConnectionInfo *info;
    char                            byte;

    info = MHD_get_connection_info(connection,
        MHD_CONNECTION_INFO_CONNECTION_FD);
    return info != NULL
        && recv(info->connect_fd, &byte, 1, MSG_PEEK | MSG_DONTWAIT) == 0;
}

static void resume(struct request *request)
{
    request->waits = false;
    request->admitted = true;
    MHD_resume_connection(request->connection);
}

int64_t gateway_wake(struct gateway *gateway, struct MHD_Daemon *daemon)
{
    struct request **link = &gateway->waiting;
    struct request  *request;
    int64_t          now = now_ms();
    int64_t          next = -1;
    bool             resumed = false;

    while ((request = *link) != NULL) {
        int64_t left = request->until - now;

        if (left > 0 && !is_gone(request->connection)) {
            left = left < LOOK_INTERVAL_MS ? left : LOOK_INTERVAL_MS;
            next = next < 0 || left < next ? left : next;
            link = &request->next;
            continue;
        }
        if (left > 0) {
            /* Nobody reads the answer: what it holds is free at once. */
            release(gateway, request);
        }
        *link = request->next;
        resume(request);
        resumed = true;
    }
    if (resumed) {
        /* Or their connections would not be in the next set of descriptors. */
        (void) MHD_run(daemon);
        /* The caller may have been waiting for just that. */
        return 0;
    }
    return next;
}

void gateway_wake_all(struct gateway *gateway, struct MHD_Daemon *daemon)
{
    while (gateway->waiting != NULL) {
        struct request *request = gateway->waiting;

        gateway->waiting = request->next;
        resume(request);
    }
    (void) MHD_run(daemon);
}

/*
 * MHD calls this when a request's headers are there, then for each piece of
 * its body, then once more. Only the last call judges: an answer before the
 * body was read would close the connection under a client that is still
 * sending, and take the 429 and its Retry-After with it. The endpoints here
 * have no use for a body, so it is dropped as it comes. A request that was
 * suspended comes here again when it goes on.
 */
static enum MHD_Result handle(void *cls, struct MHD_Connection *connection,
    const char *url, const char *method, const char *version,
    const char *upload_data, size_t *upload_data_size, void **req_cls)
{
    struct gateway *gateway = cls;
    struct request *request = *req_cls;
    char            body[BODY_CAP];
    struct answer   answer;
    int64_t         delay;

    (void) url;
    (void) version;
    (void) upload_data;
    if (request == NULL) {
        /* There was no memory for it. */
        return MHD_NO;
    }
    if (!request->begun) {
        request->begun = true;
        request->connection = connection;
        return MHD_YES;
    }
    if (*upload_data_size > 0) {
        *upload_data_size = 0;
        return MHD_YES;
    }
    if (request->admitted) {
        answer = (struct answer) {
            .status = MHD_HTTP_OK, .body = OK_BODY,
            .decision = &request->decision
        };
        return respond(gateway, connection, &answer);
    }
    delay = delay_ms(connection);
    answer = judge(gateway, request, method, delay, body);
    if (answer.status == MHD_HTTP_OK && delay > 0) {
        suspend(gateway, request, delay);
        return MHD_YES;
    }
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
    struct request *request;

    if (link != NULL && !link->busy) {
        gateway->silent -= link->spoken ? 0 : 1;
        gateway->in_progress++;
        link->spoken = true;
        link->busy = true;
    }
    request = calloc(1, sizeof(*request));
    if (request == NULL) {
        return NULL;
    }
    request->decision.size = sizeof(request->decision);
    request->target = strdup(uri);
    if (request->target == NULL) {
        free(request);
        return NULL;
    }
    return request;
}

/* The answer was sent, or the client is gone. */
static void request_ends(void *cls, struct MHD_Connection *connection,
    void **req_cls, enum MHD_RequestTerminationCode how)
{
    struct gateway *gateway = cls;
    struct link    *link = link_of(connection);
    struct request *request = *req_cls;

    (void) how;
    if (request != NULL) {
        release(gateway, request);
        free(request->target);
        free(request);
        *req_cls = NULL;
    }
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
    daemon = MHD_start_daemon(MHD_USE_ERROR_LOG | MHD_ALLOW_SUSPEND_RESUME, 0,
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
