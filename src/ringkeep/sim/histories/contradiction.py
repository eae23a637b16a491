"""Searches for an order, and if there is none, finds the few answers that contradict each other. Operations
are left out by searching again with less: without a read, or with the answer of a write unknown. An order of
all operations would also be an order of the reduced history; so if there is none even then, the remaining
answers are the reason.
"""

from collections.abc import Callable, Sequence
from typing import Final

from ringkeep.sim.histories.history import NEVER, Operation
from ringkeep.sim.histories.linearize import SearchBudget, Undecided, stuck
from ringkeep.sim.histories.register import Step

TRIES: Final = 200  # searches for a smaller contradiction, and again for what explains it
TRY_CONFIGURATIONS: Final = 3_000  # of each of them
WINDOW: Final = 8  # answers, the last before the search was stuck, that are tried alone at first


def contradiction(
    operations: Sequence[Operation], budget: SearchBudget
) -> tuple[str, list[Operation]] | None:
    """Return None if one order explains a key's operations, else why not, and which contradict each other.

    Both lists are by start. Raises `Undecided`.
    """
    end = stuck(*_steps(operations), budget)
    if end is None:
        return None
    answers = sorted((each for each in operations if _answered(each)), key=lambda each: each.end or 0)
    begun = [each for each in answers if each.start <= end]
    found = _smallest(operations, begun) or _smallest(operations, answers)
    reason = "no order of all operations gives these answers"
    if found is None:
        reason, shown = "no order gives all answers; the search ended at these", begun[-WINDOW:]
    else:
        shown = [*found, *_needed(found, operations), *_refused(operations, found)]
    return reason, sorted(shown, key=lambda operation: operation.start)


def _answered(operation: Operation) -> bool:
    return operation.outcome in ("ok", "failed")


def _steps(operations: Sequence[Operation]) -> tuple[list[Step], list[Step]]:
    """Return what must be in an order, and what may be. What was rejected is in none."""
    must, may = [], []
    for each in operations:
        if _answered(each):
            assert each.end is not None, "it was answered"
            value = each.value if each.writes else each.read
            deletes = each.kind == "delete" and not each.writes
            must.append(Step(each.start, each.end, each.writes, value, each.version, each.expected, deletes))
        elif each.writes:
            may.append(_unanswered(each))
    return must, may


def _unanswered(write: Operation) -> Step:
    return Step(write.start, NEVER, True, write.value, 0, write.expected)


def _contradict(answers: Sequence[Operation], writes: Sequence[Operation]) -> bool:
    """Whether no order gives these answers, whatever became of other writes. False, too, if it takes long."""
    must, _ = _steps(answers)
    kept = set(answers)
    may = [_unanswered(each) for each in writes if each.writes and each not in kept]
    must.sort(key=lambda step: step.start)
    may.sort(key=lambda step: step.start)
    try:
        return stuck(must, may, SearchBudget(TRY_CONFIGURATIONS)) is not None
    except Undecided:
        return False


def _writes(operations: Sequence[Operation], answers: Sequence[Operation]) -> list[Operation]:
    """Return the writes that any of these answers may have seen."""
    last = max((each.end or 0 for each in answers), default=0)
    return [each for each in operations if each.writes and each.start <= last]


def _smallest(operations: Sequence[Operation], answers: list[Operation]) -> list[Operation] | None:
    """Return few of these answers (by end) that contradict each other, by start; None if none are found."""
    writes = _writes(operations, answers)
    window = WINDOW
    while not _contradict(answers[-window:], writes):
        if window >= len(answers):
            return None
        window *= 2
    reads_first = sorted(
        answers[-window:], key=lambda each: each.writes
    )  # these are left out if there is a choice
    return sorted(_fewest(reads_first, lambda some: _contradict(some, writes)), key=lambda each: each.start)


def _needed(answers: list[Operation], operations: Sequence[Operation]) -> list[Operation]:
    """Return other writes, few, that explain all answers but any one: whoever reads these asks for them."""
    first = answers[0].start
    read = {each.read for each in answers if each.read is not None}
    kept = set(answers)
    others = [each for each in _writes(operations, answers) if each not in kept]
    near = [each for each in others if each.outcome == "unknown" or each.value in read or each.start >= first]
    lesser = [([each for each in answers if each is not one], one) for one in answers]

    def explain(writes: list[Operation]) -> bool:
        return not any(_contradict(less, [*writes, one]) for less, one in lesser)

    for writes in ([], near, others):
        if explain(writes):
            return _fewest(writes, explain)
    return []


def _refused(operations: Sequence[Operation], answers: Sequence[Operation]) -> list[Operation]:
    """Return the rejected writes of what was read."""
    read = {each.read for each in answers if each.read is not None}
    return [each for each in operations if each.outcome == "rejected" and each.value in read]


def _fewest(parts: list[Operation], holds: Callable[[list[Operation]], bool]) -> list[Operation]:
    """Take out what can be taken out, by halves, quarters and so on, as long as `holds`."""
    tries = TRIES
    size = (len(parts) + 1) // 2
    while size:
        at, removed = 0, False
        while at < len(parts) and tries:
            fewer = parts[:at] + parts[at + size :]
            tries -= 1
            if holds(fewer):
                parts, removed = fewer, True
            else:
                at += size
        if size > 1 or not removed or not tries:
            size //= 2
    return parts
