"""Scans: the slices that this node's primaries read for listings, merged over the partitions asked for.

Every partition is confirmed as for a read, after the scan has come; from then on what is read there can only
be newer. A node reads so many rows in a turn, over all scans, and continues in the next: small requests do
not wait. Where a record has come due, the log is told the time first, with an empty entry: once that is
committed, whoever reads later sees the record gone as well.
"""

from collections import deque
from collections.abc import Callable, Mapping
from typing import Final

from ringkeep.core.context import Context
from ringkeep.core.protocol import limits
from ringkeep.core.protocol.entry import EntryKind
from ringkeep.core.protocol.messages import Scan, Scanned, Wanted
from ringkeep.core.protocol.record import deadline_of, is_parted, read_record, version_of
from ringkeep.core.protocol.types import Index, Life, Millis, PartitionId
from ringkeep.core.replication.primary import Primary
from ringkeep.core.requests.confirmed_reads import ConfirmedReads
from ringkeep.core.requests.merge import END, Row, Source, first_of, merged, share_of

COUNTED: Final = 500  # the same, where keys are counted


class _Slice(Source):
    """What a scan has read of one partition. `ready`: it is confirmed. `count`: of keys that were not
    kept. `index`: what was applied when it was confirmed."""

    __slots__ = ("count", "index", "primary", "ready")

    def __init__(self, primary: Primary, position: bytes) -> None:
        super().__init__(position)
        self.primary = primary
        self.ready = False
        self.index = Index(0)
        self.count = 0

    def read(self, end: bytes, most: int, most_bytes: int, wanted: int) -> int:
        """Read on, `most` rows at most, some `most_bytes`; return how many were read."""
        primary, state = self.primary, self.primary.replica.state
        assert self.position != END
        found, until = state.records_between(self.position, end, most, most_bytes)
        time, now = primary.replica.applied_time, primary.clock.unconfirmed(primary.context.now)
        alive: list[Row] = []
        for key, record in found:
            deadline = deadline_of(record)
            if not deadline:
                ttl = 0
            elif deadline > time:
                ttl = max(deadline - now, 1)
            else:
                continue
            if wanted == Wanted.VALUES:
                version, content_type, value = read_record(record)
                alive.append((key, version, ttl, content_type, value, is_parted(record)))
            else:
                alive.append((key, version_of(record), ttl, b"", b"", False))
        if wanted == Wanted.COUNT:
            self.count += len(alive)
        else:
            self.rows += alive
        self.position = until or END
        return len(found)


class _Running:
    """A scan under way. `refused`: the partitions that this node does not lead."""

    __slots__ = ("caller", "deadline", "message", "refused", "slices")

    def __init__(self, caller: Life, message: Scan, deadline: Millis) -> None:
        self.caller = caller
        self.message = message
        self.deadline = deadline
        self.slices: dict[PartitionId, _Slice] = {}
        self.refused: list[PartitionId] = []

    @property
    def ready(self) -> bool:
        """Whether every partition is confirmed or refused."""
        return all(each.ready for each in self.slices.values())

    def refuse(self, partition: PartitionId) -> None:
        """The node does not lead this partition any more: what was read of it is not told."""
        if self.slices.pop(partition, None) is not None:
            self.refused.append(partition)


class SliceRead:
    """One partition's part of a scan, while it waits to be confirmed."""

    __slots__ = ("_partition", "_running", "_scans", "deadline")

    def __init__(self, scans: "Scans", running: _Running, partition: PartitionId) -> None:
        self._scans = scans
        self._running = running
        self._partition = partition
        self.deadline = running.deadline

    def confirmed(self) -> None:
        """The partition may be read."""
        part = self._running.slices.get(self._partition)
        if part is not None:
            part.ready = True
            part.index = part.primary.replica.applied
            self._scans.go_on(self._running)

    def refused(self) -> None:
        """It may not: the primary is none any more, or was not confirmed in time."""
        self._running.refuse(self._partition)
        self._scans.go_on(self._running)


class Scans:
    """All scans of this node's primaries."""

    def __init__(
        self, context: Context, primaries: Mapping[PartitionId, Primary], reads: ConfirmedReads,
        to_self: Callable[[Scanned], None],
    ) -> None:  # fmt: skip
        """`to_self`: takes the answers to what this node has asked itself."""
        self._context = context
        self._to_self = to_self
        self._primaries = primaries
        self._reads = reads
        self._running: dict[_Running, None] = {}
        self._turn: deque[_Running] = deque()  # confirmed, and not read to their end
        self._rows_left = 0

    def on_scan(self, caller: Life, message: Scan) -> None:
        """Read what is asked for; the answer names the partitions that cannot be read here."""
        running = _Running(caller, message, self._context.now + message.remaining_ms)
        full = len(self._running) >= self._context.bounds.scans_at_once
        self._running[running] = None
        waiting: list[tuple[Primary, SliceRead, Index]] = []
        for at in range(0, len(message.partitions), 2):
            partition = PartitionId(message.partitions[at])
            primary = self._primaries.get(partition)
            led = primary is not None and primary.epoch == message.partitions[at + 1] and primary.may_execute
            if primary is None or not led or full:
                running.refused.append(partition)
                continue
            running.slices[partition] = _Slice(primary, message.begin)
            waiting.append((primary, SliceRead(self, running, partition), _told_time(primary)))
        for primary, read, evidence in waiting:
            self._reads.add_slice(primary, read, evidence)
        if not waiting:
            self.go_on(running)

    def go_on(self, running: _Running) -> None:
        """Read on if all of it is confirmed, in this turn or a later one."""
        if running.ready and running in self._running and running not in self._turn:
            self._turn.append(running)
            self._context.effects.again = True

    def begin_turn(self) -> None:
        """Read on, each scan a little, until this turn has read enough."""
        self._rows_left = self._context.bounds.scan_turn_rows
        while self._turn and self._rows_left > 0:
            running = self._turn.popleft()
            if running not in self._running:
                continue  # its time was over before its turn came: a tick has forgotten it
            if self._step(running):
                del self._running[running]
            else:
                self._turn.append(running)
        if self._turn:
            self._context.effects.again = True

    def _step(self, running: _Running) -> bool:
        """Read on in the partitions that are furthest behind; return whether the scan has ended."""
        message = running.message
        if self._context.now >= running.deadline:
            return True  # nobody waits for it any more
        for partition, part in list(running.slices.items()):
            if not (part.primary.may_execute and part.primary.replica.readable):
                running.refuse(partition)
        slices = running.slices.values()
        if message.wanted == Wanted.POSITIONS:
            self._answer(running, [], END)
            return True
        counting = message.wanted == Wanted.COUNT
        share = COUNTED if counting else share_of(message.limit, len(slices))
        share_bytes = self._context.bounds.page_bytes * 2 // max(len(slices), 1) + limits.BULK_BYTES
        while True:
            rows, until = merged(slices)
            full = 0 if counting else first_of(rows, message.limit, self._context.bounds.page_bytes)
            if until == END or full:
                if 0 < full < len(rows):
                    rows, until = rows[:full], rows[full][0]
                self._answer(running, rows, until)
                return True
            behind = [each for each in slices if each.position == until]
            for each in behind:
                if self._rows_left <= 0:
                    return False
                most = min(share, self._rows_left)
                self._rows_left -= each.read(message.end, most, share_bytes, message.wanted) + 1

    def _answer(self, running: _Running, rows: list[Row], until: bytes) -> None:
        message = running.message
        positions: list[int] = []
        if message.wanted == Wanted.POSITIONS:
            for partition, part in running.slices.items():
                positions += (partition, part.index)
        values = message.wanted == Wanted.VALUES
        answer = Scanned(
            message.tag, until if until != END else b"", running.refused,
            len(rows) + sum([each.count for each in running.slices.values()]),
            [row[0] for row in rows], [row[1] for row in rows], [row[2] for row in rows],
            [row[3] for row in rows] if values else [], [row[4] for row in rows] if values else [],
            [at for at, row in enumerate(rows) if row[5]] if values else [], positions,
        )  # fmt: skip
        peer, life = running.caller
        if peer == self._context.me:
            self._to_self(answer)
        elif self._context.links.get(peer) == life:
            self._context.send_sized(peer, answer, sum([len(row[4]) for row in rows]))

    def on_tick(self) -> None:
        """Forget scans for which nobody waits any more."""
        now = self._context.now
        for running in [each for each in self._running if now >= each.deadline]:
            del self._running[running]


def _told_time(primary: Primary) -> Index:
    """Let the log of a partition tell the time if a record is due that a scan would show otherwise; return
    what must be committed. What was due at the time that is told already waits for its removal, unseen.
    """
    state, log, now = primary.replica.state, primary.replica.log, primary.log_time
    if state.soonest > now or not state.is_due_between(primary.replica.applied_time, now):
        return Index(0)
    if state.is_due_between(log.last_time, now):
        return primary.append_own(EntryKind.NOOP)
    return log.last_index
