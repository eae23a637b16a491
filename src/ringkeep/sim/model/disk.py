"""A disk small enough to be copied at every step: what is written, and what a crash would undo.

The reading half of the Engine port, and whole batches that become durable in order, as in a write-ahead log.
A test compares it with the simulator's engine.
"""

from ringkeep.core.protocol.effects import Batch, Family
from ringkeep.core.protocol.reader import Frozen
from ringkeep.core.protocol.rows import MAP_KEY

Rows = dict[bytes, bytes]
Row = tuple[bytes, bytes]
_Undo = list[tuple[int, bytes, bytes | None]]


class ModelDisk:
    """Rows as written. `_undo`: per batch that is not durable, oldest first, what was there before it."""

    __slots__ = ("_tables", "_undo")

    def __init__(self) -> None:
        self._tables: list[Rows] = [{} for _ in Family]
        self._undo: list[_Undo] = []

    @property
    def unsynced(self) -> int:
        """How many batches a crash may take."""
        return len(self._undo)

    def write(self, batch: Batch) -> None:
        """Write a batch: visible, not durable.

        The cluster map is not kept: a process reads it from the register before it does anything else.
        """
        undo: _Undo = []
        for cut, begin, end in batch.ranges:
            rows = self._tables[cut]
            undo += [(int(cut), key, rows.pop(key)) for key in sorted(rows) if begin <= key < end]
        for family, changed in enumerate((batch.meta, batch.log, batch.data)):
            for key, value in changed.items():
                if key != MAP_KEY:
                    undo.append((family, key, self._put(family, key, value)))
        if undo or batch.ranges:
            self._undo.append(undo)

    def sync(self, batches: int) -> None:
        """The oldest `batches` that were not durable are so now."""
        del self._undo[:batches]

    def crash(self, keep: int) -> None:
        """Undo everything that is not durable, except the oldest `keep` batches, which become durable."""
        while len(self._undo) > keep:
            self._take_back(self._undo.pop())
        self._undo.clear()

    def images(self) -> list[list[Rows]]:
        """Return what a crash would leave that keeps 0, 1, … of the batches; the last is what is written."""
        found = [self._copy()]
        for undo in reversed(self._undo):
            self._take_back(undo)
            found.append(self._copy())
        self._tables = [dict(rows) for rows in found[0]]
        return found[::-1]

    def _copy(self) -> list[Rows]:
        return [dict(rows) for rows in self._tables]

    def _take_back(self, undo: _Undo) -> None:
        for family, key, value in reversed(undo):
            self._put(family, key, value)

    def _put(self, family: int, key: bytes, value: bytes | None) -> bytes | None:
        before = self._tables[family].pop(key, None)
        if value is not None:
            self._tables[family][key] = value
        return before

    # --- the reading half of the Engine port ------------------------------------------------------------

    def get(self, family: Family, key: bytes) -> bytes | None:
        return self._tables[family].get(key)

    def scan(
        self, family: Family, begin: bytes, end: bytes, limit: int, limit_bytes: int | None = None
    ) -> list[Row]:
        assert limit_bytes is None, "nobody lists"
        rows = self._tables[family]
        return [(key, rows[key]) for key in sorted(rows) if begin <= key < end][:limit]

    def snapshot(self) -> Frozen:
        raise AssertionError("within these bounds the log always reaches back: nobody is sent a snapshot")
