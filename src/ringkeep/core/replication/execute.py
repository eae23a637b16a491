"""What an ACTIVE primary does with a request: de-duplicate, evaluate, then append, or answer as a read.

Conditions are evaluated against pending-then-committed state. An answer that writes nothing is a read: it
waits until what it looked at is committed, and for a confirmation.
"""

from typing import TYPE_CHECKING

from ringkeep.core.liveness.disk_state import DiskState
from ringkeep.core.protocol.client_requests import ABSENT, ANY, PRESENT, Kind, Status
from ringkeep.core.protocol.entry import Entry, EntryKind, row_bytes, tail_of, version_of
from ringkeep.core.protocol.messages import RETRY, Forward
from ringkeep.core.protocol.types import Index, Life, Millis

if TYPE_CHECKING:
    from ringkeep.core.replication.primary import Primary


class Call:
    """One copy of a request at its primary: the message, who sent it, and until when it is wanted."""

    __slots__ = ("caller", "deadline", "message")

    def __init__(self, caller: Life, message: Forward, deadline: Millis) -> None:
        self.caller = caller
        self.message = message
        self.deadline = deadline


class Pending:
    """Appended and not applied yet, in this epoch: entries, newest version per key, request ids, who waits.

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


def execute(primary: "Primary", call: Call) -> None:
    """Execute one request at a primary that is ACTIVE and not handing over.

    It is answered now or later, once.
    """
    message = call.message
    if message.kind == Kind.GET:
        primary.context.parts.confirm_read(primary, call, None, Index(message.condition))
        return
    if answer_appended(primary, call):
        return
    if message.origin not in primary.context.coordinators:
        # What it asked for before may be forgotten, and must not take effect again. It is no newcomer: those
        # send the map that names them before anything else.
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


def answer_appended(primary: "Primary", call: Call) -> bool:
    """Answer a write of which an earlier copy was appended, now or with it; False if none was.

    Looked for before a copy is parked, too: the earlier one's answer need not wait.
    """
    message, pending = call.message, primary.pending
    if message.kind == Kind.GET:
        return False
    known = primary.replica.state.sessions.find(message.origin, message.counter)
    if known is not None:
        primary.context.count("duplicate_answered")
        if known[0] < 0:
            primary.answer(call, RETRY)
        else:
            primary.answer(call, known[0], known[1])
        return True
    index = pending.ids.get((message.origin, message.counter))
    if index is not None:
        primary.context.count("duplicate_waits")
        pending.calls[index].append(call)
        return True
    return False


def _answer_kept(primary: "Primary", call: Call) -> bool:
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
            primary.context.parts.confirm_read(primary, call, (Status.KEY_REUSED, 0), index)
        return True
    horizon = primary.replica.log.last_time - primary.context.bounds.idempotency_window_ms
    kept = primary.replica.state.find_result(message.key, message.idempotency, horizon)
    if kept is None:
        return False
    status, version, fingerprint = kept
    if fingerprint != message.fingerprint:
        status, version = Status.KEY_REUSED, 0
    primary.context.count("idempotent_answered")
    primary.context.parts.confirm_read(primary, call, (status, version), Index(0))
    return True


def _admission(primary: "Primary", kind: int) -> tuple[Status, str] | None:
    """Say why nothing may be appended just now, before anything is."""
    context, bounds = primary.context, primary.context.bounds
    if context.disk.stalled:
        return Status.BUSY, "the disk cannot keep up with the writes just now"
    if (context.disk.state or context.disks) and (refused := _no_room(primary, kind)) is not None:
        return refused
    pending, replica = primary.pending, primary.replica
    if replica.pins and replica.log.entry_bytes > bounds.pinned_log_bytes:
        context.count("busy_for_a_transfer")
        return Status.BUSY, "a replica of this partition is being caught up, and must not fall behind again"
    if len(pending.calls) >= bounds.uncommitted_entries or pending.size >= bounds.uncommitted_bytes:
        context.count("busy_pipeline")
        return Status.BUSY, "too many writes of this partition are waiting for their quorum"
    return None


def _no_room(primary: "Primary", kind: int) -> tuple[Status, str] | None:
    """Say why the replicas' disks do not take this write, if they do not.

    A majority of them must have the whole reserve, and a part of it for a delete: so a majority never gets
    where it takes nothing, and deletes can always make room. One that is short of room takes part meanwhile.
    """
    context, place = primary.context, primary.place
    worst = DiskState.SHORT if kind == Kind.DELETE else DiskState.SLOW
    if context.disk.takes_entries and primary.won([n for n in place.replicas if context.disk_of(n) <= worst]):
        return None
    if not primary.won([n for n in place.replicas if context.disk_of(n) != DiskState.SILENT]):
        return Status.UNAVAILABLE, "the disks of a majority of the key's replicas do not answer"
    if not context.disk.takes_entries:
        return Status.NO_SPACE, context.disk.room
    return Status.NO_SPACE, "a majority of the key's replicas have less free disk than their reserve"


def _evaluate(primary: "Primary", call: Call) -> None:
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
            primary.context.parts.confirm_read(primary, call, (status, version), evidence)
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
    primary: "Primary", call: Call, kind: EntryKind, status: Status, version: int, replaced_bytes: int = 0
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
