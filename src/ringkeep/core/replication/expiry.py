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
from ringkeep.core.replication.replica import Replica
from ringkeep.core.replication.state_machine import NEVER


class Expiring(Protocol):
    """What expiry uses of a primary."""

    context: Context
    replica: Replica
    epoch: Epoch
    pending: Pending

    @property
    def log_time(self) -> Millis:
        """The log time now, as confirmed."""

    def append(self, entry: Entry) -> None:
        """Put an entry at the end of the log."""

    def append_own(self, kind: EntryKind, tail: bytes = b"") -> Index:
        """Append an entry that no client asked for."""


class Expiry:
    """Removes what is due in one partition, as its primary."""

    __slots__ = ("_primary", "_removing", "_swept")

    def __init__(self, primary: Expiring) -> None:
        self._primary = primary
        self._removing = Index(0)  # the newest removal of `on_tick`
        self._swept: tuple[Millis, bytes] | None = (
            None  # once that is applied, no deadline up to here is left
        )

    @property
    def waits(self) -> bool:
        """Whether the partition holds deadlines, or may hold some."""
        return self._primary.replica.state.soonest != NEVER

    def on_tick(self) -> None:
        """Append a removal of some that are due, one at a time; let the log tell the time now and then."""
        primary = self._primary
        replica, context = primary.replica, primary.context
        if not (self.waits and replica.readable and context.disks.own.takes_entries):
            return
        if replica.applied < self._removing:
            return
        if self._swept is not None:
            assert self._swept[0] <= replica.applied_time, "what is added later has a later deadline"
            replica.state.sweep(*self._swept)
            self._swept = None
        now = primary.log_time
        if now >= replica.state.soonest:
            self._remove_due(replica.state.due(now, context.bounds.expire_at_once))
        soonest: Millis = replica.state.soonest  # as it is now
        if soonest != NEVER and now >= replica.log.last_time + context.bounds.clock_logged_ms:
            context.count("log_time_logged")
            primary.append_own(EntryKind.NOOP)

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
