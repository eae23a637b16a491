"""The core of one node: takes all events, passes them to its replicas and other parts, returns effects.

The shell calls one method per event, then `end_turn`, and carries out the effects. No clock, socket, disk or
random number is touched here; `now` comes in with each turn, applied state is read through `Reader`.
"""

import zlib
from typing import Protocol

from ringkeep.core.cluster import cluster_settings
from ringkeep.core.cluster.feature_level import feature_level
from ringkeep.core.context import Context, Durable, Stirred
from ringkeep.core.control.controller import Controller
from ringkeep.core.control.copy_survey import CopySurvey
from ringkeep.core.control.partition_reports import PartitionReports
from ringkeep.core.control.size_reports import Listener, SizeReports
from ringkeep.core.dispatch import Dispatch
from ringkeep.core.execution.execute import execute
from ringkeep.core.liveness.failure_detector import Detector
from ringkeep.core.liveness.heartbeat_relay import Relay
from ringkeep.core.protocol import limits
from ringkeep.core.protocol.bounds import IN_USE, Bounds
from ringkeep.core.protocol.client_requests import Kind, ListRequest, ReadGroup, Request, Status
from ringkeep.core.protocol.cluster_map import ClusterMap, Member, NodeState
from ringkeep.core.protocol.effects import Effects, Family
from ringkeep.core.protocol.hot_messages import RETRY, Acks, Commits, Forward, Reply
from ringkeep.core.protocol.messages import (
    Changes,
    Heartbeat,
    Lost,
    MapPush,
    Message,
    ReadMany,
    Report,
    Scan,
    Sizes,
    StaleRead,
)
from ringkeep.core.protocol.reader import Reader
from ringkeep.core.protocol.rows import MAP_KEY
from ringkeep.core.protocol.types import Incarnation, Index, Life, MapVersion, Millis, NodeId, PartitionId
from ringkeep.core.replication.budget import Budget
from ringkeep.core.replication.departed_coordinators import coordinators_of
from ringkeep.core.replication.handover import Handover
from ringkeep.core.replication.pending import Call
from ringkeep.core.replication.primary import Phase, Primary
from ringkeep.core.replication.replica_set import ReplicaSet
from ringkeep.core.replication.watched import Watched
from ringkeep.core.requests.confirmed_reads import ConfirmedReads
from ringkeep.core.requests.coordinator import Coordinator
from ringkeep.core.requests.feeds import Feeds
from ringkeep.core.requests.followers import Followers
from ringkeep.core.requests.grouped_reads import GroupedReads, NodeReads
from ringkeep.core.requests.listings import Listings
from ringkeep.core.requests.scans import Scans
from ringkeep.core.requests.stale_reads import StaleReads
from ringkeep.core.snapshots.snapshot_receiver import SnapshotReceivers
from ringkeep.core.snapshots.snapshot_sender import SnapshotSenders
from ringkeep.core.state.snapshot_flow import Pace
from ringkeep.errors import ProtocolError


class MapCodec(Protocol):
    """How a cluster map is written down; `wire.mapcodec` is the one."""

    def encode(self, cluster_map: ClusterMap) -> bytes: ...

    def decode(self, payload: bytes) -> ClusterMap: ...

    def size(self, cluster_map: ClusterMap) -> int: ...


class Node:
    """The pure state machine of one node, in one life of its process."""

    def __init__(
        self, me: NodeId, incarnation: Incarnation, reader: Reader, codec: MapCodec, cluster: str,
        new_cluster_id: str, now: Millis = 0, bounds: Bounds = IN_USE,
        listener: Listener | None = None,
    ) -> None:  # fmt: skip
        """Load what is stored. `new_cluster_id` is the id to give, should this node form the cluster."""
        self.context = context = Context(me, incarnation, reader, bounds)
        context.now = now
        self._codec = codec
        self.map_payload = b""
        self.detector = Detector(context)
        self.relay = Relay(context, self.detector)
        self.budget = Budget()
        self.replica_set = ReplicaSet(context, self.relay, self)
        self.replicas, self.primaries = self.replica_set.replicas, self.replica_set.primaries
        self.coordinator = Coordinator(context, self)
        context.answer = self.coordinator.on_reply
        self.reads = ConfirmedReads(context)
        self.listings = Listings(context, self)
        self.scans = Scans(context, self.primaries, self.reads, self.listings.on_scanned)
        self.groups = GroupedReads(context, self)
        self._node_reads = NodeReads(context, self.primaries, self.reads, self.groups.on_records)
        self.pace = Pace()
        self.senders = SnapshotSenders(context, self.pace)
        self.receivers = SnapshotReceivers(context)
        self._sizes = SizeReports(context)
        self._listener = listener
        self.stale = StaleReads(context, self.replicas, self.detector)
        self.followers = Followers(
            context, self.replicas, self.primaries, self.reads, self.stale.age_of, self._on_own_changes
        )
        self.feeds = Feeds(context, self.replicas, self.followers)
        self.handover = Handover(context, self.detector)
        self.copies = CopySurvey(context, self.replicas)
        self.controller = Controller(context, self.relay, self.copies, codec.size, cluster, new_cluster_id)
        self.reports = PartitionReports(context, self.detector, self.relay)
        self.watched = Watched(context, self.detector, self.primaries)
        self._dispatch = Dispatch(self)
        self._probe_at: Millis = 0
        self.disk_held = False  # whether the disk held requests back at the end of the last turn
        self._unheard: dict[NodeId, None] = {}  # peers of which frames were lost
        self._look_after_at: Millis = 0
        stored = reader.get(Family.META, MAP_KEY)
        if stored is not None:
            self._take_map(codec.decode(stored), stored)
            self.replica_set.load()

    # --- turns ----------------------------------------------------------------------------------------

    def begin_turn(self, now: Millis) -> None:
        """Start a turn at this moment; the events of the turn follow."""
        self.context.begin(now)
        self.replica_set.begin_turn()
        self.senders.begin_turn()
        self.reads.begin_turn()
        self.scans.begin_turn()

    def end_turn(self) -> tuple[Effects, Durable]:
        """Finish the turn: commit, send and start reads for all of it at once; return what is to be done.

        When the batch is durable, `settle` what was returned with it (if it is not empty), in a later turn.
        """
        context = self.context
        if context.disks.own.holds != self.disk_held:
            self.disk_held = context.disks.own.holds
            for waiting in list(self.primaries.values()):
                waiting.unpark()
        stirred, context.stirred = context.stirred, {}
        left: dict[Stirred, None] = {}
        while stirred:
            for primary in stirred:
                if context.turn_is_full:
                    left[primary] = None
                else:
                    primary.on_stirred()
            stirred, context.stirred = context.stirred, {}
        if left:
            context.stirred, context.effects.again = left, True
        self.reads.on_progress()
        self.reads.end_turn()
        self.followers.serve()
        return context.end()

    def settle(self, durable: Durable) -> None:
        """Carry out what waited for a batch that is durable now.

        A store that was found damaged acknowledges nothing.
        """
        for peer, acks in durable.acks.items() if not self.context.damaged else ():
            kept = self.replica_set.still_held(acks, durable.turn)
            if kept:
                self.context.send(peer, Acks(kept))
        for waiting, index in durable.own.items():
            waiting.on_own_durable(index)
        for call in durable.calls:
            call()

    # --- events: time, links, messages, requests ------------------------------------------------------

    def on_tick(self) -> None:
        """Time passed: heartbeats, deadlines, repetitions, steering. Call every TICK_MS."""
        context = self.context
        if self._unheard:
            self._listen_again()
        watched = self.watched.look()
        if context.now >= self._look_after_at:
            self._look_after_at = context.now + limits.LOOK_AFTER_MS
            said = self.handover.on_tick(watched, self.controller.addressee() is not None)
            report = Report(said, self.controller.pending_orders())
            if report.statements or report.orders:
                self.on_report(report)
            self._tell_sizes(watched)
            for primary in watched:
                primary.on_tick()
            self.watched.seen()
            unapplied, context.unapplied = context.unapplied, {}
            for replica in unapplied:
                replica.apply_late()
            self.receivers.on_tick()
            self.replica_set.on_tick()
            self.copies.on_tick(self.controller.reachability)
        self.budget.removals.on_tick(context.bounds)
        self.reads.on_tick()
        self.scans.on_tick()
        self.listings.on_tick()
        self.groups.on_tick()
        self.senders.on_tick()
        self.stale.on_tick()
        self.followers.on_tick()
        self.feeds.on_tick()
        self.coordinator.on_tick()
        version = context.cluster_map.version if context.cluster_map else MapVersion(0)
        if context.now >= self._probe_at:
            self._probe_at = context.now + limits.SUSPECT_AFTER_MS
            self.reads.probes = {peer: health.probe for peer, health in self.detector.peers.items()}
            self.reads.probe(self.primaries)
        reports = self.reports
        if reports.on_tick(watched):
            self._sizes.note(watched)
            self.watched.let_go()
        if self.detector.on_tick(
            version, self.controller.map_digest, reports.active, self.ready, reports.copies, reports.behind,
            self.controller.steers,
        ):  # fmt: skip
            self.relay.pass_on()
            self._tell_commits(watched)
            if self.detector.changed:
                self.controller.look_again()
        self.controller.on_tick(reports.active)

    def pulse(self, now: Millis) -> dict[NodeId, list[Message]]:
        """Return the heartbeats that are due, if any, while no turn can be taken: that is slow, not dead.

        They say what the last ones said; what has changed since is seen in the next turn.
        """
        self.context.begin(now)
        if self.detector.beat_again():
            self.relay.pass_on()
        beats, self.context.effects.beats = self.context.effects.beats, {}
        return beats

    def overhear(self, peer: NodeId, messages: list[Message], now: Millis) -> None:
        """Note the signs of life in what can only be taken later."""
        self.detector.hear(peer, now)
        for message in messages:
            if type(message) is Heartbeat:  # a relayed one says nothing of this link, and is none here
                self.detector.note_probes(peer, message)

    def on_peer_up(self, peer: NodeId, incarnation: Incarnation) -> None:
        """Our link to a peer stands. What was under way on an older one is lost: ask and send again."""
        self.context.links[peer] = incarnation
        self.detector.on_up(peer)
        self._push_map(peer)
        for primary in self.primaries.values():
            if peer in primary.peers:
                primary.prepare(peer)
        self.on_answers_lost(peer)

    def on_peer_down(self, peer: NodeId, refused: bool) -> None:
        """Our link to a peer is gone, or could not be made; `refused`: nobody listens there."""
        linked = self.context.links.pop(peer, None)
        self.context.jammed.discard(peer)
        if linked is not None and self.context.cluster_map is not None:
            self.coordinator.on_link_lost()
            self.listings.on_link(peer)
            self.groups.on_link(peer)
            self.feeds.on_link(peer)
            self.followers.on_link_lost(peer)
        self.detector.on_down(peer, refused)
        self.copies.on_peer_down(peer)

    def on_jam(self, peer: NodeId, jammed: bool) -> None:
        """Much is unsent to a peer, or not any more: what is large, and can wait, does."""
        if jammed and peer in self.context.links:
            self.context.jammed.add(peer)
        else:
            self.context.jammed.discard(peer)

    def on_messages(self, peer: NodeId, incarnation: Incarnation, messages: list[Message]) -> None:
        """Take one frame from a peer, in order."""
        self._dispatch.deliver(peer, incarnation, messages)

    def on_damage(self) -> None:
        """The store has lost durable data: no replica here votes or leads until it is refilled."""
        self.context.damaged = True
        for primary in list(self.primaries.values()):
            primary.depose()

    def on_frame_lost(self, peer: NodeId) -> None:
        """A frame of a peer was not taken, though its link stands. May be called between turns."""
        self._unheard[peer] = None

    def on_answers_lost(self, peer: NodeId) -> None:
        """What was asked of a peer, or its answers, may be lost: ask again."""
        if self.context.cluster_map is not None:
            self.coordinator.on_link(peer)
            self.listings.on_link(peer)
            self.groups.on_link(peer)
            self.feeds.on_link(peer)

    def _listen_again(self) -> None:
        """Frames were lost as with a link, and others can be taken now: all sides ask again."""
        unheard, self._unheard = self._unheard, {}
        for peer in unheard:
            self.context.count("heard_again")
            self.detector.on_frame_lost(peer)
            self.on_answers_lost(peer)
        self.replica_set.missed.update(dict.fromkeys(self.replicas))

    def on_loss(self, message: Lost) -> None:
        """A live primary reports that this node had acknowledged more than it holds."""
        what = (
            f"the data of this node is older than what it held: of partition {message.partition} it had"
            f" acknowledged entry {message.index}, which is missing here. Was an older copy restored? The"
            " node does not vote, and is refilled from the others"
        )
        self.context.count("loss_admitted")
        self.context.alarm(what)
        self.context.effects.damage = what
        self.on_damage()

    def submit(self, request: Request) -> None:
        """Take a client's request; its answer is among the effects of this or a later turn."""
        self.coordinator.submit(request)

    def submit_listing(self, request: ListRequest) -> None:
        """Take a client's request for a page of keys; likewise."""
        self.listings.submit(request)

    def submit_reads(self, group: ReadGroup) -> None:
        """Take a client's request for many keys; likewise."""
        self.groups.submit(group)

    # --- events: coordination -------------------------------------------------------------------------

    def on_members(self, members: list[Member]) -> None:
        """The registered members changed. While there is no map, the node talks to them."""
        self.controller.on_members(members)
        if self.context.cluster_map is None:
            self.detector.set_peers([m.id for m in self.controller.members if m.id != self.context.me])

    def take_map(self, payload: bytes) -> bool:
        """Take over a newer map, from the register or from a peer; False if it is not newer, or
        another cluster's."""
        try:
            new_map = self._codec.decode(payload)
        except ProtocolError as error:
            self.context.alarm(f"a cluster map cannot be read, and is ignored: {error}")
            return False
        current = self.context.cluster_map
        if current is not None and (
            new_map.cluster_id != current.cluster_id or new_map.version <= current.version
        ):
            return False
        self.context.effects.batch.meta[MAP_KEY] = payload
        self._take_map(new_map, payload)
        return True

    def _take_map(self, cluster_map: ClusterMap, payload: bytes) -> None:
        context = self.context
        old = context.cluster_map
        context.cluster_map = cluster_map
        mine = cluster_map.node(context.me)
        context.recognised = mine is not None and mine.incarnation == context.incarnation
        context.coordinators = coordinators_of(cluster_map)
        context.feature_level = feature_level(cluster_map)
        self.coordinator.names = {node.id: node.name for node in cluster_map.nodes}
        self.groups.names = self.coordinator.names
        self.map_payload = payload
        self.controller.map_digest = zlib.crc32(payload)
        self.detector.set_peers([
            node.id for node in cluster_map.nodes if node.id != context.me and node.state != NodeState.DEAD
        ])  # fmt: skip
        self.pace.bytes_per_s = cluster_settings.setting(cluster_map, cluster_settings.MOVE_BYTES_PER_S)
        self.pace.paused = (
            cluster_settings.setting(cluster_map, cluster_settings.MOVES) != cluster_settings.RUNNING
        )
        for peer in self.detector.peers:  # first: whom this makes a replica is asked right after
            self._push_map(peer)
        self.replica_set.follow(cluster_map)
        self.watched.all()
        if self._listener is not None:
            self._listener.on_map(cluster_map, context.now)
        before = old.partitions if old is not None else ()
        after = cluster_map.partitions[: len(before)]
        changed = [PartitionId(p) for p, part in enumerate(after) if part.epoch != before[p].epoch]
        self.coordinator.on_map(changed)
        self.listings.on_map(changed)
        self.groups.on_map(changed)
        self.feeds.on_map()
        self.controller.on_map()

    # --- asked by its parts (see OwnNode, PrimaryHost, Receiving) -------------------------------------

    def on_forward(self, caller: Life, message: Forward) -> None:
        """Execute, if this node is the primary of exactly that epoch; park until it is ACTIVE."""
        primary = self.primaries.get(message.partition)
        if primary is None or primary.epoch != message.epoch:
            self.context.reply(caller, Reply(message.tag, message.epoch, RETRY, active=False))
            return
        self.execute(primary, Call(caller, message, self.context.now + message.remaining_ms))

    def execute(self, primary: Primary, call: Call) -> None:
        paused = self.context.disks.own.pauses_writes and call.message.kind != Kind.GET
        if primary.may_execute and not paused:
            execute(primary, call)
            return
        self.context.watched[primary.replica.partition] = None
        if not primary.answer_appended(call) and not primary.parked.add(call):
            self.context.count("busy_waiting_room")
            primary.refuse(call, Status.BUSY, "too many requests wait for the partition's primary")

    def on_scan(self, caller: Life, message: Scan) -> None:
        self.scans.on_scan(caller, message)

    def on_question(self, caller: Life, message: ReadMany) -> None:
        self._node_reads.on_question(caller, message)

    def _on_own_changes(self, peer: NodeId, message: Changes) -> None:
        self.feeds.on_changes(peer, message)

    def on_stale_read(self, caller: Life, message: StaleRead) -> None:
        self.stale.on_read(caller, message)

    def confirm_read(
        self, primary: Primary, call: Call, result: tuple[int, int] | None, evidence: Index
    ) -> None:
        self.reads.add(primary, call, result, evidence)

    def on_deposed(self, primary: Primary) -> None:
        self.replica_set.on_deposed(primary)
        self.reads.drop(primary)
        if primary.replica.partition not in self.primaries:
            self.reports.forget(primary.replica.partition)

    def snapshot_wanted(self, primary: Primary, peer: NodeId) -> None:
        self.senders.want(primary.replica, peer, primary.epoch)

    def on_sizes(self, message: Sizes) -> None:
        if self._listener is not None:
            self._listener.on_sizes(message, self.context.now)

    # --- what it says on its own ----------------------------------------------------------------------

    @property
    def ready(self) -> bool:
        """Whether the disk answers, and every replica has caught up to the commit that it was first told."""
        return self.context.recognised and self.replica_set.ready and self.context.disks.own.answers

    def on_report(self, report: Report) -> None:
        """A primary (of this node, or another's) makes a statement to the controller.

        It is kept in any case, as this node may be the controller soon, and passed on to whoever it is now.
        """
        self.controller.on_report(report)
        if report.hops <= limits.REPORT_HOPS:
            self._say(report)

    def _say(self, report: Report) -> None:
        """Send a report to the controller, directly or towards it."""
        addressee = self.controller.addressee()
        if addressee is None or addressee == self.context.me:
            return
        way = self.relay.way_to(addressee)
        if way is not None and way in self.context.links:
            self.context.send(way, report)

    def _tell_sizes(self, watched: list[Primary]) -> None:
        sizes = self._sizes.due(watched, self.primaries.values(), self.senders)
        if sizes is not None:
            self.on_sizes(sizes)
            for peer in self.context.links:
                self.context.send(peer, sizes)

    def _push_map(self, peer: NodeId) -> None:
        current = self.context.cluster_map
        if current is not None and peer in self.context.links:
            self.context.send(peer, MapPush(current.version, self.map_payload))

    def push_map_if_older(self, peer: NodeId, version: MapVersion) -> None:
        """Pass the map on to a peer whose heartbeat shows an older one."""
        current = self.context.cluster_map
        if current is not None and version < current.version:
            self._push_map(peer)

    def _tell_commits(self, primaries: list[Primary]) -> None:
        """Let backups apply what no later Append has told them is committed."""
        told: dict[NodeId, list[int]] = {}
        for primary in primaries:
            commit = primary.replica.commit
            if primary.phase == Phase.ACTIVE and primary.told < commit:
                primary.told = commit
                for peer in primary.peers:
                    told.setdefault(peer, []).extend((primary.replica.partition, primary.epoch, commit))
        self.stale.tell_confirmed(primaries)
        for peer, items in told.items():
            if peer in self.context.links:
                self.context.send(peer, Commits(0, items))
