"""Collects which copies the nodes hold of partitions that have no majority, as each node reports them.

While a node sees such partitions it reports its copies of them to every node, whatever its role is or was,
and keeps the others' reports. `quorum_loss.py` needs all of them: the best copy may be a learner's, or one
that the map no longer names. Only durable state is reported, so that a crash cannot make a report wrong.
"""

from collections.abc import Mapping
from functools import partial
from typing import NamedTuple

from ringkeep.core.cluster.observations import Copy, Reachability
from ringkeep.core.context import Context
from ringkeep.core.protocol import limits, quorum
from ringkeep.core.protocol import messages as m
from ringkeep.core.protocol.cluster_map import ClusterMap
from ringkeep.core.protocol.types import Epoch, Index, Millis, NodeId, PartitionId
from ringkeep.core.replication.replica import Replica


class _Word(NamedTuple):
    """One node's report, and when it came. `held` has every partition that the node looked at."""

    held: Mapping[int, Copy]
    at: Millis


class CopySurvey:
    """One node's reports about its copies, and the reports of the others."""

    def __init__(self, context: Context, replicas: Mapping[PartitionId, Replica]) -> None:
        self._context = context
        self._replicas = replicas
        self._said: dict[NodeId, _Word] = {}
        self._tell_at: Millis = 0
        self._waits = False  # for a report to be durable: while a disk hangs, no second one is queued

    def copy(self, node: NodeId, number: int) -> Copy | None:
        """Return what a node holds of a partition, by its own report; None without a recent one."""
        word = self._said.get(node)
        if word is None or self._context.now - word.at > limits.STATEMENT_MS:
            return None
        return word.held.get(number)

    def on_copies(self, peer: NodeId, message: m.Copies) -> None:
        """Keep a node's report."""
        held: dict[int, Copy] = {number: Copy() for number in message.looked}
        for number, promised, last_epoch, last_index in message.held:
            held[number] = Copy(promised, last_epoch, last_index)
        self._said[peer] = _Word(held, self._context.now)

    def on_peer_down(self, peer: NodeId) -> None:
        """Drop the report of a process that ended: it may not be true of the next one."""
        self._said.pop(peer, None)

    def on_tick(self, reachability: Reachability) -> None:
        """Report this node's copies of partitions without a majority, if there are any."""
        context, cluster_map = self._context, self._context.cluster_map
        if cluster_map is None or self._waits or context.now < self._tell_at:
            return
        self._tell_at = context.now + limits.COPIES_MS
        looked = _without_majority(cluster_map, reachability)
        if looked:
            held = [
                (number, *_copy_of(self._replicas[number])) for number in looked if number in self._replicas
            ]
            self._waits = True
            context.durable.calls.append(partial(self._tell, m.Copies(looked, held)))

    def _tell(self, message: m.Copies) -> None:
        """Send the report: its contents are durable now."""
        self._waits = False
        for peer in self._context.links:
            self._context.send(peer, message)
        self.on_copies(self._context.me, message)


def _copy_of(replica: Replica) -> tuple[Epoch, Epoch, Index]:
    return replica.promised.epoch, replica.log.last_epoch, replica.log.last_index


def _without_majority(cluster_map: ClusterMap, reachability: Reachability) -> list[PartitionId]:
    voting = {node.id for node in cluster_map.nodes if reachability.votes(node.id)}
    if len(voting) == len(cluster_map.nodes):
        return []
    return [
        PartitionId(number)
        for number, part in enumerate(cluster_map.partitions)
        if not quorum.won(part.voters, part.old_voters, voting)
    ]
