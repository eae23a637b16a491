"""Moves that operators hold or send back, and newcomers whose disks are full."""

from collections.abc import Sequence

import pytest
from tests.support.core.parts import A, B, C, Cluster, D, E, a_member, a_part

from ringkeep.core.cluster.cluster_settings import CANCELLED, MOVES, MOVES_AT_ONCE, PAUSED, RUNNING
from ringkeep.core.cluster.orders import Verb
from ringkeep.core.cluster.replica_changes import under_way
from ringkeep.core.protocol import limits
from ringkeep.core.protocol.cluster_map import NodeState, Partition
from ringkeep.core.protocol.messages import Said
from ringkeep.core.protocol.types import MapVersion, NodeId

ACTIVE, JOINING, LEAVING = NodeState.ACTIVE, NodeState.JOINING, NodeState.LEAVING
STABLE = a_part(A)
LEARNING = a_part(A, learner=D, replaces=C, config=MapVersion(5))
JOINT = a_part(A, (A, B, D), old_voters=(A, B, C), config=MapVersion(6))
SHRINKING = a_part(A, (A, B), old_voters=(A, B, C), config=MapVersion(6))


def hold(cluster: Cluster, how: int) -> None:
    assert cluster.order(Verb.SET, MOVES, how)


def voters(cluster: Cluster) -> tuple[Sequence[NodeId], Sequence[NodeId]]:
    return cluster.part.voters, cluster.part.old_voters


def leaving_c(*parts: Partition) -> Cluster:
    return Cluster(*parts, c=LEAVING)


# --- paused ----------------------------------------------------------------------------------------------


def test_while_paused_nothing_begins() -> None:
    cluster = leaving_c(STABLE)
    hold(cluster, PAUSED)
    assert not cluster.step()
    assert cluster.part.learner is None
    hold(cluster, RUNNING)
    assert cluster.part.learner == D


def test_while_paused_a_learner_stays_one_and_goes_on_from_there() -> None:
    cluster = leaving_c(LEARNING)
    hold(cluster, PAUSED)
    cluster.say(Said.CAUGHT_UP, D)
    assert not cluster.step()
    assert cluster.part == LEARNING
    hold(cluster, RUNNING)
    assert cluster.part.old_voters == (A, B, C), "what was said meanwhile counts"


def test_while_paused_a_joint_change_comes_to_its_end() -> None:
    """It costs availability to stay in it, and nothing more is sent."""
    cluster = leaving_c(JOINT)
    hold(cluster, PAUSED)
    assert not cluster.step(), "not before it is settled"
    cluster.say(Said.SETTLED)
    cluster.step()
    assert (cluster.part.voters, cluster.part.old_voters) == ((A, B, D), ())
    assert not cluster.step()


def test_while_paused_a_newcomer_that_is_gone_is_still_not_waited_for() -> None:
    for part in (LEARNING, JOINT):
        cluster = leaving_c(part)
        hold(cluster, PAUSED)
        cluster.absent = {D}
        cluster.step()
        assert (cluster.part.voters, cluster.part.old_voters, cluster.part.learner) == ((A, B, C), (), None)


def test_while_paused_primaries_fail_over_and_orders_are_taken() -> None:
    cluster = Cluster(STABLE, nodes="abcde")
    hold(cluster, PAUSED)
    cluster.suspects = {B: (A,), C: (A,)}
    cluster.step()
    assert (cluster.part.primary, cluster.part.epoch) == (B, 4)
    cluster.suspects = {}
    cluster.order(Verb.DECOMMISSION, C)
    cluster.finish()
    assert cluster.node(C).state == LEAVING
    assert C in cluster.part.voters


# --- cancelled -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("part", [LEARNING, JOINT], ids=["learner", "joint"])
def test_a_cancelled_change_goes_back_and_who_was_leaving_stays(part: Partition) -> None:
    cluster = leaving_c(part)
    cluster.say(Said.CAUGHT_UP, D)
    cluster.say(Said.SETTLED)
    hold(cluster, CANCELLED)
    found = cluster.part
    assert (found.voters, found.old_voters, found.learner, found.replaces) == ((A, B, C), (), None, None)
    assert found.config == cluster.map.version, "what is said of the old config is void"
    assert cluster.node(C).state == ACTIVE
    assert not cluster.step(), "nothing begins"
    hold(cluster, RUNNING)
    cluster.finish()
    assert C in cluster.part.replicas, "and nobody leaves afterwards"


def test_a_voter_that_is_only_let_go_is_let_go_all_the_same() -> None:
    """Back and forth cost the same, and nothing is sent."""
    cluster = leaving_c(SHRINKING)
    hold(cluster, CANCELLED)
    assert cluster.part.old_voters == (A, B, C)
    cluster.say(Said.SETTLED)
    cluster.step()
    assert voters(cluster) == ((A, B), ())
    assert not cluster.step()
    hold(cluster, RUNNING)
    cluster.finish()
    assert len(cluster.part.voters) == 3


def test_all_moves_are_cancelled_at_once_and_stay_so() -> None:
    cluster = Cluster.formed(4, 32)
    before = [set(part.voters) for part in cluster.map.partitions]
    cluster.order(Verb.DECOMMISSION, C)
    cluster.say_all()
    cluster.step()
    assert under_way(cluster.map.partitions) == limits.MOVES_AT_ONCE
    hold(cluster, CANCELLED)
    assert under_way(cluster.map.partitions) == 0
    cluster.finish()
    assert [set(part.voters) for part in cluster.map.partitions] == before
    hold(cluster, RUNNING)
    cluster.finish()
    assert [set(part.voters) for part in cluster.map.partitions] == before


def test_a_newcomer_waits_while_moves_are_cancelled_and_is_filled_afterwards() -> None:
    cluster = Cluster(*[STABLE] * 8, nodes="abc")
    cluster.members.append(a_member(D))
    cluster.step()
    hold(cluster, CANCELLED)
    cluster.finish()
    assert cluster.node(D).state == JOINING
    assert all(D not in part.replicas for part in cluster.map.partitions)
    hold(cluster, RUNNING)
    cluster.finish()
    assert cluster.node(D).state == ACTIVE


def test_a_node_that_is_ordered_to_leave_afterwards_leaves_when_moves_go_on() -> None:
    cluster = Cluster(STABLE)
    hold(cluster, CANCELLED)
    cluster.order(Verb.DECOMMISSION, C)
    assert not cluster.step()
    assert cluster.node(C).state == LEAVING, "the order came after the cancellation"
    hold(cluster, RUNNING)
    cluster.finish()
    assert C not in cluster.part.replicas


# --- how many --------------------------------------------------------------------------------------------


def test_only_so_many_moves_as_are_set_go_on_at_one_time() -> None:
    cluster = Cluster(*[STABLE] * 12, c=LEAVING)
    cluster.order(Verb.SET, MOVES_AT_ONCE, 3)
    assert under_way(cluster.map.partitions) == 3
    cluster.order(Verb.SET, MOVES_AT_ONCE, 10)
    assert under_way(cluster.map.partitions) == 10
    cluster.order(Verb.SET, MOVES_AT_ONCE, 1)
    assert under_way(cluster.map.partitions) == 10, "what has begun goes on"
    for number in range(10):
        assert cluster.map.partitions[number].learner == D
        cluster.say(Said.CAUGHT_UP, D, number)
    cluster.step()
    for number in range(10):
        cluster.say(Said.SETTLED, number=number)
    cluster.step()
    assert under_way(cluster.map.partitions) == 0
    cluster.step()
    assert under_way(cluster.map.partitions) == 1


# --- full disks ------------------------------------------------------------------------------------------


def test_nothing_begins_on_a_node_whose_disk_is_full() -> None:
    cluster = leaving_c(STABLE)
    cluster.full = {D}
    assert not cluster.step()
    cluster.full = set()
    cluster.step()
    assert cluster.part.learner == D


def test_a_learner_whose_disk_is_full_is_given_up() -> None:
    cluster = leaving_c(LEARNING)
    cluster.full = {D}
    cluster.say(Said.CAUGHT_UP, D)
    cluster.step()
    part = cluster.part
    assert (part.voters, part.learner, part.replaces, part.config) == ((A, B, C), None, None, 8)
    assert not cluster.step(), "and not begun again while it is full"
    assert cluster.node(C).state == LEAVING


def test_a_newcomer_that_votes_already_may_be_full() -> None:
    cluster = leaving_c(JOINT)
    cluster.full = {D}
    assert not cluster.step(), "it has what it needs"
    cluster.say(Said.SETTLED)
    cluster.step()
    assert cluster.part.voters == (A, B, D)


def test_of_two_newcomers_the_one_with_room_is_chosen() -> None:
    cluster = Cluster(a_part(A, (A,)), nodes="ade")
    cluster.full = {D}
    cluster.step()
    assert cluster.part.learner == E
    cluster.finish()
    assert sorted(cluster.part.voters) == [A, E], "the third copy waits"
    cluster.full = set()
    cluster.finish()
    assert sorted(cluster.part.voters) == [A, D, E]


def test_a_full_voter_stays_where_it_is() -> None:
    cluster = Cluster(STABLE)
    cluster.full = {A, B, C, D}
    assert not cluster.step()
