/* ZooKeeper's own protocol: each key is a znode below /. A confirmed read is sync and getData in one packet. */
#include <arpa/inet.h>
#include <string.h>

#include "protocol.h"

#define SESSION_MS 10000
enum { CREATE_OP = 1, GET_DATA = 4, SET_DATA = 5, SYNC = 9, CLOSE = -11 };
enum { XID = 1, ALL_PERMISSIONS = 31, HEAD_BYTES = 20, STAT_BYTES = 68 };

static char *number(char *out, int value) {
    unsigned net = htonl((unsigned)value);
    memcpy(out, &net, 4);
    return out + 4;
}

static int number_at(const char *in) {
    unsigned net;
    memcpy(&net, in, 4);
    return (int)ntohl(net);
}

static char *bytes(char *out, const char *from, int length) {
    out = number(out, length);
    memcpy(out, from, (size_t)length);
    return out + length;
}

static char *path(char *out, const char *key) {
    out = number(out, KEY_BYTES + 1);
    *out++ = '/';
    memcpy(out, key, KEY_BYTES);
    return out + KEY_BYTES;
}

static char *body(char *out, int operation, const struct request *request) {
    if (operation == CLOSE) return out;
    out = path(out, request->key);
    switch (operation) {
    case CREATE_OP: /* data, one ACL entry (everything, world:anyone), no flags */
        out = bytes(out, request->value, VALUE_BYTES);
        out = number(number(out, 1), ALL_PERMISSIONS);
        return number(bytes(bytes(out, "world", 5), "anyone", 6), 0);
    case SET_DATA: /* data, any version */
        return number(bytes(out, request->value, VALUE_BYTES), -1);
    case GET_DATA: /* no watch */
        *out++ = 0;
        return out;
    default: /* SYNC */
        return out;
    }
}

static char *packet(char *out, int operation, const struct request *request) {
    char *end = body(number(number(out + 4, XID), operation), operation, request);
    number(out, (int)(end - out - 4));
    return end;
}

static size_t build(char *out, const struct request *request) {
    switch (request->kind) {
    case HELLO: { /* version, last zxid (8), time-out, session (8), password (16), read-only */
        static const char nothing[24];
        char *at = number(number(out, 45), 0);
        memcpy(at, nothing, 8);
        at = number(at + 8, SESSION_MS);
        memcpy(at, nothing, 8);
        at = bytes(at + 8, nothing, 16);
        *at++ = 0;
        return (size_t)(at - out);
    }
    case CREATE:
        return (size_t)(packet(out, CREATE_OP, request) - out);
    case PUT:
        return (size_t)(packet(out, SET_DATA, request) - out);
    case GET:
        return (size_t)(packet(out, GET_DATA, request) - out);
    case CONFIRM:
        return (size_t)(packet(packet(out, SYNC, request), GET_DATA, request) - out);
    case GOODBYE:
        return (size_t)(packet(out, CLOSE, request) - out);
    }
    return 0;
}

/* One packet, its length included; as `parse`. */
static long whole(const char *in, size_t length) {
    if (length < 4) return 0;
    int size = number_at(in);
    if (size < HEAD_BYTES - 4 || size > ANSWER_BYTES - 4) return -1;
    return length >= (size_t)size + 4 ? size + 4 : 0;
}

static int carried_out(const char *in) { return number_at(in + 4) == XID && number_at(in + 16) == 0; }

static long parse(enum kind kind, const char *in, size_t length, struct answer *answer) {
    long used = whole(in, length), before = 0;
    if (used <= 0) return used;
    answer->length = 0;
    if (kind == HELLO) { /* version, the agreed time-out: 0 if the session is refused */
        answer->ok = number_at(in + 8) > 0;
        return used;
    }
    answer->ok = carried_out(in);
    if (kind == CONFIRM) {
        before = used;
        in += before;
        used = whole(in, length - (size_t)before);
        if (used <= 0) return used;
        answer->ok = answer->ok && carried_out(in);
    }
    if (answer->ok && (kind == GET || kind == CONFIRM)) {
        if (used < HEAD_BYTES + 4 + STAT_BYTES) return -1;
        answer->value = in + HEAD_BYTES + 4;
        answer->length = (size_t)(used - HEAD_BYTES - 4 - STAT_BYTES);
    }
    return before + used;
}

const struct protocol zookeeper = {"zookeeper", build, parse};
