"""One replica of one partition: its durable state, and what it does as a voter.

Its role as the primary is in `primary.py`; snapshots are in `snapshot_sender.py` and `snapshot_receiver.py`.
Rules and their reasons: `docs/guarantees.md`.
"""

from functools import partial
from typing import Protocol

from ringkeep.core.cluster.feature_level import OPERATIONS
from ringkeep.core.context import Context
from ringkeep.core.protocol.effects import Family
from ringkeep.core.protocol.entry import Entry, decode, epoch_of, is_known, renumbered
from ringkeep.core.protocol.hot_messages import Append
from ringkeep.core.protocol.keys import after, data_prefix, log_key
from ringkeep.core.protocol.messages import Entries, Prepare, Promise, Refuse
from ringkeep.core.protocol.rows import (
    FRESH,
    NOBODY,
    KeptHistory,
    Promised,
    ReplicaRow,
    applied_key,
    decode_applied,
    decode_promised,
    decode_replica,
    encode_applied,
    encode_promised,
    encode_replica,
    promised_key,
    replica_key,
)
from ringkeep.core.protocol.types import Epoch, Incarnation, Index, Millis, NodeId, PartitionId
from ringkeep.core.state.deduplication import Sessions
from ringkeep.core.state.history import History
from ringkeep.core.state.log import Log, delete_entries, stored_entries
from ringkeep.core.state.snapshot_flow import Urgency
from ringkeep.core.state.state_machine import State


class Leading(Protocol):
    """A replica's role as the primary of an epoch, as far as the replica and its transfers need it."""

    epoch: Epoch
    peers: tuple[NodeId, ...]
    confirmed_at: Millis

    @property
    def log_time(self) -> Millis:
        """The log time now, as confirmed; too early until the primary is ACTIVE."""

    def appended_here(self, index: Index) -> Entry | None:
        """Return the entry at `index`, once, if this primary appended it for a call."""

    def on_applied(self, entry: Entry, status: int, version: int) -> None:
        """An entry of `appended_here` is applied."""

    def on_snapshot(self) -> None:
        """A snapshot was switched to."""

    def on_transfer(self) -> None:
        """A snapshot of its partition was sent or received a little further."""

    @property
    def awaits_copies(self) -> bool:
        """Whether it serves nobody until a majority has its log."""

    def durable_at(self, peer: NodeId) -> Index:
        """Return up to where a peer is known to hold the log durably."""

    def depose(self) -> None:
        """Stop being the primary."""


class Filling(Protocol):
    """A snapshot that is being staged for a replica."""

    generation: int


class Replica:
    """Durable: promised, log, applied state.

    Volatile: commit, what this epoch matched, the primary's role.
    """

    __slots__ = (
        "_clock", "applied", "caught_up", "commit", "context", "deleted", "followed", "fresh_at",
        "generation", "history", "log", "matched", "next_generation", "partition", "pins", "primary",
        "promised", "staging", "state", "swapped_in", "write_down_in", "written", "written_in",
    )  # fmt: skip

    def __init__(self, context: Context, partition: PartitionId) -> None:
        """Load the stored replica; a partition never held here starts empty."""
        self.context = context
        self.partition = partition
        reader = context.reader
        stored = reader.get(Family.META, replica_key(partition))
        row = decode_replica(stored) if stored is not None else FRESH
        promised = reader.get(Family.META, promised_key(partition))
        applied = reader.get(Family.META, applied_key(partition))
        self.promised = decode_promised(promised) if promised is not None else NOBODY
        self.applied, data_bytes = decode_applied(applied) if applied is not None else (Index(0), 0)
        self.written = self.commit = self.applied  # `written`: up to where what was applied is in the store
        self.written_in = -1  # the turn in which that was written: the store shows it after it
        self.write_down_in = -1  # the turn in which everything is written down as it is applied
        self.generation, self.next_generation = row.generation, row.next_generation
        entries = stored_entries(reader, partition, row.floor_index)
        self.log = Log(row.floor_epoch, row.floor_index, row.floor_time, entries)
        assert row.floor_index <= self.applied <= self.log.last_index, "what was applied was logged before"
        assert row.sessions_index <= self.applied, "what is known of requests is known of their rows too"
        self.state = State(context, partition, row.generation, Sessions.decode(row.sessions), data_bytes)
        self.history = History(row.history or KeptHistory(row.sessions_index))
        self.followed = False  # somebody is told the changes as they are applied
        context.note_history(self, self.history.size)
        self._replay_sessions(row.sessions_index)
        self.matched = Index(0)
        self._clock: tuple[Epoch, Millis] = (Epoch(0), 0)  # the highest log time that a primary told
        self.caught_up = False
        self.deleted = False
        self.fresh_at: Millis = -1
        self.swapped_in = -1  # the turn in which a snapshot was switched to: the store has its rows after it
        self.primary: Leading | None = None
        self.staging: Filling | None = None
        self.pins: dict[int, Index] = {}  # by snapshot being sent: the log from there on is still wanted
        if stored is None:
            context.effects.batch.meta[replica_key(partition)] = encode_replica(row)
        elif row.next_generation > 2:
            self._drop_other_generations()

    def _drop_other_generations(self) -> None:
        """Delete what an earlier life staged and never switched to, or had not finished deleting."""
        live = data_prefix(self.partition, self.generation)
        batch = self.context.effects.batch
        batch.delete_data(data_prefix(self.partition, 0), live)
        # Not beyond: where a range was deleted lately, the next snapshot could not be taken in so cheaply.
        batch.delete_data(after(live), data_prefix(self.partition, self.next_generation))

    def _replay_sessions(self, sessions_index: Index) -> None:
        for index in range(sessions_index + 1, self.applied + 1):
            self.state.replay(decode(self.log[Index(index)]))
        self._note_skipped()

    # --- the log's clock ------------------------------------------------------------------------------

    @property
    def clock(self) -> Millis:
        """The highest log time told by the primary of the newest entries here; 0 if it told none.

        A time from before them is void: their primary may not have heard of it, and what they let live was
        counted from an earlier one.
        """
        epoch, time = self._clock
        return time if epoch >= self.log.last_epoch else 0

    def learn_clock(self, epoch: Epoch, time: Millis) -> None:
        """The primary of this epoch tells its log time."""
        self._clock = max(self._clock, (epoch, time))

    # --- promises -------------------------------------------------------------------------------------

    def promise(self, epoch: Epoch, node: NodeId, incarnation: Incarnation) -> bool:
        """Follow this primary from now on; False (and nothing changed) if a higher or other promise stands.

        In memory at once, so that lower epochs are refused from this moment; durable with the turn's batch.
        """
        wanted = Promised(epoch, node, incarnation)
        if wanted == self.promised:
            return True
        if epoch <= self.promised.epoch:
            if epoch == self.promised.epoch:
                self.context.alarm(
                    f"partition {self.partition}: epoch {epoch} has two holders: a forked cluster map"
                )
            return False
        self.promised = wanted
        self.matched = Index(0)
        self.drop_staging()
        if self.primary is not None and self.primary.epoch < epoch:
            self.primary.depose()
        self.context.effects.batch.meta[promised_key(self.partition)] = encode_promised(wanted)
        return True

    def on_prepare(self, peer: NodeId, incarnation: Incarnation, message: Prepare) -> None:
        """Promise; report the end of the log, unsynced entries included, once all of it is durable."""
        if not self.promise(message.epoch, peer, incarnation):
            self.context.send(peer, Refuse(self.partition, message.epoch, self.promised.epoch))
            return
        log = self.log
        answer = Promise(self.partition, message.epoch, log.last_epoch, log.last_index, self.commit)
        self.context.durable.calls.append(partial(self._tell_promise, peer, answer))

    def _tell_promise(self, peer: NodeId, answer: Promise) -> None:
        if not self.deleted and not self.context.damaged:  # the answer does not describe the log any more
            self.context.send(peer, answer)

    # --- the log, as a backup -------------------------------------------------------------------------

    def on_append(self, peer: NodeId, incarnation: Incarnation, message: Append) -> None:
        """Take the entries if they follow what is here; acknowledge them once they are durable."""
        sender = (message.epoch, peer, incarnation)
        if self.promised != sender and not self.promise(*sender):
            self.context.count("append_refused_epoch")
            self.context.send(peer, Refuse(self.partition, message.epoch, self.promised.epoch))
            return
        if not self.log.matches(message.prev_epoch, message.prev_index):
            self.context.count("append_refused_mismatch")
            self.context.send(peer, Refuse(self.partition, message.epoch, self.promised.epoch))
            return
        last = self.extend(message.prev_index, message.entries)
        if last > self.matched:
            self.matched = last
        self.learn_commit(message.commit)
        acks = self.context.durable.acks.get(peer)
        if acks is None:
            acks = self.context.durable.acks[peer] = []
        acks += (self.partition, message.epoch, last)

    def extend(self, prev_index: Index, entries: list[bytes]) -> Index:
        """Write entries that follow a matching `prev_index`; return the index of the last of them.

        What is here already stays; the suffix is cut only at an entry that differs, never below commit.
        """
        log, rows = self.log, self.context.effects.batch.log
        index = prev_index
        for entry in entries:
            if not is_known(entry):
                self.context.count("entry_of_newer_version")
                break
            index = Index(index + 1)
            if index <= log.floor_index:
                continue
            epoch = epoch_of(entry)
            if index <= log.last_index:
                if log.epoch_at(index) == epoch:
                    continue
                self.cut_after(Index(index - 1))
            log.append(epoch, entry)
            rows[log_key(self.partition, index)] = entry
        return index

    def cut_after(self, index: Index) -> None:
        """Drop a conflicting suffix."""
        assert index >= self.commit, "a committed entry is never cut"
        self.context.count("suffix_cut")
        self.delete_log(Index(index + 1), self.log.last_index)
        self.log.cut_after(index)

    def learn_commit(self, told: Index) -> None:
        """Raise commit to the index that the primary sent, but not past what an Append of this epoch has
        matched. No client waits for a backup to apply: it applies several entries together, at the next tick
        at the latest.
        """
        commit = min(told, self.matched)
        if commit < told:
            self.context.count("commit_capped")
        if commit > self.commit:
            self.commit = commit
            if commit - self.applied >= self.context.bounds.apply_at_once:
                self.apply_late()
            else:
                self.context.unapplied[self] = None
        if commit >= told:
            self.caught_up = True

    # --- applying -------------------------------------------------------------------------------------

    @property
    def readable(self) -> bool:
        """Whether the applied state can be read: after a snapshot, only from the next turn on."""
        return self.swapped_in != self.context.turn

    def apply(self) -> None:
        """Apply what is committed, answer the requests that wait for it, and keep the window bounded."""
        if self.applied == self.commit:
            return
        if not self.readable:
            self.context.unapplied[self] = None
            return
        self._apply_to(self.commit)

    @property
    def applied_time(self) -> Millis:
        """The log time of what was applied last."""
        return self.log.time_at(self.applied)

    def apply_late(self) -> None:
        """Apply what is committed, as a backup: nobody waits for it, so within the bound of one turn."""
        context, last = self.context, self.applied
        if self.primary is None and self.readable:
            while last < self.commit and not context.turn_is_full:
                last = Index(last + 1)
                context.turn_bytes += len(self.log[last])
            if last < self.commit:
                context.unapplied[self] = None
            if last > self.applied:
                self._apply_to(last)
        else:
            self.apply()

    def _apply_to(self, last: Index) -> None:
        primary, state, log = self.primary, self.state, self.log
        for number in range(self.applied + 1, last + 1):
            entry = primary.appended_here(Index(number)) if primary is not None else None
            if entry is not None:
                assert primary is not None
                self.context.turn_bytes += entry.value_bytes
                primary.on_applied(entry, *state.apply(entry))
            else:
                state.apply(decode(log[Index(number)]))
        self.applied = last
        if state.skipped:
            self._note_skipped()
        if self.followed:
            self.context.news[self] = None
        kept, bounds = self.applied - log.floor_index, self.context.bounds
        if state.unwritten_bytes > bounds.unwritten_bytes or self.write_down_in == self.context.turn:
            self.write_down()
        if kept > 2 * bounds.log_entries or (log.entry_bytes > 2 * bounds.log_bytes and kept > 1):
            self._trim(bounds.log_bytes, self.applied)
        self.context.note_log(self, log.entry_bytes)

    def continue_above(self, base: Index, epoch: Epoch) -> None:
        """After a loss: continue this log above `base`, as after a snapshot of what it knows to be committed.
        Holders of older copies are sent the state, because this log does not reach back to them. The entries
        after that may have been acknowledged, and are appended again: the lost copies may have held others at
        their indices.
        """
        assert base > self.log.last_index, "no index is given out twice"
        self.apply()
        self.end_history(base)
        old = self.log
        rest = [decode(old[Index(number)]) for number in range(self.applied + 1, old.last_index + 1)]
        self.delete_log(Index(old.floor_index + 1), old.last_index)
        self.log = Log(epoch, base, old.time_at(self.applied), [])
        self.applied = self.commit = base
        self.write_down()
        self.store_row()
        for entry in renumbered(rest, epoch, base):
            self.log.append(epoch, entry)
            self.context.effects.batch.log[log_key(self.partition, self.log.last_index)] = entry
        self.context.count("went_on_above")
        self.context.count("appended_anew", len(rest))

    def trim_sooner(self, most: int) -> None:
        """Keep at most so many bytes of what is applied: all logs of the node together have too many.

        What a peer that answers lacks stays: it would have to be sent the whole state.
        """
        primary, links = self.primary, self.context.links
        held = [primary.durable_at(peer) for peer in primary.peers if peer in links] if primary else []
        self._trim(most, min(self.applied, *held) if held else self.applied)
        self.context.note_log(self, self.log.entry_bytes)

    def _trim(self, most: int, last: Index) -> None:
        """Cut the applied part of the window, up to `last` at most, to `most` bytes and half its bound of
        entries, in one step, so that each entry costs little. Entries that a running transfer still needs
        stay."""
        log, context = self.log, self.context
        floor = Index(max(log.floor_index, self.applied - context.bounds.log_entries))
        excess = log.entry_bytes - sum(len(log[Index(i)]) for i in range(log.floor_index + 1, floor + 1))
        while floor < self.applied and excess > most:
            floor = Index(floor + 1)
            excess -= len(log[floor])
        floor = min(floor, last, *self.pins.values())
        if floor > log.floor_index:
            self.write_down()
            self._leave_window(floor)
            log.raise_floor(floor)
            context.count("log_trimmed")
            self.store_row()

    def _leave_window(self, floor: Index) -> None:
        """Keep the rows up to the new floor as history, or delete them: those before it, and all while nodes
        are older than that."""
        log, history = self.log, self.history
        if self.context.feature_level >= OPERATIONS:
            first = max(log.floor_index, history.begin)
            history.grow(floor, sum(len(log[Index(i)]) for i in range(first + 1, floor + 1)))
            self.context.note_history(self, history.size)
        else:
            history.cut_to(max(history.begin, floor))
        last = min(history.begin, floor)
        if last > log.floor_index:
            self.delete_log(Index(log.floor_index + 1), last)

    def cut_history(self, most: int) -> None:
        """Delete the oldest rows below the window, so that at most so many bytes are left."""
        begin, end = self.history.begin, self.history.excess(most)
        if end > begin:
            self.context.count("history_cut")
            self.delete_log(Index(begin + 1), end)
            self.history.cut_to(end)
            self.context.note_history(self, self.history.size)
            self.store_row()

    def end_history(self, begin: Index) -> None:
        """Tell only what follows `begin` from now on; delete all rows below the window, before it is changed.
        The row must be stored after it.
        """
        if self.history.begin < self.log.floor_index:
            self.delete_log(Index(self.history.begin + 1), self.log.floor_index)
        self.history.cut_to(begin)
        self.context.note_history(self, 0)
        if self.followed:
            self.context.news[self] = None

    def _note_skipped(self) -> None:
        self.history.skip(self.state.skipped)
        self.state.skipped = []

    def delete_log(self, first: Index, last: Index) -> None:
        """Delete stored entries, including those put in this turn."""
        delete_entries(self.context.effects.batch, self.partition, first, last)

    def drop_staging(self) -> None:
        """Drop a snapshot that is being staged, and its rows."""
        staging = self.staging
        if staging is None:
            return
        self.staging = None
        self.delete_generation(staging.generation)
        self.context.count("staging_dropped")

    def delete_generation(self, generation: int) -> None:
        """Delete the rows of one generation, including those put in this turn."""
        prefix = data_prefix(self.partition, generation)
        self.context.effects.batch.delete_data(prefix, after(prefix))

    def delete(self) -> None:
        """Delete everything but `promised`, which outlives the replica."""
        if self.primary is not None:
            self.primary.depose()
        self.drop_staging()
        self.deleted = True
        self.context.unapplied.pop(self, None)
        self.context.note_log(self, 0)
        self.end_history(self.log.last_index)
        batch = self.context.effects.batch
        self.delete_log(Index(self.log.floor_index + 1), self.log.last_index)
        batch.delete_data(data_prefix(self.partition, 0), after(data_prefix(self.partition, 2**32 - 2)))
        batch.meta[replica_key(self.partition)] = batch.meta[applied_key(self.partition)] = None

    def write_down(self) -> None:
        """Write the applied rows and the applied index, with this turn's batch."""
        if self.written == self.applied:
            return
        self.written, self.written_in = self.applied, self.context.turn
        self.state.write_down()
        row = encode_applied(self.applied, self.state.data_bytes)
        self.context.effects.batch.meta[applied_key(self.partition)] = row

    @property
    def stored(self) -> bool:
        """Whether the store shows all that is applied, and nothing else."""
        return self.written == self.applied and self.written_in != self.context.turn

    def write_down_from_now(self) -> None:
        """Write down what is applied, in this turn as it is applied: the next finds all of it stored."""
        self.write_down_in = self.context.turn
        self.write_down()
        self.context.effects.again = True

    def store_row(self) -> None:
        """Write the replica's row: floor, generation, and de-duplication as of what is applied.

        With the rows of what is applied: a start applies nothing of which de-duplication knows already.
        """
        self.write_down()
        log = self.log
        history = self.history.kept if self.context.feature_level >= OPERATIONS else None
        row = ReplicaRow(
            self.generation, self.next_generation, log.floor_epoch, log.floor_index, log.floor_time,
            self.applied, self.state.sessions.encode(), history,
        )  # fmt: skip
        self.context.effects.batch.meta[replica_key(self.partition)] = encode_replica(row)

    # --- serving a new primary ------------------------------------------------------------------------

    def entries_after(self, index: Index) -> Entries | None:
        """Return the entries after `index`, as many as one message may carry; None if the log begins
        later."""
        log, bounds = self.log, self.context.bounds
        if index < log.floor_index:
            return None
        entries = log.slice(index, bounds.append_entries, bounds.append_bytes)
        return Entries(self.partition, self.promised.epoch, log.epoch_at(index), index, entries)

    def urgency_for(self, receiver: NodeId) -> Urgency:
        """Return how urgently a node needs this partition's state."""
        if self.promised.node == receiver or (self.primary is not None and self.primary.awaits_copies):
            return Urgency.TAKEOVER
        cluster_map = self.context.cluster_map
        learns = cluster_map is not None and cluster_map.partitions[self.partition].learner == receiver
        return Urgency.MOVE if learns else Urgency.VOTER

    def live_range(self) -> tuple[bytes, bytes]:
        """Return the key range of the live generation."""
        prefix = data_prefix(self.partition, self.generation)
        return prefix, after(prefix)
