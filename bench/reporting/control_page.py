"""The part of docs/growth.md that is about the control plane, and its chart. Pure."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

from reporting import growth_charts
from reporting.figures import grid, shown

TEXT: Final = """\
One real controller, with the failure detector, the planner and the encoder of the product; the other nodes
are simulated: their heartbeats come at the times at which they would. Every node is in a zone of its own,
with 3 replicas. The map is as after many failovers and moves, so that it compresses less well than a new
one. Processor times are measured, times in which nothing is heard are simulated. Figures are medians over
{rounds}.

- **A join**: the processor time of the turn in which the controller plans the map with one more node. All
  later maps that move its partitions one by one are not in it. **As many**: as many nodes as there are, at
  once.
- **The map**: its bytes in ZooKeeper, compressed; and how long encoding and decoding it take, which every
  node does with each map.
- **From a death to the written map**: until the controller hands over the map in which the dead node is
  replaced as primary: noticing, planning, encoding. **Refused**: the machine lives and refuses connections,
  as after `kill -9`. All other nodes notice at once here; on real links it takes as long as the refusal.
  **Silent**: nothing is heard any more, as after a cut or a power failure, and the node is suspected after
  {suspect} ms. "Controller": it is the controller itself that dies, and the next one takes over.
- **Not included**: the write of the map to ZooKeeper itself, and its way to the other nodes. That costs
  what a write of so many bytes costs there.
"""
SUSPECT_MS: Final = 1_000  # limits.SUSPECT_AFTER_MS, which tests compare

WAYS: Final = {
    "node_refused": "refused",
    "node_silent": "silent",
    "controller_refused": "controller refused",
    "controller_silent": "controller silent",
}


def section(part: Mapping[str, Any]) -> str:
    rows = part["rows"]
    rounds = f"{part['run']['rounds']} rounds" if part["run"]["rounds"] > 1 else "1 round"
    text = TEXT.format(rounds=rounds, suspect=f"{SUSPECT_MS:,}")
    text += "\nPlanning, in ms of processor time, and the map:\n\n"
    head = ["nodes, partitions", "plan a join", "plan as many", "bytes of the map", "new", "encode", "decode"]
    what = ("join_planned_ms", "joins_planned_ms", "bytes", "new_bytes", "encode_ms", "decode_ms")
    digits = (None, None, 0, 0, None, None)
    text += grid(
        head, [[_size(row), *(shown(row[w], d) for w, d in zip(what, digits, strict=True))] for row in rows]
    )
    text += "\n\nFrom a death to the written map in ms (in parentheses: the processor time in it):\n\n"
    cells = [
        [
            _size(row),
            *(
                f"{shown(row[f'{way}_total_ms'], 0)} "
                f"({shown(row[f'{way}_planned_ms'] + row[f'{way}_encoded_ms'])})"
                for way in WAYS
            ),
        ]
        for row in rows
    ]
    return text + grid(["nodes, partitions", *WAYS.values()], cells) + "\n"


def chart(rows: Sequence[Mapping[str, Any]]) -> str:
    """Draw a line for each number of nodes, along the partitions."""

    def lines(what: str) -> dict[str, list[tuple[float, float]]]:
        found: dict[str, list[tuple[float, float]]] = {}
        for row in rows:
            found.setdefault(f"{row['nodes']} nodes", []).append((row["partitions"], row[what]))
        return found

    panels = {
        "planning a join, ms of processor time": lines("join_planned_ms"),
        "bytes of the map": lines("bytes"),
        "from a refused connection to the written map, ms": lines("node_refused_total_ms"),
    }
    ticks = {float(row["partitions"]): f"{row['partitions']:,}" for row in rows}
    return growth_charts.along("The control plane; medians of the rounds", "partitions", ticks, panels)


def _size(row: Mapping[str, Any]) -> str:
    return f"{row['nodes']}, {row['partitions']:,}"
