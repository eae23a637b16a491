"""The OpenAPI 3.1 document: the data routes and the routes that look inside.

Those for operators are in `operator`.
"""

from copy import deepcopy
from typing import Final

from ringkeep.core.protocol.limits import (
    CONTENT_TYPE_BYTES,
    IDEMPOTENCY_KEY_BYTES,
    KEY_BYTES,
    VALUE_BYTES,
)
from ringkeep.http.openapi.batches import BATCH_SCHEMAS, batch_paths
from ringkeep.http.openapi.changes import CHANGE_SCHEMAS, POLL, change_paths
from ringkeep.http.openapi.examples import ADDRESS, EXAMPLES
from ringkeep.http.openapi.key_operations import (
    KEY_OPERATION_SCHEMAS,
    TTL_LEFT,
    TTL_QUERY,
    key_operation,
)
from ringkeep.http.openapi.listing import listing_paths
from ringkeep.http.openapi.operator import OPERATOR_SCHEMAS, operator_paths
from ringkeep.http.openapi.parts import DEADLINE, Json, answers, field, get, good, json_of, query
from ringkeep.http.openapi.schemas import SCHEMAS

_KEY: Final = query(
    "key", f"The key: 1 to {KEY_BYTES:,} bytes, percent-encoded.", {"type": "string", "minLength": 1}, True
)
_READS: Final = [
    query(
        "consistency",
        "'stale' reads from any replica; the answer's Age says how old it may be.",
        {"type": "string", "enum": ["linearizable", "stale"]},
    ),
    query("at_least", "Answer only from this version on.", {"type": "integer", "minimum": 0}),
]
_WRITES: Final = [
    field("If-Match", "Only if the key has this version (in quotes), or exists ('*')."),
    field("If-None-Match", "'*': only if the key does not exist."),
    field(
        "Idempotency-Key",
        "A retry with the same key returns the first result and changes nothing.",
        {"type": "string", "minLength": 1, "maxLength": IDEMPOTENCY_KEY_BYTES, "pattern": "^[!-~]+$"},
    ),
]
_PATH_KEY: Final = {
    "name": "key",
    "in": "path",
    "required": True,
    "description": "The key, percent-encoded; a raw '/' belongs to it.",
    "schema": {"type": "string", "minLength": 1},
}
_ETAG: Final = {"ETag": {"description": "The version, in quotes.", "schema": {"type": "string"}}}
_FOUND: Final = _ETAG | TTL_LEFT
_READ_ERRORS: Final = (400, 403, 404, 408, 413, 414, 429, 431, 500, 503)
_WRITE_ERRORS: Final = (400, 403, 408, 412, 413, 414, 415, 417, 422, 429, 431, 500, 503, 504, 507)
_OCTETS: Final = {"application/octet-stream": {"schema": {"type": "string", "format": "binary"}}}


def _original() -> Json:
    """The original three routes."""
    body = {"required": True, "content": json_of("Put")}
    failed = "OriginalProblem"
    return {
        "/put": {
            "post": {
                "operationId": "put",
                "summary": "Store a value under a key.",
                "parameters": [DEADLINE, *_WRITES],
                "requestBody": body,
                "responses": answers(
                    {200: good("Stored.", json_of("Stored"))}, (*_WRITE_ERRORS, 411), failed
                ),
            }
        },
        "/get": {
            "get": {
                "operationId": "get",
                "summary": "Read the value of a key.",
                "parameters": [_KEY, DEADLINE, *_READS],
                "responses": answers({200: good("Found.", json_of("Found"))}, _READ_ERRORS, failed),
            }
        },
        "/delete": {
            "delete": {
                "operationId": "delete",
                "summary": "Delete a key; that it was not there is no error.",
                "parameters": [_KEY, DEADLINE, *_WRITES],
                "responses": answers({200: good("Done.", json_of("Deleted"))}, _WRITE_ERRORS, failed),
            }
        },
    }


def _raw() -> Json:
    """`/v1/kv/{key}`."""
    reads = [_PATH_KEY, DEADLINE, *_READS, *POLL]
    writes = [_PATH_KEY, DEADLINE, *_WRITES]
    tags = [
        field("If-None-Match", "Versions that the client has: 304 if one is present."),
        field("If-Match", "412 unless one is present."),
    ]
    found = {
        200: good("The stored bytes, with the stored Content-Type.", _OCTETS, _FOUND),
        304: good("The client has the present version, also at the end of `wait`.", headers=_FOUND),
    }
    head = {200: good("The key exists.", headers=_FOUND), 304: found[304]}
    limit = (
        f"The value, up to {VALUE_BYTES} bytes; its Content-Type (up to {CONTENT_TYPE_BYTES} bytes) is kept."
    )
    stored = {201: good("Created.", headers=_ETAG), 200: good("Replaced.", headers=_ETAG)}
    errors = (*_READ_ERRORS, 412)
    return {
        "/v1/kv/{key}": {
            "get": {
                "operationId": "read",
                "summary": "Read the raw bytes of a key.",
                "parameters": reads + tags,
                "responses": answers(found, errors),
            },
            "head": {
                "operationId": "look",
                "summary": "As GET, without the bytes.",
                "parameters": reads + tags,
                "responses": answers(head, errors),
            },
            "put": {
                "operationId": "write",
                "summary": "Store the body as the value.",
                "parameters": [*writes, TTL_QUERY],
                "requestBody": {
                    "required": True,
                    "description": limit,
                    "content": {"*/*": _OCTETS["application/octet-stream"]},
                },
                "responses": answers(stored, (*_WRITE_ERRORS, 411)),
            },
            "delete": {
                "operationId": "remove",
                "summary": "Delete a key.",
                "parameters": writes,
                "responses": answers({204: good("Deleted.")}, (*_WRITE_ERRORS, 404)),
            },
            "post": key_operation(writes, _WRITE_ERRORS, _ETAG),
        }
    }


def _cluster() -> Json:
    """The routes that look inside."""
    text: Json = {"text/plain": {"schema": {"type": "string"}}}
    verbose = query("verbose", "Say what this node waits for.", {"type": "string"})
    waiting = {"503": good("This node is not ready.", text)}
    page: Json = {"text/html": {"schema": {"type": "string"}}}
    anything: Json = {"application/json": {"schema": {"type": "object"}}}
    return {
        "/v1/cluster": get("cluster", "The cluster and its members.", json_of("Cluster")),
        "/v1/cluster/partitions": get(
            "partitions", "Every partition and its replicas.", json_of("Partitions")
        ),
        "/v1/cluster/where": get("where", "Where a key is.", json_of("Where"), [_KEY]),
        "/livez": get("livez", "Whether the process runs.", text),
        "/readyz": get("readyz", "Whether this node is ready.", text, [verbose], waiting),
        "/metrics": get("metrics", "Metrics in Prometheus' text format.", text),
        "/version": get("version", "The version of this node.", anything),
        "/openapi.json": get("openapi", "This document.", anything),
        "/docs": get("docs", "This document as a page.", page),
        "/": get("index", "The cluster as a page.", page),
    }


def document(version: str) -> Json:
    """Return the whole document, a new one for each call."""
    paths = (
        _original()
        | listing_paths()
        | change_paths()
        | _raw()
        | batch_paths([DEADLINE, _WRITES[-1]], _WRITE_ERRORS)
        | _cluster()
        | operator_paths()
    )
    for methods in paths.values():
        for operation in methods.values():
            example = EXAMPLES[operation["operationId"]]
            source = example.command.replace("{node}", f"http://{ADDRESS}")
            operation["x-codeSamples"] = [{"lang": "Shell", "source": source}]
    return deepcopy(
        {
            "openapi": "3.1.0",
            "info": {
                "title": "Ringkeep",
                "version": version or "0",
                "description": "A distributed key-value store: linearizable reads, writes and "
                "compare-and-set on every key, through any node.",
            },
            "paths": paths,
            "components": {
                "schemas": SCHEMAS | KEY_OPERATION_SCHEMAS | BATCH_SCHEMAS | CHANGE_SCHEMAS | OPERATOR_SCHEMAS
            },
        }
    )
