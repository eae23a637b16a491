"""The known failures of systems like this one, each tried on real processes.

Four nodes hold three replicas of each key, so every key has one node that can only forward. Checks that a
mistake could be made for from outside are functions of a cluster: `test_the_check_catches_the_broken_version`
runs them against nodes with that mistake (`tests/support/cluster/broken.py`).
"""

import contextlib
import socket
import sys
import threading
import time
from collections.abc import Callable

import pytest
from kazoo.client import KazooClient
from kazoo.exceptions import NoNodeError
from tests.support.cluster import broken
from tests.support.cluster.cluster import HOST, Cluster, free_ports, kv
from tests.support.cluster.make_cluster import MakeCluster
from tests.support.coordination.threaded_proxy import ThreadedProxy
from tests.support.wait import until, until_each

from ringkeep.coordination.codec import decode_member
from ringkeep.core.protocol.types import Incarnation, NodeId
from ringkeep.wire.handshake import Code, HandshakeRefusal, OpeningReader, PeerIdentity, hello, opening

pytestmark = [
    pytest.mark.cluster,
    pytest.mark.timeout(180),
    pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc"),
]

NODES = 4  # of the cluster that the module shares, see conftest
WINDOW_S = 2.5  # longer than the broken barrier sleeps
SESSION = ("--zookeeper-session-ms", "2000")


# --- checks that are also tried on broken nodes ----------------------------------------------------------


def check_every_replica_holds_a_forwarded_put(nodes: Cluster) -> None:
    key = b"held by all"
    [via] = nodes.strangers(key)
    nodes.stored(via, key, b"v")
    until_each(
        nodes.where(key)["replicas"],
        lambda name: nodes.get(name, key, consistency="stale").body == b"v",
        lambda name: f"the replica at {name} to hold what was forwarded",
        5.0,
    )


def check_a_forwarded_put_survives_its_primary(nodes: Cluster) -> None:
    key = b"survives"
    [via] = nodes.strangers(key)
    nodes.stored(via, key, b"v")
    primary = nodes.where(key)["primary"]
    nodes.kill(primary)
    for name in nodes.running():
        nodes.holds(name, key, b"v")
        assert nodes.get(name, key).headers["Ringkeep-Primary"] != primary


def check_a_forwarded_get_of_a_missing_key_is_404(nodes: Cluster) -> None:
    for name in nodes.names:
        assert nodes.get(name, b"missing").status == 404, f"through {name}"
        assert nodes.request(name, "HEAD", kv(b"missing")).status == 404
        answer = nodes.request(name, "GET", "/get?key=missing")
        assert (answer.status, answer.json["status"], answer.json["key"]) == (404, "Failed", "missing")


def check_a_write_without_quorum_is_not_called_failed(nodes: Cluster) -> None:
    """Appended and then cut off: unknown. Refused before: not applied, and never seen."""
    keys = {each: f"{{fate}}{each}".encode() for each in ("cut off", "refused", "witness")}
    [via], where = nodes.strangers(keys["witness"]), nodes.where(keys["witness"])
    backups = [name for name in where["replicas"] if name != where["primary"]]
    nodes.freeze(*backups)
    try:
        answers = {"cut off": nodes.put(via, keys["cut off"], b"v", timeout="300ms")}
        until(lambda: _state(nodes, where) != "active", f"{where['primary']} to miss its majority")
        answers["refused"] = nodes.put(via, keys["refused"], b"v", timeout="300ms")
    finally:
        nodes.thaw(*backups)
    until(lambda: nodes.put(via, keys["witness"], b"v").status == 201, "a write behind all others")
    for name, answer in answers.items():
        said = answer.json["outcome"]
        assert (answer.status, said) in ((503, "not-applied"), (504, "unknown")), f"{name}: {answer}"
        found = nodes.get(via, keys[name]).status
        assert said == "unknown" or found == 404, f"{name}: said {said}, and yet it is there: {found}"
    assert answers["refused"].status == 503 and "Retry-After" in answers["refused"].headers


def _state(nodes: Cluster, where: dict[str, str]) -> str:
    return str(nodes.partitions(where["primary"])[int(where["partition"])]["state"])


def check_a_forward_ends_by_its_timeout(nodes: Cluster) -> None:
    """Two replicas are frozen, the primary among them: nobody can answer, and nobody can take its place."""
    key = b"nobody answers"
    [via], where = nodes.strangers(key), nodes.where(key)
    frozen = [where["primary"], next(n for n in where["replicas"] if n != where["primary"])]
    nodes.freeze(*frozen)
    try:
        for method, statuses in (("PUT", (503, 504)), ("GET", (503,)), ("DELETE", (503, 504))):
            body = b"v" if method == "PUT" else None
            answer = nodes.request(via, method, kv(key, timeout="500ms"), body, limit_s=6.0)
            assert answer.status in statuses, answer
    finally:
        nodes.thaw(*frozen)


def check_four_of_five_wait_for_the_fifth(nodes: Cluster) -> None:
    four, fifth = nodes.names[:4], nodes.names[4]
    nodes.start(*four)
    until_each(
        four,
        lambda name: "4 of 5 nodes" in nodes.waits_for(name),
        lambda name: f"{name} to meet the other three",
    )
    for name in four:
        assert all(each in nodes.waits_for(name) for each in four), nodes.waits_for(name)
    until(lambda: "4 of 5 nodes" in nodes.log(four[0]), "the log to say whom it waits for")
    end = time.monotonic() + WINDOW_S
    while time.monotonic() < end:
        for name in four:
            assert nodes.request(name, "GET", "/readyz").status == 503
            for answer in (nodes.put(name, b"early", b"v"), nodes.get(name, b"early")):
                assert answer.status == 503, f"{name} serves before the fifth node is there: {answer}"
                assert answer.json["outcome"] == "not-applied" and "Retry-After" in answer.headers
    nodes.start(fifth).wait_ready()
    for name in nodes.names:
        assert nodes.get(name, b"early").status == 404
        nodes.stored(name, f"by {name}".encode(), b"v")


def check_an_expired_session_is_replaced(nodes: Cluster) -> None:
    """One node's session ends while it runs: it serves on, keeps its primaryships, and registers again."""
    hosts = nodes.places["n1"].zookeeper
    proxy, operator = ThreadedProxy(int(hosts.rpartition(":")[2])), KazooClient(hosts)
    operator.start(30)
    try:
        nodes.places["n1"].zookeeper = proxy.hosts
        nodes.start().wait_ready().wait_active()
        until(lambda: "n1" in _registrations(operator, nodes), "n1 to be registered")
        before = _registrations(operator, nodes).get("n1", -1)
        proxy.cut()
        until(lambda: "n1" not in _registrations(operator, nodes), "the session of n1 to expire")
        for number in range(nodes.partition_count):
            nodes.stored("n1", nodes.key_in(number, "without a session"), b"v")
        assert any(p["primary"] == "n1" for p in nodes.partitions("n2")), "n1 was deposed for it"
        proxy.mend()
        until(lambda: "n1" in _registrations(operator, nodes), "n1 to register again", 8.0)
        assert _registrations(operator, nodes)["n1"] > before
        nodes.stored("n2", b"with a session", b"v")
        nodes.holds("n1", b"with a session", b"v")
        until(lambda: nodes.cluster("n1")["zookeeper"] == "connected", "n1 to know it")
    finally:
        operator.stop()
        operator.close()
        proxy.close()


def _registrations(operator: KazooClient, nodes: Cluster) -> dict[str, int]:
    """Return the sequence numbers of the registered members, by name."""
    base, found = f"/ringkeep/{nodes.id}/members", {}
    for child in operator.get_children(base):
        sequence = int(child.rpartition("-")[2])
        with contextlib.suppress(NoNodeError):  # it expired meanwhile
            found[decode_member(operator.get(f"{base}/{child}")[0], sequence)[0].name] = sequence
    return found


SHARED_CHECKS: tuple[Callable[[Cluster], None], ...] = (
    check_every_replica_holds_a_forwarded_put,
    check_a_forwarded_get_of_a_missing_key_is_404,
    check_a_write_without_quorum_is_not_called_failed,
    check_a_forward_ends_by_its_timeout,
    check_a_forwarded_put_survives_its_primary,
)
FRESH_CHECKS: dict[Callable[[Cluster], None], tuple[int, tuple[str, ...]]] = {
    check_four_of_five_wait_for_the_fifth: (5, ()),
    check_an_expired_session_is_replaced: (3, SESSION),
}
CAUGHT = (
    (check_every_replica_holds_a_forwarded_put, "puts_stored_by_the_owner_only", "the replica at"),
    (check_a_forwarded_put_survives_its_primary, "puts_stored_by_the_owner_only", "404"),
    (
        check_four_of_five_wait_for_the_fifth,
        "barrier_that_is_a_sleep",
        "200|serves before|meet the other three",
    ),
    (check_an_expired_session_is_replaced, "expired_session_not_renewed", "register again"),
    (check_a_forwarded_get_of_a_missing_key_is_404, "forwarded_get_always_found", "through n"),
    (check_a_forward_ends_by_its_timeout, "forward_without_timeout", "no answer within"),
    (check_a_write_without_quorum_is_not_called_failed, "timed_out_write_called_failed", "yet it is there"),
)


@pytest.mark.parametrize("check", SHARED_CHECKS, ids=lambda check: check.__name__[6:])
def test_known_failure(nodes: Cluster, check: Callable[[Cluster], None]) -> None:
    check(nodes)


@pytest.mark.parametrize("check", FRESH_CHECKS, ids=lambda check: check.__name__[6:])
def test_known_failure_from_the_start(make_cluster: MakeCluster, check: Callable[[Cluster], None]) -> None:
    count, options = FRESH_CHECKS[check]
    check(make_cluster(count, partitions=16, options=options))


@pytest.mark.plain  # each mistake is put into the core
@pytest.mark.parametrize(
    "check, mistake, words", CAUGHT, ids=lambda each: getattr(each, "__name__", each)[:48]
)
def test_the_check_catches_the_broken_version(
    make_cluster: MakeCluster, check: Callable[[Cluster], None], mistake: str, words: str
) -> None:
    count, options = FRESH_CHECKS.get(check, (NODES, ()))
    program = (sys.executable, broken.__file__, mistake)
    nodes = make_cluster(count, partitions=16, options=options, program=program)
    if check not in FRESH_CHECKS:
        nodes.start().wait_ready().wait_active()
    with pytest.raises(AssertionError, match=words):
        check(nodes)


# --- what else such systems get wrong -----------------------------------------------------------------------


def test_peers_are_found_wherever_they_listen(nodes: Cluster) -> None:
    """Peer ports have nothing to do with HTTP ports here, and a restarted node may have moved."""
    key = b"moved"
    nodes.stored("n1", key, b"before")
    mover = nodes.where(key)["primary"]
    nodes.kill(mover)
    nodes.places[mover].http, nodes.places[mover].peer = free_ports(2)
    nodes.start(mover).wait_ready()
    for name in nodes.names:
        nodes.holds(name, key, b"before")
    until(
        lambda: (
            {m["name"]: m["peer"] for m in nodes.cluster("n1")["members"]}[mover]
            == f"{HOST}:{nodes.places[mover].peer}"
        ),
        "the map to name the new address",
    )
    [via] = nodes.strangers(key)
    nodes.stored(via, key, b"after")
    until(lambda: nodes.get(mover, key, consistency="stale").body == b"after", "the moved replica to follow")


def test_a_handshake_with_the_wrong_node_is_refused(nodes: Cluster) -> None:
    shown = nodes.cluster("n1")
    ids = {member["name"]: member["id"] for member in shown["members"]}
    me = PeerIdentity(nodes.id, shown["cluster_id"], NodeId("0" * 32), Incarnation(1), "stranger")
    with socket.create_connection((HOST, nodes.places["n1"].peer), 5) as peer:
        peer.sendall(opening(hello(me, NodeId(ids["n2"]))))
        reader, got = OpeningReader(), None
        while got is None:
            got = reader.feed(peer.recv(4_096))
        assert isinstance(got, HandshakeRefusal) and got.code == Code.WRONG_NODE
        assert peer.recv(1) == b"", "and the connection is closed"
    until(lambda: "wrong-node" in nodes.log("n1"), "the log line")


def test_one_slow_quorum_does_not_hold_up_the_others(nodes: Cluster) -> None:
    """A primary waits for two frozen backups, and meanwhile serves what has a majority without them."""
    slow, fast = next(
        (slow, fast)
        for slow in nodes.partitions()
        for fast in nodes.partitions()
        if slow["primary"] == fast["primary"] and set(slow["voters"]) != set(fast["voters"])
    )
    primary = slow["primary"]
    frozen = [name for name in slow["voters"] if name != primary]
    key, other = nodes.key_in(slow["partition"], "slow"), nodes.key_in(fast["partition"], "fast")
    answers: list[int] = []
    waiting = threading.Thread(
        target=lambda: answers.append(
            nodes.request(primary, "PUT", kv(key, timeout="30s"), b"v", limit_s=40).status
        )
    )
    nodes.freeze(*frozen)
    try:
        waiting.start()
        for number in range(100):
            nodes.stored(primary, other, b"%d" % number)
            nodes.holds(primary, other, b"%d" % number)
        assert waiting.is_alive() and not answers, f"the slow one was answered {answers}"
    finally:
        nodes.thaw(*frozen)
        waiting.join(45)
    assert answers == [201]
