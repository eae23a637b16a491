"""The OpenAPI 3.1 document of the data routes and the cluster routes."""

from copy import deepcopy
from typing import Any, Final

from ringkeep.core.limits import CONTENT_TYPE_BYTES, IDEMPOTENCY_KEY_BYTES, MAX_TIMEOUT_MS, VALUE_BYTES
from ringkeep.http.openapi_schemas import SCHEMAS
from ringkeep.http.problems import BY_STATUS

Json = dict[str, Any]

_TIMEOUT: Final = f"Deadline: '<int>ms' or '<int>s', up to {MAX_TIMEOUT_MS // 1_000}s; 5s by default."


def _query(name: str, description: str, schema: Json, required: bool = False) -> Json:
    return {"name": name, "in": "query", "description": description, "required": required, "schema": schema}


def _field(name: str, description: str, schema: Json | None = None) -> Json:
    return {"name": name, "in": "header", "description": description, "schema": schema or {"type": "string"}}


_KEY: Final = _query(
    "key", "The key: 1 to 1,024 bytes, percent-encoded.", {"type": "string", "minLength": 1}, True
)
_DEADLINE: Final = _query("timeout", _TIMEOUT, {"type": "string", "pattern": "^[0-9]{1,9}(ms|s)$"})
_READS: Final = [
    _query(
        "consistency",
        "'stale' reads from any replica; the answer's Age says how old it may be.",
        {"type": "string", "enum": ["linearizable", "stale"]},
    ),
    _query("at_least", "Answer only from this version on.", {"type": "integer", "minimum": 0}),
]
_WRITES: Final = [
    _field("If-Match", "Only if the key has this version (in quotes), or exists ('*')."),
    _field("If-None-Match", "'*': only if the key does not exist."),
    _field(
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
_READ_ERRORS: Final = (400, 403, 404, 408, 413, 414, 429, 431, 500, 503)
_WRITE_ERRORS: Final = (400, 403, 408, 412, 413, 414, 415, 417, 422, 429, 431, 500, 503, 504, 507)
_OCTETS: Final = {"application/octet-stream": {"schema": {"type": "string", "format": "binary"}}}


def _json_of(schema: str) -> Json:
    return {"application/json": {"schema": {"$ref": f"#/components/schemas/{schema}"}}}


def _answers(good: dict[int, Json], errors: tuple[int, ...], problem: str = "Problem") -> Json:
    found: Json = {str(status): answer for status, answer in good.items()}
    for status in errors:
        content = {"application/problem+json": {"schema": {"$ref": f"#/components/schemas/{problem}"}}}
        found[str(status)] = {"description": BY_STATUS[status].title, "content": content}
    return found


def _good(description: str, content: Json | None = None, headers: Json | None = None) -> Json:
    answer: Json = {"description": description}
    if content:
        answer["content"] = content
    if headers:
        answer["headers"] = headers
    return answer


def _original() -> Json:
    """The original three routes."""
    body = {"required": True, "content": _json_of("Put")}
    failed = "OriginalProblem"
    return {
        "/put": {
            "post": {
                "operationId": "put",
                "summary": "Store a value under a key.",
                "parameters": [_DEADLINE, *_WRITES],
                "requestBody": body,
                "responses": _answers(
                    {200: _good("Stored.", _json_of("Stored"))}, (*_WRITE_ERRORS, 411), failed
                ),
            }
        },
        "/get": {
            "get": {
                "operationId": "get",
                "summary": "Read the value of a key.",
                "parameters": [_KEY, _DEADLINE, *_READS],
                "responses": _answers({200: _good("Found.", _json_of("Found"))}, _READ_ERRORS, failed),
            }
        },
        "/delete": {
            "delete": {
                "operationId": "delete",
                "summary": "Delete a key; that it was not there is no error.",
                "parameters": [_KEY, _DEADLINE, *_WRITES],
                "responses": _answers({200: _good("Done.", _json_of("Deleted"))}, _WRITE_ERRORS, failed),
            }
        },
    }


def _raw() -> Json:
    """`/v1/kv/{key}`."""
    reads = [_PATH_KEY, _DEADLINE, *_READS]
    writes = [_PATH_KEY, _DEADLINE, *_WRITES]
    tags = [
        _field("If-None-Match", "Versions that the client has: 304 if one is present."),
        _field("If-Match", "412 unless one is present."),
    ]
    found = {
        200: _good("The stored bytes, with the stored Content-Type.", _OCTETS, _ETAG),
        304: _good("The client has the present version.", headers=_ETAG),
    }
    head = {200: _good("The key exists.", headers=_ETAG), 304: found[304]}
    limit = (
        f"The value, up to {VALUE_BYTES} bytes; its Content-Type (up to {CONTENT_TYPE_BYTES} bytes) is kept."
    )
    stored = {201: _good("Created.", headers=_ETAG), 200: _good("Replaced.", headers=_ETAG)}
    errors = (*_READ_ERRORS, 412)
    return {
        "/v1/kv/{key}": {
            "get": {
                "operationId": "read",
                "summary": "Read the raw bytes of a key.",
                "parameters": reads + tags,
                "responses": _answers(found, errors),
            },
            "head": {
                "operationId": "look",
                "summary": "As GET, without the bytes.",
                "parameters": reads + tags,
                "responses": _answers(head, errors),
            },
            "put": {
                "operationId": "write",
                "summary": "Store the body as the value.",
                "parameters": writes,
                "requestBody": {
                    "required": True,
                    "description": limit,
                    "content": {"*/*": _OCTETS["application/octet-stream"]},
                },
                "responses": _answers(stored, (*_WRITE_ERRORS, 411)),
            },
            "delete": {
                "operationId": "remove",
                "summary": "Delete a key.",
                "parameters": writes,
                "responses": _answers({204: _good("Deleted.")}, (*_WRITE_ERRORS, 404)),
            },
        }
    }


def _get(
    name: str, summary: str, content: Json, parameters: list[Json] | None = None, errors: Json | None = None
) -> Json:
    operation: Json = {
        "operationId": name,
        "summary": summary,
        "responses": _answers({200: _good("The answer.", content)}, (400, 403, 500)) | (errors or {}),
    }
    if parameters:
        operation["parameters"] = parameters
    return {"get": operation}


def _cluster() -> Json:
    """The routes that look inside."""
    text: Json = {"text/plain": {"schema": {"type": "string"}}}
    verbose = _query("verbose", "Say what this node waits for.", {"type": "string"})
    waiting = {"503": _good("This node is not ready.", text)}
    page: Json = {"text/html": {"schema": {"type": "string"}}}
    anything: Json = {"application/json": {"schema": {"type": "object"}}}
    return {
        "/v1/cluster": _get("cluster", "The cluster and its members.", _json_of("Cluster")),
        "/v1/cluster/partitions": _get(
            "partitions", "Every partition and its replicas.", _json_of("Partitions")
        ),
        "/v1/cluster/where": _get("where", "Where a key is.", _json_of("Where"), [_KEY]),
        "/livez": _get("livez", "Whether the process runs.", text),
        "/readyz": _get("readyz", "Whether this node is ready.", text, [verbose], waiting),
        "/metrics": _get("metrics", "Metrics in Prometheus' text format.", text),
        "/version": _get("version", "The version of this node.", anything),
        "/openapi.json": _get("openapi", "This document.", anything),
        "/docs": _get("docs", "This document as a page.", page),
        "/": _get("index", "The cluster as a page.", page),
    }


def document(version: str) -> Json:
    """Return the whole document, a new one for each call."""
    return deepcopy(
        {
            "openapi": "3.1.0",
            "info": {
                "title": "Ringkeep",
                "version": version or "0",
                "description": "A distributed key-value store: linearizable reads, writes and "
                "compare-and-set on every key, through any node.",
            },
            "paths": _original() | _raw() | _cluster(),
            "components": {"schemas": SCHEMAS},
        }
    )
