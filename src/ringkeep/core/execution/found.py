"""What a primary finds before it executes a write: the newest record of a key, pending writes included."""

from typing import final

from ringkeep.core.protocol.client_requests import ABSENT, ANY, PRESENT
from ringkeep.core.protocol.entry import Entry, EntryKind
from ringkeep.core.protocol.record import (
    deadline_of,
    is_parted,
    read_record,
    rows_bytes,
    rows_bytes_of,
    tail_of,
    version_of,
)
from ringkeep.core.protocol.types import Index, Millis
from ringkeep.core.replication.pending import Call
from ringkeep.core.replication.primary import Primary
from ringkeep.core.state.operations import UNREAD
from ringkeep.core.state.state_machine import State


@final
class Found:
    """The newest record of a key. `version` 0, `tail` None: there is none. `record`: as it is stored, None if
    a pending entry made it. `tail` is UNREAD until it is needed. `evidence`: the entry that must be committed
    for this to be true.
    """

    __slots__ = ("deadline", "evidence", "parted", "record", "tail", "version")

    def __init__(
        self, version: int = 0, tail: bytes | None = None, deadline: Millis = 0, parted: bool = False,
        record: bytes | None = None, evidence: Index = Index(0),
    ) -> None:  # fmt: skip
        self.version = version
        self.tail = tail
        self.deadline = deadline
        self.parted = parted
        self.record = record
        self.evidence = evidence

    def rows_bytes(self, key: bytes) -> int:
        """Return the size of all rows of the record; 0 if there is none."""
        if self.record is not None:
            return rows_bytes(key, self.record)
        return rows_bytes_of(key, self.tail, self.deadline, self.parted) if self.tail is not None else 0


def found_of(primary: Primary, key: bytes) -> Found:
    """Return the newest record of a key, pending writes included."""
    newest = primary.pending.newest.get(key)
    if newest is not None:
        index, tail, deadline, parted = newest
        return Found(index if tail is not None else 0, tail, deadline, parted, None, index)
    record = primary.replica.state.record(key)
    if record is None:
        return Found()
    return Found(version_of(record), UNREAD, deadline_of(record), is_parted(record), record)


def whole(state: State, key: bytes, record: bytes) -> bytes:
    """Return a record's tail, with its value."""
    _, content_type, value = read_record(record)
    return tail_of(content_type, state.value_row(key) if is_parted(record) else value)


def holds(wanted: int, version: int) -> bool:
    """Whether a condition holds of a key that has `version` now (0: it does not exist)."""
    if wanted == ANY:
        return True
    return version == 0 if wanted == ABSENT else version > 0 if wanted == PRESENT else version == wanted


def next_entry(primary: Primary, call: Call, kind: EntryKind, status: int) -> Entry:
    """Return the next entry, for a request. With its result the request's key is kept for a while."""
    message, log_time = call.message, primary.log_time
    horizon = max(log_time - primary.context.bounds.idempotency_window_ms, 0) if message.idempotency else 0
    return Entry(
        kind, primary.epoch, Index(primary.replica.log.last_index + 1), log_time, message.origin,
        message.counter, message.low, message.key, status, 0, message.idempotency,
        message.fingerprint, horizon,
    )  # fmt: skip
