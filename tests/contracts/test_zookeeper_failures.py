"""What only a real ZooKeeper can do to us: die, freeze, stay away, answer nonsense, not be installed."""

import asyncio
import importlib.util
import os
import signal
import socket
import subprocess
import sys
import textwrap
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.support.coordination.world import SHORT_SESSION_MS, Recorder, a_member
from tests.support.coordination.zookeeper import free_port
from tests.support.coordination.zookeeper_world import ZooKeeperWorld
from tests.support.wait import PATIENCE_S, until

from ringkeep.coordination import server as server_module
from ringkeep.coordination.codec import decode_member, encode_member
from ringkeep.coordination.server import ZooKeeperServer, port_is_free, serves
from ringkeep.coordination.zookeeper import ZooKeeperCoordination, check_reachable
from ringkeep.errors import ConfigurationError, ProtocolError, StartError
from ringkeep.process import is_alive


@pytest.fixture
def world(zookeeper: ZooKeeperServer) -> Iterator[ZooKeeperWorld]:
    made = ZooKeeperWorld(zookeeper)
    yield made
    made.close()


@pytest.fixture
def private_world(private_zookeeper: ZooKeeperServer) -> Iterator[ZooKeeperWorld]:
    """A world whose server the test may harm."""
    made = ZooKeeperWorld(private_zookeeper)
    yield made
    made.close()


# --- the server goes away --------------------------------------------------------------------------------


def test_a_write_never_blocks_while_the_server_is_gone(private_world: ZooKeeperWorld) -> None:
    world = private_world
    node = world.node()
    node.port.announce(a_member(1))
    world.until(lambda: node.last("barrier") is True, "a barrier")
    world.kill_service()
    for payload in (b"early", b"late"):
        began_s = time.monotonic()
        node.port.write_map(-1, payload)
        assert time.monotonic() - began_s < 0.1
    world.until(lambda: len(node.all("written")) == 2, "answers without a server")
    assert node.all("written") == [None, False], "the first one may have been on its way"


def test_stopping_ends_by_its_deadline_while_the_server_is_frozen(private_world: ZooKeeperWorld) -> None:
    world = private_world
    node = world.node()
    node.port.announce(a_member(1))
    world.until(lambda: node.names() == ["node-1"], "the member")
    assert world.server.pid is not None
    os.kill(world.server.pid, signal.SIGSTOP)
    try:
        began_s = time.monotonic()
        assert world.loop.run_until_complete(node.port.stop(0.3)) is False
        assert time.monotonic() - began_s < 2.0
    finally:
        os.kill(world.server.pid, signal.SIGCONT)
    other = world.node()
    world.until(lambda: other.last("members") == [], "the registration's end, once the server goes on")


def test_a_frozen_server_makes_writes_unknown_not_blocked(private_world: ZooKeeperWorld) -> None:
    world = private_world
    node = world.node(session_ms=SHORT_SESSION_MS)
    node.port.announce(a_member(1))
    world.until(lambda: node.last("barrier") is True, "a barrier")
    assert world.server.pid is not None
    os.kill(world.server.pid, signal.SIGSTOP)
    try:
        node.port.write_map(-1, b"one")
        world.until(lambda: node.all("written") == [None], "the answer")
        world.until(lambda: node.last("session") is False, "the silence being told")
    finally:
        os.kill(world.server.pid, signal.SIGCONT)
    world.until(lambda: node.last("session") is True, "the connection")
    world.until(lambda: node.names() == ["node-1"], "the registration")


# --- registrations are not doubled -------------------------------------------------------------------------


def test_a_registration_whose_answer_was_lost_is_recognised(world: ZooKeeperWorld) -> None:
    node, other = world.node(), world.node()
    world.operator.ensure_path(f"{world.base}/members")
    world.until(lambda: node.last("members") == [], "a connection")
    assert node.proxy is not None
    node.proxy.swallows_after = b"/members/n-"
    node.port.announce(a_member(1))
    world.until(lambda: world.registrations() == 1, "the registration")
    assert node.names() == [], "the node cannot know"
    world.cut(node)
    world.mend(node)
    world.until(lambda: node.names() == other.names() == ["node-1"], "the member")
    told = len(node.events)
    node.port.refresh()
    world.until(lambda: "members" in {kind for kind, _ in node.events[told:]}, "a look at all of it")
    assert node.names() == ["node-1"] and world.registrations() == 1


def test_strays_of_this_process_are_removed(world: ZooKeeperWorld) -> None:
    node = world.node()
    node.port.announce(a_member(1))
    world.until(lambda: node.names() == ["node-1"], "the member")
    kept = node.sequence_of("node-1")
    content = encode_member(a_member(1), node.port._process)
    world.operator.create(f"{world.base}/members/n-", content, ephemeral=True, sequence=True)
    world.until(lambda: world.registrations() == 1, "the removal of the stray")
    world.until(lambda: node.names() == ["node-1"] and node.sequence_of("node-1") == kept, "the old one")


def test_a_registration_that_somebody_deleted_comes_back(world: ZooKeeperWorld) -> None:
    node = world.node()
    node.port.announce(a_member(1))
    world.until(lambda: node.names() == ["node-1"], "the member")
    before = node.sequence_of("node-1")
    world.operator.delete(f"{world.base}/members/n-{before:010d}")
    world.until(lambda: bool(node.names()) and node.sequence_of("node-1") > before, "another registration")


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_client_that_died_of_nonsense_is_replaced(world: ZooKeeperWorld) -> None:
    node, other = world.node(session_ms=SHORT_SESSION_MS), world.node()
    node.port.announce(a_member(1))
    world.until(lambda: other.names() == ["node-1"], "the member")
    assert node.proxy is not None
    first = node.port.client
    node.proxy.say(b"\0\0\0\2no")  # shorter than any answer: kazoo's thread ends
    world.until(lambda: node.last("session") is False, "the loss")
    world.until(lambda: node.last("session") is True and node.port.client is not first, "a new client")
    world.until(lambda: node.names() == other.names() == ["node-1"], "one registration")


def test_unreadable_members_are_ignored(world: ZooKeeperWorld) -> None:
    node = world.node()
    for content in (b"", b"nonsense", b'{"format":2}', b'{"format":1,"member":{}}', b"\xff\xfe"):
        world.operator.create(f"{world.base}/members/n-", content, sequence=True, makepath=True)
    world.operator.create(f"{world.base}/members/other", b"")
    node.port.announce(a_member(1))
    world.until(lambda: node.names() == ["node-1"], "the readable member")


def test_a_chroot_is_passed_through_and_made(world: ZooKeeperWorld) -> None:
    chroot = f"/chroot-{world.cluster}"
    node = world.node(chroot=chroot)
    node.port.announce(a_member(1))
    world.until(lambda: node.names() == ["node-1"] and node.last("barrier") is True, "the member")
    node.port.write_map(-1, b"one")
    world.until(lambda: node.last("map") == (0, b"one"), "the map")
    node.port.write_map(0, b"two")
    world.until(lambda: node.last("map") == (1, b"two"), "a change")
    node.port.reregister()
    world.until(lambda: node.last("members")[0].sequence == 1, "the end of the line")
    assert world.operator.get(f"{chroot}{world.base}/map")[0] == b"two"


# --- codec and names ---------------------------------------------------------------------------------------


def test_a_member_survives_its_coding() -> None:
    member = a_member(7, zone="ünïcode", sequence=12, cluster_id="c")
    assert decode_member(encode_member(member, "p"), 12) == (member, "p")


def test_unknown_fields_are_ignored_and_other_formats_refused() -> None:
    known = encode_member(a_member(1), "p")
    assert decode_member(known.replace(b'{"id"', b'{"later":[1],"id"'), 0)[0] == a_member(1)
    with pytest.raises(ProtocolError, match="format 2"):
        decode_member(known.replace(b'"format":1', b'"format":2', 1), 0)


@pytest.mark.parametrize("hosts", ["", "127.0.0.1:port"])
def test_malformed_hosts_are_refused(hosts: str, world: ZooKeeperWorld) -> None:
    with pytest.raises(ConfigurationError):
        ZooKeeperCoordination(hosts, "c", world.loop, Recorder(), 4_000)


@pytest.mark.parametrize("cluster", ["", "a/b", ".", "..", "a\0"])
def test_impossible_cluster_names_are_refused(cluster: str, world: ZooKeeperWorld) -> None:
    with pytest.raises(ConfigurationError):
        ZooKeeperCoordination("127.0.0.1", cluster, world.loop, Recorder(), 4_000)


def test_reachability(zookeeper: ZooKeeperServer) -> None:
    assert asyncio.run(check_reachable(zookeeper.hosts, PATIENCE_S))
    assert not asyncio.run(check_reachable(f"127.0.0.1:{free_port()}", 0.3))


# --- the server process --------------------------------------------------------------------------------


def test_a_server_starts_stops_and_starts_again(tmp_path: Path) -> None:
    server = ZooKeeperServer(tmp_path / "zookeeper", free_port())
    for _ in range(2):
        server.start(PATIENCE_S)
        assert serves(server.port) and (tmp_path / "zookeeper" / "pid").read_text() == f"{server.pid}\n"
        server.stop()
        assert server.pid is None and not (tmp_path / "zookeeper" / "pid").exists()
        assert port_is_free(server.port)


def test_a_directory_of_any_name_serves_one_server(tmp_path: Path) -> None:
    directory = tmp_path / "zoo keeper #1 ünïcode"
    server = ZooKeeperServer(directory, free_port())
    server.start(PATIENCE_S)
    try:
        with pytest.raises(StartError, match="runs already"):
            ZooKeeperServer(directory, free_port()).start()
    finally:
        server.stop()
    assert "standalone" in (directory / "log").read_text()


def test_what_is_in_use_is_refused(zookeeper: ZooKeeperServer, tmp_path: Path) -> None:
    with pytest.raises(StartError, match="runs already"):
        ZooKeeperServer(zookeeper.data_dir, free_port()).start()
    with pytest.raises(StartError, match=f"port {zookeeper.port} .*in use"):
        ZooKeeperServer(tmp_path / "zookeeper", zookeeper.port).start()


def test_a_directory_that_cannot_be_used_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StartError, match="cannot use"):
        ZooKeeperServer(tmp_path / "file" / "zookeeper", free_port()).start()


def test_a_missing_java_is_named_with_its_remedy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("JAVA_HOME", raising=False)
    monkeypatch.setattr(server_module, "HOMEBREW_JAVA", ())
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)
    with pytest.raises(StartError, match=r"no Java runtime found.* install "):
        ZooKeeperServer(tmp_path, free_port()).start()


def test_missing_jars_are_named_with_their_remedy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(server_module.CLASSPATH_VARIABLE, raising=False)
    monkeypatch.setattr(server_module, "DEBIAN_JARS", tmp_path)
    monkeypatch.setattr(server_module, "JAR_DIRECTORIES", ())
    with pytest.raises(StartError, match=r"no ZooKeeper server found.* install "):
        ZooKeeperServer(tmp_path, free_port()).start()


def test_a_server_that_ends_while_starting_says_why(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(server_module.CLASSPATH_VARIABLE, str(tmp_path))
    server = ZooKeeperServer(tmp_path / "zookeeper", free_port())
    with pytest.raises(StartError, match=r"ended while starting: .*QuorumPeerMain"):
        server.start(PATIENCE_S)
    assert server.pid is None


def test_three_servers_make_an_ensemble(tmp_path: Path) -> None:
    addresses = {number: f"127.0.0.1:{free_port()}:{free_port()}" for number in (1, 2, 3)}
    servers = [
        ZooKeeperServer(tmp_path / str(number), free_port(), ensemble=addresses, number=number)
        for number in addresses
    ]
    try:
        for server in servers:
            server.launch()
        for server in servers:
            server.wait_ready(PATIENCE_S)
    finally:
        for server in servers:
            server.stop()


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells a child of its parent's death")
def test_the_server_dies_with_its_parent(tmp_path: Path) -> None:
    port = free_port()
    program = textwrap.dedent(f"""
        import sys
        from ringkeep.coordination.server import ZooKeeperServer
        server = ZooKeeperServer({str(tmp_path / "zookeeper")!r}, {port})
        server.start({PATIENCE_S})
        print(server.pid, flush=True)
        sys.stdin.read()
    """)
    with subprocess.Popen(
        [sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as parent:
        assert parent.stdout is not None
        pid = int(parent.stdout.readline())
        parent.kill()
    until(lambda: not is_alive(pid), "the server to end with its parent")


def test_a_port_that_somebody_listens_on_is_not_free() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        assert not port_is_free(listener.getsockname()[1])
