"""Operations and times to live on real nodes: through any of them, and across the death of a primary."""

import json
import time
from collections.abc import Iterator
from itertools import cycle
from typing import Any

import pytest
from tests.support.cluster.cluster import Answer, Cluster, kv
from tests.support.wait import until, until_each

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(240)]

TTL_MS = 3_000
LATE_MS = 6_000  # the new primary may know of a time that is a second older
KEY = b"{one partition}%b"
NO_TEXT = {"length": 1, "value_base64": "/w=="}


@pytest.fixture
def turn(nodes: Cluster) -> Iterator[str]:
    """The nodes in turn, so that most requests are forwarded."""
    return cycle(nodes.names)


def operate(nodes: Cluster, via: str, key: bytes, once: str = "", **members: Any) -> Answer:
    """Send an operation; `once` is its Idempotency-Key."""
    headers = {"Idempotency-Key": once} if once else {}
    return nodes.request(via, "POST", kv(key), json.dumps(members).encode(), headers)


def shown(answer: Answer) -> tuple[int, dict[str, Any]]:
    """Return status and members beside key and version."""
    members: dict[str, Any] = answer.json
    assert members.pop("key").startswith("{one partition}") and members.pop("version") > 0, answer
    return answer.status, members


def ttl_of(nodes: Cluster, via: str, key: bytes) -> int:
    """Return the milliseconds that a key still lives, 0 for ever."""
    answer = nodes.get(via, key)
    assert answer.status == 200, f"GET {key!r} through {via}: {answer}"
    return int(answer.headers.get("Ringkeep-TTL", 0))


def test_every_operation_through_any_node(nodes: Cluster, turn: Iterator[str]) -> None:
    key, raw = KEY % b"any", KEY % b"raw"
    steps: list[tuple[bytes, dict[str, Any], tuple[int, dict[str, Any]], bytes | None]] = [
        (key, {"op": "add", "initial": 40}, (201, {"value": "41"}), b"41"),
        (key, {"op": "add", "by": -50}, (200, {"value": "-9"}), b"-9"),
        (key, {"op": "append", "value": "1"}, (200, {"value": "-91", "length": 3}), b"-91"),
        (key, {"op": "touch", "ttl": "1h"}, (200, {}), b"-91"),
        (key, {"op": "add"}, (200, {"value": "-90"}), b"-90"),
        (key, {"op": "swap", "value": "v", "ttl": "keep"}, (200, {"replaced": True, "value": "-90"}), b"v"),
        (key, {"op": "persist"}, (200, {}), b"v"),
        (key, {"op": "take", "if_present": True}, (200, {"value": "v"}), None),
        (raw, {"op": "append", "value_base64": "/w=="}, (201, NO_TEXT), b"\xff"),
        (raw, {"op": "swap", "value": ""}, (200, {"replaced": True, "value_base64": "/w=="}), b""),
    ]  # fmt: skip
    versions = []
    for about, members, expected, value in steps:
        answer = operate(nodes, next(turn), about, **members)
        versions.append(answer.json["version"])
        assert shown(answer) == expected, members
        for via in nodes.names:
            found = nodes.get(via, about)
            assert (found.body if found.status == 200 else None) == value, f"{members}, then GET: {found}"
            lives = 1 if members["op"] in ("touch", "add", "swap") and about == key else 0
            if found.status == 200 and versions[0] != versions[-1] and len(versions) > 3:
                assert bool(int(found.headers.get("Ringkeep-TTL", 0))) is bool(lives), members
    assert versions == sorted(set(versions)), "they are of one partition"
    for members in ({"op": "touch", "ttl": "1s"}, {"op": "take"}, {"op": "persist"}):
        assert operate(nodes, next(turn), key, **members).status == 404
    assert operate(nodes, next(turn), raw, op="add").status == 409
    assert operate(nodes, next(turn), raw, op="take", if_version=versions[-2]).status == 412


def test_a_replay_returns_the_first_result_through_any_node_and_primary(nodes: Cluster) -> None:
    large = "x" * 60_000
    requests: list[tuple[bytes, dict[str, Any]]] = [
        (KEY % b"count", {"op": "add", "by": 7}),
        (KEY % b"text", {"op": "append", "value": "a"}),
        (KEY % b"old", {"op": "swap", "value": "new"}),
        (KEY % b"gone", {"op": "take"}),
        (KEY % b"alive", {"op": "touch", "ttl": "1h"}),
        (KEY % b"word", {"op": "add"}),
        (KEY % b"none", {"op": "take"}),
    ]
    first, names = {}, nodes.names
    for key in (b"old", b"gone", b"alive", b"word"):
        nodes.stored(names[0], KEY % key, large.encode())
    for number, (key, members) in enumerate(requests):
        first[key] = operate(nodes, names[number % len(names)], key, "once", **members)
    for key, _ in requests:  # so that an operation that ran again would show
        nodes.stored(names[0], key, b"5")

    def check() -> None:
        for key, members in requests:
            for via in nodes.running():
                again = operate(nodes, via, key, "once", **members)
                assert (again.status, again.body) == (first[key].status, first[key].body), (
                    f"{members}: {again}"
                )
                nodes.holds(via, key, b"5")

    check()
    assert [first[key].status for key, _ in requests] == [201, 201, 200, 200, 200, 409, 404]
    assert first[KEY % b"gone"].json["value"] == large
    victim = nodes.where(KEY % b"count")["primary"]
    nodes.kill(victim)
    nodes.wait_active()
    check()


def gone(nodes: Cluster, via: str, key: bytes, **query: Any) -> bool:
    answer = nodes.get(via, key, **query)
    assert answer.status in (200, 404), answer
    return answer.status == 404


def test_an_expired_key_is_gone_from_every_node(nodes: Cluster, turn: Iterator[str]) -> None:
    key, other = KEY % b"short", KEY % b"other"
    began = time.monotonic()
    written = nodes.put(next(turn), key, b"v", ttl=f"{TTL_MS}ms")
    version = int(written.headers["ETag"].strip('"'))
    body = json.dumps({"key": other.decode(), "value": "v", "ttl": f"{TTL_MS}ms"}).encode()
    assert nodes.request(next(turn), "POST", "/put", body).status == 200
    for via in nodes.names:
        assert 0 < ttl_of(nodes, via, key) <= TTL_MS
        assert 0 < ttl_of(nodes, via, other) <= TTL_MS
    stale = nodes.get(next(turn), key, consistency="stale", at_least=version)
    assert 0 < int(stale.headers["Ringkeep-TTL"]) <= TTL_MS
    until(lambda: gone(nodes, next(turn), key), "the key to expire")
    assert 1_000 * (time.monotonic() - began) >= TTL_MS, "not before its time"
    for via in nodes.names:
        assert gone(nodes, via, key), "what one node has seen gone, no node shows"
    until_each(
        nodes.names,
        lambda via: gone(nodes, via, key, consistency="stale"),
        lambda via: f"stale reads through {via} to see it gone: {nodes.get(via, key, consistency='stale')}",
    )
    until(lambda: gone(nodes, next(turn), other), "the other key to expire")
    assert operate(nodes, next(turn), key, op="touch", ttl="1h").status == 404
    created = operate(nodes, next(turn), key, op="add", if_absent=True)
    assert shown(created) == (201, {"value": "1"}) and ttl_of(nodes, next(turn), key) == 0


def test_a_failover_does_not_renew_what_expires(nodes: Cluster) -> None:
    short, renewed, counted, forever = (KEY % name for name in (b"s", b"r", b"c", b"f"))
    via = nodes.strangers(short)[0]
    began = time.monotonic()
    for key in (short, renewed, counted):
        assert nodes.put(via, key, b"1", ttl=f"{LATE_MS}ms").status == 201
    nodes.stored(via, forever, b"1")
    assert operate(nodes, via, renewed, op="touch", ttl="1h").status == 200
    assert operate(nodes, via, counted, op="add").status == 200
    until(lambda: ttl_of(nodes, via, short) < LATE_MS // 2, "half of its time to pass")
    victim = nodes.where(short)["primary"]
    nodes.kill(victim)
    until(lambda: nodes.where(short, via)["primary"] != victim, "another primary")
    nodes.wait_active(via)
    after = nodes.get(via, short)
    assert after.status == 404 or int(after.headers["Ringkeep-TTL"]) < LATE_MS * 3 // 4, "it is not renewed"
    until(lambda: gone(nodes, via, short), "the key to expire under the new primary")
    assert 1_000 * (time.monotonic() - began) >= LATE_MS, "not before its time"
    until(lambda: gone(nodes, via, counted), "the counter to expire: add keeps a ttl")
    assert 0 < ttl_of(nodes, via, renewed) <= 3_600_000
    assert ttl_of(nodes, via, forever) == 0
    nodes.start(victim).wait_ready()
    for name in nodes.names:
        assert gone(nodes, name, short) and not gone(nodes, name, renewed)
    until(lambda: gone(nodes, victim, short, consistency="stale"), "the node that was away to know it too")
