/* Redis's RESP. A write is SET and WAIT 1 in one packet: it counts when a replica has it too. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "protocol.h"

static size_t build(char *out, const struct request *request) {
    switch (request->kind) {
    case CREATE:
    case PUT:
        return (size_t)sprintf(out,
                               "*3\r\n$3\r\nSET\r\n$%d\r\n%.*s\r\n$%d\r\n%.*s\r\n"
                               "*3\r\n$4\r\nWAIT\r\n$1\r\n1\r\n$4\r\n5000\r\n",
                               KEY_BYTES, KEY_BYTES, request->key, VALUE_BYTES, VALUE_BYTES, request->value);
    case GET:
    case CONFIRM:
        return (size_t)sprintf(out, "*2\r\n$3\r\nGET\r\n$%d\r\n%.*s\r\n", KEY_BYTES, KEY_BYTES, request->key);
    default:
        return 0;
    }
}

/* The length of one line with its end, 0 if it is not there yet. */
static size_t line_of(const char *in, size_t length) {
    const char *end = memmem(in, length, "\r\n", 2);
    return end ? (size_t)(end - in) + 2 : 0;
}

static long parse(enum kind kind, const char *in, size_t length, struct answer *answer) {
    size_t first = line_of(in, length);
    if (!first) return 0;
    answer->ok = 0;
    answer->length = 0;
    if (kind == GET || kind == CONFIRM) {
        if (in[0] != '$') return (long)first;
        long size = strtol(in + 1, NULL, 10);
        if (size > ANSWER_BYTES / 2) return -1;
        answer->ok = size >= 0;
        if (size < 0) return (long)first;
        if (length < first + (size_t)size + 2) return 0;
        answer->value = in + first;
        answer->length = (size_t)size;
        return (long)first + size + 2;
    }
    size_t second = line_of(in + first, length - first);
    if (!second) return 0;
    answer->ok = memcmp(in, "+OK\r\n", 5) == 0 && in[first] == ':' && atoi(in + first + 1) >= 1;
    return (long)(first + second);
}

const struct protocol redis = {"redis", build, parse};
