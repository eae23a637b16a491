"""Who is lost without anybody's order, and how a newcomer takes over the name of a node that is gone."""

from collections.abc import Callable
from typing import Any

import pytest
from tests.support.core.parts import MINE, A, B, C, Cluster, D, E, a_member, a_part

from ringkeep.core.protocol.cluster_map import Member, NodeState
from ringkeep.core.protocol.messages import Said
from ringkeep.core.protocol.types import NodeId

ACTIVE, JOINING, LEAVING, DEAD = NodeState.ACTIVE, NodeState.JOINING, NodeState.LEAVING, NodeState.DEAD


def states(cluster: Cluster) -> dict[str, NodeState]:
    return {node.name: node.state for node in cluster.map.nodes}


# --- the lost --------------------------------------------------------------------------------------------


def losing_d() -> Cluster:
    """d has been silent for the grace time, and its registration is gone; nobody needs it."""
    cluster = Cluster(a_part(A, (A, B, D)), nodes="abcde")
    cluster.die(D)
    cluster.lost = {D}
    return cluster


def test_who_is_silent_for_the_grace_time_is_given_up_and_its_replicas_are_made_anew() -> None:
    cluster = losing_d()
    assert cluster.step()
    assert states(cluster) == {"a": ACTIVE, "b": ACTIVE, "c": ACTIVE, "d": DEAD, "e": ACTIVE}
    cluster.finish()
    assert D not in cluster.part.replicas
    assert len(cluster.part.voters) == 3
    assert cluster.node(D).state == DEAD, "it is kept, so that it never comes back"


def test_before_the_grace_time_silence_and_a_lost_registration_are_no_loss() -> None:
    cluster = losing_d()
    cluster.lost = set()
    cluster.absent = {D}
    assert not cluster.step()


def registered(cluster: Cluster) -> None:
    cluster.members.append(a_member(D, cluster_id=MINE))


def restarted(cluster: Cluster) -> None:
    cluster.members.append(a_member(D, cluster_id=MINE, incarnation=9))


def heard(cluster: Cluster) -> None:
    cluster.heard = {(E, D)}


def needed(cluster: Cluster) -> None:
    cluster.silent.add(B)


def needed_beside_damage(cluster: Cluster) -> None:
    cluster.damaged = cluster.unfit = {B}


@pytest.mark.parametrize(
    "why", [registered, restarted, heard, needed, needed_beside_damage], ids=lambda f: f.__name__
)
def test_nobody_is_given_up_who_may_be_there_or_is_needed(why: Callable[[Cluster], None]) -> None:
    cluster = losing_d()
    why(cluster)
    cluster.step()
    assert states(cluster)["d"] == ACTIVE


def test_of_two_lost_nodes_only_one_goes_where_both_would_be_too_many() -> None:
    cluster = Cluster(a_part(A))
    cluster.die(C, D)
    cluster.lost = {C, D}
    cluster.step()
    assert states(cluster) == {"a": ACTIVE, "b": ACTIVE, "c": DEAD, "d": ACTIVE}
    assert not cluster.step(), "three are left, and each key has three copies"
    needing = Cluster(a_part(A, (A, B, C, D, E)), nodes="abcde", replication=1)
    needing.die(C, D, E)
    needing.lost = {C, D, E}
    needing.serves = False
    assert not needing.step(), "without a majority every one of them is needed"


def test_who_was_leaving_when_it_was_lost_is_dead_too() -> None:
    cluster = Cluster(a_part(A, (A, B, D)), nodes="abcde", d=LEAVING)
    cluster.die(D)
    cluster.lost = {D}
    cluster.step()
    assert states(cluster)["d"] == DEAD


# --- taking over a name ----------------------------------------------------------------------------------


def again(node: Member, **changes: Any) -> Member:
    """A newcomer with a wiped disk on that node's machine."""
    fields: dict[str, Any] = {"name": node.name, "http": node.http, "peer": node.peer, "zone": node.zone}
    return a_member(E, **(fields | changes))


def wiped_d() -> Cluster:
    """d's disk was wiped, and its machine is back as another node, e: the old one answers nobody."""
    cluster = Cluster(*[a_part(A, (A, B, D))] * 4)
    before = cluster.members[3]
    cluster.die(D)
    cluster.members.append(again(before))
    return cluster


def test_a_newcomer_takes_over_the_name_of_a_node_that_is_gone() -> None:
    cluster = wiped_d()
    assert cluster.step()
    assert (cluster.node(E).name, cluster.node(E).state, cluster.node(E).peer) == ("d", JOINING, "d:2")
    assert (cluster.node(D).name, cluster.node(D).state) == (f"d~{D[:8]}", DEAD)
    assert (cluster.node(D).http, cluster.node(D).peer) == ("d:1", "d:2")
    cluster.finish()
    for part in cluster.map.partitions:
        assert D not in part.replicas
        assert len(part.voters) == 3
    assert cluster.node(E).state == ACTIVE
    assert not cluster.step()


def test_the_newcomer_counts_among_those_that_remain() -> None:
    cluster = Cluster(a_part(A), nodes="abc")
    gone = cluster.members[2]
    cluster.die(C)
    cluster.lost = {C}
    assert not cluster.step(), "two would remain, and each key has three copies"
    cluster.members.append(again(gone))
    cluster.step()
    assert states(cluster) == {"a": ACTIVE, "b": ACTIVE, f"c~{C[:8]}": DEAD, "c": JOINING}
    cluster.finish()
    assert sorted(cluster.part.voters) == [A, B, E]


def test_on_another_machine_the_newcomer_has_its_own_addresses() -> None:
    cluster = wiped_d()
    cluster.members[-1] = again(a_member(D), http="e:1", peer="e:2", zone="e")
    cluster.step()
    assert (cluster.node(E).name, cluster.node(E).peer, cluster.node(D).peer) == ("d", "e:2", "d:2")
    cluster = wiped_d()
    cluster.members[-1] = again(a_member(D), peer="b:2")
    cluster.step()
    assert cluster.map.node(E) is None, "that address is b's"


@pytest.mark.parametrize(
    "why", [registered, restarted, heard, needed, needed_beside_damage], ids=lambda f: f.__name__
)
def test_a_name_is_not_taken_from_a_node_that_may_be_there_or_is_needed(
    why: Callable[[Cluster], None],
) -> None:
    cluster = wiped_d()
    if why is heard:
        cluster.heard = {(C, D)}
    else:
        why(cluster)
    cluster.step()
    assert cluster.map.node(E) is None
    assert (cluster.node(D).name, cluster.node(D).state) == ("d", ACTIVE)


def test_a_node_that_answers_the_controller_keeps_its_name_though_it_is_not_registered() -> None:
    cluster = wiped_d()
    cluster.silent = set()
    cluster.step()
    assert cluster.map.node(E) is None


def test_a_name_is_not_taken_where_too_few_would_remain() -> None:
    cluster = Cluster(a_part(A), nodes="abcd", b=LEAVING)
    cluster.serves = False
    gone = cluster.members[3]
    cluster.die(C, D)
    cluster.members.append(again(gone))
    cluster.step()
    assert cluster.node(D).state == DEAD, "a, c and the newcomer remain"
    cluster = Cluster(a_part(A), nodes="abcd", b=LEAVING, c=LEAVING)
    cluster.serves = False
    cluster.die(D)
    cluster.members.append(again(gone))
    assert not cluster.step(), "a and the newcomer would"


def test_of_two_newcomers_of_a_name_that_is_free_again_only_one_has_it() -> None:
    cluster = Cluster(a_part(A, (A, B, C)), nodes="abc")
    gone = cluster.members[2]
    cluster.die(C)
    cluster.members += [again(gone), a_member(D, name="c")]
    cluster.step()
    assert [node.name for node in cluster.map.nodes] == ["a", "b", f"c~{C[:8]}", "c"]
    assert cluster.map.node(D) is None


def test_a_name_changes_hands_again_and_again() -> None:
    cluster = Cluster(nodes="abcd")
    lives = [NodeId(f"{number}" * 32) for number in (7, 8, 9)]
    for node in lives:
        cluster.members.append(a_member(node, "x"))
        cluster.step()
        cluster.finish()
        cluster.die(node)
    assert [n.name for n in cluster.map.nodes][4:] == ["x~77777777", "x~88888888", "x"]
    cluster.members.append(a_member(lives[0], "x"))
    assert not cluster.step(), "the dead are no newcomers"


def test_the_old_nodes_changes_are_rolled_back_and_its_primaryships_pass_on() -> None:
    cluster = Cluster(a_part(D, (D, A, B)), a_part(A, learner=D, replaces=C), nodes="abcd")
    gone = cluster.members[3]
    cluster.die(D)
    cluster.members.append(again(gone))
    cluster.step()
    led, learning = cluster.map.partitions
    assert (led.primary, led.epoch) == (A, 4)
    assert (learning.learner, learning.replaces) == (None, None)
    cluster.say(Said.FAILED)
    cluster.finish()
    assert all(D not in part.replicas for part in cluster.map.partitions)
