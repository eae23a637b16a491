"""How replicas move: by learner, joint voters and stable voters, one step of the map at a time."""

from collections.abc import Callable
from random import Random

import pytest
from tests.support.core.parts import A, B, C, Cluster, D, E, a_member, a_part

from ringkeep.core.cluster.orders import Verb
from ringkeep.core.cluster.replica_changes import under_way
from ringkeep.core.protocol import limits
from ringkeep.core.protocol.cluster_map import NodeState
from ringkeep.core.protocol.messages import Said
from ringkeep.core.protocol.rows import NO_NODE
from ringkeep.core.protocol.types import MapVersion

LEAVING = NodeState.LEAVING


def with_learner() -> Cluster:
    """d comes for c, who is leaving: the first step is done."""
    cluster = Cluster(a_part(A), c=LEAVING)
    assert cluster.step()
    return cluster


def joint() -> Cluster:
    """d comes for c: the second step is done too."""
    cluster = with_learner()
    cluster.say(Said.CAUGHT_UP, D)
    assert cluster.step()
    return cluster


# --- learner, joint, stable ------------------------------------------------------------------------------


def test_a_voter_is_replaced_in_three_steps() -> None:
    cluster = Cluster(a_part(A), c=LEAVING)
    cluster.step()
    part = cluster.part
    assert (part.voters, part.learner, part.replaces, part.config) == ((A, B, C), D, C, 8)
    assert not cluster.step(), "it waits for the primary's word"
    cluster.say(Said.CAUGHT_UP, D)
    cluster.step()
    part = cluster.part
    assert (part.voters, part.old_voters, part.learner, part.config) == ((A, B, D), (A, B, C), None, 9)
    assert not cluster.step()
    cluster.say(Said.SETTLED)
    cluster.step()
    part = cluster.part
    assert (part.voters, part.old_voters, part.config) == ((A, B, D), (), 10)
    assert (part.epoch, part.primary) == (3, A), "all of it under one epoch"


WRONG = [{"epoch": 2}, {"epoch": 4}, {"config": 1}, {"config": 7}, {"config": 10}, {"epoch": 4, "config": 10}]


@pytest.mark.parametrize("wrong", WRONG, ids=str)
def test_a_word_for_another_epoch_or_config_moves_nothing(wrong: dict[str, int]) -> None:
    waiting = with_learner()
    waiting.say(Said.CAUGHT_UP, D, **wrong)
    assert not waiting.step()
    settling = joint()
    settling.say(Said.SETTLED, NO_NODE, **wrong)
    assert not settling.step()


def test_a_word_for_another_learner_or_another_step_moves_nothing() -> None:
    cluster = with_learner()
    cluster.say(Said.CAUGHT_UP, C)
    cluster.say(Said.SETTLED)
    assert not cluster.step()
    cluster.say(Said.CAUGHT_UP, D)
    cluster.step()
    cluster.say(Said.CAUGHT_UP, D)
    assert not cluster.step()


@pytest.mark.parametrize("make", [with_learner, joint])
@pytest.mark.parametrize("why", ["damaged", "absent", "leaving", "dead"])
def test_a_newcomer_that_is_not_to_come_holds_nothing_up(make: Callable[[], Cluster], why: str) -> None:
    cluster = make()
    cluster.suspects = dict.fromkeys((A, B, C), (D,))
    assert not cluster.step(), "a suspicion alone is no reason to go back"
    if why in ("leaving", "dead"):
        cluster.members.append(a_member(E))
        assert cluster.step(), "there are enough without it now"
    before = cluster.part
    if why == "leaving":
        cluster.order(Verb.DECOMMISSION, D)
    elif why == "dead":
        cluster.die(D)
        cluster.order(Verb.GIVE_UP, D)
    else:
        getattr(cluster, why).add(D)
        cluster.step()
    part = cluster.part
    assert (part.voters, part.old_voters, part.learner, part.replaces) == ((A, B, C), (), None, None)
    assert part.config == cluster.map.version > before.config, "what is said of the old config is void"


def test_the_voter_that_goes_may_be_as_dead_as_it_likes() -> None:
    cluster = joint()
    cluster.damaged, cluster.absent = {C}, {C}
    assert not cluster.step(), "only newcomers can hold a change up"
    cluster.say(Said.SETTLED)
    cluster.step()
    assert cluster.part.voters == (A, B, D)


def test_nothing_begins_before_the_primary_serves() -> None:
    cluster = Cluster(a_part(A), c=LEAVING)
    cluster.serves = False
    assert not cluster.step()


def test_what_is_under_way_goes_on_though_nothing_would_begin() -> None:
    cluster = with_learner()
    cluster.serves = False
    cluster.unfit = {D}
    cluster.say(Said.CAUGHT_UP, D)
    assert cluster.step()
    assert cluster.part.old_voters == (A, B, C)


def test_who_is_not_fit_is_waited_for_or_passed_over() -> None:
    cluster = Cluster(a_part(A), c=LEAVING)
    cluster.unfit = {D}
    assert not cluster.step(), "c is not let go before there is another"
    cluster.unfit.clear()
    assert cluster.step()


# --- which voter goes ------------------------------------------------------------------------------------


def test_the_primary_is_moved_before_it_goes() -> None:
    cluster = Cluster(a_part(A), a=LEAVING)
    cluster.step()
    assert (cluster.part.voters[-1], cluster.part.learner) == (A, None), "last in order: it hands over"
    assert (cluster.part.primary, cluster.part.config) == (A, 1), "the order is no change of replicas"
    assert not cluster.step()
    cluster.say(Said.HANDOVER, cluster.part.voters[0])
    cluster.step()
    assert (cluster.part.epoch, cluster.part.primary) == (4, cluster.part.voters[0])
    cluster.step()
    assert (cluster.part.learner, cluster.part.replaces) == (D, A)


def test_a_voter_that_became_primary_meanwhile_is_not_replaced() -> None:
    part = a_part(C, learner=D, replaces=C, config=MapVersion(5))
    cluster = Cluster(part, c=LEAVING)
    cluster.say(Said.CAUGHT_UP, D)
    cluster.step()
    assert (cluster.part.learner, cluster.part.old_voters) == (D, ()), "not yet"
    assert cluster.part.voters[-1] == C, "it hands over first"


def test_the_voter_that_is_being_replaced_is_the_last_in_line() -> None:
    """Else it could become the primary, and not be let go."""
    cluster = Cluster(a_part(B, (C, B, A), learner=D, replaces=C), nodes="abcde", b=LEAVING, c=LEAVING)
    cluster.step()
    assert cluster.part.voters == (A, B, C)


def test_a_damaged_primary_is_moved_before_it_is_replaced() -> None:
    cluster = Cluster(a_part(A))
    cluster.damaged = cluster.unfit = {A}
    cluster.step()
    assert (cluster.part.epoch, cluster.part.primary) == (4, B), "it answers, and never takes over"
    cluster.step()
    assert (cluster.part.learner, cluster.part.replaces) == (D, A)


def test_a_lone_voter_is_joined_before_it_is_let_go() -> None:
    cluster = Cluster(a_part(A, (A,)), nodes="ad", replication=1, a=LEAVING)
    cluster.step()
    assert (cluster.part.voters, cluster.part.learner, cluster.part.replaces) == ((A,), D, None)
    cluster.say(Said.CAUGHT_UP, D)
    cluster.step()
    assert (cluster.part.voters, cluster.part.old_voters) == ((D, A), (A,)), "d is to lead"
    cluster.say(Said.SETTLED)
    cluster.step()
    assert (cluster.part.voters, cluster.part.old_voters) == ((D, A), ())
    cluster.say(Said.HANDOVER, D)
    cluster.finish()
    assert (cluster.part.voters, cluster.part.primary) == ((D,), D)


def test_with_nobody_to_come_a_damaged_voter_goes_and_comes_back_as_a_newcomer() -> None:
    cluster = Cluster(a_part(A), nodes="abc")
    cluster.damaged = {C}
    cluster.step()
    assert (cluster.part.voters, cluster.part.old_voters) == ((A, B), (A, B, C))
    cluster.absent = {A, B, C}
    assert not cluster.step(), "nobody comes, so nobody is waited for: there is no going back"
    cluster.say(Said.SETTLED)
    cluster.step()
    assert (cluster.part.voters, cluster.part.old_voters) == ((A, B), ())
    assert not cluster.step(), "still damaged: c is given nothing"
    cluster.damaged, cluster.absent = set(), set()
    cluster.step()
    assert (cluster.part.learner, cluster.part.replaces) == (C, None)
    cluster.finish()
    assert sorted(cluster.part.voters) == [A, B, C]


def test_a_damaged_voter_is_replaced_at_once_where_there_is_another() -> None:
    cluster = Cluster(a_part(A))
    cluster.damaged = {B}
    cluster.step()
    assert (cluster.part.learner, cluster.part.replaces) == (D, B)


def test_the_order_of_voters_stands_while_they_are_joint() -> None:
    cluster = Cluster(a_part(A, (A, B, D), old_voters=(A, B, C)), a=LEAVING)
    assert not cluster.step()


# --- how much at once ------------------------------------------------------------------------------------


def test_only_so_many_partitions_change_at_one_time() -> None:
    cluster = Cluster(*[a_part(A)] * (limits.MOVES_AT_ONCE + 2), c=LEAVING)
    cluster.step()
    assert under_way(cluster.map.partitions) == limits.MOVES_AT_ONCE
    cluster.say(Said.CAUGHT_UP, D)
    cluster.step()
    assert under_way(cluster.map.partitions) == limits.MOVES_AT_ONCE, "joint is under way too"
    cluster.say(Said.SETTLED)
    cluster.step()
    cluster.step()
    assert sorted(cluster.part.voters) == [A, B, D]
    assert under_way(cluster.map.partitions) == limits.MOVES_AT_ONCE, "one ended, one began"
    assert not cluster.step()


@pytest.mark.parametrize("make", [with_learner, joint])
def test_replicas_never_change_together_with_the_epoch(make: Callable[[], Cluster]) -> None:
    cluster = make()
    before = cluster.part
    cluster.say(Said.CAUGHT_UP, D)
    cluster.say(Said.SETTLED)
    cluster.suspects = dict.fromkeys((B, C, D), (A,))
    cluster.step()
    part = cluster.part
    assert (part.epoch, part.primary, part.config) == (4, B, before.config)
    assert (part.learner, part.old_voters) == (before.learner, before.old_voters)
    cluster.suspects = {}
    assert not cluster.step(), "what the old primary said is void"


def test_a_change_does_not_begin_together_with_a_new_epoch_either() -> None:
    cluster = Cluster(a_part(A), c=LEAVING)
    cluster.suspects = {B: (A,), C: (A,)}
    cluster.step()
    assert (cluster.part.epoch, cluster.part.learner) == (4, None)


def test_a_change_that_is_over_begins_nothing() -> None:
    cluster = Cluster(*[a_part(A)] * 8, c=LEAVING)
    cluster.finish()
    assert all(C not in part.replicas for part in cluster.map.partitions)
    assert under_way(cluster.map.partitions) == 0
    cluster.said.clear()
    assert not cluster.step(), "planning its own result changes nothing"


@pytest.mark.parametrize("seed", range(20))
def test_whatever_happens_every_map_is_legal_and_in_the_end_all_is_where_it_should_be(seed: int) -> None:
    """`Cluster.step` holds each map against `transitions.illegal`."""
    random = Random(seed)
    cluster = Cluster(*[a_part(node) for node in (A, B, C, A)], nodes="abcde")
    for _ in range(60):
        trouble = random.choice([cluster.damaged, cluster.absent, cluster.unfit])
        trouble ^= {random.choice((A, B, C, D, E))}
        cluster.suspects = {node: (random.choice((A, B, C, D, E)),) for node in (A, B, C, D, E)}
        cluster.serves = random.random() < 0.8
        leaver = random.choice((D, E))
        cluster.orders = [(leaver, Verb.DECOMMISSION, 0)] if random.random() < 0.05 else []
        if random.random() < 0.7:
            cluster.say_all()
        cluster.step()
    cluster.damaged, cluster.absent, cluster.unfit, cluster.serves = set(), set(), set(), True
    cluster.suspects, cluster.orders = {}, []
    cluster.finish()
    staying = {node.id for node in cluster.map.nodes if node.state != LEAVING}
    for part in cluster.map.partitions:
        assert (len(set(part.voters)), part.old_voters, part.learner) == (3, (), None)
        assert staying.issuperset(part.voters)
