"""Who comes into the cluster, who leaves it, and who is given up for dead."""

import pytest
from tests.support.core.parts import MINE, A, B, C, Cluster, D, E, a_member, a_part

from ringkeep.core.cluster.orders import Verb
from ringkeep.core.cluster.replica_changes import under_way
from ringkeep.core.protocol.cluster_map import NodeState
from ringkeep.core.protocol.messages import Said

ACTIVE, JOINING, LEAVING, DEAD = NodeState.ACTIVE, NodeState.JOINING, NodeState.LEAVING, NodeState.DEAD


# --- who comes -------------------------------------------------------------------------------------------


def test_a_newcomer_is_joining_until_it_votes_wherever_it_should() -> None:
    cluster = Cluster(*[a_part(A)] * 8, nodes="abc")
    cluster.members.append(a_member(D))
    cluster.step()
    while cluster.node(D).state == JOINING:
        before = cluster.map.partitions
        cluster.say_all()
        assert cluster.step()
    assert under_way(before) > 0, "not a step too late"
    assert all(D in part.voters for part in cluster.map.partitions if D in part.replicas)
    assert under_way(cluster.map.partitions) == 0, "nor too early"
    assert sum(D in part.voters for part in cluster.map.partitions) >= 5, "its share of 8 x 3"


def test_a_newcomer_is_given_nothing_while_it_is_not_fit() -> None:
    cluster = Cluster(a_part(A), c=LEAVING, nodes="abc")
    cluster.members.append(a_member(D))
    cluster.unfit = {D}
    cluster.step()
    assert (cluster.node(D).state, cluster.part.learner) == (JOINING, None)


@pytest.mark.parametrize("taken", [{"name": "a"}, {"http": "a:1"}, {"peer": "a:2"}], ids=str)
def test_a_newcomer_with_the_name_or_an_address_of_another_is_not_let_in(taken: dict[str, str]) -> None:
    cluster = Cluster(nodes="abc")
    cluster.members.append(a_member(D, **taken))
    assert not cluster.step()


def test_of_two_newcomers_of_one_name_the_first_is_let_in() -> None:
    cluster = Cluster(nodes="abc")
    cluster.members += [a_member(D), a_member(E, name="d")]
    cluster.step()
    assert (cluster.map.node(D) is not None, cluster.map.node(E)) == (True, None)


def test_a_newcomer_takes_the_name_and_the_addresses_of_a_dead_node() -> None:
    cluster = Cluster(c=DEAD)
    newcomer = a_member(E, name="c", http="c:1", peer="c:2")
    cluster.members = [a_member(node, cluster_id=MINE) for node in (A, B, D)] + [newcomer]
    cluster.step()
    assert (cluster.node(E).name, cluster.node(C).name) == ("c", f"c~{C[:8]}")
    assert cluster.node(C).state == DEAD


def test_who_has_left_is_no_newcomer() -> None:
    cluster = Cluster(nodes="abc")
    cluster.members.append(a_member(D, cluster_id=MINE))
    assert not cluster.step()


# --- who goes --------------------------------------------------------------------------------------------


def test_who_leaves_is_named_until_it_holds_nothing_and_its_process_has_ended() -> None:
    cluster = Cluster(a_part(A))
    cluster.order(Verb.DECOMMISSION, C)
    assert cluster.node(C).state == LEAVING
    while C in cluster.part.replicas:
        assert cluster.node(C).state == LEAVING
        cluster.say(Said.CAUGHT_UP, D)
        cluster.say(Said.SETTLED)
        assert cluster.step()
    assert not cluster.step(), "clients may use it until it ends"
    cluster.die(C)
    cluster.step()
    assert cluster.map.node(C) is None


def test_who_leaves_is_named_while_it_holds_anything_though_its_process_has_ended() -> None:
    cluster = Cluster(a_part(A, (A, B, D)), a_part(A), d=LEAVING)
    cluster.die(D)
    cluster.step()
    assert cluster.node(D).state == LEAVING
    cluster.finish()
    assert cluster.map.node(D) is None
    assert all(D not in part.replicas for part in cluster.map.partitions)


@pytest.mark.parametrize("cluster_id", ["", MINE])
def test_who_leaves_is_never_taken_for_a_newcomer(cluster_id: str) -> None:
    cluster = Cluster(nodes="abcd", d=LEAVING)
    cluster.members[-1] = a_member(D, cluster_id=cluster_id, incarnation=2)
    cluster.finish()
    assert cluster.node(D).state == LEAVING, "it is registered, whatever it says"


@pytest.mark.parametrize(("verb", "state"), [(Verb.DECOMMISSION, LEAVING), (Verb.GIVE_UP, DEAD)])
def test_an_order_that_leaves_too_few_nodes_is_refused(verb: Verb, state: NodeState) -> None:
    cluster = Cluster(a_part(A), nodes="abc")
    cluster.silent = {C}
    assert not cluster.order(verb, C)
    cluster = Cluster(a_part(A))
    cluster.silent = {C, D}
    cluster.orders = [(C, verb, 0), (D, verb, 0)]
    cluster.step()
    assert [node.state for node in cluster.map.nodes] == [ACTIVE, ACTIVE, state, ACTIVE], "one may go"


def test_the_dead_stay_dead() -> None:
    cluster = Cluster(a_part(A, (A, B, D)), c=DEAD)
    cluster.members[2] = a_member(C, incarnation=2)
    for verb in (Verb.DECOMMISSION, Verb.DRAIN, Verb.UNDRAIN, Verb.GIVE_UP):
        assert not cluster.order(verb, C), "nor is a later life of theirs known"
    assert not cluster.order(Verb.WEIGHT, C, 2)


def test_the_replicas_of_a_dead_node_are_made_anew() -> None:
    cluster = Cluster(a_part(A))
    cluster.die(C)
    cluster.order(Verb.GIVE_UP, C)
    cluster.finish()
    assert sorted(cluster.part.voters) == [A, B, D]
    assert cluster.node(C).state == DEAD, "it is kept, so that it never comes back"


def test_everybody_suspects_the_dead() -> None:
    """Nobody watches them any more, so nobody says so: c, dead, leads, and a and b have no complaint."""
    cluster = Cluster(a_part(C), c=DEAD)
    cluster.step()
    assert (cluster.part.epoch, cluster.part.primary) == (4, A)


def test_the_dead_have_no_word() -> None:
    cluster = Cluster(a_part(A, (A, B, C, D, E)), nodes="abcde", replication=5, d=DEAD, e=DEAD)
    cluster.suspects = {B: (A,), D: (A,), E: (A,)}
    cluster.step()
    assert (cluster.part.epoch, cluster.part.primary) == (3, A), "they depose nobody"


def test_the_dead_lead_nothing_and_are_not_reached() -> None:
    cluster = Cluster(a_part(A), b=DEAD)
    cluster.say(Said.FAILED)
    cluster.step()
    assert cluster.part.primary == C, "though b is preferred"
    led_by_b = Cluster(a_part(B), nodes="abcde", b=DEAD, c=DEAD)
    led_by_b.suspects = {A: (B,), C: (B,)}
    led_by_b.step()
    assert (led_by_b.part.epoch, led_by_b.part.primary) == (3, B), "a alone could not become ACTIVE"
