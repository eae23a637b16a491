"""The changes of a fake node, as its readers are told them: a list, and who has heard how much of it."""

import asyncio
import time
from dataclasses import dataclass

from ringkeep.core.protocol.client_requests import Status
from ringkeep.core.protocol.feed import NOW, Event, FeedRequest, size_of
from ringkeep.core.protocol.types import Index, PartitionId

PARTITION = PartitionId(0)
PUMP_S = 0.002
BOOKMARK_S = 0.05
KEEP_ALIVE_S = 0.5


@dataclass
class _Reader:
    position: int
    credit: int = 0
    marked_at: float = 0.0
    marked: int = -1


class FakeFeeds:
    """`changes`: all, in order. `begin`: those up to this version are cut. `most`: readers at one time."""

    def __init__(self) -> None:
        self.changes: list[Event] = []
        self.begin = 0
        self.most = 1_000
        self.is_older = False  # some node of the cluster is, and tells no changes
        self.silent = False  # tells nothing but where a feed begins
        self.readers: dict[FeedRequest, _Reader] = {}
        self._pumping = False

    @property
    def end(self) -> int:
        """The version of the last change."""
        return self.changes[-1].version if self.changes else self.begin

    def submit(self, request: FeedRequest) -> Status | None:
        """Begin a feed."""
        if self.is_older:
            return Status.UNAVAILABLE
        if len(self.readers) >= self.most:
            return Status.BUSY
        begin = (request.positions or {PARTITION: NOW})[PARTITION]
        self.readers[request] = _Reader(self.end if begin == NOW else begin)
        if not self._pumping:
            self._pumping = True
            asyncio.get_running_loop().call_soon(self._pump)
        return None

    def pull(self, request: FeedRequest, size: int) -> None:
        """Grant more."""
        if request in self.readers:
            self.readers[request].credit += size

    def close(self, request: FeedRequest) -> None:
        """End a feed."""
        self.readers.pop(request, None)

    def _pump(self) -> None:
        for request in list(self.readers):
            if request in self.readers:
                self._tell(request)
        self._pumping = bool(self.readers)
        if self._pumping:
            asyncio.get_running_loop().call_later(PUMP_S, self._pump)

    def _tell(self, request: FeedRequest) -> None:
        reader = self.readers[request]
        if reader.position < self.begin:
            del self.readers[request]
            request.on_gone([PARTITION])
            return
        self._mark(request, reader)
        if request not in self.readers:
            return
        told: list[Event] = []
        size, position = 0, reader.position
        for change in self.changes if not self.silent else ():
            if change.version <= reader.position:
                continue
            if change.version != position and size >= reader.credit:
                break
            position = change.version
            if change.key.startswith(request.prefix):
                told.append(change if request.values else change._replace(content_type=b"", value=b""))
                size += size_of(told[-1])
        reader.position = position
        reader.credit -= size
        if told:
            request.on_events(told)

    def _mark(self, request: FeedRequest, reader: _Reader) -> None:
        now = time.monotonic()
        if now - reader.marked_at >= (BOOKMARK_S if reader.marked != reader.position else KEEP_ALIVE_S):
            reader.marked, reader.marked_at = reader.position, now
            request.on_bookmark({PARTITION: Index(reader.position)}, 0 if reader.position == self.end else -1)
