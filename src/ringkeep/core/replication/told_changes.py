"""Committed entries as the changes that readers are told: read by consecutive index from a replica's log, in
memory or below its window, never noted as they are applied: so no way to come by a state skips one.
"""

from collections.abc import Mapping
from typing import Final

from ringkeep.core.protocol.change import ChangeKind
from ringkeep.core.protocol.effects import Family
from ringkeep.core.protocol.entry import Entry, EntryKind, decode
from ringkeep.core.protocol.feed import EventKind, Told
from ringkeep.core.protocol.keys import log_key
from ringkeep.core.protocol.record import value_at
from ringkeep.core.protocol.types import Index, Millis, PartitionId
from ringkeep.core.replication.replica import Replica

ROWS_AT_ONCE: Final = 64
FEW_ROWS: Final = 4
"""So many rows are read from the store at once: few until it is known how large they are."""


def changes_of(partition: PartitionId, entry: Entry) -> list[Told]:
    """Return what an entry changes, with all values; nothing for entries that change no record."""
    index = Index(entry.index)
    if entry.kind == EntryKind.PUT:
        return [_put(partition, index, entry.key, entry.tail, 0)]
    if entry.kind == EntryKind.DELETE:
        return [(partition, index, int(EventKind.DELETE), entry.key, b"", b"", 0)]
    told: list[Told] = []
    for change in entry.changes:
        ttl = max(change.deadline - entry.log_time, 1) if change.deadline else 0
        if change.kind == ChangeKind.PUT:
            told.append(_put(partition, index, change.key, change.tail, ttl))
        else:
            told.append((partition, index, int(_KINDS[change.kind]), change.key, b"", b"", ttl))
    return told


_KINDS: Final[Mapping[int, EventKind]] = {
    ChangeKind.DELETE: EventKind.DELETE,
    ChangeKind.TOUCH: EventKind.TOUCH,
    ChangeKind.EXPIRE: EventKind.EXPIRE,
}


def _put(partition: PartitionId, index: Index, key: bytes, tail: bytes, ttl: Millis) -> Told:
    at = value_at(tail)
    return partition, index, int(EventKind.PUT), key, tail[1:at], tail[at:], ttl


def read_changes(
    replica: Replica, after: Index, most_rows: int, most_bytes: int
) -> list[tuple[Index, list[Told]]]:
    """Return (index, its changes) of the applied entries after `after`, in order, none left out: at most so
    many, stopping once `most_bytes` of entries are passed; at least one if there is any.

    `after` is not before `replica.history.begin`.
    """
    assert after >= replica.history.begin, "what is cut is not told"
    entries = _entries(replica, after, min(most_rows, replica.applied - after), most_bytes)
    skipped = replica.history.skipped
    found: list[tuple[Index, list[Told]]] = []
    for number, data in enumerate(entries, after + 1):
        index = Index(number)
        found.append((index, [] if index in skipped else changes_of(replica.partition, decode(data))))
    return found


def _entries(replica: Replica, after: Index, most_rows: int, most_bytes: int) -> list[bytes]:
    if most_rows <= 0:
        return []
    if after >= replica.log.floor_index:
        return replica.log.slice(after, most_rows, most_bytes)
    found: list[bytes] = []
    until = min(after + most_rows, replica.log.floor_index)
    size, batch = 0, FEW_ROWS
    while after < until and size <= most_bytes:
        rows = _stored(replica, after, Index(min(after + batch, until)))
        found += rows
        read = sum(map(len, rows))
        size += read
        after = Index(after + len(rows))
        batch = min(max((most_bytes - size) * len(rows) // (read or 1), 1), ROWS_AT_ONCE)
    return found


def _stored(replica: Replica, after: Index, until: Index) -> list[bytes]:
    """Read rows below the window; this turn's own are not in the store yet."""
    context, partition = replica.context, replica.partition
    begin, end = log_key(partition, Index(after + 1)), log_key(partition, Index(until + 1))
    rows = dict(context.reader.scan(Family.LOG, begin, end, until - after))
    written = context.effects.batch.log
    found: list[bytes] = []
    for number in range(after + 1, until + 1):
        key = log_key(partition, Index(number))
        entry = written.get(key) or rows.get(key)
        assert entry is not None, "the stored log has no holes"
        found.append(entry)
    return found
