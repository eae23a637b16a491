"""A replica's role as the primary of one epoch: prepare, adopt, no-op, then replicate and commit.

Lives from the map that names it to the first higher promise or map. What requests do to it is in
`execute.py`; confirmed reads are in `reads.py`.
Source of the rules: Raft (USENIX ATC 2014) section 5.4; Spinnaker (VLDB 2011) section 6.
"""

from collections.abc import Collection
from enum import IntEnum
from functools import partial

from ringkeep.core import limits, quorum
from ringkeep.core.clustermap import Partition
from ringkeep.core.context import Context
from ringkeep.core.entry import NO_ORIGIN, Entry, EntryKind, encode
from ringkeep.core.execute import Call, Pending
from ringkeep.core.keys import log_key
from ringkeep.core.messages import RETRY, Append, Entries, Fetch, Prepare, Promise, Reply
from ringkeep.core.parked import Parked
from ringkeep.core.replica import Replica
from ringkeep.core.requests import Status
from ringkeep.core.types import Epoch, Index, Millis, NodeId


class Phase(IntEnum):
    """How far the primary of an epoch has come."""

    PREPARING = 1  # asks for promises
    FETCHING = 2  # adopts the greatest log of a majority
    STARTING = 3  # commits the no-op of its epoch
    ACTIVE = 4
    DEPOSED = 5


class Primary:
    """The primary of `epoch` on `replica`."""

    def __init__(self, context: Context, replica: Replica, partition: Partition) -> None:
        self.context = context
        self.replica = replica
        self.epoch: Epoch = partition.epoch
        self.phase = Phase.PREPARING
        self.since: Millis = context.now
        self.promises: dict[NodeId, Promise] = {}
        self.match: dict[NodeId, Index] = {}
        self.next: dict[NodeId, Index] = {}  # absent: position unknown until a Promise
        self.heard: dict[NodeId, Millis] = {}  # last progress, for sending again
        self.in_flight: dict[NodeId, int] = {}  # bytes of entries sent and not acknowledged
        self.fetch_from: NodeId | None = None
        self.started = Index(0)
        self.told = Index(0)
        self.confirmed_at: Millis = -1
        self.confirmed_probes: dict[NodeId, int] = {}
        self.time_at: Millis = context.now
        self.pending = Pending()
        self.parked = Parked(context)
        self.handing_over_until: Millis = 0
        self.reported = False
        self.paused = False
        self.set_voters(partition)

    def set_voters(self, partition: Partition) -> None:
        """Take voters, old voters and learner from the map."""
        me = self.context.me
        self.voters, self.old_voters = partition.voters, partition.old_voters
        self.config = partition.config
        plain = not partition.old_voters and partition.learner is None
        self.enough = quorum.majority(len(self.voters)) if plain else 0
        self.peers = tuple(node for node in partition.replicas if node != me)

    def won(self, yes: Collection[NodeId]) -> bool:
        """Tell whether these replicas, all different, make the majorities that this primary needs."""
        if self.enough:
            return len(yes) >= self.enough  # every replica is a voter, and a change is not under way
        return quorum.won(self.voters, self.old_voters, yes)

    @property
    def in_office(self) -> bool:
        """Whether this node promises nothing higher: a higher promise deposes in the same step."""
        return self.phase is not Phase.DEPOSED

    @property
    def may_execute(self) -> bool:
        """Whether requests are executed just now, and not parked."""
        return (
            self.phase == Phase.ACTIVE and not self.paused and not self.handing_over_until and self.in_office
        )

    # --- taking office --------------------------------------------------------------------------------

    def start(self) -> None:
        """Promise oneself, and ask everybody. Call once, after the replica points here."""
        replica = self.replica
        if not replica.promise(self.epoch, self.context.me, self.context.incarnation):
            self.depose()
            return
        own = Promise(
            replica.partition, self.epoch, replica.log.last_epoch, replica.log.last_index, replica.commit
        )
        self.context.durable.calls.append(partial(self.on_promise, self.context.me, own))
        for peer in self.peers:
            self.prepare(peer)

    def prepare(self, peer: NodeId) -> None:
        """Ask a peer for its promise and its position: at the start, and whenever the position is
        in doubt."""
        self.next.pop(peer, None)
        self._landed(peer)
        self.heard[peer] = self.context.now
        if peer in self.context.links:
            self.context.send(peer, Prepare(self.replica.partition, self.epoch))

    def on_promise(self, peer: NodeId, message: Promise) -> None:
        """Count a promise; with a majority, adopt the greatest log; later on, learn a peer's position."""
        if message.epoch != self.epoch or self.phase == Phase.DEPOSED:
            return
        self.promises[peer] = message
        self.heard[peer] = self.context.now
        if self.phase == Phase.PREPARING:
            promised = self.promises
            if self.context.me in promised and quorum.won(self.voters, self.old_voters, promised):
                self._adopt()
        elif self.phase in (Phase.STARTING, Phase.ACTIVE) and peer != self.context.me:
            self._learn_position(peer, message)

    def _adopt(self) -> None:
        """Choose the greatest (last epoch, last index) among the promises; fetch it unless it is here."""
        log, best, holder = self.replica.log, (self.replica.log.last_epoch, self.replica.log.last_index), None
        for peer, promise in self.promises.items():
            if (promise.last_epoch, promise.last_index) > best:
                best, holder = (promise.last_epoch, promise.last_index), peer
        if holder is None:
            self._append_noop()
            return
        self.phase = Phase.FETCHING
        self.fetch_from = holder
        self.context.count("tail_fetched")
        assert best > (log.last_epoch, log.last_index)
        self.fetch()

    def fetch(self) -> None:
        """Ask the holder of the greatest log for what follows the committed prefix, which both share."""
        assert self.fetch_from is not None
        self.heard[self.fetch_from] = self.context.now
        if self.fetch_from in self.context.links:
            self.context.send(self.fetch_from, Fetch(self.replica.partition, self.epoch, self._fetched_to()))

    def _fetched_to(self) -> Index:
        return max(self.replica.commit, self.replica.matched)

    def on_entries(self, peer: NodeId, message: Entries) -> None:
        """Adopt fetched entries; go on until the holder's whole log is here."""
        replica = self.replica
        if self.phase != Phase.FETCHING or message.epoch != self.epoch or peer != self.fetch_from:
            return
        if message.prev_index > self._fetched_to() or not replica.log.matches(
            message.prev_epoch, message.prev_index
        ):
            return  # an answer to an older question
        last = replica.extend(message.prev_index, message.entries)
        replica.matched = max(replica.matched, last)  # what equals the holder's log, and is cut no more
        target = self.promises[peer]
        if replica.matched < target.last_index:
            self.fetch()
            return
        if replica.log.last_index > target.last_index:
            replica.cut_after(
                target.last_index
            )  # an older epoch's longer tail: the holder's log is the greater
        assert (replica.log.last_epoch, replica.log.last_index) == (target.last_epoch, target.last_index)
        self._append_noop()

    def on_snapshot(self) -> None:
        """A snapshot was swapped in while fetching: go on from it."""
        if self.phase == Phase.FETCHING:
            self.fetch()

    def _append_noop(self) -> None:
        """Begin the epoch with an entry of its own: only such an entry may be counted for commitment."""
        self.phase = Phase.STARTING
        self.fetch_from = None
        self.time_at = self.context.now
        self.started = Index(self.replica.log.last_index + 1)
        self.append(Entry(EntryKind.NOOP, self.epoch, self.started, self.log_time(), NO_ORIGIN, 0, 0))
        for peer, promise in self.promises.items():
            if peer != self.context.me:
                self._learn_position(peer, promise)

    def _learn_position(self, peer: NodeId, promise: Promise) -> None:
        """Find from a promise where a peer's log agrees with this one, and send on from there."""
        log = self.replica.log
        last = promise.last_index
        if log.floor_index <= last <= log.last_index and log.epoch_at(last) == promise.last_epoch:
            self.match[peer] = max(last, self.match.get(peer, Index(0)))
            position = last
        else:
            position = promise.commit
            assert position <= log.last_index, "committed entries are in every later primary's log"
        if position < log.floor_index:
            self.context.count("snapshot_needed")
            self.context.parts.snapshot_wanted(self, peer)
            return
        self.next[peer] = Index(position + 1)
        self.context.stirred[self] = None
        self._send_append(peer)

    # --- replicating ----------------------------------------------------------------------------------

    def log_time(self) -> Millis:
        """Return the next entry's log time: the last one's, advanced by monotonic time, in capped steps."""
        now = self.context.now
        step = min(now - self.time_at, limits.LOG_TIME_STEP_MS)
        self.time_at = now
        return self.replica.log.last_time + step

    def append(self, entry: Entry) -> None:
        """Put an entry at the end of the log: persisted here and sent to the backups with this turn."""
        replica = self.replica
        assert entry.index == replica.log.last_index + 1, "an (epoch, index) is given out once"
        assert self.in_office
        data = encode(entry)
        replica.log.append(self.epoch, data)
        self.context.effects.batch.log[log_key(replica.partition, entry.index)] = data
        self.context.durable.own[self] = entry.index
        self.context.stirred[self] = None

    def on_own_durable(self, index: Index) -> None:
        """Count the own copy, which is on disk now."""
        if self.in_office and index > self.match.get(self.context.me, 0):
            self.match[self.context.me] = index
            if index > self.replica.commit:
                self.context.stirred[self] = None

    def on_ack(self, peer: NodeId, index: Index) -> None:
        """A backup holds everything up to `index` durably."""
        self.heard[peer] = self.context.now
        if index > self.match.get(peer, 0):
            assert index <= self.replica.log.last_index, "acknowledged, but never sent"
            self.match[peer] = index
            if index + 1 >= self.next.get(peer, 0):
                self._landed(peer)
            if index > self.replica.commit or self.next.get(peer, 0) <= self.replica.log.last_index:
                self.context.stirred[self] = None

    def on_stirred(self) -> None:
        """At the end of the turn: commit what a majority holds, and send what is new."""
        if not self.in_office:
            return
        if self.started:
            reached = quorum.committed(self.voters, self.old_voters, self.match)
            if reached >= self.started and reached > self.replica.commit:
                self._commit(reached)
        self._send_new()

    def _commit(self, index: Index) -> None:
        self.replica.commit = index
        self.replica.apply()
        if self.phase == Phase.STARTING:
            self.phase = Phase.ACTIVE
            self.replica.caught_up = True
            self.context.count("became_active")
            self.unpark()

    def unpark(self) -> None:
        """Execute what waited for this primary to be ACTIVE."""
        for call in self.parked.take_all():
            self.context.parts.execute(self, call)

    def _send_new(self) -> None:
        """One Append per peer; backups at the same position share the message."""
        last, sent = self.replica.log.last_index, 0
        shared: Append | None = None
        for peer, position in self.next.items():
            if position > last or self.context.in_flight.get(peer, 0) >= limits.INFLIGHT_BYTES:
                continue  # nothing new, or a slow peer: the tick looks again
            if shared is None or shared.prev_index != position - 1:
                shared = self._make_append(position)
                if shared is None:
                    continue
            self._launch(peer, shared)
            sent += 1
        if sent == len(self.peers):
            self.told = self.replica.commit

    def _send_append(self, peer: NodeId) -> None:
        """Send one Append now, with or without entries, so that the peer learns what its log matches."""
        message = self._make_append(self.next[peer])
        if message is not None:
            self._launch(peer, message)

    def _launch(self, peer: NodeId, message: Append) -> None:
        """Send an Append, and count what is on its way to that peer."""
        position = Index(message.prev_index + 1 + len(message.entries))
        if self.match.get(peer) == message.prev_index:
            self.heard[peer] = self.context.now  # nothing was due from it until now
        self.next[peer] = position
        size = sum(map(len, message.entries))
        self.in_flight[peer] = self.in_flight.get(peer, 0) + size
        self.context.in_flight[peer] = self.context.in_flight.get(peer, 0) + size
        self.context.send(peer, message)

    def _landed(self, peer: NodeId) -> None:
        """Everything sent to a peer is acknowledged, or lost: it is on its way no more."""
        size = self.in_flight.pop(peer, 0)
        if size:
            self.context.in_flight[peer] -= size

    def _make_append(self, position: Index) -> Append | None:
        log, replica = self.replica.log, self.replica
        before = Index(position - 1)
        if before < log.floor_index:
            return None  # the window moved on: found silent by the tick, the peer is prepared anew
        entries = log.slice(before, limits.APPEND_ENTRIES, limits.APPEND_BYTES)
        return Append(replica.partition, self.epoch, log.epoch_at(before), before, replica.commit, entries)

    def on_refused(self, peer: NodeId, epoch: Epoch, promised: Epoch) -> None:
        """A voter did not take something: deposed, or its position is not what was thought."""
        if epoch != self.epoch:
            return
        if promised > self.epoch:
            self.context.count("deposed_by_refusal")
            self.depose()
        elif self.phase in (Phase.STARTING, Phase.ACTIVE):
            self.prepare(peer)

    # --- requests, time and the end -------------------------------------------------------------------

    def on_applied(self, entry: Entry, status: int, version: int) -> None:
        """Answer the requests that waited for this entry."""
        for call in self.pending.applied(entry):
            if status < 0:
                self.answer(call, RETRY)
            else:
                self.answer(call, status, version)

    def answer(
        self,
        call: Call,
        status: int,
        version: int = 0,
        value: bytes = b"",
        content_type: bytes = b"",
        detail: str = "",
    ) -> None:
        """Tell a request's coordinator how it ended."""
        active = self.phase == Phase.ACTIVE and self.in_office
        message = call.message
        reply = Reply(message.tag, message.epoch, status, active, version, value, content_type, detail)
        self.context.reply(call.caller, reply)

    def on_tick(self) -> None:
        """Ask again whoever has been silent; give up what is past its deadline."""
        now = self.context.now
        last = self.replica.log.last_index
        if self.phase == Phase.FETCHING:
            assert self.fetch_from is not None
            if now - self.heard.get(self.fetch_from, 0) >= limits.RESEND_MS:
                self.fetch()
        for peer in self.peers:
            if peer not in self.context.links:
                continue
            position = self.next.get(peer)
            waiting = position is None or self.match.get(peer, 0) < min(position - 1, last)
            if waiting and now - self.heard.get(peer, 0) >= limits.RESEND_MS:
                if self.phase == Phase.PREPARING and peer in self.promises:
                    continue
                self.context.count("position_asked_again")
                self.prepare(peer)
            elif position is not None and position <= last:
                self.context.stirred[self] = None
        if self.handing_over_until and now >= self.handing_over_until:
            self.handing_over_until = 0
            if self.may_execute:
                self.unpark()
        for call in self.parked.take_late(now):
            self.answer(
                call, Status.UNAVAILABLE, detail="the partition had no active primary until the deadline"
            )

    def depose(self) -> None:
        """Stop being the primary.

        What was appended is answered by whoever commits it; the rest is sent back.
        """
        if self.phase == Phase.DEPOSED:
            return
        self.phase = Phase.DEPOSED
        self.context.count("deposed")
        for peer in list(self.in_flight):
            self._landed(peer)
        for call in self.parked.take_all():
            self.answer(call, RETRY)
        self.context.parts.drop_reads(self)
        if self.replica.primary is self:
            self.replica.primary = None
