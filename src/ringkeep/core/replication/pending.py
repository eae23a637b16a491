"""Requests at their primary: copies of them, and those that wait for the entries appended for them."""

from ringkeep.core.protocol.entry import Entry, EntryKind
from ringkeep.core.protocol.hot_messages import Forward
from ringkeep.core.protocol.types import Index, Life, Millis


class Call:
    """One copy of a request at its primary: the message, its sender, and its deadline."""

    __slots__ = ("caller", "deadline", "message")

    def __init__(self, caller: Life, message: Forward, deadline: Millis) -> None:
        self.caller = caller
        self.message = message
        self.deadline = deadline


class Pending:
    """Appended and not applied yet, in this epoch: entries, newest version per key, request ids, waiting
    calls.

    `versions`: key -> index of its newest pending entry, negative when that deletes it.
    """

    __slots__ = ("by_key", "calls", "entries", "ids", "size", "versions")

    def __init__(self) -> None:
        self.versions: dict[bytes, int] = {}
        self.ids: dict[tuple[bytes, int], Index] = {}
        self.by_key: dict[tuple[bytes, bytes], tuple[Index, bytes]] = {}
        self.calls: dict[Index, list[Call]] = {}
        self.entries: dict[int, Entry] = {}
        self.size = 0

    def add(self, entry: Entry, call: Call) -> None:
        """Note an entry that was just appended for a call."""
        index = entry.index
        if entry.kind == EntryKind.PUT:
            self.versions[entry.key] = index
        elif entry.kind == EntryKind.DELETE:
            self.versions[entry.key] = -index
        self.ids[entry.origin, entry.counter] = index
        if entry.idempotency:
            self.by_key[entry.key, entry.idempotency] = (index, entry.fingerprint)
        self.calls[index] = [call]
        self.entries[index] = entry
        self.size += len(entry.tail)

    def applied(self, entry: Entry) -> list[Call]:
        """Forget an entry that is applied now; return the calls that waited for it."""
        index = entry.index
        calls = self.calls.pop(index)
        self.size -= len(entry.tail)
        del self.ids[entry.origin, entry.counter]
        if abs(self.versions.get(entry.key, 0)) == index:
            del self.versions[entry.key]
        if entry.idempotency and self.by_key.get((entry.key, entry.idempotency), (0, b""))[0] == index:
            del self.by_key[entry.key, entry.idempotency]
        return calls
