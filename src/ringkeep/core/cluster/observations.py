"""What a controller knows beside the map: members, who answers whom, and what primaries report.

Only data and queries; decisions are made elsewhere.
"""

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from ringkeep.core.protocol.cluster_map import Member, Partition
from ringkeep.core.protocol.messages import Order
from ringkeep.core.protocol.types import Epoch, Index, MapVersion, NodeId

Suspicions = Callable[[NodeId], Sequence[NodeId] | None]
"""Whom a node suspects, as it reports itself; None if it does not answer."""


class Copy(NamedTuple):
    """What a node holds durably of a partition: the highest promise, and where its log ends.

    (0, 0) is the end of an empty log: then it holds nothing.
    """

    promised: Epoch = Epoch(0)
    last_epoch: Epoch = Epoch(0)
    last_index: Index = Index(0)


def _unsaid(_: NodeId, __: int) -> Copy | None:
    return None


@dataclass(frozen=True, slots=True)
class Reachability:
    """Who answers, as the nodes report it. `damaged`: whether a node has lost data and does not vote.
    `registered`: the processes that ZooKeeper lists. `copy`: what a node reports that it holds of a partition
    without a majority; None if it has not reported lately."""

    suspicions: Suspicions
    damaged: Callable[[NodeId], bool]
    registered: Collection[NodeId] = ()
    copy: Callable[[NodeId, int], Copy | None] = _unsaid

    def answers(self, node: NodeId) -> bool:
        """Whether a node answers here."""
        return self.suspicions(node) is not None

    def votes(self, node: NodeId) -> bool:
        """Whether a node answers here, and is not damaged."""
        return self.answers(node) and not self.damaged(node)

    def hears(self, reporter: NodeId, node: NodeId) -> bool:
        """Whether one node reports that it hears another."""
        suspected = self.suspicions(reporter) if reporter != node else None
        return suspected is not None and node not in suspected


@dataclass(frozen=True, slots=True)
class Statement:
    """What a primary reported of its partition. It counts only for the (epoch, config) that the map still
    has.

    `what`: `messages.Said`. `node`: the node to hand it over to, or the learner that has nearly caught up;
    `rows.NO_NODE` otherwise.
    """

    partition: int
    epoch: Epoch
    config: MapVersion
    what: int
    node: NodeId


def _never(_: object) -> bool:
    return False


@dataclass(frozen=True, slots=True)
class Observations:
    """What a controller knows beside the map.

    `members`: the live processes, one per node id. `unfit`: damaged, draining, or with a disk that does not
    answer: it gets no replicas and no primaries. `damaged`: it lost data that it had acknowledged. `full`:
    its disk has no room for a replica. `absent`: silent for so long that no change waits for it. `lost`:
    silent for the whole grace time. `active`: whether a partition's primary reports that it serves. `tried`:
    (partition, node) that failed to become ACTIVE lately, and are chosen last. `orders`: those of operators.
    `forgettable`: dead for so long that the map need not name it any more. `room`: whether the map may grow:
    if not, no node joins, and dead nodes that hold nothing are removed. `copy`: as in `Reachability`.
    `apart`: whether a partition's primary has not heard its newcomer, which is alive, for so long that no
    change waits for it.
    """

    members: Sequence[Member]
    suspicions: Suspicions
    unfit: Callable[[NodeId], bool]
    statements: Sequence[Statement] = ()
    tried: Collection[tuple[int, NodeId]] = ()
    damaged: Callable[[NodeId], bool] = _never
    full: Callable[[NodeId], bool] = _never
    absent: Callable[[NodeId], bool] = _never
    lost: Callable[[NodeId], bool] = _never
    active: Callable[[int], bool] = _never
    orders: Sequence[Order] = ()
    forgettable: Callable[[NodeId], bool] = _never
    room: bool = True
    copy: Callable[[NodeId, int], Copy | None] = _unsaid
    apart: Callable[[Partition], bool] = _never

    @property
    def reachability(self) -> Reachability:
        """Who answers whom."""
        return Reachability(self.suspicions, self.damaged, [member.id for member in self.members], self.copy)
