"""One partition's log window: the entries above the floor, in memory as in the store.

The window is bounded (`limits.LOG_ENTRIES`, `limits.LOG_BYTES` past what is applied), so all of it is kept
in memory; the store is read at a start only. Who may append is decided in `replica.py`.
Source of the matching rules: Raft (USENIX ATC 2014), section 5.3.
"""

from ringkeep.core.protocol.effects import Batch, Family
from ringkeep.core.protocol.entry import epoch_of, log_time_of
from ringkeep.core.protocol.keys import log_key
from ringkeep.core.protocol.reader import Reader
from ringkeep.core.protocol.types import Epoch, Index, Millis, PartitionId


class Log:
    """Entries floor_index + 1 … last_index as encoded bytes; (floor_epoch, floor_index) is the one before."""

    __slots__ = (
        "_entries",
        "entry_bytes",
        "floor_epoch",
        "floor_index",
        "floor_time",
        "last_epoch",
        "last_index",
    )

    def __init__(
        self, floor_epoch: Epoch, floor_index: Index, floor_time: Millis, entries: list[bytes]
    ) -> None:
        self.floor_epoch = floor_epoch
        self.floor_index = floor_index
        self.floor_time = floor_time
        self._entries = entries
        self.last_index = Index(floor_index + len(entries))
        self.last_epoch = epoch_of(entries[-1]) if entries else floor_epoch
        self.entry_bytes = sum(map(len, entries))

    def __getitem__(self, index: Index) -> bytes:
        assert index > self.floor_index
        return self._entries[index - self.floor_index - 1]

    @property
    def last_time(self) -> Millis:
        """Log time of the last entry, in milliseconds."""
        return log_time_of(self._entries[-1]) if self._entries else self.floor_time

    def epoch_at(self, index: Index) -> Epoch:
        """Return the epoch of the entry at `index` (floor_index <= index <= last_index)."""
        if index == self.floor_index:
            return self.floor_epoch
        assert self.floor_index < index <= self.last_index
        return epoch_of(self._entries[index - self.floor_index - 1])

    def time_at(self, index: Index) -> Millis:
        """Return the log time of the entry at `index` (floor_index <= index <= last_index)."""
        return self.floor_time if index == self.floor_index else log_time_of(self[index])

    def matches(self, epoch: Epoch, index: Index) -> bool:
        """Tell whether this log holds (epoch, index).

        Entries at or below the floor are committed, so they match.
        """
        if index <= self.floor_index:
            return True
        return index <= self.last_index and self.epoch_at(index) == epoch

    def append(self, epoch: Epoch, entry: bytes) -> None:
        """Add one entry at last_index + 1."""
        assert epoch >= self.last_epoch, "epochs never go down along a log"
        self._entries.append(entry)
        self.last_index = Index(self.last_index + 1)
        self.last_epoch = epoch
        self.entry_bytes += len(entry)

    def cut_after(self, index: Index) -> None:
        """Forget every entry above `index`."""
        keep = index - self.floor_index
        assert keep >= 0
        self.entry_bytes -= sum(map(len, self._entries[keep:]))
        del self._entries[keep:]
        self.last_index = index
        self.last_epoch = epoch_of(self._entries[-1]) if self._entries else self.floor_epoch

    def raise_floor(self, index: Index) -> None:
        """Forget every entry up to and including `index`, which becomes the floor."""
        assert self.floor_index <= index <= self.last_index
        drop = index - self.floor_index
        if drop:
            self.floor_epoch = self.epoch_at(index)
            self.floor_time = log_time_of(self[index])
            self.entry_bytes -= sum(map(len, self._entries[:drop]))
            del self._entries[:drop]
            self.floor_index = index

    def slice(self, after: Index, max_entries: int, max_bytes: int) -> list[bytes]:
        """Return entries after `after`: at most `max_entries`, stopping once `max_bytes` are
        passed; one at least."""
        start = after - self.floor_index
        assert start >= 0, "the log no longer reaches back that far"
        found = self._entries[start : start + max_entries]
        total = 0
        for count, entry in enumerate(found, 1):
            total += len(entry)
            if total > max_bytes:
                return found[:count]
        return found


def delete_entries(batch: Batch, partition: PartitionId, first: Index, last: Index) -> None:
    """Delete stored entries, including those put in this batch: it applies its ranges first."""
    begin, end = log_key(partition, first), log_key(partition, Index(last + 1))
    if last - first > len(batch.log):
        for key in [key for key in batch.log if begin <= key < end]:
            del batch.log[key]
    else:
        for gone in range(first, last + 1):
            batch.log.pop(log_key(partition, Index(gone)), None)
    batch.ranges.append((Family.LOG, begin, end))


def stored_entries(reader: Reader, partition: PartitionId, floor: Index) -> list[bytes]:
    """Return the entries above the floor, as a start finds them in the store."""
    end = log_key(PartitionId(partition), Index(2**64 - 1))
    rows = reader.scan(Family.LOG, log_key(partition, Index(floor + 1)), end, 2**31)
    for offset, (key, _) in enumerate(rows):
        assert key == log_key(partition, Index(floor + 1 + offset)), "the stored log has no holes"
    return [entry for _, entry in rows]
