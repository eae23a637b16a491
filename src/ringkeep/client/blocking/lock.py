"""A lock that renews itself, blocking. `asynchronous` has the same names."""

import threading
import time
from collections.abc import Callable
from types import TracebackType
from typing import Protocol

from ringkeep.client.calls.holding import RENEWED, Holding, LockLost, checked_ttl
from ringkeep.client.calls.requests import Key, key_of
from ringkeep.client.errors import Conflict, Indeterminate, NotFound, Rejected
from ringkeep.client.results import Record, Written


class Keeps(Protocol):
    """What a lock uses of a client of bytes."""

    def put(self, key: Key, value: bytes, /, *, ttl: float, if_absent: bool, timeout: float) -> Written: ...
    def touch(self, key: Key, ttl: float, /, *, if_version: int, timeout: float) -> Written: ...
    def get(self, key: Key, /, *, timeout: float) -> Record[bytes]: ...
    def delete(self, key: Key, /, *, if_version: int, timeout: float) -> bool: ...
    def wait(self, key: Key, newer_than: int, seconds: float, /) -> bool: ...


class Lock:
    """Held by one at a time, for as long as it is renewed, which a thread of its own does. A context.

    `on_lost` is called, from that thread, when it is lost: then stop what the lock protects. Safety does not
    depend on it: use the `token`.
    """

    def __init__(
        self, store: Keeps, name: Key, ttl: float, wait: float | None, on_lost: Callable[[], None] | None
    ) -> None:
        self._store = store
        self._holding = Holding(key_of(name), checked_ttl(ttl))
        self._wait = wait
        self._on_lost = on_lost
        self._over = threading.Event()
        self._renewing: threading.Thread | None = None

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

    def __enter__(self) -> "Lock":
        self.acquire()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.release()

    def acquire(self) -> None:
        """Take it, and wait for it until the end of `wait`. Raises Conflict if another holds it then."""
        deadline = None if self._wait is None else time.monotonic() + self._wait
        while True:
            left = self._holding.ttl_s if deadline is None else deadline - time.monotonic()
            other = self._take(max(left, 0.01))
            if other is None and self._holding.left_s > 0:
                break
            if other is None:
                continue  # its time was over before the answer came
            left = self._holding.ttl_s if deadline is None else deadline - time.monotonic()
            if left <= 0:
                raise Conflict(f"the lock {self._holding.name!r} is held by somebody else", version=other)
            self._store.wait(self._holding.name, other, min(left, 10.0))
        self._over.clear()
        self._renewing = threading.Thread(target=self._renew, name="ringkeep-lock", daemon=True)
        self._renewing.start()

    def _take(self, seconds: float) -> int | None:
        """Try once; return the version of another's lock, None if it is taken."""
        holding, asked_at = self._holding, time.monotonic()
        try:
            written = self._store.put(
                holding.name, holding.owner, ttl=holding.ttl_s, if_absent=True,
                timeout=min(seconds, holding.ttl_s),
            )  # fmt: skip
        except Conflict as error:
            return error.version or 0
        holding.taken(written.version, asked_at)
        return None

    def _renew(self) -> None:
        holding = self._holding
        while not self._over.wait(holding.renew_in_s):
            asked_at, left = time.monotonic(), holding.left_s
            if left <= 0:
                break
            try:
                written = self._store.touch(
                    holding.name,
                    holding.ttl_s,
                    if_version=holding.version,
                    timeout=min(left, holding.ttl_s / RENEWED),
                )
                holding.renewed(written.version, asked_at)
            except (Conflict, NotFound, Indeterminate):
                if not self._recognise(left):
                    break
            except Rejected:
                self._over.wait(0.05)  # while there is time
        if not self._over.is_set():
            holding.lose()
            if self._on_lost is not None:
                self._on_lost()

    def _recognise(self, left: float) -> bool:
        """See whether the key is still ours, perhaps with a version that was not told; False if it is not."""
        holding = self._holding
        try:
            found = self._store.get(holding.name, timeout=min(left, holding.ttl_s / RENEWED))
        except NotFound:
            return False
        except Rejected:
            return True  # not known: until its time is over
        holding.version = found.version
        return found.value == holding.owner

    def release(self) -> None:
        """Give it back, if it is still ours. It is gone by itself after its ttl."""
        self._over.set()
        renewing, self._renewing = self._renewing, None
        if renewing is not None and renewing is not threading.current_thread():
            renewing.join()
        holding, left = self._holding, self._holding.left_s
        holding.lost = True
        if left <= 0:
            return
        for _ in range(2):
            try:
                self._store.delete(holding.name, if_version=holding.version, timeout=max(min(left, 5.0), 0.1))
                return
            except Conflict:  # a renewal whose answer was lost
                if not self._recognise(left):
                    return
            except (Rejected, Indeterminate):
                return
