"""A node is drained, and a node leaves for good, under load: everything goes to the others first."""

import pytest
from tests.support.cluster.ballast import Ballast
from tests.support.cluster.cluster import Cluster
from tests.support.cluster.make_cluster import MakeCluster
from tests.support.cluster.recorder import Recorder
from tests.support.cluster.steering import (
    MOVED_S,
    member,
    ordered,
    refused,
    shares,
    wait_even,
    wait_state,
)
from tests.support.cluster.transfers import Transfers
from tests.support.wait import until

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(240)]


@pytest.fixture(scope="module")
def nodes(make_shared: MakeCluster) -> Cluster:
    """The tests use it one after the other: four nodes, and three after the last."""
    return make_shared(4, partitions=16).start().wait_whole()


def test_drain_moves_primaryships_and_no_data(nodes: Cluster) -> None:
    victim = "n2"
    before, via = shares(nodes)[1][victim], "n1"
    with Recorder(nodes) as load, Transfers(nodes, via) as seen:
        load.go_on()
        ordered(nodes, f"nodes/{victim}/drain")
        wait_state(nodes, victim, "draining")
        until(lambda: not shares(nodes)[1][victim], lambda: f"{victim} to lead nothing: {shares(nodes)}")
        nodes.wait_active()
        load.go_on()
        ordered(nodes, f"nodes/{victim}/undrain", via=victim)
        wait_state(nodes, victim, "active")
        until(lambda: shares(nodes)[1][victim] == before, lambda: f"{victim} to lead again: {shares(nodes)}")
        load.go_on()
    print(load.report())
    load.verify()
    assert not load.broken, "a drained node serves on"
    assert not seen.begun and not seen.given_up, "no replica moved"


def test_a_node_leaves_under_load(nodes: Cluster) -> None:
    ballast, leaver = Ballast(nodes), "n4"
    with Recorder(nodes) as load:
        load.go_on()
        ordered(nodes, f"nodes/{leaver}/decommission")
        assert nodes.wait_end(leaver, MOVED_S) == 0, nodes.said(leaver)[-600:]
        nodes.forget(leaver)
        until(
            lambda: all(member(nodes, leaver, via) is None for via in nodes.names),
            f"nobody to name {leaver} any more",
        )
        wait_even(nodes, nodes.names)
        load.go_on()
    print(load.report())
    assert load.broken <= {leaver}, load.report()
    load.verify()
    for name in nodes.names:
        ballast.verify(name)
    nodes.wait_healthy()
    assert "it holds nothing any more" in nodes.log(leaver), nodes.log(leaver)[-600:]


def test_nobody_leaves_where_too_few_would_remain(nodes: Cluster) -> None:
    for name in nodes.names:
        reason = refused(nodes, f"nodes/{name}/decommission")
        assert name in reason and "3 copies" in reason, reason
    assert {each["state"] for each in nodes.cluster()["members"]} == {"active"}
