"""The operator's part of the OpenAPI document: moves, orders about nodes, settings, plans, recovery."""

from typing import Any, Final

from ringkeep.core.cluster.cluster_settings import REPLICATION, SETTINGS
from ringkeep.core.protocol.limits import REPLICATIONS, WEIGHTS
from ringkeep.http.openapi.parts import Json, answers, get, good, json_of, query
from ringkeep.http.problems import NO_SUCH_NODE
from ringkeep.http.routes import (
    HOLDS,
    MOVES_PATH,
    NODE_ORDERS,
    NODES_PATH,
    RECOVER_PATH,
    SETTINGS_PATH,
)

_ORDER_ERRORS: Final = (400, 403, 404, 408, 409, 413, 415, 500, 503)
_NAME: Final = {
    "name": "name",
    "in": "path",
    "required": True,
    "description": "The node's name, percent-encoded.",
    "schema": {"type": "string", "minLength": 1},
}
_SAY: Final = {
    "drain": "Take a node's primaries away from it; it keeps its replicas.",
    "undrain": "Let a drained node lead again.",
    "decommission": "Move everything off a node and let it go; or give a dead one up.",
    "weight": "Change a node's share of the data.",
    "forget": "Name a node no more that was given up and holds nothing.",
    "pause": "Hold moves: what is under way stays where it is.",
    "resume": "Let moves go on.",
    "cancel": "Undo what is under way; nothing new begins until `resume`.",
}


def _object(required: str, /, **members: Any) -> Json:
    return {"type": "object", "required": required.split(), "properties": members}


_TEXT: Final = {"type": "string"}
_COUNT: Final = {"type": "integer", "minimum": 0}
_NUMBER: Final = {"type": "number", "minimum": 0}
_UNKNOWN: Final = {"type": ["number", "null"], "minimum": 0, "description": "Seconds; null: not known."}
_NODE: Final = {"type": ["string", "null"]}
_WAITS: Final = {"type": ["string", "null"], "description": "What holds it up, for people."}
_MOVE: Final = {"partition": _COUNT, "from": _NODE, "to": _NODE, "bytes": _COUNT}
_PLACES: Final = "partition from to bytes"


def _list(item: Json) -> Json:
    return {"type": "array", "items": item}


def _reference(schema: str) -> Json:
    return {"$ref": f"#/components/schemas/{schema}"}


def _setting_schemas() -> Json:
    """The settings that may be changed, with their ranges."""
    found: Json = {
        name: {"type": "integer", "minimum": each.least, "maximum": each.most, "description": each.meaning}
        for name, each in SETTINGS.items()
    }
    return found | {REPLICATION: {"type": "integer", "enum": list(REPLICATIONS)}}


OPERATOR_SCHEMAS: Final[Json] = {
    "Moves": _object(
        "state limits planned running finished bytes_left rate seconds_left",
        state={"type": "string", "enum": ["running", "paused", "cancelled"]},
        limits=_object("moves_at_once move_bytes_per_s", moves_at_once=_COUNT, move_bytes_per_s=_COUNT),
        planned=_list(_object(f"{_PLACES} waits_for", **_MOVE, waits_for=_WAITS)),
        running=_list(_object(
            f"{_PLACES} stage bytes_done rate seconds_left waits_for", **_MOVE,
            stage={"type": "string", "enum": ["copying", "joint", "leaving"]},
            bytes_done=_COUNT, rate=_NUMBER, seconds_left=_UNKNOWN, waits_for=_WAITS,
        )),
        finished=_list(_object(
            f"{_PLACES} seconds age outcome", **_MOVE, seconds=_NUMBER,
            age=_NUMBER | {"description": "Seconds since it ended; newest first."},
            outcome={"type": "string", "enum": ["done", "undone"]},
        )),
        bytes_left=_COUNT, rate=_NUMBER | {"description": "Bytes per second."}, seconds_left=_UNKNOWN,
    ),
    "Ordered": _object("node watch", node=_reference("Member"), watch=_TEXT),
    "Decommission": {
        "type": "object", "additionalProperties": False,
        "properties": {"dead": {"type": "boolean", "description": "It will not come back: give it up."}},
    },
    "Weight": _object("weight", weight={"type": "integer", "minimum": WEIGHTS[0], "maximum": WEIGHTS[-1]})
    | {"additionalProperties": False},
    "Settings": {
        "type": "object", "additionalProperties": False, "minProperties": 1, "properties": _setting_schemas(),
    },
    "SettingsAnswer": _object("settings", settings={"type": "object"}, watch=_TEXT),
    "Plan": _object(
        "action node replicas bytes minimum members",
        action={"type": "string", "enum": ["join", "leave"]}, node=_TEXT,
        replicas=_COUNT | {"description": "How many replicas would move."}, bytes=_COUNT,
        minimum=_COUNT | {"description": "How many have to, at least."},
        members=_list(_object(
            "name replicas after primaries primaries_after",
            name=_TEXT, replicas=_COUNT, after=_COUNT, primaries=_COUNT, primaries_after=_COUNT,
        )),
    ),
    "Recover": _object(
        "partitions accept_loss",
        partitions={"oneOf": [_list(_COUNT), {"const": "all"}]}, accept_loss={"const": True},
        lost=_list(_TEXT) | {"description": "The nodes that are gone for good: every one that is silent."},
    ) | {"additionalProperties": False},
    "Recovered": _object("partitions", partitions=_list(_object(
        "partition gone left goes_on_with begins_empty", partition=_COUNT, gone=_list(_TEXT),
        left=_list(_TEXT) | {"description": "The nodes that hold a copy, the most advanced first."},
        goes_on_with=_NODE, begins_empty={"type": "boolean"},
    ))),
    "MapCopy": _object(
        "name id cluster cluster_id map_version map promised",
        name=_TEXT, id=_TEXT, cluster=_NODE, cluster_id=_NODE, map_version=_COUNT,
        map={"type": ["string", "null"], "contentEncoding": "base64"},
        promised=_list({"type": "array", "prefixItems": [_COUNT, _COUNT]}
                       | {"description": "A partition, and the epoch promised in it."}),
    ),
}  # fmt: skip


def _order(name: str, summary: str, body: str = "", answer: str = "Ordered", **more: Any) -> Json:
    """Return an operation that is taken here, and carried out by the controller."""
    operation: Json = {
        "operationId": name,
        "summary": summary,
        "responses": answers(
            {202: good("Taken; it is carried out from here on.", json_of(answer))},
            _ORDER_ERRORS, "Problem", NO_SUCH_NODE,
        ),
    } | more  # fmt: skip
    if body:
        operation["requestBody"] = {"required": body != "Decommission", "content": json_of(body)}
    return operation


def operator_paths() -> Json:
    """Return the paths."""
    node, dead = {"parameters": [_NAME]}, query("dead", "As in the body.", {"type": "boolean"})
    plan = [
        query("join", "The name of a node that would be added.", _TEXT),
        query("leave", "The name of a node that would leave.", _TEXT),
        query("zone", "Of the node that would join; by default its name.", _TEXT),
        query("weight", "Of the node that would join; 1 by default.", {"type": "integer"}),
    ]
    refused = answers({}, (404, 409, 503), "Problem", NO_SUCH_NODE)
    settings = get("settings", "The cluster's settings.", json_of("SettingsAnswer"))
    change = _order("changeSettings", "Change settings of the running cluster.", "Settings", "SettingsAnswer")
    found: Json = {
        MOVES_PATH: get(
            "moves", "Planned, running and finished moves.", json_of("Moves"), errors=answers({}, (503,))
        ),
        "/v1/cluster/plan": get(
            "plan", "What a join or a leave would move.", json_of("Plan"), plan, refused
        ),
        SETTINGS_PATH: settings | {"patch": change},
        RECOVER_PATH: {
            "post": _order(
                "recover", "Let partitions go on with the best copies left, though writes may be lost.",
                "Recover", "Recovered",
            )
        },
        "/v1/cluster/copy": get("copy", "This node's copy of the map, and its promises.", json_of("MapCopy")),
    }  # fmt: skip
    for verb in HOLDS:
        found[f"{MOVES_PATH}/{verb}"] = {"post": _order(f"{verb}Moves", _SAY[verb], answer="Moves")}
    bodies = {"decommission": "Decommission", "weight": "Weight"}
    for verb in NODE_ORDERS:
        more = {"parameters": [_NAME, dead]} if verb == "decommission" else node
        body = bodies.get(verb, "")
        found[f"{NODES_PATH}/{{name}}/{verb}"] = {"post": _order(verb, _SAY[verb], body, **more)}
    return found
