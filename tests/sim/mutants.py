"""Deliberate breaks of the rules, for tests only: each must be caught by the simulator.

One for each of "Mistakes made here before" in the design of the protocol, and some more. A mutant replaces
methods or functions for as long as its context lasts; its name says what it breaks. Those of single replicas
and primaries are here, those of requests, reads and storage in `mutants_requests.py`, those of the controller
and of membership in `mutants_map.py`.
"""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from typing import Any

from ringkeep.core.context import Context
from ringkeep.core.protocol import quorum
from ringkeep.core.protocol.effects import Family
from ringkeep.core.protocol.hot_messages import Acks
from ringkeep.core.protocol.messages import Promise
from ringkeep.core.protocol.rows import Promised, promised_key
from ringkeep.core.protocol.types import Incarnation, Index
from ringkeep.core.replication.peer_progress import PeerProgress
from ringkeep.core.replication.primary import Primary
from ringkeep.core.replication.replica import Replica
from ringkeep.core.replication.replica_set import ReplicaSet
from ringkeep.core.snapshots.snapshot_receiver import Staging
from ringkeep.core.state.log import Log


@contextmanager
def patched(owner: Any, name: str, make: Callable[[Any], Any]) -> Iterator[None]:
    """Replace a method, or a module's function, by `make(original)`."""
    original = getattr(owner, name)
    setattr(owner, name, make(original))
    try:
        yield
    finally:
        setattr(owner, name, original)


@contextmanager
def together(*mutants: Any) -> Iterator[None]:
    """Break several rules at once: halves of one mistake."""
    with ExitStack() as stack:
        for mutant in mutants:
            stack.enter_context(mutant)
        yield


# --- acknowledgements and commitment --------------------------------------------------------------------


def ack_before_fsync() -> Any:
    """A backup acknowledges what is written, and not durable."""

    def make(end: Any) -> Any:
        def mutant(self: Context) -> Any:
            for peer, items in self.durable.acks.items():
                self.send(peer, Acks(items))
            self.durable.acks = {}
            return end(self)

        return mutant

    return patched(Context, "end", make)


def acknowledged_twice_counted_for_ever() -> Any:
    """Bytes that were sent twice stay counted as on their way when they are acknowledged the second time."""

    def make(_: Any) -> Any:
        def mutant(self: PeerProgress, peer: Any, index: Index) -> bool:
            self.heard[peer] = self._context.now
            if index <= self.match.get(peer, 0):
                return False
            self.match[peer] = index
            if index + 1 >= self.next.get(peer, 0):
                self.landed(peer)
            return True

        return mutant

    def at(_: Any) -> Any:
        def mutant(self: PeerProgress, peer: Any, position: Index, match: Any) -> None:
            if match is not None:
                self.match[peer] = max(match, self.match.get(peer, Index(0)))
            self.next[peer] = Index(position + 1)

        return mutant

    return together(patched(PeerProgress, "acknowledged", make), patched(PeerProgress, "at", at))


def own_copy_counted_unsynced() -> Any:
    """The primary counts its own copy as soon as it is written."""

    def make(append: Any) -> Any:
        def mutant(self: Primary, entry: Any) -> None:
            append(self, entry)
            self.progress.match[self.context.me] = entry.index

        return mutant

    return patched(Primary, "append", make)


def older_entry_committed_by_count() -> Any:
    """An entry of an older epoch is committed because a majority holds it."""

    def make(_: Any) -> Any:
        def mutant(self: Primary) -> None:
            if not self.leads:
                return
            if self.started:
                place, replica = self.place, self.replica
                reached = quorum.committed(place.voters, place.old_voters, self.progress.match)
                if reached > replica.commit:
                    if reached >= self.started:
                        self._commit(reached)
                    else:
                        replica.commit = reached
                        replica.apply()
            self._send_new()

        return mutant

    return patched(Primary, "on_stirred", make)


def commit_not_capped() -> Any:
    """A backup commits what it was told, whatever this epoch has matched."""

    def make(learn_commit: Any) -> Any:
        def mutant(self: Replica, told: Index) -> None:
            self.matched = max(self.matched, min(told, self.log.last_index))
            learn_commit(self, told)

        return mutant

    return patched(Replica, "learn_commit", make)


def ack_names_own_tail() -> Any:
    """A backup acknowledges the end of its log, not that of the Append."""

    def make(on_append: Any) -> Any:
        def mutant(self: Replica, peer: Any, incarnation: Any, message: Any) -> None:
            before = len(self.context.durable.acks.get(peer, ()))
            on_append(self, peer, incarnation, message)
            acks = self.context.durable.acks.get(peer, [])
            if len(acks) > before:
                acks[-1] = self.log.last_index

        return mutant

    return patched(Replica, "on_append", make)


# --- promises ---------------------------------------------------------------------------------------------


def promise_before_sync() -> Any:
    """A voter answers Prepare before its promise and its tail are durable."""

    def make(_: Any) -> Any:
        def mutant(self: Replica, peer: Any, incarnation: Any, message: Any) -> None:
            if self.promise(message.epoch, peer, incarnation):
                self.context.send(peer, _promise_of(self, message.epoch))

        return mutant

    return patched(Replica, "on_prepare", make)


def repeated_prepare_answered_early() -> Any:
    """A Prepare that comes again is answered at once, though the first one's sync is not over."""

    def make(on_prepare: Any) -> Any:
        def mutant(self: Replica, peer: Any, incarnation: Any, message: Any) -> None:
            if self.promised == (message.epoch, peer, incarnation):
                self.context.send(peer, _promise_of(self, message.epoch))
            else:
                on_prepare(self, peer, incarnation, message)

        return mutant

    return patched(Replica, "on_prepare", make)


def _promise_of(replica: Replica, epoch: Any) -> Promise:
    log = replica.log
    return Promise(replica.partition, epoch, log.last_epoch, log.last_index, replica.commit)


def promise_not_persisted() -> Any:
    """The promise is kept in memory only, and forgotten by a crash."""

    def make(promise: Any) -> Any:
        def mutant(self: Replica, *arguments: Any) -> Any:
            found = promise(self, *arguments)
            self.context.effects.batch.meta.pop(promised_key(self.partition), None)
            return found

        return mutant

    return patched(Replica, "promise", make)


def promise_deleted_with_the_replica() -> Any:
    """What a node has promised goes with the replica."""

    def make(delete: Any) -> Any:
        def mutant(self: Replica) -> None:
            delete(self)
            self.context.effects.batch.meta[promised_key(self.partition)] = None

        return mutant

    return patched(Replica, "delete", make)


def epoch_resumed_after_restart() -> Any:
    """A restarted primary goes on in its old epoch, and the voters do not look at incarnations."""

    def resume(follow: Any) -> Any:
        def mutant(self: ReplicaSet, partition: Any, place: Any) -> None:
            follow(self, partition, place)
            context, replica = self._context, self.replicas.get(partition)
            if replica is None:
                return
            held = replica.promised
            if place.primary == context.me and replica.primary is None and held.epoch == place.epoch:
                context.recognised = True
                replica.promised = Promised(held.epoch, context.me, context.incarnation)
                place = replace(place, incarnation=context.incarnation)
                replica.primary = self.primaries[partition] = Primary(context, self._node, replica, place)
                self.primaries[partition].start()

        return mutant

    def overlook(promise: Any) -> Any:
        def mutant(self: Replica, epoch: Any, node: Any, incarnation: Incarnation) -> Any:
            if (epoch, node) == (self.promised.epoch, self.promised.node):
                self.promised = Promised(epoch, node, incarnation)
            return promise(self, epoch, node, incarnation)

        return mutant

    return together(patched(ReplicaSet, "_follow", resume), patched(Replica, "promise", overlook))


# --- snapshots --------------------------------------------------------------------------------------------


def _swapping(after: Callable[[Staging, list[tuple[bytes, bytes]]], None]) -> Any:
    """Do something more right after a snapshot was swapped in; it is given the rows that stood before."""

    def make(switch: Any) -> Any:
        def mutant(self: Staging) -> None:
            replica = self.replica
            generation, rows = replica.generation, []
            if replica.staging is self:
                begin, end = replica.live_range()
                rows = replica.context.reader.scan(Family.DATA, begin, end, 1 << 30)
            switch(self)
            if replica.generation != generation:
                after(self, rows)

        return mutant

    return patched(Staging, "switch", make)


def snapshot_erases_the_suffix() -> Any:
    """A snapshot replaces the whole log, also what follows it and was acknowledged."""

    def after(self: Staging, _: Any) -> None:
        replica, log = self.replica, self.replica.log
        replica.delete_log(Index(log.floor_index + 1), log.last_index)
        replica.log = Log(log.floor_epoch, log.floor_index, log.floor_time, [])
        replica.matched = min(replica.matched, log.floor_index)
        replica.commit = replica.applied

    return _swapping(after)


def snapshot_merged() -> Any:
    """A snapshot is laid over what is there: what was deleted meanwhile stays."""

    def after(self: Staging, rows: list[tuple[bytes, bytes]]) -> None:
        replica = self.replica
        prefix, _ = replica.live_range()
        for key, value in rows:
            if replica.context.get(prefix + key[len(prefix) :]) is None:
                replica.context.effects.batch.data[prefix + key[len(prefix) :]] = value

    return _swapping(after)


def deduplication_lost_in_a_snapshot() -> Any:
    """The receiver of a snapshot forgets which requests took effect."""

    def after(self: Staging, _: Any) -> None:
        self.replica.state.sessions = type(self.replica.state.sessions)()

    return _swapping(after)


def snapshot_taken_too_soon() -> Any:
    """Staged rows are taken before it is durable that their generation is used: after a power loss the next
    snapshot is laid over them."""

    def impatient(on_tick: Any) -> Any:
        def mutant(self: Staging) -> None:
            if self.complete:
                self.switch()
            else:
                on_tick(self)

        return mutant

    def unsynced(on_chunk: Any) -> Any:
        def mutant(self: Staging, message: Any) -> None:
            calls = self.replica.context.durable.calls
            on_chunk(self, message)
            if self.switch in calls:
                calls.remove(self.switch)

        return mutant

    return together(patched(Staging, "on_tick", impatient), patched(Staging, "on_chunk", unsynced))


def snapshot_of_rows_not_stored() -> Any:
    """A snapshot is opened of a replica whose rows are not in the store yet."""
    return patched(Replica, "stored", lambda _: property(lambda self: True))


def deduplication_ahead_of_the_rows() -> Any:
    """The replica's row is written, and the rows of what is applied are not."""

    def alone(store_row: Any) -> Any:
        def mutant(self: Replica) -> None:
            written = self.written
            self.written = self.applied
            store_row(self)
            self.written = written

        return mutant

    return patched(Replica, "store_row", alone)


def log_cut_before_its_rows() -> Any:
    """The log is cut, and the rows of what is cut are not written."""

    def careless(delete_log: Any) -> Any:
        def mutant(self: Replica, first: Any, last: Any) -> None:
            delete_log(self, first, last)
            if last <= self.applied:
                self.state.unwritten.clear()

        return mutant

    return patched(Replica, "delete_log", careless)


OF_REPLICAS: dict[str, Callable[[], Any]] = {
    "ack before fsync": ack_before_fsync,
    "acknowledged twice, counted for ever": acknowledged_twice_counted_for_ever,
    "own copy counted unsynced": own_copy_counted_unsynced,
    "older entry committed by count": older_entry_committed_by_count,
    "backup's commit not capped": commit_not_capped,
    "ack names the backup's own tail": ack_names_own_tail,
    "promise answered before the sync": promise_before_sync,
    "repeated Prepare answered early": repeated_prepare_answered_early,
    "promise not persisted": promise_not_persisted,
    "promise deleted with the replica": promise_deleted_with_the_replica,
    "epoch resumed after a restart": epoch_resumed_after_restart,
    "snapshot erases an acknowledged suffix": snapshot_erases_the_suffix,
    "snapshot merged": snapshot_merged,
    "snapshot taken too soon": snapshot_taken_too_soon,
    "de-duplication lost in a snapshot": deduplication_lost_in_a_snapshot,
    "snapshot of rows not stored": snapshot_of_rows_not_stored,
    "de-duplication ahead of the rows": deduplication_ahead_of_the_rows,
    "log cut before its rows": log_cut_before_its_rows,
}
