"""The state machine of one partition: what an applied entry does to the records.

A pure function of the log: two replicas at the same applied index hold the same rows, generation aside.

Rows are kept in memory first, and written for many entries at once (`Replica.write_down`). Until then the log
holds them durably, and a row that is replaced soon is never written: the unwritten rows are like a memtable.
After a restart, entries whose rows were not written are applied again.
"""

import struct
from typing import Final, NamedTuple

from ringkeep.core.context import MISSING, Context
from ringkeep.core.protocol.change import Change, ChangeKind
from ringkeep.core.protocol.effects import Family
from ringkeep.core.protocol.entry import Entry, EntryKind, origins_in
from ringkeep.core.protocol.keys import (
    DEADLINES,
    IDEMPOTENCY,
    IDEMPOTENCY_BY_TIME,
    RECORDS,
    RESULTS,
    RESULTS_BY_TIME,
    VALUES,
    after,
    space_prefix,
)
from ringkeep.core.protocol.record import (
    is_parted,
    parted_record,
    read_record,
    record_of,
    row_bytes,
    rows_bytes,
    tail_of,
    value_at,
    value_bytes_of,
    version_of,
)
from ringkeep.core.protocol.types import Index, Millis, PartitionId
from ringkeep.core.state.deduplication import Sessions
from ringkeep.core.state.timed_rows import KEY_BYTES, TimedRows

_ROW: Final = struct.Struct("!BBQQ16s")
_ROW_FORMAT: Final = 1
_ROW_KEY: Final = struct.Struct("!H")
_NUMBER: Final = struct.Struct("!Q")
NEVER: Final[Millis] = 2**63
"""A log time that is never reached."""


class KeptResult(NamedTuple):
    """The result of a write under a client's own key. `result`: a tail, b"" for none."""

    status: int
    version: int
    fingerprint: bytes
    result: bytes


class State:
    """Applied records, kept results and de-duplication of one (partition, generation).

    `soonest`: no deadline of a record is earlier; NEVER if there is none. `skipped`: entries that changed
    nothing, because their requests had taken effect before; whoever takes note of them empties it.
    """

    __slots__ = (
        "_context",
        "_idempotent",
        "_next_due",
        "_overwritten",
        "_overwritten_in",
        "_prefix_deadlines",
        "_prefix_keys",
        "_prefix_results",
        "_prefix_values",
        "_results",
        "_swept",
        "data_bytes",
        "partition",
        "records",
        "sessions",
        "skipped",
        "soonest",
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
        self.skipped: list[Index] = []
        self.unwritten: dict[bytes, bytes | None] = {}
        self.unwritten_bytes = 0
        self._overwritten: dict[bytes, bytes | None] = {}  # written in the turn `_overwritten_in`
        self._overwritten_in = -1
        context, partition = self._context, self.partition
        self.records = space_prefix(partition, generation, RECORDS)
        self._prefix_keys = space_prefix(partition, generation, IDEMPOTENCY)
        self._prefix_deadlines = space_prefix(partition, generation, DEADLINES)
        self._prefix_values = space_prefix(partition, generation, VALUES)
        self._prefix_results = space_prefix(partition, generation, RESULTS)
        self._idempotent = TimedRows(context, space_prefix(partition, generation, IDEMPOTENCY_BY_TIME))
        self._results = TimedRows(context, space_prefix(partition, generation, RESULTS_BY_TIME))
        self._swept = self._prefix_deadlines  # where the deadlines that are left begin
        self.soonest: Millis = 0  # not known yet
        self._next_due: tuple[Millis, Millis] = (NEVER, NEVER)  # after the first, the second is the next

    # --- reading --------------------------------------------------------------------------------------

    def record(self, key: bytes) -> bytes | None:
        """Return the record of a key, or None; its value may be in a row of its own."""
        return self._get(self.records + key)

    def value(self, key: bytes, record: bytes) -> bytes:
        """Return the value of a key's record."""
        return self.value_row(key) if is_parted(record) else read_record(record)[2]

    def value_row(self, key: bytes) -> bytes:
        """Return the value that is in a row of its own."""
        value = self._get(self._prefix_values + key)
        assert value is not None, "both rows are written together"
        return value

    def result(self, version: int) -> bytes | None:
        """Return the result (a tail) that the entry of this version kept; None if it is forgotten."""
        row = self._get(self._prefix_results + _NUMBER.pack(version))
        return row[_NUMBER.size :] if row is not None else None

    def scan(self, begin: bytes, end: bytes, limit: int) -> list[tuple[bytes, bytes]]:
        """Return the first rows of a range of this generation, as they are after all that is applied."""
        return self._scan(begin, end, limit, None)[0]

    def _scan(
        self, begin: bytes, end: bytes, limit: int, limit_bytes: int | None
    ) -> tuple[list[tuple[bytes, bytes]], bytes]:
        """Return these rows, and before which key they are all there are; b"": in the whole range."""
        newer = {key: row for key, row in self.unwritten.items() if begin <= key < end}
        if self._overwritten_in == self._context.turn:
            newer = {key: row for key, row in self._overwritten.items() if begin <= key < end} | newer
        among = sorted(newer)
        stored = self._context.reader.scan(Family.DATA, begin, end, limit + len(among), limit_bytes)
        until = b""
        if stored and (
            len(stored) == limit + len(among)
            or (limit_bytes is not None and sum([len(key) + len(row) for key, row in stored]) >= limit_bytes)
        ):
            until = stored[-1][0] + b"\0"  # nothing is known of what follows
            among = [key for key in among if key < until]
        if not among:
            return stored, until
        merged: dict[bytes, bytes | None] = dict(stored)
        for key in among:
            merged[key] = newer[key]
        rows = [(key, row) for key in sorted(merged) if (row := merged[key]) is not None]
        if len(rows) > limit:
            rows = rows[:limit]
            until = rows[-1][0] + b"\0"
        return rows, until

    def records_between(
        self, begin: bytes, end: bytes, limit: int, limit_bytes: int
    ) -> tuple[list[tuple[bytes, bytes]], bytes]:
        """Return the first (key, record) of those from `begin` on, and before `end` (b"": no end); and before
        which key these are all, b"": before the end. Some `limit_bytes` of stored rows are read."""
        prefix = self.records
        rows, until = self._scan(prefix + begin, prefix + end if end else after(prefix), limit, limit_bytes)
        at = len(prefix)
        return [(key[at:], record) for key, record in rows], until[at:]

    def due(self, until: Millis, limit: int) -> list[tuple[Millis, bytes]]:
        """Return the first (deadline, key) of records whose deadline is not after `until`."""
        end = self._prefix_deadlines + b"\xff"
        found: list[tuple[Millis, bytes]] = []
        for row, _ in self.scan(self._swept, end, limit + 1):
            at = len(self._prefix_deadlines)
            (deadline,) = _NUMBER.unpack_from(row, at)
            if deadline > until or len(found) == limit:
                self.soonest = deadline if not found else found[0][0]
                return found
            found.append((deadline, row[at + _NUMBER.size :]))
        self.soonest = found[0][0] if found else NEVER
        return found

    def is_due_between(self, after: Millis, until: Millis) -> bool:
        """Return whether a record has a deadline that is after `after`, and not after `until`."""
        known_from, following = self._next_due
        if not known_from <= after < following or following <= until:
            self._next_due = after, self._first_after(after)
        return self._next_due[1] <= until

    def _first_after(self, time: Millis) -> Millis:
        """Return the first deadline after a time; NEVER if there is none."""
        at = len(self._prefix_deadlines)
        begin = self._prefix_deadlines + _NUMBER.pack(time + 1)
        for row, _ in self.scan(begin, self._prefix_deadlines + b"\xff", 1):
            return int(_NUMBER.unpack_from(row, at)[0])
        return NEVER

    def sweep(self, deadline: Millis, key: bytes) -> None:
        """No deadline up to that of this record is left, nor will one be added: begin behind it in future."""
        self._swept = max(self._swept, self._deadline_key(deadline, key) + b"\0")

    def find_result(self, key: bytes, idempotency: bytes, horizon: Millis) -> KeptResult | None:
        """Return what is kept for a client's own request key since `horizon`, or None."""
        row = self._get(self._prefix_keys + _ROW_KEY.pack(len(key)) + key + idempotency)
        if row is None:
            return None
        _, status, version, log_time, fingerprint = _ROW.unpack_from(row)
        if log_time < horizon:
            return None
        return KeptResult(status, version, fingerprint, row[_ROW.size :])

    def _get(self, key: bytes) -> bytes | None:
        row = self.unwritten.get(key, MISSING)
        return self._context.get(key) if row is MISSING else row  # type: ignore[return-value]  # excluded

    # --- writing --------------------------------------------------------------------------------------

    def _put(self, key: bytes, row: bytes | None) -> None:
        self.unwritten[key] = row
        self.unwritten_bytes += len(key) + (len(row) if row is not None else 0)

    def write_down(self) -> None:
        """Write the rows that are applied and not written yet, with this turn's batch."""
        self._context.effects.batch.data.update(self.unwritten)
        if self._overwritten_in == self._context.turn:
            self._overwritten.update(self.unwritten)
        else:
            self._overwritten, self._overwritten_in = self.unwritten, self._context.turn
        self.unwritten = {}
        self.unwritten_bytes = 0
        self._idempotent.wrote_down()
        self._results.wrote_down()

    def apply(self, entry: Entry) -> tuple[int, int]:
        """Carry out a committed entry; return its (status, version).

        A request that took effect before, or is STALE, changes nothing: its known result is returned.
        """
        kind = entry.kind
        if kind == EntryKind.NOOP or kind == EntryKind.FORGET:
            self.replay(entry)
            return 0, 0
        sessions = self.sessions
        known = sessions.find(entry.origin, entry.counter) if entry.counter else None
        if known is not None:
            self._context.count("apply_skipped_duplicate")
            self.skipped.append(entry.index)
            return known
        version = result_version(entry)
        if kind == EntryKind.PUT:
            self._put(self.records + entry.key, record_of(entry.index, entry.tail))
            self.data_bytes += row_bytes(entry.key, entry.tail) - entry.replaced_bytes
        elif kind == EntryKind.DELETE:
            self._put(self.records + entry.key, None)
            self.data_bytes -= entry.replaced_bytes
        elif kind == EntryKind.CHANGES:
            for change in entry.changes:
                self._change(change, entry.index)
            if entry.result and not entry.idempotency:
                self._keep_body(entry)
        if entry.idempotency:
            self._keep_result(entry, version)
        if entry.counter:
            sessions.record(entry.origin, entry.counter, entry.low, entry.status, version)
        return entry.status, version

    def replay(self, entry: Entry) -> None:
        """Apply an entry to the de-duplication table only: its rows are written already, or it has none."""
        sessions = self.sessions
        if entry.kind == EntryKind.FORGET:
            for origin in origins_in(entry.tail):
                sessions.forget(origin)
        elif entry.counter:
            if sessions.find(entry.origin, entry.counter) is None:
                sessions.record(entry.origin, entry.counter, entry.low, entry.status, result_version(entry))
            else:
                self.skipped.append(entry.index)

    def _change(self, change: Change, index: Index) -> None:
        """Carry out one change, with the rows that belong to the record."""
        key, kind = change.key, change.kind
        before = self.record(key) if kind in (ChangeKind.TOUCH, ChangeKind.EXPIRE) else None
        if kind == ChangeKind.EXPIRE:
            assert before is not None and version_of(before) == change.version, (
                "removed once, if not replaced"
            )
        if change.replaced_deadline:
            self._put(self._deadline_key(change.replaced_deadline, key), None)
        self.data_bytes -= change.replaced_bytes
        if kind == ChangeKind.DELETE or kind == ChangeKind.EXPIRE:
            self._put(self.records + key, None)
            if change.replaced_bytes > self._context.bounds.bulk_bytes:
                self._put(self._prefix_values + key, None)
            return
        if kind == ChangeKind.TOUCH:
            record = self._touched(key, before, change, index)
        else:
            record = self._with_value(key, change, index)
        self._put(self.records + key, record)
        self.data_bytes += rows_bytes(key, record)
        if change.deadline:
            self._put(self._deadline_key(change.deadline, key), b"")
            self.soonest = min(self.soonest, change.deadline)
            known_from, following = self._next_due
            if known_from < change.deadline < following:
                self._next_due = known_from, change.deadline

    def _with_value(self, key: bytes, change: Change, index: Index) -> bytes:
        """Put a large value in a row of its own; return the record."""
        tail, large = change.tail, self._context.bounds.bulk_bytes
        if len(tail) > large:
            at = value_at(tail)
            self._put(self._prefix_values + key, tail[at:])
            return parted_record(index, tail[1:at], len(tail) - at, change.deadline)
        if change.replaced_bytes > large:
            self._put(self._prefix_values + key, None)
        return record_of(index, tail, change.deadline)

    def _touched(self, key: bytes, before: bytes | None, change: Change, index: Index) -> bytes:
        assert before is not None, "a primary touches what is there"
        _, content_type, value = read_record(before)
        if is_parted(before):
            return parted_record(index, content_type, value_bytes_of(before), change.deadline)
        return record_of(index, tail_of(content_type, value), change.deadline)

    def _deadline_key(self, deadline: Millis, key: bytes) -> bytes:
        return self._prefix_deadlines + _NUMBER.pack(deadline) + key

    # --- results --------------------------------------------------------------------------------------

    def _keep_body(self, entry: Entry) -> None:
        """Keep a result for as long as a coordinator may ask again."""
        horizon = max(entry.log_time - self._context.bounds.result_window_ms, 0)
        for time_key, number in self._results.take_old(horizon):
            held = self._get(self._prefix_results + number)
            assert held is not None, "both rows go together"
            self._put(time_key, None)
            self._put(self._prefix_results + number, None)
            self.data_bytes -= _body_bytes(held)
        number, row = _NUMBER.pack(entry.index), _NUMBER.pack(entry.log_time) + entry.result
        self._put(self._prefix_results + number, row)
        self._put(self._results.add(entry.log_time, entry.index, number), number)
        self.data_bytes += _body_bytes(row)

    def _keep_result(self, entry: Entry, version: int) -> None:
        """Write the result under the request's key, and forget a few that are past the entry's horizon."""
        suffix = _ROW_KEY.pack(len(entry.key)) + entry.key + entry.idempotency
        row = _ROW.pack(_ROW_FORMAT, entry.status, version, entry.log_time, entry.fingerprint) + entry.result
        for time_key, key in self._idempotent.take_old(entry.horizon):
            self._put(time_key, None)
            held = self._get(self._prefix_keys + key)
            if held is not None and _ROW.unpack_from(held)[3] < entry.horizon:  # not renewed since
                self._put(self._prefix_keys + key, None)
                self.data_bytes -= _result_bytes(key, held)
            self.data_bytes -= _time_bytes(key)
        held = self._get(self._prefix_keys + suffix)
        self.data_bytes += _result_bytes(suffix, row) - (
            _result_bytes(suffix, held) if held is not None else 0
        )
        self._put(self._prefix_keys + suffix, row)
        self._put(self._idempotent.add(entry.log_time, entry.index, suffix), suffix)
        self.data_bytes += _time_bytes(suffix)


def _result_bytes(suffix: bytes, row: bytes) -> int:
    """Return the size of the row that keeps a result under a client's key."""
    return 1 + len(suffix) + len(row)


def _time_bytes(suffix: bytes) -> int:
    """Return the size of the row that orders results by time."""
    return 1 + KEY_BYTES + len(suffix)


def _body_bytes(row: bytes) -> int:
    """Return the size of both rows of a result that is kept for its coordinator."""
    return 1 + _NUMBER.size + len(row) + 1 + KEY_BYTES + _NUMBER.size


def result_version(entry: Entry) -> int:
    """Return the version in the request's answer: its own entry's, or the one that a condition found."""
    return entry.version if entry.kind == EntryKind.OUTCOME else entry.index
