"""Describes what keeps the cluster from being healthy: sentences for people, fields for programs."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from ringkeep.core.cluster.slots import ranges
from ringkeep.core.control.controller import Controller
from ringkeep.core.protocol.cluster_map import ClusterMap
from ringkeep.core.protocol.types import NodeId
from ringkeep.status.cluster_health import Reason, ReasonKind

_RUNS: Final = 8  # of partition numbers in one sentence

_OF_ONE_NODE: Final = {
    ReasonKind.STOPPING: "is being stopped",
    ReasonKind.DISK_SILENT: (
        "has a disk that does not answer: it leads nothing and accepts nothing until it does"
    ),
    ReasonKind.DISK_SPENT: (
        "has so little free disk that it accepts nothing: make room, or move replicas away"
    ),
    ReasonKind.DISK_FULL: "has less free disk than its reserve: others lead, where they can; make room there",
    ReasonKind.DISK_SLOW: "has a disk that does not keep up with the writes: others lead, where they can",
}


def coordination_of(alone: bool) -> str:
    """Return what a node is coordinated by, as the subject of a sentence."""
    return "the embedded coordination" if alone else "ZooKeeper"


class Sentences:
    """Describes reasons with the names of this cluster.

    `without_zookeeper` says why this node cannot use it, `causes` why there is no link to a peer. `alone`: it
    is a cluster of one node, without ZooKeeper.
    """

    def __init__(
        self, name_of: Callable[[str], str], cluster_map: ClusterMap | None, controller: Controller,
        without_zookeeper: str, causes: Mapping[NodeId, str], alone: bool = False,
    ) -> None:  # fmt: skip
        self._name_of = name_of
        self._cluster_map = cluster_map
        self._may_change = controller.may_change and not without_zookeeper
        self._causes = causes
        self._coordination = coordination_of(alone)
        self._sentences: dict[ReasonKind, Callable[[Reason], str]] = {
            ReasonKind.FORMING: lambda _: "the cluster is not formed yet: no data is served",
            ReasonKind.STALLED: lambda r: (
                f"{self._names(r)}, the asked node, takes no writes; this is {r.count / 1_000:.1f} s old"
            ),
            ReasonKind.NO_MAJORITY: self._no_majority,
            ReasonKind.NO_PRIMARY: self._no_primary,
            ReasonKind.COPIES: lambda r: (
                f"{_partitions(r, 'has', 'have')} {r.have} of {r.want} copies in sync"
            ),
            ReasonKind.UNCOUNTED: lambda r: (
                f"{_partitions(r, 'was', 'were')} just taken over: the copies are not counted yet"
            ),
            ReasonKind.TOO_FEW_NODES: _too_few_nodes,
            ReasonKind.MOVES: self._moves,
            ReasonKind.SILENT: self._silent,
            ReasonKind.BEHIND: self._behind,
            ReasonKind.ZOOKEEPER: lambda _: (
                f"{without_zookeeper}. Data is served; changes wait, and a failed primary is not replaced"
            ),
            ReasonKind.REGISTER: lambda _: controller.frozen,
            ReasonKind.CONTROLLER: lambda _: (
                "no node acts as the controller: a primary that fails is not replaced"
            ),
            ReasonKind.HELD: lambda _: "moves are held; to resume them: ringkeep moves resume",
            ReasonKind.DRAINED: lambda r: (
                f"drained, and leading nothing (ringkeep undrain): {self._names(r)}"
            ),
            ReasonKind.ONE_COPY: lambda _: (
                "one node, which tolerates no failure: nothing can be read or written while it is down, and"
                " what its disk loses is lost"
                if alone
                else "replication is 1: the keys of a node cannot be read or written while it is down"
            ),
            ReasonKind.DAMAGED: lambda r: (
                f"{self._names(r)} has lost data and does not vote: "
                + ("restore its directory from a backup" if alone else "it is being refilled from the others")
            ),
            ReasonKind.UNREGISTERED: lambda r: (
                f"{self._names(r)} has no session with {self._coordination}: it cannot be the controller"
            ),
        }

    def say(self, reason: Reason) -> str:
        """Return one sentence, without a full stop."""
        if reason.kind in _OF_ONE_NODE:
            return f"{self._names(reason)} {_OF_ONE_NODE[reason.kind]}"
        return self._sentences[reason.kind](reason)

    def fields(self, reason: Reason) -> dict[str, Any]:
        """Return the same for programs; what a kind does not use is null."""
        return {
            "kind": reason.kind.value,
            "health": reason.health.value,
            "text": self.say(reason),
            "nodes": self._sorted(reason),
            "partitions": list(reason.partitions),
            "count": reason.count or None,
            "have": reason.have if reason.want else None,
            "want": reason.want or None,
        }

    def _names(self, reason: Reason) -> str:
        return ", ".join(self._sorted(reason))

    def _sorted(self, reason: Reason) -> list[str]:
        return sorted(map(self._name_of, reason.nodes))

    def _no_majority(self, reason: Reason) -> str:
        back = "no node that could come back holds the others"
        if reason.nodes:
            few = f"{reason.count} of " if reason.count < len(reason.nodes) else ""
            back = f"bring back {few}{self._names(reason)}"
        return (
            f"{_partitions(reason)} unavailable, without a majority of the copies: {back} (if they are lost"
            " for good: ringkeep recover partition all --accept-loss --lost NAME …)"
        )

    def _no_primary(self, reason: Reason) -> str:
        text = f"{_partitions(reason)} unavailable, without an active primary"
        if reason.nodes:
            text += f"; no answer from {self._names(reason)}, which led"
        return text if self._may_change else f"{text}; {self._coordination} is needed to choose another"

    def _moves(self, reason: Reason) -> str:
        to = f", to {self._names(reason)}" if reason.nodes else ""
        left = "1 move is" if reason.count == 1 else f"{reason.count} moves are"
        return f"{left} left{to} (ringkeep moves)"

    def _silent(self, reason: Reason) -> str:
        parts = self._cluster_map.partitions if self._cluster_map is not None else ()
        held = sum(reason.nodes[0] in part.replicas for part in parts)
        cause = self._causes.get(reason.nodes[0])
        because = f" ({cause})" if cause else ""
        return f"{self._names(reason)} does not answer{because}; it holds {held} replicas"

    def _behind(self, reason: Reason) -> str:
        if not reason.count:
            return f"{self._names(reason)} has started, and is not ready yet"
        return f"{self._names(reason)} is catching up: {reason.count} of its replicas are not in sync"


def _too_few_nodes(reason: Reason) -> str:
    lack = reason.want - reason.have
    nodes = "1 node" if reason.have == 1 else f"{reason.have} nodes"
    return f"{nodes} for {reason.want} copies of each key: add {lack} {'node' if lack == 1 else 'nodes'}"


def _partitions(reason: Reason, one: str = "is", many: str = "are") -> str:
    """Return how many partitions, which, and the verb that agrees with them."""
    count = len(reason.partitions)
    noun, verb = ("partition", one) if count == 1 else ("partitions", many)
    return f"{count} {noun} ({_shown(reason.partitions)}) {verb}"


def _shown(partitions: Sequence[int]) -> str:
    runs = ranges(partitions)
    return ", ".join(runs[:_RUNS]) + (", …" if len(runs) > _RUNS else "")
