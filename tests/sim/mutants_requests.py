"""Deliberate breaks of what requests, reads and the store rely on. See `mutants.py`."""

from collections.abc import Callable
from typing import Any

from tests.sim.mutants import patched, together

from ringkeep.core.execution import execute
from ringkeep.core.liveness.failure_detector import Detector
from ringkeep.core.protocol.client_requests import Result, Status
from ringkeep.core.protocol.hot_messages import RETRY
from ringkeep.core.protocol.types import Index
from ringkeep.core.replication.parked import Parked
from ringkeep.core.replication.primary import Primary
from ringkeep.core.replication.replica import Replica
from ringkeep.core.requests.confirmed_reads import ConfirmedReads
from ringkeep.core.requests.coordinator import Coordinator
from ringkeep.core.state.deduplication import Sessions
from ringkeep.core.state.timed_rows import TimedRows
from ringkeep.driver.turns import Driver
from ringkeep.errors import StorageStalled


def silent_link_kept() -> Any:
    """A link whose peer is suspected is left to heal by itself."""

    def make(on_tick: Any) -> Any:
        def mutant(self: Detector, *arguments: Any) -> bool:
            sent: bool = on_tick(self, *arguments)
            self.context.effects.renewals.clear()
            return sent

        return mutant

    return patched(Detector, "on_tick", make)


def read_without_confirm() -> Any:
    """A primary that believes to be ACTIVE reads at once."""

    def make(_: Any) -> Any:
        def mutant(self: ConfirmedReads, primary: Primary, call: Any, result: Any, evidence: Any) -> None:
            self._serve(primary, (call, result, evidence))

        return mutant

    return patched(ConfirmedReads, "add", make)


def confirm_begun_before_the_read() -> Any:
    """A read joins a Confirm round that is under way: its echoes may be older than the read."""

    def make(add: Any) -> Any:
        def mutant(self: ConfirmedReads, primary: Primary, call: Any, result: Any, evidence: Any) -> None:
            for current in self._rounds.values():
                ballot = current.ballots.get(primary.replica.partition)
                if ballot is not None and ballot.primary is primary:
                    ballot.reads.append((call, result, evidence))
                    return
            add(self, primary, call, result, evidence)

        return mutant

    return patched(ConfirmedReads, "add", make)


def failed_condition_before_its_evidence() -> Any:
    """A condition is answered as failed though the entry that it failed on is not committed."""

    def make(add: Any) -> Any:
        def mutant(self: ConfirmedReads, primary: Primary, call: Any, result: Any, evidence: Any) -> None:
            add(self, primary, call, result, Index(0))

        return mutant

    return patched(ConfirmedReads, "add", make)


def refused_after_append() -> Any:
    """A full node refuses what it has appended already."""

    def admit(admission: Any) -> Any:
        late = admission

        def evaluate(original: Any) -> Any:
            def mutant(primary: Primary, call: Any) -> None:
                original(primary, call)
                refused = late(primary, call.message.kind)
                if refused is not None:
                    primary.answer(call, refused[0], detail=refused[1])

            return mutant

        stack.append(patched(execute, "_evaluate", evaluate))
        return lambda primary, kind: None

    stack: list[Any] = []
    first = patched(execute, "_admission", admit)

    class Both:
        def __enter__(self) -> None:
            first.__enter__()
            stack[0].__enter__()

        def __exit__(self, *error: Any) -> None:
            stack[0].__exit__(*error)
            first.__exit__(*error)

    return Both()


def timeout_taken_for_failure() -> Any:
    """A write that was sent and not answered is said to be not applied."""

    def make(_: Any) -> Any:
        def mutant(self: Coordinator, request: Any) -> None:
            self._finish(request, Result(Status.UNAVAILABLE, detail="no answer"))

        return mutant

    return patched(Coordinator, "_expire", make)


def departed_coordinator_served() -> Any:
    """A write is executed though the map does not name its coordinator any more."""
    from ringkeep.core import node

    def make(run: Any) -> Any:
        def mutant(primary: Primary, call: Any) -> None:
            context = primary.context
            known = context.coordinators
            context.coordinators = known | {call.message.origin}
            run(primary, call)
            context.coordinators = known

        return mutant

    return patched(node, "execute", make)


def refused_while_a_copy_waits() -> Any:
    """A full room refuses a request of which an older copy waits in it."""

    def make(add: Any) -> Any:
        def mutant(self: Parked, call: Any) -> bool:
            full = len(self._calls) >= self._context.bounds.parked_requests
            return not full and bool(add(self, call))

        return mutant

    return together(
        patched(Parked, "add", make), patched(Parked, "take_out", lambda _: lambda self, call: None)
    )


def retry_settles_all_copies() -> Any:
    """A copy that was turned away is taken for the word on all of them."""

    def make(on_reply: Any) -> Any:
        def mutant(self: Coordinator, reply: Any) -> None:
            request = self._requests.get(reply.tag >> 16)
            if request is not None and reply.status == RETRY:
                request.open_copies.clear()
            on_reply(self, reply)

        return mutant

    return patched(Coordinator, "on_reply", make)


def deduplication_lost_in_a_failover() -> Any:
    """A new primary does not know which requests took effect under the one before."""

    def make(begin: Any) -> Any:
        def mutant(self: Primary) -> None:
            self.replica.state.sessions = Sessions()
            begin(self)

        return mutant

    return patched(Primary, "begin", make)


def deduplication_not_replayed() -> Any:
    """After a restart, results that were applied since the log was last cut are forgotten."""
    return patched(Replica, "_replay_sessions", lambda _: lambda self, index: None)


def results_of_the_turn_overlooked() -> Any:
    """Old results are looked for in the store alone, which does not show what the same turn has put."""

    def make(original: Any) -> Any:
        def mutant(self: TimedRows, horizon: int) -> Any:
            self._written.clear()
            self._new.clear()
            return original(self, horizon)

        return mutant

    return patched(TimedRows, "take_old", make)


def refused_batch_forgotten() -> Any:
    """A batch that the store refused counts as written: its indexes are given out for nothing."""

    def make(_: Any) -> Any:
        def mutant(self: Driver, batch: Any) -> bool:
            if batch:
                try:
                    self._ticket = self._ports.engine.write(batch)
                except StorageStalled:
                    return True
            return True

        return mutant

    return patched(Driver, "_write", make)


def refused_batch_overtaken() -> Any:
    """What comes after a refused batch does not wait for it."""

    def make(_: Any) -> Any:
        def mutant(self: Driver) -> None:
            stuck, self._stuck = self._stuck, None
            if stuck is not None and not self._stopped:
                self._catch_up()
                self._carry_out(*stuck)

        return mutant

    def never_stuck(event: Any) -> Any:
        def mutant(self: Driver, call: Any) -> None:
            stuck, self._stuck = self._stuck, None
            event(self, call)
            self._stuck = stuck or self._stuck

        return mutant

    return together(patched(Driver, "_retry", make), patched(Driver, "_event", never_stuck))


OF_REQUESTS: dict[str, Callable[[], Any]] = {
    "read without Confirm": read_without_confirm,
    "Confirm begun before the read": confirm_begun_before_the_read,
    "failed condition before its evidence": failed_condition_before_its_evidence,
    "refused after append": refused_after_append,
    "refused while a copy waits": refused_while_a_copy_waits,
    "time-out taken for failure": timeout_taken_for_failure,
    "RETRY settles all copies": retry_settles_all_copies,
    "de-duplication lost in a failover": deduplication_lost_in_a_failover,
    "de-duplication not replayed at start": deduplication_not_replayed,
    "results of the turn overlooked": results_of_the_turn_overlooked,
    "departed coordinator served": departed_coordinator_served,
    "refused batch forgotten": refused_batch_forgotten,
    "refused batch overtaken": refused_batch_overtaken,
    "silent link kept": silent_link_kept,
}
