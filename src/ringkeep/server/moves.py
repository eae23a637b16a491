"""The document `/v1/cluster/moves`: planned, running and finished moves; bytes, rate, time left."""

from collections.abc import Callable
from itertools import zip_longest
from typing import Any, Final

from ringkeep.core.cluster import cluster_settings
from ringkeep.core.cluster.replica_changes import intended, targets, under_way
from ringkeep.core.node import Node
from ringkeep.core.protocol.cluster_map import ClusterMap, Partition
from ringkeep.core.protocol.types import NodeId, PartitionId
from ringkeep.status.move_history import Move, MoveHistory

_STATES: Final = ("running", "paused", "cancelled")

Name = Callable[[str], str]


def moves(node: Node, history: MoveHistory, name_of: Name) -> dict[str, Any]:
    """Return `GET /v1/cluster/moves`, as this node knows it: no moves from before its start."""
    cluster_map = node.context.cluster_map
    if cluster_map is None:
        return _document("running", {}, [], [], [], 0.0)
    view = _Moves(node, history, cluster_map, name_of)
    bounds = (cluster_settings.MOVES_AT_ONCE, cluster_settings.MOVE_BYTES_PER_S)
    return _document(
        _STATES[cluster_settings.setting(cluster_map, cluster_settings.MOVES)],
        {name: cluster_settings.setting(cluster_map, name) for name in bounds},
        view.planned(),
        [view.running(move) for _, move in sorted(history.running.items())],
        [view.finished(move) for move in reversed(history.finished)],
        history.rate(node.context.now),
    )


def _document(
    state: str, limits: dict[str, int], planned: list[dict[str, Any]], running: list[dict[str, Any]],
    finished: list[dict[str, Any]], rate: float,
) -> dict[str, Any]:  # fmt: skip
    left = sum(move["bytes"] for move in planned)
    left += sum(max(0, move["bytes"] - move["bytes_done"]) for move in running)
    return {
        "state": state,
        "limits": limits,
        "planned": planned,
        "running": running,
        "finished": finished,
        "bytes_left": left,
        "rate": int(rate),
        "seconds_left": _seconds(left, rate) if planned or running else 0.0,
    }


def _seconds(left: int, rate: float) -> float | None:
    return round(left / rate, 1) if rate > 0 else None


class _Moves:
    """One look at the moves."""

    def __init__(self, node: Node, history: MoveHistory, cluster_map: ClusterMap, name_of: Name) -> None:
        self._node = node
        self._history = history
        self._cluster_map = cluster_map
        self._name_of = name_of

    def planned(self) -> list[dict[str, Any]]:
        """Return the moves that are due and have not begun."""
        rows = []
        cluster_map, damaged = self._cluster_map, self._node.controller.reachability.damaged
        full = under_way(cluster_map.partitions) >= cluster_settings.setting(
            cluster_map, cluster_settings.MOVES_AT_ONCE
        )
        others = "other moves to end" if full else None
        for number, (part, target) in enumerate(
            zip(cluster_map.partitions, targets(cluster_map, damaged), strict=True)
        ):
            will_be = intended(part, cluster_map.replication)
            coming = [node for node in target if node not in will_be]
            going = [node for node in will_be if node not in target]
            for newcomer, gone in zip_longest(coming, going):
                rows.append({
                    "partition": number,
                    "from": self._name(gone),
                    "to": self._name(newcomer),
                    "bytes": self._bytes(number) if newcomer is not None else 0,
                    "waits_for": self._waits_for(number, part, gone, newcomer) or others,
                })  # fmt: skip
        return rows

    def _waits_for(
        self, number: int, part: Partition, gone: NodeId | None, newcomer: NodeId | None
    ) -> str | None:
        """Return what a move waits for, before it starts or to make progress; None if for nothing."""
        controller = self._node.controller
        if not part.old_voters and cluster_settings.setting(self._cluster_map, cluster_settings.MOVES):
            return "the resumption of moves: ringkeep moves resume"
        if controller.addressee() is None:
            return "ZooKeeper cannot be reached"
        if newcomer is not None and not controller.reachability.answers(newcomer):
            return f"{self._name(newcomer)} does not answer"
        if newcomer is not None and not part.old_voters and controller.is_full(newcomer):
            return f"{self._name(newcomer)} has less free disk than its reserve"
        if not controller.is_active(number):
            return "the partition has no active primary"
        return f"{self._name(gone)} to hand its primaryship over" if gone == part.primary else None

    def running(self, move: Move) -> dict[str, Any]:
        """Return one move that is under way."""
        part = self._cluster_map.partitions[move.partition]
        elapsed_s = max(1, self._node.context.now - move.since) / 1000
        total = max(self._bytes(move.partition), move.bytes) if move.newcomer is not None else 0
        rate = move.bytes / elapsed_s
        copying = part.learner is not None
        return {
            "partition": move.partition,
            "from": self._name(move.gone),
            "to": self._name(move.newcomer),
            "stage": "copying" if copying else "joint" if move.newcomer is not None else "leaving",
            "bytes": total,
            "bytes_done": move.bytes,
            "rate": int(rate),
            "seconds_left": _seconds(total - move.bytes, rate) if copying else 0.0,
            "waits_for": self._waits_for(move.partition, part, move.gone, move.newcomer),
        }

    def finished(self, move: Move) -> dict[str, Any]:
        """Return one move that is over."""
        return {
            "partition": move.partition,
            "from": self._name(move.gone),
            "to": self._name(move.newcomer),
            "bytes": move.bytes,
            "seconds": round((move.ended - move.since) / 1000, 3),
            "age": round((self._node.context.now - move.ended) / 1000, 3),
            "outcome": "done" if move.done else "undone",
        }

    def _bytes(self, number: int) -> int:
        return self._history.to_send.get(PartitionId(number), 0)

    def _name(self, node: NodeId | None) -> str | None:
        return None if node is None else self._name_of(node)
