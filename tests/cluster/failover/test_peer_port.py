"""The peer port of a running node against strangers: they lose their connection, and nobody else notices."""

import contextlib
import random
import socket
import struct
import sys
from collections.abc import Callable

import pytest
from tests.support.cluster.cluster import HOST, Cluster
from tests.support.wait import until

from ringkeep.core.protocol.hot_messages import Acks
from ringkeep.core.protocol.types import Incarnation, NodeId
from ringkeep.wire.codec import encode
from ringkeep.wire.handshake import (
    MAGIC,
    HandshakeRefusal,
    OpeningReader,
    PeerIdentity,
    Welcome,
    hello,
    opening,
)

pytestmark = [
    pytest.mark.cluster,
    pytest.mark.timeout(120),
    pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc"),
]

STRANGER = NodeId("f" * 32)
ROUNDS = 30
GROWTH_KIB = 24 * 1024  # an idle node takes 70 MiB; what is announced here would be 4 GiB each time
PUSHED_BYTES = 32 * 1024 * 1024
FOUR_GIB = struct.pack("!II", 2**32 - 1, 0)


def connect(nodes: Cluster, name: str = "n1") -> socket.socket:
    return socket.create_connection((HOST, nodes.places[name].peer), 10)


def push(peer: socket.socket, data: bytes) -> None:
    """Send until the other side has had enough."""
    with contextlib.suppress(BrokenPipeError, ConnectionResetError):
        peer.sendall(data)


def closed(peer: socket.socket) -> bytes:
    """Return what still comes until the other side closes; it must, at once."""
    got = b""
    try:
        while data := peer.recv(65_536):
            got += data
    except ConnectionResetError:
        pass
    except TimeoutError:
        raise AssertionError("the node keeps a stranger's connection") from None
    return got


def introduce(nodes: Cluster, peer: socket.socket, cluster_id: str = "") -> Welcome | HandshakeRefusal:
    """Shake hands with n1 as a node that it has never met; return its answer."""
    shown = nodes.cluster("n1")
    [called] = [member["id"] for member in shown["members"] if member["name"] == "n1"]
    me = PeerIdentity(nodes.id, cluster_id or shown["cluster_id"], STRANGER, Incarnation(1), "stranger")
    peer.sendall(opening(hello(me, called)))
    reader, got = OpeningReader(), None
    while got is None:
        got = reader.feed(peer.recv(4_096))
    assert isinstance(got, Welcome | HandshakeRefusal)
    return got


def random_bytes(nodes: Cluster, number: int) -> None:
    with connect(nodes) as peer:
        push(peer, random.Random(number).randbytes(100_000))
        assert closed(peer) == b""


def wrong_cluster_id(nodes: Cluster, number: int) -> None:
    with connect(nodes) as peer:
        answer = introduce(nodes, peer, "f" * 32)
        assert isinstance(answer, HandshakeRefusal) and answer.code == "cluster-id", answer
        assert closed(peer) == b""


def four_gib_from_a_stranger(nodes: Cluster, number: int) -> None:
    with connect(nodes) as peer:
        push(peer, MAGIC + FOUR_GIB + bytes(PUSHED_BYTES // ROUNDS))
        assert closed(peer) == b""


def four_gib_after_a_handshake(nodes: Cluster, number: int) -> None:
    with connect(nodes) as peer:
        assert isinstance(introduce(nodes, peer), Welcome)
        push(peer, FOUR_GIB + bytes(PUSHED_BYTES // ROUNDS))
        assert closed(peer) == b""


def bad_checksum_after_a_handshake(nodes: Cluster, number: int) -> None:
    with connect(nodes) as peer:
        assert isinstance(introduce(nodes, peer), Welcome)
        good = encode([Acks([0, 1, 1])])[0]
        push(peer, good[:-1] + bytes([good[-1] ^ 1]))
        assert closed(peer) == b""


ATTACKS: dict[Callable[[Cluster, int], None], str] = {
    random_bytes: "not a Ringkeep node",
    wrong_cluster_id: "cluster-id",
    four_gib_from_a_stranger: "announces 4294967295 bytes",
    four_gib_after_a_handshake: "node stranger",
    bad_checksum_after_a_handshake: "checksum",
}


@pytest.mark.parametrize("attack", ATTACKS, ids=lambda attack: attack.__name__)
def test_a_stranger_loses_its_connection_and_no_more(
    nodes: Cluster, attack: Callable[[Cluster, int], None]
) -> None:
    process, before = nodes.pid("n1"), nodes.log("n1").count(ATTACKS[attack])
    attack(nodes, -1)  # what a first time loads and compiles is not growth
    memory_kib = nodes.rss_kib("n1")
    for number in range(ROUNDS):
        attack(nodes, number)
        nodes.stored("n1", b"meanwhile", b"%d" % number)
        nodes.holds("n2", b"meanwhile", b"%d" % number)

    def logged() -> bool:
        attack(nodes, ROUNDS)  # again: strangers get one line a second
        return nodes.log("n1").count(ATTACKS[attack]) > before

    until(logged, f"a log line with {ATTACKS[attack]!r}")
    grown_kib = nodes.rss_kib("n1") - memory_kib
    assert grown_kib < GROWTH_KIB, f"n1 holds {grown_kib} KiB more"
    assert nodes.pid("n1") == process and "n1" in nodes.running()
    nodes.wait_healthy()


def test_half_a_handshake_does_not_stay(nodes: Cluster) -> None:
    """Many that say nothing, or half of it: the node serves, and closes them."""
    silent = [connect(nodes) for _ in range(20)]
    try:
        for peer in silent[::2]:
            peer.sendall(MAGIC[:4])
        nodes.stored("n1", b"meanwhile", b"v")
        for peer in silent:
            assert closed(peer) == b""
    finally:
        for peer in silent:
            peer.close()
    until(lambda: "no handshake within" in nodes.log("n1"), "the log line")
