"""How large partitions are and how their moves go, as their primaries tell it: for people, and for plans.

Every node keeps it, so that any may be asked; a node that starts knows of no move that ended before.
"""

from collections import deque
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from itertools import zip_longest
from typing import Final

from ringkeep.core.protocol import limits
from ringkeep.core.protocol.cluster_map import ClusterMap, Partition
from ringkeep.core.protocol.messages import Sizes
from ringkeep.core.protocol.types import Millis, NodeId, PartitionId

FINISHED_KEPT: Final = 1_024
RATE_MS: Final = 10_000  # over how long the rate is taken


@dataclass(slots=True)
class Move:
    """One change of a partition's replicas. `gone`, `newcomer`: None where nobody leaves, or comes.

    `bytes`: what the newcomer was sent so far; what was sent again counts once. `ended`, `done`: for those
    that are over.
    """

    partition: PartitionId
    gone: NodeId | None
    newcomer: NodeId | None
    since: Millis
    bytes: int = 0
    ended: Millis = 0
    done: bool = False


class MoveHistory:
    """What one node knows of sizes and moves. It is the core's `Listener`; times are those of its turns."""

    def __init__(self) -> None:
        self._map: ClusterMap | None = None
        self.to_send: dict[PartitionId, int] = {}  # bytes that a newcomer must be sent, as it was told last
        self.running: dict[PartitionId, Move] = {}
        self.finished: deque[Move] = deque(maxlen=FINISHED_KEPT)
        self.sent_bytes = 0
        self._samples: deque[tuple[Millis, int]] = deque()  # of `sent_bytes`

    def on_map(self, cluster_map: ClusterMap, now: Millis) -> None:
        """Note which moves a newer map has begun, and which are over."""
        before, self._map = self._map, cluster_map
        for number, part in enumerate(cluster_map.partitions):
            was = before.partitions[number] if before is not None else part
            if part is not was or before is None:
                self._follow(PartitionId(number), was, part, now)

    def _follow(self, number: PartitionId, was: Partition, part: Partition, now: Millis) -> None:
        running, change = self.running.get(number), _change(part)
        voters = [*_settled(was)]
        if running is not None:
            if change == (running.gone, running.newcomer):
                return
            del self.running[number]
            self._end(running, part, now)
            if running.done:
                voters = [node for node in (*voters, running.newcomer) if node not in (None, running.gone)]
        for gone, newcomer in _missed(voters, _settled(part)):
            self._end(Move(number, gone, newcomer, now), part, now)
        if change is not None:
            self.running[number] = Move(number, *change, now)

    def _end(self, move: Move, part: Partition, now: Millis) -> None:
        arrived = move.newcomer is None or move.newcomer in part.voters
        move.done = arrived and move.gone not in part.voters
        move.ended = now
        self.finished.append(move)

    def on_sizes(self, message: Sizes, now: Millis) -> None:
        """Take a primary's word."""
        sizes, sent = message.sizes, message.sent
        for at in range(0, len(sizes) - 1, 2):
            self.to_send[PartitionId(sizes[at])] = sizes[at + 1]
        for at in range(0, len(sent) - 1, 2):
            move = self.running.get(PartitionId(sent[at]))
            if move is not None and sent[at + 1] > move.bytes:
                self.sent_bytes += sent[at + 1] - move.bytes
                move.bytes = sent[at + 1]
        if not self._samples or now - self._samples[-1][0] >= limits.SIZES_MS:
            self._samples.append((now, self.sent_bytes))

    def rate(self, now: Millis) -> float:
        """Return the bytes a second that newcomers were sent lately, over the whole cluster."""
        while self._samples and now - self._samples[0][0] > RATE_MS:
            self._samples.popleft()
        if len(self._samples) < 2:  # a rate is taken between two
            return 0.0
        (begin, before), (end, after) = self._samples[0], self._samples[-1]
        return 1000 * (after - before) / (end - begin)


def _change(part: Partition) -> tuple[NodeId | None, NodeId | None] | None:
    """Return who goes and who comes by the change under way, or None."""
    if part.learner is not None:
        return part.replaces, part.learner
    if not part.old_voters:
        return None
    coming = [node for node in part.voters if node not in part.old_voters]
    going = [node for node in part.old_voters if node not in part.voters]
    return next(iter(going), None), next(iter(coming), None)


def _settled(part: Partition) -> tuple[NodeId, ...]:
    """Return the voters, as they were before the change that is under way."""
    return part.old_voters or part.voters


def _missed(
    was: Collection[NodeId | None], voters: Collection[NodeId]
) -> Iterable[tuple[NodeId | None, NodeId | None]]:
    """Return who went and who came by changes that maps not seen here began and ended."""
    going = [node for node in was if node not in voters]
    coming = [node for node in voters if node not in was]
    return zip_longest(going, coming)
