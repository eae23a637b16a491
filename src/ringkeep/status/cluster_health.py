"""The cluster's health as one of its nodes knows it: what one more failure would do, and what is missing.

Healthy: every partition has its full number of copies in sync, and its primary could be replaced at once.
Degraded: reads and writes go on, but one more failure may end that. Unavailable: some partition is not
served.
Every finding is a `Reason`; a new kind of trouble is one more of them. Knows no names and no sentences.
"""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

from ringkeep.core.cluster import cluster_settings, quorum_loss
from ringkeep.core.cluster.observations import Reachability
from ringkeep.core.cluster.replica_changes import Voters, intended, targets
from ringkeep.core.context import Context
from ringkeep.core.control.controller import Controller
from ringkeep.core.control.partition_reports import PartitionReports, members
from ringkeep.core.disk_state import DiskState
from ringkeep.core.liveness.failure_detector import Detector
from ringkeep.core.protocol import limits, quorum
from ringkeep.core.protocol.cluster_map import ClusterMap, NodeInfo, NodeState, Partition
from ringkeep.core.protocol.types import Millis, NodeId


class Health(StrEnum):
    """From good to bad."""

    HEALTHY = "healthy"
    DEGRADED = "degraded"
    UNAVAILABLE = "unavailable"


class ReasonKind(StrEnum):
    """What a reason is about; in the order in which they are told."""

    FORMING = "forming"
    STALLED = "stalled"  # the node that was asked has done nothing for `count` ms: what follows is as old
    NO_MAJORITY = (
        "no-majority"  # `nodes`: those silent or damaged that it waits for; `count`: how many it needs
    )
    NO_PRIMARY = "no-primary"  # `nodes`: the primaries that do not answer
    COPIES = "copies"  # `have` of `want` copies; `count`: copies missing in all
    UNCOUNTED = "uncounted"  # the primary has just begun, and nobody knows yet
    TOO_FEW_NODES = "too-few-nodes"  # `have` of `want`
    MOVES = "moves"  # `count` moves are left; `nodes`: whom they bring something
    SILENT = "silent"
    DAMAGED = "damaged"
    BEHIND = "behind"  # `count`: in so many partitions it is not in sync; 0: it has just started
    STOPPING = "stopping"
    UNREGISTERED = "unregistered"
    DISK_SILENT = "disk-silent"
    DISK_SPENT = "disk-spent"
    DISK_FULL = "disk-full"
    DISK_SLOW = "disk-slow"
    ZOOKEEPER = "zookeeper"  # of no use to this node
    REGISTER = "register"  # ZooKeeper does not hold the map that the cluster goes by
    CONTROLLER = "controller"
    HELD = "moves-held"
    DRAINED = "drained"
    ONE_COPY = "one-copy"


_DISKS = {
    DiskState.SLOW: ReasonKind.DISK_SLOW,
    DiskState.SHORT: ReasonKind.DISK_FULL,
    DiskState.SPENT: ReasonKind.DISK_SPENT,
    DiskState.SILENT: ReasonKind.DISK_SILENT,
}
_NOTES = frozenset(
    {ReasonKind.HELD, ReasonKind.DRAINED, ReasonKind.ONE_COPY}
)  # as somebody wants it: told, and no trouble
_OUTAGES = frozenset({ReasonKind.FORMING, ReasonKind.NO_MAJORITY, ReasonKind.NO_PRIMARY})


@dataclass(frozen=True, slots=True)
class Reason:
    """One thing that is not as it should be. What the numbers mean is said with each `Kind`."""

    kind: ReasonKind
    nodes: tuple[NodeId, ...] = ()
    partitions: tuple[int, ...] = ()
    count: int = 0
    have: int = 0
    want: int = 0

    @property
    def health(self) -> Health:
        """The best that the cluster can be with this."""
        if self.kind in _NOTES:
            return Health.HEALTHY
        return Health.UNAVAILABLE if self.kind in _OUTAGES else Health.DEGRADED


def health_of(reasons: list[Reason]) -> Health:
    """Return what the cluster is, with all of these."""
    found = {reason.health for reason in reasons}
    return next((worst for worst in (Health.UNAVAILABLE, Health.DEGRADED) if worst in found), Health.HEALTHY)


class Witness(Protocol):
    """A node, as far as its knowledge of the cluster is asked for."""

    context: Context
    detector: Detector
    reports: PartitionReports
    controller: Controller

    @property
    def ready(self) -> bool:
        """Whether it wants requests."""


class Judge:
    """Judges the cluster from what one node knows. Cost: linear in partitions; a plan's, once per map."""

    def __init__(self, node: Witness) -> None:
        self._node = node
        self._planned: tuple[ClusterMap, frozenset[NodeId], Reason | None] | None = None

    def reasons(self, zookeeper: bool, now: Millis) -> list[Reason]:
        """Return what keeps the cluster from being healthy, the worst first, and notes.

        `zookeeper`: whether it is of use to this node. `now`: by this node's clock.
        """
        cluster_map = self._node.context.cluster_map
        if cluster_map is None:
            return [Reason(ReasonKind.FORMING)]
        return [
            *self._stalled(now),
            *self._partitions(cluster_map),
            *self._moves(cluster_map),
            *self._nodes(cluster_map),
            *self._coordination(zookeeper),
            *self._notes(cluster_map),
        ]

    def _stalled(self, now: Millis) -> Iterator[Reason]:
        """Nothing is heard of while the store takes no writes: what is known here is out of date."""
        context = self._node.context
        late = now - context.now
        if late > limits.SUSPECT_AFTER_MS:
            yield Reason(ReasonKind.STALLED, (context.me,), count=late)

    def lost(self, cluster_map: ClusterMap) -> list[int]:
        """Return the partitions that nobody serves, and of which no majority of the voters answers here."""
        idle = members(self._node.reports.unserved(cluster_map))
        votes = _Votes(self._node.controller.reachability)
        return [n for n in idle if any(votes.needed(voters) for voters in _sets(cluster_map.partitions[n]))]

    def _partitions(self, cluster_map: ClusterMap) -> Iterator[Reason]:
        """Judge by what primaries say; by who answers where none does."""
        reports, reachability = self._node.reports, self._node.controller.reachability
        votes = _Votes(reachability)
        lost = self.lost(cluster_map)
        if lost:
            yield _no_majority(cluster_map, lost, votes)
        down = set(lost)
        idle = [number for number in members(reports.idle) if number not in down]
        if idle:
            leaders = {cluster_map.partitions[number].primary for number in idle}
            silent = tuple(node for node in sorted(leaders) if not reachability.answers(node))
            yield Reason(ReasonKind.NO_PRIMARY, silent, tuple(idle))
        down.update(idle)
        short: dict[tuple[int, int], list[int]] = {}
        uncounted = []
        for number, part in enumerate(cluster_map.partitions):
            bit = 1 << number
            if number in down:
                continue
            if not reports.counted & bit:
                uncounted.append(number)
                continue
            missing = reports.missing(number) if reports.lacking & bit else 0
            if reports.stale & bit:  # an older word, while the primaryship changes hands: who left since?
                missing = max(missing, *(len(voters) - votes.of(voters) for voters in _sets(part)))
            voters = len(part.voters)
            if missing or voters < cluster_map.replication:
                copies = max(0, voters - missing), max(voters, cluster_map.replication)
                short.setdefault(copies, []).append(number)
        for (have, want), numbers in sorted(short.items()):
            yield Reason(ReasonKind.COPIES, (), tuple(numbers), (want - have) * len(numbers), have, want)
        if uncounted:
            yield Reason(ReasonKind.UNCOUNTED, (), tuple(uncounted))

    def _moves(self, cluster_map: ClusterMap) -> Iterator[Reason]:
        """Find what is to be moved, under way or not. Remembered: a plan may take long."""
        damaged = self._node.controller.reachability.damaged
        gone = frozenset(node.id for node in cluster_map.nodes if damaged(node.id))
        if self._planned is None or self._planned[:2] != (cluster_map, gone):
            self._planned = cluster_map, gone, _moves_left(cluster_map, gone)
        if self._planned[2] is not None:
            yield self._planned[2]

    def _nodes(self, cluster_map: ClusterMap) -> Iterator[Reason]:
        there = [node for node in cluster_map.nodes if node.state != NodeState.DEAD]
        room = sum(node.state != NodeState.LEAVING for node in there)
        if room < cluster_map.replication:
            yield Reason(ReasonKind.TOO_FEW_NODES, have=room, want=cluster_map.replication)
        behind: Counter[NodeId] = Counter()
        for node in there:
            for other, count in self._node.reports.behind_of(node.id):
                behind[other] += count
        for node in there:
            yield from self._node_reasons(node, behind[node.id])

    def _node_reasons(self, node: NodeInfo, behind: int) -> Iterator[Reason]:
        core, controller = self._node, self._node.controller
        one = (node.id,)
        mine = node.id == core.context.me
        beat = core.detector.beat_of(node.id)
        if not mine and beat is None:
            yield Reason(ReasonKind.SILENT, one)
            return
        ready = core.ready if mine else beat is not None and beat.ready
        stopping = core.context.draining if mine else beat is not None and beat.draining
        if controller.reachability.damaged(node.id):
            yield Reason(ReasonKind.DAMAGED, one)
        elif behind or not ready:
            yield Reason(ReasonKind.BEHIND, one, count=behind)
        if stopping:
            yield Reason(ReasonKind.STOPPING, one)
        if controller.connected and all(member.id != node.id for member in controller.members):
            yield Reason(ReasonKind.UNREGISTERED, one)
        disk = _DISKS.get(core.context.disks.state_of(node.id))
        if disk is not None or controller.is_full(node.id):
            yield Reason(disk or ReasonKind.DISK_FULL, one)

    def _coordination(self, zookeeper: bool) -> Iterator[Reason]:
        controller = self._node.controller
        if not zookeeper:
            yield Reason(ReasonKind.ZOOKEEPER)
        elif controller.acting() is None:
            yield Reason(ReasonKind.CONTROLLER)
        if controller.frozen:
            yield Reason(ReasonKind.REGISTER)

    def _notes(self, cluster_map: ClusterMap) -> Iterator[Reason]:
        if cluster_settings.setting(cluster_map, cluster_settings.MOVES):
            yield Reason(ReasonKind.HELD)
        drained = tuple(node.id for node in cluster_map.nodes if node.state == NodeState.DRAINING)
        if drained:
            yield Reason(ReasonKind.DRAINED, drained)
        if cluster_map.replication == 1:
            yield Reason(ReasonKind.ONE_COPY)


class _Votes:
    """Who answers and may be counted on, asked once per node."""

    def __init__(self, reachability: Reachability) -> None:
        self._hearing = reachability
        self._votes: dict[NodeId, bool] = {}

    def has(self, node: NodeId) -> bool:
        """Tell whether a node votes."""
        if node not in self._votes:
            self._votes[node] = self._hearing.votes(node)
        return self._votes[node]

    def of(self, voters: Voters) -> int:
        """Return how many of these vote."""
        return sum(map(self.has, voters))

    def needed(self, voters: Voters) -> int:
        """Return how many votes more would make a majority."""
        return max(0, quorum.majority(len(voters)) - self.of(voters)) if voters else 0


def _sets(part: Partition) -> tuple[Voters, Voters]:
    return part.voters, part.old_voters


def _no_majority(cluster_map: ClusterMap, lost: list[int], votes: _Votes) -> Reason:
    """Say which nodes would bring these partitions back. The dead never will."""
    there = {node.id for node in cluster_map.nodes if node.state != NodeState.DEAD}
    parts = [cluster_map.partitions[number] for number in lost]
    nodes = {node for part in parts for node in quorum_loss.voters_of(part) if not votes.has(node)}
    needed = max(votes.needed(voters) for part in parts for voters in _sets(part))
    return Reason(ReasonKind.NO_MAJORITY, tuple(sorted(nodes & there)), tuple(lost), needed)


def _moves_left(cluster_map: ClusterMap, damaged: frozenset[NodeId]) -> Reason | None:
    """Return the moves that the map still owes, None if everything is where it should be."""
    numbers, count = [], 0
    newcomers: dict[NodeId, None] = {}
    for number, (part, target) in enumerate(
        zip(cluster_map.partitions, targets(cluster_map, damaged.__contains__), strict=True)
    ):
        will_be = intended(part, cluster_map.replication)
        planned = max(len(set(target) - set(will_be)), len(set(will_be) - set(target)))
        running = part.learner is not None or bool(part.old_voters)
        if planned or running:
            numbers.append(number)
            count += planned + running
            now = part.old_voters or part.voters
            newcomers.update(dict.fromkeys(node for node in (*will_be, *target) if node not in now))
    return Reason(ReasonKind.MOVES, tuple(newcomers), tuple(numbers), count) if count else None
