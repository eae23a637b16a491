"""The shapes of bodies, for the OpenAPI document. Data only."""

from typing import Any, Final

Json = dict[str, Any]

_TEXT: Final = {"type": "string"}
_NUMBER: Final = {"type": "integer"}
_NULLABLE: Final[Json] = {"type": ["integer", "null"]}
_NODE: Final = {"type": ["string", "null"]}
_NODES: Final = {"type": "array", "items": _TEXT}


def _object(required: str, **members: Any) -> Json:
    return {"type": "object", "required": required.split(), "properties": members}


BASE64: Final = {"type": "string", "contentEncoding": "base64"}
TTL: Final = {"type": "string", "pattern": "^([0-9]{1,14}(ms|s|m|h|d)|keep)$"}
KEY: Final = {
    "key": _TEXT,
    "key_base64": BASE64 | {"description": "Instead of `key` where it is not valid UTF-8."},
}
_OUTCOME: Final = {
    "type": {"type": "string", "format": "uri-reference"},
    "title": _TEXT,
    "detail": _TEXT | {"description": "What happened, whether it was applied, what to do."},
    "outcome": {"type": "string", "enum": ["not-applied", "unknown"]},
    "retryable": {"type": "boolean"},
}

SCHEMAS: Final[Json] = {
    "Put": {
        "description": "A key and a value, each as text or as base64.",
        "type": "object",
        "additionalProperties": False,
        "properties": {
            "key": _TEXT,
            "key_base64": BASE64,
            "value": _TEXT,
            "value_base64": BASE64,
            "ttl": TTL
            | {"description": "How long it is to live, like 30s; without it, for ever. Or 'keep'."},
        },
        "allOf": [
            {"oneOf": [{"required": ["key"]}, {"required": ["key_base64"]}]},
            {"oneOf": [{"required": ["value"]}, {"required": ["value_base64"]}]},
        ],
    },
    "Stored": _object("status version", status={"const": "Success"}, **KEY, version=_NUMBER),
    "Found": _object(
        "version",
        **KEY,
        value=_TEXT,
        value_base64=BASE64 | {"description": "Instead of `value` where it is not valid UTF-8."},
        version=_NUMBER,
        ttl=_NUMBER | {"description": "Milliseconds that it still lives; left out: for ever."},
    ),
    "Page": {
        "description": "A page of keys, or with `count=true` their number alone.",
        "type": "object",
        "properties": {
            "items": {"type": "array", "items": {"$ref": "#/components/schemas/Item"}},
            "next": {
                "type": ["string", "null"],
                "description": "Give it as `after` for the next page; null: this was the last one.",
            },
            "next_base64": BASE64 | {"description": "Instead of `next` where it is not valid UTF-8."},
            "count": _NUMBER | {"description": "The number of keys in the range."},
            "cursor": _TEXT
            | {"description": "Of the first page: `after` of a stream of changes goes on here."},
        },
    },
    "Item": _object(
        "version",
        **KEY,
        version=_NUMBER,
        ttl=_NUMBER | {"description": "Milliseconds that it still lives; absent: for ever."},
        value=_TEXT | {"description": "With `values=true`."},
        value_base64=BASE64 | {"description": "Instead of `value` where it is not valid UTF-8."},
        content_type=_TEXT | {"description": "With `values=true`."},
    ),
    "RangeDeleted": _object(
        "count until",
        count=_NUMBER | {"description": "How many keys this request deleted."},
        next={"type": ["string", "null"], "description": "Go on with it as `after`; null: that was all."},
        next_base64=BASE64 | {"description": "Instead of `next` where it is not valid UTF-8."},
        until=_TEXT | {"description": "Give it to go on, or to repeat: what is newer stays."},
    ),
    "Deleted": _object("status deleted", status={"const": "Success"}, **KEY, deleted={"type": "boolean"}),
    "Problem": _object("type title status detail outcome retryable", status=_NUMBER, **_OUTCOME),
    "OriginalProblem": _object(
        "type title status detail outcome retryable error",
        status={"const": "Failed"},
        error=_TEXT,
        **KEY,
        **_OUTCOME,
    ),
    "Cluster": _object(
        "cluster cluster_id map_version controller health problems missing coordination zookeeper settings"
        " members",
        cluster=_TEXT,
        cluster_id=_TEXT,
        map_version=_NUMBER,
        controller=_NODE,
        health={"type": "string", "enum": ["healthy", "degraded", "unavailable"]},
        coordination={"type": "string", "enum": ["zookeeper", "embedded"]},
        zookeeper={"description": "connected or disconnected; null: the node is alone, and has none."},
        settings={"type": "object"},
        problems=_NODES | {"description": "What keeps the cluster from being healthy, for people."},
        missing={
            "type": "array",
            "items": {"$ref": "#/components/schemas/Missing"},
            "description": "The same for programs, in the same order.",
        },
        members={"type": "array", "items": {"$ref": "#/components/schemas/Member"}},
    ),
    "Missing": _object(
        "kind health text nodes partitions count have want",
        kind=_TEXT | {"description": "What it is about; there may be more kinds in later versions."},
        health={
            "type": "string",
            "enum": ["healthy", "degraded", "unavailable"],
            "description": "The best that the cluster can be with this; healthy: a note.",
        },
        text=_TEXT | {"description": "One sentence for people, as in `problems`."},
        nodes=_NODES | {"description": "The nodes that it is about, or that would mend it."},
        partitions={"type": "array", "items": _NUMBER},
        count=_NULLABLE | {"description": "Missing copies, moves left, or nodes needed, by kind."},
        have=_NULLABLE | {"description": "How many there are."},
        want=_NULLABLE | {"description": "How many there should be."},
    ),
    "Member": _object(
        "name id http peer zone weight state primaries replicas version",
        name=_TEXT,
        id=_TEXT,
        http=_TEXT,
        peer=_NODE | {"description": "Null of a node that is alone."},
        zone=_TEXT,
        weight=_NUMBER,
        state={
            "type": "string",
            "enum": ["joining", "active", "suspect", "draining", "leaving", "dead"],
        },
        primaries=_NUMBER,
        replicas=_NUMBER,
        version=_TEXT,
        damaged={"type": "boolean", "description": "Its store lost something durable; it does not vote."},
        disk={
            "enum": ["fine", "slow", "short", "spent", "silent"],
            "description": "The state of its disk, by its own word; see docs/operations.md.",
        },
        disk_full={"type": "boolean", "description": "It has less free disk than the reserve."},
    ),
    "Partitions": _object(
        "partitions", partitions={"type": "array", "items": {"$ref": "#/components/schemas/Partition"}}
    ),
    "Partition": _object(
        "partition epoch primary voters old_voters learners commit state",
        partition=_NUMBER,
        epoch=_NUMBER,
        primary=_NODE,
        voters=_NODES,
        old_voters=_NODES,
        learners=_NODES,
        commit=_NUMBER,
        state={"type": "string", "enum": ["forming", "preparing", "active", "no-quorum"]},
    ),
    "Where": _object(
        "slot partition primary replicas",
        **KEY,
        slot=_NUMBER,
        partition=_NUMBER,
        primary=_NODE,
        replicas=_NODES,
    ),
}
