"""A cached copy that was cut off for longer than the store keeps its history, both kinds of it."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from typing import Any

from tests.support.wait import until

from ringkeep.client import Bookmark, Change, HistoryLost, Item
from ringkeep.client.asynchronous import cached as asynchronous
from ringkeep.client.blocking import cached as blocking
from ringkeep.client.calls.requests import Page

STATES = [
    [Item(b"gone", 1, b"x"), Item(b"k", 2, b"old")],
    [Item(b"came", 7, b"c"), Item(b"k", 5, b"new")],
]
DIFFERENCES = [Change("put", b"came", 7, b"c"), Change("put", b"k", 5, b"new"), Change("delete", b"gone", 1)]


class _Store:
    """Lists the first state, whose feed breaks off at once, and then the second one."""

    def __init__(self) -> None:
        self.states = iter(STATES)
        self.lost = iter((True, False))

    def shown(self) -> Page[Any]:
        return Page(next(self.states), None, "cursor")


class _Watch:
    def __init__(self, on_bookmark: Any, lost: bool, over: Any) -> None:
        self._on_bookmark, self._lost, self._over = on_bookmark, lost, over

    def close(self) -> None:
        self._over.set()

    def __enter__(self) -> "_Watch":
        return self

    def __exit__(self, *_: object) -> None: ...

    def __iter__(self) -> Iterator[Any]:
        self._on_bookmark(Bookmark("cursor", 0.0))
        if self._lost:
            raise HistoryLost("cut")
        self._over.wait()
        return iter(())

    async def __aenter__(self) -> "_Watch":
        return self

    async def __aexit__(self, *_: object) -> None: ...

    async def __aiter__(self) -> AsyncIterator[Any]:
        self._on_bookmark(Bookmark("cursor", 0.0))
        if self._lost:
            raise HistoryLost("cut")
        await self._over.wait()
        if not self._over:
            yield


def test_the_differences_are_told() -> None:
    import threading

    class Store(_Store):
        def page(self, span: Any, *, values: bool) -> Any:
            return self.shown()

        def watch(self, prefix: Any, *, after: str, values: bool, on_bookmark: Any) -> Any:
            return _Watch(on_bookmark, next(self.lost), threading.Event())

    told: list[Change[bytes]] = []
    with blocking.Cached[bytes](Store(), b"", 10.0, told.append) as copy:
        until(lambda: len(told) == len(DIFFERENCES), "the differences")
        assert told == DIFFERENCES and set(copy) == {b"came", b"k"}


def test_the_differences_are_told_to_a_loop() -> None:
    class Store(_Store):
        async def page(self, span: Any, *, values: bool) -> Any:
            return self.shown()

        def watch(self, prefix: Any, *, after: str, values: bool, on_bookmark: Any) -> Any:
            return _Watch(on_bookmark, next(self.lost), asyncio.Event())

    async def follow() -> None:
        told: list[Change[bytes]] = []
        seen = asyncio.Event()

        def note(change: Change[bytes]) -> None:
            told.append(change)
            if len(told) == len(DIFFERENCES):
                seen.set()

        async with asynchronous.AsyncCached[bytes](Store(), b"", 10.0, note) as copy:
            await asyncio.wait_for(seen.wait(), 10)
            assert told == DIFFERENCES and set(copy) == {b"came", b"k"}

    asyncio.run(follow())
