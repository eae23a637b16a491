"""The state machine of one partition: what an applied entry does to the records.

A pure function of the log: two replicas at the same applied index hold the same rows, generation aside.

Rows are kept in memory first, and written for many entries at once (`Replica.write_down`). Until then the log
holds them durably, and a row that is replaced soon is never written: the unwritten rows are like a memtable.
After a restart, entries whose rows were not written are applied again.
"""

import struct
from collections import deque
from typing import Final

from ringkeep.core.context import MISSING, Context
from ringkeep.core.protocol.effects import Family
from ringkeep.core.protocol.entry import Entry, EntryKind, origins_in, record_of, row_bytes
from ringkeep.core.protocol.keys import IDEMPOTENCY, IDEMPOTENCY_BY_TIME, RECORDS, space_prefix
from ringkeep.core.protocol.types import Millis, PartitionId
from ringkeep.core.replication.deduplication import Sessions

_ROW: Final = struct.Struct("!BBQQ16s")
_ROW_FORMAT: Final = 1
_ROW_KEY: Final = struct.Struct("!H")
_TIME_KEY: Final = struct.Struct("!QQ")
_FORGET_AT_ONCE: Final = 4


class State:
    """Applied records, idempotency rows and de-duplication of one (partition, generation)."""

    __slots__ = (
        "_context",
        "_forgotten",
        "_prefix_keys",
        "_prefix_times",
        "_times",
        "_times_written",
        "_turn",
        "data_bytes",
        "partition",
        "records",
        "sessions",
        "unwritten",
        "unwritten_bytes",
    )

    def __init__(
        self, context: Context, partition: PartitionId, generation: int, sessions: Sessions,
        data_bytes: int = 0,
    ) -> None:  # fmt: skip
        self._context = context
        self.partition = partition
        self.sessions = sessions
        self.data_bytes = data_bytes  # of all rows, each with its key without (partition, generation)
        self.use_generation(generation)

    def use_generation(self, generation: int) -> None:
        """Read and write under another generation from now on (after a snapshot was swapped in)."""
        self.unwritten: dict[bytes, bytes | None] = {}
        self.unwritten_bytes = 0
        self.records = space_prefix(self.partition, generation, RECORDS)
        self._prefix_keys = space_prefix(self.partition, generation, IDEMPOTENCY)
        self._prefix_times = space_prefix(self.partition, generation, IDEMPOTENCY_BY_TIME)
        self._forgotten = self._prefix_times
        self._times: deque[tuple[bytes, bytes]] = deque()  # rows by time in `unwritten`
        self._times_written: deque[tuple[bytes, bytes]] = deque()  # those written until the turn `_turn`
        self._turn = self._context.turn

    def record(self, key: bytes) -> bytes | None:
        """Return the record of a key, or None."""
        return self._get(self.records + key)

    def _get(self, key: bytes) -> bytes | None:
        row = self.unwritten.get(key, MISSING)
        return self._context.get(key) if row is MISSING else row  # type: ignore[return-value]  # excluded

    def _put(self, key: bytes, row: bytes | None) -> None:
        self.unwritten[key] = row
        self.unwritten_bytes += len(key) + (len(row) if row is not None else 0)

    def write_down(self) -> None:
        """Write the rows that are applied and not written yet, with this turn's batch."""
        self._context.effects.batch.data.update(self.unwritten)
        self.unwritten = {}
        self.unwritten_bytes = 0
        if self._turn != self._context.turn:
            self._turn = self._context.turn
            self._times_written.clear()
        self._times_written += self._times
        self._times.clear()

    def apply(self, entry: Entry) -> tuple[int, int]:
        """Carry out a committed entry; return its (status, version).

        A request that took effect before, or is STALE, changes nothing: its known result is returned.
        """
        if entry.kind == EntryKind.NOOP or entry.kind == EntryKind.FORGET:
            self.replay(entry)
            return 0, 0
        sessions = self.sessions
        known = sessions.find(entry.origin, entry.counter)
        if known is not None:
            self._context.count("apply_skipped_duplicate")
            return known
        version = result_version(entry)
        if entry.kind == EntryKind.PUT:
            self._put(self.records + entry.key, record_of(entry.index, entry.tail))
            self.data_bytes += row_bytes(entry.key, entry.tail) - entry.replaced_bytes
        elif entry.kind == EntryKind.DELETE:
            self._put(self.records + entry.key, None)
            self.data_bytes -= entry.replaced_bytes
        if entry.idempotency:
            self._keep_result(entry, version)
        sessions.record(entry.origin, entry.counter, entry.low, entry.status, version)
        return entry.status, version

    def replay(self, entry: Entry) -> None:
        """Apply an entry to the de-duplication table only: its rows are written already, or it has none."""
        sessions = self.sessions
        if entry.kind == EntryKind.FORGET:
            for origin in origins_in(entry.tail):
                sessions.forget(origin)
        elif entry.counter and sessions.find(entry.origin, entry.counter) is None:
            sessions.record(entry.origin, entry.counter, entry.low, entry.status, result_version(entry))

    def find_result(self, key: bytes, idempotency: bytes, horizon: Millis) -> tuple[int, int, bytes] | None:
        """Return (status, version, fingerprint) kept for a client's own request key since
        `horizon`, or None."""
        row = self._get(self._prefix_keys + _ROW_KEY.pack(len(key)) + key + idempotency)
        if row is None:
            return None
        _, status, version, log_time, fingerprint = _ROW.unpack(row)
        return (status, version, fingerprint) if log_time >= horizon else None

    def _keep_result(self, entry: Entry, version: int) -> None:
        """Write the result under the request's key, and forget a few that are past the entry's horizon."""
        suffix = _ROW_KEY.pack(len(entry.key)) + entry.key + entry.idempotency
        row = _ROW.pack(_ROW_FORMAT, entry.status, version, entry.log_time, entry.fingerprint)
        for time_key, key in self._old_results(self._prefix_times + _TIME_KEY.pack(entry.horizon, 0)):
            self._put(time_key, None)
            held = self._get(self._prefix_keys + key)
            if held is not None and _ROW.unpack(held)[3] < entry.horizon:  # not renewed since
                self._put(self._prefix_keys + key, None)
                self.data_bytes -= _result_bytes(key)
            self.data_bytes -= _time_bytes(key)
            self._forgotten = time_key + b"\0"
        if self._get(self._prefix_keys + suffix) is None:
            self.data_bytes += _result_bytes(suffix)
        self._put(self._prefix_keys + suffix, row)
        time_key = self._prefix_times + _TIME_KEY.pack(entry.log_time, entry.index)
        self._put(time_key, suffix)
        self._times.append((time_key, suffix))
        self.data_bytes += _time_bytes(suffix)

    def _old_results(self, end: bytes) -> list[tuple[bytes, bytes]]:
        """Return the first few rows by time before `end`: first the store's, then those not written yet.
        Reads from a cursor, not from the front, because deleted rows may still be in the store. Replicas that
        write at different times must forget the same rows.
        """
        if self._forgotten >= end:
            return []
        old = self._context.reader.scan(Family.DATA, self._forgotten, end, _FORGET_AT_ONCE)
        if self._turn != self._context.turn:
            self._times_written.clear()
        for rows in (self._times_written, self._times):
            while len(old) < _FORGET_AT_ONCE and rows and rows[0][0] < end:
                old.append(rows.popleft())
        return old


def _result_bytes(suffix: bytes) -> int:
    """Return the size of the row that keeps a result."""
    return 1 + len(suffix) + _ROW.size


def _time_bytes(suffix: bytes) -> int:
    """Return the size of the row that orders results by time."""
    return 1 + _TIME_KEY.size + len(suffix)


def result_version(entry: Entry) -> int:
    """Return the version in the request's answer: its own entry's, or the one that a condition found."""
    return entry.version if entry.kind == EntryKind.OUTCOME else entry.index
