"""Requests at their primary: copies of them, and those that wait for the entries appended for them."""

from collections.abc import Mapping
from typing import Final

from ringkeep.core.protocol.entry import Entry, EntryKind
from ringkeep.core.protocol.hot_messages import Forward
from ringkeep.core.protocol.types import Index, Life, Millis
from ringkeep.core.state.deduplication import NODE_BYTES

Newest = tuple[Index, bytes | None, Millis, bool]
"""What a pending entry makes of a key: (its index, the record's tail, its deadline, whether the value has a
row of its own); the tail is None if the record is removed."""

NOTHING_MADE: Final[Mapping[bytes, Newest]] = {}


class Call:
    """One copy of a request at its primary: the message, its sender, and its deadline. `result`: the outcomes
    of a batch, b"" before it was executed.
    """

    __slots__ = ("caller", "deadline", "message", "result")

    def __init__(self, caller: Life, message: Forward, deadline: Millis) -> None:
        self.caller = caller
        self.message = message
        self.deadline = deadline
        self.result = b""


class Pending:
    """Appended and not applied yet, in this epoch: entries, newest state per key, request ids, waiting
    calls.
    """

    __slots__ = ("_lowest", "by_key", "calls", "entries", "ids", "newest", "size")

    def __init__(self) -> None:
        self.newest: dict[bytes, Newest] = {}
        self.ids: dict[tuple[bytes, int], Index] = {}
        self.by_key: dict[tuple[bytes, bytes], tuple[Index, bytes]] = {}
        self.calls: dict[Index, list[Call]] = {}
        self.entries: dict[int, Entry] = {}
        self.size = 0
        self._lowest: dict[bytes, tuple[bytes, int]] = {}  # by node: newest origin, its lowest unfinished

    def outdates(self, origin: bytes, counter: int) -> bool:
        """Tell whether a request will be STALE once all that was appended is applied: its coordinator had
        finished with it before another of its requests was appended, or is of a newer life by then.

        Its entry would change nothing, though what is appended after it would be evaluated as if it did.
        """
        lowest = self._lowest.get(origin[:NODE_BYTES])
        return lowest is not None and (origin, counter) < lowest

    def add(self, entry: Entry, call: Call | None, made: Mapping[bytes, Newest] = NOTHING_MADE) -> None:
        """Note an entry that was just appended, for a call or for none. `made`: what CHANGES make of keys."""
        index, kind = entry.index, entry.kind
        if kind == EntryKind.PUT:
            self.newest[entry.key] = (index, entry.tail, 0, False)
        elif kind == EntryKind.DELETE:
            self.newest[entry.key] = (index, None, 0, False)
        elif kind == EntryKind.CHANGES:
            self.newest.update(made)
        self.entries[index] = entry
        self.size += entry.value_bytes
        if call is None:
            self.calls[index] = []
            return
        self.size += len(call.result)
        self.calls[index] = [call]
        origin = entry.origin
        self.ids[origin, entry.counter] = index
        node, low = origin[:NODE_BYTES], (origin, entry.low)
        lowest = self._lowest.get(node)
        if lowest is None or low > lowest:
            self._lowest[node] = low
        if entry.idempotency:
            self.by_key[entry.key, entry.idempotency] = (index, entry.fingerprint)

    def applied(self, entry: Entry) -> list[Call]:
        """Forget an entry that is applied now; return the calls that waited for it."""
        index, newest = entry.index, self.newest
        calls = self.calls.pop(index)
        self.size -= entry.value_bytes + (len(calls[0].result) if calls else 0)
        if entry.counter:
            del self.ids[entry.origin, entry.counter]
        if entry.kind == EntryKind.CHANGES:
            for change in entry.changes:
                if newest[change.key][0] == index:
                    del newest[change.key]
        elif entry.kind != EntryKind.OUTCOME and newest[entry.key][0] == index:
            del newest[entry.key]
        if entry.idempotency and self.by_key.get((entry.key, entry.idempotency), (0, b""))[0] == index:
            del self.by_key[entry.key, entry.idempotency]
        return calls
