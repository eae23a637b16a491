"""What a drained node, a heavier node, and more or fewer copies do to placement; `Cluster.step` holds every
map on the way against `transitions.illegal`."""

from collections import Counter
from math import ceil, floor

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.support.core.parts import MINE, NODES, A, B, C, Cluster, D, E, a_member, a_part
from tests.support.core.placement import load_bounds

from ringkeep.core.cluster.cluster_settings import REPLICATION
from ringkeep.core.cluster.orders import Verb
from ringkeep.core.cluster.replica_changes import targets
from ringkeep.core.cluster.ring import RingNode
from ringkeep.core.protocol import quorum
from ringkeep.core.protocol.cluster_map import ClusterMap, NodeState
from ringkeep.core.protocol.messages import Said
from ringkeep.core.protocol.types import NodeId

ACTIVE, JOINING, DRAINING, LEAVING = (
    NodeState.ACTIVE,
    NodeState.JOINING,
    NodeState.DRAINING,
    NodeState.LEAVING,
)


def holders(found: ClusterMap) -> list[frozenset[NodeId]]:
    return [frozenset(part.replicas) for part in found.partitions]


def held(found: ClusterMap) -> Counter[NodeId]:
    return Counter(node for part in found.partitions for node in part.voters)


def led(found: ClusterMap) -> Counter[NodeId]:
    return Counter(part.primary for part in found.partitions)


def is_final(cluster: Cluster) -> bool:
    """Planning the result again changes nothing, whatever primaries say."""
    cluster.said.clear()
    target = targets(cluster.map, cluster.damaged.__contains__)
    as_planned = [set(voters) for voters in target] == [set(p.voters) for p in cluster.map.partitions]
    return as_planned and not cluster.step()


# --- draining --------------------------------------------------------------------------------------------


def test_a_drained_node_leads_nothing_and_keeps_its_replicas() -> None:
    cluster = Cluster.formed(5, 40)
    before = cluster.map
    assert led(before)[B] > 0
    cluster.order(Verb.DRAIN, B)
    cluster.finish()
    assert led(cluster.map)[B] == 0
    assert holders(cluster.map) == holders(before)
    assert [p.config for p in cluster.map.partitions] == [p.config for p in before.partitions]
    assert all(part.voters[-1] == B for part in cluster.map.partitions if B in part.voters), "it leads last"
    assert max(led(cluster.map).values()) <= 11, "the others share its primaries: 40 / 4, and a tenth"
    assert is_final(cluster)


def test_undrained_it_gets_its_primaries_back() -> None:
    cluster = Cluster.formed(5, 40)
    before = cluster.map
    cluster.order(Verb.DRAIN, B)
    cluster.finish()
    cluster.order(Verb.UNDRAIN, B)
    cluster.finish()
    assert cluster.node(B).state == ACTIVE
    assert led(cluster.map)[B] == 8, "its share of 40"
    assert holders(cluster.map) == holders(before)
    assert is_final(cluster)


def test_with_every_node_drained_all_lead_as_before() -> None:
    cluster = Cluster.formed(4, 16)
    before = holders(cluster.map)
    for node in (A, B, C, D):
        cluster.order(Verb.DRAIN, node)
        cluster.finish()
        assert is_final(cluster)
        assert holders(cluster.map) == before
    assert max(led(cluster.map).values()) <= ceil(16 / 4 * 1.1)


def test_a_drained_node_leads_if_nobody_else_can() -> None:
    cluster = Cluster(a_part(A, (A, B, C)), nodes="abc", c=DRAINING)
    cluster.silent = cluster.unfit = {A}
    cluster.say(Said.FAILED)
    cluster.step()
    assert cluster.part.primary == B
    cluster = Cluster(a_part(A, (A, B, C)), nodes="abc", c=DRAINING)
    cluster.unfit = {A, B}
    cluster.say(Said.FAILED)
    cluster.step()
    assert cluster.part.primary == C


def test_a_drained_node_leads_nothing_while_others_come_and_go() -> None:
    cluster = Cluster.formed(4, 16)
    cluster.order(Verb.DRAIN, B)
    cluster.members.append(a_member(E, cluster_id=""))
    cluster.finish()
    cluster.order(Verb.DECOMMISSION, A)
    cluster.finish()
    assert (led(cluster.map)[B], held(cluster.map)[A]) == (0, 0)
    assert held(cluster.map)[B] == 12, "16 x 3 / 4: it is given data as before"
    assert is_final(cluster)


@settings(derandomize=True, max_examples=60)
@given(st.integers(3, 5), st.sampled_from([4, 8, 16]), st.sets(st.sampled_from([A, B, C, D, E])))
def test_whoever_is_drained_no_replica_moves_and_the_plan_is_final(
    count: int, partitions: int, drained: set[NodeId]
) -> None:
    cluster = Cluster.formed(count, partitions)
    before = holders(cluster.map)
    cluster.orders = [(node, Verb.DRAIN, 0) for node in sorted(drained)]
    cluster.finish()
    assert holders(cluster.map) == before
    leading = {node.id for node in cluster.map.nodes} - drained
    for part in cluster.map.partitions:
        if leading.intersection(part.voters):
            assert part.primary in leading
    assert is_final(cluster)


# --- weights ---------------------------------------------------------------------------------------------


def test_a_heavier_node_is_given_its_new_share_and_only_that_is_moved() -> None:
    cluster = Cluster.formed(10, 64)
    before = cluster.map
    cluster.order(Verb.WEIGHT, C, 2)
    assert cluster.node(C).state == JOINING
    cluster.finish()
    share = 64 * 3 * 2 / 11
    assert held(cluster.map)[C] >= 0.9 * share
    assert (cluster.node(C).weight, cluster.node(C).state) == (2, ACTIVE)
    moved = sum(len(new - old) for new, old in zip(holders(cluster.map), holders(before), strict=True))
    came = sum(C in new - old for new, old in zip(holders(cluster.map), holders(before), strict=True))
    assert moved == came <= ceil(share - 64 * 3 / 10) + 1, "nothing between two others"
    assert is_final(cluster)


def test_a_lighter_node_gives_up_what_is_above_its_bound() -> None:
    cluster = Cluster.formed(10, 64)
    cluster.order(Verb.WEIGHT, C, 3)
    cluster.finish()
    heavy = held(cluster.map)[C]
    assert heavy >= 0.9 * 64 * 3 * 3 / 12
    cluster.order(Verb.WEIGHT, C, 1)
    assert cluster.node(C).state == ACTIVE
    cluster.finish()
    assert held(cluster.map)[C] <= floor(1.1 * 64 * 3 / 10)
    assert is_final(cluster)


@settings(derandomize=True, max_examples=25)
@given(st.lists(st.tuples(st.sampled_from([A, B, C, D, E]), st.integers(1, 4)), min_size=1, max_size=4))
def test_whatever_weights_are_set_nobody_is_over_the_bound_and_the_plan_is_final(
    weights: list[tuple[NodeId, int]],
) -> None:
    cluster = Cluster.formed(5, 32)
    for node, weight in weights:
        cluster.order(Verb.WEIGHT, node, weight)
        cluster.finish()
        assert is_final(cluster)
        assert all(node.state == ACTIVE for node in cluster.map.nodes)
        ring = [RingNode(n.id, n.zone, n.weight) for n in cluster.map.nodes]
        for id, (most, _) in load_bounds(ring, 32, 3).items():
            assert held(cluster.map)[NodeId(id)] <= most


# --- replication -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("count", [5, 6, 7])
def test_replication_goes_from_three_to_five_and_back_by_single_joint_steps(count: int) -> None:
    cluster = Cluster.formed(count, 12)
    for copies in (5, 3, 1, 3):
        cluster.order(Verb.SET, REPLICATION, copies)
        cluster.finish()
        assert [len(set(part.voters)) for part in cluster.map.partitions] == [copies] * 12
        assert [part.old_voters for part in cluster.map.partitions] == [()] * 12
        assert is_final(cluster)
        ring = [RingNode(n.id, n.zone, n.weight) for n in cluster.map.nodes]
        for id, (most, lead) in load_bounds(ring, 12, copies).items():
            assert held(cluster.map)[NodeId(id)] <= most
            assert led(cluster.map)[NodeId(id)] <= lead


def test_more_copies_are_added_and_fewer_are_let_go_without_a_detour() -> None:
    """Each step adds one voter, or removes one: nothing is replaced while there are too many."""
    cluster = Cluster.formed(5, 8)
    cluster.order(Verb.SET, REPLICATION, 5)
    while any(len(part.voters) < 5 or part.old_voters for part in cluster.map.partitions):
        assert all(part.replaces is None for part in cluster.map.partitions)
        cluster.say_all()
        assert cluster.step()
    cluster.finish()
    cluster.order(Verb.SET, REPLICATION, 3)
    while any(len(part.voters) > 3 or part.old_voters for part in cluster.map.partitions):
        assert all(part.learner is None for part in cluster.map.partitions)
        cluster.say_all()
        assert cluster.step()


def test_replication_is_lowered_and_raised_again_halfway() -> None:
    cluster = Cluster.formed(6, 12)
    for copies in (5, 3, 5, 1, 5, 3):
        cluster.order(Verb.SET, REPLICATION, copies)
        for _ in range(4):
            cluster.say_all()
            cluster.step()
    cluster.finish()
    assert {len(part.voters) for part in cluster.map.partitions} == {3}
    assert is_final(cluster)


placements = st.lists(
    st.lists(st.sampled_from("abcde"), min_size=1, max_size=5, unique=True), min_size=1, max_size=8
)


@settings(derandomize=True, max_examples=150)
@given(
    placements,
    st.sampled_from([1, 3, 5]),
    st.dictionaries(st.sampled_from("abcde"), st.sampled_from([JOINING, DRAINING, LEAVING]), max_size=3),
)
def test_wherever_the_voters_are_it_comes_to_an_end_where_it_should(
    present: list[list[str]], replication: int, states: dict[str, NodeState]
) -> None:
    """More voters than copies included: of four that should be three, two nodes once swapped for ever."""
    parts = [a_part(NODES[v[0]], tuple(NODES[name] for name in v)) for v in present]
    cluster = Cluster(*parts, nodes="abcde", replication=replication, **states)
    cluster.members = [member for member in cluster.members if member.cluster_id == MINE]
    cluster.finish()
    staying = {node.id for node in cluster.map.nodes if node.state != LEAVING}
    for part in cluster.map.partitions:
        assert len(set(part.voters)) == min(replication, len(staying))
        assert staying.issuperset(part.voters)
        assert (part.learner, part.old_voters) == (None, ())
    assert is_final(cluster)


def test_the_only_copies_of_some_partitions_find_their_places() -> None:
    """Who comes for a lone voter comes first: once a plan kept the old one, and it began anew for ever."""
    cluster = Cluster(a_part(A, (A,)), a_part(A, (A,)), nodes="abcde", replication=1)
    cluster.finish()
    assert is_final(cluster)


# --- fewer copies while nodes are silent -----------------------------------------------------------------


def serves_on(cluster: Cluster) -> bool:
    """Every partition has the majorities that a commit needs, of nodes that answer."""
    answering = [node.id for node in cluster.map.nodes if cluster.reachability.votes(node.id)]
    return all(quorum.won(part.voters, part.old_voters, answering) for part in cluster.map.partitions)


@pytest.mark.parametrize("silent", [B, C])
def test_of_two_voters_that_are_to_go_the_silent_one_goes_first(silent: NodeId) -> None:
    """Else the two that are left would both be needed, and one of them is silent."""
    cluster = Cluster(a_part(A), nodes="abc", replication=1)
    cluster.die(silent)
    cluster.step()
    assert set(cluster.part.old_voters) - set(cluster.part.voters) == {silent}
    assert serves_on(cluster)


@pytest.mark.parametrize("silent", [(D, E), (A, B), (C, E), (B, D)], ids=str)
def test_copies_are_let_go_only_where_a_majority_of_the_others_answers(silent: tuple[NodeId, ...]) -> None:
    cluster = Cluster.formed(5, 16, 5)
    cluster.die(*silent)
    cluster.finish()
    cluster.order(Verb.SET, REPLICATION, 3)
    for _ in range(60):
        assert serves_on(cluster)
        cluster.say_all()
        cluster.step()
    cluster.silent = set()
    cluster.finish()
    assert {len(part.voters) for part in cluster.map.partitions} == {3}
    assert is_final(cluster)


def test_a_voter_that_was_being_let_go_stays_when_the_others_are_not_enough_any_more() -> None:
    """a and b alone are no majority of themselves while b is silent; with c they were one of the old ones."""
    cluster = Cluster(a_part(A, (A, B), old_voters=(A, B, C)), nodes="abc", replication=1)
    cluster.die(B)
    assert not cluster.step(), "it may be back in a moment"
    cluster.absent = {B}
    cluster.step()
    assert (cluster.part.voters, cluster.part.old_voters) == ((A, B, C), ())
    cluster.absent, cluster.silent = set(), set()
    cluster.finish()
    assert len(cluster.part.voters) == 1
