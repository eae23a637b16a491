"""A node is lost for good: its replicas are made anew elsewhere, and what it has is not let back in."""

import pytest
from tests.support.cluster.ballast import Ballast
from tests.support.cluster.cluster import SHORT_SESSION, Cluster
from tests.support.cluster.make_cluster import MakeCluster
from tests.support.cluster.recorder import Recorder
from tests.support.cluster.steering import (
    ACCEPTED,
    member,
    order,
    refused,
    settings,
    wait_even,
    wait_state,
)
from tests.support.wait import until

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(240)]

DEAD = {"dead": True}


@pytest.fixture(scope="module")
def nodes(make_shared: MakeCluster) -> Cluster:
    """The tests use it one after the other: four nodes."""
    return make_shared(4, partitions=16, options=SHORT_SESSION).start().wait_whole()


@pytest.fixture(scope="module")
def ballast(nodes: Cluster) -> Ballast:
    return Ballast(nodes)


def test_a_node_that_answers_is_not_given_up(nodes: Cluster) -> None:
    reason = refused(nodes, "nodes/n4/decommission", DEAD)
    assert "n4 still answers" in reason, reason


def test_what_a_lost_node_had_is_made_anew(nodes: Cluster, ballast: Ballast) -> None:
    lost, rest = "n4", ["n1", "n2", "n3"]
    with Recorder(nodes) as load:
        load.go_on()
        nodes.kill(lost)
        until(
            lambda: order(nodes, f"nodes/{lost}/decommission", DEAD).status == ACCEPTED,
            lambda: f"{lost} to be given up: {order(nodes, f'nodes/{lost}/decommission', DEAD)}",
        )
        wait_state(nodes, lost, "dead")
        wait_even(nodes, rest)
        load.go_on()
    print(load.report())
    assert load.broken <= {lost}, load.report()
    load.verify()
    for name in rest:
        ballast.verify(name)


def test_its_old_directory_joins_as_a_new_node(nodes: Cluster, ballast: Ballast) -> None:
    lost = "n4"
    before = member(nodes, lost)
    assert before is not None, "the dead are named until somebody has their name"
    with Recorder(nodes) as load:
        nodes.start(lost).wait_ready(lost)
        load.use(lost)
        wait_state(nodes, lost, "active")
        wait_even(nodes, nodes.names)
        load.go_on()
    load.verify()
    ballast.verify(lost)
    now = member(nodes, lost)
    assert now is not None and now["id"] != before["id"], now
    known = member(nodes, f"{lost}~{before['id'][:8]}")
    assert known is not None and (known["state"], known["replicas"]) == ("dead", 0), known
    kept = sorted(path.name for path in nodes.places[lost].data.glob("*.retired-*"))
    assert {name.partition(".retired-")[0] for name in kept} >= {"db", "identity.json"}, kept
    assert "gave this node up for dead" in nodes.log(lost), nodes.log(lost)[-2000:]
    nodes.wait_healthy()


def test_after_the_grace_time_nobody_needs_to_say_so(nodes: Cluster, ballast: Ballast) -> None:
    lost, rest = "n3", ["n1", "n2", "n4"]
    settings(nodes, grace_ms=1_500)
    with Recorder(nodes) as load:
        load.go_on()
        nodes.kill(lost)
        wait_state(nodes, lost, "dead")
        wait_even(nodes, rest)
        load.go_on()
    load.verify()
    for name in rest:
        ballast.verify(name)


def test_a_dead_node_is_forgotten_and_told_so_all_the_same_if_it_comes_back(nodes: Cluster) -> None:
    """The map names it no more; what it has belongs to this cluster, and must not come back."""
    lost = "n3"
    before = member(nodes, lost)
    assert before is not None and before["state"] == "dead", before
    assert "was not given up" in refused(nodes, "nodes/n1/forget")
    until(
        lambda: order(nodes, f"nodes/{lost}/forget").status == ACCEPTED,
        lambda: f"{lost} to be forgotten: {order(nodes, f'nodes/{lost}/forget')}",
    )
    wait_state(nodes, lost, None)
    nodes.start(lost).wait_ready(lost)
    wait_state(nodes, lost, "active")
    now = member(nodes, lost)
    assert now is not None and now["id"] != before["id"], now
    assert "gave this node up for dead" in nodes.log(lost), nodes.log(lost)[-2000:]
    nodes.wait_healthy()
