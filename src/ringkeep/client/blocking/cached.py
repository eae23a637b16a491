"""A local mapping that follows the store, blocking. `asynchronous` has the same names."""

import math
import threading
import time
from collections.abc import Callable, ItemsView, Iterator, Mapping, ValuesView
from types import TracebackType
from typing import Generic, Protocol, TypeVar

from ringkeep.client.blocking.watch import Watch
from ringkeep.client.calls.attempts import jitter
from ringkeep.client.calls.feed import Bookmark, Change
from ringkeep.client.calls.local_copy import LocalCopy
from ringkeep.client.calls.requests import Key, Page, Span, key_of
from ringkeep.client.errors import Busy, HistoryLost, Invalid, StoreError, Unavailable
from ringkeep.client.observing import LOG
from ringkeep.client.results import Record

T = TypeVar("T")


class Follows(Protocol[T]):
    """What a cache uses of a client."""

    def page(self, span: Span, *, values: bool) -> Page[T]: ...
    def watch(
        self, prefix: Key, *, after: str, values: bool, on_bookmark: Callable[[Bookmark], None]
    ) -> Watch[T]: ...


class Cached(Mapping[Key, Record[T]], Generic[T]):
    """The keys with a prefix as a mapping in memory, which a thread keeps true. A context; it is complete
    from the start. `staleness` says how old it may be. `on_change` is called, from that thread, with each
    change.
    """

    def __init__(
        self, store: Follows[T], prefix: Key, timeout: float, on_change: Callable[[Change[T]], None] | None
    ) -> None:
        self._store = store
        self._prefix = prefix
        self._timeout = timeout
        self._on_change = on_change
        self._copy: LocalCopy[T] = LocalCopy()
        self._complete = threading.Event()
        self._closed = False
        self._watch: Watch[T] | None = None
        self._failed: StoreError | None = None
        self._thread = threading.Thread(target=self._follow, name="ringkeep-cache", daemon=True)

    def __enter__(self) -> "Cached[T]":
        """Begin, and wait until it is complete. Raises Unavailable if that takes longer than the timeout."""
        self._thread.start()
        if not self._complete.wait(self._timeout) or self._failed is not None:
            self.close()
            raise self._failed or Unavailable(f"the copy is not complete after {self._timeout:g} s")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """End it; what it holds stays as it is."""
        self._closed = True
        if self._watch is not None:
            self._watch.close()
        if self._thread is not threading.current_thread():
            self._thread.join()

    @property
    def staleness(self) -> float:
        """At most so many seconds old is what it says: up to 10 while nothing changes. Infinite once it has
        failed, for example because of a value that the codec does not read."""
        return math.inf if self._failed is not None else self._copy.staleness

    def __getitem__(self, key: Key) -> Record[T]:
        return self._copy.records[key_of(key)]

    def __contains__(self, key: object) -> bool:
        return isinstance(key, (str, bytes)) and key_of(key) in self._copy.records

    def __iter__(self) -> Iterator[bytes]:
        return iter(list(self._copy.records))

    def items(self) -> ItemsView[Key, Record[T]]:
        """Return the copy as it is now."""
        return ItemsView(dict(self._copy.records))

    def values(self) -> ValuesView[Record[T]]:
        """Return the records as they are now."""
        return ValuesView(dict(self._copy.records))

    def __len__(self) -> int:
        return len(self._copy.records)

    # --- the thread -----------------------------------------------------------------------------------

    def _follow(self) -> None:
        pauses = 0
        while not self._closed:
            copy: LocalCopy[T] = LocalCopy()
            try:
                self._fill(copy, self._list(copy))
            except (
                Busy,
                HistoryLost,
                Unavailable,
            ):  # list again; until that is complete, the old copy is shown
                time.sleep(jitter(pauses))
                pauses += 1
            except StoreError as error:
                self._fail(error)
                return
            except Exception as error:  # of `on_change`, or a codec's own
                self._fail(Invalid(f"the copy does not follow any more: {error!r}"))
                raise

    def _fail(self, error: StoreError) -> None:
        self._failed = error
        self._complete.set()
        LOG.warning("a cached copy does not follow any more: %s", type(error).__name__)

    def _list(self, copy: LocalCopy[T]) -> str:
        """Take the whole listing; return from where changes are followed."""
        span: Span | None = Span(self._prefix)
        cursor = ""
        while span is not None and not self._closed:
            page = self._store.page(span, values=True)
            cursor = cursor or page.cursor
            copy.load(page.items)
            span = None if page.after is None else span.behind(page.after)
        copy.listed()
        return cursor

    def _replace(self, copy: LocalCopy[T]) -> None:
        """Show a copy that is complete, and tell how it differs from the one before, if there was one."""
        before, self._copy = self._copy, copy
        self._complete.set()
        if before.complete and self._on_change is not None:
            for change in copy.changes_since(before):
                self._on_change(change)

    def _fill(self, copy: LocalCopy[T], cursor: str) -> None:
        def mark(bookmark: Bookmark) -> None:
            copy.mark(bookmark)
            if copy.complete and self._copy is not copy:
                self._replace(copy)

        watch = self._watch = self._store.watch(self._prefix, after=cursor, values=True, on_bookmark=mark)
        with watch:
            if self._closed:
                return
            for change in watch:
                if copy.apply(change) and self._copy is copy and self._on_change is not None:
                    self._on_change(change)
