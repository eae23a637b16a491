"""The part of the OpenAPI document about batches: `POST /v1/batch`."""

from copy import deepcopy
from typing import Any, Final

from ringkeep.core.protocol.limits import MIB
from ringkeep.http.limits import BATCH_BYTES, BATCH_OPERATIONS, BATCH_VALUES_BYTES
from ringkeep.http.openapi.key_operations import KEY_OPERATION_SCHEMAS
from ringkeep.http.openapi.parts import Json, answers, good, json_of
from ringkeep.http.openapi.schemas import BASE64, KEY, SCHEMAS
from ringkeep.http.parse.operation_table import BATCH_TAKES, CONDITIONS
from ringkeep.http.problems import WRONG_TYPE

_SINGLE: Final = KEY_OPERATION_SCHEMAS["Operation"]["properties"]
_ONE_KEY: Final[Json] = {"oneOf": [{"required": ["key"]}, {"required": ["key_base64"]}]}
_STORES: Final = [name for name, takes in BATCH_TAKES.items() if "value" in takes]


def _list_of(schema: str, least: int = 0) -> Json:
    return {
        "type": "array",
        "items": {"$ref": f"#/components/schemas/{schema}"},
        "minItems": least,
        "maxItems": BATCH_OPERATIONS,
    }


def _failed() -> Json:
    members = {
        "position": {"type": "integer", "description": "Of an operation, from 0;"},
        "condition": {"type": "integer", "description": "or of a condition, from 0."},
        **KEY,
        "version": {"type": "integer", "description": "That the key had; 0 if there is none."},
    }
    return {"type": "array", "items": {"type": "object", "required": ["version"], "properties": members}}


BATCH_SCHEMAS: Final[Json] = {
    "Batch": {
        "type": "object",
        "required": ["operations"],
        "additionalProperties": False,
        "properties": {
            "operations": _list_of("BatchOperation", 1),
            "atomic": {
                "type": "boolean",
                "description": "All or nothing, at one moment; all keys then share a slot, by a {tag}. "
                "Otherwise (the default) each operation is a request of its own, those on one key in order.",
            },
            "conditions": _list_of("BatchCondition")
            | {"description": "Only if all of them hold, also of other keys. Needs atomic."},
            "on_error": {
                "const": "continue",
                "description": "An operation that fails by itself does not undo the others. Needs atomic.",
            },
        },
    },
    "BatchOperation": {
        "type": "object",
        "required": ["op"],
        "additionalProperties": False,
        "properties": {
            **KEY,
            **_SINGLE,
            "op": {"enum": list(BATCH_TAKES), "description": "What is done."},
            "value": {"type": "string", "description": "put, append, swap."},
            "ttl": _SINGLE["ttl"] | {"description": "As that of the operation alone. put: as swap."},
        },
        "allOf": [
            _ONE_KEY,
            {
                "if": {"properties": {"op": {"enum": _STORES}}},
                "then": {"oneOf": [{"required": ["value"]}, {"required": ["value_base64"]}]},
            },
            {"if": {"properties": {"op": {"const": "touch"}}}, "then": {"required": ["ttl"]}},
        ],
    },
    "BatchCondition": {
        "type": "object",
        "additionalProperties": False,
        "properties": {**KEY, **{name: _SINGLE[name] for name in CONDITIONS}},
        "allOf": [_ONE_KEY, {"oneOf": [{"required": [name]} for name in CONDITIONS]}],
    },
    "BatchAnswer": {
        "type": "object",
        "required": ["results"],
        "properties": {
            "results": {
                "type": "array",
                "items": {"$ref": "#/components/schemas/BatchResult"},
                "description": "One for each operation, in the order of the request.",
            },
            "version": {
                "type": "integer",
                "description": "Of an atomic batch: that of every key that it changed; 0 if it changed none.",
            },
        },
    },
    "BatchResult": {
        "type": "object",
        "required": ["status"],
        "properties": {
            "status": {
                "enum": [200, 201, 204, 404, 409, 412, 413, 422, 429, 500, 503, 504, 507],
                "description": "As the operation's own request would be answered.",
            },
            "version": {
                "type": "integer",
                "description": "Of the key after it, or, after a failure, the present one.",
            },
            "value": {"type": "string", "description": "get: the value. Others: as the operation alone."},
            "value_base64": BASE64 | {"description": "Instead of `value` where it is not valid UTF-8."},
            "content_type": {"type": "string", "description": "Of `value`, if it has one."},
            "ttl": {"type": "integer", "description": "get: milliseconds that it still lives."},
            "length": {"type": "integer", "description": "append: bytes of the new value."},
            "replaced": {"type": "boolean", "description": "swap: whether there was a value."},
            "replayed": {"const": True, "description": "get, in a retry if atomic: it was read anew."},
            "outcome": {"enum": ["not-applied", "unknown"], "description": "Of a failure."},
            "detail": {"type": "string", "description": "Of a failure: what happened, and what to do."},
        },
    },
    "BatchProblem": {
        **deepcopy(SCHEMAS["Problem"]),
        "properties": {
            **SCHEMAS["Problem"]["properties"],
            "failed": _failed() | {"description": "409, 412, 413 of an atomic batch: what undid it."},
        },
    },
}  # fmt: skip

# What is sent, what comes back.
_EXAMPLES: Final[tuple[tuple[str, Json, Json], ...]] = (
    (
        "each by itself",
        {"operations": [
            {"op": "put", "key": "greeting", "value": "hello"},
            {"op": "get", "key": "greeting"},
            {"op": "add", "key": "visits", "by": 1},
            {"op": "delete", "key": "nothing"},
        ]},
        {"results": [
            {"status": 201, "version": 7},
            {"status": 200, "version": 7, "value": "hello"},
            {"status": 201, "version": 3, "value": "1"},
            {"status": 404, "outcome": "not-applied", "detail": "There is no such key. Nothing was changed."},
        ]},
    ),
    (
        "atomic",
        {
            "atomic": True,
            "conditions": [{"key": "{cart7}open", "if_present": True}],
            "operations": [
                {"op": "add", "key": "{cart7}stock", "by": -1},
                {"op": "put", "key": "{cart7}item", "value": "book", "ttl": "30m"},
            ],
        },
        {"version": 12, "results": [
            {"status": 200, "version": 12, "value": "41"}, {"status": 201, "version": 12},
        ]},
    ),
)  # fmt: skip


def _json_of(schema: str, which: int) -> Json:
    content = json_of(schema)
    content["application/json"]["examples"] = {each[0]: {"value": each[which]} for each in _EXAMPLES}
    return content


def batch_paths(parameters: list[Json], errors: tuple[int, ...]) -> dict[str, Any]:
    """Return `/v1/batch`, which has the parameters and errors of other writes."""
    return {
        "/v1/batch": {
            "post": {
                "operationId": "batch",
                "summary": "Do several operations in one request, atomically or each by itself.",
                "parameters": parameters,
                "requestBody": {
                    "required": True,
                    "description": f"At most {BATCH_OPERATIONS:,} operations and {BATCH_BYTES // MIB} MiB; "
                    f"reads answer at most {BATCH_VALUES_BYTES // MIB} MiB of values together.",
                    "content": _json_of("Batch", 1),
                },
                "responses": answers(
                    {200: good("Done; each operation has a status of its own.", _json_of("BatchAnswer", 2))},
                    (*errors, 409, 411), "BatchProblem", WRONG_TYPE,
                ),
            }
        }
    }  # fmt: skip
