"""Readers of changes through the Python client, each kind in a thread of its own; they note what they see."""

import asyncio
import threading
from collections.abc import Callable
from typing import Any

from ringkeep.client import AsyncClient, Change, Client


class Following:
    """Follows a prefix until it is closed. Use as a context. `changes`: what it was told, in order."""

    def __init__(self, endpoints: list[str], prefix: str, after: str = "") -> None:
        self.changes: list[Change[bytes]] = []
        self.failure = ""
        self.begun = threading.Event()
        self._endpoints = endpoints
        self._prefix = prefix
        self._after = after
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> "Following":
        self._thread.start()
        assert self.begun.wait(30), "the stream begins"
        return self

    def __exit__(self, *_: object) -> None:
        self._close()
        self._thread.join(30)
        assert not self._thread.is_alive() and not self.failure, self.failure

    @property
    def cursor(self) -> str:
        raise NotImplementedError

    def _run(self) -> None:
        try:
            self._follow()
        except Exception as error:
            self.failure = repr(error)
            self.begun.set()

    def _follow(self) -> None:
        raise NotImplementedError

    def _close(self) -> None:
        raise NotImplementedError


class Blocking(Following):
    def __init__(self, endpoints: list[str], prefix: str, after: str = "") -> None:
        super().__init__(endpoints, prefix, after)
        self._client = Client(endpoints)
        self._watch = self._client.watch(
            prefix, after=after, values=True, on_bookmark=lambda _: self.begun.set()
        )

    @property
    def cursor(self) -> str:
        return self._watch.cursor

    def _follow(self) -> None:
        for change in self._watch:
            self.changes.append(change)

    def _close(self) -> None:
        self._watch.close()


class Asynchronous(Following):
    _loop: asyncio.AbstractEventLoop
    _watch: Any

    @property
    def cursor(self) -> str:
        found: str = self._watch.cursor
        return found

    def _follow(self) -> None:
        asyncio.run(self._follow_all())

    async def _follow_all(self) -> None:
        self._loop = asyncio.get_running_loop()
        async with AsyncClient(self._endpoints) as client:
            self._watch = client.watch(
                self._prefix, after=self._after, values=True, on_bookmark=lambda _: self.begun.set()
            )
            async for change in self._watch:
                self.changes.append(change)

    def _close(self) -> None:
        asyncio.run_coroutine_threadsafe(self._watch.close(), self._loop).result(10)


FOLLOWING: dict[str, Callable[..., Following]] = {"blocking": Blocking, "asynchronous": Asynchronous}
