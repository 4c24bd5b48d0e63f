#include "support.h"

#include <dirent.h>
#include <fcntl.h>
#include <pthread.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define CHILDREN_MAX            32
#define CHILD_GIVES_UP_AFTER_S  300

mavera_rl_options caller_options(uint64_t keys)
{
    mavera_rl_options opts;

    memset(&opts, 0, sizeof(opts));
    opts.size = sizeof(opts);
    opts.keys = keys;
    opts.clock = MAVERA_RL_CLOCK_CALLER;
    return opts;
}

mavera_rl *caller_region_of(uint64_t keys, uint32_t cells)
{
    mavera_rl         *rl = NULL;
    mavera_rl_options  opts = caller_options(keys);

    opts.cells = cells;
    CHECK_INT(mavera_rl_open(NULL, &opts, &rl), 0);
    return rl;
}

mavera_rl *caller_region(uint64_t keys)
{
    return caller_region_of(keys, 0);
}

mavera_rl *clock_region(uint32_t clock)
{
    mavera_rl         *rl = NULL;
    mavera_rl_options  opts = caller_options(16);

    opts.clock = clock;
    CHECK_INT(mavera_rl_open(NULL, &opts, &rl), 0);
    return rl;
}

mavera_rl_policy policy_of(uint32_t limit, uint32_t window_ms)
{
    mavera_rl_policy policy;

    memset(&policy, 0, sizeof(policy));
    policy.size = sizeof(policy);
    policy.limit = limit;
    policy.window_ms = window_ms;
    return policy;
}

mavera_rl_decision blank_decision(void)
{
    mavera_rl_decision decision;

    memset(&decision, 0, sizeof(decision));
    decision.size = sizeof(decision);
    return decision;
}

mavera_rl_decision patterned_decision(void)
{
    mavera_rl_decision decision;

    memset(&decision, PATTERN, sizeof(decision));
    decision.size = sizeof(decision);
    return decision;
}

mavera_rl_stats_t stats_of(const mavera_rl *rl)
{
    mavera_rl_stats_t stats;

    memset(&stats, 0, sizeof(stats));
    stats.size = sizeof(stats);
    CHECK_INT(mavera_rl_stats(rl, &stats), 0);
    return stats;
}

int check_key(mavera_rl *rl, const char *key, uint32_t limit,
    uint32_t window_ms, uint32_t cost, uint64_t now, mavera_rl_decision *d)
{
    mavera_rl_policy policy = policy_of(limit, window_ms);

    if (d != NULL) {
        *d = patterned_decision();
    }
    return mavera_rl_check_at(rl, key, strlen(key), &policy, cost, now, d);
}

int peek_key(mavera_rl *rl, const char *key, uint32_t limit,
    uint32_t window_ms, uint32_t cost, uint64_t now, mavera_rl_decision *d)
{
    mavera_rl_policy policy = policy_of(limit, window_ms);

    if (d != NULL) {
        *d = patterned_decision();
    }
    return mavera_rl_peek_at(rl, key, strlen(key), &policy, cost, now, d);
}

unsigned admitted(mavera_rl *rl, const char *key, uint32_t limit,
    uint32_t window_ms, unsigned times, uint64_t now)
{
    unsigned sum = 0;

    for (unsigned i = 0; i < times; i++) {
        sum += check_key(rl, key, limit, window_ms, 1, now, NULL)
            == MAVERA_RL_ALLOWED;
    }
    return sum;
}

int take_permit(mavera_rl *rl, const char *key, uint32_t class_id,
    uint32_t max, mavera_rl_permit *out)
{
    *out = patterned_permit();
    return mavera_rl_acquire(rl, key, strlen(key), class_id, max, 0, out);
}

uint32_t in_flight_of(mavera_rl *rl, const char *key, uint32_t class_id)
{
    uint32_t count = UINT32_MAX;

    CHECK_INT(mavera_rl_in_flight(rl, key, strlen(key), class_id, &count),
        0);
    return count;
}

int is_zero_permit(mavera_rl_permit permit)
{
    return permit.place == 0 && permit.word == 0;
}

mavera_rl_permit patterned_permit(void)
{
    mavera_rl_permit permit;

    memset(&permit, PATTERN, sizeof(permit));
    return permit;
}

uint64_t milliseconds(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t) now.tv_sec * 1000 + (uint64_t) now.tv_nsec / 1000000;
}

mavera_rl *region_for(enum entry entry)
{
    return entry == CHECK_AT || entry == PEEK_AT
        ? caller_region(16) : clock_region(MAVERA_RL_CLOCK_PRECISE);
}

int call_entry(enum entry entry, mavera_rl *rl, const void *key,
    size_t key_len, const mavera_rl_policy *policy, uint32_t cost,
    mavera_rl_decision *out)
{
    switch (entry) {
    case CHECK_AT:
        return mavera_rl_check_at(rl, key, key_len, policy, cost, T0, out);
    case PEEK_AT:
        return mavera_rl_peek_at(rl, key, key_len, policy, cost, T0, out);
    case CHECK_OWN:
        return mavera_rl_check(rl, key, key_len, policy, cost, out);
    default:
        return mavera_rl_peek(rl, key, key_len, policy, cost, out);
    }
}

int all_bytes(const void *memory, size_t len, unsigned char value)
{
    const unsigned char *bytes = memory;

    for (size_t i = 0; i < len; i++) {
        if (bytes[i] != value) {
            return 0;
        }
    }
    return 1;
}

const char *last_error(void)
{
    static _Thread_local char text[2048];

    memset(text, 0, sizeof(text));
    mavera_rl_last_error(text, sizeof(text));
    return text;
}

int names_line(const char *text, unsigned line)
{
    char wanted[2][32];

    snprintf(wanted[0], sizeof(wanted[0]), ":%u", line);
    snprintf(wanted[1], sizeof(wanted[1]), "line %u", line);
    for (int form = 0; form < 2; form++) {
        size_t len = strlen(wanted[form]);

        for (const char *at = text; (at = strstr(at, wanted[form])) != NULL;
            at += len)
        {
            /* Line 1 is not line 12. */
            if (at[len] < '0' || at[len] > '9') {
                return 1;
            }
        }
    }
    return 0;
}

void make_directory(char dir[64])
{
    const char *base = getenv("TMPDIR");

    if (access("/dev/shm", W_OK) == 0) {
        base = "/dev/shm";
    } else if (base == NULL || strlen(base) > 32) {
        base = "/tmp";
    }
    snprintf(dir, 64, "%s/mavera-rl-XXXXXX", base);
    if (mkdtemp(dir) == NULL) {
        perror(dir);
        exit(2);
    }
}

unsigned files_in(const char *dir)
{
    unsigned       count = 0;
    struct dirent *entry;
    DIR           *stream = opendir(dir);

    while (stream != NULL && (entry = readdir(stream)) != NULL) {
        count += strcmp(entry->d_name, ".") != 0
            && strcmp(entry->d_name, "..") != 0;
    }
    if (stream != NULL) {
        closedir(stream);
    }
    return count;
}

void remove_directory(const char *dir)
{
    struct dirent *entry;
    DIR           *stream = opendir(dir);

    while (stream != NULL && (entry = readdir(stream)) != NULL) {
        if (entry->d_name[0] != '.' || strlen(entry->d_name) > 2) {
            const char *path = path_in(dir, entry->d_name);

            if (unlink(path) != 0) {
                rmdir(path);
            }
        }
    }
    if (stream != NULL) {
        closedir(stream);
    }
    rmdir(dir);
}

const char *path_in(const char *dir, const char *name)
{
    static char      paths[4][512];
    static unsigned  turn;
    char            *path = paths[turn++ % 4];

    snprintf(path, sizeof(paths[0]), "%s/%s", dir, name);
    return path;
}

void write_file(const char *path, const void *bytes, size_t len)
{
    FILE *file = fopen(path, "w");

    if (file == NULL || fwrite(bytes, 1, len, file) != len
        || fclose(file) != 0)
    {
        perror(path);
        exit(2);
    }
}

unsigned char *read_file(const char *path, size_t *len)
{
    struct stat    info;
    unsigned char *bytes = NULL;
    FILE          *file = fopen(path, "r");

    if (file == NULL) {
        return NULL;
    }
    if (fstat(fileno(file), &info) == 0) {
        *len = (size_t) info.st_size;
        bytes = malloc(*len + 1);
        if (bytes != NULL && fread(bytes, 1, *len, file) != *len) {
            free(bytes);
            bytes = NULL;
        }
    }
    fclose(file);
    return bytes;
}

long in_children(unsigned count, unsigned (*body)(unsigned child, void *data),
    void *data)
{
    int    gate[2], results[2];
    pid_t  children[CHILDREN_MAX];
    long   sum = 0;
    int    died = 0;

    if (count > CHILDREN_MAX || pipe(gate) != 0 || pipe(results) != 0) {
        return -1;
    }
    fflush(stdout);
    for (unsigned i = 0; i < count; i++) {
        children[i] = fork();
        if (children[i] == 0) {
            char      byte;
            unsigned  result;

            close(gate[1]);
            close(results[0]);
            /* An alarm is not inherited, and a hanging child must not
             * outlive the runner. */
            alarm(CHILD_GIVES_UP_AFTER_S);
            /* Ends when the parent closes its end: all start at once. */
            if (read(gate[0], &byte, 1) != 0) {
                _exit(1);
            }
            result = body(i, data);
            _exit(write(results[1], &result, sizeof(result))
                != sizeof(result));
        }
    }
    close(gate[0]);
    close(gate[1]);
    close(results[1]);
    for (unsigned i = 0; i < count; i++) {
        int status = 0;

        if (children[i] < 0 || waitpid(children[i], &status, 0) < 0
            || status != 0)
        {
            died = 1;
        }
    }
    for (unsigned result; read(results[0], &result, sizeof(result))
        == sizeof(result); )
    {
        sum += result;
    }
    close(results[0]);
    return died ? -1 : sum;
}

struct thread {
    pthread_t           id;
    pthread_barrier_t  *gate;
    unsigned            index;
    unsigned          (*body)(unsigned thread, void *data);
    void               *data;
    unsigned            result;
};

static void *thread_main(void *argument)
{
    struct thread *self = argument;

    pthread_barrier_wait(self->gate);
    self->result = self->body(self->index, self->data);
    return NULL;
}

long in_threads(unsigned count, unsigned (*body)(unsigned thread, void *data),
    void *data)
{
    pthread_barrier_t  gate;
    struct thread      threads[CHILDREN_MAX];
    long               sum = 0;

    if (count > CHILDREN_MAX || pthread_barrier_init(&gate, NULL, count)) {
        return -1;
    }
    for (unsigned i = 0; i < count; i++) {
        threads[i] = (struct thread) { 0, &gate, i, body, data, 0 };
        if (pthread_create(&threads[i].id, NULL, thread_main, &threads[i])) {
            /* The others would wait at the gate for ever. */
            perror("pthread_create");
            exit(2);
        }
    }
    for (unsigned i = 0; i < count; i++) {
        pthread_join(threads[i].id, NULL);
        sum += threads[i].result;
    }
    pthread_barrier_destroy(&gate);
    return sum;
}
