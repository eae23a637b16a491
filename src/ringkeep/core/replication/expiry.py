"""Expiry: a primary appends the removal of records that are due. Until it is committed, nobody sees their
absence.

Due is judged by the log's clock, on the newest state: a write that is appended hides the old deadline.
"""

from collections.abc import Sequence
from typing import Protocol

from ringkeep.core.context import Context
from ringkeep.core.protocol.change import Change, ChangeKind
from ringkeep.core.protocol.entry import NO_ORIGIN, Entry, EntryKind
from ringkeep.core.protocol.record import deadline_of, rows_bytes, version_of
from ringkeep.core.protocol.types import Epoch, Index, Millis
from ringkeep.core.replication.pending import Pending
from ringkeep.core.replication.removal_pace import RemovalPace
from ringkeep.core.replication.replica import Replica
from ringkeep.core.state.state_machine import NEVER


class Expiring(Protocol):
    """What expiry uses of a primary."""

    context: Context
    replica: Replica
    epoch: Epoch
    pending: Pending

    @property
    def log_time(self) -> Millis:
        """The log time now, as confirmed."""

    @property
    def may_execute(self) -> bool:
        """Whether requests are executed just now."""

    def append(self, entry: Entry) -> None:
        """Put an entry at the end of the log."""

    def append_own(self, kind: EntryKind, tail: bytes = b"") -> Index:
        """Append an entry that no client asked for."""


class Expiry:
    """Removes what is due in one partition, as its primary."""

    __slots__ = ("_pace", "_primary", "_removing", "_swept")

    def __init__(self, primary: Expiring, pace: RemovalPace) -> None:
        self._primary = primary
        self._pace = pace
        self._removing = Index(0)  # the newest of `remove_some`
        self._swept: tuple[Millis, bytes] | None = (
            None  # once that is applied, no deadline up to here is left
        )

    @property
    def waits(self) -> bool:
        """Whether the partition holds deadlines, or may hold some."""
        return self._primary.replica.state.soonest != NEVER

    def on_tick(self) -> None:
        """Ask for a turn if something is due; let the log tell the time now and then."""
        primary = self._primary
        replica, context = primary.replica, primary.context
        if not (self.waits and self._may_append):
            return
        now, soonest = primary.log_time, replica.state.soonest
        if now >= soonest and replica.applied >= self._removing:
            self._pace.ask(self)
        if soonest != NEVER and now >= replica.log.last_time + context.bounds.clock_logged_ms:
            context.count("log_time_logged")
            primary.append_own(EntryKind.NOOP)

    @property
    def _may_append(self) -> bool:
        primary = self._primary
        takes = primary.replica.readable and primary.context.disks.own.takes_entries
        return takes and primary.may_execute

    def remove_some(self, most: int) -> int:
        """Append a removal of some that are due, one at a time; return how many are due."""
        primary = self._primary
        replica, context = primary.replica, primary.context
        if not self._may_append:
            return 0
        if replica.applied < self._removing:
            self._pace.ask(self)
            return 0
        if self._swept is not None:
            assert self._swept[0] <= replica.applied_time, "what is added later has a later deadline"
            replica.state.sweep(*self._swept)
            self._swept = None
        now = primary.log_time
        due = replica.state.due(now, min(most, context.bounds.expire_at_once))
        if not due:
            return 0
        self._pace.note_late(now - due[0][0])
        self._pace.ask(self)
        self._remove_due(due)
        return len(due)

    def _remove_due(self, due: Sequence[tuple[Millis, bytes]]) -> None:
        """Remove these records but for those that a pending write replaces. They were searched for among what
        is applied: what is pending may have come due meanwhile, and will have to be found by a later search.
        """
        state, newest = self._primary.replica.state, self._primary.pending.newest
        soonest_pending = min([each[2] for each in newest.values() if each[2]], default=NEVER)
        removed: list[Change] = []
        all_removed = True
        for deadline, key in due:
            if key in newest:
                all_removed = False
                continue
            record = state.record(key)
            assert record is not None and deadline_of(record) == deadline, "the two rows go together"
            removed.append(removal(key, version_of(record), rows_bytes(key, record), deadline))
            if all_removed and deadline < soonest_pending:
                self._swept = deadline, key
        if removed:
            self._removing = self.remove(removed)

    def remove(self, removed: Sequence[Change]) -> Index:
        """Append a removal of records; return its index."""
        primary = self._primary
        index = Index(primary.replica.log.last_index + 1)
        entry = Entry(
            EntryKind.CHANGES, primary.epoch, index, primary.log_time, NO_ORIGIN, 0, 0, changes=removed
        )
        primary.append(entry)
        primary.pending.add(entry, None, {each.key: (index, None, 0, False) for each in removed})
        primary.context.count("expired", len(removed))
        return index


def removal(key: bytes, version: int, rows: int, deadline: Millis) -> Change:
    """Return the change that removes a record whose deadline was reached. `rows`: the size of its rows."""
    return Change(
        ChangeKind.EXPIRE, key, replaced_bytes=rows, replaced_deadline=deadline, version=Index(version)
    )
