"""Looks for one order of a key's operations that real time allows and a register explains.

Depth first with memoisation (Wing & Gong 1993; Lowe 2017), made small by versions: they only grow along a
key, so writes that know theirs have one order, and only the others are tried in turn. `checker` asks here
when versions alone cannot decide.
"""

from bisect import bisect_right
from dataclasses import dataclass
from typing import Final, NamedTuple

from ringkeep.core.requests import PRESENT

NEVER: Final = 1 << 62  # the end of what was never answered
CONFIGURATIONS: Final = 1_000_000  # the search gives up past this many, per key


class Undecided(Exception):
    """The search gave up: too much is unknown about one key. Nothing is said about the history."""


class State(NamedTuple):
    """The register. `value` None: absent. `low`: the version of the last write; unless `exact`, its least."""

    value: bytes | None
    low: int
    exact: bool


@dataclass(slots=True)
class Step:
    """One operation as the search sees it.

    `version` 0: an observation that nothing is there, or a write whose version nobody told.
    `value`: what is written (None: a delete) or was read (None: only its version was seen).
    """

    start: int
    end: int
    writes: bool
    value: bytes | None
    version: int
    expected: int | None

    def after(self, state: State) -> State | None:
        """Return the register after this step, None where it cannot have happened."""
        value, low, exact = state
        if not self.writes:
            if not self.version:
                return state if value is None else None
            if value is None or (self.value is not None and self.value != value):
                return None
            if exact:
                return state if low == self.version else None
            return State(value, self.version, True) if low <= self.version else None
        if self.expected is None:
            if value is None and self.value is None:
                return None  # a delete without a condition is ok only where it deletes
        elif self.expected <= 0:
            if (value is not None) != (self.expected == PRESENT):
                return None
        elif value is None or (low != self.expected if exact else low > self.expected):
            return None
        else:
            low = self.expected
        if not self.version:
            return State(self.value, low + 1, False)
        return State(self.value, self.version, True) if self.version > low else None


class Configuration(NamedTuple):
    """How far the search is: everything before `first` is in the order, and what bit i of `done` says of
    `first + i`; `used` says the same of the unknown writes, which may stay out of it."""

    first: int
    done: int
    used: int
    state: State


def stuck(must: list[Step], may: list[Step], read: frozenset[bytes]) -> list[int] | None:
    """Return None if there is an order of all of `must` and any of `may`, else where the best attempt ended.

    Both are sorted by start. `read`: every value that was read. What is returned: the members of `must` that
    could have been next. Raises `Undecided`. Cost: linear while everything is known; exponential only in how
    many different unknown writes could explain the same answer.
    """
    same = _alike(may, read)
    numbered = sorted(step.version for step in must if step.writes and step.version)
    stack = [Configuration(0, 0, 0, State(None, 0, True))]
    visited: set[Configuration] = set()
    deepest, blocked = -1, list[int]()
    while stack:
        at, limit, waiting = _observe_all(must, stack.pop())
        if at.first == len(must):
            return None
        if at in visited:
            continue
        visited.add(at)
        if len(visited) > CONFIGURATIONS:
            raise Undecided(f"more than {CONFIGURATIONS} configurations")
        depth = at.first + at.done.bit_count()
        if depth > deepest:
            deepest, blocked = depth, waiting
        if any(0 < must[i].version < at.state.low for i in waiting):
            continue  # what saw an older version has missed its place
        later = bisect_right(numbered, at.state.low)
        following = numbered[later] if later < len(numbered) else NEVER
        for k, step in enumerate(may):  # tried last: the stack is worked off from its other end
            if step.start > limit or at.used >> k & 1 or (same[k] >= 0 and not at.used >> same[k] & 1):
                continue
            after = step.after(at.state)
            if after is not None and after.low < following:
                stack.append(at._replace(used=at.used | 1 << k, state=after))
        for i in waiting:
            step = must[i]
            if step.writes and step.version not in (0, following):
                continue
            after = step.after(at.state)
            if after is not None and (after.low < following or (step.writes and step.version == following)):
                stack.append(at._replace(done=at.done | 1 << (i - at.first), state=after))
    return blocked


def _observe_all(must: list[Step], at: Configuration) -> tuple[Configuration, int, list[int]]:
    """Put everything in the order that agrees with the register and leaves it as it is: never a wrong choice.

    Returns the time by which the next has to start, and who may be next.
    """
    first, done, _, state = at
    while True:
        while done & 1:
            first, done = first + 1, done >> 1
        limit, again = NEVER, False
        waiting: list[int] = []
        for i in range(first, len(must)):
            step = must[i]
            if step.start > limit:
                break
            if done >> (i - first) & 1:
                continue
            if not step.writes and step.after(state) == state:
                done |= 1 << (i - first)
                again = True
                continue
            limit = min(limit, step.end)
            waiting.append(i)
        if not again:
            return at._replace(first=first, done=done), limit, waiting


def _alike(may: list[Step], read: frozenset[bytes]) -> list[int]:
    """Return for each unknown write the one before it that does the same, or -1: only one of them is tried.

    Values that nobody read are all the same: nobody can tell which of them was there.
    """
    latest: dict[tuple[bool, int | None, bytes | None], int] = {}
    same = []
    for k, step in enumerate(may):
        value = step.value if step.value in read else None
        name = (step.value is None, step.expected, value)
        same.append(latest.get(name, -1))
        latest[name] = k
    return same
