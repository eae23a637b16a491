"""Fills a replica that is empty, or that the log no longer reaches: sends a partition's applied state.

The holder reads under one frozen view, and sends one chunk for each pull: the receiver requests the next one
when it has staged the last. `snapshot_receiver.py` is the other side.
"""

from dataclasses import dataclass
from typing import Final, NamedTuple

from ringkeep.core.context import Context
from ringkeep.core.protocol import limits
from ringkeep.core.protocol.bounds import Bounds
from ringkeep.core.protocol.cluster_map import ClusterMap
from ringkeep.core.protocol.keys import PREFIX_BYTES
from ringkeep.core.protocol.messages import SnapshotChunk, SnapshotOffer, SnapshotPull
from ringkeep.core.protocol.reader import Frozen
from ringkeep.core.protocol.types import Epoch, Millis, NodeId, PartitionId, first_name
from ringkeep.core.replication.replica import Replica
from ringkeep.core.state.snapshot_flow import Pace, TokenBucket, Urgency, running_checksum


class _Place(NamedTuple):
    """A place between two rows: the key before it, and the checksum and the size of all rows up to it."""

    cursor: bytes = b""
    checksum: int = 0
    row_bytes: int = 0


_START: Final = _Place()


@dataclass(slots=True)
class _Sending:
    """One open snapshot on the holder's side, read in key order, a chunk for each pull."""

    replica: Replica
    offer: SnapshotOffer
    peer: NodeId
    frozen: Frozen
    begin: bytes
    end: bytes
    heard: Millis
    staged: _Place = _START  # up to here the receiver has all rows
    sent: _Place = _START  # the end of the chunk that was sent after it
    pulled: bool = False  # the next chunk was requested, and is not sent yet
    takes_more: bool = True  # as the receiver reported last
    installed: bool = False

    def serves(self, replica: Replica, peer: NodeId, epoch: Epoch) -> bool:
        """Return whether that peer still pulls this snapshot, for that epoch."""
        return (
            not self.installed and self.replica is replica and self.peer == peer and self.offer.epoch == epoch
        )

    @property
    def is_outdated(self) -> bool:
        """Whether a higher epoch is followed here: the receiver drops the snapshot as it promises that."""
        return not self.installed and self.replica.promised.epoch != self.offer.epoch

    @property
    def urgency(self) -> Urgency:
        """The urgency of this transfer."""
        return self.replica.urgency_for(self.peer)

    def on_staged(self, cursor: bytes) -> bool:
        """Note how far the receiver is; False if it cannot be there."""
        if cursor == self.sent.cursor:
            self.staged = self.sent
        elif not cursor:
            self.staged = _START  # it has lost what it had, and starts again
        return cursor == self.staged.cursor

    def next_chunk(self, bounds: Bounds) -> SnapshotChunk:
        """Read the next rows, few enough for a short turn, as a chunk."""
        offer, place = self.offer, self.staged
        start = self.begin + place.cursor + b"\0" if place.cursor else self.begin
        rows = [
            (key[PREFIX_BYTES:], value)
            for key, value in self.frozen.scan(
                start, self.end, bounds.snapshot_chunk_rows, bounds.snapshot_chunk_bytes
            )
        ]
        checksum, size = running_checksum(rows, place.checksum)
        if rows:
            self.sent = _Place(rows[-1][0], checksum, place.row_bytes + size)
        self.pulled = False
        return SnapshotChunk(
            offer.partition, offer.epoch, offer.snapshot, place.cursor, rows, checksum, final=not rows
        )


class SnapshotSenders:
    """The snapshots that this node sends.

    `moved`: by partition and peer, how many bytes of rows (keys without their prefix, and values) were sent
    of the newest snapshot; kept when it is over, for as long as the peer is a replica.
    """

    def __init__(self, context: Context, pace: Pace) -> None:
        self._context = context
        self._pace = pace
        self._wanted: dict[tuple[PartitionId, NodeId], tuple[Replica, Epoch]] = {}
        self._open: dict[int, _Sending] = {}  # the next one to be served comes first
        self._number = first_name(context.incarnation)
        self._allowance = TokenBucket()
        self._turn_bytes = 0
        self._looked_at: ClusterMap | None = None
        self.moved: dict[tuple[PartitionId, NodeId], int] = {}

    def want(self, replica: Replica, peer: NodeId, epoch: Epoch) -> None:
        """Offer this replica's state to a peer as soon as the state can be read."""
        for sending in self._open.values():
            if sending.serves(replica, peer, epoch):
                self._context.send_bulk(peer, sending.offer, len(sending.offer.state))
                return
        self._wanted[replica.partition, peer] = replica, epoch

    def begin_turn(self) -> None:
        """Open the snapshots that are wanted, and send on. A snapshot is opened only at the start of a turn,
        when everything applied is written: then the store holds exactly the applied state. One that is
        outdated keeps none of them waiting for its place.
        """
        for number, sending in list(self._open.items()):
            if sending.is_outdated:
                self._close(number)
        for (partition, peer), (replica, epoch) in list(self._wanted.items()):
            urgency = replica.urgency_for(peer)
            if peer not in self._context.links or replica.promised.epoch != epoch or replica.deleted:
                del self._wanted[partition, peer]
            elif not self._is_held(urgency) and self._has_place(urgency):
                if not replica.stored:
                    replica.write_down_from_now()  # and it is opened in the next turn
                    continue
                del self._wanted[partition, peer]
                self._begin(replica, peer, epoch)
        self._turn_bytes = self._context.bounds.snapshot_turn_bytes
        if self._open:
            self._send_on()

    def _has_place(self, urgency: Urgency) -> bool:
        """Return whether one more may be opened: only transfers that are at least as urgent, and not paused,
        count."""
        going = [each.urgency for each in self._open.values() if not each.installed]
        taken = sum(other <= urgency and not self._is_held(other) for other in going)
        return taken < self._context.bounds.snapshots_at_once

    def _begin(self, replica: Replica, peer: NodeId, epoch: Epoch) -> None:
        context = self._context
        self._number += 1
        applied = replica.applied
        offer = SnapshotOffer(
            replica.partition, epoch, self._number, replica.log.epoch_at(applied), applied,
            replica.log.time_at(applied), replica.state.sessions.encode(),
        )  # fmt: skip
        begin, end = replica.live_range()
        frozen = context.reader.snapshot()
        self._open[self._number] = _Sending(replica, offer, peer, frozen, begin, end, heard=context.now)
        replica.pins[self._number] = applied
        self.moved[replica.partition, peer] = 0
        context.count("snapshot_opened")
        context.send_bulk(peer, offer, len(offer.state))

    def on_pull(self, peer: NodeId, message: SnapshotPull) -> bool:
        """Send on after the cursor; True when the receiver has installed the snapshot."""
        sending = self._open.get(message.snapshot)
        if sending is None or sending.peer != peer or sending.offer.partition != message.partition:
            if not message.done:
                self._context.send(peer, _gone(message))
            return message.done
        sending.heard = self._context.now
        before = sending.staged.row_bytes
        if message.done:
            sending.frozen.close()
            sending.installed = True
            sending.pulled = False  # a pull that was repeated may still wait to be answered
            return True
        if not sending.installed and sending.on_staged(message.cursor):
            if sending.sent != sending.staged:
                self._context.count("snapshot_sent_again")  # a chunk was lost, or is late
            sending.pulled = sending.takes_more = message.room > 0
            primary = sending.replica.primary
            if primary is not None and sending.staged.row_bytes > before:
                primary.on_transfer()
            self._send_on()
        else:
            self._close(message.snapshot)
            self._context.send(peer, _gone(message))
        return False

    def _send_on(self) -> None:
        """Send the chunks that may be sent at present, the most urgent ones first. The rate does not limit a
        takeover.
        """
        context, rate = self._context, self._pace.bytes_per_s
        pulled = [each for each in self._open.values() if each.pulled and not self._is_held(each.urgency)]
        for sending in sorted(pulled, key=lambda each: each.urgency):
            urgent = sending.urgency == Urgency.TAKEOVER
            if not (urgent or self._allowance.allows(context.now, rate)):
                return
            if self._turn_bytes <= 0:
                context.effects.again = True  # continue in the next turn, at once
                return
            if not context.takes_bulk(sending.peer):
                continue
            number = sending.offer.snapshot
            self._open[number] = self._open.pop(number)  # to the end of the queue
            chunk = sending.next_chunk(context.bounds)
            size = sending.sent.row_bytes - sending.staged.row_bytes
            context.send_bulk(sending.peer, chunk, size)
            self._turn_bytes -= size
            if not urgent:
                self._allowance.spend(size, rate)
            self.moved[sending.offer.partition, sending.peer] = sending.sent.row_bytes

    def _is_held(self, urgency: Urgency) -> bool:
        """Return whether transfers of this urgency are paused, as moves may be."""
        return urgency == Urgency.MOVE and self._pace.paused

    def on_tick(self) -> None:
        """Close snapshots that are complete, that nobody pulls any more, or that wait at the cost of clients.
        An open snapshot pins the log, and past a bound the partition refuses writes. That is accepted for a
        transfer that makes progress, not for one that waits.
        """
        for number, sending in list(self._open.items()):
            wait = limits.SUSPECT_AFTER_MS if sending.installed else limits.SNAPSHOT_IDLE_MS
            done = sending.installed and self._has_caught_up(number, sending)
            silent = self._context.now - sending.heard
            # Not before the receiver can have answered: otherwise every attempt would end as it opens.
            stands = not sending.takes_more or silent > 2 * limits.SUSPECT_AFTER_MS
            waits = not sending.installed and (stands or self._is_held(sending.urgency))
            if done or silent > wait:
                self._close(number)
            elif waits and sending.replica.log.entry_bytes > self._context.bounds.pinned_log_bytes // 2:
                self._context.count("snapshot_given_up")
                self._close(number)
        self._forget_moved()

    def _has_caught_up(self, number: int, sending: _Sending) -> bool:
        """Return whether, after the installation, the receiver has the log that was pinned for it. The pin
        follows the receiver for as long as it makes progress: otherwise the log would be cut before it, and
        the transfer would start again.
        """
        replica = sending.replica
        primary = replica.primary
        if primary is None or sending.peer not in primary.peers:
            return False
        match = primary.durable_at(sending.peer)
        if match > replica.pins[number]:
            replica.pins[number] = match
            sending.heard = self._context.now
        return match >= replica.applied

    def _forget_moved(self) -> None:
        cluster_map = self._context.cluster_map
        if cluster_map is not None and cluster_map is not self._looked_at:
            self._looked_at = cluster_map
            gone = [name for name in self.moved if name[1] not in cluster_map.partitions[name[0]].replicas]
            for name in gone:
                del self.moved[name]

    def _close(self, number: int) -> None:
        sending = self._open.pop(number)
        del sending.replica.pins[number]
        if not sending.installed:
            sending.frozen.close()


def _gone(message: SnapshotPull) -> SnapshotChunk:
    return SnapshotChunk(
        message.partition, message.epoch, message.snapshot, b"", [], 0, final=False, gone=True
    )
