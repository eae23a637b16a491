"""A lock that renews itself, asynchronously. `blocking` has the same names."""

import asyncio
import time
from collections.abc import Callable
from types import TracebackType
from typing import Protocol

from ringkeep.client.calls.holding import RENEWED, Holding, LockLost, checked_ttl
from ringkeep.client.calls.requests import Key, key_of
from ringkeep.client.errors import Conflict, Indeterminate, NotFound, Rejected
from ringkeep.client.results import Record, Written


class AsyncKeeps(Protocol):
    """What a lock uses of a client of bytes."""

    async def put(
        self, key: Key, value: bytes, /, *, ttl: float, if_absent: bool, timeout: float
    ) -> Written: ...
    async def touch(self, key: Key, ttl: float, /, *, if_version: int, timeout: float) -> Written: ...
    async def get(self, key: Key, /, *, timeout: float) -> Record[bytes]: ...
    async def delete(self, key: Key, /, *, if_version: int, timeout: float) -> bool: ...
    async def wait(self, key: Key, newer_than: int, seconds: float, /) -> bool: ...


class AsyncLock:
    """Held by one at a time, for as long as it is renewed, which a task of its own does. A context.

    `on_lost` is called, from that task, when it is lost: then stop what the lock protects. Safety does not
    depend on it: use the `token`.
    """

    def __init__(
        self, store: AsyncKeeps, name: Key, ttl: float, wait: float | None, on_lost: Callable[[], None] | None
    ) -> None:
        self._store = store
        self._holding = Holding(key_of(name), checked_ttl(ttl))
        self._wait = wait
        self._on_lost = on_lost
        self._renewing: asyncio.Task[None] | None = None

    @property
    def token(self) -> int:
        """A number greater than that of every earlier holder. Raises LockLost if the lock is not held."""
        if not self.held:
            raise LockLost(f"the lock {self._holding.name!r} is not held")
        return self._holding.token

    @property
    def held(self) -> bool:
        """Whether it is certainly held now."""
        return self._holding.left_s > 0

    async def __aenter__(self) -> "AsyncLock":
        await self.acquire()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.release()

    async def acquire(self) -> None:
        """Take it, and wait for it until the end of `wait`. Raises Conflict if another holds it then."""
        deadline = None if self._wait is None else time.monotonic() + self._wait
        while True:
            left = self._holding.ttl_s if deadline is None else deadline - time.monotonic()
            other = await self._take(max(left, 0.01))
            if other is None and self._holding.left_s > 0:
                break
            if other is None:
                continue  # its time was over before the answer came
            left = self._holding.ttl_s if deadline is None else deadline - time.monotonic()
            if left <= 0:
                raise Conflict(f"the lock {self._holding.name!r} is held by somebody else", version=other)
            await self._store.wait(self._holding.name, other, min(left, 10.0))
        self._renewing = asyncio.create_task(self._renew(), name="ringkeep-lock")

    async def _take(self, seconds: float) -> int | None:
        """Try once; return the version of another's lock, None if it is taken."""
        holding, asked_at = self._holding, time.monotonic()
        try:
            written = await self._store.put(
                holding.name, holding.owner, ttl=holding.ttl_s, if_absent=True,
                timeout=min(seconds, holding.ttl_s),
            )  # fmt: skip
        except Conflict as error:
            return error.version or 0
        holding.taken(written.version, asked_at)
        return None

    async def _renew(self) -> None:
        holding = self._holding
        while True:
            await asyncio.sleep(holding.renew_in_s)
            asked_at, left = time.monotonic(), holding.left_s
            if left <= 0:
                break
            try:
                written = await self._store.touch(
                    holding.name,
                    holding.ttl_s,
                    if_version=holding.version,
                    timeout=min(left, holding.ttl_s / RENEWED),
                )
                holding.renewed(written.version, asked_at)
            except (Conflict, NotFound, Indeterminate):
                if not await self._recognise(left):
                    break
            except Rejected:
                await asyncio.sleep(0.05)  # while there is time
        holding.lose()
        if self._on_lost is not None:
            self._on_lost()

    async def _recognise(self, left: float) -> bool:
        """See whether the key is still ours, perhaps with a version that was not told; False if it is not."""
        holding = self._holding
        try:
            found = await self._store.get(holding.name, timeout=min(left, holding.ttl_s / RENEWED))
        except NotFound:
            return False
        except Rejected:
            return True  # not known: until its time is over
        holding.version = found.version
        return found.value == holding.owner

    async def release(self) -> None:
        """Give it back, if it is still ours. It is gone by itself after its ttl."""
        renewing, self._renewing = self._renewing, None
        if renewing is not None and renewing is not asyncio.current_task():
            renewing.cancel()
            await asyncio.wait([renewing])
        holding, left = self._holding, self._holding.left_s
        holding.lost = True
        if left <= 0:
            return
        for _ in range(2):
            try:
                await self._store.delete(
                    holding.name, if_version=holding.version, timeout=max(min(left, 5.0), 0.1)
                )
                return
            except Conflict:  # a renewal whose answer was lost
                if not await self._recognise(left):
                    return
            except (Rejected, Indeterminate):
                return
