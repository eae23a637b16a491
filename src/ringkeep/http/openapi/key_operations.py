"""The part of the OpenAPI document about operations on one key: `POST /v1/kv/{key}`, and times to live."""

from typing import Any, Final

from ringkeep.core.protocol.limits import CONTENT_TYPE_BYTES, KEPT_RESULT_BYTES, KIB, VALUE_BYTES
from ringkeep.http.openapi.parts import Json, answers, good, json_of, query
from ringkeep.http.openapi.schemas import BASE64, KEY, TTL
from ringkeep.http.parse.operation_table import TAKES
from ringkeep.http.problems import NOT_FOUND, WRONG_TYPE

TTL_QUERY: Final = query(
    "ttl",
    "How long the record is to live; without it, for ever. 'keep': what is left of the present one's time.",
    TTL,
)
TTL_LEFT: Final[Json] = {
    "Ringkeep-TTL": {
        "description": "Milliseconds that the record still lives; not there if it lives for ever.",
        "schema": {"type": "integer", "minimum": 1},
    }
}
_ERRORS: Final = (404, 409, 411)

_INTEGER: Final = {"type": "integer", "minimum": -(2**63), "maximum": 2**63 - 1}


def _says(schema: Json, text: str) -> Json:
    return schema | {"description": text}


def _required(name: str) -> Json:
    return {"required": [name]}


KEY_OPERATION_SCHEMAS: Final[Json] = {
    "Operation": {
        "type": "object",
        "required": ["op"],
        "additionalProperties": False,
        "properties": {
            "op": {
                "enum": list(TAKES),
                "description": "add: to a decimal integer. append: to the value. swap: store, and return the "
                "old value. take: delete, and return the old value. touch: give another time to live. "
                "persist: let it live for ever.",
            },
            "by": _says(_INTEGER, "add: what is added; 1 by default."),
            "initial": _says(_INTEGER, "add: what an absent key counts as; 0 by default."),
            "value": _says({"type": "string"}, "append, swap."),
            "value_base64": _says(BASE64, "append, swap: instead of `value`, for any bytes."),
            "content_type": {
                "type": "string",
                "maxLength": CONTENT_TYPE_BYTES,
                "description": "swap: kept with the value. append: kept if the key is created.",
            },
            "ttl": _says(
                TTL,
                "touch: required. swap: without it for ever; 'keep' keeps what is left. add, append: without "
                "it, what is left is kept.",
            ),
            "if_version": {
                "type": "integer",
                "minimum": 1,
                "description": "Only if the key has this version, as If-Match.",
            },
            "if_absent": {
                "const": True,
                "description": "Only if the key does not exist, as If-None-Match: *.",
            },
            "if_present": {"const": True, "description": "Only if the key exists, as If-Match: *."},
        },
        "allOf": [
            {
                "if": {"properties": {"op": {"enum": ["append", "swap"]}}},
                "then": {"oneOf": [_required("value"), _required("value_base64")]},
            },
            {"if": {"properties": {"op": {"const": "touch"}}}, "then": _required("ttl")},
        ],
    },
    "Operated": {
        "type": "object",
        "required": ["version"],
        "properties": {
            **KEY,
            "version": {"type": "integer", "description": "Of the key after it; of take: of the deletion."},
            "value": {
                "type": "string",
                "description": "add: the new number, as text. append: the new value, left out above "
                f"{KEPT_RESULT_BYTES // KIB} KiB. swap, take: the old value.",
            },
            "value_base64": _says(BASE64, "Instead of `value` where it is not valid UTF-8."),
            "length": {"type": "integer", "description": "append: bytes of the new value."},
            "replaced": {"type": "boolean", "description": "swap: whether there was a value."},
            "content_type": {"type": "string", "description": "swap, take: of the old value, if it had one."},
        },
    },
}

# What is sent, what comes back.
_EXAMPLES: Final[tuple[tuple[str, Json, Json], ...]] = (
    ("add", {"op": "add", "by": 5}, {"key": "visits", "version": 12, "value": "42"}),
    (
        "append",
        {"op": "append", "value": ", world", "if_version": 12},
        {"key": "greeting", "version": 13, "length": 12, "value": "hello, world"},
    ),
    (
        "swap",
        {"op": "swap", "value": "new", "ttl": "30s"},
        {"key": "job", "version": 14, "replaced": True, "value": "old", "content_type": "text/plain"},
    ),
    ("take", {"op": "take"}, {"key": "job", "version": 15, "value": "new"}),
    ("touch", {"op": "touch", "ttl": "10m"}, {"key": "session", "version": 16}),
    ("persist", {"op": "persist"}, {"key": "session", "version": 17}),
)


def _json_of(schema: str, which: int) -> Json:
    content = json_of(schema)
    examples = {example[0]: {"value": example[which]} for example in _EXAMPLES}
    content["application/json"]["examples"] = examples
    return content


def key_operation(parameters: list[Json], errors: tuple[int, ...], headers: Json) -> dict[str, Any]:
    """Return `POST /v1/kv/{key}`, which has the parameters, errors and header fields of other writes."""
    done = good("Done.", _json_of("Operated", 2), headers)
    created = good("Done; the key was created.", json_of("Operated"), headers)
    return {
        "operationId": "operate",
        "summary": "Change a key in one step: add, append, swap, take, touch or persist.",
        "parameters": parameters,
        "requestBody": {
            "required": True,
            "description": f"The operation; a value has at most {VALUE_BYTES} bytes.",
            "content": _json_of("Operation", 1),
        },
        "responses": answers(
            {200: done, 201: created},
            (*errors, *_ERRORS), "Problem", NOT_FOUND, WRONG_TYPE,
        ),
    }  # fmt: skip
