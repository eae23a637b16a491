"""Everything at once: silence, damage, full disks, newcomers, and operators who order whatever comes to mind.

`Cluster.step` holds each map against `transitions.illegal`. What is ordered must never cost a majority.
"""

from random import Random

import pytest
from tests.support.core.parts import MINE, A, B, C, Cluster, D, E, a_member, a_part

from ringkeep.core.cluster.cluster_settings import MOVES, MOVES_AT_ONCE, REPLICATION, RUNNING
from ringkeep.core.cluster.orders import Verb
from ringkeep.core.cluster.replica_changes import holds_data
from ringkeep.core.protocol import quorum
from ringkeep.core.protocol.cluster_map import NodeState
from ringkeep.core.protocol.messages import Order
from ringkeep.core.protocol.types import NodeId

LATER = [NodeId(digit * 32) for digit in "6789"]


def check(cluster: Cluster) -> None:
    """Whoever was given up is one that each partition can do without, and enough nodes remain."""
    alive = [node.id for node in cluster.map.nodes if node.state != NodeState.DEAD]
    for part in cluster.map.partitions:
        assert quorum.won(part.voters, part.old_voters, alive)
    if any(node.state == NodeState.DEAD for node in cluster.map.nodes):
        staying = [node for node in cluster.map.nodes if holds_data(node.state)]
        assert len(staying) >= cluster.map.replication


def an_order(random: Random, nodes: list[NodeId]) -> Order:
    verbs = [Verb.DECOMMISSION, Verb.GIVE_UP, Verb.DRAIN, Verb.UNDRAIN, Verb.UNDRAIN, Verb.WEIGHT]
    return random.choice([
        (random.choice(nodes), random.choice(verbs), random.randint(0, 4)),
        (REPLICATION, Verb.SET, random.choice([1, 3, 5])),
        (MOVES, Verb.SET, random.randint(0, 3)),
        (MOVES_AT_ONCE, Verb.SET, random.randint(0, 9)),
    ])  # fmt: skip


def trouble(random: Random, cluster: Cluster) -> None:
    """One thing goes wrong, or is well again."""
    nodes = [node.id for node in cluster.map.nodes]
    node = random.choice(nodes)
    what = random.choice(
        [cluster.silent, cluster.silent, cluster.damaged, cluster.full, cluster.absent, cluster.unfit]
    )
    what ^= {node}
    cluster.silent |= {node.id for node in cluster.map.nodes if node.state == NodeState.DEAD}
    cluster.lost = {node for node in sorted(cluster.silent) if random.random() < 0.3}
    cluster.heard = {(random.choice(nodes), random.choice(nodes)) for _ in range(2)}
    cluster.members = [
        member for member in cluster.members if member.id not in cluster.silent or random.random() < 0.5
    ]
    registered = {member.id for member in cluster.members}
    cluster.members += [
        a_member(n.id, n.name, name=n.name, cluster_id=MINE)
        for n in cluster.map.nodes
        if n.id not in registered and n.id not in cluster.silent
    ]


def comes(random: Random, cluster: Cluster) -> None:
    """A new machine, or the machine of a node that is there, with a wiped disk."""
    known = {node.id for node in cluster.map.nodes} | {member.id for member in cluster.members}
    free = [node for node in LATER if node not in known]
    if free:
        name = random.choice([node.name for node in cluster.map.nodes] + ["new", "newer"])
        cluster.members.append(a_member(free[0], name.partition("~")[0]))


@pytest.mark.parametrize("seed", range(40))
def test_no_order_costs_a_majority_and_in_the_end_all_is_where_it_should_be(seed: int) -> None:
    random = Random(seed)
    cluster = Cluster(*[a_part(node) for node in (A, B, C, A)], nodes="abcde")
    for _ in range(80):
        trouble(random, cluster)
        if random.random() < 0.1:
            comes(random, cluster)
        nodes = [node.id for node in cluster.map.nodes]
        cluster.suspects = {node: (random.choice(nodes),) for node in nodes if random.random() < 0.5}
        cluster.serves = random.random() < 0.8
        cluster.orders = [an_order(random, nodes) for _ in range(random.choice([0, 0, 0, 1, 2]))]
        if random.random() < 0.7:
            cluster.say_all()
        cluster.step()
        check(cluster)
    for calm in (cluster.silent, cluster.damaged, cluster.full, cluster.absent, cluster.unfit, cluster.lost):
        calm.clear()
    cluster.heard, cluster.suspects, cluster.serves, cluster.orders = set(), {}, True, []
    cluster.silent = {node.id for node in cluster.map.nodes if node.state == NodeState.DEAD}
    cluster.order(Verb.SET, MOVES, RUNNING)
    cluster.finish()
    check(cluster)
    staying = {node.id for node in cluster.map.nodes if holds_data(node.state)}
    for part in cluster.map.partitions:
        assert len(set(part.voters)) == min(cluster.map.replication, len(staying))
        assert staying.issuperset(part.voters)
        assert (part.old_voters, part.learner) == ((), None)
    assert not {D, E} & {part.primary for part in cluster.map.partitions} & cluster.silent
