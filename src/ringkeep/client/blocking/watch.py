"""Following changes, blocking: a stream after the other, each from where the last one was.

`asynchronous` has the same names.
"""

import time
from collections import deque
from collections.abc import Callable, Iterator
from types import TracebackType
from typing import Any, Generic, Protocol, TypeVar

from ringkeep.client.calls import attempts
from ringkeep.client.calls.exchange import Call, Response
from ringkeep.client.calls.feed import OPEN_S, SILENCE_S, Bookmark, Change, Feed
from ringkeep.client.errors import Busy, StoreError, Unavailable
from ringkeep.client.observing import LOG

T = TypeVar("T")


class Runs(Protocol):
    """Carries out a call within so many seconds."""

    def __call__(self, call: Call[Response], timeout: float, /) -> Response: ...


class Watch(Generic[T]):
    """The changes from now on, or after a cursor, for ever; a context, which ends it. To be iterated by one
    thread; any thread may `close` it. `on_bookmark` is called with each bookmark."""

    def __init__(self, run: Runs, feed: Feed[T], on_bookmark: Callable[[Bookmark], None] | None) -> None:
        self._run = run
        self._feed = feed
        self._on_bookmark = on_bookmark
        self._stream: Any = None
        self._breaks = 0
        self._found: deque[Change[T] | Bookmark | StoreError] = deque()
        self._closed = False
        self.cursor = feed.cursor
        """Where another watch may go on: everything up to here was returned. "" before anything is known."""

    def __enter__(self) -> "Watch[T]":
        """Begin: what changes from here on is told. Waits for a node that answers."""
        while not (self._closed or self._feed.cursor):
            self._read_on()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """End it: an iteration that waits ends too."""
        self._closed = True
        stream, self._stream = self._stream, None
        if stream is not None:
            stream.close()

    def __iter__(self) -> Iterator[Change[T]]:
        """Go through the changes; where a stream ends, on the next one. Raises HistoryLost, and Invalid for a
        value that the codec does not read."""
        while not self._closed:
            change = self._next()
            if change is not None:
                yield change
            else:
                self._read_on()

    def _next(self) -> Change[T] | None:
        """Return the next change that was read; pass the bookmarks before it."""
        while self._found:
            found = self._found.popleft()
            if isinstance(found, StoreError):
                raise found
            if isinstance(found, Change):
                return found
            self.cursor = found.cursor
            if self._on_bookmark is not None:
                self._on_bookmark(found)
        return None

    def _read_on(self) -> None:
        """Read what comes next; where a stream has ended, begin another, after a pause that grows."""
        stream = self._stream or self._open()
        data = stream.read(SILENCE_S) if stream is not None else b""
        try:
            if data:
                self._found.extend(self._feed.take(data))
                self._breaks = 0
                return
        except ValueError:  # not of a node, or cut
            pass
        self._breaks += 1
        self._stream = None
        if stream is not None:
            stream.close()
            if not self._closed:
                LOG.info("a stream of changes has ended; another goes on at the last bookmark")

    def _open(self) -> Any:
        """Begin a stream, through any node; None where none could begin one."""
        if self._breaks:
            time.sleep(attempts.jitter(self._breaks - 1))
        try:
            stream = self._run(self._feed.call(), OPEN_S).stream
        except (Busy, Unavailable):
            return None
        self._stream = stream
        if self._closed:
            stream.close()
            return None
        return stream
