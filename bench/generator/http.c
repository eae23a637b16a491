/* HTTP: Ringkeep's /v1/kv, and etcd's JSON gateway. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "protocol.h"

static const char alphabet[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

static size_t base64(char *out, const char *bytes, size_t length) {
    char *at = out;
    for (size_t i = 0; i < length; i += 3) {
        unsigned word = (unsigned)(unsigned char)bytes[i] << 16;
        if (i + 1 < length) word |= (unsigned)(unsigned char)bytes[i + 1] << 8;
        if (i + 2 < length) word |= (unsigned)(unsigned char)bytes[i + 2];
        *at++ = alphabet[word >> 18 & 63];
        *at++ = alphabet[word >> 12 & 63];
        *at++ = i + 1 < length ? alphabet[word >> 6 & 63] : '=';
        *at++ = i + 2 < length ? alphabet[word & 63] : '=';
    }
    *at = 0;
    return (size_t)(at - out);
}

static size_t unbase64(char *out, const char *text, size_t length) {
    size_t size = 0, bits = 0;
    unsigned word = 0;
    for (size_t i = 0; i < length && text[i] != '='; i++) {
        const char *found = memchr(alphabet, text[i], 64);
        if (!found) return 0;
        word = word << 6 | (unsigned)(found - alphabet);
        bits += 6;
        if (bits >= 8) {
            bits -= 8;
            out[size++] = (char)(word >> bits);
        }
    }
    return size;
}

/* Find an answer's parts; return its length as `parse` does. */
static long parse_http(const char *in, size_t length, int *status, const char **body, size_t *size) {
    const char *end = memmem(in, length, "\r\n\r\n", 4);
    if (!end) return length < answer_bytes ? 0 : -1;
    if (memcmp(in, "HTTP/1.1 ", 9) != 0) return -1;
    *status = atoi(in + 9);
    *size = 0;
    int told = *status == 204 || *status == 304;
    for (const char *line = in; line < end; line = (const char *)memmem(line, length, "\r\n", 2) + 2)
        if (strncasecmp(line, "content-length:", 15) == 0) {
            *size = (size_t)strtoul(line + 15, NULL, 10);
            told = 1;
        }
    if (!told) return -1; /* chunked: neither of the two does that for answers this small */
    *body = end + 4;
    size_t whole = (size_t)(*body - in) + *size;
    if (whole > answer_bytes) return -1;
    return whole <= length ? (long)whole : 0;
}

/* --- Ringkeep ------------------------------------------------------------------------------------------ */

static size_t build_ringkeep(char *out, const struct request *request) {
    switch (request->kind) {
    case CREATE:
    case PUT:
        return (size_t)sprintf(out, "PUT /v1/kv/%.*s HTTP/1.1\r\nHost: %s\r\nContent-Length: %zu\r\n\r\n%.*s",
                               KEY_BYTES, request->key, request->host, value_bytes, (int)value_bytes,
                               request->value);
    case GET:
    case CONFIRM:
        return (size_t)sprintf(out, "GET /v1/kv/%.*s HTTP/1.1\r\nHost: %s\r\n\r\n", KEY_BYTES, request->key,
                               request->host);
    default:
        return 0;
    }
}

static long parse_ringkeep(enum kind kind, const char *in, size_t length, struct answer *answer) {
    int status = 0;
    long used = parse_http(in, length, &status, &answer->value, &answer->length);
    answer->ok = status == 200 || (status == 201 && (kind == CREATE || kind == PUT));
    return used;
}

/* --- etcd ---------------------------------------------------------------------------------------------- */

static size_t build_etcd(char *out, const struct request *request) {
    char key[2 * KEY_BYTES], value[2 * VALUE_BYTES], body[REQUEST_BYTES / 2];
    const char *path;
    int size;
    base64(key, request->key, KEY_BYTES);
    switch (request->kind) {
    case CREATE:
    case PUT:
        path = "put";
        base64(value, request->value, VALUE_BYTES);
        size = sprintf(body, "{\"key\":\"%s\",\"value\":\"%s\"}", key, value);
        break;
    case GET:
    case CONFIRM:
        path = "range";
        size = sprintf(body, "{\"key\":\"%s\"}", key);
        break;
    default:
        return 0;
    }
    return (size_t)sprintf(out, "POST /v3/kv/%s HTTP/1.1\r\nHost: %s\r\nContent-Length: %d\r\n\r\n%s", path,
                           request->host, size, body);
}

static long parse_etcd(enum kind kind, const char *in, size_t length, struct answer *answer) {
    int status = 0;
    const char *body;
    size_t size;
    long used = parse_http(in, length, &status, &body, &size);
    if (used <= 0) return used;
    answer->ok = status == 200;
    answer->length = 0;
    if (kind != GET && kind != CONFIRM) return used;
    const char *text = memmem(body, size, "\"value\":\"", 9);
    if (!text) return used;
    text += 9;
    const char *quote = memchr(text, '"', (size_t)(body + size - text));
    if (!quote || quote - text > 2 * VALUE_BYTES) return -1;
    answer->value = answer->room;
    answer->length = unbase64(answer->room, text, (size_t)(quote - text));
    return used;
}

const struct protocol ringkeep = {"ringkeep", build_ringkeep, parse_ringkeep};
const struct protocol etcd = {"etcd", build_etcd, parse_etcd};
