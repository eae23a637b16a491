"""Fills a replica that is empty, or that the log no longer reaches: receives the state of a partition.

The rows are staged under a new generation, verified and synced; then one batch switches to them. A snapshot
replaces the state and is never merged with it; before the switch none of it is visible. How the rows are sent
is in `snapshot_sender.py`.
"""

from functools import partial

from ringkeep.core.context import Context
from ringkeep.core.disk_state import DiskState
from ringkeep.core.protocol import limits
from ringkeep.core.protocol.keys import data_prefix
from ringkeep.core.protocol.messages import SNAPSHOT_FORMAT, SnapshotChunk, SnapshotOffer, SnapshotPull
from ringkeep.core.protocol.types import Index, Millis, NodeId, PartitionId
from ringkeep.core.replication.replica import Replica
from ringkeep.core.state.deduplication import Sessions
from ringkeep.core.state.log import Log
from ringkeep.core.state.snapshot_flow import StagingBudget, running_checksum


class Staging:
    """One snapshot on the receiver's side, until it is switched to or given up."""

    def __init__(
        self, receivers: "SnapshotReceivers", replica: Replica, peer: NodeId, offer: SnapshotOffer,
        sessions: Sessions,
    ) -> None:  # fmt: skip
        self._receivers = receivers
        self.replica = replica
        self.peer = peer
        self.offer = offer
        self.sessions = sessions
        self.generation = replica.next_generation
        self.prefix = data_prefix(replica.partition, self.generation)
        self.cursor = b""
        self.checksum = 0
        self.row_bytes = 0  # received: of each row the key without (partition, generation), and the value
        self.complete = False
        self.awaits = False  # the rows after the cursor are requested
        self.heard: Millis = replica.context.now
        self.asked: Millis = 0
        replica.next_generation += 1
        replica.store_row()

    def pull(self) -> None:
        """Report how far the rows have arrived, and request the next ones unless the disk cannot take
        them."""
        context, offer = self.replica.context, self.offer
        self.awaits = self._receivers.takes_more
        self.asked = context.now
        room = int(self.awaits)
        context.send(self.peer, SnapshotPull(offer.partition, offer.epoch, offer.snapshot, self.cursor, room))

    def request_next(self) -> None:
        """Request the next rows, unless they are requested already or the disk cannot take them."""
        if not self.awaits and not self.complete and self._receivers.takes_more:
            self.pull()

    def on_tick(self) -> None:
        """Pull again if nothing has come for a while; give up after SNAPSHOT_IDLE_MS of silence."""
        context = self.replica.context
        if self.complete:
            return
        if self.peer not in context.links:
            if context.now - self.heard > limits.SNAPSHOT_IDLE_MS:
                self.replica.drop_staging()
        elif context.now - self.asked >= limits.SUSPECT_AFTER_MS:
            self.pull()
        else:
            self.request_next()

    def on_chunk(self, message: SnapshotChunk) -> None:
        """Stage rows; when all are here and durable, switch."""
        replica = self.replica
        context = replica.context
        if message.snapshot != self.offer.snapshot or self.complete:
            return
        self.heard = context.now
        if message.gone:
            context.count("snapshot_gone")
            replica.drop_staging()
            return
        if message.cursor != self.cursor:
            return  # sent twice, or behind rows that were lost
        self.checksum, size = running_checksum(message.rows, self.checksum)
        if self.checksum != message.checksum:
            context.alarm(f"partition {replica.partition}: a snapshot from {self.peer} fails its checksum")
            replica.drop_staging()
            return
        if message.final:
            self.complete = True
            # Only once the use of this generation is durable: rows that the store took over stay, even if the
            # power fails before the switch is durable, and must be found and deleted then.
            context.durable.calls.append(self.switch)
            return
        self.row_bytes += size
        if replica.primary is not None:
            replica.primary.on_transfer()
        context.effects.batch.staged.setdefault(self.prefix, []).append(message.rows)
        self.cursor = message.rows[-1][0]
        self._receivers.on_staged(size)
        self.awaits = False
        self.request_next()

    def switch(self) -> None:
        """Switch the replica to the staged rows, in one batch, unless its log has moved on meanwhile."""
        replica, offer, context = self.replica, self.offer, self.replica.context
        if replica.staging is not self:
            return
        index = offer.last_index
        context.send(self.peer, SnapshotPull(offer.partition, offer.epoch, offer.snapshot, b"", done=True))
        if index <= replica.applied:
            replica.drop_staging()
            return
        replica.staging = None
        log = replica.log
        replica.end_history(index)
        replica.delete_generation(replica.generation)
        if self.row_bytes:
            context.effects.batch.taken.append(self.prefix)
        if index <= log.last_index and log.matches(offer.last_epoch, index):
            replica.delete_log(Index(log.floor_index + 1), index)
            log.raise_floor(index)
            context.count("snapshot_kept_suffix")
        else:
            replica.delete_log(Index(log.floor_index + 1), log.last_index)
            replica.log = Log(offer.last_epoch, index, offer.log_time, [])
        replica.generation = self.generation
        replica.swapped_in = context.turn
        replica.state.use_generation(self.generation)
        replica.state.sessions = self.sessions
        replica.state.data_bytes = self.row_bytes
        replica.applied = index
        replica.commit = max(replica.commit, index)
        context.unapplied[replica] = None
        replica.matched = max(replica.matched, index)
        replica.write_down()
        replica.store_row()
        context.count("snapshot_installed")
        if replica.primary is not None:
            replica.primary.on_snapshot()


class SnapshotReceivers:
    """The snapshots that this node receives."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._budget = StagingBudget(context.bounds)
        self._open: dict[PartitionId, Staging] = {}  # includes ended ones, which their replica has dropped

    def on_offer(self, replica: Replica, peer: NodeId, offer: SnapshotOffer) -> None:
        """Begin to pull an offered snapshot, if it is newer than what is applied and nothing higher is
        promised."""
        context = self._context
        if offer.epoch != replica.promised.epoch or offer.last_index <= replica.applied:
            return
        if offer.format != SNAPSHOT_FORMAT:
            context.alarm(f"a snapshot of format {offer.format} is offered: this version is too old for it")
            return
        staging = self._staging(replica)
        if staging is not None and staging.offer.snapshot == offer.snapshot and staging.peer == peer:
            if not staging.complete:
                staging.pull()
            return
        try:
            sessions = Sessions.decode(offer.state)
        except ValueError as error:
            context.alarm(f"partition {replica.partition}: a snapshot cannot be read: {error}")
            return
        replica.drop_staging()
        staging = Staging(self, replica, peer, offer, sessions)
        replica.staging = self._open[replica.partition] = staging
        staging.pull()

    def on_chunk(self, replica: Replica, peer: NodeId, message: SnapshotChunk) -> None:
        """Stage rows, if they belong to the snapshot that is being received."""
        staging = self._staging(replica)
        if staging is not None and staging.peer == peer:
            staging.on_chunk(message)

    def on_tick(self) -> None:
        """Continue with those that wait; give all of them up while the disk takes nothing."""
        for partition, staging in list(self._open.items()):
            if staging.replica.staging is not staging:
                del self._open[partition]
            elif self._context.disks.own.state == DiskState.SPENT:
                staging.replica.drop_staging()
            else:
                staging.on_tick()

    @property
    def takes_more(self) -> bool:
        """Whether the disk has room, and keeps up with what was staged."""
        return self._budget.has_room and self._context.disks.own.takes_replicas

    def on_staged(self, size: int) -> None:
        """Count staged bytes; a sync every few MiB makes them durable, and lets waiting snapshots
        continue."""
        due = self._budget.add(size)
        if due:
            self._context.durable.calls.append(partial(self._on_durable, due))

    def _on_durable(self, size: int) -> None:
        self._budget.on_durable(size)
        me = self._context.me
        for staging in sorted(self._open.values(), key=lambda each: each.replica.urgency_for(me)):
            if staging.replica.staging is staging:
                staging.request_next()

    def _staging(self, replica: Replica) -> Staging | None:
        staging = self._open.get(replica.partition)
        return staging if staging is not None and replica.staging is staging else None
