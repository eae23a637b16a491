"""Decides whether what clients saw is linearizable per key.

A key is a register with read, write, delete and compare-and-set. This module knows nothing of the cluster: it
receives calls with their times and answers, and finds those that contradict each other. First the versions,
in one pass: they only grow along a key, so they must agree with real time, and each must be that of exactly
one write. What versions leave open (an unknown outcome, an answer without its version) goes to `linearize`.

`a` comes before `b` only if `a.end < b.start`; equal times count as concurrent. So a recorder should stamp
every call and every answer with a number of its own, or some order that was there is not checked.
"""

from bisect import bisect_left
from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Final

from ringkeep.core.protocol.client_requests import PRESENT
from ringkeep.sim.histories.contradiction import contradiction
from ringkeep.sim.histories.history import OUTCOMES, UNTOLD, Operation, short
from ringkeep.sim.histories.linearize import SearchBudget, Undecided
from ringkeep.sim.histories.timeline import draw

__all__ = ["Operation", "Undecided", "Violation", "check"]

KEY_CONFIGURATIONS: Final = 500_000  # the search of one key gives up past this many: some 15 s
CONFIGURATIONS: Final = 1_500_000  # all searches of one history
LEAST_CONFIGURATIONS: Final = 5_000  # for each key, also after that


@dataclass(slots=True)
class Violation:
    """Why one key's history has no order. `operations`: those that contradict each other, by start."""

    key: bytes
    reason: str
    operations: tuple[Operation, ...]

    def __str__(self) -> str:
        return "\n".join((f"key {short(self.key)}: {self.reason}", *draw(self.operations)))


def check(history: Iterable[Operation]) -> Violation | None:
    """Return the first violation, None when every key is linearizable.

    Raises `Undecided`, unless some key is certainly wrong. Cost: O(n log n) where the versions decide;
    `linearize.stuck` says what it is where they do not.
    """
    unsure: dict[bytes, list[Operation]] = {}
    for key, operations in by_key(history).items():
        facts = _Facts(key)
        violation = _by_versions(facts, operations)
        if violation is not None:
            return violation
        if facts.open:
            unsure[key] = operations
    return check_by_search(unsure)


def by_key(history: Iterable[Operation]) -> dict[bytes, list[Operation]]:
    """Return the operations of each key, by start."""
    keys: defaultdict[bytes, list[Operation]] = defaultdict(list)
    for operation in history:
        keys[operation.key].append(operation)
    for operations in keys.values():
        operations.sort(key=lambda operation: operation.start)
    return keys


def _by_versions(facts: "_Facts", operations: list[Operation]) -> Violation | None:
    return _gather(facts, operations) or _resolve(facts) or _real_time(facts) or _conditions(facts)


def check_by_search(keys: dict[bytes, list[Operation]]) -> Violation | None:
    """Search for an order, for the short histories first, because all share one budget. Does not rely on
    versions, so it reaches the same verdict as the quick pass on any history.
    """
    undecided: list[bytes] = []
    left = CONFIGURATIONS
    for key, operations in sorted(keys.items(), key=lambda item: len(item[1])):
        budget = SearchBudget(max(min(KEY_CONFIGURATIONS, left), LEAST_CONFIGURATIONS))
        most = budget.left
        try:
            found = contradiction(operations, budget)
        except Undecided:
            undecided.append(key)
        else:
            if found is not None:
                reason, shown = found
                return Violation(key, reason, tuple(shown))
        left -= most - budget.left
    if undecided:
        more = f" and {len(undecided) - 1} more keys" if len(undecided) > 1 else ""
        raise Undecided(f"too much is unknown about key {short(undecided[0])}{more}: the search gave up")
    return None


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
    learned: dict[int, int] = field(default_factory=dict)  # id(operation) → its version, told by others only
    untold: list[Operation] = field(default_factory=list)  # values that were read without their version
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
        assert (operation.read is not None) == (kind == "get" and outcome == "ok"), "only an ok get reads"
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
        elif version == UNTOLD:
            facts.open = True
        elif outcome == "ok" and not version:
            facts.untold.append(operation)
        else:
            facts.taken.append(operation)
            violation = _observe(facts, operation)
            if violation is not None:
                return violation
    return None


def _observe(facts: _Facts, operation: Operation) -> Violation | None:
    """Note what an answer that wrote nothing says about a version."""
    version, expected = operation.version, operation.expected
    if expected is None:
        assert operation.outcome == "ok" or version == 0, "without a condition, a failure found nothing"
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
    sources: defaultdict[bytes, list[Operation]] = defaultdict(list)
    valued = [write for write in facts.loose if write.value is not None]
    for write in valued:
        assert write.value is not None, "it was chosen by that"
        sources[write.value].append(write)
    wanted = Counter(facts.seen[version] for version in unexplained)
    for version in unexplained:
        value = facts.seen[version]
        found_in = sources[value] if value is not None else valued
        if len(found_in) < wanted[value]:
            return _unwritten(facts, f"version {version}", value, facts.witness[version])
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
    return _resolve_untold(facts) if facts.untold else None


def _resolve_untold(facts: _Facts) -> Violation | None:
    """Find the version of each value that was read without one, by the one write that can have written it."""
    sources: defaultdict[bytes, list[Operation]] = defaultdict(list)
    for write in (*facts.writes.values(), *facts.loose):
        if write.value is not None:
            sources[write.value].append(write)
    for read in facts.untold:
        assert read.read is not None, "it was ok"
        found_in = sources.get(read.read, [])
        if not found_in:
            return _unwritten(facts, short(read.read), read.read, read)
        version = facts.version(found_in[0])
        if len(found_in) == 1 and version:
            facts.learned[id(read)] = version
            facts.taken.append(read)
        else:
            facts.open = True
    facts.taken.sort(key=lambda operation: operation.start)
    return None


def _unwritten(facts: _Facts, seen: str, value: bytes | None, witness: Operation) -> Violation:
    refused = [each for each in facts.rejected if value is not None and each.value == value]
    reason = "was read, and its write was rejected" if refused else "was seen, and no write can have made it"
    return facts.violation(f"{seen} {reason}", witness, *refused)


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
            held = there == (write.expected == PRESENT) and (there or write.value is not None)
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
