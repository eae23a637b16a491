"""A partition whose majority is gone goes on with what is left, on an operator's order and never else."""

from dataclasses import replace

import pytest
from tests.core_parts import A, B, C, Cluster, D, E, a_part

from ringkeep.core import orders, salvage
from ringkeep.core.clustermap import NodeState
from ringkeep.core.controller import next_map
from ringkeep.core.messages import Said
from ringkeep.core.orders import Verb
from ringkeep.core.transitions import illegal
from ringkeep.core.types import Epoch, Incarnation, MapVersion, NodeId

ACTIVE, LEAVING, DEAD = NodeState.ACTIVE, NodeState.LEAVING, NodeState.DEAD


def why_not(cluster: Cluster, number: int | str = 0) -> str:
    return orders.objection((str(number), Verb.RECOVER, 0), cluster.map, cluster.hearing)


def recover(cluster: Cluster, *numbers: int, epoch: int = 3) -> bool:
    """Order it, and take the next map; tell whether it was done: no other step changes both at once."""
    cluster.orders = [(str(number), Verb.RECOVER, epoch) for number in numbers or (0,)]
    found = next_map(cluster.map, cluster.seen)
    cluster.orders = []
    if found is None:
        return False
    reason = illegal(cluster.map, found)
    assert "replicas and epoch change in one step" in reason or not reason
    cluster.map = found
    return bool(reason)


def states(cluster: Cluster) -> str:
    return "".join(node.name for node in cluster.map.nodes if node.state == DEAD)


# --- refused ---------------------------------------------------------------------------------------------


def test_a_partition_with_a_majority_needs_no_recovery() -> None:
    cluster = Cluster(a_part(A), nodes="abcde")
    for silent in (set[NodeId](), {A}, {C}, {D, E}):
        cluster.silent = silent
        assert why_not(cluster) == "partition 0 has a majority of its replicas, and needs no recovery"
        assert not recover(cluster)
        assert salvage.voters_of(cluster.part) == (A, B, C)
    cluster.silent = {B, C}
    assert why_not(cluster) == ""


def test_while_joint_either_majority_that_is_gone_is_a_loss() -> None:
    cluster = Cluster(a_part(A, (A, B, D), old_voters=(A, B, C)), nodes="abcde")
    cluster.silent = {C, D}
    assert "has a majority" in why_not(cluster), "a and b are one of both"
    for silent in ({B, C}, {B, D}):
        cluster.silent = set(silent)
        assert why_not(cluster) == ""


def test_damaged_voters_answer_and_count_for_nothing() -> None:
    cluster = Cluster(a_part(A), nodes="abcde")
    cluster.damaged = {B}
    cluster.die(C)
    assert why_not(cluster) == ""
    assert recover(cluster)
    assert (cluster.part.voters, states(cluster)) == ((A,), "bc")


def test_nothing_is_salvaged_while_anybody_hears_a_voter_that_is_silent_here() -> None:
    """It is cut off, and has its majority elsewhere: what it acknowledges would be lost."""
    cluster = Cluster(a_part(A), nodes="abcde")
    cluster.silent, cluster.heard = {B, C}, {(E, C)}
    reason = why_not(cluster)
    assert reason == (
        "c still answers to e, and may have all of partition 0: mend the network, or stop it first"
    )
    assert not recover(cluster)
    cluster.heard = set()
    assert why_not(cluster) == ""


def test_the_dead_are_watched_by_nobody_and_hold_nothing_up() -> None:
    cluster = Cluster(a_part(A), nodes="abcde", b=DEAD)
    cluster.silent = {B, C}
    cluster.heard = {(A, B), (D, B), (E, B)}
    assert why_not(cluster) == ""


@pytest.mark.parametrize("number", ["1", "-1", "all", "", "²"])
def test_there_must_be_such_a_partition(number: str) -> None:
    cluster = Cluster(a_part(A))
    cluster.silent = {B, C}
    assert f"there is no partition {number}: they are 0 to 0" in why_not(cluster, number)


# --- done ------------------------------------------------------------------------------------------------


def test_without_an_order_a_lost_partition_stays_as_it_is() -> None:
    cluster = Cluster(a_part(A), nodes="abcde")
    cluster.die(B, C)
    cluster.lost = cluster.absent = {B, C}
    cluster.say(Said.FAILED)
    assert not cluster.step()


def test_the_survivor_is_the_only_voter_under_the_next_epoch_and_the_gone_are_dead() -> None:
    cluster = Cluster(a_part(C, learner=D, replaces=B), nodes="abcde")
    cluster.map = replace(
        cluster.map,
        nodes=tuple(replace(n, incarnation=Incarnation(4)) if n.id == A else n for n in cluster.map.nodes),
    )
    cluster.die(B, C)
    assert recover(cluster)
    part = cluster.part
    assert (part.epoch, part.primary, part.incarnation, part.voters) == (4, A, 4, (A,))
    assert (part.old_voters, part.learner, part.replaces, part.config) == ((), None, None, 8)
    assert states(cluster) == "bc"


def test_all_survivors_vote_in_their_order() -> None:
    cluster = Cluster(a_part(E, (E, B, A, D, C)), nodes="abcde", replication=5)
    cluster.die(C, D, E)
    assert recover(cluster)
    assert (cluster.part.voters, cluster.part.primary) == ((B, A), B)
    joint = Cluster(a_part(A, (D, B, A), old_voters=(A, C, B)), nodes="abcde")
    joint.die(A, B)
    assert recover(joint)
    assert (joint.part.voters, joint.part.old_voters, joint.part.primary) == ((D, C), (), D)


def test_the_replicas_are_made_anew_from_there() -> None:
    cluster = Cluster(a_part(A), nodes="abcde")
    cluster.die(B, C)
    assert recover(cluster)
    cluster.finish()
    assert sorted(cluster.part.voters) == [A, D, E]
    assert (cluster.part.primary, cluster.part.epoch) == (A, 4)
    assert states(cluster) == "bc"


def test_the_others_partitions_go_on_as_with_any_dead_node() -> None:
    cluster = Cluster(a_part(A), a_part(B, (B, D, E)), a_part(D, (D, A, E), learner=C), nodes="abcde")
    cluster.die(B, C)
    assert recover(cluster)
    lost, led_by_b, with_learner = cluster.map.partitions
    assert (led_by_b.primary, led_by_b.epoch, led_by_b.voters) == (D, 4, (B, D, E))
    assert (with_learner.learner, with_learner.epoch) == (None, 3)
    assert lost.voters == (A,)
    cluster.finish()
    assert [sorted(part.voters) for part in cluster.map.partitions] == [[A, D, E]] * 3


def test_several_are_recovered_in_one_map() -> None:
    cluster = Cluster(a_part(A), a_part(B, (B, C, D)), a_part(A, (A, D, E)), nodes="abcde")
    cluster.die(B, C)
    assert recover(cluster, 0, 1, 2)
    assert [sorted(part.voters) for part in cluster.map.partitions] == [[A], [D], [A, D, E]]
    assert [part.epoch for part in cluster.map.partitions] == [4, 4, 3]
    assert states(cluster) == "bc"


def test_with_nothing_left_it_begins_empty_with_one_voter_that_answers() -> None:
    cluster = Cluster(a_part(A), nodes="abcde", d=LEAVING)
    cluster.die(A, B, C)
    assert recover(cluster)
    assert (cluster.part.voters, cluster.part.primary, cluster.part.epoch) == ((E,), E, 4)
    assert states(cluster) == "abc"


def test_with_nobody_left_who_could_hold_it_nothing_is_done() -> None:
    cluster = Cluster(a_part(A), nodes="abcd", d=LEAVING)
    cluster.die(A, B, C)
    assert not recover(cluster)
    assert (cluster.part, states(cluster)) == (a_part(A), "")


# --- once ------------------------------------------------------------------------------------------------


def test_a_recovery_is_not_repeated_when_its_survivor_falls_silent_too() -> None:
    """The order is good for a while after it was carried out: it must not cost the last replica."""
    cluster = Cluster(a_part(A), nodes="abcde")
    cluster.die(B, C)
    assert recover(cluster)
    cluster.die(A)
    assert salvage.is_lost(cluster.part, cluster.hearing)
    assert orders.is_done(("0", Verb.RECOVER, 3), cluster.map)
    assert not recover(cluster)
    assert cluster.part.voters == (A,)
    assert recover(cluster, epoch=4)
    assert (cluster.part.voters, cluster.part.epoch) == ((D,), 5), "but another order may"


def test_nothing_is_recovered_while_a_silent_voter_is_registered() -> None:
    """It may be on the other side of a split network, with the majority."""
    cluster = Cluster(a_part(A), nodes="abcde")
    cluster.silent = {B, C}
    registered = replace(cluster.hearing, registered=[B])
    assert "b is still registered in ZooKeeper" in salvage.objection(cluster.map, "0", registered)
    assert not recover(cluster)


def test_a_recovered_partition_has_its_majority() -> None:
    cluster = Cluster(a_part(A), nodes="abcde")
    cluster.die(B, C)
    assert not orders.is_done(("0", Verb.RECOVER, 3), cluster.map)
    assert recover(cluster)
    assert not salvage.is_lost(cluster.part, cluster.hearing)
    assert "needs no recovery" in why_not(cluster)
    cluster.map = replace(cluster.map, partitions=(replace(cluster.part, epoch=Epoch(9)),))
    assert orders.is_done(("0", Verb.RECOVER, 3), cluster.map), "whoever made the later epoch"


def test_who_was_given_up_comes_back_as_nobody() -> None:
    cluster = Cluster(a_part(A), nodes="abcde")
    kept = cluster.members
    cluster.die(B, C)
    assert recover(cluster)
    cluster.silent = set()
    cluster.members = [replace(member, incarnation=Incarnation(2)) for member in kept]
    cluster.finish()
    assert states(cluster) == "bc"
    assert not {B, C} & set(cluster.part.replicas)
    assert cluster.part.config > MapVersion(8)
