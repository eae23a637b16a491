"""ZooKeeper loses the map, all of it or the newest part: nothing is lost, and one command mends it."""

import contextlib
import os
import pty
import subprocess
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.support.cli.fake_node import one_line, ringkeep
from tests.support.cluster.cluster import HOST, RINGKEEP, Cluster
from tests.support.cluster.make_cluster import MakeCluster
from tests.support.coordination.zookeeper import copy_of, free_port, operating, replace_data
from tests.support.core.parts import a_map
from tests.support.wait import until, until_each

from ringkeep.cli.map_recovery.znode import opened
from ringkeep.cli.terminal.failure import Failure
from ringkeep.coordination.server import ZooKeeperServer
from ringkeep.coordination.view import NO_MAP
from ringkeep.recovery import CannotRecover
from ringkeep.wire import mapcodec

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(240)]

REFUSED = 78
UNREACHABLE = 4
SHORT = ("--zookeeper-session-ms", "2000")
KEYS = [f"key-{number}".encode() for number in range(60)]


@pytest.fixture
def nodes(make_cluster: MakeCluster, private_zookeeper: ZooKeeperServer) -> Cluster:
    """Three nodes that serve, with some data."""
    cluster = make_cluster(3, hosts=private_zookeeper.hosts, options=SHORT)
    filled(cluster)
    return cluster


@pytest.fixture
def ensemble(tmp_path: Path) -> Iterator[dict[int, ZooKeeperServer]]:
    """Three ZooKeeper servers that are one, by number."""
    addresses = {number: f"{HOST}:{free_port()}:{free_port()}" for number in (1, 2, 3)}
    servers = {
        number: ZooKeeperServer(tmp_path / f"zk{number}", free_port(), ensemble=addresses, number=number)
        for number in addresses
    }
    try:
        start(*servers.values())
        yield servers
    finally:
        for server in servers.values():
            server.stop()


def filled(cluster: Cluster) -> None:
    cluster.start().wait_ready().wait_active()
    for position, key in enumerate(KEYS):
        cluster.stored(cluster.names[position % 3], key, b"value of " + key)


def start(*servers: ZooKeeperServer) -> None:
    for server in servers:
        server.launch()
    for server in servers:
        server.wait_ready(60)


def wipe(*servers: ZooKeeperServer, copy: Path | None = None) -> None:
    """Stop the servers, empty their disks, or give them what is in the copy, and start them again."""
    for server in servers:
        server.stop()
        replace_data(server, copy)
    start(*servers)


def backup_of(server: ZooKeeperServer) -> Path:
    """Copy what a server has on its disk, as backups are made: while it does not run."""
    server.stop()
    copy = copy_of(server)
    start(server)
    return copy


def recover(
    nodes: Cluster, zookeeper: ZooKeeperServer, *more: str, via: str | None = None
) -> "subprocess.CompletedProcess[bytes]":
    """Run the command, asking one node."""
    endpoint = ["--endpoint", f"http://{HOST}:{nodes.places[via].http}"] if via else []
    return ringkeep(
        "recover", "map", "--zookeeper", zookeeper.hosts, "--cluster", nodes.id, *endpoint, *more
    )  # fmt: skip


def answered_no(nodes: Cluster, zookeeper: ZooKeeperServer) -> str:
    """Run the command on a terminal, say no to its question, and return all that was shown."""
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        [*RINGKEEP, "recover", "map", "--zookeeper", zookeeper.hosts, "--cluster", nodes.id,
         "--endpoint", f"http://{HOST}:{nodes.places['n1'].http}"],
        stdin=theirs, stdout=theirs, stderr=theirs,
    )  # fmt: skip
    os.close(theirs)
    os.write(ours, b"n\n")
    shown = b""
    with contextlib.suppress(OSError):  # the end of a terminal is an error
        while part := os.read(ours, 4_096):
            shown += part
    os.close(ours)
    assert process.wait(30) == 1, shown
    return shown.decode()


def directories(nodes: Cluster, *names: str) -> list[str]:
    return [word for name in names for word in ("--data", str(nodes.places[name].data))]


def everything_is_there(nodes: Cluster) -> None:
    """Every key is read through every node, and written through one."""
    for name in nodes.running():
        for key in KEYS:
            nodes.holds(name, key, b"value of " + key)
    for key in KEYS:
        nodes.stored(nodes.running()[0], key, b"value of " + key)


def frozen(nodes: Cluster, *words: str) -> None:
    """Wait until every node has noticed, and says so; then `ringkeep status` says it too."""
    until_each(
        nodes.running(),
        lambda name: all(word in (nodes.cluster(name)["alarm"] or "") for word in words),
        lambda name: f"{name} to say {words}: {nodes.cluster(name)}",
    )
    for name in nodes.running():
        assert nodes.cluster(name)["zookeeper"] == "connected"
        status = ringkeep("status", "--endpoint", f"http://{HOST}:{nodes.places[name].http}").stdout.decode()
        assert all(word in status for word in (*words, "ringkeep recover map")), status


def failed_over(nodes: Cluster, name: str, via: str) -> None:
    """Kill a node: the others take its partitions over, and lack nothing."""
    nodes.kill(name)
    nodes.wait_active(via)
    everything_is_there(nodes)


def moved_on(nodes: Cluster, version: int) -> None:
    """Wait until every node serves under this map, or a newer one, and changes are made again."""
    until_each(
        nodes.running(),
        lambda name: nodes.cluster(name)["map_version"] >= version and not nodes.cluster(name)["alarm"],
        lambda name: f"{name} to have map {version}: {nodes.cluster(name)}",
    )
    nodes.wait_active()


def test_nodes_that_run_serve_on_and_get_their_map_back(
    nodes: Cluster, private_zookeeper: ZooKeeperServer
) -> None:
    zookeeper = private_zookeeper
    assert recover(nodes, zookeeper, "--yes", via="n1").returncode == 1, "nothing is wrong yet"
    before = nodes.cluster("n1")["map_version"]
    wipe(zookeeper)
    frozen(nodes, f"this node holds map {before}", "no cluster map", "changes are refused")
    everything_is_there(nodes)
    refused = nodes.request("n1", "POST", "/v1/cluster/nodes/n2/drain")
    assert refused.status == 503 and b"no cluster map" in refused.body, refused

    asked = recover(nodes, zookeeper, via="n2")
    assert asked.returncode == 2 and b"--yes" in asked.stderr and b"holds no map" in asked.stdout
    assert "nothing was written" in answered_no(nodes, zookeeper)
    with operating(zookeeper) as operator:
        assert operator.exists(f"/ringkeep/{nodes.id}/map") is None
    done = recover(nodes, zookeeper, "--yes", via="n2")
    assert done.returncode == 0, done.stderr
    said = done.stdout.decode()
    assert f"map {before + 1} is written" in said and all(f"{name} (http://" in said for name in nodes.names)

    moved_on(nodes, before + 1)
    everything_is_there(nodes)
    again = recover(nodes, zookeeper, "--yes", via="n3")
    assert again.returncode == 1 and one_line(again.stderr.decode()) and b"no recovery" in again.stderr
    failed_over(nodes, "n1", via="n2")  # the controller makes changes again


def test_nodes_that_are_stopped_start_again_with_all_they_had(
    nodes: Cluster, private_zookeeper: ZooKeeperServer
) -> None:
    zookeeper = private_zookeeper
    for name in nodes.names:
        assert nodes.terminate(name) == 0
    wipe(zookeeper)
    nodes.start("n1")
    assert nodes.wait_end("n1") == REFUSED and "ZooKeeper holds no cluster map" in nodes.said("n1")

    some = recover(nodes, zookeeper, "--yes", *directories(nodes, "n1", "n2"))
    assert some.returncode == 1 and b"n3 (http://" in some.stderr and b"--without n3" in some.stderr
    with operating(zookeeper) as operator:
        assert operator.exists(f"/ringkeep/{nodes.id}/map") is None
    done = recover(nodes, zookeeper, "--yes", *directories(nodes, *nodes.names))
    assert done.returncode == 0, done.stderr
    nodes.start().wait_ready().wait_active()
    everything_is_there(nodes)


def test_an_older_zookeeper_gets_the_newest_map_also_without_a_node_that_is_gone(
    nodes: Cluster, private_zookeeper: ZooKeeperServer
) -> None:
    zookeeper = private_zookeeper
    before = nodes.cluster("n1")["map_version"]
    backup = backup_of(zookeeper)
    nodes.kill("n3")
    nodes.wait_active("n1")
    until(lambda: nodes.cluster("n1")["map_version"] > before, "the map to change")
    nodes.kill("n2")  # so that nothing changes any more
    newest = nodes.cluster("n1")["map_version"]
    wipe(zookeeper, copy=backup)
    frozen(nodes, f"this node holds map {newest}", f"ZooKeeper holds map {before}")

    busy = recover(nodes, zookeeper, "--yes", *directories(nodes, "n1"))
    assert busy.returncode == REFUSED and b"in use" in busy.stderr
    stopped = directories(nodes, "n2")
    assert b"--without n3" in recover(nodes, zookeeper, "--yes", *stopped, via="n1").stderr
    done = recover(nodes, zookeeper, "--yes", *stopped, "--without", "n3", via="n1")
    assert done.returncode == 0, done.stderr
    assert "warning: n3 was not read" in done.stdout.decode()
    with operating(zookeeper) as operator:
        written = mapcodec.decode(operator.get(f"/ringkeep/{nodes.id}/map")[0])
    assert written.version > newest + 1, "what n3 may hold is left far behind"
    nodes.start("n2", "n3").wait_ready()
    moved_on(nodes, written.version)
    everything_is_there(nodes)


def test_a_zookeeper_that_alternates_is_followed_without_help(
    nodes: Cluster, private_zookeeper: ZooKeeperServer
) -> None:
    zookeeper = private_zookeeper
    version = nodes.cluster("n1")["map_version"]
    for _ in range(2):
        backup = backup_of(zookeeper)
        wipe(zookeeper)
        frozen(nodes, f"this node holds map {version}", "no cluster map")
        wipe(zookeeper, copy=backup)
        moved_on(nodes, version)
    failed_over(nodes, "n3", via="n1")


def test_an_ensemble_that_lost_one_disk_then_all_of_them(
    ensemble: dict[int, ZooKeeperServer], tmp_path: Path
) -> None:
    hosts = ",".join(server.hosts for server in ensemble.values())
    with Cluster(tmp_path / "nodes", hosts, 3, options=SHORT) as nodes:
        filled(nodes)
        version = nodes.cluster("n1")["map_version"]
        for server in ensemble.values():  # each node was connected to one of them
            wipe(server)
            moved_on(nodes, version)
        failed_over(nodes, "n1", via="n2")
        nodes.start("n1").wait_whole()
        version = nodes.cluster("n1")["map_version"]
        wipe(*ensemble.values())
        frozen(nodes, f"this node holds map {version}", "no cluster map")
        done = recover(nodes, ensemble[2], "--yes", via="n3")
        assert done.returncode == 0, done.stderr
        moved_on(nodes, version + 1)
        failed_over(nodes, "n2", via="n3")


def test_a_zookeeper_that_is_not_there(nodes: Cluster, private_zookeeper: ZooKeeperServer) -> None:
    zookeeper = private_zookeeper
    done = ringkeep(
        "recover", "map", "--zookeeper", f"{HOST}:1", "--cluster", nodes.id, "--yes",
        "--endpoint", f"http://{HOST}:{nodes.places['n1'].http}",
    )  # fmt: skip
    assert done.returncode == UNREACHABLE and b"does not answer" in done.stderr
    assert b"Connection refused" in done.stderr
    wrong = recover(nodes, zookeeper, "--cluster", "other", "--yes", via="n1")
    assert wrong.returncode == 1 and b"check --cluster" in wrong.stderr


def test_the_register_is_written_only_over_what_was_read(operator: Any, zookeeper: ZooKeeperServer) -> None:
    name = f"register-{uuid.uuid4().hex}"
    base = f"/ringkeep/{name}"
    with opened(zookeeper.hosts, name) as register:
        assert register.read() == (None, NO_MAP)
        operator.create(f"{base}/barrier", makepath=True)
        register.write(a_map(version=8), NO_MAP)
        assert operator.exists(f"{base}/barrier") is None
        held, version = register.read()
        assert held == a_map(version=8)
        for expected in (NO_MAP, version + 1):
            with pytest.raises(Failure, match="nothing was written"):
                register.write(a_map(version=9), expected)
        register.write(a_map(version=9), version)
        assert register.read()[0] == a_map(version=9)
        operator.set(f"{base}/map", b"nonsense")
        with pytest.raises(CannotRecover, match="cannot be read"):
            register.read()
