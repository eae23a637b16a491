"""Crashes and restarts of real nodes and of a real ZooKeeper, under load: nothing is lost, nothing fails."""

import os
import shutil
import signal
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from tests.support.cluster.cluster import Answer, Cluster
from tests.support.cluster.load import Load
from tests.support.cluster.make_cluster import MakeCluster
from tests.support.wait import until

from ringkeep.coordination.server import ZooKeeperServer
from ringkeep.core.protocol import limits

pytestmark = [
    pytest.mark.cluster,
    pytest.mark.timeout(240),
    pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc"),
]

WRITERS = 8
REFUSED = 78
FAILOVER_S = 5.0  # a bound for machines that do other things; the figure is in docs/adr/0002-failover.md
MISSED = 2 * limits.LOG_ENTRIES + 200


@pytest.fixture(scope="module")
def running(make_shared: MakeCluster) -> Cluster:
    return make_shared(5, partitions=32).start()


@pytest.fixture
def five(running: Cluster) -> Cluster:
    """The module's cluster, all of it running, every partition led by the node that it prefers."""
    return running.restore().wait_whole()


@pytest.fixture
def three(make_cluster: MakeCluster) -> Cluster:
    return make_cluster(3).start().wait_ready().wait_active()


def settled(load: Load, more: int = 30) -> None:
    """Wait until every client was answered so many times more."""
    wanted = load.done + more
    until(lambda: load.done >= wanted or load.failures, "clients to be answered")
    assert not load.failures, load.failures


def take_over_s(nodes: Cluster, victim: str) -> float:
    """kill -9, and return after how many seconds all partitions are served by others."""
    nodes.kill(victim)
    killed, via = time.monotonic(), nodes.running()[0]

    def taken() -> bool:
        return all(p["state"] == "active" and p["primary"] != victim for p in nodes.partitions(via))

    until(taken, lambda: f"others to serve for {victim}: {nodes.partitions(via)}")
    return time.monotonic() - killed


def test_the_busiest_node_and_then_the_controller_are_killed(five: Cluster) -> None:
    controller = five.cluster()["controller"]
    for victim in (five.most_primaries(set(five.names) - {controller}), controller):
        with Load(five) as load:
            settled(load)
            took_s = take_over_s(five, victim)
            settled(load)
            print(f"{victim} killed: served again after {1000 * took_s:.0f} ms; {load.report()}")
            assert took_s < FAILOVER_S
            assert load.broken == {victim}, f"live nodes broke connections: {load.report()}"
            five.start(victim).wait_ready()
            five.wait_whole()  # leading again what it prefers, by itself
            settled(load)
            print(f"{victim} back: {load.report()}")
        load.verify()
        assert five.event(victim, "snapshot_installed") == 0, "the log is enough for so little"
        five.wait_healthy()
    assert five.cluster()["controller"] != controller


def test_sigterm_hands_over_without_a_failed_request(five: Cluster) -> None:
    victim = five.most_primaries(five.names)
    with Load(five) as load:
        settled(load)
        assert five.terminate(victim) == 0
        settled(load)
        print(f"{victim} stopped: {load.report()}")
        assert load.broken <= {victim}
        five.start(victim).wait_ready()
    five.wait_whole()
    load.verify()


def test_a_node_that_missed_too_much_catches_up_by_snapshot(three: Cluster) -> None:
    victim, via = "n3", "n1"
    keys = [f"{{one partition}}{number}".encode() for number in range(MISSED)]
    for key in keys[:20]:
        three.stored(via, key, b"old " + key)
    three.kill(victim)
    with ThreadPoolExecutor(WRITERS) as writers:
        list(writers.map(lambda key: three.stored(via, key, b"new " + key), keys))
    assert three.delete(via, keys[0]).status == 204
    three.start(victim).wait_ready()
    assert three.event(victim, "snapshot_installed") >= 1
    for key in keys[1:40] + keys[-40:]:
        assert three.get(victim, key, consistency="stale").body == b"new " + key
    assert three.get(victim, keys[0], consistency="stale").status == 404, "what was deleted stays deleted"
    three.kill("n1")  # so that the one that was caught up is needed for every majority
    for key in keys[1::100]:
        three.holds(victim, key, b"new " + key)


def test_all_nodes_killed_at_once_lose_nothing(three: Cluster) -> None:
    with Load(three, until_unreachable=True) as load:
        settled(load, 60)
        three.kill(*three.names)
        until(lambda: load.ended, "the clients to notice")
    three.start().wait_ready().wait_active()
    load.verify()
    three.wait_healthy()


def test_zookeeper_may_be_down(private_zookeeper: ZooKeeperServer, tmp_path: Path) -> None:
    """Reads and writes go on. A primary that is killed meanwhile is replaced when ZooKeeper is back."""
    options = ("--zookeeper-session-ms", "1000")
    with Cluster(tmp_path / "c", private_zookeeper.hosts, 4, partitions=16, options=options) as nodes:
        nodes.start().wait_ready().wait_active()
        with Load(nodes) as load:
            settled(load)
            kill_zookeeper(private_zookeeper)
            until(
                lambda: all(nodes.cluster(name)["zookeeper"] == "disconnected" for name in nodes.names),
                "the nodes to miss ZooKeeper",
            )
            settled(load, 60)
            assert not load.broken, load.report()
            for name in nodes.names:
                assert nodes.request(name, "GET", "/readyz").status == 200
        load.verify()
        kill_a_primary_without_zookeeper(nodes, private_zookeeper)
        load.verify()


def kill_zookeeper(server: ZooKeeperServer) -> None:
    assert server.pid is not None
    os.kill(server.pid, signal.SIGKILL)
    server.stop()  # takes note of the death


def kill_a_primary_without_zookeeper(nodes: Cluster, server: ZooKeeperServer) -> None:
    victim = nodes.most_primaries(nodes.names)
    led = [p["partition"] for p in nodes.partitions() if p["primary"] == victim]
    others = [p["partition"] for p in nodes.partitions() if p["primary"] != victim]
    before = nodes.cluster()["map_version"]
    nodes.kill(victim)
    via = nodes.running()[0]
    for number in others:
        nodes.stored(via, nodes.key_in(number, "meanwhile"), b"v")
    for number in led:
        key = nodes.key_in(number, "meanwhile")
        refused = nodes.put(via, key, b"never", timeout="100ms")
        assert (refused.status, refused.json["outcome"]) in ((503, "not-applied"), (504, "unknown"))
    parked: list[Answer] = []
    key = nodes.key_in(led[0], "parked")
    waiting = threading.Thread(target=lambda: parked.append(nodes.put(via, key, b"waited", timeout="30s")))
    waiting.start()
    assert nodes.cluster(via)["map_version"] == before and not parked
    server.start(60)
    waiting.join(40)
    assert [answer.status for answer in parked] == [201], parked
    until(lambda: all(p["primary"] != victim for p in nodes.partitions(via)), "others to take over")
    nodes.wait_active()
    for number in led:
        nodes.stored(via, nodes.key_in(number, "meanwhile"), b"after")
    nodes.holds(via, key, b"waited")
    nodes.start(victim).wait_ready()


def refused(nodes: Cluster, name: str, *words: str) -> None:
    """The node ends with 78 and says why; the others do not mind."""
    before = len(nodes.said(name))
    nodes.start(name)
    assert nodes.wait_end(name) == REFUSED, nodes.said(name)[-600:]
    said = nodes.said(name)[before:]
    assert all(word in said for word in words), said
    assert "Traceback" not in said
    assert all(p["state"] == "active" for p in nodes.partitions())


def test_a_directory_that_does_not_fit_is_refused(
    three: Cluster, private_zookeeper: ZooKeeperServer, tmp_path: Path
) -> None:
    place, aside, copy = three.places["n1"], tmp_path / "aside", tmp_path / "copy"
    three.stored("n1", b"k", b"v")
    three.kill("n1")
    until(lambda: all(p["primary"] != "n1" for p in three.partitions()), "others to take over")
    three.wait_active()
    shutil.copytree(place.data, copy)
    before = three.cluster("n2")["map_version"]
    three.start("n1").wait_ready()  # the directory itself is welcome; the next map names its incarnation
    until(lambda: three.cluster("n2")["map_version"] > before, "the map to know of this start")
    three.kill("n1")
    until(lambda: all(p["primary"] != "n1" for p in three.partitions()), "others to take over")
    three.wait_active()
    place.data.rename(aside)
    copy.rename(place.data)
    for _ in range(3):
        refused(three, "n1", "old copy")

    shutil.rmtree(place.data)
    aside.rename(place.data)
    right, place.zookeeper = place.zookeeper, private_zookeeper.hosts
    refused(three, "n1", "ZooKeeper holds no cluster map", "Nothing was changed")
    place.zookeeper = right
    three.start("n1").wait_ready().wait_active()
    three.holds("n1", b"k", b"v")
