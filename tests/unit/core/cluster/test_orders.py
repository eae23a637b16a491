"""What operators order: what each order does, once, and why one is refused."""

import pytest
from tests.support.core.parts import A, B, C, Cluster, D, E, a_part

from ringkeep.core.cluster import cluster_settings
from ringkeep.core.cluster.cluster_settings import MOVES, PAUSED, REPLICATION, RUNNING, SETTINGS
from ringkeep.core.cluster.orders import Verb, about, carry_out, is_done, objection
from ringkeep.core.protocol.cluster_map import NodeState
from ringkeep.core.protocol.messages import Order
from ringkeep.core.protocol.types import MapVersion

ACTIVE, JOINING, DRAINING, LEAVING, DEAD = (
    NodeState.ACTIVE,
    NodeState.JOINING,
    NodeState.DRAINING,
    NodeState.LEAVING,
    NodeState.DEAD,
)


def why_not(cluster: Cluster, verb: str, subject: str, number: int = 0) -> str:
    """The reason why an order is refused; it is held against what the controller makes of that order."""
    order = (subject, verb, number)
    reason = objection(order, cluster.map, cluster.reachability)
    changed = carry_out([order], cluster.map, cluster.reachability) != cluster.map
    assert changed == (not reason and not is_done(order, cluster.map)), "the two agree"
    return reason


# --- what they do, once ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("verb", "number", "before", "after"),
    [
        (Verb.DRAIN, 0, ACTIVE, DRAINING),
        (Verb.UNDRAIN, 0, DRAINING, ACTIVE),
        (Verb.UNDRAIN, 0, LEAVING, JOINING),  # it holds nothing any more
        (Verb.UNDRAIN, 0, JOINING, JOINING),
        (Verb.DECOMMISSION, 0, ACTIVE, LEAVING),
        (Verb.DECOMMISSION, 0, DRAINING, LEAVING),
        (Verb.DECOMMISSION, 0, JOINING, LEAVING),
        (Verb.GIVE_UP, 0, ACTIVE, DEAD),
        (Verb.GIVE_UP, 0, LEAVING, DEAD),
        (Verb.WEIGHT, 100, ACTIVE, JOINING),
        (Verb.WEIGHT, 2, LEAVING, LEAVING),
    ],
)
def test_an_order_about_a_node_takes_effect_once(
    verb: Verb, number: int, before: NodeState, after: NodeState
) -> None:
    cluster = Cluster(a_part(A), nodes="abcde", d=before)
    if verb == Verb.GIVE_UP:
        cluster.die(D)
    order = (D, verb, number)
    assert objection(order, cluster.map, cluster.reachability) == ""
    once = carry_out([order], cluster.map, cluster.reachability)
    node = once.node(D)
    assert node is not None
    assert (node.state, node.weight) == (after, number or 1)
    assert once.version == cluster.map.version, "the map's number is the controller's matter"
    assert [n for n in once.nodes if n.id != D] == [n for n in cluster.map.nodes if n.id != D]
    assert carry_out([order], once, cluster.reachability) == once, "to say it twice changes nothing"


@pytest.mark.parametrize("name", [REPLICATION, MOVES, *SETTINGS])
def test_a_setting_is_kept_in_the_map(name: str) -> None:
    cluster = Cluster(a_part(A, (A, B, C, D, E)), nodes="abcde", replication=5)
    value = {REPLICATION: 3, MOVES: PAUSED}.get(name) or SETTINGS[name].least + 1
    assert not is_done((name, Verb.SET, value), cluster.map)
    assert cluster.order(Verb.SET, name, value)
    assert is_done((name, Verb.SET, value), cluster.map)
    now = cluster.map.replication if name == REPLICATION else cluster_settings.setting(cluster.map, name)
    assert now == value
    cluster.finish()
    assert not cluster.order(Verb.SET, name, value)
    others = cluster_settings.all_settings(cluster.map).items() - {(name, value)}
    assert dict(others).items() <= {REPLICATION: 5, **{n: t.default for n, t in SETTINGS.items()}}.items()


def test_who_is_to_hold_more_is_filled_like_a_newcomer_and_who_is_to_hold_less_is_not() -> None:
    cluster = Cluster(a_part(A), nodes="abcd")
    for weight, state in ((3, JOINING), (5, JOINING), (2, JOINING)):
        cluster.map = carry_out([(D, Verb.WEIGHT, weight)], cluster.map, cluster.reachability)
        assert (cluster.node(D).weight, cluster.node(D).state) == (weight, state)
    cluster.map = carry_out([(C, Verb.WEIGHT, 3)], cluster.map, cluster.reachability)
    cluster.finish()
    assert cluster.node(C).state == ACTIVE
    assert carry_out([(C, Verb.WEIGHT, 2)], cluster.map, cluster.reachability).nodes[2].state == ACTIVE


def test_an_order_alone_is_a_reason_to_write_a_map() -> None:
    for subject, verb, number in ((D, Verb.WEIGHT, 1), (D, Verb.UNDRAIN, 0), (MOVES, Verb.SET, RUNNING)):
        assert not Cluster(a_part(A)).order(verb, subject, number), "it is so already"
    for subject, verb, number in ((D, Verb.WEIGHT, 2), (D, Verb.DRAIN, 0), (MOVES, Verb.SET, PAUSED)):
        assert Cluster(a_part(A)).order(verb, subject, number)


def test_orders_that_decide_the_same_take_each_others_place() -> None:
    states = [(C, verb, 0) for verb in (Verb.DECOMMISSION, Verb.GIVE_UP, Verb.DRAIN, Verb.UNDRAIN)]
    assert len({about(order) for order in states}) == 1
    apart: list[Order] = [
        states[0], (D, Verb.DRAIN, 0), (C, Verb.WEIGHT, 2), (MOVES, Verb.SET, 1), ("grace_ms", Verb.SET, 1),
        ("0", Verb.RECOVER, 0), ("1", Verb.RECOVER, 0),
    ]  # fmt: skip
    assert len({about(order) for order in apart}) == len(apart)
    assert about((C, Verb.WEIGHT, 2)) == about((C, Verb.WEIGHT, 3))


def test_what_only_a_newer_version_knows_is_left_alone() -> None:
    cluster = Cluster(a_part(A))
    orders: list[Order] = [
        (D, "defragment", 1), ("compression", Verb.SET, 1), ("all", Verb.RECOVER, 0), ("-1", Verb.RECOVER, 0),
    ]  # fmt: skip
    assert carry_out(orders, cluster.map, cluster.reachability) == cluster.map
    assert not is_done(("compression", Verb.SET, 1), cluster.map)


# --- why they are refused --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("subject", "verb", "number", "why"),
    [
        ("f" * 32, Verb.DRAIN, 0, "there is no such node"),
        ("f" * 32, Verb.WEIGHT, 2, "there is no such node"),
        (E, Verb.UNDRAIN, 0, "e was given up for dead before"),
        (E, Verb.WEIGHT, 2, "e was given up for dead before"),
        (C, Verb.WEIGHT, 0, "a weight is 1 to 100, not 0"),
        (C, Verb.WEIGHT, 101, "a weight is 1 to 100, not 101"),
        (D, Verb.DRAIN, 0, "d is leaving: wait until that is over, then drain it"),
        (A, Verb.DECOMMISSION, 0, "without a 2 nodes would remain, but each key has 3 copies: add a node"),
        (A, Verb.DECOMMISSION, 0, "or lower the replication"),
        (REPLICATION, Verb.SET, 5, "5 copies of each key need 5 nodes, but there are 3: add nodes first"),
        (REPLICATION, Verb.SET, 2, "replication is 1, 3 or 5, not 2"),
        (REPLICATION, Verb.SET, 0, "replication is 1, 3 or 5, not 0"),
        (
            "speed",
            Verb.SET,
            1,
            "there is no setting speed; the settings are: replication, moves_at_once, move_bytes_per_s",
        ),
        ("moves_at_once", Verb.SET, 0, "change their replicas at one time) is 1 to 64, not 0"),
        ("grace_ms", Verb.SET, 999, "grace_ms (silence after which a node is given up for lost) is 1000 to"),
        (MOVES, Verb.SET, 3, "3 is not a state of moves"),
        ("1", Verb.RECOVER, 0, "there is no partition 1: they are 0 to 0"),
        ("0", Verb.RECOVER, 0, "partition 0 has a majority of its replicas, and needs no recovery"),
    ],
)
def test_an_order_that_makes_no_sense_is_refused_with_what_to_do(
    subject: str, verb: Verb, number: int, why: str
) -> None:
    cluster = Cluster(a_part(A), nodes="abcde", d=LEAVING, e=DEAD)
    assert why in why_not(cluster, verb, subject, number)


def test_replication_needs_as_many_nodes_that_stay() -> None:
    cluster = Cluster(a_part(A), nodes="abcde", e=LEAVING)
    assert "5 copies of each key need 5 nodes, but there are 4" in why_not(cluster, Verb.SET, REPLICATION, 5)
    cluster = Cluster(a_part(A), nodes="abcde", d=JOINING, e=DRAINING)
    assert why_not(cluster, Verb.SET, REPLICATION, 5) == ""


def test_after_the_replication_is_lowered_a_node_may_go() -> None:
    cluster = Cluster(a_part(A), nodes="abc")
    assert "lower the replication" in why_not(cluster, Verb.DECOMMISSION, C)
    cluster.order(Verb.SET, REPLICATION, 1)
    cluster.finish()
    cluster.order(Verb.DECOMMISSION, C)
    cluster.finish()
    assert (cluster.node(C).state, C in cluster.part.replicas) == (LEAVING, False)


# --- giving up what is lost ------------------------------------------------------------------------------


def test_a_node_is_not_given_up_while_anybody_hears_it() -> None:
    cluster = Cluster(a_part(A), nodes="abcde")
    assert why_not(cluster, Verb.GIVE_UP, D).startswith("d still answers")
    cluster.silent, cluster.heard = {D}, {(E, D)}
    reason = why_not(cluster, Verb.GIVE_UP, D)
    assert reason.startswith("d still answers to e: stop it first, or decommission it")
    cluster.silent.add(E)
    assert why_not(cluster, Verb.GIVE_UP, D) == "", "e has no word any more"


def test_a_node_is_not_given_up_while_a_partition_needs_it() -> None:
    cluster = Cluster(a_part(A, (A, B, D)), a_part(A), a_part(A), nodes="abcde")
    cluster.silent = {B, C}
    reason = why_not(cluster, Verb.GIVE_UP, C)
    assert "c is needed: without it partition 1 (one of 2) has no majority" in reason
    assert "Bring it or another silent node back" in reason
    assert "ringkeep recover partition all --accept-loss" in reason
    cluster.silent.remove(B)
    assert why_not(cluster, Verb.GIVE_UP, C) == ""


def test_a_damaged_voter_answers_and_is_not_counted_on() -> None:
    cluster = Cluster(a_part(A), nodes="abcde")
    cluster.silent, cluster.damaged = {C}, {B}
    assert "c is needed" in why_not(cluster, Verb.GIVE_UP, C), "b has no vote"
    cluster.damaged = {D}
    assert why_not(cluster, Verb.GIVE_UP, C) == "", "d votes nowhere"


@pytest.mark.parametrize("silent", [B, C, D])
def test_while_joint_both_majorities_must_be_left(silent: str) -> None:
    cluster = Cluster(a_part(A, (A, B, D), old_voters=(A, B, C)), nodes="abcde")
    cluster.silent = {C, D}
    assert why_not(cluster, Verb.GIVE_UP, D) == "", "a and b are a majority of both"
    cluster.silent = {node for node in (B, C, D) if node in (B, silent)}
    if silent != B:
        assert "is needed: without it partition 0" in why_not(cluster, Verb.GIVE_UP, silent)


def test_a_learner_is_not_needed() -> None:
    cluster = Cluster(a_part(A, learner=D, replaces=C, config=MapVersion(5)), nodes="abcde")
    cluster.silent = {B, D}
    assert why_not(cluster, Verb.GIVE_UP, D) == ""


def test_a_node_is_not_given_up_when_fewer_than_the_replication_would_remain() -> None:
    cluster = Cluster(a_part(A), nodes="abcd", d=LEAVING)
    cluster.silent = {C}
    assert why_not(cluster, Verb.GIVE_UP, C).startswith("without c 2 nodes would remain, but each key has 3")
    cluster = Cluster(a_part(A), nodes="abcd", d=JOINING)
    cluster.silent = {C}
    assert why_not(cluster, Verb.GIVE_UP, C) == "", "a newcomer remains"
    cluster = Cluster(a_part(A), nodes="abcde")
    cluster.die(D, E)
    both: list[Order] = [(D, Verb.GIVE_UP, 0), (E, Verb.GIVE_UP, 0)]
    cluster.orders = both
    cluster.step()
    assert [node.state for node in cluster.map.nodes] == [ACTIVE, ACTIVE, ACTIVE, DEAD, DEAD]
    cluster = Cluster(a_part(A))
    cluster.die(C, D)
    cluster.orders = [(C, Verb.GIVE_UP, 0), (D, Verb.GIVE_UP, 0)]
    cluster.step()
    assert [node.state for node in cluster.map.nodes] == [ACTIVE, ACTIVE, DEAD, ACTIVE], "one of them may go"
