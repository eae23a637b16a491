"""The coordination of a node that is alone: within its process, kept in its data directory.

It is the service in memory, whose messages wait in one queue. After a message that changed the map or a mark,
the queue waits until the change is durable: so nothing is told of it before. Members and barrier belong to
live processes, and are not kept. Passes the same contract as ZooKeeper. Knows nothing of files.
"""

import asyncio
import contextlib
import threading
from collections import deque
from collections.abc import Callable
from typing import Final

import msgspec

from ringkeep.admission import Mark
from ringkeep.coordination.memory import MemoryCoordination, MemoryService
from ringkeep.core.protocol.cluster_map import Member
from ringkeep.core.protocol.types import Millis, NodeId
from ringkeep.errors import ConfigurationError
from ringkeep.ports import CoordinationEvents

FORMAT: Final = 1
RETRY_S: Final = 1.0
"""After a write that failed, as on a full disk."""

Save = Callable[[bytes], None]
"""Makes this durable in place of what was given before: all of it, or nothing. Raises OSError."""


class _Kept(msgspec.Struct, frozen=True):
    """What is kept: the map and the marks, each with its version. As JSON, readable for people."""

    format: int
    map_version: int
    map: bytes | None
    marks: dict[NodeId, tuple[int, Mark]]


class EmbeddedService(MemoryService):
    """The map and the marks of one data directory. `trouble`: why they cannot be written; "" if they can."""

    def __init__(self, kept: bytes | None, save: Save, loop: asyncio.AbstractEventLoop) -> None:
        """`kept`: what was saved last, None if nothing was. Raises ConfigurationError if it is not valid."""
        super().__init__()
        self.trouble = ""
        self._save = save
        self._loop = loop
        self._messages: deque[Callable[[], None]] = deque()
        self._due = False  # a turn of the queue is scheduled, or will be once all is saved
        self._unsaved = False
        if kept is not None:
            found = _decode(kept)
            self.map_version, self.map, self.marks = found.map_version, found.map, found.marks

    def deliver(self, message: Callable[[], None]) -> None:
        """Run a message after all those before it, once what these changed is durable."""
        self._messages.append(message)
        if not self._due:
            self._due = True
            self._loop.call_soon(self._turn)

    async def leave_mark(self, node: NodeId, expected: int, mark: Mark) -> bool:
        """Write a node's mark, also over an earlier one of the same life; return whether it is stored."""
        stored: asyncio.Future[bool] = self._loop.create_future()

        def write() -> None:
            version, before = self._mark_of(node)
            ours = before is not None and before.life == mark.life
            self._write_mark(node, version if ours else expected, mark)
            self.deliver(lambda: _settle(stored, self._mark_of(node)[1] == mark))

        self.deliver(write)
        return await stored

    async def settle(self) -> None:
        """Return once every message has run, and what it changed is durable."""
        settled: asyncio.Future[bool] = self._loop.create_future()
        self.deliver(lambda: _settle(settled, True))
        await settled

    def _write_map(self, expected: int, payload: bytes) -> bool:
        written = super()._write_map(expected, payload)
        self._unsaved = self._unsaved or written
        return written

    def _write_mark(self, node: NodeId, expected: int, mark: Mark) -> tuple[int, Mark | None]:
        before, _ = self._mark_of(node)
        after = super()._write_mark(node, expected, mark)
        self._unsaved = self._unsaved or after[0] != before
        return after

    def _turn(self) -> None:
        try:
            self._messages.popleft()()
        finally:
            self._go_on()

    def _go_on(self) -> None:
        if self._unsaved:
            self._save_all()
        elif self._messages:
            self._loop.call_soon(self._turn)
        else:
            self._due = False

    def _save_all(self) -> None:
        """Save in a thread: a disk takes milliseconds, and requests go on meanwhile."""
        content = msgspec.json.encode(_Kept(FORMAT, self.map_version, self.map, self.marks)) + b"\n"

        def save() -> None:
            trouble = ""
            try:
                self._save(content)
            except OSError as error:
                trouble = f"changes cannot be stored: {error.strerror or error}"
            with contextlib.suppress(RuntimeError):  # the loop was closed meanwhile
                self._loop.call_soon_threadsafe(self._on_saved, trouble)

        threading.Thread(target=save, name="coordination", daemon=True).start()

    def _on_saved(self, trouble: str) -> None:
        self.trouble = trouble
        if trouble:
            self._loop.call_later(RETRY_S, self._save_all)
        else:
            self._unsaved = False
            self._go_on()


def _settle(future: "asyncio.Future[bool]", result: bool) -> None:
    if not future.done():  # its reader may have given up
        future.set_result(result)


def _decode(kept: bytes) -> _Kept:
    try:
        found = msgspec.json.decode(kept, type=_Kept)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"not a map and marks ({error}); was it changed by hand?") from error
    if found.format != FORMAT:
        raise ConfigurationError(
            f"format {found.format}; this version of Ringkeep reads format {FORMAT} only"
        )
    return found


class EmbeddedCoordination:
    """The one node's handle. The methods of the port may be called before `start`."""

    def __init__(self, service: EmbeddedService, sink: CoordinationEvents) -> None:
        self.session_ms: Millis = 0  # a registration ends with its process
        self._service = service
        self._port = MemoryCoordination(service, sink, service.deliver)

    # --- the port -------------------------------------------------------------------------------------

    def announce(self, member: Member) -> None:
        self._port.announce(member)

    def reregister(self) -> None:
        self._port.reregister()

    def write_map(self, expected: int, payload: bytes) -> None:
        self._port.write_map(expected, payload)

    def read_mark(self, node: NodeId) -> None:
        self._port.read_mark(node)

    def write_mark(self, node: NodeId, expected: int, mark: Mark) -> None:
        self._port.write_mark(node, expected, mark)

    def refresh(self) -> None:
        self._port.refresh()

    # --- life -----------------------------------------------------------------------------------------

    @property
    def trouble(self) -> str:
        """Why changes of the map cannot be stored at present, for people; "" if they can."""
        return self._service.trouble

    def start(self) -> None:
        """Connect: everything is told."""
        self._port.start()

    async def leave_mark(self, node: NodeId, expected: int, mark: Mark, deadline_s: float = 2.0) -> bool:
        """Write a node's mark for the last time, right before `stop`; return whether that is certain."""
        with contextlib.suppress(TimeoutError):
            return await asyncio.wait_for(self._service.leave_mark(node, expected, mark), deadline_s)
        return False

    async def stop(self, deadline_s: float = 5.0) -> bool:
        """End the registration; no event follows. Returns by the deadline: whether all is on the disk."""
        self._port.stop()
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._service.settle(), deadline_s)
            return True
        return False
