"""Small parts for unit tests of the core: ids, members, maps, a context whose neighbours only take notes."""

from typing import Any

from ringkeep.core.clustermap import ClusterMap, Member, NodeInfo, Partition
from ringkeep.core.context import Context
from ringkeep.core.messages import Forward, Heartbeat, Message
from ringkeep.core.types import Epoch, Incarnation, MapVersion, NodeId
from ringkeep.storage.memory import MemoryEngine

A, B, C, D, E = (NodeId(f"{number:032x}") for number in range(1, 6))
NAMES = {A: "a", B: "b", C: "c", D: "d", E: "e"}


class Notes:
    """Stands for the other parts of the node; keeps what it was told."""

    def __init__(self) -> None:
        self.forwards: list[Forward] = []
        self.told: list[tuple[str, tuple[Any, ...]]] = []

    def on_forward(self, caller: object, message: Forward) -> None:
        self.forwards.append(message)

    def __getattr__(self, name: str) -> Any:
        return lambda *arguments: self.told.append((name, arguments))


def a_context(me: NodeId = A, incarnation: int = 1) -> Context:
    context = Context(me, Incarnation(incarnation), MemoryEngine())
    context.parts = Notes()  # type: ignore[assignment]  # takes notes of every call
    return context


def sent(context: Context, kind: type[Message]) -> list[Any]:
    """End the turn; return the messages of one kind that left with it."""
    effects, _ = context.end()
    return [message for queue in effects.sends.values() for message in queue if isinstance(message, kind)]


def a_member(node: NodeId, **changes: Any) -> Member:
    name = NAMES[node]
    fields: dict[str, Any] = {
        "name": name, "http": f"{name}:1", "peer": f"{name}:2", "zone": name, "weight": 1, "expect": 3,
        "replication": 3, "partitions": 1, "incarnation": Incarnation(1), "map_version": MapVersion(0),
        "sequence": list(NAMES).index(node),
    }  # fmt: skip
    return Member(node, **(fields | changes))


def a_part(primary: NodeId = A, voters: tuple[NodeId, ...] = (A, B, C), **changes: Any) -> Partition:
    fields: dict[str, Any] = {"epoch": Epoch(3), "incarnation": Incarnation(1), "config": MapVersion(1)}
    return Partition(primary=primary, voters=voters, **(fields | changes))


def a_map(*parts: Partition, nodes: tuple[NodeId, ...] = (A, B, C), version: int = 7) -> ClusterMap:
    infos = tuple(
        NodeInfo(node, NAMES[node], f"{NAMES[node]}:1", f"{NAMES[node]}:2", NAMES[node], 1, Incarnation(1))
        for node in nodes
    )
    return ClusterMap(MapVersion(version), "test", "1" * 32, 3, infos, parts or (a_part(),))


def a_beat(**changes: Any) -> Heartbeat:
    fields: dict[str, Any] = {
        "map_version": MapVersion(7), "map_digest": 0, "link": 1, "probe": 1, "echo": 0, "suspects": [],
        "ready": True,
    }  # fmt: skip
    return Heartbeat(**(fields | changes))
