"""A partition whose majority is gone goes on with its best copy, on an operator's order and never else."""

from dataclasses import replace

import pytest
from tests.support.core.parts import A, B, C, Cluster, D, E, a_part

from ringkeep.core.cluster import orders, quorum_loss
from ringkeep.core.cluster.observations import Copy
from ringkeep.core.cluster.orders import Verb
from ringkeep.core.cluster.planner import next_map
from ringkeep.core.protocol import limits
from ringkeep.core.protocol.cluster_map import NodeState
from ringkeep.core.protocol.messages import Said
from ringkeep.core.protocol.types import Epoch, Incarnation, Index, MapVersion, NodeId
from ringkeep.sim.checks.map_rules import illegal

ACTIVE, LEAVING, DEAD = NodeState.ACTIVE, NodeState.LEAVING, NodeState.DEAD
STEP = limits.RECOVERY_STEP


def a_copy(last_epoch: int, last_index: int, promised: int = 3) -> Copy:
    return Copy(Epoch(promised), Epoch(last_epoch), Index(last_index))


def why_not(cluster: Cluster, number: int | str = 0, *lost: NodeId) -> str:
    """The reason against a recovery that names as lost these, or else everybody who is silent."""
    order = (str(number), Verb.RECOVER, 0)
    return orders.objection(order, cluster.map, cluster.reachability, lost or cluster.silent)


def recover(cluster: Cluster, *numbers: int, epoch: int = 3, lost: set[NodeId] | None = None) -> bool:
    """Order it, and take the next map; tell whether it was done."""
    named = cluster.silent if lost is None else lost
    cluster.orders = [(node, Verb.LOST, 0) for node in sorted(named)]
    cluster.orders += [(str(number), Verb.RECOVER, epoch) for number in numbers or (0,)]
    found = next_map(cluster.map, cluster.seen)
    cluster.orders = []
    if found is None:
        return False
    assert illegal(cluster.map, found) == ""
    before, cluster.map = cluster.map, found
    return any(old.base != new.base for old, new in zip(before.partitions, found.partitions, strict=True))


def states(cluster: Cluster) -> str:
    return "".join(node.name for node in cluster.map.nodes if node.state == DEAD)


# --- refused ---------------------------------------------------------------------------------------------


def test_a_partition_with_a_majority_needs_no_recovery() -> None:
    cluster = Cluster(a_part(A), nodes="abcde")
    for silent in (set[NodeId](), {A}, {C}, {D, E}):
        cluster.silent = silent
        assert why_not(cluster) == "partition 0 has a majority of its replicas, and needs no recovery"
        assert not recover(cluster)
        assert quorum_loss.voters_of(cluster.part) == (A, B, C)
        assert states(cluster) == "", "nobody is given up for lost without a recovery"
    cluster.silent = {B, C}
    assert why_not(cluster) == ""


def test_while_joint_either_majority_that_is_gone_is_a_loss() -> None:
    cluster = Cluster(a_part(A, (A, B, D), old_voters=(A, B, C)), nodes="abcde")
    cluster.silent = {C, D}
    assert "has a majority" in why_not(cluster), "a and b are one of both"
    for silent in ({B, C}, {B, D}):
        cluster.silent = set(silent)
        assert why_not(cluster) == ""


def test_silence_is_no_proof_of_loss() -> None:
    """A node that is cut off hears nobody, and everything it does not hear may go on elsewhere."""
    cluster = Cluster(a_part(A), nodes="abcde")
    cluster.die(B, C, D, E)
    reason = why_not(cluster, 0, A)
    assert "these nodes do not answer, but may be alive: b, c, d, e." in reason
    assert reason.endswith("must be named: --lost b --lost c --lost d --lost e")
    assert not recover(cluster, lost=set())
    for named in ({B}, {B, C}, {B, C, D}, {C, D, E}):
        assert not recover(cluster, lost=set(named))
        assert states(cluster) == ""
    assert recover(cluster)
    assert states(cluster) == "bcde"


def test_a_majority_that_is_silent_together_is_no_loss_either_though_a_majority_of_nodes_is_heard() -> None:
    """The two may serve on the other side of a broken network."""
    cluster = Cluster(a_part(A), nodes="abcde")
    cluster.die(B, C)
    assert "--lost b --lost c" in why_not(cluster, 0, A)
    assert "must be named: --lost c" in why_not(cluster, 0, B)
    assert not recover(cluster, lost={B})
    assert recover(cluster, lost={B, C})


def test_every_silent_node_is_asked_for_whatever_it_holds_by_the_map() -> None:
    """It may hold a copy that the map has given up, and that nobody has seen."""
    cluster = Cluster(a_part(A), nodes="abcde")
    cluster.die(B, C, E)
    assert why_not(cluster, 0, B, C).endswith("must be named: --lost e")
    assert not recover(cluster, lost={B, C})


def test_nothing_is_recovered_while_anybody_hears_a_node_that_is_silent_here() -> None:
    """It is cut off, and has its majority elsewhere: what it acknowledges would be lost."""
    cluster = Cluster(a_part(A), nodes="abcde")
    cluster.silent, cluster.heard = {B, C}, {(E, C)}
    reason = why_not(cluster)
    assert reason == (
        "c still answers to e: repair the network, or stop it first. It may have all of partition 0"
    )
    assert not recover(cluster)
    cluster.heard = set()
    assert why_not(cluster) == ""


def test_nothing_is_recovered_while_a_silent_node_is_registered() -> None:
    """It may be on the other side of a split network, with the majority."""
    cluster = Cluster(a_part(A), nodes="abcde")
    cluster.silent = {B, C}
    registered = replace(cluster.reachability, registered=[B])
    reason = quorum_loss.objection(cluster.map, "0", registered, {B, C})
    assert "b is still registered in ZooKeeper" in reason
    assert not recover(cluster)


def test_who_lives_is_not_lost() -> None:
    cluster = Cluster(a_part(A), nodes="abcde", e=DEAD)
    cluster.die(B, C, E)

    def reason(node: NodeId) -> str:
        return orders.objection((node, Verb.LOST, 0), cluster.map, cluster.reachability)

    assert reason(D) == "d answers, and is not lost: leave it out, or stop it first"
    assert reason(B) == ""
    cluster.heard = {(D, B)}
    assert "b still answers to d" in reason(B)
    assert orders.is_done((E, Verb.LOST, 0), cluster.map)
    assert not orders.is_done((B, Verb.LOST, 0), cluster.map)


def test_the_dead_are_watched_by_nobody_and_hold_nothing_up() -> None:
    cluster = Cluster(a_part(A), nodes="abcde", b=DEAD)
    cluster.silent = {B, C}
    cluster.heard = {(A, B), (D, B), (E, B)}
    assert why_not(cluster, 0, C) == ""


def test_who_answers_must_have_said_what_it_holds() -> None:
    cluster = Cluster(a_part(A), nodes="abcde")
    cluster.die(B, C)
    cluster.unsaid = {E}
    assert why_not(cluster).startswith("e has not reported yet its copy of partition 0")
    assert not recover(cluster)
    cluster.unsaid = set()
    assert recover(cluster)


@pytest.mark.parametrize("number", ["1", "-1", "all", "", "²"])
def test_there_must_be_such_a_partition(number: str) -> None:
    cluster = Cluster(a_part(A))
    cluster.silent = {B, C}
    assert f"there is no partition {number}: they are 0 to 0" in why_not(cluster, number)


# --- the best copy ---------------------------------------------------------------------------------------


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


def test_a_learner_that_holds_everything_goes_on_when_all_voters_are_gone() -> None:
    cluster = Cluster(a_part(A, learner=E, replaces=B), nodes="abcde")
    cluster.copies = {E: a_copy(3, 700)}
    cluster.die(A, B, C)
    assert recover(cluster)
    assert (cluster.part.voters, cluster.part.primary, states(cluster)) == ((E,), E, "abc")


def test_a_learner_that_is_ahead_goes_before_a_voter_that_is_behind() -> None:
    cluster = Cluster(a_part(A, learner=D, replaces=B), nodes="abcde")
    cluster.copies = {C: a_copy(3, 650), D: a_copy(3, 700)}
    cluster.die(A, B)
    assert recover(cluster)
    assert cluster.part.voters == (D,)


@pytest.mark.parametrize(
    ("copies", "best"),
    [
        ({A: a_copy(3, 10), D: a_copy(2, 900)}, A),  # the later epoch, whatever the length
        ({A: a_copy(2, 900), D: a_copy(3, 10)}, D),
        ({A: a_copy(3, 10), D: a_copy(3, 10), E: a_copy(3, 10)}, A),  # of equals the voter
        ({A: a_copy(0, 0), E: a_copy(1, 1)}, E),  # an empty replica is no copy
        ({A: a_copy(3, 9), E: a_copy(3, 10)}, E),  # one that the map has given up, and nobody released
    ],
)
def test_the_most_advanced_copy_goes_on_whatever_its_part(copies: dict[NodeId, Copy], best: NodeId) -> None:
    cluster = Cluster(a_part(B), nodes="abcde")
    cluster.copies = copies
    cluster.die(B, C)
    assert recover(cluster)
    assert cluster.part.voters == (best,)


def test_an_old_voter_that_is_being_let_go_is_a_copy_too() -> None:
    joint = Cluster(a_part(A, (D, B, A), old_voters=(A, C, B)), nodes="abcde")
    joint.copies = {C: a_copy(3, 31), D: a_copy(3, 30)}
    joint.die(A, B)
    assert recover(joint)
    assert (joint.part.voters, joint.part.old_voters, joint.part.primary) == ((C,), (), C)


def test_damaged_voters_answer_and_count_for_nothing_but_their_copies_do() -> None:
    cluster = Cluster(a_part(A), nodes="abcde")
    cluster.damaged = {B}
    cluster.die(C)
    assert why_not(cluster) == ""
    assert recover(cluster)
    assert (cluster.part.voters, states(cluster)) == ((A,), "c"), "of equal copies the undamaged one"
    ahead = Cluster(a_part(A), nodes="abcde")
    ahead.damaged, ahead.copies = {B}, {A: a_copy(3, 10), B: a_copy(3, 12)}
    ahead.die(C)
    assert recover(ahead)
    assert (ahead.part.voters, states(ahead)) == ((B,), "c")


def test_the_copies_are_made_anew_from_there() -> None:
    cluster = Cluster(a_part(A), nodes="abcde")
    cluster.die(B, C)
    assert recover(cluster)
    base = cluster.part.base
    cluster.finish()
    assert sorted(cluster.part.voters) == [A, D, E]
    assert (cluster.part.primary, cluster.part.epoch, cluster.part.base) == (A, 4, base)
    assert states(cluster) == "bc"


def test_without_an_order_a_lost_partition_stays_as_it_is() -> None:
    cluster = Cluster(a_part(A), nodes="abcde")
    cluster.die(B, C)
    cluster.lost = cluster.absent = {B, C}
    cluster.say(Said.FAILED)
    assert not cluster.step()


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


def test_with_no_copy_left_it_begins_empty_with_one_voter_that_answers() -> None:
    cluster = Cluster(a_part(A), nodes="abcde", d=LEAVING)
    cluster.die(A, B, C)
    assert recover(cluster)
    assert (cluster.part.voters, cluster.part.primary, cluster.part.epoch) == ((E,), E, 4)
    assert (cluster.part.base, states(cluster)) == (STEP, "abc"), "its indices were used all the same"


@pytest.mark.parametrize("damaged", [set[NodeId](), {D}])
def test_with_no_copy_left_it_begins_empty_also_on_a_node_that_leaves_or_is_damaged(
    damaged: set[NodeId],
) -> None:
    """Nobody else could join before: a map needs a majority of its voters."""
    cluster = Cluster(a_part(A), nodes="abcd", d=LEAVING)
    cluster.damaged = damaged
    cluster.die(A, B, C)
    assert recover(cluster)
    assert (cluster.part.voters, cluster.part.base, states(cluster)) == ((D,), STEP, "abc")


def test_an_undamaged_empty_node_goes_before_a_damaged_one() -> None:
    cluster = Cluster(a_part(A), nodes="abcde")
    cluster.damaged = {D}
    cluster.die(A, B, C)
    assert recover(cluster)
    assert cluster.part.voters == (E,)


def test_with_nobody_left_who_could_hold_it_nothing_is_done() -> None:
    cluster = Cluster(a_part(A), nodes="abc")
    cluster.die(A, B, C)
    assert "no node is left that could hold partition 0" in why_not(cluster)
    assert not recover(cluster)
    assert (cluster.part, states(cluster)) == (a_part(A), "")


def test_the_survivor_leads_in_the_start_in_which_it_answers() -> None:
    """The map may name an earlier start: without a majority it could not be written when that one ended."""
    cluster = Cluster(a_part(A), nodes="abc")
    cluster.damaged = {A}
    cluster.die(B, C)
    cluster.members = [replace(member, incarnation=Incarnation(2)) for member in cluster.members]
    assert recover(cluster)
    assert (cluster.part.voters, cluster.part.incarnation, cluster.node(A).incarnation) == ((A,), 2, 2)


# --- past everything that was promised -------------------------------------------------------------------


def test_the_epoch_is_past_every_promise_and_the_indices_are_past_all_that_can_have_been_given_out() -> None:
    cluster = Cluster(a_part(A), nodes="abcde")
    cluster.copies = {A: a_copy(3, 10, promised=6), E: a_copy(0, 0, promised=9)}
    cluster.die(B, C)
    assert recover(cluster)
    assert (cluster.part.epoch, cluster.part.base) == (10, STEP)


def test_each_recovery_begins_above_the_one_before() -> None:
    """Also where the map, or the copies, do not know of the one before."""
    cluster = Cluster(a_part(A, base=Index(2 * STEP)), nodes="abcde")
    cluster.copies = {A: a_copy(3, 10)}
    cluster.die(B, C)
    assert recover(cluster)
    assert cluster.part.base == 3 * STEP
    forgotten = Cluster(a_part(A), nodes="abcde")
    forgotten.copies = {A: a_copy(3, 5 * STEP + 7)}
    forgotten.die(B, C)
    assert recover(forgotten)
    assert forgotten.part.base == 6 * STEP


# --- once ------------------------------------------------------------------------------------------------


def test_a_recovery_is_not_repeated_when_its_survivor_falls_silent_too() -> None:
    """The order is good for a while after it was carried out: it must not cost the last replica."""
    cluster = Cluster(a_part(A), nodes="abcde")
    cluster.die(B, C)
    assert recover(cluster)
    cluster.die(A)
    assert quorum_loss.is_lost(cluster.part, cluster.reachability)
    assert orders.is_done(("0", Verb.RECOVER, 3), cluster.map)
    assert not recover(cluster)
    assert cluster.part.voters == (A,)
    assert recover(cluster, epoch=4)
    assert (cluster.part.voters, cluster.part.epoch) == ((D,), 5), "but another order may"


def test_a_recovery_is_not_repeated_while_its_survivor_only_seems_damaged() -> None:
    """It may have begun to serve, which others hear later; what it reported before says nothing of that."""
    cluster = Cluster(a_part(A), nodes="abc")
    cluster.damaged = cluster.unfit = {A}
    cluster.die(B, C)
    assert recover(cluster)
    assert quorum_loss.is_lost(cluster.part, cluster.reachability)
    assert why_not(cluster).startswith("partition 0 was recovered already, and continues with a")
    assert not recover(cluster, epoch=4)
    cluster.members = [replace(member, incarnation=Incarnation(2)) for member in cluster.members]
    cluster.step()
    assert cluster.node(A).incarnation == 2
    assert recover(cluster, epoch=4), "another start of it has not continued yet"
    assert (cluster.part.incarnation, cluster.part.base) == (2, 2 * STEP)


def test_a_recovered_partition_has_its_majority() -> None:
    cluster = Cluster(a_part(A), nodes="abcde")
    cluster.die(B, C)
    assert not orders.is_done(("0", Verb.RECOVER, 3), cluster.map)
    assert recover(cluster)
    assert not quorum_loss.is_lost(cluster.part, cluster.reachability)
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
