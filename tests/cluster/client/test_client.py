"""The Python client, blocking and asynchronous, against real nodes: every call, and faults."""

import asyncio
import secrets
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from tests.support.client.both import BOTH
from tests.support.client.recorder import ClientRecorder
from tests.support.cluster.cluster import HOST, Cluster
from tests.support.cluster.steering import MOVED_S, ordered, shares, wait_moved, wait_state
from tests.support.wait import until

from ringkeep.client import (
    JSON,
    TEXT,
    AsyncClient,
    Conflict,
    Indeterminate,
    Invalid,
    NotFound,
    Unavailable,
    WrongType,
)

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(240)]

Make = Callable[..., Any]


@pytest.fixture(params=BOTH)
def make(request: pytest.FixtureRequest) -> Make:
    """Makes clients of one kind."""
    found: Make = BOTH[request.param]
    return found


def endpoints(nodes: Cluster, *names: str) -> list[str]:
    return [f"http://{HOST}:{nodes.places[name].http}" for name in names or nodes.names]


@pytest.fixture
def store(nodes: Cluster, make: Make) -> Iterator[Any]:
    with make(endpoints(nodes)) as client:
        client.delete_prefix("t/")
        yield client


@pytest.mark.parametrize("key", ["t/plain", "t/ä €", b"t/\xff\x00", "t/..", "t/a b+c%2F?&=#", "t//x//"])
def test_any_key_any_value(store: Any, key: str | bytes) -> None:
    value = bytes(range(256)) * 20
    written = store.put(key, value)
    assert written.created
    found = store.get(key)
    assert (found.value, found.version, found.ttl) == (value, written.version, None)
    assert [item.key for item in store.list("t/")] == [found.key]
    assert store.exists(key) and store.delete(key)
    assert not store.exists(key) and not store.delete(key)


def test_conditions(store: Any) -> None:
    first = store.put("t/k", b"1", if_absent=True)
    with pytest.raises(Conflict) as refused:
        store.put("t/k", b"2", if_absent=True)
    assert refused.value.version == first.version
    second = store.put("t/k", b"2", if_version=first.version)
    assert second.version > first.version and not second.created
    with pytest.raises(Conflict):
        store.delete("t/k", if_version=first.version)
    assert store.delete("t/k", if_version=second.version)
    with pytest.raises(Conflict):
        store.put("t/k", b"3", if_present=True)
    with pytest.raises(NotFound):
        store.get("t/k")
    assert store.get("t/k", None) is None


def test_operations_and_ttl(store: Any) -> None:
    assert [store.add("t/n", by).value for by in (1, 5, -10)] == [1, 6, -4]
    assert store.append("t/a", b"\xff").length == 1
    assert store.swap("t/a", b"new").old == b"\xff"
    assert store.swap("t/b", b"first").old is None
    store.put("t/a", b"x", ttl=100)
    assert 90 < store.get("t/a").ttl <= 100
    store.put("t/a", b"y", ttl="keep")
    store.touch("t/a", 1_000)
    assert 990 < store.get("t/a").ttl <= 1_000
    store.persist("t/a")
    assert store.get("t/a").ttl is None
    assert store.take("t/a").value == b"y"
    for call, rest in ((store.take, ()), (store.touch, (1,)), (store.persist, ())):
        with pytest.raises(NotFound):
            call("t/a", *rest)
    with pytest.raises(WrongType):
        store.add("t/b")
    with pytest.raises(Conflict):
        store.add("t/none", if_present=True)
    assert store.add("t/n", if_present=True).value == -3
    with pytest.raises(Invalid):
        store.put("t/large", bytes((4 << 20) + 1))
    store.put("t/brief", b"", ttl=0.02)
    until(lambda: not store.exists("t/brief"), "a key to expire")


def test_the_same_write_again_is_applied_once(store: Any) -> None:
    once = secrets.token_hex()
    first = store.add("t/n", 1, idempotency_key=once)
    assert store.add("t/n", 1, idempotency_key=once) == first
    with pytest.raises(Invalid):
        store.add("t/n", 2, idempotency_key=once)


def test_many_keys(store: Any) -> None:
    values = {f"t/{number:04d}": b"%d" % number for number in range(2_500)}
    written = store.put_many(values)
    assert len(written) == 2_500
    found = store.get_many([*values, "t/none"])
    assert {key.decode(): record.value for key, record in found.items()} == values
    assert store.count("t/") == 2_500
    listed = list(store.list("t/", values=True))
    assert {item.key.decode(): item.value for item in listed} == values
    assert [item.key for item in listed] == sorted(item.key for item in listed)
    assert len(list(store.list("t/", after="t/0100", before="t/2000", limit=1_500))) == 1_500
    assert len(store.delete_many(["t/0000", "t/none"])) == 1
    assert store.delete_prefix("t/") == 2_499
    assert store.get_many([]) == {} and store.put_many({}) == {}


def test_batches_and_transactions(store: Any) -> None:
    with store.batch() as batch:
        count, gone, refused = batch.add("t/n"), batch.get("t/none"), batch.put("t/n", b"", if_version=1)
    assert count.result().value == 1
    with pytest.raises(NotFound):
        gone.result()
    with pytest.raises(Conflict):
        refused.result()
    with store.transaction("t") as both:
        both.require("{t}t/open", if_absent=True)
        balance, log = both.add("{t}t/balance", 5), both.append("{t}t/log", b"got 5;")
    assert (balance.result().value, log.result().length) == (5, 6)
    assert both.version == store.get("{t}t/log").version
    with pytest.raises(Conflict), store.transaction("t") as both:
        both.require("{t}t/balance", if_absent=True)
        both.put("{t}t/log", b"never")
    with pytest.raises(WrongType), store.transaction("t") as both:
        both.put("{t}t/balance", b"never")
        both.add("{t}t/log")
    assert store.get("{t}t/balance").value == b"5"
    with pytest.raises(ValueError, match="one tag"), store.transaction("t") as both:
        both.put("t/elsewhere", b"")
    store.delete_prefix("{t}t/")


def test_codecs(nodes: Cluster, make: Make) -> None:
    with make(endpoints(nodes), codec=JSON) as documents, make(endpoints(nodes), codec=TEXT) as texts:
        documents.put("t/doc", {"a": [1, None]})
        assert documents.get("t/doc").content_type == "application/json"
        assert texts.get("t/doc").value == '{"a":[1,null]}'
        texts.put("t/doc", "{")
        with pytest.raises(Invalid, match="is not what this client reads"):
            documents.get("t/doc")
        assert documents.update("t/list", lambda old: [*(old or []), 1]).value == [1]
        texts.delete_prefix("t/")


def test_updates_of_many_lose_nothing(nodes: Cluster, make: Make) -> None:
    def raise_it() -> None:
        with make(endpoints(nodes), codec=JSON) as mine:
            for _ in range(25):
                mine.update("t/raised", lambda old: (old or 0) + 1, timeout=30)

    threads = [threading.Thread(target=raise_it) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    with make(endpoints(nodes), codec=JSON) as store:
        assert store.take("t/raised").value == 100


def test_ten_thousand_calls_at_a_time(nodes: Cluster) -> None:
    async def run() -> None:
        async with AsyncClient(endpoints(nodes), timeout=60) as store:
            keys = [f"t/{number}" for number in range(5_000)]
            written = await asyncio.gather(
                *[store.put(key, b"v") for key in keys], *[store.add("t/n") for _ in keys]
            )
            assert len(written) == 10_000
            assert (await store.get("t/n")).value == b"5000"
            assert await store.delete_prefix("t/") == 5_001

    asyncio.run(run())


def test_faults_are_not_seen(nodes: Cluster, make: Make) -> None:
    """Nodes die, and one is frozen, under clients that know of one node each: no call fails."""
    victims = nodes.names[:2]
    known = iter([name for name in nodes.names for _ in range(4)])
    with ClientRecorder(lambda: make(endpoints(nodes, next(known)), timeout=20)) as load:
        load.go_on()
        nodes.kill(victims[0])
        load.go_on()
        nodes.start(victims[0]).wait_ready(victims[0])
        load.go_on()
        nodes.freeze(victims[1])
        load.go_on(60)
        nodes.thaw(victims[1])
        nodes.wait_ready(victims[1])
        load.go_on()
    load.verify()


def test_nodes_come_and_go(nodes: Cluster, make: Make) -> None:
    """A node joins, takes its share and leaves again, under clients that follow the map: no call fails."""
    newcomer = f"new-{secrets.token_hex(3)}"
    nodes.add(newcomer)
    with ClientRecorder(lambda: make(endpoints(nodes, nodes.names[0]), timeout=20)) as load:
        load.go_on()
        nodes.start(newcomer).wait_ready(newcomer)
        wait_state(nodes, newcomer, "active")
        wait_moved(nodes)
        until(lambda: shares(nodes)[1][newcomer], "it to lead something")
        load.go_on(60)
        ordered(nodes, f"nodes/{newcomer}/decommission")
        assert nodes.wait_end(newcomer, MOVED_S) == 0
        nodes.forget(newcomer)
        load.go_on(60)
    load.verify()


def test_one_endpoint_that_lives_is_enough(nodes: Cluster, make: Make) -> None:
    dead, alive = nodes.names[0], nodes.names[1]
    nowhere = "http://127.0.0.1:9"
    nodes.kill(dead)
    with make([nowhere, *endpoints(nodes, dead, alive)], timeout=20) as store:
        for number in range(50):
            store.put(f"t/{number}", b"v")
        assert len(store.get_many([f"t/{number}" for number in range(50)])) == 50
        store.delete_prefix("t/")
    with make([nowhere], timeout=0.5) as lost, pytest.raises(Unavailable, match="cannot be reached"):
        lost.put("t/k", b"")


def test_without_a_majority_a_write_is_no_guess(nodes: Cluster, make: Make) -> None:
    """What a frozen majority leaves open is said to be open, and decided by the same key later."""
    once = secrets.token_hex()
    with make(endpoints(nodes, nodes.names[0]), timeout=20) as store:
        first = store.put("t/k", b"1")
        frozen = [name for name in nodes.names if name != nodes.names[0]]
        nodes.freeze(*frozen)
        try:
            with pytest.raises((Unavailable, Indeterminate)) as refused:
                store.put("t/k", b"2", idempotency_key=once, timeout=1)
        finally:
            nodes.thaw(*frozen)
        nodes.wait_ready()
        now = store.put("t/k", b"2", idempotency_key=once)
        assert now.version > first.version
        assert store.put("t/k", b"2", idempotency_key=once) == now
        if isinstance(refused.value, Indeterminate):
            assert refused.value.idempotency_key == once
        store.delete("t/k")
