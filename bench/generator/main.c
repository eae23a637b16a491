/* A closed loop: each connection has one request under way, and sends the next when the answer was checked.
 *
 *   generator SYSTEM LOAD CONNECTIONS SECONDS KEYS GENERATION FIRST VALUE_BYTES HOST:PORT...
 *
 * LOAD: `load` writes every key once (SECONDS is not used); `put`, `get`, or `mixed` (nine reads to one write)
 * take keys at random. Every connection has its own share of the keys, so that what a read must find is known:
 * exactly what this run wrote, or a value of an earlier run. Connection i goes to address FIRST + i, in turn.
 * A value tells its key, its run, and how many writes of its connection came before, as far as it has room.
 *
 * Prints READY when all connections are there, waits for a line, runs, and prints RESULT and LATENCIES as JSON.
 * After writes it reads some of them back through every address, and prints CHECKED. One thread, epoll.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "protocol.h"

#define TIMEOUT_NS 10000000000ull /* of one request; none of the systems answers later than that */
#define READ_BACK 30              /* keys, through each address */
#define MOST_ADDRESSES 16

enum load { LOAD, READ, WRITE, MIXED };

struct connection {
    int fd;
    int address;
    enum kind kind; /* of the request under way */
    int waits;      /* whether there is one */
    unsigned long long sent_ns, random;
    int key, first, count, next;
    unsigned number; /* writes so far, told in the value */
    size_t used, length, sent; /* of `in`; of `out`, and how much of it the kernel has taken */
    char *value, *in, *out;
};

static const struct protocol *const protocols[] = {&ringkeep, &etcd, &redis, &zookeeper};
static const struct protocol *protocol;
static const char *hosts[MOST_ADDRESSES];
static int addresses, keys, generation, poll_fd, active;
static unsigned *written; /* of each key, the number of this run's last acknowledged write; 0: none */
static unsigned *latencies_us;
static size_t done, room, late; /* late: answered after the end, checked, and in no other figure */
static unsigned long long stop_ns;
static long faults;
static char fault[256];
static char *expected; /* room for a value */
size_t value_bytes, answer_bytes;

static unsigned long long now_ns(void) {
    struct timespec at;
    clock_gettime(CLOCK_MONOTONIC, &at);
    return (unsigned long long)at.tv_sec * 1000000000ull + (unsigned long long)at.tv_nsec;
}

static void wrong(const char *what, const struct connection *connection) {
    if (!faults++)
        snprintf(fault, sizeof fault, "%s (key %d at %s)", what, connection->key, hosts[connection->address]);
}

static void write_value(char *out, int key, int of, unsigned number) {
    char head[32];
    memset(out, 'v', value_bytes);
    size_t length = (size_t)sprintf(head, "%08d-%06d-%08u-", key, of, number);
    memcpy(out, head, length < value_bytes ? length : value_bytes);
    out[value_bytes] = 0;
}

/* Whether a read found what it must: this run's last write, or any one of earlier runs where there is none. */
static int is_right(int key, const struct answer *answer) {
    char found[32] = "";
    int of = generation;
    unsigned number = written[key];
    if (answer->length != value_bytes) return 0;
    memcpy(found, answer->value, value_bytes < sizeof found ? value_bytes : sizeof found - 1);
    if (!number && (sscanf(found + 9, "%6d-%8u-", &of, &number) < 1 || of >= generation)) return 0;
    write_value(expected, key, of, number);
    return memcmp(answer->value, expected, value_bytes) == 0;
}

static void drop(struct connection *connection) {
    if (connection->waits) active--;
    connection->waits = 0;
    if (connection->fd >= 0) close(connection->fd);
    connection->fd = -1;
}

static void wait_for(const struct connection *connection, unsigned what, int first) {
    struct epoll_event event = {.events = what, .data.ptr = (void *)connection};
    epoll_ctl(poll_fd, first ? EPOLL_CTL_ADD : EPOLL_CTL_MOD, connection->fd, &event);
}

/* Give the kernel what it takes of a request; go on when it takes more. `again`: it did not take all before. */
static void push(struct connection *connection, int again) {
    while (connection->sent < connection->length) {
        ssize_t taken = send(connection->fd, connection->out + connection->sent,
                             connection->length - connection->sent, MSG_NOSIGNAL);
        if (taken < 0 && errno == EAGAIN) {
            if (!again) wait_for(connection, EPOLLIN | EPOLLOUT, 0);
            return;
        }
        if (taken <= 0) {
            wrong("a request could not be sent", connection);
            drop(connection);
            return;
        }
        connection->sent += (size_t)taken;
    }
    if (again) wait_for(connection, EPOLLIN, 0);
}

static void ask(struct connection *connection, enum kind kind, int key) {
    char name[KEY_BYTES + 1];
    if (connection->fd < 0) return;
    snprintf(name, sizeof name, "key-%08d", key);
    if (kind == CREATE || kind == PUT) write_value(connection->value, key, generation, ++connection->number);
    struct request request = {kind, hosts[connection->address], name, connection->value};
    connection->length = protocol->build(connection->out, &request);
    connection->sent = 0;
    if (!connection->length) return;
    connection->kind = kind;
    connection->key = key;
    connection->used = 0;
    connection->sent_ns = now_ns();
    connection->waits = 1;
    active++;
    push(connection, 0);
}

/* --- what is asked next, in each phase ------------------------------------------------------------------- */

typedef void (*choose)(struct connection *);

static void nothing(struct connection *connection) { (void)connection; }

static void next_of_all(struct connection *connection) {
    if (connection->next < connection->count) ask(connection, CREATE, connection->first + connection->next++);
}

static unsigned draw(struct connection *connection) {
    connection->random = connection->random * 6364136223846793005ull + 1442695040888963407ull;
    return (unsigned)(connection->random >> 33);
}

static enum load load;

static void next_at_random(struct connection *connection) {
    if (now_ns() >= stop_ns) return;
    int key = connection->first + (int)(draw(connection) % (unsigned)connection->count);
    ask(connection, load == WRITE || (load == MIXED && draw(connection) % 10 == 0) ? PUT : GET, key);
}

static void next_to_confirm(struct connection *connection) {
    if (connection->count-- <= 0) return;
    for (int tries = 0; tries < keys; tries++) {
        connection->next = (connection->next + 1) % keys;
        if (written[connection->next]) {
            ask(connection, CONFIRM, connection->next);
            return;
        }
    }
}

/* --- the loop -------------------------------------------------------------------------------------------- */

static void note(const struct connection *connection, const struct answer *answer, unsigned long long now) {
    if (!answer->ok) {
        char text[80];
        int shown = connection->used < 60 ? (int)connection->used : 60;
        snprintf(text, sizeof text, "refused: %.*s", shown, connection->in);
        for (char *at = text; *at; at++)
            if (*at < ' ' || *at > '~' || *at == '"' || *at == '\\') *at = ' ';
        wrong(text, connection);
    } else if (connection->kind == CREATE || connection->kind == PUT) {
        written[connection->key] = connection->number;
    } else if (connection->kind == GET || connection->kind == CONFIRM) {
        if (!is_right(connection->key, answer)) wrong("a read found something else", connection);
    }
    if (connection->kind != CREATE && connection->kind != PUT && connection->kind != GET) return;
    if (stop_ns && now > stop_ns) {
        late++;
        return;
    }
    if (done == room) {
        room = room ? 2 * room : 1 << 20;
        latencies_us = realloc(latencies_us, room * sizeof *latencies_us);
        if (!latencies_us) abort();
    }
    latencies_us[done++] = (unsigned)((now - connection->sent_ns) / 1000);
}

static void receive(struct connection *connection, choose next) {
    struct answer answer;
    ssize_t got = read(connection->fd, connection->in + connection->used, answer_bytes - connection->used);
    if (got < 0 && errno == EAGAIN) return;
    if (got <= 0) {
        if (connection->kind != GOODBYE) wrong("the connection was closed", connection);
        drop(connection);
        return;
    }
    connection->used += (size_t)got;
    if (!connection->waits) return; /* nothing was asked: it shows with the next answer */
    long taken = protocol->parse(connection->kind, connection->in, connection->used, &answer);
    if (!taken) return;
    if (taken < 0 || (size_t)taken != connection->used) {
        wrong("an answer that is not understood", connection);
        drop(connection);
        return;
    }
    connection->waits = 0;
    active--;
    note(connection, &answer, now_ns());
    if (connection->sent < connection->length) { /* answered before all was sent: that is no success */
        wrong("an answer came early", connection);
        drop(connection);
        return;
    }
    next(connection);
}

/* Start every connection, and go on until none has a request under way. */
static void run(struct connection *all, int count, choose next) {
    static struct epoll_event events[256];
    for (int i = 0; i < count; i++) next(&all[i]);
    unsigned long long looked = now_ns();
    while (active) {
        int ready = epoll_wait(poll_fd, events, 256, 100);
        for (int i = 0; i < ready; i++) {
            struct connection *connection = events[i].data.ptr;
            if (connection->fd >= 0 && events[i].events & EPOLLOUT) push(connection, 1);
            if (connection->fd >= 0 && events[i].events & ~(unsigned)EPOLLOUT) receive(connection, next);
        }
        unsigned long long now = now_ns();
        if (now - looked < 100000000ull) continue;
        looked = now;
        for (int i = 0; i < count; i++)
            if (all[i].waits && now - all[i].sent_ns > TIMEOUT_NS) {
                wrong("no answer", &all[i]);
                drop(&all[i]);
            }
    }
}

static void step(struct connection *all, int count, enum kind kind) {
    for (int i = 0; i < count; i++) ask(&all[i], kind, 0);
    run(all, count, nothing);
}

static struct connection *connect_all(int count, int first) {
    struct connection *all = calloc((size_t)count, sizeof *all);
    if (!all) abort();
    for (int i = 0; i < count; i++) {
        struct connection *each = &all[i];
        struct sockaddr_in to = {.sin_family = AF_INET};
        char host[64];
        int on = 1;
        each->address = (first + i) % addresses;
        snprintf(host, sizeof host, "%s", hosts[each->address]);
        char *colon = strchr(host, ':');
        *colon = 0;
        inet_pton(AF_INET, host, &to.sin_addr);
        to.sin_port = htons((unsigned short)atoi(colon + 1));
        each->random = (unsigned long long)generation << 32 | (unsigned)i;
        each->first = (int)((long long)keys * i / count);
        each->count = (int)((long long)keys * (i + 1) / count) - each->first;
        each->value = malloc(value_bytes + 1);
        each->in = malloc(answer_bytes);
        each->out = malloc(REQUEST_BYTES + value_bytes);
        if (!each->value || !each->in || !each->out) abort();
        each->fd = socket(AF_INET, SOCK_STREAM, 0);
        if (connect(each->fd, (struct sockaddr *)&to, sizeof to)) {
            wrong("cannot connect", each);
            drop(each);
            continue;
        }
        setsockopt(each->fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
        fcntl(each->fd, F_SETFL, O_NONBLOCK);
        wait_for(each, EPOLLIN, 1);
    }
    step(all, count, HELLO);
    return all;
}

static void end_all(struct connection *all, int count) {
    step(all, count, GOODBYE);
    for (int i = 0; i < count; i++) {
        drop(&all[i]);
        free(all[i].value);
        free(all[i].in);
        free(all[i].out);
    }
    free(all);
}

/* --- what is said ---------------------------------------------------------------------------------------- */

static int by_size(const void *a, const void *b) {
    unsigned left = *(const unsigned *)a, right = *(const unsigned *)b;
    return left < right ? -1 : left > right;
}

static double percentile_ms(double share) {
    if (!done) return 0;
    size_t at = (size_t)(share * (double)done);
    return latencies_us[at < done ? at : done - 1] / 1000.0;
}

static double cpu_s(void) {
    struct rusage used;
    getrusage(RUSAGE_SELF, &used);
    return (double)(used.ru_utime.tv_sec + used.ru_stime.tv_sec) +
           (double)(used.ru_utime.tv_usec + used.ru_stime.tv_usec) / 1e6;
}

static void say_result(double seconds, double cpu) {
    printf("RESULT {\"requests\":%zu,\"late\":%zu,\"seconds\":%.6f,\"cpu\":%.6f}\n", done, late, seconds, cpu);
    fflush(stdout); /* before the sorting: the servers' CPU times are read when this line comes */
    if (done) qsort(latencies_us, done, sizeof *latencies_us, by_size);
    printf("LATENCIES {\"p50_ms\":%.3f,\"p99_ms\":%.3f,\"p999_ms\":%.3f,\"max_ms\":%.3f}\n", percentile_ms(0.5),
           percentile_ms(0.99), percentile_ms(0.999), done ? latencies_us[done - 1] / 1000.0 : 0.0);
    fflush(stdout);
}

static void measure(struct connection *all, int count, double seconds) {
    double cpu = cpu_s();
    unsigned long long began = now_ns();
    if (load != LOAD) stop_ns = began + (unsigned long long)(seconds * 1e9);
    run(all, count, load == LOAD ? next_of_all : next_at_random);
    double took = (double)(now_ns() - began) / 1e9;
    say_result(load == LOAD ? took : seconds, cpu_s() - cpu);
}

static void read_back(void) {
    struct connection *all = connect_all(addresses, 0);
    for (int i = 0; i < addresses; i++) {
        all[i].count = READ_BACK;
        all[i].next = (int)(draw(&all[i]) % (unsigned)keys);
    }
    run(all, addresses, next_to_confirm);
    end_all(all, addresses);
}

int main(int argc, char **argv) {
    const char *const loads[] = {"load", "get", "put", "mixed"};
    if (argc < 10 || argc - 9 > MOST_ADDRESSES) return 2;
    for (size_t i = 0; i < sizeof protocols / sizeof *protocols; i++)
        if (strcmp(protocols[i]->name, argv[1]) == 0) protocol = protocols[i];
    int found = -1;
    for (int i = 0; i < 4; i++)
        if (strcmp(loads[i], argv[2]) == 0) found = i;
    int count = atoi(argv[3]);
    keys = atoi(argv[5]);
    generation = atoi(argv[6]);
    value_bytes = (size_t)atoi(argv[8]);
    answer_bytes = ANSWER_BYTES + value_bytes;
    if (!protocol || found < 0 || count < 1 || keys < count) return 2;
    if (value_bytes != VALUE_BYTES && (protocol != &ringkeep || value_bytes < 16)) return 2;
    load = (enum load)found;
    for (int i = 9; i < argc; i++) hosts[addresses++] = argv[i];
    written = calloc((size_t)keys, sizeof *written);
    expected = malloc(value_bytes + 1);
    poll_fd = epoll_create1(0);
    if (!written || !expected || poll_fd < 0) return 1;

    struct connection *all = connect_all(count, atoi(argv[7]));
    printf("READY\n");
    fflush(stdout);
    char line[16];
    if (!fgets(line, sizeof line, stdin)) return 1;
    measure(all, count, atof(argv[4]));
    end_all(all, count);
    if (load != READ) read_back();
    printf("CHECKED {\"faults\":%ld,\"fault\":\"%s\"}\n", faults, fault);
    return 0;
}
