"""The reference model of atomic batches: their steps in order, each on what those before have made."""

from collections.abc import Mapping
from typing import Final, NamedTuple

from ringkeep.core.protocol.batch import CHECK, READ_ANEW, Outcome
from ringkeep.core.protocol.client_requests import WROTE, Kind, Status
from ringkeep.core.protocol.types import Millis
from ringkeep.sim.operations.calls import Call
from ringkeep.sim.operations.model import KEPT_BYTES, Record, Shown, decide, holds, kept_bytes, left

NO_ENTRY: Final = 1 << 60
"""As the version of a batch that wrote nothing: no key has it."""
FAILED: Final = (Status.CONDITION_FAILED, Status.WRONG_TYPE, Status.TOO_LARGE)


class Batched(NamedTuple):
    """`after`: the keys that are changed, and what is there then."""

    status: Status
    outcomes: list[Outcome]
    after: dict[bytes, Record | None]


def decide_batch(
    records: Mapping[bytes, Record], call: Call, version: int, now: Millis, time: Millis
) -> Batched:
    """Return what a batch does. `now`: from when times to live count. `time`: the log time, by which no more
    time can be left than by any other."""
    state: dict[bytes, Record | None] = {step.key: records.get(step.key) for step in call.steps}
    before, outcomes, told, changed = dict(state), list[Outcome](), 0, set[bytes]()
    for step in call.steps:
        record = state[step.key]
        present = record.version if record is not None else 0
        if not holds(step.condition, record):
            outcome = Outcome(Status.CONDITION_FAILED, present)
        elif step.kind == CHECK:
            outcome = Outcome(Status.FOUND if present else Status.NOT_FOUND, present)
        elif step.kind == Kind.GET:
            outcome = _read(record, time)
        else:
            done = decide(record, step, kept=bool(call.name))
            outcome = Outcome(done.status, present)
            if done.status in WROTE:
                outcome = Outcome(done.status, version, 0, *done.shown)
                state[step.key] = left(record, done, version, now + done.lives, call)
                changed.add(step.key)
                told += kept_bytes(done.shown) if done.shown != Shown() else 0
        outcomes.append(outcome)
        if outcome.status in FAILED and (step.kind == CHECK or not call.goes_on):
            return _undone(call, Status(outcome.status), outcomes, before, version)
        if call.name and told > KEPT_BYTES:  # together more than is kept for a retry
            outcomes[-1] = Outcome(Status.TOO_LARGE)
            return _undone(call, Status.TOO_LARGE, outcomes, before, version)
    after = {key: state[key] for key in changed if before[key] is not None or state[key] is not None}
    return Batched(Status.DONE, outcomes, after)


def _undone(
    call: Call, status: Status, outcomes: list[Outcome], before: Mapping[bytes, Record | None], version: int
) -> Batched:
    """Nothing was written: of what the steps made, the versions are told that the keys still have."""
    for step, outcome in zip(call.steps, outcomes, strict=False):
        record = before[step.key]
        if outcome.version == version:
            outcome.version = record.version if record is not None else 0
    return Batched(status, outcomes, {})


def _read(record: Record | None, time: Millis) -> Outcome:
    if record is None:
        return Outcome(Status.NOT_FOUND)
    most = max(record.deadline - time, 1) if record.deadline else 0
    return Outcome(Status.FOUND, record.version, most, record.value, record.content_type)


def agree(told: list[Outcome], wanted: list[Outcome]) -> bool:
    """Whether outcomes that were told are these."""
    return len(told) == len(wanted) and all(map(_agrees, told, wanted))


def _agrees(told: Outcome, wanted: Outcome) -> bool:
    if told.status == READ_ANEW:  # an answer to a retry
        return wanted.status == Status.FOUND
    same = (told.status, told.version, told.value, told.content_type) == (
        wanted.status, wanted.version, wanted.value, wanted.content_type,
    )  # fmt: skip
    lives = (told.ttl_ms > 0) == (wanted.ttl_ms > 0) and told.ttl_ms <= wanted.ttl_ms
    return same and lives
