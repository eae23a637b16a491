"""The verdict on what readers of changes were told, with the committed log as the witness: along a chain of
bookmarks each change once, in order, none left out and none invented.
"""

from collections.abc import Mapping

from ringkeep.core.protocol.change import ChangeKind
from ringkeep.core.protocol.entry import Entry, EntryKind, decode
from ringkeep.core.protocol.feed import NOW, Event, EventKind
from ringkeep.core.protocol.types import Index, Millis, PartitionId
from ringkeep.sim.checks.committed_log import CommittedLog
from ringkeep.sim.checks.effects import effective
from ringkeep.sim.feeds.connection import Connection
from ringkeep.sim.feeds.readers import Reader, Readers
from ringkeep.sim.world.world import World

_KINDS = {
    ChangeKind.PUT: EventKind.PUT, ChangeKind.DELETE: EventKind.DELETE, ChangeKind.TOUCH: EventKind.TOUCH,
    ChangeKind.EXPIRE: EventKind.EXPIRE,
}  # fmt: skip


def judge_readers(world: World, logs: Mapping[PartitionId, CommittedLog], readers: Readers) -> None:
    """Raise AssertionError unless the logs explain all that was told."""
    wanted = {partition: _events_of(partition, log) for partition, log in logs.items()}
    for reader in readers.all:
        for number, connection in enumerate(reader.connections):
            name = f"{reader.name}, connection {number} through {connection.node.name}"
            _Judge(name, reader, connection, logs, wanted).judge()
    copies = sum(len(log.entries) - len(list(effective(log))) for log in logs.values())
    world.count("feed_skipped_duplicate", copies)


class _Judge:
    """One connection against the logs."""

    def __init__(
        self, name: str, reader: Reader, connection: Connection, logs: Mapping[PartitionId, CommittedLog],
        wanted: Mapping[PartitionId, Mapping[Index, list[Event]]],
    ) -> None:  # fmt: skip
        self._name = name
        self._reader = reader
        self._connection = connection
        self._logs = logs
        self._wanted = wanted
        self._last: dict[PartitionId, Index] = {}
        self._told: dict[PartitionId, list[Event]] = {}

    def judge(self) -> None:
        """Look at every group of events, every bookmark, and the end."""
        connection = self._connection
        marks = list(connection.bookmarks)
        before = connection.begin
        for number in range(len(connection.told) + 1):
            while marks and marks[0].told == number:
                mark = marks.pop(0)
                self._require(len(mark.positions) == len(self._logs), "a bookmark leaves out a partition")
                self._at_bookmark(before, mark.positions)
                before = mark.positions
            if number < len(connection.told):
                self._group(*connection.told[number])
        if connection.lost is not None:
            self._at_end(connection.positions or {})

    def _group(self, stamp: int, events: list[Event]) -> None:
        """What is told was committed before, comes in order, and whole entries at once."""
        versions: dict[tuple[PartitionId, Index], list[Event]] = {}
        for event in events:
            versions.setdefault((event.partition, event.version), []).append(event)
        for (partition, version), told in versions.items():
            begin = (self._connection.begin or {}).get(partition, NOW)
            last = self._last.get(partition, begin)
            self._require(version > last, f"{partition}: {version} is told after {last}")
            self._last[partition] = version
            log = self._logs[partition]
            self._require(
                version in log.gone or log.since.get(version, stamp + 1) <= stamp,
                f"{partition}: {version} is told before it is committed",
            )
            wanted = self._of_reader(_one(partition, log, self._wanted[partition], version))
            self._require(told == wanted, f"{partition}: told {told}, not {wanted}")
            self._told.setdefault(partition, []).extend(told)

    def _of_reader(self, events: list[Event]) -> list[Event]:
        """Return what a reader is told of these."""
        mine = [event for event in events if event.key.startswith(self._reader.prefix)]
        if self._reader.values:
            return mine
        return [event._replace(content_type=b"", value=b"") for event in mine]

    def _at_bookmark(
        self, before: Mapping[PartitionId, Index] | None, positions: Mapping[PartitionId, Index]
    ) -> None:
        """All since the last bookmark has been told, and nothing beyond this one."""
        for partition, position in positions.items():
            log, told = self._logs[partition], self._told.pop(partition, [])
            if before is not None:
                begin = before[partition]
                self._require(position >= begin, f"{partition}: a bookmark goes back to {position}")
            else:
                acknowledged = [i for i, until in log.until.items() if until[0] < self._connection.start]
                known = max(acknowledged, default=0)
                self._require(position >= known, f"{partition}: begins at {position}, before {known}")
                begin = Index(told[0].version - 1) if told else position
            if any(begin < index <= position for index in log.gone):
                continue  # lost since: the feed ends when it meets that
            wanted = [
                event
                for index, events in self._wanted[partition].items()
                if begin < index <= position
                for event in self._of_reader(events)
            ]
            self._require(
                told == wanted, f"{partition}: from {begin} to {position} told {told}, not {wanted}"
            )

    def _at_end(self, positions: Mapping[PartitionId, Index]) -> None:
        """The feed was gone only where nobody could tell what follows."""
        lost = self._connection.lost
        assert lost is not None
        for partition in lost.partitions:
            last = max(positions.get(partition, NOW), self._last.get(partition, NOW))
            able = {name: begin for name, begin in lost.reach[partition].items() if begin <= last}
            self._require(not able, f"{partition}: gone after {last}, and {able} could tell")

    def _require(self, holds: bool, what: str) -> None:
        assert holds, f"{self._name}: feed: {what}"


# --- the log as events --------------------------------------------------------------------------------


def _events_of(partition: PartitionId, log: CommittedLog) -> dict[Index, list[Event]]:
    """Return what each entry of a log changes, those that changed nothing left out."""
    found = {Index(entry.index): _changes(partition, entry) for entry in effective(log)}
    return {index: events for index, events in found.items() if events}


def _one(
    partition: PartitionId, log: CommittedLog, wanted: Mapping[Index, list[Event]], index: Index
) -> list[Event]:
    """Return what the entry at an index changed, even if it was lost since."""
    if index in log.gone:
        return _changes(partition, decode(log.gone[index]))
    return wanted.get(index, [])


def _changes(partition: PartitionId, entry: Entry) -> list[Event]:
    index = Index(entry.index)
    if entry.kind == EntryKind.PUT:
        return [_event(partition, index, EventKind.PUT, entry.key, entry.tail, 0)]
    if entry.kind == EntryKind.DELETE:
        return [_event(partition, index, EventKind.DELETE, entry.key, b"", 0)]
    if entry.kind != EntryKind.CHANGES:
        return []
    return [
        _event(
            partition, index, _KINDS[ChangeKind(change.kind)], change.key,
            change.tail if change.kind == ChangeKind.PUT else b"",
            max(change.deadline - entry.log_time, 1) if change.deadline else 0,
        )
        for change in entry.changes
    ]  # fmt: skip


def _event(
    partition: PartitionId, index: Index, kind: EventKind, key: bytes, tail: bytes, ttl: Millis
) -> Event:  # fmt: skip
    content_type, value = (tail[1 : 1 + tail[0]], tail[1 + tail[0] :]) if tail else (b"", b"")
    return Event(partition, index, kind, key, content_type, value, ttl)
