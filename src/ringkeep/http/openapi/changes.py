"""`/v1/changes` in the OpenAPI document, and the parameters of a long poll."""

from typing import Final

from ringkeep.core.protocol.feed import EventKind
from ringkeep.core.protocol.limits import KEY_BYTES
from ringkeep.http.openapi.parts import Json, answers, field, good, json_of, query
from ringkeep.http.openapi.schemas import BASE64, KEY
from ringkeep.http.parse.changes import AFTER, LAST
from ringkeep.http.parse.target import MAX_WAIT_MS, USUAL_WAIT_MS

_TEXT: Final = {"type": "string"}
_NUMBER: Final = {"type": "integer"}
_PREFIX: Final = {"type": "string", "maxLength": KEY_BYTES}
_AFTER: Final = (
    "The cursor of a bookmark or a listing: go on after it. 'now' (the default): what changes next."
)

POLL: Final = [
    query(
        "newer_than",
        "The version that the client has (0: none): answer once the key is in another state.",
        {"type": "integer", "minimum": 0},
    ),
    query(
        "wait",
        f"With `newer_than`: wait for so long, then 304. Up to {MAX_WAIT_MS // 1_000}s; "
        f"{USUAL_WAIT_MS // 1_000}s by default.",
        {"type": "string", "pattern": "^[0-9]{1,9}(ms|s)$"},
    ),
]

CHANGE_SCHEMAS: Final[Json] = {
    "Change": {
        "description": "A change of a key; or a bookmark, which says how far all has been told; or the end.",
        "type": "object",
        "required": ["event"],
        "properties": KEY
        | {
            "event": {"enum": [*(kind.name.lower() for kind in EventKind), "bookmark", "gone"]},
            "version": _NUMBER | {"description": "Of the key from now on, or of its removal."},
            "ttl": _NUMBER | {"description": "Milliseconds that it lives from then; absent: for ever."},
            "value": _TEXT | {"description": "Of a put, with `values=true`."},
            "value_base64": BASE64 | {"description": "Instead of `value` where it is not valid UTF-8."},
            "content_type": _TEXT | {"description": "Of a put, with `values=true`."},
            "cursor": _TEXT
            | {"description": "Of a bookmark, in a stream of lines; in a stream of events it is the id."},
            "age": {
                "type": ["integer", "null"],
                "description": "Of a bookmark: all that was committed so many milliseconds ago is told; "
                "null: that is not known yet.",
            },
            "detail": _TEXT | {"description": "Of `gone`: what to do."},
        },
    },
    "Follow": {
        "type": "object",
        "properties": {
            "prefix": _PREFIX,
            "prefix_base64": BASE64 | {"description": "Instead of `prefix`, for any bytes."},
            "after": _TEXT | {"description": _AFTER},
            "values": {"type": "boolean", "default": False},
        },
    },
}


def change_paths() -> Json:
    """Return the path."""
    change = {"schema": {"$ref": "#/components/schemas/Change"}}
    stream = good(
        "A stream that goes on until the client leaves: server-sent events, or a line for each change.",
        {"text/event-stream": change, "application/x-ndjson": change},
    )
    return {
        "/v1/changes": {
            "get": {
                "operationId": "changes",
                "summary": "Follow every committed change of the keys with a prefix.",
                "parameters": [
                    query("prefix", "Keys that begin with this.", _PREFIX),
                    query("after", _AFTER, _TEXT),
                    query("values", "With content types and values.", {"type": "boolean"}),
                    field(AFTER, "The same as `after`, where that is too long for a URL."),
                    field(LAST, "Likewise; it comes before the others, as browsers send it by themselves."),
                ],
                "responses": answers({200: stream}, (400, 403, 408, 410, 414, 429, 431, 500, 503)),
            },
            "post": {
                "operationId": "follow",
                "summary": "The same, with its parameters in a body.",
                "requestBody": {"required": True, "content": json_of("Follow")},
                "responses": answers({200: stream}, (400, 403, 408, 410, 413, 429, 431, 500, 503)),
            },
        }
    }
