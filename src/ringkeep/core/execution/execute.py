"""Executes requests at an ACTIVE primary: de-duplicates, evaluates, then appends or answers like a read.

Conditions are evaluated against pending-then-committed state. An answer that writes nothing is a read: it
waits until the state that it depends on is committed, and for a confirmation.
"""

from ringkeep.core.cluster.feature_level import OPERATIONS
from ringkeep.core.disk_state import DiskState
from ringkeep.core.execution.batches import execute_batch
from ringkeep.core.execution.found import Found, found_of, holds, next_entry, whole
from ringkeep.core.protocol.change import Change, ChangeKind
from ringkeep.core.protocol.client_requests import Kind, Status
from ringkeep.core.protocol.entry import EntryKind
from ringkeep.core.protocol.hot_messages import RETRY
from ringkeep.core.protocol.types import Index
from ringkeep.core.replication.expiry import removal
from ringkeep.core.replication.pending import Call, Newest
from ringkeep.core.replication.primary import Primary
from ringkeep.core.state.operations import NEEDS_VALUE, Effect, Standing, evaluate


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
    elif message.kind == Kind.BATCH:
        execute_batch(primary, call)
    else:
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
    found = found_of(primary, message.key)
    if found.deadline and found.deadline <= primary.log_time:
        removed = removal(message.key, found.version, found.rows_bytes(message.key), found.deadline)
        found = Found(evidence=primary.expiry.remove([removed]))
    if not holds(message.condition, found.version):
        _answer_unchanged(primary, call, Status.CONDITION_FAILED, found)
        return
    if message.kind in NEEDS_VALUE and found.record is not None:
        found.tail = whole(primary.replica.state, message.key, found.record)
    now = primary.clock.unconfirmed(primary.context.now)
    effect = evaluate(Standing(found.tail, found.deadline), message, now)
    if effect.kind:
        _append(primary, call, effect, found)
    else:
        _answer_unchanged(primary, call, effect.status, found)


def _answer_unchanged(primary: Primary, call: Call, status: Status, found: Found) -> None:
    """Answer a write that changes nothing; under a client's own key its result is kept."""
    if not call.message.idempotency:
        primary.node.confirm_read(primary, call, (status, found.version), found.evidence)
        return
    entry = next_entry(primary, call, EntryKind.OUTCOME, status)
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
        entry = next_entry(primary, call, kind, effect.status)
        entry.replaced_bytes = replaced
        if effect.tail:
            entry.tail = effect.tail
        primary.append(entry)
        primary.pending.add(entry, call)
        return
    entry = next_entry(primary, call, EntryKind.CHANGES, effect.status)
    change = Change(effect.kind, message.key, effect.tail, effect.deadline, replaced, found.deadline)
    entry.changes, entry.result, entry.tail = [change], effect.result, b""
    primary.append(entry)
    newest: Newest = (entry.index, None, 0, False)
    if effect.kind == ChangeKind.PUT:
        newest = (entry.index, effect.tail, effect.deadline, large)
    elif effect.kind == ChangeKind.TOUCH:
        newest = (entry.index, found.tail, effect.deadline, found.parted)
    primary.pending.add(entry, call, {message.key: newest})
