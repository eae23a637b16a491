"""Kills in the middle of moves, of whoever matters to them: what was begun ends or goes back, by itself."""

import os
import signal
from typing import Any

import pytest
from tests.support.cluster.ballast import Ballast
from tests.support.cluster.cluster import Cluster
from tests.support.cluster.make_cluster import MakeCluster
from tests.support.cluster.recorder import Recorder
from tests.support.cluster.steering import (
    MOVED_S,
    is_still,
    member,
    moves,
    ordered,
    settings,
    wait_even,
)
from tests.support.wait import until

from ringkeep.coordination.server import ZooKeeperServer

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(240)]

PARTITIONS = 8
VALUE_BYTES, VALUES = 128 * 1024, 18  # per partition more than its log keeps: what moves is a snapshot
SLOW = 100_000  # bytes a second from each node, so that one partition takes more than twenty seconds
FAST = 0


@pytest.fixture
def nodes(make_cluster: MakeCluster, private_zookeeper: ZooKeeperServer) -> Cluster:
    options = ("--zookeeper-session-ms", "2000")
    hosts = private_zookeeper.hosts
    return make_cluster(4, hosts=hosts, partitions=PARTITIONS, options=options).start().wait_whole()


def copying(nodes: Cluster, to: str = "") -> dict[str, Any]:
    """Return a move that is in the middle of being copied, to that node or from it.

    It stays there for long enough, by the limit. What was sent in vain counts among what was sent.
    """

    def look() -> Any:
        for each in moves(nodes)["running"]:
            midway = each["stage"] == "copying" and each["bytes_done"]
            if midway and to in ("", each["to"], each["from"]):
                return each
        return None

    found: dict[str, Any] = until(look, lambda: f"a move to be under way: {moves(nodes)}", MOVED_S)
    return found


def crash(nodes: Cluster, load: Recorder, victim: str) -> None:
    """kill -9 and a new start, with the moves going on or beginning again."""
    nodes.kill(victim)
    load.go_on()
    nodes.start(victim).wait_ready(victim)
    load.use(victim)


def wait_connected(nodes: Cluster) -> None:
    """Wait until every node has found ZooKeeper again."""
    until(
        lambda: all(nodes.cluster(name)["zookeeper"] == "connected" for name in nodes.names),
        "the nodes to find ZooKeeper",
    )


def stop_zookeeper(server: ZooKeeperServer) -> None:
    assert server.pid is not None
    os.kill(server.pid, signal.SIGKILL)
    server.stop()  # takes note of the death


def test_a_join_survives_the_death_of_everybody_in_turn(
    nodes: Cluster, private_zookeeper: ZooKeeperServer
) -> None:
    ballast, newcomer = Ballast(nodes, each=VALUES, value_bytes=VALUE_BYTES), "n5"
    settings(nodes, move_bytes_per_s=SLOW)
    with Recorder(nodes) as load:
        nodes.add(newcomer)
        nodes.start(newcomer).wait_ready(newcomer)
        load.use(newcomer)
        for role in ("controller", "primary", "newcomer"):
            move = copying(nodes, newcomer)
            primary = nodes.partitions("n1")[move["partition"]]["primary"]
            victim = {"controller": nodes.cluster()["controller"], "primary": primary}.get(role, newcomer)
            print(f"killed while {move} was under way: {victim}, the {role}")
            crash(nodes, load, victim)
        copying(nodes, newcomer)
        stop_zookeeper(private_zookeeper)
        load.go_on(100)
        assert not is_still(nodes.partitions()), "without ZooKeeper a move can neither end nor go back"
        private_zookeeper.start(60)
        wait_connected(nodes)
        settings(nodes, move_bytes_per_s=FAST)
        wait_even(nodes, nodes.names)
        load.go_on()
    print(load.report())
    load.verify()
    ballast.verify(newcomer)
    nodes.wait_healthy()
    assert {each["state"] for each in nodes.cluster()["members"]} == {"active"}


def test_a_leave_survives_the_death_of_who_leaves_and_of_the_controller(nodes: Cluster) -> None:
    ballast, leaver = Ballast(nodes, each=VALUES, value_bytes=VALUE_BYTES), "n4"
    settings(nodes, move_bytes_per_s=SLOW)
    with Recorder(nodes) as load:
        ordered(nodes, f"nodes/{leaver}/decommission")
        copying(nodes, leaver)
        crash(nodes, load, leaver)
        copying(nodes, leaver)
        crash(nodes, load, nodes.cluster()["controller"])
        settings(nodes, move_bytes_per_s=FAST)
        assert nodes.wait_end(leaver, MOVED_S) == 0, nodes.said(leaver)[-600:]
        nodes.forget(leaver)
        until(lambda: member(nodes, leaver) is None, f"{leaver} to be gone")
        wait_even(nodes, nodes.names)
        load.go_on()
    print(load.report())
    load.verify()
    ballast.verify("n1")
    nodes.wait_healthy()
