"""Atomic batches: several operations on keys of one partition, in one log entry: all of them or none.

They run in order, each on what those before have made. All keys that change get the entry's index as version,
once each, in their last state. Conditions are judged on pending-then-committed state, as for a single write.
"""

from typing import Final

from ringkeep.core.execution.found import Found, found_of, holds, next_entry, whole
from ringkeep.core.protocol import limits
from ringkeep.core.protocol.batch import CHECK, READ_ANEW, Outcome, Step, decode_steps, encode_outcomes
from ringkeep.core.protocol.change import Change, ChangeKind
from ringkeep.core.protocol.client_requests import WROTE, Kind, Status
from ringkeep.core.protocol.entry import EntryKind
from ringkeep.core.protocol.hot_messages import Forward
from ringkeep.core.protocol.record import value_at
from ringkeep.core.protocol.types import Index
from ringkeep.core.replication.expiry import removal
from ringkeep.core.replication.pending import Call, Newest
from ringkeep.core.replication.primary import Primary
from ringkeep.core.state.operations import NEEDS_VALUE, UNREAD, Standing, evaluate

FAILED: Final = frozenset({Status.CONDITION_FAILED, Status.WRONG_TYPE, Status.TOO_LARGE})
"""The outcomes that undo a batch. That there was nothing to delete is none of them."""


class _Batch:
    """A batch while it is evaluated: what its keys are before and after it, and what became of its steps."""

    def __init__(self, primary: Primary, message: Forward, steps: list[Step]) -> None:
        self._primary = primary
        self._message = message
        self.now = primary.clock.unconfirmed(primary.context.now)
        self.before: dict[bytes, Found] = {}
        self._find(steps)
        self.after = dict(self.before)
        self.index = Index(primary.replica.log.last_index + 1)
        self.outcomes: list[Outcome] = []
        self._rewritten: set[bytes] = set()  # keys of which more changes than the deadline
        self._told_bytes = 0  # of values in the answer,
        self._kept_bytes = 0  # of those that a retry is told too,
        self._held_bytes = 0  # and of all that was read, made and told

    def _find(self, steps: list[Step]) -> None:
        """Find the records of all keys; those that are due are removed first."""
        primary, due = self._primary, list[Change]()
        for step in steps:
            if step.key in self.before:
                continue
            found = self.before[step.key] = found_of(primary, step.key)
            if found.deadline and found.deadline <= primary.log_time:
                due.append(removal(step.key, found.version, found.rows_bytes(step.key), found.deadline))
        if due:
            index = primary.expiry.remove(due)
            for change in due:
                self.before[change.key] = Found(evidence=index)

    @property
    def evidence(self) -> Index:
        """The entry that must be committed for what was found to be true."""
        return max((found.evidence for found in self.before.values()), default=Index(0))

    def run(self, steps: list[Step], goes_on: bool) -> Status:
        """Evaluate the steps in order; return how the batch ends. Of one that is undone, the outcomes tell
        the versions that the keys still have."""
        status = self._evaluate(steps, goes_on)
        if status != Status.DONE:
            for step, outcome in zip(steps, self.outcomes, strict=False):
                if outcome.version == self.index:
                    outcome.version = self.before[step.key].version
        return status

    def _evaluate(self, steps: list[Step], goes_on: bool) -> Status:
        for step in steps:
            outcome = self._step(step)
            self.outcomes.append(outcome)
            if outcome.status in FAILED and (step.kind == CHECK or not goes_on):
                return Status(outcome.status)
            if self._too_large:
                self.outcomes[-1] = Outcome(Status.TOO_LARGE)
                return Status.TOO_LARGE
        return Status.DONE

    @property
    def _too_large(self) -> bool:
        """Whether the batch reads, makes or answers more than an entry and an answer may hold.

        It is looked at after each step, so that no batch reads, or copies, without bound.
        """
        kept = self._kept_bytes if self._message.idempotency else 0
        return (
            self._told_bytes > limits.VALUE_BYTES
            or kept > limits.KEPT_RESULT_BYTES
            or self._held_bytes > limits.ENTRY_BYTES
        )

    def _step(self, step: Step) -> Outcome:
        found = self.after[step.key]
        if not holds(step.condition, found.version):
            return Outcome(Status.CONDITION_FAILED, found.version)
        if step.kind == CHECK:
            return Outcome(Status.FOUND if found.version else Status.NOT_FOUND, found.version)
        needed = step.kind in NEEDS_VALUE or step.kind == Kind.GET
        if needed and found.record is not None and found.tail == UNREAD:
            found.tail = whole(self._primary.replica.state, step.key, found.record)
            self._held_bytes += len(found.tail)
        return self._read(found) if step.kind == Kind.GET else self._write(step, found)

    def _read(self, found: Found) -> Outcome:
        if found.tail is None:
            return Outcome(Status.NOT_FOUND)
        at = value_at(found.tail)
        self._told_bytes += len(found.tail) - at
        left = max(found.deadline - self.now, 1) if found.deadline else 0
        return Outcome(Status.FOUND, found.version, left, found.tail[at:], found.tail[1:at])

    def _write(self, step: Step, found: Found) -> Outcome:
        asked = self._message
        single = Forward(
            asked.tag, asked.partition, asked.epoch, asked.remaining_ms, step.kind, step.condition,
            asked.origin, asked.counter, asked.low, step.key, step.value, step.content_type,
            asked.idempotency, asked.fingerprint, step.ttl_ms,
        )  # fmt: skip
        effect = evaluate(Standing(found.tail, found.deadline), single, self.now)
        if not effect.kind:
            return Outcome(effect.status, found.version)
        self._held_bytes += len(effect.tail) + len(effect.result)
        if effect.kind == ChangeKind.DELETE:
            made = Found(evidence=found.evidence)
        elif effect.kind == ChangeKind.TOUCH:
            made = Found(self.index, found.tail, effect.deadline, found.parted, None, found.evidence)
        else:
            large = len(effect.tail) > self._primary.context.bounds.bulk_bytes
            made = Found(self.index, effect.tail, effect.deadline, large, None, found.evidence)
        if effect.kind != ChangeKind.TOUCH:
            self._rewritten.add(step.key)
        self.after[step.key] = made
        outcome = Outcome(effect.status, self.index)
        if effect.result:
            at = value_at(effect.result)
            outcome.value, outcome.content_type = effect.result[at:], effect.result[1:at]
            self._told_bytes += len(outcome.value)
            self._kept_bytes += len(effect.result)
        return outcome

    def changes(self) -> list[Change]:
        """Return what the batch changes, each key once."""
        made: list[Change] = []
        for key, found in self.after.items():
            before = self.before[key]
            if found is before or (found.tail is None and before.tail is None):
                continue
            replaced = before.rows_bytes(key)
            if found.tail is None:
                made.append(Change(ChangeKind.DELETE, key, b"", 0, replaced, before.deadline))
            elif key in self._rewritten:
                made.append(
                    Change(ChangeKind.PUT, key, found.tail, found.deadline, replaced, before.deadline)
                )
            else:
                made.append(Change(ChangeKind.TOUCH, key, b"", found.deadline, replaced, before.deadline))
        return made

    def newest(self, changes: list[Change]) -> dict[bytes, Newest]:
        """Return what the changes make of their keys."""
        made: dict[bytes, Newest] = {}
        for change in changes:
            found = self.after[change.key]
            made[change.key] = (self.index, found.tail, found.deadline, found.parted)
        return made


def execute_batch(primary: Primary, call: Call) -> None:
    """Execute a batch at a primary that is ACTIVE and not handing over. It is answered exactly once."""
    message = call.message
    steps, goes_on = decode_steps(message.value)
    batch = _Batch(primary, message, steps)
    status = batch.run(steps, goes_on)
    call.result = encode_outcomes(batch.outcomes)
    changes = batch.changes() if status == Status.DONE else []
    wrote = status == Status.DONE and any(each.status in WROTE for each in batch.outcomes)
    if not wrote and not message.idempotency:  # versions that were answered are given out only once
        primary.node.confirm_read(primary, call, (status, 0), batch.evidence)
        return
    entry = next_entry(primary, call, EntryKind.CHANGES, status)
    entry.changes, entry.tail = changes, b""
    entry.result = b"\0" + encode_outcomes([_kept(each) for each in batch.outcomes])
    primary.append(entry)
    primary.pending.add(entry, call, batch.newest(changes))


def _kept(outcome: Outcome) -> Outcome:
    """Return what a retry is told of a step: a read is read anew."""
    if outcome.status == Status.FOUND:
        return Outcome(READ_ANEW)
    return outcome
