"""A replica's role as the primary of one epoch: prepare, adopt, no-op, then replicate and commit.

Lives from the map that names it to the first higher promise or map. `execute.py` executes requests; confirmed
reads are in `confirmed_reads.py`.
Source of the rules: Raft (USENIX ATC 2014) section 5.4; Spinnaker (VLDB 2011) section 6.
"""

from collections.abc import Collection
from enum import IntEnum
from functools import partial
from typing import Protocol

from ringkeep.core.context import Context
from ringkeep.core.protocol import quorum
from ringkeep.core.protocol.client_requests import Kind, Status
from ringkeep.core.protocol.cluster_map import Partition
from ringkeep.core.protocol.entry import NO_ORIGIN, Entry, EntryKind, encode
from ringkeep.core.protocol.hot_messages import RETRY, Append, Reply
from ringkeep.core.protocol.keys import log_key
from ringkeep.core.protocol.messages import Entries, Lost, Prepare, Promise
from ringkeep.core.protocol.types import Epoch, Incarnation, Index, Millis, NodeId
from ringkeep.core.replication.budget import Budget
from ringkeep.core.replication.departed_coordinators import Departed
from ringkeep.core.replication.expiry import Expiry
from ringkeep.core.replication.in_sync import InSync
from ringkeep.core.replication.parked import Parked
from ringkeep.core.replication.peer_progress import PeerProgress
from ringkeep.core.replication.pending import Call, Pending
from ringkeep.core.replication.replica import Replica
from ringkeep.core.replication.results import answer_known, answer_with
from ringkeep.core.replication.takeover import Takeover
from ringkeep.core.state.deduplication import STALE
from ringkeep.core.state.log_clock import LogClock


class Phase(IntEnum):
    """How far the primary of an epoch has come."""

    PREPARING = 1  # asks for promises
    FETCHING = 2  # adopts the greatest log of a majority
    STARTING = 3  # commits the no-op of its epoch
    ACTIVE = 4
    DEPOSED = 5


class PrimaryHost(Protocol):
    """What a primary asks of its node."""

    budget: Budget

    def execute(self, primary: "Primary", call: Call) -> None:
        """Run a request at a primary of this node, or park it."""

    def confirm_read(
        self, primary: "Primary", call: Call, result: tuple[int, int] | None, evidence: Index
    ) -> None:
        """Answer with `result`, or the record if None, once confirmed and once `evidence` is committed."""

    def snapshot_wanted(self, primary: "Primary", peer: NodeId) -> None:
        """Send this peer the whole state."""

    def on_deposed(self, primary: "Primary") -> None:
        """A primary was deposed: only reads still wait at it."""


class Primary:
    """The primary of `epoch` on `replica`."""

    def __init__(self, context: Context, node: PrimaryHost, replica: Replica, partition: Partition) -> None:
        self.context = context
        self.node = node
        self.replica = replica
        self.epoch: Epoch = partition.epoch
        self.phase = Phase.PREPARING
        self.since: Millis = context.now
        self.takeover = Takeover(self)
        self.progress = PeerProgress(context, node.budget)
        self.in_sync = InSync()
        self.started = Index(0)  # the entry with which the epoch begins
        self.barrier = Index(0)  # while joint: the entry that both majorities must hold
        self.told = Index(0)
        self.confirmed_at: Millis = -1
        self.confirmed_probes: dict[NodeId, int] = {}
        self.clock = LogClock(context.now, context.bounds.clock_ahead_ms)
        self.pending = Pending()
        self.parked = Parked(context, node.budget)
        self.paused = False
        self.departed = Departed(self)
        self.expiry = Expiry(self, node.budget.removals)
        self.place = partition
        self.peers = tuple(node for node in partition.replicas if node != context.me)

    def follow(self, place: Partition) -> None:
        """Take the replicas from a newer map.

        From now on a joint change needs both majorities. It is settled once both hold an entry appended now:
        entries before it were committed by the old voters alone.
        """
        before, self.place = self.place, place
        if before.config == place.config or self.phase == Phase.DEPOSED:
            return
        self.peers = tuple(node for node in place.replicas if node != self.context.me)
        self.progress.keep_only((self.context.me, *self.peers))
        if self.takeover.keep_only(place.replicas):
            self.phase = Phase.PREPARING
        for peer in self.peers:
            if peer not in before.replicas:
                self.prepare(peer)
        self.barrier = Index(0)
        self.context.stirred[self] = None
        if self.phase == Phase.PREPARING:
            self.takeover.look()
        elif self.phase == Phase.ACTIVE and place.old_voters:
            self.context.count("joint_begun")
            self.barrier = self.append_own(EntryKind.NOOP)

    def won(self, yes: Collection[NodeId]) -> bool:
        """Return whether these nodes form the majorities that this primary needs."""
        return quorum.won(self.place.voters, self.place.old_voters, yes)

    @property
    def settled(self) -> bool:
        """Whether the joint change under way may end: both majorities hold an entry of its own."""
        return bool(self.place.old_voters) and 0 < self.barrier <= self.replica.commit

    def is_close(self, peer: NodeId) -> bool:
        """Return whether a replica lacks few enough entries to be given a vote or the primaryship."""
        match, near = self.progress.match.get(peer), self.context.bounds.log_entries // 16
        return match is not None and match >= self.replica.log.last_index - near

    def lacks_little(self, peer: NodeId) -> bool:
        """Return whether one message is enough to bring a replica's log up to date."""
        match, log, bounds = self.progress.match.get(peer), self.replica.log, self.context.bounds
        if match is None or match < log.floor_index:
            return False
        return match + len(log.slice(match, bounds.append_entries, bounds.append_bytes)) >= log.last_index

    @property
    def fills_whole(self) -> bool:
        """Whether an empty learner is sent the state: unless the log is short, sending entries costs more."""
        replica = self.replica
        long = replica.log.entry_bytes > self.context.bounds.log_bytes // 4
        return replica.log.floor_index > 0 or (long and replica.applied > 0)

    @property
    def leads(self) -> bool:
        """Whether it is not deposed: a higher promise of this node deposes it in the same step."""
        return self.phase is not Phase.DEPOSED

    @property
    def at_rest(self) -> bool:
        """Whether a tick has nothing to do for this primary: no peer lags, learns or should lead instead, and
        no request waits. Nothing is due to a peer without a link: its position is asked for as soon as there
        is one.
        """
        place, commit, last = self.place, self.replica.commit, self.replica.log.last_index
        if self.phase != Phase.ACTIVE or self.paused or self.told < commit or commit < last:
            return False
        if self.parked or self.confirmed_probes or self.departed.waits or self.expiry.waits:
            return False
        if place.learner is not None or place.old_voters or place.voters[0] != self.context.me:
            return False
        links, progress = self.context.links, self.progress
        return all(peer not in links or progress.has_all(peer, last) for peer in self.peers)

    @property
    def may_execute(self) -> bool:
        """Whether requests are executed just now, and not parked."""
        kept = self.phase == Phase.ACTIVE and self.leads and self.context.disks.own.answers
        return kept and not self.paused

    # --- taking office --------------------------------------------------------------------------------

    def start(self) -> None:
        """Promise, and ask all peers for promises. Call once, after `replica.primary` is set."""
        replica = self.replica
        self.context.watched[replica.partition] = None
        if not replica.promise(self.epoch, self.context.me, self.context.incarnation):
            self.depose()
            return
        own = Promise(
            replica.partition, self.epoch, replica.log.last_epoch, replica.log.last_index, replica.commit
        )
        me, life = self.context.me, self.context.incarnation
        self.context.durable.calls.append(partial(self.on_promise, me, life, own))
        for peer in self.peers:
            self.prepare(peer)

    def prepare(self, peer: NodeId) -> None:
        """Ask a peer for its promise and position: at the start, and whenever the position is in doubt."""
        self.context.watched[self.replica.partition] = None
        self.progress.mark_unknown(peer)
        if peer not in self.context.links:
            return
        question = Prepare(self.replica.partition, self.epoch)
        if self.progress.uses_bulk(peer):  # behind entries that may be on their way: the answer counts them
            self.context.send_bulk(peer, question, 0)
        else:
            self.context.send(peer, question)

    def on_promise(self, peer: NodeId, life: Incarnation, message: Promise) -> None:
        """Count a promise; with a majority, adopt the greatest log; later on, learn a peer's position."""
        if message.epoch != self.epoch or self.phase == Phase.DEPOSED or peer not in self.place.replicas:
            return
        self.context.watched[self.replica.partition] = None
        if self.progress.lacks(peer, life, message, self.takeover.held_by(peer)):
            self._on_lost(peer)
            return
        self.takeover.promises[peer] = message
        self.progress.heard[peer] = self.context.now
        if self.phase == Phase.PREPARING:
            self.takeover.look()
        elif self.phase in (Phase.STARTING, Phase.ACTIVE) and peer != self.context.me:
            self._learn_position(peer, message)

    def _on_lost(self, peer: NodeId) -> None:
        """A peer lacks what it held in an earlier life: inform it, and do not count its copy any more."""
        self.context.count("loss_noticed")
        self.progress.landed(peer)
        if peer in self.context.links:
            lost = Lost(self.replica.partition, self.epoch, *self.progress.lost[peer])
            self.context.send(peer, lost)
        if self.takeover.keep_only(tuple(node for node in self.place.replicas if node != peer)):
            self.phase = Phase.PREPARING
            self.takeover.look()

    def on_fetching(self) -> None:
        """Another node has the greatest log: it is adopted first."""
        self.phase = Phase.FETCHING
        self.context.count("tail_fetched")

    def on_entries(self, peer: NodeId, message: Entries) -> None:
        """Adopt fetched entries."""
        if self.phase == Phase.FETCHING:
            self.takeover.on_entries(peer, message)

    def on_snapshot(self) -> None:
        """A snapshot was switched to while fetching: continue from it."""
        if self.phase == Phase.FETCHING:
            self.takeover.fetch()

    def on_transfer(self) -> None:
        """A snapshot moves on: until it is complete, another primary would only have to begin anew."""
        if self.phase in (Phase.FETCHING, Phase.STARTING):
            self.since = self.context.now

    @property
    def awaits_copies(self) -> bool:
        """Whether it serves nobody until a majority has its log."""
        return self.phase == Phase.STARTING

    def begin(self) -> None:
        """Begin the epoch with an entry of its own: only such an entry may be counted for commitment."""
        self.phase = Phase.STARTING
        if self.replica.log.last_index < self.place.base:
            self.replica.continue_above(self.place.base, self.epoch)
        self.clock.start(self.context.now, max(self.replica.log.last_time, self.replica.clock))
        self.started = self.append_own(EntryKind.NOOP)
        for peer, promise in self.takeover.promises.items():
            if peer != self.context.me:
                self._learn_position(peer, promise)

    def append_own(self, kind: EntryKind, tail: bytes = b"") -> Index:
        """Append an entry that no client asked for; return its index."""
        index = Index(self.replica.log.last_index + 1)
        self.append(Entry(kind, self.epoch, index, self.log_time, NO_ORIGIN, 0, 0, tail=tail))
        return index

    def _learn_position(self, peer: NodeId, promise: Promise) -> None:
        """Find from a promise where a peer's log agrees with this one, and send on from there.

        Not while its disk takes no entries: its position is asked for again once it does.
        """
        if not self.context.disks.takes_entries(peer):
            return
        log = self.replica.log
        last = promise.last_index
        if log.floor_index <= last <= log.last_index and log.epoch_at(last) == promise.last_epoch:
            position, match = last, last
        else:
            position, match = promise.commit, None
            assert position <= log.last_index, "committed entries are in every later primary's log"
        if position < log.floor_index or (position == 0 and peer == self.place.learner and self.fills_whole):
            self.context.count("snapshot_needed")
            self.node.snapshot_wanted(self, peer)
            return
        self.progress.at(peer, position, match)
        self.context.stirred[self] = None
        append = self._make_append(self.progress.next[peer])
        if append is not None:
            self.progress.send(peer, append)  # even without entries: the peer learns how far its log matches

    # --- replicating ----------------------------------------------------------------------------------

    @property
    def log_time(self) -> Millis:
        """The log time of an entry that is appended now."""
        return self.clock.read(self.context.now)

    def append(self, entry: Entry) -> None:
        """Put an entry at the end of the log: persisted here and sent to the backups with this turn."""
        replica = self.replica
        assert entry.index == replica.log.last_index + 1, "an (epoch, index) is given out once"
        assert self.leads
        data = encode(entry)
        replica.log.append(self.epoch, data)
        self.context.effects.batch.log[log_key(replica.partition, entry.index)] = data
        self.context.durable.own[self] = entry.index
        self.context.stirred[self] = None

    def on_own_durable(self, index: Index) -> None:
        """Count this node's own copy, which is durable now."""
        news = self.leads and self.progress.acknowledged(self.context.me, index)
        if news and index > self.replica.commit:
            self.context.stirred[self] = None

    def on_ack(self, peer: NodeId, life: Incarnation, index: Index) -> None:
        """A backup holds everything up to `index` durably.

        Ignored while it is not known where the peer stands: since the Append was sent, the replica may have
        been deleted and created again.
        """
        progress = self.progress
        if not progress.stands(peer, life) or not progress.acknowledged(peer, index):
            return
        last = self.replica.log.last_index
        assert index <= last, "acknowledged, but never sent"
        if index > self.replica.commit or progress.next.get(peer, 0) <= last:
            self.context.stirred[self] = None

    def on_stirred(self) -> None:
        """At the end of the turn: commit what a majority holds, and send what is new."""
        if not self.leads:
            return
        self.context.watched[self.replica.partition] = None
        if self.started:
            reached = quorum.committed(self.place.voters, self.place.old_voters, self.progress.match)
            if reached >= self.started and reached > self.replica.commit:
                self._commit(reached)
        self._send_new()

    def _commit(self, index: Index) -> None:
        self.replica.commit = index
        self.replica.apply()
        if self.phase == Phase.STARTING:
            self.phase = Phase.ACTIVE
            self.barrier = self.started
            self.replica.caught_up = True
            self.context.count("became_active")
            self.unpark()

    def unpark(self) -> None:
        """Execute the parked requests, if this primary may execute now."""
        for call in self.parked.take_all() if self.may_execute else []:
            self.node.execute(self, call)

    def _send_new(self) -> None:
        """One Append per peer; backups at the same position share the message."""
        last, sent = self.replica.log.last_index, 0
        shared: Append | None = None
        fallen: list[NodeId] = []
        for peer, position in self.progress.next.items():
            if position > last or not self.progress.has_room(peer):
                continue  # nothing new, or a slow peer: the tick checks again
            if shared is None or shared.prev_index != position - 1:
                shared = self._make_append(position)
                if shared is None:
                    fallen.append(peer)
                    continue
            if self.progress.is_held_back(peer, shared):
                continue
            self.progress.send(peer, shared)
            sent += 1
        for peer in fallen:
            self.prepare(peer)  # its answer shows that it needs a snapshot
        if sent == len(self.peers):
            self.told = self.replica.commit

    def _make_append(self, position: Index) -> Append | None:
        log, replica, bounds = self.replica.log, self.replica, self.context.bounds
        before = Index(position - 1)
        if before < log.floor_index:
            return None  # the window moved on before all was sent
        entries = log.slice(before, bounds.append_entries, bounds.append_bytes)
        return Append(replica.partition, self.epoch, log.epoch_at(before), before, replica.commit, entries)

    def on_refused(self, peer: NodeId, epoch: Epoch, promised: Epoch) -> None:
        """A voter did not take something: deposed, or its position is not what was thought."""
        if epoch != self.epoch:
            return
        if promised > self.epoch:
            self.context.count("deposed_by_refusal")
            self.depose()
        elif self.phase in (Phase.STARTING, Phase.ACTIVE) and peer in self.peers:
            self.prepare(peer)

    def durable_at(self, peer: NodeId) -> Index:
        """Return the index up to which a peer is known to hold the log durably."""
        return self.progress.match.get(peer, Index(0))

    # --- requests, time and the end -------------------------------------------------------------------

    def appended_here(self, index: Index) -> Entry | None:
        """Return the entry at `index`, once, if this primary appended it for a call: no need to decode it."""
        return self.pending.entries.pop(index, None)

    def on_applied(self, entry: Entry, status: int, version: int) -> None:
        """Answer the requests that waited for this entry."""
        for call in self.pending.applied(entry):
            if entry.result and not call.result and version == entry.index and status >= 0:
                answer_with(self, call, status, version, entry.result)
            else:
                answer_known(self, call, status, version)

    def answer(
        self,
        call: Call,
        status: int,
        version: int = 0,
        value: bytes = b"",
        content_type: bytes = b"",
        detail: str = "",
        ttl: Millis = 0,
    ) -> None:
        """Answer a request's coordinator."""
        active = self.phase == Phase.ACTIVE and self.leads
        message = call.message
        reply = Reply(
            message.tag, message.epoch, status, active, version, value, content_type, detail, ttl=ttl
        )
        self.context.reply(call.caller, reply)

    def refuse(self, call: Call, status: Status, detail: str) -> None:
        """Answer that a request is not executed. This settles all its earlier copies, so none of them may run
        any more: a parked copy is removed; if a copy was appended, its result is answered instead.
        """
        self.parked.take_out(call)
        if not self.answer_appended(call):
            self.answer(call, status, detail=detail)

    def answer_appended(self, call: Call) -> bool:
        """Answer a write of which an earlier copy was appended, now or when that is applied; False if none
        was. Also checked before a copy is parked, because the earlier copy's answer need not wait.
        """
        message, pending = call.message, self.pending
        if message.kind == Kind.GET:
            return False
        known = self.replica.state.sessions.find(message.origin, message.counter)
        if known is not None:
            self.context.count("duplicate_answered")
            answer_known(self, call, *known)
            return True
        index = pending.ids.get((message.origin, message.counter))
        if index is not None:
            self.context.count("duplicate_waits")
            pending.calls[index].append(call)
            return True
        if outdated := pending.outdates(message.origin, message.counter):
            answer_known(self, call, *STALE)
        return outdated

    def on_tick(self) -> None:
        """Ask silent peers again; give up requests past their deadline."""
        now = self.context.now
        last = self.replica.log.last_index
        if self.phase == Phase.FETCHING:
            self.takeover.on_tick()
        for peer in self.peers:
            if peer not in self.context.links or (
                self.started and not self.context.disks.takes_entries(peer)
            ):
                continue
            if self.progress.is_silent(peer, last):
                if self.phase == Phase.PREPARING and peer in self.takeover.promises:
                    continue
                self.context.count("position_asked_again")
                self.prepare(peer)
            elif self.progress.next.get(peer, last + 1) <= last:
                self.context.stirred[self] = None
        self.departed.on_tick()
        if self.may_execute:
            self.expiry.on_tick()
        for call in self.parked.take_late(now):
            self.refuse(call, Status.UNAVAILABLE, "the partition had no active primary until the deadline")

    def depose(self) -> None:
        """Stop being the primary.

        Appended requests are answered by the primary that commits them; the rest is sent back.
        """
        if self.phase == Phase.DEPOSED:
            return
        self.phase = Phase.DEPOSED
        self.context.count("deposed")
        self.progress.clear()
        for call in self.parked.take_all():
            self.answer(call, RETRY)
        if self.replica.primary is self:
            self.replica.primary = None
        self.node.on_deposed(self)
