"""Readers of changes on real nodes, while primaries are killed, the nodes that they read through end, and
partitions move: of each key they hear exactly the versions that were committed, in order.
"""

import signal

import pytest
from tests.support.cluster.cluster import Cluster
from tests.support.cluster.feed_readers import Feeds
from tests.support.cluster.make_cluster import MakeCluster
from tests.support.cluster.steering import MOVED_S, member, ordered, wait_even
from tests.support.wait import until

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(300)]


def test_while_nodes_are_killed(nodes: Cluster) -> None:
    with Feeds(nodes) as feeds:
        feeds.go_on()
        for _ in range(2):
            victim = nodes.where(feeds.key, via=nodes.running()[0])["primary"]
            nodes.kill(victim)
            feeds.go_on()
            nodes.start(victim).wait_ready(victim)
            feeds.go_on()
        served = feeds.readers[0].via
        nodes.kill(served)
        nodes.start(served).wait_ready(served)
        feeds.go_on()
        feeds.verify()
    print(feeds.report())
    assert not feeds.failures
    assert any(reader.repeated for reader in feeds.readers), "some were broken off between bookmarks"


def test_while_nodes_stop_in_order(nodes: Cluster) -> None:
    with Feeds(nodes) as feeds:
        for name in nodes.names:
            assert nodes.terminate(name) == 0
            feeds.go_on(30)
            nodes.start(name).wait_ready(name)
            nodes.wait_active()
        feeds.verify()
    print(feeds.report())
    assert not feeds.failures


def test_while_a_node_stands_still(nodes: Cluster) -> None:
    """Nobody hears that it is gone; what it tells is missed, and asked of others."""
    with Feeds(nodes) as feeds:
        feeds.go_on()
        victim = nodes.where(feeds.key)["primary"]
        nodes.freeze(victim)
        via = next(each for each in nodes.names if each != victim)
        until(lambda: nodes.where(feeds.key, via=via)["primary"] != victim, "another primary")
        nodes.thaw(victim)
        feeds.go_on()
        feeds.verify()
    print(feeds.report())
    assert not feeds.failures


def test_while_nodes_join_and_leave(make_cluster: MakeCluster) -> None:
    nodes = make_cluster(4, partitions=16).start().wait_whole()
    with Feeds(nodes) as feeds:
        feeds.go_on()
        nodes.add("n5")
        nodes.start("n5").wait_ready("n5")
        wait_even(nodes, nodes.names)
        feeds.go_on()
        nodes.names.remove("n1")  # nobody asks it any more
        ordered(nodes, "nodes/n1/decommission", via="n2")
        assert nodes.wait_end("n1", MOVED_S) == 0
        until(lambda: all(member(nodes, "n1", via) is None for via in nodes.names), "n1 to be forgotten")
        nodes.signal(signal.SIGKILL, "n3")
        feeds.go_on()
        nodes.wait_end("n3")
        nodes.start("n3").wait_ready("n3")
        feeds.go_on()
        feeds.verify()
    print(feeds.report())
    assert not feeds.failures
