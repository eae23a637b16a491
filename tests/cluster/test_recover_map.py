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
from kazoo.client import KazooClient
from kazoo.exceptions import NotEmptyError
from tests.cli_node import one_line, ringkeep
from tests.core_parts import a_map
from tests.support.cluster import HOST, RINGKEEP, Cluster, until, until_each

from ringkeep.cli.failure import Failure
from ringkeep.cli.map_register import opened
from ringkeep.coordination.server import ZooKeeperServer
from ringkeep.coordination.view import NO_MAP
from ringkeep.recovery import CannotRecover
from ringkeep.wire import mapcodec

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(240)]

REFUSED = 78
UNREACHABLE = 4
KEYS = [f"key-{number}".encode() for number in range(60)]


@pytest.fixture
def nodes(zookeeper: ZooKeeperServer, tmp_path: Path) -> Iterator[Cluster]:
    """Three nodes that serve, with some data."""
    with Cluster(tmp_path / "three", zookeeper.hosts, 3) as cluster:
        cluster.start().wait_ready().wait_active()
        for position, key in enumerate(KEYS):
            cluster.stored(cluster.names[position % 3], key, b"value of " + key)
        yield cluster


@pytest.fixture
def operator(zookeeper: ZooKeeperServer) -> Iterator[Any]:
    """A ZooKeeper client of the test's own."""
    client = KazooClient(zookeeper.hosts)
    client.start(30)
    yield client
    client.stop()
    client.close()


def wipe(operator: Any, nodes: Cluster) -> None:
    operator.delete(f"/ringkeep/{nodes.id}/map")
    with contextlib.suppress(NotEmptyError):  # nodes that run register anew while it goes on
        operator.delete(f"/ringkeep/{nodes.id}", recursive=True)


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


def frozen(nodes: Cluster) -> None:
    """Wait until every node has noticed, and says so."""
    until_each(
        nodes.running(),
        lambda name: nodes.cluster(name)["alarm"],
        lambda name: f"{name} to notice that ZooKeeper is behind",
    )


def moved_on(nodes: Cluster, version: int) -> None:
    """Wait until every node serves under this map, or a newer one, and changes are made again."""
    until_each(
        nodes.running(),
        lambda name: nodes.cluster(name)["map_version"] >= version and not nodes.cluster(name)["alarm"],
        lambda name: f"{name} to have map {version}: {nodes.cluster(name)}",
    )
    nodes.wait_active()


def test_nodes_that_run_serve_on_and_get_their_map_back(
    nodes: Cluster, operator: Any, zookeeper: ZooKeeperServer
) -> None:
    assert recover(nodes, zookeeper, "--yes", via="n1").returncode == 1, "nothing is wrong yet"
    before = nodes.cluster("n1")["map_version"]
    wipe(operator, nodes)
    frozen(nodes)
    everything_is_there(nodes)

    asked = recover(nodes, zookeeper, via="n2")
    assert asked.returncode == 2 and b"--yes" in asked.stderr and b"holds no map" in asked.stdout
    assert "nothing was written" in answered_no(nodes, zookeeper)
    assert operator.exists(f"/ringkeep/{nodes.id}/map") is None
    done = recover(nodes, zookeeper, "--yes", via="n2")
    assert done.returncode == 0, done.stderr
    said = done.stdout.decode()
    assert f"map {before + 1} is written" in said and all(f"{name} (http://" in said for name in nodes.names)

    moved_on(nodes, before + 1)
    everything_is_there(nodes)
    again = recover(nodes, zookeeper, "--yes", via="n3")
    assert again.returncode == 1 and one_line(again.stderr.decode()) and b"not needed" in again.stderr
    nodes.kill("n1")
    nodes.wait_active("n2")  # the controller makes changes again
    everything_is_there(nodes)


def test_nodes_that_are_stopped_start_again_with_all_they_had(
    nodes: Cluster, operator: Any, zookeeper: ZooKeeperServer
) -> None:
    for name in nodes.names:
        assert nodes.terminate(name) == 0
    wipe(operator, nodes)
    nodes.start("n1")
    assert nodes.wait_end("n1") == REFUSED and "ZooKeeper holds no cluster map" in nodes.said("n1")

    some = recover(nodes, zookeeper, "--yes", *directories(nodes, "n1", "n2"))
    assert some.returncode == 1 and b"n3 (http://" in some.stderr and b"--without n3" in some.stderr
    assert operator.exists(f"/ringkeep/{nodes.id}/map") is None
    done = recover(nodes, zookeeper, "--yes", *directories(nodes, *nodes.names))
    assert done.returncode == 0, done.stderr
    nodes.start().wait_ready().wait_active()
    everything_is_there(nodes)


def test_an_older_map_in_zookeeper_is_replaced_also_without_a_node_that_is_gone(
    nodes: Cluster, operator: Any, zookeeper: ZooKeeperServer
) -> None:
    path = f"/ringkeep/{nodes.id}/map"
    backup = operator.get(path)[0]
    nodes.kill("n3")
    nodes.wait_active("n1")
    until(lambda: operator.get(path)[0] != backup, "the map to change")
    nodes.kill("n2")  # so that nothing changes any more
    newest = nodes.cluster("n1")["map_version"]
    operator.set(path, backup)
    frozen(nodes)

    busy = recover(nodes, zookeeper, "--yes", *directories(nodes, "n1"))
    assert busy.returncode == REFUSED and b"in use" in busy.stderr
    stopped = directories(nodes, "n2")
    assert b"--without n3" in recover(nodes, zookeeper, "--yes", *stopped, via="n1").stderr
    done = recover(nodes, zookeeper, "--yes", *stopped, "--without", "n3", via="n1")
    assert done.returncode == 0, done.stderr
    assert "warning: n3 was not read" in done.stdout.decode()
    written = mapcodec.decode(operator.get(path)[0])
    assert written.version > newest + 1, "what n3 may hold is left far behind"
    nodes.start("n2", "n3").wait_ready()
    moved_on(nodes, written.version)
    everything_is_there(nodes)


def test_a_zookeeper_that_is_not_there(nodes: Cluster, zookeeper: ZooKeeperServer) -> None:
    done = ringkeep(
        "recover", "map", "--zookeeper", f"{HOST}:1", "--cluster", nodes.id, "--yes",
        "--endpoint", f"http://{HOST}:{nodes.places['n1'].http}",
    )  # fmt: skip
    assert done.returncode == UNREACHABLE and b"does not answer" in done.stderr
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
