"""One reader's stream of changes: from what its feed tells to server-sent events, or lines of JSON.

What has not left yet is bounded: a feed tells only as much as was granted to it, and it is granted anew what
has been sent. So a reader that is slow costs its window, and is told the rest from history when it reads on.
"""

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Final

import msgspec
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from ringkeep.core.protocol.client_requests import Status
from ringkeep.core.protocol.cursor import encode_cursor
from ringkeep.core.protocol.feed import Event, EventKind, FeedRequest, size_of
from ringkeep.core.protocol.types import Index, Millis, PartitionId
from ringkeep.http import problems
from ringkeep.http.problems import Problem
from ringkeep.http.service import Service

EVENTS: Final = "text/event-stream"
LINES: Final = "application/x-ndjson"

WINDOW_BYTES: Final = 64 * 1024
"""What is granted at first: so much of a stream waits in this node at most, and one message of each node."""

BEGIN_S: Final = 0.25
"""For so long a stream that goes on waits for its first word before it begins: that it cannot go on has a
status of its own if it is known by then, and is said in the stream later."""

GONE_TEXT: Final = (
    "The changes that follow this position are not kept any more, on no replica. Nothing was changed; list "
    "the keys again (GET /v1/kv), which gives a new cursor, and go on from there."
)
OLDER_TEXT: Final = (
    "Some node of the cluster runs an older version, which tells no changes. Nothing was changed; ask again "
    "once all nodes run this one."
)
_NAMES: Final = {kind.value: kind.name.lower() for kind in EventKind}
_encode: Final = msgspec.json.Encoder().encode


class Told(msgspec.Struct, omit_defaults=True):
    """A change as a stream has it."""

    event: str
    key: str | msgspec.UnsetType = msgspec.UNSET
    key_base64: bytes | msgspec.UnsetType = msgspec.UNSET
    version: int = 0
    ttl: int | msgspec.UnsetType = msgspec.UNSET
    value: str | msgspec.UnsetType = msgspec.UNSET
    value_base64: bytes | msgspec.UnsetType = msgspec.UNSET
    content_type: str | msgspec.UnsetType = msgspec.UNSET


@dataclass(slots=True)
class _Bookmark:
    positions: Mapping[PartitionId, Index]
    age_ms: Millis
    noted_at: float


class ChangeStream(Response):
    """The answer to one reader. `begin` comes first; `end` may come at any time."""

    def __init__(
        self, service: Service, prefix: bytes, values: bool, positions: Mapping[PartitionId, Index] | None,
        lines: bool, closed: Callable[[], object],
    ) -> None:  # fmt: skip
        """`closed` is called once, when it is over, however it ends."""
        super().__init__(headers={"Cache-Control": "no-store", "X-Accel-Buffering": "no"})
        del self.headers["content-length"]
        self.headers["content-type"] = LINES if lines else EVENTS
        self._service = service
        self._values = values
        self._lines = lines
        self._closed = closed
        self._cluster_id, _ = service.partitioning()
        self._unsent: list[bytes | _Bookmark] = []
        self._size = 0  # of the events among them, as it was granted
        self._begun = False  # something was heard beside the position at which it goes on
        self._gone = False
        self._over = False
        self._woken = asyncio.Event()
        self._feed = FeedRequest(prefix, values, positions, self._on_events, self._on_bookmark, self._on_gone)

    # --- what the feed tells --------------------------------------------------------------------------

    def _on_events(self, events: Sequence[Event]) -> None:
        write = self._line if self._lines else self._event
        self._unsent += [write(_NAMES[each.kind], _shown(each, self._values)) for each in events]
        self._size += sum(map(size_of, events))
        self._wake()

    def _on_bookmark(self, positions: Mapping[PartitionId, Index], age_ms: Millis) -> None:
        mark = _Bookmark(positions, age_ms, time.monotonic())
        if self._unsent and isinstance(self._unsent[-1], _Bookmark):
            self._unsent[-1] = mark
        else:
            self._unsent.append(mark)
        if age_ms >= 0 or self._feed.positions is None:
            self._begun = True
        self._woken.set()

    def _on_gone(self, partitions: Sequence[PartitionId]) -> None:
        self._gone = True
        gone = {"event": "gone", "detail": GONE_TEXT}
        self._unsent.append((self._line if self._lines else self._event)("gone", gone))
        self.end()

    def end(self) -> None:
        """Nothing is told any more: end the answer with what is there."""
        self._over = True
        self._wake()

    def _wake(self) -> None:
        self._begun = True
        self._woken.set()

    # --- the answer -----------------------------------------------------------------------------------

    async def begin(self) -> None:
        """Begin the feed. Raises Problem: 429; 503; 410 if what follows its position is known to be gone."""
        refusal = self._service.submit_feed(self._feed)
        if refusal is not None:
            self._closed()
            raise problems.busy() if refusal == Status.BUSY else Problem(problems.UNAVAILABLE, OLDER_TEXT)
        self._service.pull_feed(self._feed, WINDOW_BYTES)
        if self._feed.positions is None:
            return  # its first word may take a while, and a client may wait for the answer's head
        try:
            with suppress(TimeoutError):
                async with asyncio.timeout(BEGIN_S):
                    while not self._begun:
                        self._woken.clear()
                        await self._woken.wait()
            if self._gone:
                raise Problem(problems.GONE, GONE_TEXT)
        except BaseException:
            self._close()
            raise
        self._woken.set()

    def _close(self) -> None:
        self._service.close_feed(self._feed)
        self._closed()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send what is told, until the client leaves or nothing more is told."""
        leaving = asyncio.ensure_future(self._until_left(receive))
        try:
            start = {"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers}
            await send(start)
            while self._unsent or not self._over:
                await self._woken.wait()
                self._woken.clear()
                body, taken = self._take()
                if body:
                    await send({"type": "http.response.body", "body": body, "more_body": True})
                if taken:
                    self._service.pull_feed(self._feed, taken)
            await send({"type": "http.response.body", "body": b"", "more_body": False})
        finally:
            leaving.cancel()
            self._close()

    async def _until_left(self, receive: Receive) -> None:
        while (await receive())["type"] != "http.disconnect":
            pass
        self._unsent.clear()
        self.end()

    def _take(self) -> tuple[bytes, int]:
        """Return what is to be sent, and what it was granted as."""
        pieces = [each if isinstance(each, bytes) else self._bookmark(each) for each in self._unsent]
        size, self._size = self._size, 0
        self._unsent.clear()
        return b"".join(pieces), size

    def _bookmark(self, mark: _Bookmark) -> bytes:
        waited_ms = int((time.monotonic() - mark.noted_at) * 1_000)
        shown: dict[str, Any] = {
            "event": "bookmark",
            "age": mark.age_ms + waited_ms if mark.age_ms >= 0 else None,
        }
        cursor = encode_cursor(self._cluster_id, mark.positions)
        if self._lines:
            return self._line("bookmark", shown | {"cursor": cursor})
        return b"id: " + cursor.encode() + b"\n" + self._event("bookmark", shown)

    def _line(self, name: str, shown: Any) -> bytes:
        return _encode(shown) + b"\n"

    def _event(self, name: str, shown: Any) -> bytes:
        return b"event: " + name.encode() + b"\ndata: " + _encode(shown) + b"\n\n"


def _shown(event: Event, values: bool) -> Told:
    """Return a change as a stream has it: bytes as text, or as base64 where they are not UTF-8."""
    shown = Told(_NAMES[event.kind], version=event.version)
    try:
        shown.key = event.key.decode()
    except UnicodeDecodeError:
        shown.key_base64 = event.key
    if event.ttl_ms:
        shown.ttl = event.ttl_ms
    if values and event.kind == EventKind.PUT:
        try:
            shown.value = event.value.decode()
        except UnicodeDecodeError:
            shown.value_base64 = event.value
        shown.content_type = event.content_type.decode("latin-1") or "application/octet-stream"
    return shown
