"""One example for each operation of the OpenAPI document: what to type, and what comes back. Data only.

A test runs every command. `{node}` stands for the address of a node.
"""

from collections.abc import Mapping
from typing import Final, NamedTuple

_JSON: Final = "-H 'Content-Type: application/json'"
_TEXT: Final = "-H 'Content-Type: text/plain; charset=utf-8'"
_KV: Final = "{node}/v1/kv/greeting"
_CLUSTER: Final = "{node}/v1/cluster"
_MOVES: Final = (
    '{"state":"running","limits":{"moves_at_once":8,"move_bytes_per_s":16777216},"planned":[],"running":[],'
    '"finished":[],"bytes_left":0,"rate":0.0,"seconds_left":null}'
)
_NODE: Final = (
    '{"node":{"name":"node-2","id":"5f0c…","http":"127.0.0.1:8010","peer":"127.0.0.1:8012","zone":"node-2",'
    '"weight":%d,"state":"%s","primaries":52,"replicas":154,"version":"0.1.0"},"watch":"/v1/cluster"}'
)


ADDRESS: Final = "127.0.0.1:8000"
"""Stands for the node where nobody says under which address the reader sees it."""


class Example(NamedTuple):
    """`command` for a shell; `answer` as it is printed, long ones cut with "…"."""

    command: str
    answer: str


def _order(verb: str, state: str, body: str = "", weight: int = 1) -> Example:
    sent = f" {_JSON} -d '{body}'" if body else ""
    return Example(f"curl -X POST {_CLUSTER}/nodes/node-2/{verb}{sent}", _NODE % (weight, state))


def _hold(verb: str, state: str) -> Example:
    return Example(f"curl -X POST {_CLUSTER}/moves/{verb}", _MOVES.replace("running", state, 1))


EXAMPLES: Final[Mapping[str, Example]] = {
    "put": Example(
        f"""curl -X POST {{node}}/put {_JSON} -d '{{"key": "hello", "value": "world"}}'""",
        '{"status":"Success","key":"hello","version":7}',
    ),
    "get": Example("curl '{node}/get?key=hello'", '{"key":"hello","value":"world","version":7}'),
    "delete": Example(
        "curl -X DELETE '{node}/delete?key=hello'", '{"status":"Success","key":"hello","deleted":true}'
    ),
    "read": Example(f"curl {_KV}", "good morning"),
    "look": Example(f"curl -I {_KV}", 'HTTP/1.1 200 OK\nETag: "7"\n…'),
    "write": Example(
        f"curl -i -X PUT {_KV} {_TEXT} --data-binary 'good morning'", 'HTTP/1.1 201 Created\nETag: "7"\n…'
    ),
    "remove": Example(f"curl -i -X DELETE {_KV}", "HTTP/1.1 204 No Content\n…"),
    "operate": Example(
        f"""curl -X POST {{node}}/v1/kv/visits {_JSON} -d '{{"op": "add", "by": 1}}'""",
        '{"key":"visits","version":7,"value":"42"}',
    ),
    "batch": Example(
        f"""curl {{node}}/v1/batch {_JSON} -d '{{"operations": [
  {{"op": "put", "key": "hello", "value": "world"}}, {{"op": "get", "key": "hello"}}]}}'""",
        '{"results":[{"status":200,"version":7},{"status":200,"version":7,"value":"world"}]}',
    ),
    "list": Example(
        "curl '{node}/v1/kv?prefix=gre&values=true'",
        '{"items":[{"key":"greeting","version":7,"value":"good morning","content_type":"text/plain…"}],'
        '"next":null}',
    ),
    "deleteRange": Example(
        "curl -X DELETE '{node}/v1/kv?prefix=old/'", '{"count":12,"next":null,"until":"AfN0…"}'
    ),
    "changes": Example(
        "curl -N '{node}/v1/changes?prefix=gre&values=true' | head -3",
        'id: AX6…\nevent: bookmark\ndata: {"event":"bookmark","age":0}',
    ),
    "follow": Example(
        """curl -N {node}/v1/changes -H 'Accept: application/x-ndjson' -d '{"prefix": "gre"}' | head -1""",
        '{"event":"bookmark","age":0,"cursor":"AX6…"}',
    ),
    "cluster": Example(
        f"curl {_CLUSTER}",
        '{"cluster":"default","cluster_id":"9f2a…","map_version":12,"controller":"node-1","health":"healthy",…}',
    ),
    "partitions": Example(
        f"curl {_CLUSTER}/partitions",
        '{"partitions":[{"partition":0,"epoch":1,"primary":"node-3","voters":["node-3","node-1","node-5"],…},…]}',
    ),
    "where": Example(
        f"curl '{_CLUSTER}/where?key=hello'",
        '{"key":"hello","slot":866,"partition":13,"primary":"node-4","replicas":["node-4","node-2","node-1"]}',
    ),
    "livez": Example("curl {node}/livez", "ok"),
    "readyz": Example("curl '{node}/readyz?verbose'", "ready"),
    "metrics": Example("curl {node}/metrics", "# HELP …\n# TYPE …\n…"),
    "version": Example("curl {node}/version", '{"version":"0.1.0","protocol":1,"name":"node-1"}'),
    "openapi": Example("curl {node}/openapi.json", '{"openapi":"3.1.0",…}'),
    "docs": Example("curl {node}/docs", "<!doctype html>…"),
    "index": Example("curl {node}/", "<!doctype html>…"),
    "moves": Example(f"curl {_CLUSTER}/moves", _MOVES),
    "plan": Example(
        f"curl '{_CLUSTER}/plan?join=node-6'",
        '{"action":"join","node":"node-6","replicas":128,"bytes":74218042,"minimum":128,"members":[…]}',
    ),
    "settings": Example(
        f"curl {_CLUSTER}/settings", '{"settings":{"moves_at_once":8,"move_bytes_per_s":16777216,…}}'
    ),
    "changeSettings": Example(
        f"""curl -X PATCH {_CLUSTER}/settings {_JSON} -d '{{"moves_at_once": 4}}'""",
        '{"settings":{"moves_at_once":4,…},"watch":"/v1/cluster/settings"}',
    ),
    "recover": Example(
        f"""curl -X POST {_CLUSTER}/recover {_JSON} -d '{{"partitions": [7], "accept_loss": true}}'""",
        '{"partitions":[{"partition":7,"gone":["node-2","node-3"],"left":["node-1"]}]}',
    ),
    "copy": Example(f"curl {_CLUSTER}/copy", '{"name":"node-1","id":"2c41…","map_version":12,"map":"AXja…"}'),
    "pauseMoves": _hold("pause", "paused"),
    "resumeMoves": _hold("resume", "running"),
    "cancelMoves": _hold("cancel", "cancelled"),
    "drain": _order("drain", "draining"),
    "undrain": _order("undrain", "active"),
    "decommission": _order("decommission", "leaving"),
    "weight": _order("weight", "active", '{"weight": 2}', weight=2),
    "forget": _order("forget", "dead"),
}  # fmt: skip
