"""How often primaries change while replicas move: requests wait for each handover, so each must be needed.

Moves end, and handovers happen, in any order; after each the controller plans anew from the map alone.
"""

from collections.abc import Callable
from random import Random

import pytest
from tests.support.core.parts import Cluster, a_member

from ringkeep.core.cluster.orders import Verb
from ringkeep.core.protocol.cluster_map import NodeState
from ringkeep.core.protocol.messages import Said
from ringkeep.core.protocol.types import NodeId

PARTITIONS = 128


def join(cluster: Cluster) -> None:
    cluster.members.append(a_member(NodeId("e" * 32), "new", partitions=PARTITIONS, sequence=99))


def join_as_two(cluster: Cluster) -> None:
    join(cluster)
    cluster.members.append(a_member(NodeId("d" * 32), "newer", partitions=PARTITIONS, sequence=100))


def leave(cluster: Cluster) -> None:
    cluster.order(Verb.DECOMMISSION, cluster.members[1].id)


def die(cluster: Cluster) -> None:
    lost = cluster.members[1].id
    cluster.die(lost)
    cluster.lost.add(lost)
    cluster.absent.add(lost)


def grow_heavy(cluster: Cluster) -> None:
    cluster.order(Verb.WEIGHT, cluster.members[1].id, 3)


def say_some(cluster: Cluster, random: Random) -> None:
    """Let each primary say what it would, or not yet."""
    cluster.said.clear()
    for number, part in enumerate(cluster.map.partitions):
        if random.random() < 0.5 or part.primary in cluster.silent:
            continue
        if part.learner is not None:
            cluster.say(Said.CAUGHT_UP, part.learner, number)
        elif part.old_voters:
            cluster.say(Said.SETTLED, number=number)
        elif part.voters[0] not in (part.primary, *cluster.silent):
            cluster.say(Said.HANDOVER, part.voters[0], number)


def primaries(cluster: Cluster) -> list[NodeId]:
    return [part.primary for part in cluster.map.partitions]


def differ(before: list[NodeId], after: list[NodeId]) -> int:
    return sum(one != other for one, other in zip(before, after, strict=True))


def led(cluster: Cluster, node: NodeId) -> int:
    return primaries(cluster).count(node)


def arriving(cluster: Cluster) -> list[NodeId]:
    return [node.id for node in cluster.map.nodes if node.state == NodeState.JOINING]


@pytest.mark.parametrize(
    ("nodes", "happens"),
    [(3, join), (3, join_as_two), *[(5, each) for each in (join, join_as_two, leave, die, grow_heavy)]],
)
def test_no_partition_is_handed_over_but_to_where_it_stays(
    nodes: int, happens: Callable[[Cluster], None]
) -> None:
    random = Random(nodes)
    cluster = Cluster.formed(nodes, PARTITIONS)
    first = primaries(cluster)
    fair = PARTITIONS // nodes
    happens(cluster)
    handed_over, quiet = differ(first, primaries(cluster)), 0
    while quiet < 30:
        say_some(cluster, random)
        before = primaries(cluster)
        quiet = 0 if cluster.step() else quiet + 1
        handed_over += differ(before, primaries(cluster))
        for node in arriving(cluster):
            assert led(cluster, node) <= first.count(node), "it takes nothing over while it is being filled"
    must = differ(first, primaries(cluster))
    assert must > 0
    assert handed_over <= 1.05 * must, f"{handed_over} handovers, {must} partitions that are led by another"
    assert must <= 2 * fair, "nor are more led by another than a node's share, or those of two"
