"""Group commit: one thread that makes writes durable, many of them with one fsync.

While a flush runs, requests queue up, and the next flush covers them all: the busier the node, the more
writes share one fsync. A SimpleQueue wakes the thread: it is written in C and loses no wake-up
(docs/adr/0003-storage.md has the figures). The interpreter's switch interval decides how soon the thread
gets the interpreter lock back after a flush: `server.run` lowers it.
"""

import threading
import time
from collections.abc import Callable
from contextlib import suppress
from queue import Empty, SimpleQueue
from typing import Protocol

from ringkeep.errors import StorageError
from ringkeep.histogram import Histogram


class _Flushes(Protocol):
    def flush(self) -> int: ...


class _Loop(Protocol):
    def call_soon_threadsafe(self, callback: Callable[..., object], *args: object) -> object: ...


class GroupCommit:
    """The Syncer port over an engine and an event loop.

    On the loop, `on_synced(ticket)` is called after each flush with the ticket that it covered, which is at
    least the requested one. A failed flush is final: `on_failed(error)` is called once, nothing is flushed
    again, and nothing more is reported as durable. `times`: durations of the flushes, written by the thread.
    """

    def __init__(
        self,
        engine: _Flushes,
        loop: _Loop,
        on_synced: Callable[[int], object],
        on_failed: Callable[[StorageError], object],
    ) -> None:
        self._engine = engine
        self._loop = loop
        self._on_synced = on_synced
        self._on_failed = on_failed
        self.times = Histogram()
        self._asked: SimpleQueue[int | None] = SimpleQueue()
        self._thread = threading.Thread(target=self._run, name="ringkeep-storage", daemon=True)
        self._thread.start()

    def request(self, ticket: int) -> None:
        """See `ringkeep.ports.Syncer`. Returns at once. After a failure or `close` it has no effect."""
        self._asked.put(ticket)

    def close(self) -> None:
        """Flush what was requested before, end the thread and wait for it. Blocks for at most two flushes.

        Calling it again does nothing.
        """
        self._asked.put(None)
        self._thread.join()

    def _run(self) -> None:
        durable = 0
        closing = False
        while not closing:
            highest, closing = self._gather()
            if highest > durable:
                began = time.monotonic()
                try:
                    durable = self._engine.flush()
                except StorageError as error:
                    self._tell(self._on_failed, error)
                    return
                except Exception as error:  # a defect here must stop the node as a broken disk does
                    self._tell(self._on_failed, StorageError(f"the storage thread failed: {error!r}"))
                    return
                self.times.add(time.monotonic() - began)
                assert durable >= highest, "a flush covers every write that was asked for before it"
            if highest:
                self._tell(self._on_synced, durable)

    def _gather(self) -> tuple[int, bool]:
        """Wait for a request; return the highest requested ticket (0: none) and whether to end."""
        highest = 0
        asked = self._asked.get()
        with suppress(Empty):
            while asked is not None:
                highest = max(highest, asked)
                asked = self._asked.get_nowait()
        return highest, asked is None

    def _tell(self, callback: Callable[..., object], argument: object) -> None:
        with suppress(RuntimeError):  # the loop was closed
            self._loop.call_soon_threadsafe(callback, argument)
