"""Collects which copies the nodes hold of partitions that have no majority, as each node reports them.

While a node sees such partitions it tells everybody what it holds of them, whatever its part in them is or
was, and keeps what the others tell. `quorum_loss.py` needs all of it: the best copy may be a learner's, or
one that the map has given up. Only what is durable is told: it is still there after a crash.
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
    """What one node told, and when. `held` has every partition that it looked at."""

    held: Mapping[int, Copy]
    at: Millis


class CopySurvey:
    """One node's word about its copies, and what it was told of the others'."""

    def __init__(self, context: Context, replicas: Mapping[PartitionId, Replica]) -> None:
        self._context = context
        self._replicas = replicas
        self._said: dict[NodeId, _Word] = {}
        self._tell_at: Millis = 0
        self._waits = False  # for a word to be durable: while a disk hangs no second one is put behind it

    def copy(self, node: NodeId, number: int) -> Copy | None:
        """Return what a node holds of a partition, by its own word; None if it has not said so lately."""
        word = self._said.get(node)
        if word is None or self._context.now - word.at > limits.STATEMENT_MS:
            return None
        return word.held.get(number)

    def on_copies(self, peer: NodeId, message: m.Copies) -> None:
        """Keep what a node tells."""
        held: dict[int, Copy] = {number: Copy() for number in message.looked}
        for number, promised, last_epoch, last_index in message.held:
            held[number] = Copy(promised, last_epoch, last_index)
        self._said[peer] = _Word(held, self._context.now)

    def on_peer_down(self, peer: NodeId) -> None:
        """What a process told may not be true of the next one."""
        self._said.pop(peer, None)

    def on_tick(self, reachability: Reachability) -> None:
        """Tell what is held here of partitions without a majority, if there are any."""
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
        """Say it: all of it is durable now."""
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
