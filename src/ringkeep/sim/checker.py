"""Decides whether what clients saw is linearizable per key.

A key is a register with read, write, delete and compare-and-set. This module knows nothing of the cluster: it
is given calls with their times and answers, and says which of them contradict each other. First the versions,
in one pass: they only grow along a key, so they must agree with real time, and each must be that of exactly
one write. What versions leave open (an unknown outcome, a write whose version nobody told) goes to
`linearize`.

`a` comes before `b` only if `a.end < b.start`; equal times count as concurrent. So a recorder should stamp
every call and every answer with a number of its own, or some order that was there is not checked.
"""

from bisect import bisect_left
from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Final

from ringkeep.core.requests import PRESENT
from ringkeep.sim.linearize import NEVER, Step, Undecided, stuck

OUTCOMES: Final = {
    "get": frozenset({"ok", "failed", "rejected", "unknown"}),
    "put": frozenset({"ok", "rejected", "unknown"}),
    "delete": frozenset({"ok", "failed", "rejected", "unknown"}),
    "cas": frozenset({"ok", "failed", "rejected", "unknown"}),
}
SHOWN: Final = 16  # operations in a time-line
BAR: Final = 40  # its characters


@dataclass(slots=True, eq=False)
class Operation:
    """One call of one client, and its answer.

    `value`: what a put or a cas writes. `expected`: the condition of a cas (or of a delete): a version,
    0 = must be absent, PRESENT = must exist. `start`, `end`: on one clock; `end` None: never answered.
    `outcome`: "ok"; "failed" (definite, and an observation: no such key, or the condition does not hold);
    "rejected" (definitely not applied, nothing observed); "unknown".
    `version`: of an ok write or read; the present one after a failed condition (0: absent); 0 = not told.
    `read`: the value that an ok get returned.
    """

    client: int
    kind: str
    key: bytes
    value: bytes | None
    expected: int | None
    start: int
    end: int | None
    outcome: str
    version: int = 0
    read: bytes | None = None

    def __str__(self) -> str:
        call = self.kind if self.value is None else f"{self.kind} {_short(self.value)}"
        if self.expected is not None:
            call += " if present" if self.expected == PRESENT else f" if version {self.expected}"
        answer = self.outcome
        if self.version:
            answer += f", version {self.version}"
        if self.read is not None:
            answer += f", {_short(self.read)}"
        return f"client {self.client}: {call} -> {answer}"


@dataclass(slots=True)
class Violation:
    """Why one key's history has no order. `operations`: those that contradict each other, by start."""

    key: bytes
    reason: str
    operations: tuple[Operation, ...]

    def __str__(self) -> str:
        return f"key {_short(self.key)}: {self.reason}\n{_timeline(self.operations)}"


def check(history: Iterable[Operation], *, search: bool = False) -> Violation | None:
    """Return the first violation, None when every key is linearizable.

    `search`: skip the pass over the versions (tests hold the two against each other).
    Raises `Undecided`. Cost: O(n log n) unless outcomes are unknown; then exponential only in how many
    different unknown writes could explain the same answer.
    """
    keys: defaultdict[bytes, list[Operation]] = defaultdict(list)
    for operation in history:
        keys[operation.key].append(operation)
    for key, operations in keys.items():
        violation = _check_key(key, operations, search)
        if violation is not None:
            return violation
    return None


def _check_key(key: bytes, operations: list[Operation], search: bool) -> Violation | None:
    operations.sort(key=lambda operation: operation.start)
    facts = _Facts(key)
    violation = _gather(facts, operations) or _resolve(facts)
    if violation is not None:
        return violation
    if not search:
        violation = _real_time(facts) or _conditions(facts)
        if violation is not None or not facts.open:
            return violation
    return _search(facts)


# --- the pass over the versions ----------------------------------------------------------------------


@dataclass(slots=True)
class _Facts:
    """What is known about one key.

    `taken`: everything that must be part of the order, by start. `writes`: version → its write.
    `loose`: writes whose version nobody knows, those of unknown outcome among them. `seen`: version → the
    value that was read at it, None while only its number was seen. `open`: versions alone cannot decide.
    """

    key: bytes
    taken: list[Operation] = field(default_factory=list)
    writes: dict[int, Operation] = field(default_factory=dict)
    loose: list[Operation] = field(default_factory=list)
    rejected: list[Operation] = field(default_factory=list)
    seen: dict[int, bytes | None] = field(default_factory=dict)
    witness: dict[int, Operation] = field(default_factory=dict)  # version → the first that saw it
    learned: dict[int, int] = field(default_factory=dict)  # id(write) → its version, told by a read only
    open: bool = False

    def violation(self, reason: str, *operations: Operation) -> Violation:
        unique = {id(operation): operation for operation in operations}
        return Violation(self.key, reason, tuple(sorted(unique.values(), key=lambda each: each.start)))

    def version(self, write: Operation) -> int:
        return write.version or self.learned.get(id(write), 0)


def _gather(facts: _Facts, operations: list[Operation]) -> Violation | None:
    """Sort the operations into what must be ordered, what may be, and what must never be seen."""
    for operation in operations:
        kind, outcome, version = operation.kind, operation.outcome, operation.version
        assert outcome in OUTCOMES[kind], f"{kind} cannot end as {outcome}"
        if outcome == "rejected":
            facts.rejected.append(operation)
        elif outcome == "unknown":
            if kind != "get":
                facts.loose.append(operation)
        elif outcome == "ok" and kind != "get":
            facts.taken.append(operation)
            twin = facts.writes.setdefault(version, operation) if version else operation
            if twin is not operation:
                return facts.violation(f"two writes share version {version}", twin, operation)
            if not version:
                facts.loose.append(operation)
                facts.open = True
            if operation.expected is not None and operation.expected > 0:
                facts.seen.setdefault(operation.expected, None)
                facts.witness.setdefault(operation.expected, operation)
        else:
            facts.taken.append(operation)
            violation = _observe(facts, operation)
            if violation is not None:
                return violation
    return None


def _observe(facts: _Facts, operation: Operation) -> Violation | None:
    """Note what an answer that wrote nothing says about a version."""
    version, expected = operation.version, operation.expected
    if operation.kind == "get":
        assert (operation.outcome == "ok") == (version > 0), "a read that found something has a version"
        assert (operation.outcome == "ok") == (operation.read is not None), "and a value"
    elif (version or operation.kind == "cas") and (expected == version or (expected == PRESENT and version)):
        return facts.violation("the condition held and was refused", operation)
    if version:
        before = facts.seen.setdefault(version, operation.read)
        first = facts.witness.setdefault(version, operation)
        if before is None:
            facts.seen[version] = operation.read
        elif operation.read is not None and operation.read != before:
            return facts.violation(f"version {version} was read with two values", first, operation)
    return None


def _resolve(facts: _Facts) -> Violation | None:
    """Find the write behind each version that was seen; a version of an unanswered write is learned here."""
    unexplained: list[int] = []
    for version, value in facts.seen.items():
        write = facts.writes.get(version)
        if write is None:
            unexplained.append(version)
        elif write.value is None or (value is not None and write.value != value):
            found = "a deleted value is back" if write.value is None else "another value than was written"
            return facts.violation(f"{found} at version {version}", write, facts.witness[version])
    if not unexplained:
        return None
    sources: defaultdict[bytes, list[Operation]] = defaultdict(list)
    for write in facts.loose:
        if write.value is not None:
            sources[write.value].append(write)
    wanted = Counter(facts.seen[version] for version in unexplained)
    for version in unexplained:
        value = facts.seen[version]
        found_in = sources[value] if value is not None else [each for one in sources.values() for each in one]
        if len(found_in) < wanted[value]:
            return _unwritten(facts, version, value)
        if value is not None and len(found_in) == 1:
            write = found_in[0]
            facts.learned[id(write)] = version
            facts.writes[version] = write
            if write.outcome == "unknown":
                facts.taken.append(write)
        else:
            facts.open = True
    facts.loose = [write for write in facts.loose if id(write) not in facts.learned]
    facts.taken.sort(key=lambda operation: operation.start)
    return None


def _unwritten(facts: _Facts, version: int, value: bytes | None) -> Violation:
    refused = [each for each in facts.rejected if value is not None and each.value == value]
    reason = "a rejected write was seen" if refused else "a version was seen that no write can have made"
    return facts.violation(f"{reason}: {version}", facts.witness[version], *refused)


def _real_time(facts: _Facts) -> Violation | None:
    """Check that versions never go back from an operation to a later one.

    The rank of a write is 2 · version, that of what saw it one more. What found nothing takes the lowest
    rank that real time leaves it: after a delete, or before everything. The lowest is the best choice: only a
    rank that is too high can be wrong later on.
    """
    taken = facts.taken
    empty = [1, *sorted(2 * each + 1 for each, write in facts.writes.items() if write.value is None)]
    ranks = [0] * len(taken)
    by_end = sorted(
        (each.end, i) for i, each in enumerate(taken) if each.end is not None and each.outcome != "unknown"
    )
    ended, top, top_at = 0, 0, -1
    for i, operation in enumerate(taken):
        while ended < len(by_end) and by_end[ended][0] < operation.start:
            j = by_end[ended][1]
            if ranks[j] > top:
                top, top_at = ranks[j], j
            ended += 1
        writes = operation.kind != "get" and operation.outcome != "failed"
        version = facts.version(operation)
        if version:
            ranks[i] = 2 * version + (not writes)
            if ranks[i] < top:
                if not taken[top_at].version and facts.version(taken[top_at]) == 0 and facts.loose:
                    facts.open = True  # a delete that nobody saw may have been earlier
                    continue
                return _went_back(facts, taken[top_at], operation)
        elif not writes:
            place = bisect_left(empty, top)
            if place < len(empty):
                ranks[i] = empty[place]
            elif facts.loose:
                facts.open = True
            else:
                return _went_back(facts, taken[top_at], operation)
    return None


def _went_back(facts: _Facts, earlier: Operation, later: Operation) -> Violation:
    shown = [earlier, later]
    for each in (earlier, later):
        write = facts.writes.get(facts.version(each))
        if write is not None:
            shown.append(write)
    seen = "version 0" if not facts.version(later) else f"version {facts.version(later)}"
    past = facts.version(earlier)
    reason = f"{seen} after version {past}" if past else f"{seen} after nothing was there"
    return facts.violation(f"{reason} (stale, lost, or from the future)", *shown)


def _conditions(facts: _Facts) -> Violation | None:
    """Check what each write needed against the write before it."""
    before, last = 0, None
    for version, write in sorted(facts.writes.items()):
        there = last is not None and last.value is not None
        if write.expected is None:
            held = there or write.value is not None
        elif write.expected <= 0:
            held = there == (write.expected == PRESENT)
        else:
            held = there and before == write.expected
            if before > write.expected:
                first = facts.writes.get(write.expected, write)
                middle = last or write
                reason = f"a condition on version {write.expected} held after version {before}"
                return facts.violation(reason, first, middle, write)
        if not held:
            if not facts.loose:
                return facts.violation("a condition held that cannot have", *([last] if last else []), write)
            facts.open = True
        before, last = version, write
    return None


def _search(facts: _Facts) -> Violation | None:
    """Have an order looked for, and name what stands where there is none."""
    must = [_step(facts, operation) for operation in facts.taken]
    unknown = [operation for operation in facts.loose if operation.outcome == "unknown"]
    read = frozenset(value for value in facts.seen.values() if value is not None)
    try:
        blocked = stuck(must, [_step(facts, operation) for operation in unknown], read)
    except Undecided as given_up:
        raise Undecided(f"key {_short(facts.key)}: {given_up}") from None
    if blocked is None:
        return None
    near = [facts.taken[i] for i in blocked]
    return facts.violation("no order explains these and what came before them", *near)


def _step(facts: _Facts, operation: Operation) -> Step:
    writes = operation.kind != "get" and operation.outcome != "failed"
    return Step(
        start=operation.start,
        end=NEVER if operation.end is None or operation.outcome == "unknown" else operation.end,
        writes=writes,
        value=operation.value if writes else operation.read,
        version=facts.version(operation),
        expected=operation.expected if writes else None,
    )


# --- for people --------------------------------------------------------------------------------------


def _short(value: bytes) -> str:
    return repr(value) if len(value) <= 24 else f"{value[:20]!r}… ({len(value)} bytes)"


def _timeline(operations: tuple[Operation, ...]) -> str:
    """Draw one bar per operation on a common scale."""
    shown = operations[:SHOWN]
    begin = min((each.start for each in shown), default=0)
    close = max((each.end or each.start for each in shown), default=0)
    scale = BAR / max(close - begin, 1)
    lines = []
    for each in shown:
        left = min(int((each.start - begin) * scale), BAR - 1)
        right = BAR if each.end is None else max(int((each.end - begin) * scale), left + 1)
        bar = " " * left + "|" + "-" * (right - left - 1) + (">" if each.end is None else "|")
        end = "…" if each.end is None else each.end
        lines.append(f"  {bar:<{BAR + 2}} [{each.start}, {end}] {each}")
    if len(operations) > SHOWN:
        lines.append(f"  and {len(operations) - SHOWN} more")
    return "\n".join(lines)
