"""`GET /v1/kv/{key}?newer_than=V&wait=30s`: a read that is answered once the key is in another state.

What ends the wait is a feed of this one key; what is answered is always a read of its own, confirmed like any
other, also at the end of the wait. Knows nothing of connections.
"""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from typing import Final

from ringkeep.core.protocol.client_requests import Request, Result, Status
from ringkeep.core.protocol.feed import NOW, Event, FeedRequest, size_of
from ringkeep.core.protocol.types import Index, Millis, PartitionId
from ringkeep.http.service import Service

_WINDOW_BYTES: Final = 16 * 1024
_OLDER: Final = "some node of the cluster runs an older version, which tells no changes"


class LongPoll:
    """One read that waits. `start` is called once; `request.done` gets the result, at the latest after the
    wait and the read's own timeout.

    `newer_than`: the version that the client has; 0: it knows of no such key.
    """

    __slots__ = (
        "_again", "_done", "_feed", "_final", "_reading", "_request", "_service", "_timer", "_wait_ms",
        "newer_than",
    )  # fmt: skip

    def __init__(self, request: Request, service: Service, newer_than: int, wait_ms: Millis) -> None:
        self._request = request
        self._service = service
        self._done: Callable[[Result], None] = request.done
        self._wait_ms = wait_ms
        self._feed: FeedRequest | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._reading = False
        self._again = False  # the key changed while it was read
        self._final = False  # whatever is read next is the answer
        self.newer_than = newer_than

    def start(self) -> None:
        """Read; if the key is as it was, wait until it is not."""
        self._timer = asyncio.get_running_loop().call_later(self._wait_ms / 1_000, self.hurry)
        self._read()

    def hurry(self) -> None:
        """Wait no longer: answer what is read now."""
        self._final = True
        if self._timer is not None and not self._reading:
            self._read()

    def is_known(self, result: Result) -> bool:
        """Whether this is the state that the client has."""
        known = self.newer_than
        if result.status is Status.FOUND:
            return result.version == known
        return result.status is Status.NOT_FOUND and not known

    def _read(self) -> None:
        asked = self._request
        self._reading, self._again = True, False
        read = Request(asked.kind, asked.key, timeout_ms=asked.timeout_ms, done=self._on_read)
        read.at_least = asked.at_least
        self._service.submit(read)

    def _on_read(self, result: Result) -> None:
        self._reading = False
        if self._final or not self.is_known(result):
            self._end(result)
        elif self._again:
            self._read()
        elif self._feed is None:
            self._follow()

    def _follow(self) -> None:
        partition = PartitionId(self._service.where(self._request.key)["partition"])
        feed = self._feed = FeedRequest(
            self._request.key, False, {partition: NOW}, self._on_events, self._on_bookmark, self._on_gone
        )
        refusal = self._service.submit_feed(feed)
        if refusal is not None:
            self._feed = None
            self._end(Result(refusal, detail=_OLDER if refusal == Status.UNAVAILABLE else ""))
            return
        self._service.pull_feed(feed, _WINDOW_BYTES)
        self._again = True  # it may have changed before the feed began: its first bookmark has it read

    def _on_bookmark(self, positions: Mapping[PartitionId, Index], age_ms: Millis) -> None:
        if self._again and not self._reading:
            self._read()

    def _on_events(self, events: Sequence[Event]) -> None:
        assert self._feed is not None, "told before it was closed"
        self._service.pull_feed(self._feed, sum(map(size_of, events)))
        if any(each.key == self._request.key for each in events):
            self._again = True
            if not self._reading:
                self._read()

    def _on_gone(self, partitions: Sequence[PartitionId]) -> None:
        self._feed = None
        if not self._reading:
            self._read()

    def _end(self, result: Result) -> None:
        if self._feed is not None:
            self._service.close_feed(self._feed)
            self._feed = None
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._done(result)
