"""A local copy of the keys with a prefix, kept true by the feed: what is known, and how old it may be.

It begins with a listing, and goes on with the changes since before that listing. It is complete at the first
bookmark that is young enough to lie after the listing.
"""

import math
import time
from typing import Generic, TypeVar, cast

from ringkeep.client.calls.feed import Bookmark, Change
from ringkeep.client.results import Item, Record

T = TypeVar("T")


class LocalCopy(Generic[T]):
    """`records`: the copy. `complete`: whether it holds all that there was at some time since."""

    def __init__(self) -> None:
        self.records: dict[bytes, Record[T]] = {}
        self.complete = False
        self._gone: dict[bytes, int] = {}  # versions of deletions, until it is complete: none is undone
        self._listed_at = math.inf
        self._true_at = -math.inf

    def load(self, items: list[Item[T]]) -> None:
        """Take a page of the listing."""
        for item in items:
            value = cast(T, item.value)  # they were asked for; that of JSON's null is None
            self.records[item.key] = Record(item.key, value, item.version, item.ttl, item.content_type)

    def listed(self) -> None:
        """The listing is complete."""
        self._listed_at = time.monotonic()

    def apply(self, change: Change[T]) -> bool:
        """Take a change; return whether it is news."""
        key, held = change.key, self.records.get(change.key)
        known = held.version if held is not None else self._gone.get(key, 0)
        if change.version <= known:
            return False
        if not change.exists:
            self.records.pop(key, None)
            if not self.complete:
                self._gone[key] = change.version
        elif change.kind == "put":
            value = cast(T, change.value)
            self.records[key] = Record(key, value, change.version, change.ttl, change.content_type)
        elif held is not None:
            self.records[key] = Record(key, held.value, change.version, change.ttl, held.content_type)
        return True

    def changes_since(self, before: "LocalCopy[T]") -> list[Change[T]]:
        """Return what differs from an earlier copy, as changes: of those that nobody told one by one. That a
        key is gone is told with the version that it had.
        """
        changed: list[Change[T]] = []
        for key, record in self.records.items():
            held = before.records.get(key)
            if held is None or held.version != record.version:
                put = Change("put", key, record.version, record.value, record.ttl, record.content_type)
                changed.append(put)
        for key, held in before.records.items():
            if key not in self.records:
                changed.append(Change("delete", key, held.version))
        return changed

    def mark(self, bookmark: Bookmark) -> None:
        """Everything up to here was applied."""
        if bookmark.age is None:
            return
        self._true_at = max(self._true_at, time.monotonic() - bookmark.age)
        if not self.complete and self._true_at >= self._listed_at:
            self.complete = True
            self._gone.clear()

    @property
    def staleness(self) -> float:
        """At most so many seconds old is what it says; infinite before it is complete."""
        return time.monotonic() - self._true_at if self.complete else math.inf
