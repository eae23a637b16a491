"""How a partition's replicas change: one voter at a time, by learner, joint voters, and stable voters again.

Pure: from where a partition should be, and what its primary says, to its next step. Each step is one
compare-and-set of the map, under the epoch that stands; `sim.checks.map_rules` says which steps are legal.
Source: joint consensus, Ongaro's dissertation (2014), section 4.3; learners, its section 4.2.1.
"""

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache

from ringkeep.core.cluster.placement import replan
from ringkeep.core.cluster.ring import RingNode
from ringkeep.core.protocol import quorum
from ringkeep.core.protocol.cluster_map import ClusterMap, NodeState, Partition
from ringkeep.core.protocol.types import MapVersion, NodeId

Voters = tuple[NodeId, ...]


@dataclass(frozen=True, slots=True)
class ChangeProgress:
    """What is known of one partition's change.

    `caught_up`, `settled`: the primary's word, for exactly the (epoch, config) that the map has: the learner
    is close behind; an entry was committed by both majorities. `active`: its primary says that it serves.
    """

    caught_up: bool = False
    settled: bool = False
    active: bool = False


def holds_data(state: NodeState) -> bool:
    """Tell whether a node of this state is meant to hold replicas."""
    return state not in (NodeState.LEAVING, NodeState.DEAD)


def targets(current: ClusterMap, damaged: Callable[[NodeId], bool]) -> tuple[Voters, ...]:
    """Return where every partition's replicas should be; changes under way count as done.

    A damaged node is left out until nothing that it lost is counted on any more: then it begins anew.
    Cost: that of `placement.replan`, once for each placement: the last ones are remembered.
    """
    ring = tuple(
        RingNode(n.id, n.zone, n.weight, n.state != NodeState.DRAINING, n.state == NodeState.JOINING)
        for n in current.nodes
        if holds_data(n.state) and not damaged(n.id)
    )
    present = tuple(intended(part, current.replication) for part in current.partitions)
    return _planned(ring, current.replication, present)


@lru_cache(maxsize=16)
def _planned(ring: tuple[RingNode, ...], replication: int, present: tuple[Voters, ...]) -> tuple[Voters, ...]:
    found = replan(ring, len(present), replication, present)
    return tuple(tuple(map(NodeId, voters)) for voters in found)


def intended(part: Partition, replication: int) -> Voters:
    """Return the voters that a partition will have when the change under way is done.

    Who comes to voters that are enough already, a lone one, is to replace it, and comes first: a plan keeps
    whom it finds first.
    """
    if part.learner is None:
        return part.voters
    if part.replaces is None:
        enough = len(part.voters) >= replication
        return (part.learner, *part.voters) if enough else (*part.voters, part.learner)
    return tuple(part.learner if voter == part.replaces else voter for voter in part.voters)


def in_order(
    part: Partition, target: Voters, leads: Callable[[NodeId], bool], arriving: Callable[[NodeId], bool]
) -> Partition:
    """Put the voters in the order of the target; those that are to go come last, so that they hand over.

    The first voter is the preferred primary, and takes the primaryship over by itself. It stays the first
    until the one that is to lead has come, and is not busy with replicas that are still on their way to it
    (`arriving`): so a partition is handed over once, to a node that has time. Who does not lead comes after
    those that do. The one that is being replaced comes last of all: as the primary it could not be let go.
    """
    if part.old_voters:
        return part
    first = part.voters[0]
    wanted = [node for node in target if node in part.voters and node != part.replaces]
    busy = {node for node in wanted if node != first and arriving(node)}

    def rank(node: NodeId) -> tuple[bool, bool, bool]:
        awaited = target[0] not in part.voters or target[0] in busy
        return not leads(node), node in busy, awaited and node != first

    wanted.sort(key=rank)
    going = [node for node in part.voters if node not in wanted and node != part.replaces]
    last = [node for node in part.voters if node == part.replaces]
    voters = (*wanted, *going, *last)
    return part if voters == part.voters else replace(part, voters=voters)


def step_on(
    part: Partition, version: MapVersion, progress: ChangeProgress, hopeless: Callable[[NodeId], bool],
    gone: Callable[[NodeId], bool], replication: int,
) -> Partition | None:  # fmt: skip
    """Take the change under way one step on, or back; None while it waits.

    `hopeless`: a newcomer that no change should wait for. `gone`: a voter that no majority should wait for.
    Going back is legal at any time and needs no word of the primary.
    """
    if part.old_voters:
        newcomers = [node for node in part.voters if node not in part.old_voters]
        there = [node for node in (*part.voters, *part.old_voters) if not gone(node)]
        stuck = not quorum.won(part.voters, (), there) and quorum.won(part.old_voters, (), there)
        if any(map(hopeless, newcomers)) or stuck:
            return replace(part, voters=part.old_voters, old_voters=(), config=version)
        return replace(part, old_voters=(), config=version) if progress.settled else None
    if part.learner is None:
        return None
    if hopeless(part.learner):
        return replace(part, learner=None, replaces=None, config=version)
    if not progress.caught_up or part.replaces == part.primary:
        return None
    return replace(
        part, voters=intended(part, replication), old_voters=part.voters, learner=None, replaces=None,
        config=version,
    )  # fmt: skip


def begin(
    part: Partition, target: Voters, version: MapVersion, progress: ChangeProgress,
    fit: Callable[[NodeId], bool], votes: Callable[[NodeId], bool],
) -> Partition | None:  # fmt: skip
    """Begin the next change of a stable partition; None when it is where it should be, or must wait.

    The primary is never the one to go: it is moved first. Only a lone voter is joined before it is let go.
    Those that have no vote just now (`votes`) go first, and nobody goes whose vote is needed for a majority.
    """
    assert not part.old_voters and part.learner is None, "one change at a time"
    going = [voter for voter in part.voters if voter not in target]
    coming = [node for node in target if node not in part.voters]
    if not progress.active or not (going or coming):
        return None
    movable = sorted((voter for voter in going if voter != part.primary), key=votes, reverse=True)
    newcomer = next(filter(fit, coming), None)
    surplus = len(part.voters) > len(target)  # let go before anything is replaced: plans are final only then
    if movable and (surplus or not coming):
        left = tuple(voter for voter in part.voters if voter != movable[-1])
        if not quorum.won(left, (), [voter for voter in left if votes(voter)]):
            return None
        return replace(part, voters=left, old_voters=part.voters, config=version)
    if newcomer is not None and not surplus:
        grows = len(part.voters) < len(target) or len(part.voters) == 1
        if grows or movable:
            replaces = None if grows else movable[-1]
            return replace(part, learner=newcomer, replaces=replaces, config=version)
    return None


def under_way(partitions: Sequence[Partition]) -> int:
    """Return how many partitions are changing their replicas."""
    return sum(part.learner is not None or bool(part.old_voters) for part in partitions)


def arrived(node: NodeId, partitions: Sequence[Partition], target: Collection[Voters]) -> bool:
    """Tell whether a node votes wherever it should, with no change of its own under way."""
    return all(
        (node in part.voters and not part.old_voters) or node not in wanted
        for part, wanted in zip(partitions, target, strict=True)
    )
