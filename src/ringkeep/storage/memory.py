"""An engine in memory for tests and the simulator: the contract of the RocksDB engine, with crashes on
demand.

Live rows are kept in one dict per family, with a key list that is sorted at a scan. What a crash takes away
is kept as undo records, one list per batch: a write pays one look-up per key for them, a flush only moves a
number, and a crash undoes the lost batches from the newest back. As with a write-ahead log, a prefix of what
was written always survives.

Knows nothing of threads, files or clocks.
"""

from bisect import bisect_left, insort
from collections import deque
from collections.abc import Callable, Iterable
from typing import Final

from ringkeep.core.protocol.effects import Batch, Family
from ringkeep.errors import StorageError, StorageStalled

LOSABLE_BATCHES: Final = 64
"""Durable batches that can still be taken away by `crash` with a negative number: a torn or flipped log."""

_FEW: Final = 16
"""New keys up to this many are inserted one by one; more are appended and sorted together."""

_FEW_STAGED: Final = 2
"""Staged rows up to this many become durable with their batch; more are so at once."""

Row = tuple[bytes, bytes]


class _Table:
    """One family: rows by key, and the keys in order."""

    __slots__ = ("added", "keys", "rows")

    def __init__(self) -> None:
        self.rows: dict[bytes, bytes] = {}
        self.keys: list[bytes] = []
        """In order; together with `added`, exactly the keys of `rows`."""
        self.added: dict[bytes, None] = {}

    def put(self, key: bytes, value: bytes | None) -> bytes | None:
        """Set the row, or delete it (None). Return what was there before."""
        old = self.rows.get(key)
        if value is not None:
            if old is None:
                self.added[key] = None
            self.rows[key] = value
        elif old is not None:
            del self.rows[key]
            if key in self.added:
                del self.added[key]
            else:
                del self.keys[bisect_left(self.keys, key)]
        return old

    def settle(self) -> list[bytes]:
        """Return all keys in order."""
        if self.added:
            if len(self.added) <= _FEW:
                for key in self.added:
                    insort(self.keys, key)
            else:
                self.keys.extend(self.added)
                self.keys.sort()
            self.added.clear()
        return self.keys

    def cut(self, begin: bytes, end: bytes) -> list[Row]:
        """Delete the rows with begin <= key < end and return them."""
        keys = self.settle()
        low = bisect_left(keys, begin)
        high = bisect_left(keys, end, low)
        gone = [(key, self.rows.pop(key)) for key in keys[low:high]]
        del keys[low:high]
        return gone

    def scan(self, begin: bytes, end: bytes, limit: int) -> list[Row]:
        keys = self.settle()
        low = bisect_left(keys, begin)
        high = min(bisect_left(keys, end, low), low + limit)
        return [(key, self.rows[key]) for key in keys[low:high]]


def _first(rows: Iterable[Row], limit_bytes: int) -> list[Row]:
    """Return rows up to the one that reaches `limit_bytes`."""
    found: list[Row] = []
    room = limit_bytes
    for key, value in rows:
        found.append((key, value))
        room -= len(key) + len(value)
        if room <= 0:
            break
    return found


class MemorySnapshot:
    """A copy of the data family. Cost of opening: two shallow copies."""

    __slots__ = ("_keys", "_rows")

    def __init__(self, table: _Table) -> None:
        self._keys = table.settle().copy()
        self._rows = table.rows.copy()

    def scan(self, begin: bytes, end: bytes, limit: int, limit_bytes: int) -> list[Row]:
        """See `ringkeep.ports.Snapshot`. The row that reaches `limit_bytes` is the last."""
        low = bisect_left(self._keys, begin)
        high = min(bisect_left(self._keys, end, low), low + limit)
        return _first(((key, self._rows[key]) for key in self._keys[low:high]), limit_bytes)

    def close(self) -> None:
        self._keys = []
        self._rows = {}


Undo = list[tuple[_Table, bytes, bytes | None]]


class MemoryEngine:
    """The Engine port in memory, with hooks for the faults of a disk.

    A simulated machine ends with `crash` or `close`; `reopen` then gives the engine that the next process
    finds. An engine that has ended refuses every call by an assertion: a dead process calls nothing.
    """

    def __init__(self) -> None:
        self._tables: tuple[_Table, _Table, _Table] = (_Table(), _Table(), _Table())
        self._undo: deque[Undo] = deque()
        """One per batch, up to the newest: all that are not durable, and up to LOSABLE_BATCHES that are."""
        self._ticket = 0
        self._durable = 0
        self._stalls = 0
        self._stalls_shown = True
        self._flush_fails = False
        self._failed = ""
        self._open = True
        self._staged: dict[bytes, list[Row]] = {}
        self.damaged = False
        """Whether something durable was lost before this was opened. Stays so until `clear_damaged`."""

    @property
    def written(self) -> int:
        """The newest ticket. A simulated flush notes it when it begins and gives it to `make_durable`."""
        return self._ticket

    @property
    def unsynced(self) -> int:
        """How many batches a crash may take."""
        return self._ticket - self._durable

    @property
    def losable(self) -> int:
        """How many durable batches a crash may take besides: what makes a damaged disk."""
        return len(self._undo) - self.unsynced

    # --- the Engine port ------------------------------------------------------------------------------

    def write(self, batch: Batch) -> int:
        """See `ringkeep.ports.Engine`. Cost: O(keys), and for ranges O(keys of the family) after changes."""
        self._check()
        if self._stalls:
            self._stalls -= 1
            raise StorageStalled("the simulated disk takes no writes just now")
        undo: Undo = []
        for family, begin, end in batch.ranges:
            table = self._tables[family]
            undo.extend((table, key, value) for key, value in table.cut(begin, end))
            if family is Family.DATA:
                for prefix in [prefix for prefix in self._staged if begin <= prefix < end]:
                    del self._staged[prefix]
        for prefix in batch.taken:
            undo += self._take(prefix)
        for prefix, chunks in batch.staged.items():
            self._staged.setdefault(prefix, []).extend(row for rows in chunks for row in rows)
        for table, rows in zip(self._tables, (batch.meta, batch.log, batch.data), strict=True):
            put = table.put
            for key, value in rows.items():
                undo.append((table, key, put(key, value)))
        self._undo.append(undo)
        self._ticket += 1
        return self._ticket

    def _take(self, prefix: bytes) -> Undo:
        """Make staged rows visible; return what a crash takes back: nothing of more than a few rows.

        The database takes over whole files, which stay, also when the batch that wanted them is lost.
        """
        data = self._tables[Family.DATA]
        rows = self._staged.pop(prefix, [])
        taken = [(data, prefix + key, data.put(prefix + key, value)) for key, value in rows]
        return taken if len(taken) <= _FEW_STAGED else []

    def flush(self) -> int:
        """See `ringkeep.ports.Engine`."""
        return self.make_durable(self._ticket)

    def get(self, family: Family, key: bytes) -> bytes | None:
        assert self._open, "an engine that has ended is not read"
        return self._tables[family].rows.get(key)

    def scan(
        self, family: Family, begin: bytes, end: bytes, limit: int, limit_bytes: int | None = None
    ) -> list[Row]:
        """See `ringkeep.ports.Engine`."""
        assert self._open, "an engine that has ended is not read"
        rows = self._tables[family].scan(begin, end, limit)
        return rows if limit_bytes is None else _first(rows, limit_bytes)

    def snapshot(self) -> MemorySnapshot:
        assert self._open, "an engine that has ended is not read"
        return MemorySnapshot(self._tables[Family.DATA])

    def stalled(self) -> bool:
        return self._stalls > 0 and self._stalls_shown

    def close(self) -> None:
        """End without loss: a process that stops leaves its writes with the operating system."""
        self._open = False

    # --- faults and time, for the simulator -----------------------------------------------------------

    def make_durable(self, ticket: int) -> int:
        """Finish a flush that began when `ticket` was the newest. Return the ticket. Raises StorageError."""
        self._check()
        assert ticket <= self._ticket, "a flush covers what was written before it began"
        if self._flush_fails:
            self._failed = "the simulated disk failed a flush"
            self._check()
        self._durable = max(self._durable, ticket)
        for _ in range(len(self._undo) - self.unsynced - LOSABLE_BATCHES):
            self._undo.popleft()
        return ticket

    def crash(self, keep: int | Callable[[int], int]) -> None:
        """End at once. `keep` of the batches that are not durable survive, the oldest ones.

        `keep` is that number, or is called with how many there are and returns it: 0 is the worst power loss,
        all of them a killed process. Below 0 it takes durable batches too, which `reopen` then notices, as
        RocksEngine does by its synced mark: a damaged disk.
        """
        count = keep(self.unsynced) if callable(keep) else keep
        assert count <= self.unsynced, "a crash writes nothing"
        lost = self.unsynced - count
        assert lost <= len(self._undo), "only the last LOSABLE_BATCHES durable batches can be lost"
        for _ in range(lost):
            for table, key, value in reversed(self._undo.pop()):
                table.put(key, value)
        self._open = False
        self.damaged = self.damaged or count < 0

    def reopen(self) -> "MemoryEngine":
        """Return the engine that the next process finds. Its tickets begin at 1; what it holds is durable.

        Call it once, after `crash` or `close`: the rows are handed over, not copied.
        """
        assert not self._open, "one process at a time"
        found = MemoryEngine()
        found._tables = self._tables
        found.damaged = self.damaged
        self._tables = (_Table(), _Table(), _Table())
        return found

    def record_damage(self, what: str) -> None:
        """See `ringkeep.ports.Engine`."""
        self.damaged = True

    def copy(self) -> "MemoryEngine":
        """Return what a process finds in a copy of this disk that is made now, while this one runs."""
        found = MemoryEngine()
        for table, copy in zip(self._tables, found._tables, strict=True):
            copy.keys = table.settle().copy()
            copy.rows = table.rows.copy()
        found.damaged = self.damaged
        return found

    def clear_damaged(self) -> None:
        """Forget the damage; called once what it means is itself durable."""
        self.damaged = False

    def stall_next(self, writes: int, shown: bool = True) -> None:
        """Refuse the next `writes` writes (0 ends a stall). `shown`: whether `stalled` tells of it before."""
        self._stalls = writes
        self._stalls_shown = shown

    def fail_flush(self) -> None:
        """Let the next flush fail, which is final: every write and flush after it fails as well."""
        self._flush_fails = True

    def _check(self) -> None:
        assert self._open, "an engine that has ended is not written"
        if self._failed:
            raise StorageError(self._failed)
