"""Deliberate breaks of what operations and expiry rely on. See `mutants.py`. They show in the worlds in which
clients try operations.
"""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from tests.sim.mutants import patched, together

from ringkeep.core.cluster import planner
from ringkeep.core.cluster.feature_level import NEWEST, SETTING
from ringkeep.core.execution import batches, execute
from ringkeep.core.execution.found import Found, holds
from ringkeep.core.protocol.batch import CHECK, Outcome, Step
from ringkeep.core.protocol.client_requests import Status
from ringkeep.core.protocol.cluster_map import ClusterMap
from ringkeep.core.protocol.entry import Entry, EntryKind
from ringkeep.core.protocol.record import deadline_of, is_parted, rows_bytes, version_of
from ringkeep.core.protocol.types import Millis
from ringkeep.core.replication import results
from ringkeep.core.replication.expiry import Expiry, removal
from ringkeep.core.replication.primary import Primary
from ringkeep.core.requests.confirmed_reads import ConfirmedReads
from ringkeep.core.requests.stale_reads import StaleReads
from ringkeep.core.state.log_clock import LogClock
from ringkeep.core.state.operations import UNREAD
from ringkeep.core.state.state_machine import State
from ringkeep.sim.world.machine import SimMachine


def absence_before_its_removal() -> Any:
    """A read of a record that is due is answered before its removal is committed: after a failover the record
    is there again."""

    def make(_: Any) -> Any:
        def mutant(
            self: ConfirmedReads, primary: Primary, call: Any, record: bytes, deadline: Millis
        ) -> None:
            key = call.message.key
            if key not in primary.pending.newest:
                due = removal(key, version_of(record), rows_bytes(key, record), deadline)
                primary.expiry.remove([due])
                self._context.effects.again = True
            primary.answer(call, Status.NOT_FOUND)

        return mutant

    return patched(ConfirmedReads, "_serve_due", make)


def expiry_by_a_backups_clock() -> Any:
    """A replica goes on with its own clock from the log time that it knows."""
    known: dict[State, tuple[Millis, Millis]] = {}

    class Ahead:
        """A replica whose applied log time runs on."""

        def __init__(self, replica: Any) -> None:
            self._replica = replica

        def __getattr__(self, name: str) -> Any:
            return getattr(self._replica, name)

        @property
        def applied_time(self) -> Millis:
            state: State = self._replica.state
            time, now = self._replica.applied_time, self._replica.context.now
            seen, since = known.get(state, (-1, 0))
            if seen != time:
                known[state] = time, now
                since = now
            return int(time + now - since)

    def make(answer: Any) -> Any:
        def mutant(self: StaleReads, caller: Any, message: Any) -> bool:
            replicas = self._replicas
            replica = replicas.get(message.partition)
            if replica is not None:
                self._replicas = {message.partition: Ahead(replica)}  # type: ignore[dict-item]
            answered: bool = answer(self, caller, message)
            self._replicas = replicas
            return answered

        return mutant

    return patched(StaleReads, "_answer", make)


def log_time_taken_back() -> Any:
    """A new primary begins with its own clock, and not where the log had come."""
    return patched(LogClock, "start", lambda start: lambda self, now, time: start(self, now, 0))


def pending_renewal_expired() -> Any:
    """What is due is judged on applied records: a write that is pending behind does not count."""

    def make(remove: Any) -> Any:
        def mutant(self: Expiry, due: Any) -> None:
            pending = self._primary.pending
            newest, pending.newest = pending.newest, {}
            remove(self, due)
            pending.newest = newest | pending.newest

        return mutant

    return patched(Expiry, "_remove_due", make)


def condition_read_from_committed_state() -> Any:
    """A write is evaluated on applied records, though others are pending before it."""

    def make(_: Any) -> Any:
        def mutant(primary: Primary, key: bytes) -> Any:
            record = primary.replica.state.record(key)
            if record is None:
                return Found()
            return Found(version_of(record), UNREAD, deadline_of(record), is_parted(record), record)

        return mutant

    return patched(execute, "found_of", make)


def result_lost_in_a_replay() -> Any:
    """A write that took effect before is answered without the result that was kept."""
    return patched(results, "_kept", lambda _: lambda replica, call, version: b"")


def ttl_counted_from_the_confirmed_clock() -> Any:
    """A time to live begins at the log time as confirmed, which may catch up at any moment."""
    return patched(LogClock, "unconfirmed", lambda _: LogClock.read)


def unknown_kind_acknowledged() -> Any:
    """A node of an older version takes entries that it does not know, and applies nothing; and they are
    written before every node knows them."""
    older: set[Any] = set()

    def start(original: Any) -> Any:
        def mutant(self: SimMachine) -> None:
            original(self)
            if self.is_older:
                older.add(self.driver.node.context)

        return mutant

    def apply(original: Any) -> Any:
        def mutant(self: State, entry: Entry) -> Any:
            if entry.kind == EntryKind.CHANGES and self._context in older:
                entry = replace(entry, changes=(), result=b"")
            return original(self, entry)

        return mutant

    def raised(_: Any) -> Any:
        def mutant(current: ClusterMap, members: Any) -> ClusterMap:
            if current.settings.get(SETTING) == NEWEST:
                return current
            return replace(current, settings=current.settings | {SETTING: NEWEST})

        return mutant

    return together(
        patched(SimMachine, "start", start),
        patched(State, "apply", apply),
        patched(planner, "raised", raised),
    )


def half_a_batch_applied() -> Any:
    """Of a batch only the first change is carried out."""

    def make(apply: Any) -> Any:
        def mutant(self: State, entry: Entry) -> Any:
            if entry.counter and len(entry.changes) > 1:
                entry = replace(entry, changes=entry.changes[:1])
            return apply(self, entry)

        return mutant

    return patched(State, "apply", make)


def condition_of_a_batch_read_from_committed_state() -> Any:
    """Conditions of a batch are judged on applied records, though writes are pending before it."""

    def make(original: Any) -> Any:
        def mutant(self: Any, step: Step) -> Outcome:
            if step.kind != CHECK:
                outcome: Outcome = original(self, step)
                return outcome
            record = self._primary.replica.state.record(step.key)
            version = version_of(record) if record is not None else 0
            if not holds(step.condition, version):
                return Outcome(Status.CONDITION_FAILED, version)
            return Outcome(Status.FOUND if version else Status.NOT_FOUND, version)

        return mutant

    return patched(batches._Batch, "_step", make)


OF_OPERATIONS: dict[str, Callable[[], Any]] = {
    "absence before its removal": absence_before_its_removal,
    "expiry by a backup's own clock": expiry_by_a_backups_clock,
    "log time taken back": log_time_taken_back,
    "pending renewal expired": pending_renewal_expired,
    "condition read from committed state": condition_read_from_committed_state,
    "result lost in a replay": result_lost_in_a_replay,
    "ttl counted from the confirmed clock": ttl_counted_from_the_confirmed_clock,
    "unknown kind acknowledged": unknown_kind_acknowledged,
    "half a batch applied": half_a_batch_applied,
    "condition of a batch read from committed state": condition_of_a_batch_read_from_committed_state,
}
