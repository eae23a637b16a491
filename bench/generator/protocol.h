/* What the generator asks of a system, in that system's own words: one `struct protocol` each. */
#ifndef PROTOCOL_H
#define PROTOCOL_H

#include <stddef.h>

#define KEY_BYTES 12 /* key-00000000 */
#define VALUE_BYTES 128 /* of all systems; Ringkeep can be asked for others: see value_bytes */
#define REQUEST_BYTES 1024 /* beside a value of another size */
#define ANSWER_BYTES 8192

enum kind {
    HELLO,   /* what a connection begins with */
    CREATE,  /* the first write of a key */
    PUT,     /* a later write */
    GET,
    CONFIRM, /* a read that must not be stale, where GET may be */
    GOODBYE  /* ends the session in order */
};

struct request {
    enum kind kind;
    const char *host;  /* "127.0.0.1:2379" */
    const char *key;   /* KEY_BYTES */
    const char *value; /* value_bytes; of writes */
};

struct answer {
    int ok;            /* the request was carried out */
    const char *value; /* of reads: points into `room`, or into what was received */
    size_t length;
    char room[2 * VALUE_BYTES];
};

/* The size of a value in this run, and the most that an answer with one takes. */
extern size_t value_bytes, answer_bytes;

struct protocol {
    const char *name;
    /* Write a request to `out` (REQUEST_BYTES + value_bytes); return its length, 0 if there is no such step. */
    size_t (*build)(char *out, const struct request *request);
    /* Read an answer; return how many bytes it takes, 0 if it is not complete yet, -1 if it is not understood. */
    long (*parse)(enum kind kind, const char *in, size_t length, struct answer *answer);
};

extern const struct protocol ringkeep, etcd, redis, zookeeper;

#endif
