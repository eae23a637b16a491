"""The reference model of atomic batches: their steps one after the other, through the model of operations."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Final, NamedTuple

from ringkeep.core.protocol.batch import CHECK, READ_ANEW, Outcome, Step
from ringkeep.core.protocol.client_requests import ABSENT, ANY, KEEP, PRESENT, WROTE, Kind, Status
from ringkeep.sim.operations.calls import Call
from ringkeep.sim.operations.model import KEPT_BYTES, NO_SHOWN, Record, Shown, decide, kept_bytes

OWN: Final = 1 << 62
"""As a version: that of the batch itself. As a deadline: counted from its moment."""
_FAILED: Final = (Status.CONDITION_FAILED, Status.WRONG_TYPE, Status.TOO_LARGE)


class Told(NamedTuple):
    """What the outcome of a step must say. `record`: what a read has found."""

    status: Status
    version: int = 0
    shown: Shown = NO_SHOWN
    record: Record | None = None


class Ran(NamedTuple):
    """A batch that was run at some place. `before`, `after`: the records of its keys; `wrote`: a step did."""

    status: Status
    told: list[Told]
    before: dict[bytes, Record | None]
    after: dict[bytes, Record | None]
    wrote: bool


def run(call: Call, find: Callable[[bytes], Record | None]) -> Ran:
    """Run a batch on the records that `find` finds."""
    before = {step.key: find(step.key) for step in call.steps}
    after, told, kept = dict(before), list[Told](), 0
    status = Status.DONE
    for step in call.steps:
        outcome, record = _step(call, step, after[step.key])
        kept += kept_bytes(outcome.shown) if outcome.shown != NO_SHOWN else 0
        if call.name and kept > KEPT_BYTES:
            outcome = Told(Status.TOO_LARGE)
            status = Status.TOO_LARGE
        elif outcome.status in _FAILED and (step.kind == CHECK or not call.goes_on):
            status = outcome.status
        told.append(outcome)
        if status != Status.DONE:
            return Ran(status, told, before, before, False)
        after[step.key] = record
    return Ran(status, told, before, after, any(each.status in WROTE for each in told))


def _step(call: Call, step: Step, record: Record | None) -> tuple[Told, Record | None]:
    version = record.version if record is not None else 0
    if step.kind in (CHECK, Kind.GET):
        if not _holds(step.condition, version):
            return Told(Status.CONDITION_FAILED, version), record
        if record is None:
            return Told(Status.NOT_FOUND), record
        if step.kind == CHECK:
            return Told(Status.FOUND, version), record
        return Told(Status.FOUND, version, record=record), record
    single = replace(
        call, kind=Kind(step.kind), key=step.key, value=step.value, content_type=step.content_type,
        condition=step.condition, ttl_ms=step.ttl_ms,
    )  # fmt: skip
    done = decide(record, single)
    if done.status not in WROTE:
        return Told(done.status, version), record
    if done.made is None:
        return Told(done.status, OWN, done.shown), None
    made = Record(OWN, *done.made)
    if done.lives == KEEP and record is not None and record.deadline:
        made = made._replace(
            deadline=record.deadline, ttl_ms=record.ttl_ms, asked_ms=record.asked_ms, asked=record.asked
        )
    elif done.lives > 0:
        made = made._replace(deadline=OWN, ttl_ms=done.lives, asked_ms=call.start_ms, asked=call.start)
    return Told(done.status, OWN, done.shown), made


def _holds(wanted: int, version: int) -> bool:
    return {ANY: True, ABSENT: version == 0, PRESENT: version > 0}.get(wanted, wanted == version)


def differs(
    told: Sequence[Told],
    outcomes: Sequence[Outcome],
    own: int | None,
    lives: Callable[[Outcome, Record], bool],
) -> str:
    """Say what the outcomes of a batch say otherwise than the model; "" if nothing.

    `own`: its version, None if it has none that counts. `lives`: whether a time that is left can be true.
    """
    if len(told) != len(outcomes):
        return f"{len(outcomes)} outcomes, not {len(told)}"
    for position, (wanted, said) in enumerate(zip(told, outcomes, strict=True)):
        if wanted.status == Status.FOUND and said.status == READ_ANEW:
            continue  # a retry, or a copy that came after a failover
        same = said.status == wanted.status and (
            said.version == wanted.version if wanted.version != OWN else own in (None, said.version)
        )
        shown = Shown(said.value, said.content_type)
        if wanted.record is not None:
            record = wanted.record
            same = same and shown == (record.value, record.content_type) and _left(said, record, lives)
        else:
            same = same and shown == wanted.shown
        if not same:
            return f"step {position}: {said}, not {wanted}"
    return ""


def _left(said: Outcome, record: Record, lives: Callable[[Outcome, Record], bool]) -> bool:
    if not record.deadline:
        return said.ttl_ms == 0
    return said.ttl_ms == record.ttl_ms if record.deadline == OWN else lives(said, record)
