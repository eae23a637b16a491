"""What a node tries for ever has a last cause, which whoever waits for the node is told."""

import uuid
from pathlib import Path
from typing import Any

import pytest
from kazoo.security import make_acl
from tests.support.cli.up_process import Up
from tests.support.cluster.cluster import HOST, SHORT_SESSION, Cluster
from tests.support.coordination.world import a_member
from tests.support.coordination.zookeeper import free_port
from tests.support.wait import until

from ringkeep.coordination.codec import encode_member
from ringkeep.coordination.server import ZooKeeperServer

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(240)]

ALONE = (*SHORT_SESSION, "--replication", "1")
JSON = {"Content-Type": "application/json"}
DENIED = "access is denied by its ACL"


def waits_for(nodes: Cluster, *words: str) -> None:
    """Wait until n1 says all of this of what it waits for, to whoever asks, and in its log."""
    for what, said in (
        ("/readyz?verbose", lambda: nodes.waits_for("n1")),
        ("a data request", lambda: nodes.get("n1", b"k").body.decode()),
        ("its log", lambda: nodes.log("n1")),
    ):
        until(
            lambda said=said: all(word in said() for word in words),  # type: ignore[misc]
            lambda what=what, said=said: f"{words} in {what}: {said()}",  # type: ignore[misc]
        )


@pytest.mark.parametrize("hosts", ["nowhere.invalid:2181", f"nowhere.invalid:2181,{HOST}:1/a/b", f"{HOST}:1"])
def test_a_zookeeper_that_cannot_be_reached(hosts: str, tmp_path: Path) -> None:
    with Cluster(tmp_path, hosts, 1, options=ALONE) as nodes:
        nodes.start()
        for server in hosts.partition("/")[0].split(","):
            host, _, port = server.partition(":")
            cause = f"{host}: the name cannot be resolved" if port != "1" else f"{server}: Connection refused"
            waits_for(nodes, "ZooKeeper cannot be used from here", cause)
        until(
            lambda: "cannot be used, retrying" in nodes.log("n1"),
            "the client's own word, after a session's length",
        )
        assert nodes.log("n1").count("cannot be used, retrying") == 1, "said once"


def test_a_zookeeper_that_denies_access(zookeeper: ZooKeeperServer, operator: Any, tmp_path: Path) -> None:
    with Cluster(tmp_path, zookeeper.hosts, 1, options=ALONE) as nodes:
        path = f"/ringkeep/{nodes.id}"
        operator.ensure_path("/ringkeep")
        operator.create(path, acl=[make_acl("world", "anyone", read=True, admin=True)])
        nodes.start()
        waits_for(nodes, DENIED)
        assert nodes.log("n1").count("cannot be used, retrying") == 1, "said once"
        operator.set_acls(path, [make_acl("world", "anyone", all=True)])
        nodes.wait_ready().wait_active()
        assert nodes.waits_for("n1") == "ready\n"

        operator.set_acls(f"{path}/map", [make_acl("world", "anyone", read=True, admin=True)])
        changed = nodes.request("n1", "PATCH", "/v1/cluster/settings", b'{"move_bytes_per_s": 2000000}', JSON)
        assert changed.status == 202, changed
        until(lambda: DENIED in str(nodes.cluster("n1")["problems"]), lambda: str(nodes.cluster("n1")))
        assert nodes.cluster("n1")["zookeeper"] == "disconnected"
        operator.set_acls(f"{path}/map", [make_acl("world", "anyone", all=True)])
        until(lambda: DENIED not in str(nodes.cluster("n1")["problems"]), lambda: str(nodes.cluster("n1")))
        assert nodes.cluster("n1")["zookeeper"] == "connected"


def test_a_peer_that_refuses_the_handshake(zookeeper: ZooKeeperServer, operator: Any, tmp_path: Path) -> None:
    with Cluster(tmp_path, zookeeper.hosts, 2, options=("--replication", "1")) as nodes:
        nodes.start("n1")
        until(lambda: "1 of 2 nodes are here (n1)" in nodes.waits_for("n1"), lambda: nodes.waits_for("n1"))
        place = nodes.places["n1"]
        other = a_member(2, expect=2, replication=1, partitions=8, peer=f"localhost:{place.peer}")
        members = f"/ringkeep/{nodes.id}/members/n-"
        operator.create(members, encode_member(other, "p"), ephemeral=True, sequence=True)
        waits_for(nodes, "node-2 cannot be reached", f"localhost:{place.peer}", "handshake refused")


def test_a_path_of_several_parts_is_created(
    zookeeper: ZooKeeperServer, operator: Any, tmp_path: Path
) -> None:
    root = f"/some-{uuid.uuid4().hex}"
    with Cluster(tmp_path, f"{zookeeper.hosts}{root}/where/deep", 1, options=ALONE) as nodes:
        nodes.start().wait_ready().wait_active()
        assert operator.exists(f"{root}/where/deep/ringkeep/{nodes.id}/map")


def test_up_shows_what_its_nodes_wait_for(zookeeper: ZooKeeperServer, operator: Any, tmp_path: Path) -> None:
    path = f"/denied-{uuid.uuid4().hex}"
    operator.create(path, acl=[make_acl("world", "anyone", read=True, admin=True)])
    up = Up(tmp_path / "data", "--zookeeper", zookeeper.hosts + path, "--replication", "1", nodes=1)
    try:
        up.says("waiting for node-1: ", 60)
        up.says(DENIED, 60)
        operator.set_acls(path, [make_acl("world", "anyone", all=True)])
        up.ready()
    finally:
        up.destroy()


def test_up_says_why_zookeeper_does_not_answer(tmp_path: Path) -> None:
    for hosts, cause in (("nowhere.invalid", "nowhere.invalid:2181: "), (f"{HOST}:1", "Connection refused")):
        up = Up(tmp_path / "data", "--zookeeper", hosts, nodes=1)
        try:
            assert up.process.wait(30) == 4
            assert "ZooKeeper does not answer" in up.output and cause in up.output
        finally:
            up.destroy()


def test_up_starts_zookeeper_on_the_port_that_is_asked_for(tmp_path: Path) -> None:
    port = free_port()
    up = Up(tmp_path / "data", "--zookeeper-port", str(port), "--replication", "1", nodes=1)
    other = None
    try:
        up.ready()
        assert f"127.0.0.1:{port}" in up.output
        other = Up(tmp_path / "other", "--zookeeper-port", str(port), "--replication", "1", nodes=1)
        assert other.process.wait(30) == 1
        assert f"port {port} is in use; choose another one with --zookeeper-port" in other.output
    finally:
        up.destroy()
        if other is not None:
            other.destroy()
