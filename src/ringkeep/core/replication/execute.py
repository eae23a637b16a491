"""Executes requests at an ACTIVE primary: de-duplicates, evaluates, then appends or answers like a read.

Conditions are evaluated against pending-then-committed state. An answer that writes nothing is a read: it
waits until the state that it depends on is committed, and for a confirmation.
"""

from ringkeep.core.disk_state import DiskState
from ringkeep.core.protocol.client_requests import ABSENT, ANY, PRESENT, Kind, Status
from ringkeep.core.protocol.entry import Entry, EntryKind, row_bytes, tail_of, version_of
from ringkeep.core.protocol.hot_messages import RETRY, Forward
from ringkeep.core.protocol.types import Index
from ringkeep.core.replication.pending import Call
from ringkeep.core.replication.primary import Primary


def execute(primary: Primary, call: Call) -> None:
    """Execute one request at a primary that is ACTIVE and not handing over.

    It is answered exactly once, now or later.
    """
    message = call.message
    if message.kind == Kind.GET:
        primary.node.confirm_read(primary, call, None, Index(message.condition))
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
    status, version, fingerprint = kept
    if fingerprint != message.fingerprint:
        status, version = Status.KEY_REUSED, 0
    primary.context.count("idempotent_answered")
    primary.node.confirm_read(primary, call, (status, version), Index(0))
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
    message = call.message
    newest = primary.pending.versions.get(message.key)
    if newest is None:
        record = primary.replica.state.record(message.key)
        version, evidence = (version_of(record) if record is not None else 0), Index(0)
        replaced = 1 + len(message.key) + len(record) if record is not None else 0
    else:
        version, evidence = max(newest, 0), Index(abs(newest))
        replaced = row_bytes(message.key, primary.pending.entries[newest].tail) if newest > 0 else 0
    status = _outcome(message, version)
    if status in (Status.CONDITION_FAILED, Status.NOT_FOUND):
        if message.idempotency:
            _append(primary, call, EntryKind.OUTCOME, status, version)
        else:
            primary.node.confirm_read(primary, call, (status, version), evidence)
    else:
        kind = EntryKind.PUT if message.kind == Kind.PUT else EntryKind.DELETE
        _append(primary, call, kind, status, 0, replaced)


def _outcome(message: Forward, version: int) -> Status:
    """Decide what a write does to a key that has `version` now (0: it does not exist)."""
    wanted = message.condition
    if wanted != ANY:
        holds = version == 0 if wanted == ABSENT else version > 0 if wanted == PRESENT else version == wanted
        if not holds:
            return Status.CONDITION_FAILED
    if message.kind == Kind.PUT:
        return Status.REPLACED if version else Status.CREATED
    return Status.DELETED if version else Status.NOT_FOUND


def _append(
    primary: Primary, call: Call, kind: EntryKind, status: Status, version: int, replaced_bytes: int = 0
) -> None:
    message = call.message
    log_time = primary.log_time()
    horizon = max(log_time - primary.context.bounds.idempotency_window_ms, 0) if message.idempotency else 0
    tail = tail_of(message.content_type, message.value) if kind == EntryKind.PUT else b"\0"
    entry = Entry(
        kind, primary.epoch, Index(primary.replica.log.last_index + 1), log_time, message.origin,
        message.counter, message.low, message.key, status, version, message.idempotency,
        message.fingerprint, horizon, tail, replaced_bytes,
    )  # fmt: skip
    primary.append(entry)
    primary.pending.add(entry, call)
