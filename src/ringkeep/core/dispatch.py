"""Passes each message to the part that handles it: one method per message, found by its type."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any, Final, Protocol

from ringkeep.core.context import Context
from ringkeep.core.control.controller import Controller
from ringkeep.core.control.copy_survey import CopySurvey
from ringkeep.core.liveness.failure_detector import Detector
from ringkeep.core.liveness.heartbeat_relay import Relay
from ringkeep.core.protocol import hot_messages as hot
from ringkeep.core.protocol import limits
from ringkeep.core.protocol import messages as m
from ringkeep.core.protocol.types import Epoch, Incarnation, Life, MapVersion, NodeId
from ringkeep.core.replication.replica_set import ReplicaSet
from ringkeep.core.requests.confirmed_reads import ConfirmedReads
from ringkeep.core.requests.coordinator import Coordinator
from ringkeep.core.requests.feeds import Feeds
from ringkeep.core.requests.followers import Followers
from ringkeep.core.requests.grouped_reads import GroupedReads
from ringkeep.core.requests.listings import Listings
from ringkeep.core.requests.stale_reads import StaleReads
from ringkeep.core.snapshots.snapshot_receiver import SnapshotReceivers
from ringkeep.core.snapshots.snapshot_sender import SnapshotSenders

Handler = Callable[[NodeId, Incarnation, Any], None]

_OF_THEMSELVES: Final = (m.Heartbeat, m.Relayed, m.MapPush, m.Copies)
"""What nodes say before the map names their life."""


class Receiving(Protocol):
    """The node that messages are delivered to: its parts, and what concerns it as a whole."""

    context: Context
    detector: Detector
    relay: Relay
    replica_set: ReplicaSet
    coordinator: Coordinator
    listings: Listings
    groups: GroupedReads
    feeds: Feeds
    followers: Followers
    reads: ConfirmedReads
    stale: StaleReads
    senders: SnapshotSenders
    receivers: SnapshotReceivers
    copies: CopySurvey
    controller: Controller

    def on_forward(self, caller: Life, message: hot.Forward) -> None:
        """A coordinator sends a request to this node as its primary."""

    def on_question(self, caller: Life, message: m.ReadMany) -> None:
        """A coordinator reads many keys of what this node leads."""

    def on_scan(self, caller: Life, message: m.Scan) -> None:
        """A coordinator reads slices of what this node leads."""

    def on_report(self, report: m.Report) -> None:
        """A primary makes a statement to the controller."""

    def on_sizes(self, message: m.Sizes) -> None:
        """A primary tells how large its partitions are."""

    def on_loss(self, message: m.Lost) -> None:
        """A primary that lives remembers more of this node than there is."""

    def on_answers_lost(self, peer: NodeId) -> None:
        """Answers of a peer may be lost."""

    def push_map_if_older(self, peer: NodeId, version: MapVersion) -> None:
        """Pass the map on to a peer whose heartbeat shows an older one."""

    def take_map(self, payload: bytes) -> bool:
        """Take over a newer map."""


class Dispatch:
    """Delivers messages to one node's parts. Only an undamaged replica answers Promise, Ack, Confirmed.

    What a disk could not make durable in a bearable time is not taken in: it is lost, as with a link.
    """

    def __init__(self, node: Receiving) -> None:
        self._node = node
        self._context = node.context
        self._detector = node.detector
        self._replicas = node.replica_set.replicas
        self._primaries = node.replica_set.primaries
        self._handlers: dict[type, Handler] = {
            hot.Append: self._append,
            hot.Acks: self._acks,
            hot.Commits: self._commits,
            hot.Clocks: self._clocks,
            hot.Confirm: self._confirm,
            hot.Confirmed: self._confirmed,
            hot.Forward: self._forward,
            hot.Reply: self._reply,
            m.StaleRead: self._stale_read,
            m.Scan: self._scan,
            m.Scanned: self._scanned,
            m.ReadMany: self._read_many,
            m.Records: self._records,
            m.Follow: self._follow,
            m.Changes: self._changes,
            m.Prepare: self._prepare,
            m.Promise: self._promise,
            m.Refuse: self._refuse,
            m.Lost: self._lost,
            m.Fetch: self._fetch,
            m.Entries: self._entries,
            m.SnapshotOffer: self._offer,
            m.SnapshotPull: self._pull,
            m.SnapshotChunk: self._chunk,
            m.Heartbeat: self._heartbeat,
            m.Relayed: self._relayed,
            m.Report: self._report,
            m.Sizes: self._sizes,
            m.Copies: self._copies,
            m.Surplus: self._surplus,
            m.Release: self._release,
            m.MapPush: self._map,
        }

    def deliver(self, peer: NodeId, incarnation: Incarnation, messages: list[m.Message]) -> None:
        """Hand one frame's messages over, in order.

        Until the map names this life, nodes talk of themselves only.
        """
        context = self._context
        self._detector.hear(peer, context.now)
        for message in messages:
            kind = type(message)
            if context.recognised or kind in _OF_THEMSELVES:
                self._handlers[kind](peer, incarnation, message)

    def _append(self, peer: NodeId, incarnation: Incarnation, message: hot.Append) -> None:
        replica = self._replicas.get(message.partition)
        context = self._context
        if replica is None or context.damaged:
            return
        if context.disks.own.takes_entries:
            replica.on_append(peer, incarnation, message)
        else:
            self._node.replica_set.missed[message.partition] = None

    def _acks(self, peer: NodeId, life: Incarnation, message: hot.Acks) -> None:
        items, primaries = message.items, self._primaries
        for at in range(0, len(items), 3):
            primary = primaries.get(items[at])  # type: ignore[call-overload]  # flat list of plain ints
            if primary is not None and primary.epoch == items[at + 1]:
                primary.on_ack(peer, life, items[at + 2])

    def _commits(self, peer: NodeId, _: Incarnation, message: hot.Commits) -> None:
        items, replicas = message.items, self._replicas
        for at in range(0, len(items), 3):
            replica = replicas.get(items[at])  # type: ignore[call-overload]  # flat list of plain ints
            if replica is not None and (replica.promised.epoch, replica.promised.node) == (
                items[at + 1],
                peer,
            ):
                replica.learn_commit(items[at + 2])
                replica.apply_late()
                if message.probe:
                    self._node.stale.on_confirmed(replica, items[at + 2], message.probe)

    def _clocks(self, peer: NodeId, _: Incarnation, message: hot.Clocks) -> None:
        items, replicas = message.items, self._replicas
        for at in range(0, len(items), 3):
            replica = replicas.get(items[at])  # type: ignore[call-overload]  # flat list of plain ints
            if replica is not None and replica.promised[:2] == (items[at + 1], peer):
                replica.learn_clock(Epoch(items[at + 1]), items[at + 2])

    def _confirm(self, peer: NodeId, incarnation: Incarnation, message: hot.Confirm) -> None:
        if self._context.damaged:
            return
        items, replicas = message.items, self._replicas
        echoed: list[int] = []
        for at in range(0, len(items), 2):
            replica = replicas.get(items[at])  # type: ignore[call-overload]  # flat list of plain ints
            if replica is not None and replica.promised.epoch <= items[at + 1]:
                echoed += items[at : at + 2]
        if echoed:
            self._context.send(peer, hot.Confirmed(message.round, echoed))

    def _confirmed(self, peer: NodeId, _: Incarnation, message: hot.Confirmed) -> None:
        self._node.reads.on_confirmed(peer, message)

    def _forward(self, peer: NodeId, incarnation: Incarnation, message: hot.Forward) -> None:
        self._node.on_forward((peer, incarnation), message)

    def _reply(self, _: NodeId, __: Incarnation, message: hot.Reply) -> None:
        self._node.coordinator.on_reply(message)

    def _stale_read(self, peer: NodeId, incarnation: Incarnation, message: m.StaleRead) -> None:
        self._node.stale.on_read((peer, incarnation), message)

    def _scan(self, peer: NodeId, incarnation: Incarnation, message: m.Scan) -> None:
        self._node.on_scan((peer, incarnation), message)

    def _scanned(self, _: NodeId, __: Incarnation, message: m.Scanned) -> None:
        self._node.listings.on_scanned(message)

    def _read_many(self, peer: NodeId, incarnation: Incarnation, message: m.ReadMany) -> None:
        self._node.on_question((peer, incarnation), message)

    def _records(self, _: NodeId, __: Incarnation, message: m.Records) -> None:
        self._node.groups.on_records(message)

    def _report(self, _: NodeId, __: Incarnation, message: m.Report) -> None:
        self._node.on_report(m.Report(message.statements, message.orders, message.hops + 1))

    def _sizes(self, _: NodeId, __: Incarnation, message: m.Sizes) -> None:
        self._node.on_sizes(message)

    def _copies(self, peer: NodeId, _: Incarnation, message: m.Copies) -> None:
        self._node.copies.on_copies(peer, message)

    def _follow(self, peer: NodeId, incarnation: Incarnation, message: m.Follow) -> None:
        self._node.followers.on_follow((peer, incarnation), message)

    def _changes(self, peer: NodeId, _: Incarnation, message: m.Changes) -> None:
        self._node.feeds.on_changes(peer, message)

    def _prepare(self, peer: NodeId, incarnation: Incarnation, message: m.Prepare) -> None:
        replica = self._replicas.get(message.partition)
        context = self._context
        if replica is not None and not context.damaged and context.disks.own.answers:
            replica.on_prepare(peer, incarnation, message)

    def _promise(self, peer: NodeId, incarnation: Incarnation, message: m.Promise) -> None:
        primary = self._primaries.get(message.partition)
        if primary is not None:
            primary.on_promise(peer, incarnation, message)

    def _refuse(self, peer: NodeId, _: Incarnation, message: m.Refuse) -> None:
        primary = self._primaries.get(message.partition)
        if primary is not None:
            primary.on_refused(peer, message.epoch, message.promised)

    def _lost(self, peer: NodeId, incarnation: Incarnation, message: m.Lost) -> None:
        replica = self._replicas.get(message.partition)
        if replica is None or self._context.damaged:
            return
        if replica.promised == (message.epoch, peer, incarnation):
            self._node.on_loss(message)

    def _fetch(self, peer: NodeId, _: Incarnation, message: m.Fetch) -> None:
        """Serve a new primary's question, only while it is the one that is followed here."""
        replica = self._replicas.get(message.partition)
        if replica is None or self._context.damaged:
            return
        if (replica.promised.epoch, replica.promised.node) != (message.epoch, peer):
            return
        answer = replica.entries_after(message.after)
        if answer is not None:
            self._context.send_sized(peer, answer, sum(map(len, answer.entries)))
        else:
            self._node.senders.want(replica, peer, message.epoch)

    def _entries(self, peer: NodeId, _: Incarnation, message: m.Entries) -> None:
        primary = self._primaries.get(message.partition)
        if primary is not None:
            primary.on_entries(peer, message)

    def _offer(self, peer: NodeId, _: Incarnation, message: m.SnapshotOffer) -> None:
        replica = self._replicas.get(message.partition)
        context = self._context
        if replica is not None and not context.damaged and context.disks.own.takes_entries:
            self._node.receivers.on_offer(replica, peer, message)

    def _pull(self, peer: NodeId, _: Incarnation, message: m.SnapshotPull) -> None:
        installed = self._node.senders.on_pull(peer, message)
        primary = self._primaries.get(message.partition)
        if installed and primary is not None and primary.epoch == message.epoch and peer in primary.peers:
            primary.prepare(peer)

    def _chunk(self, peer: NodeId, _: Incarnation, message: m.SnapshotChunk) -> None:
        replica = self._replicas.get(message.partition)
        if replica is not None and self._context.disks.own.takes_entries:
            self._node.receivers.on_chunk(replica, peer, message)

    def _surplus(self, peer: NodeId, _: Incarnation, message: m.Surplus) -> None:
        cluster_map, holder = self._context.cluster_map, message.holder or peer
        primary = (
            cluster_map.partitions[message.partition].primary if cluster_map is not None else self._context.me
        )
        if primary == self._context.me or not message.holder:
            self._node.replica_set.on_surplus(holder, message)
        else:
            self._pass_on(primary, replace(message, hops=message.hops + 1))

    def _release(self, _: NodeId, __: Incarnation, message: m.Release) -> None:
        if message.holder in ("", self._context.me):
            self._node.replica_set.on_release(message)
        else:
            self._pass_on(message.holder, replace(message, hops=message.hops + 1))

    def _pass_on(self, to: NodeId, message: m.Surplus | m.Release) -> None:
        """Send what is for another node on its way to it."""
        way = self._node.relay.way_to(to)
        if way is not None and way in self._context.links and message.hops <= limits.REPORT_HOPS:
            self._context.send(way, message)

    def _heartbeat(self, peer: NodeId, _: Incarnation, message: m.Heartbeat) -> None:
        detector = self._detector
        before = detector.beat_of(peer)
        relinked = detector.on_heartbeat(peer, message)
        if before is None or (before.suspects, before.steers) != (message.suspects, message.steers):
            self._node.controller.look_again()
        if relinked:
            self._node.on_answers_lost(peer)
        self._node.push_map_if_older(peer, message.map_version)

    def _relayed(self, peer: NodeId, _: Incarnation, message: m.Relayed) -> None:
        if self._node.relay.on_relayed(peer, message):
            self._node.controller.look_again()

    def _map(self, _: NodeId, __: Incarnation, message: m.MapPush) -> None:
        current = self._context.cluster_map
        if current is None or message.version > current.version:
            self._node.take_map(message.payload)
