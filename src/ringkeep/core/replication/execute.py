"""Executes requests at an ACTIVE primary: de-duplicates, evaluates, then appends or answers like a read.

Conditions are evaluated against pending-then-committed state. An answer that writes nothing is a read: it
waits until the state that it depends on is committed, and for a confirmation.
"""

from typing import final

from ringkeep.core.cluster.feature_level import OPERATIONS
from ringkeep.core.disk_state import DiskState
from ringkeep.core.protocol.change import Change, ChangeKind
from ringkeep.core.protocol.client_requests import ABSENT, ANY, PRESENT, Kind, Status
from ringkeep.core.protocol.entry import Entry, EntryKind
from ringkeep.core.protocol.messages import RETRY
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
from ringkeep.core.replication.expiry import removal
from ringkeep.core.replication.operations import NEEDS_VALUE, UNREAD, Effect, Standing, evaluate
from ringkeep.core.replication.pending import Call, Newest
from ringkeep.core.replication.primary import Primary
from ringkeep.core.replication.state_machine import State


def execute(primary: Primary, call: Call) -> None:
    """Execute one request at a primary that is ACTIVE and not handing over.

    It is answered exactly once, now or later.
    """
    message = call.message
    if message.kind == Kind.GET:
        primary.node.confirm_read(primary, call, None, Index(message.condition))
        return
    if (message.kind > Kind.DELETE or message.ttl) and primary.context.feature_level < OPERATIONS:
        primary.answer(call, RETRY)  # the coordinator has a newer map
        return
    if primary.answer_appended(call):
        return
    if message.origin not in primary.context.coordinators:
        # It has departed: its earlier requests may be forgotten, and must not take effect again. It
        # is not a newcomer: those send the map that names them before anything else.
        primary.context.count("departed_coordinator_refused")
        primary.answer(call, RETRY)
        return
    if _answer_kept(primary, call):
        return
    refused = _admission(primary, message.kind)
    if refused is not None:
        primary.refuse(call, *refused)
        return
    _evaluate(primary, call)


def _answer_kept(primary: Primary, call: Call) -> bool:
    """Answer a write under the client's own key, which the same or another request has used before."""
    message, pending = call.message, primary.pending
    if not message.idempotency:
        return False
    waiting = pending.by_key.get((message.key, message.idempotency))
    if waiting is not None:
        index, fingerprint = waiting
        if fingerprint == message.fingerprint:
            pending.calls[index].append(call)
        else:
            primary.node.confirm_read(primary, call, (Status.KEY_REUSED, 0), index)
        return True
    horizon = primary.replica.log.last_time - primary.context.bounds.idempotency_window_ms
    kept = primary.replica.state.find_result(message.key, message.idempotency, horizon)
    if kept is None:
        return False
    result = (
        (kept.status, kept.version) if kept.fingerprint == message.fingerprint else (Status.KEY_REUSED, 0)
    )
    primary.context.count("idempotent_answered")
    primary.node.confirm_read(primary, call, result, Index(0))
    return True


def _admission(primary: Primary, kind: int) -> tuple[Status, str] | None:
    """Return why nothing may be appended at present, or None. Called before anything is appended."""
    context, bounds = primary.context, primary.context.bounds
    if context.disks.own.stalled:
        return Status.BUSY, "the disk cannot keep up with the writes just now"
    if not context.disks.all_fine and (refused := _no_room(primary, kind)) is not None:
        return refused
    pending, replica = primary.pending, primary.replica
    if replica.pins and replica.log.entry_bytes > bounds.pinned_log_bytes:
        context.count("busy_for_a_transfer")
        return Status.BUSY, "a replica of this partition is being caught up, and must not fall behind again"
    if len(pending.calls) >= bounds.uncommitted_entries or pending.size >= bounds.uncommitted_bytes:
        context.count("busy_pipeline")
        return Status.BUSY, "too many writes of this partition are waiting for their quorum"
    return None


def _no_room(primary: Primary, kind: int) -> tuple[Status, str] | None:
    """Return why the replicas' disks do not admit this write, or None. A majority of them must have the whole
    reserve; a delete needs only a part of it. So a majority never reaches the point where it takes no
    entries, and deletes can always make room. A replica that is short of room still takes part.
    """
    context, place = primary.context, primary.place
    worst = DiskState.SHORT if kind == Kind.DELETE else DiskState.SLOW
    if context.disks.own.takes_entries and primary.won(
        [n for n in place.replicas if context.disks.state_of(n) <= worst]
    ):
        return None
    if not primary.won([n for n in place.replicas if context.disks.state_of(n) != DiskState.SILENT]):
        return Status.UNAVAILABLE, "the disks of a majority of the key's replicas do not answer"
    if not context.disks.own.takes_entries:
        return Status.NO_SPACE, context.disks.own.room
    return Status.NO_SPACE, "a majority of the key's replicas have less free disk than their reserve"


def _evaluate(primary: Primary, call: Call) -> None:
    """Evaluate a write on the newest state of its key, pending writes included. A record that is due is
    removed first.
    """
    message = call.message
    found = _found(primary, message.key)
    if found.deadline and found.deadline <= primary.log_time:
        removed = removal(message.key, found.version, found.rows_bytes(message.key), found.deadline)
        found = Found(evidence=primary.expiry.remove([removed]))
    if not _holds(message.condition, found.version):
        _answer_unchanged(primary, call, Status.CONDITION_FAILED, found)
        return
    if message.kind in NEEDS_VALUE and found.record is not None:
        found.tail = _whole(primary.replica.state, message.key, found.record)
    now = primary.clock.unconfirmed(primary.context.now)
    effect = evaluate(Standing(found.tail, found.deadline), message, now)
    if effect.kind:
        _append(primary, call, effect, found)
    else:
        _answer_unchanged(primary, call, effect.status, found)


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


def _found(primary: Primary, key: bytes) -> Found:
    newest = primary.pending.newest.get(key)
    if newest is not None:
        index, tail, deadline, parted = newest
        return Found(index if tail is not None else 0, tail, deadline, parted, None, index)
    record = primary.replica.state.record(key)
    if record is None:
        return Found()
    return Found(version_of(record), UNREAD, deadline_of(record), is_parted(record), record)


def _whole(state: State, key: bytes, record: bytes) -> bytes:
    """Return a record's tail, with its value."""
    _, content_type, value = read_record(record)
    return tail_of(content_type, state.value_row(key) if is_parted(record) else value)


def _holds(wanted: int, version: int) -> bool:
    """Whether a condition holds of a key that has `version` now (0: it does not exist)."""
    if wanted == ANY:
        return True
    return version == 0 if wanted == ABSENT else version > 0 if wanted == PRESENT else version == wanted


def _answer_unchanged(primary: Primary, call: Call, status: Status, found: Found) -> None:
    """Answer a write that changes nothing; under a client's own key its result is kept."""
    if not call.message.idempotency:
        primary.node.confirm_read(primary, call, (status, found.version), found.evidence)
        return
    entry = _entry(primary, call, EntryKind.OUTCOME, status)
    entry.version = found.version
    primary.append(entry)
    primary.pending.add(entry, call)


def _append(primary: Primary, call: Call, effect: Effect, found: Found) -> None:
    """Append an effect: as an entry of one change if it has a deadline, a result, or a large value, or
    replaces a record that has; otherwise as one that says less.
    """
    message, context = call.message, primary.context
    replaced, large = found.rows_bytes(message.key), len(effect.tail) > context.bounds.bulk_bytes
    plain = not (effect.deadline or effect.result or found.deadline or found.parted)
    if plain and effect.kind != ChangeKind.TOUCH and (not large or context.feature_level < OPERATIONS):
        kind = EntryKind.PUT if effect.kind == ChangeKind.PUT else EntryKind.DELETE
        entry = _entry(primary, call, kind, effect.status)
        entry.replaced_bytes = replaced
        if effect.tail:
            entry.tail = effect.tail
        primary.append(entry)
        primary.pending.add(entry, call)
        return
    entry = _entry(primary, call, EntryKind.CHANGES, effect.status)
    change = Change(effect.kind, message.key, effect.tail, effect.deadline, replaced, found.deadline)
    entry.changes, entry.result, entry.tail = [change], effect.result, b""
    primary.append(entry)
    newest: Newest = (entry.index, None, 0, False)
    if effect.kind == ChangeKind.PUT:
        newest = (entry.index, effect.tail, effect.deadline, large)
    elif effect.kind == ChangeKind.TOUCH:
        newest = (entry.index, found.tail, effect.deadline, found.parted)
    primary.pending.add(entry, call, {message.key: newest})


def _entry(primary: Primary, call: Call, kind: EntryKind, status: int) -> Entry:
    """Return the next entry, for a request. With its result the request's key is kept for a while."""
    message, log_time = call.message, primary.log_time
    horizon = max(log_time - primary.context.bounds.idempotency_window_ms, 0) if message.idempotency else 0
    return Entry(
        kind, primary.epoch, Index(primary.replica.log.last_index + 1), log_time, message.origin,
        message.counter, message.low, message.key, status, 0, message.idempotency,
        message.fingerprint, horizon,
    )  # fmt: skip
