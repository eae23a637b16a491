"""What a type checker must see in the public client: read by mypy and by pyright, and never run."""

from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from typing import Any, assert_type

from ringkeep.client import (
    JSON,
    TEXT,
    Appended,
    AsyncClient,
    Change,
    Client,
    Counted,
    Item,
    Observer,
    Record,
    Swapped,
    Written,
    json_of,
    msgpack_of,
)


@dataclass
class Order:
    drink: str


def clients() -> None:
    assert_type(Client(), Client[bytes])
    assert_type(Client("http://localhost:8000", timeout=1, observer=Observer()), Client[bytes])
    assert_type(Client(codec=TEXT), Client[str])
    assert_type(Client(codec=JSON), Client[Any])
    assert_type(Client(["http://a:1"], codec=json_of(Order)), Client[Order])
    assert_type(Client(codec=msgpack_of(dict[str, int])), Client[dict[str, int]])
    assert_type(Client().with_codec(TEXT), Client[str])
    assert_type(AsyncClient(), AsyncClient[bytes])
    assert_type(AsyncClient(codec=json_of(Order)), AsyncClient[Order])
    assert_type(AsyncClient().with_codec(TEXT), AsyncClient[str])
    with Client() as store:
        assert_type(store, Client[bytes])


def one_key(store: Client[Order]) -> None:
    assert_type(store.get("k"), Record[Order])
    assert_type(store.get(b"k").value, Order)
    assert_type(store.get("k", None), Record[Order] | None)
    assert_type(store.get("k", 0), Record[Order] | int)
    assert_type(store.exists("k"), bool)
    assert_type(store.put("k", Order("tea"), ttl=5), Written)
    assert_type(store.put("k", Order("tea"), ttl="keep").version, int)
    assert_type(store.delete("k"), bool)
    assert_type(store.add("k", 5, if_present=True), Counted)
    assert_type(store.append("k", b""), Appended)
    assert_type(store.swap("k", Order("tea")), Swapped[Order])
    assert_type(store.swap("k", Order("tea")).old, Order | None)
    assert_type(store.take("k"), Record[Order])
    assert_type(store.update("k", lambda old: old or Order("tea")), Record[Order])


def many_keys(store: Client[str]) -> None:
    assert_type(store.get_many(["a", b"b"]), dict[bytes, Record[str]])
    assert_type(store.put_many({"a": "x"}), dict[bytes, Written])
    assert_type(store.put_many({b"a": "x"}, ttl=1), dict[bytes, Written])
    assert_type(store.delete_many(["a"]), list[bytes])
    assert_type(store.list("p", values=True), Iterator[Item[str]])
    assert_type(store.count("p"), int)
    assert_type(store.delete_prefix("p"), int)
    with store.batch() as batch:
        found, count = batch.get("a"), batch.add("n")
    assert_type(found.result(), Record[str])
    assert_type(count.result().value, int)
    with store.transaction("t") as both:
        swapped = both.swap("{t}a", "x")
    assert_type(swapped.result(), Swapped[str])
    assert_type(both.version, int)


def following(store: Client[str]) -> None:
    with store.watch("p", values=True) as changes:
        for change in changes:
            assert_type(change, Change[str])
            assert_type(change.value, str | None)
        assert_type(changes.cursor, str)
    with store.cached("p") as copy:
        assert_type(copy["a"], Record[str])
        assert_type(copy.staleness, float)
    with store.lock("l", wait=1) as lock:
        assert_type(lock.token, int)
        assert_type(lock.held, bool)


async def asynchronous(store: AsyncClient[Order]) -> None:
    assert_type(await store.get("k"), Record[Order])
    assert_type(await store.get("k", None), Record[Order] | None)
    assert_type(await store.put("k", Order("tea")), Written)
    assert_type(await store.get_many(["a"]), dict[bytes, Record[Order]])
    assert_type(store.list("p"), AsyncIterator[Item[Order]])
    async with store.transaction("t") as both:
        count = both.add("{t}n")
    assert_type(count.result(), Counted)
    async with store.watch("p") as changes:
        async for change in changes:
            assert_type(change, Change[Order])
    async with store.lock("l") as lock:
        assert_type(lock.token, int)
