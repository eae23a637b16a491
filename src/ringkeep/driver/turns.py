"""The driver's loop: takes events, runs the core's turn, carries out effects in the order that safety needs.

All events of one turn of the event loop become one batch, one request for durability and one frame per peer.
The batch is written before anything is sent or answered; what waits for durability is settled in the turn
that the sync's completion starts. Knows no sockets and no threads: the simulator runs this same code over its
own ports.
"""

from collections import deque
from collections.abc import Callable

from ringkeep.core.context import Durable
from ringkeep.core.disk_state import Questions
from ringkeep.core.node import Node
from ringkeep.core.protocol.client_requests import ListRequest, ReadGroup, Request, Status
from ringkeep.core.protocol.cluster_map import Member
from ringkeep.core.protocol.effects import Batch, Effects, Lane
from ringkeep.core.protocol.feed import FeedRequest
from ringkeep.core.protocol.messages import Message
from ringkeep.core.protocol.types import Incarnation, NodeId
from ringkeep.driver.cluster_membership import ClusterMembership
from ringkeep.driver.enrolment import Start
from ringkeep.errors import StorageError, StorageStalled
from ringkeep.ports import Ending, Ports

STALL_RETRY_MS = 5
CATCH_UP = 64  # so many events that waited behind a refused batch are run in one turn
DISK_FAILED = "the disk failed, nothing more is acknowledged: "  # the same beginning for every cause


class Driver:
    """Passes events and requests to the core of one node, and carries out its effects."""

    def __init__(self, node: Node, ports: Ports, member: Member, disk_reserve: int, start: Start) -> None:
        self.node = node
        self._ports = ports
        self._disk_reserve = disk_reserve
        self.membership = ClusterMembership(node, ports, member, start, event=self._event, stop=self._stop)
        self.enrolment = self.membership.enrolment
        self._in_turn = False
        self._ticket = 0
        self._synced = self._asked = 0  # tickets: what is durable, and what was asked to be
        self._waiting: deque[tuple[int, Durable]] = deque()
        self._stuck: tuple[Effects, Durable] | None = None
        self._backlog: deque[Callable[[], None]] = deque()
        self._stopped = False
        self.turns = self.syncs = self.frames = 0  # carried out so far, for metrics

    # --- turns ----------------------------------------------------------------------------------------

    def _event(self, call: Callable[[], None]) -> None:
        """Run one event within the current turn; while a batch is refused, queue it: nothing overtakes it."""
        if self._stuck is not None or self._backlog:
            self._backlog.append(call)
        else:
            self._take(call)

    def _take(self, call: Callable[[], None]) -> None:
        if self._stopped:
            return
        if not self._in_turn:
            self._in_turn = True
            self._guarded(lambda: self.node.begin_turn(self._ports.clock.now()))
            self._ports.shell.soon(self._finish_turn)
        if not self._stopped:
            self._guarded(call)

    @property
    def at_rest(self) -> bool:
        """Whether no turn is open and no batch waits: the store holds what the core believes."""
        return not self._in_turn and self._stuck is None

    def _finish_turn(self) -> None:
        if self._stopped:
            return
        self._in_turn = False
        self._guarded(lambda: self._carry_out(*self.node.end_turn()))

    def _guarded(self, call: Callable[[], None]) -> None:
        """If this fails, end as in a crash: the core's state cannot be trusted any more, the durable state
        can. A failing disk is to be expected; anything else is a defect."""
        try:
            call()
        except StorageError as error:
            self.disk_failed(error)
        except Exception as error:
            self._stop(f"a defect, nothing more is acknowledged: {error!r}", Ending.FAILED)
            raise

    def _carry_out(self, effects: Effects, durable: Durable) -> None:
        ports = self._ports
        self.turns += 1
        if not self._write(effects.batch):
            self._stuck = effects, durable
            ports.shell.later(STALL_RETRY_MS, self._retry)
            return
        if effects.damage:
            ports.engine.record_damage(effects.damage)
        if durable:
            self._waiting.append((self._ticket, durable))
            if self._ticket > self._synced:
                self._asked = self._ticket
                ports.syncer.request(self._ticket)
            else:
                self._event(self._settle)
        for peer, lane, messages in effects.frames():
            self.frames += 1
            ports.network.send(peer, lane, messages)
        for peer in effects.renewals:
            ports.network.renew(peer)
        for request, result in effects.answers:
            request.done(result)
        for listed, page in effects.pages:
            listed.done(page)
        for group, results in effects.groups:
            group.done(results)
        for call in effects.fed:
            call()
        for text in effects.alarms:
            ports.shell.alarm(text)
        if effects.map_write is not None:
            self.membership.write_map(effects.map_write)
        if effects.repaired:
            ports.engine.clear_damaged()
        if effects.reregister:
            ports.coordination.reregister()
        if effects.again:
            ports.shell.soon(lambda: self._event(lambda: None))

    def _write(self, batch: Batch) -> bool:
        if batch:
            self.enrolment.stamp(batch)
            try:
                self._ticket = self._ports.engine.write(batch)
            except StorageStalled:
                return False
            self.enrolment.on_written(self._ticket)
        return True

    def _retry(self) -> None:
        """Offer the refused batch again, unchanged; then everything that waited behind it."""
        stuck = self._stuck
        if stuck is None or self._stopped:
            return
        self._stuck = None
        self._guarded(lambda: self._carry_out(*stuck))
        self._catch_up()

    def _catch_up(self) -> None:
        """Run the events that waited behind a refused batch, CATCH_UP in a turn, until one is refused
        again."""
        for _ in range(min(len(self._backlog), CATCH_UP)):
            if self._stuck is None:
                self._take(self._backlog.popleft())
        if self._backlog and self._stuck is None:
            self._ports.shell.soon(self._catch_up)

    def _stop(self, reason: str, ending: Ending) -> None:
        if not self._stopped:
            self._stopped = True
            self._ports.shell.stop(reason, ending)

    def halt(self) -> None:
        """Take no further event: the process ends."""
        self._stopped = True

    # --- storage --------------------------------------------------------------------------------------

    def synced(self, ticket: int) -> None:
        """Every batch up to `ticket` is durable."""
        self._synced = max(self._synced, ticket)
        self.enrolment.on_synced(self._synced)
        self.syncs += 1
        self._event(self._settle)

    def disk_failed(self, error: StorageError) -> None:
        """The disk failed, in a sync or elsewhere: that is final for this process."""
        self._stop(f"{DISK_FAILED}{error}", Ending.DISK)

    def _settle(self) -> None:
        while self._waiting and self._waiting[0][0] <= self._synced:
            self.node.settle(self._waiting.popleft()[1])

    # --- requests and time ----------------------------------------------------------------------------

    def submit(self, request: Request) -> None:
        """Take a client's request. Call only while `serving`."""
        self._event(lambda: self.node.submit(request))

    def submit_listing(self, request: ListRequest) -> None:
        """Take a client's request for a page of keys. Call only while `serving`."""
        self._event(lambda: self.node.submit_listing(request))

    def submit_reads(self, group: ReadGroup) -> None:
        """Take a client's request for many keys. Call only while `serving`."""
        self._event(lambda: self.node.submit_reads(group))

    def submit_feed(self, request: FeedRequest) -> Status | None:
        """Begin a feed of changes, or return why none may begin (`Feeds.refusal`). Call only while `serving`.
        Nothing but bookmarks is told before `pull_feed`.
        """
        refusal = self.node.feeds.refusal
        if refusal is None:
            self._event(lambda: self.node.feeds.submit(request))
        return refusal

    def pull_feed(self, request: FeedRequest, size: int) -> None:
        """A reader of changes can take so many bytes more, as `feed.size_of` counts them."""
        self._event(lambda: self.node.feeds.pull(request, size))

    def close_feed(self, request: FeedRequest) -> None:
        """A reader of changes has gone. Needless after `on_gone`, and harmless."""
        self._event(lambda: self.node.feeds.close(request))

    @property
    def serving(self) -> bool:
        """Whether data requests are accepted: the map names this start of the node.

        Before that, answers of the primaries are ignored here: what they applied would end as unknown.
        """
        return (
            self.enrolment.passed and self.node.context.recognised and not self._stopped and not self._held_up
        )

    @property
    def unsynced(self) -> int:
        """How many turns wait for a sync."""
        return len(self._waiting)

    @property
    def _held_up(self) -> bool:
        """Whether a batch has been refused for so long that nothing more may be queued behind it."""
        return self._stuck is not None and not self.node.context.disks.own.answers

    def tick(self) -> None:
        """Call every TICK_MS. While a batch is refused, only heartbeats are sent."""
        if not self._stopped:
            self._guarded(self._look_at_disk)
        if self._stuck is None:
            self._event(self._tick)
        elif not self._stopped:
            for peer, beat in self.node.pulse(self._ports.clock.now()).items():
                self._ports.network.send(peer, Lane.PULSE, beat)

    def _look_at_disk(self) -> None:
        """Check whether the disk answers and has room, also while a refused batch holds up all turns."""
        ports = self._ports
        free, looks = ports.shell.disk_free()
        asked = Questions(
            self._synced if self._asked > self._synced else -1,
            self._ticket if self._stuck is not None else -1,
            looks,
        )
        alarm = self.node.context.disks.own.note(
            ports.clock.now(), ports.engine.stalled(), free, self._disk_reserve, asked
        )
        if alarm:
            ports.shell.alarm(alarm)

    def _tick(self) -> None:
        context = self.node.context
        self.node.on_tick()
        self.membership.announce_map()
        self.enrolment.on_tick(context.cluster_map, context.links, self.node.replica_set.empty)

    # --- NetworkEvents --------------------------------------------------------------------------------

    def peer_up(self, peer: NodeId, incarnation: Incarnation) -> None:
        self._event(lambda: self.node.on_peer_up(peer, incarnation))

    def peer_down(self, peer: NodeId, refused: bool) -> None:
        self._event(lambda: self.node.on_peer_down(peer, refused))

    def jam(self, peer: NodeId, jammed: bool) -> None:
        self._event(lambda: self.node.on_jam(peer, jammed))

    def sign_of_life(self, peer: NodeId) -> None:
        """Not an event of a turn: it may come a thousand times a second, and changes only the detector."""
        self.node.detector.hear(peer, self._ports.clock.now())

    def received(self, peer: NodeId, incarnation: Incarnation, messages: list[Message]) -> None:
        if self._stuck is not None:
            self.node.overhear(peer, messages, self._ports.clock.now())
        if self._held_up:  # dropped, so that the queue stays bounded; the core asks for it afterwards
            self.node.on_frame_lost(peer)
        else:
            self._event(lambda: self._receive(peer, incarnation, messages))

    def _receive(self, peer: NodeId, incarnation: Incarnation, messages: list[Message]) -> None:
        if not self.enrolment.passed:
            return  # this may be a stale copy of the directory, which must not vote
        before = self.node.context.cluster_map
        self.node.on_messages(peer, incarnation, messages)
        if self.node.context.cluster_map is not before:
            self.membership.map_changed(before)
