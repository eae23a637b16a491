"""Catching up a replica that the log no longer reaches: the whole applied state of a partition, pulled.

The holder reads under one frozen view; the receiver stages the rows under a new generation, verifies and
syncs them, and switches with one batch. It replaces, never merges: until the switch nothing of it is seen.
"""

import zlib
from dataclasses import dataclass

from ringkeep.core import limits
from ringkeep.core.context import Context, Frozen
from ringkeep.core.keys import PREFIX_BYTES, data_prefix
from ringkeep.core.log import Log
from ringkeep.core.messages import SNAPSHOT_FORMAT, SnapshotChunk, SnapshotOffer, SnapshotPull
from ringkeep.core.replica import Replica
from ringkeep.core.sessions import Sessions
from ringkeep.core.types import Epoch, Index, Millis, NodeId, PartitionId, first_name


def running_checksum(rows: list[tuple[bytes, bytes]], checksum: int) -> int:
    """Return the CRC-32 of all rows so far."""
    for key, value in rows:
        checksum = zlib.crc32(value, zlib.crc32(key, checksum))
    return checksum


@dataclass(slots=True)
class _Sending:
    """One open snapshot on the holder's side, read in order."""

    replica: Replica
    offer: SnapshotOffer
    peer: NodeId
    frozen: Frozen
    begin: bytes
    end: bytes
    last_pull: Millis
    cursor: bytes = b""
    checksum: int = 0
    answered: SnapshotChunk | None = None
    installed: bool = False

    def serves(self, replica: Replica, peer: NodeId, epoch: Epoch) -> bool:
        """Tell whether this is still being pulled by that peer, for that epoch."""
        return (
            not self.installed and self.replica is replica and self.peer == peer and self.offer.epoch == epoch
        )


class Senders:
    """The snapshots that this node hands out."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._wanted: dict[tuple[PartitionId, NodeId], tuple[Replica, Epoch]] = {}
        self._open: dict[int, _Sending] = {}
        self._number = first_name(context.incarnation)
        self.moved: dict[tuple[PartitionId, NodeId], int] = {}

    def want(self, replica: Replica, peer: NodeId, epoch: Epoch) -> None:
        """Offer this replica's state to a peer, as soon as it may be read."""
        for sending in self._open.values():
            if sending.serves(replica, peer, epoch):
                self._context.send(peer, sending.offer)
                return
        self._wanted[replica.partition, peer] = replica, epoch

    def begin_turn(self) -> None:
        """Open what is wanted. Between turns only: then the store holds exactly what was applied."""
        for key, (replica, epoch) in list(self._wanted.items()):
            if sum(not sending.installed for sending in self._open.values()) >= limits.SNAPSHOTS_AT_ONCE:
                return
            del self._wanted[key]
            peer = key[1]
            if peer not in self._context.links or replica.promised.epoch != epoch or replica.deleted:
                continue
            self._number += 1
            applied = replica.applied
            offer = SnapshotOffer(
                replica.partition, epoch, self._number, replica.log.epoch_at(applied), applied,
                replica.log.time_at(applied), replica.state.sessions.encode(),
            )  # fmt: skip
            begin, end = replica.live_range()
            frozen = self._context.reader.snapshot()
            self._open[self._number] = _Sending(replica, offer, peer, frozen, begin, end, self._context.now)
            replica.pins[self._number] = applied
            self._context.count("snapshot_opened")
            self._context.send(peer, offer)

    def on_pull(self, peer: NodeId, message: SnapshotPull) -> bool:
        """Send the rows after the cursor; True when the receiver has installed the snapshot."""
        sending = self._open.get(message.snapshot)
        if sending is None or sending.peer != peer or sending.offer.partition != message.partition:
            if not message.done:
                self._context.send(peer, _gone(message))
            return message.done
        sending.last_pull = self._context.now
        if message.done:
            sending.frozen.close()
            sending.installed = True
            return True
        if message.cursor == sending.cursor:
            self._read_on(sending)
        assert sending.answered is not None
        if sending.answered.cursor == message.cursor:  # the next rows, or the same again after a lost answer
            self._context.send(peer, sending.answered)
        else:
            self._close(message.snapshot)
            self._context.send(peer, _gone(message))
        return False

    def _read_on(self, sending: _Sending) -> None:
        start = sending.begin + sending.cursor + b"\0" if sending.cursor else sending.begin
        rows = sending.frozen.scan(
            start, sending.end, limits.SNAPSHOT_CHUNK_ROWS, limits.SNAPSHOT_CHUNK_BYTES
        )
        bare = [(key[PREFIX_BYTES:], value) for key, value in rows]
        sending.checksum = running_checksum(bare, sending.checksum)
        offer = sending.offer
        sending.answered = SnapshotChunk(
            offer.partition,
            offer.epoch,
            offer.snapshot,
            sending.cursor,
            bare,
            sending.checksum,
            final=not bare,
        )
        if bare:
            sending.cursor = bare[-1][0]

    def on_tick(self) -> None:
        """Close what nobody pulls any more.

        After an installation the log stays pinned for a while, for the first Append.
        """
        for number, sending in list(self._open.items()):
            wait = limits.SUSPECT_AFTER_MS if sending.installed else limits.SNAPSHOT_IDLE_MS
            idle = self._context.now - sending.last_pull > wait
            if idle or sending.peer not in self._context.links:
                self._close(number)

    def _close(self, number: int) -> None:
        sending = self._open.pop(number)
        del sending.replica.pins[number]
        if not sending.installed:
            sending.frozen.close()


def _gone(message: SnapshotPull) -> SnapshotChunk:
    return SnapshotChunk(
        message.partition, message.epoch, message.snapshot, b"", [], 0, final=False, gone=True
    )


class Staging:
    """One snapshot on the receiver's side, until it is switched to or given up."""

    def __init__(self, replica: Replica, peer: NodeId, offer: SnapshotOffer, sessions: Sessions) -> None:
        self.replica = replica
        self.peer = peer
        self.offer = offer
        self.sessions = sessions
        self.generation = replica.next_generation
        self.cursor = b""
        self.checksum = 0
        self.row_bytes = 0  # received: of each row its key, but for (partition, generation), and its value
        self.complete = False
        self.asked: Millis = 0
        replica.next_generation += 1
        replica.store_row()

    def pull(self) -> None:
        """Ask for the rows after the cursor."""
        context, offer = self.replica.context, self.offer
        self.asked = context.now
        context.send(self.peer, SnapshotPull(offer.partition, offer.epoch, offer.snapshot, self.cursor))

    def on_chunk(self, message: SnapshotChunk) -> None:
        """Stage rows; when all are here and durable, switch."""
        replica = self.replica
        if message.snapshot != self.offer.snapshot or self.complete:
            return
        if message.gone:
            replica.context.count("snapshot_gone")
            replica.drop_staging()
            return
        if message.cursor != self.cursor:
            return  # rows that were asked for twice
        self.checksum = running_checksum(message.rows, self.checksum)
        if self.checksum != message.checksum:
            replica.context.alarm(
                f"partition {replica.partition}: a snapshot from {self.peer} fails its checksum"
            )
            replica.drop_staging()
            return
        prefix = data_prefix(replica.partition, self.generation)
        data = replica.context.effects.batch.data
        for key, value in message.rows:
            data[prefix + key] = value
            self.row_bytes += len(key) + len(value)
        if message.final:
            self.complete = True
            replica.context.durable.calls.append(self.switch)
        else:
            self.cursor = message.rows[-1][0]
            self.pull()

    def switch(self) -> None:
        """Make the staged rows the replica's, in one batch, unless it has moved on meanwhile."""
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
        replica.delete_generation(replica.generation)
        if index <= log.last_index and log.matches(offer.last_epoch, index):
            replica.delete_log(Index(log.floor_index + 1), index)
            log.raise_floor(index)
            context.count("snapshot_kept_suffix")
        else:
            replica.delete_log(Index(log.floor_index + 1), log.last_index)
            replica.log = Log(offer.last_epoch, index, offer.log_time, [])
        replica.generation = self.generation
        replica.state.use_generation(self.generation)
        replica.state.sessions = self.sessions
        replica.state.data_bytes = self.row_bytes
        replica.applied = index
        replica.commit = max(replica.commit, index)
        context.unapplied[replica] = None
        replica.matched = max(replica.matched, index)
        replica.store_applied()
        replica.store_row()
        context.count("snapshot_installed")
        if replica.primary is not None:
            replica.primary.on_snapshot()


def on_offer(replica: Replica, peer: NodeId, offer: SnapshotOffer) -> None:
    """Begin to pull an offered snapshot, if it is newer than what is applied and nothing higher is
    promised."""
    if offer.epoch != replica.promised.epoch or offer.last_index <= replica.applied:
        return
    if offer.format != SNAPSHOT_FORMAT:
        replica.context.alarm(
            f"a snapshot of format {offer.format} is offered: this version is too old for it"
        )
        return
    staging = replica.staging
    if staging is not None and staging.offer.snapshot == offer.snapshot and staging.peer == peer:
        if not staging.complete:
            staging.pull()
        return
    try:
        sessions = Sessions.decode(offer.state)
    except ValueError as error:
        replica.context.alarm(f"partition {replica.partition}: a snapshot cannot be read: {error}")
        return
    replica.drop_staging()
    replica.staging = Staging(replica, peer, offer, sessions)
    replica.staging.pull()
