"""Looks for one order of a key's operations that real time allows and a register explains.

Search with memory (Wing & Gong 1993; Lowe 2017), kept small by what is known before it begins: versions only
grow along a key, a value that only one write can have written must be read before the next write, and a write
of unknown outcome is tried only where something needs it. `checker` calls it when versions alone cannot
decide. docs/histories.md explains it in detail.
"""

from bisect import bisect_left, bisect_right
from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, replace
from operator import le
from typing import Final, NamedTuple

from ringkeep.core.protocol.client_requests import PRESENT
from ringkeep.sim.histories.history import NEVER
from ringkeep.sim.histories.register import EMPTY, RegisterState, Step

COMPARED: Final = 8  # configurations that are compared with a new one for the price of one


class Undecided(Exception):
    """The search gave up because too much is unknown: no verdict."""


@dataclass(slots=True)
class SearchBudget:
    """How much a search may still do: one is about the work for one configuration, 20 to 50 µs."""

    left: int

    def spend(self, amount: int = 1) -> None:
        """Do so much. Raises `Undecided`."""
        if amount > self.left:
            raise Undecided
        self.left -= amount


class Configuration(NamedTuple):
    """How far an order is: in it are all before `high` but the `pending`, and then the register is `state`.

    `used`: how many of each group of unknown writes are in it.
    """

    high: int
    pending: tuple[int, ...]
    used: tuple[int, ...]
    state: RegisterState

    @property
    def depth(self) -> int:
        """How many are in the order, the unknown ones not counted."""
        return self.high - len(self.pending)


Way = tuple[tuple[int, ...], tuple[RegisterState, ...]]
"""What unknown writes make of the register: `used` after them, and every state from before to after them."""


class Next(NamedTuple):
    """What may follow a configuration: those that are `waiting`, and only what starts before the `limit`."""

    at: Configuration
    limit: int
    waiting: list[int]


def stuck(must: list[Step], may: list[Step], budget: SearchBudget) -> int | None:
    """Return None if there is an order of all of `must` and any of `may`, else the last start looked at.

    What starts later has no part in the contradiction, as a rule. Both lists are sorted by start; `may` never
    ended. Raises `Undecided`. Cost: near linear while few writes are concurrent whose place is not known;
    exponential in their number, and in how many unknown writes could explain the same answers.
    """
    search = Search(must, may, budget)
    return None if search.dive() else search.sweep()


class Search:
    def __init__(self, must: list[Step], may: list[Step], budget: SearchBudget) -> None:
        self._budget = budget
        self._must, self._groups, self._readers = _prepare(must, may)
        self._ranks = sorted(step.rank for step in self._must if step.rank)
        self._numbers = [expected for group in self._groups if (expected := group[0].expected or 0) > 0]
        self._begin = Configuration(0, (), (0,) * len(self._groups), EMPTY)

    def dive(self) -> bool:
        """Look for an order depth first, for a short time: mostly there is one, and it is found at once."""
        frames = [iter((self._begin,))]
        memory: defaultdict[object, list[Configuration]] = defaultdict(list)
        least = max(self._budget.left // 2, self._budget.left - 8 * len(self._must) - 1_000)
        while self._budget.left > least:
            self._budget.spend()
            found = next(frames[-1], None)
            if found is None:
                frames.pop()
                if not frames:
                    return False
                continue
            at, limit, waiting = self._observe_all(found)
            if at.depth == len(self._must):
                return True
            known = memory[at.high, at.pending, at.state.value]
            if any(self._as_good(each, at) for each in known[-COMPARED:]):
                continue
            known.append(at)
            frames.append(self._choices(Next(at, limit, waiting)))
        return False

    def sweep(self) -> int | None:
        """Look for an order breadth first, and at every configuration that is not worse than another."""
        begin = self._observe_all(self._begin)
        layers: defaultdict[int, dict[object, list[Next]]] = defaultdict(dict)
        layers[begin.at.depth] = {None: [begin]}
        last = 0
        for depth in range(len(self._must)):
            for configurations in layers.pop(depth, {}).values():
                for one in configurations:
                    self._budget.spend()
                    owed = self._owed(one.at)
                    last = max(last, one.limit, self._must[owed].start if owed >= 0 else 0)
                    for found in self._choices(one):
                        self._add(layers, self._observe_all(found))
        return None if layers else last

    def _add(self, layers: defaultdict[int, dict[object, list[Next]]], new: Next) -> None:
        at = new.at
        known = layers[at.depth].setdefault((at.high, at.pending, at.state.value), [])
        self._budget.spend(len(known) // COMPARED)
        if not any(self._as_good(each.at, at) for each in known):
            known[:] = [each for each in known if not self._as_good(at, each.at)]
            known.append(new)

    def _as_good(self, one: Configuration, other: Configuration) -> bool:
        """Whether all that can follow `other` can follow `one`: only versions and unknown writes differ."""
        if not one.state.covers(other.state):
            return False
        passed = bisect_left(self._numbers, other.state.low)  # these unknown writes have missed their version
        return all(map(le, one.used[passed:], other.used[passed:]))

    def _observe_all(self, at: Configuration) -> Next:
        """Put in the order what agrees with the register and leaves it as it is: never a wrong choice."""
        must, state = self._must, at.state
        limit, waiting = NEVER, list[int]()
        for i in at.pending:
            step = must[i]
            if step.writes or step.after(state) is not state:
                waiting.append(i)
                limit = min(limit, step.end)
        high, pending = at.high, len(waiting)
        for i in range(high, len(must)):
            step = must[i]
            if step.start > limit:
                break
            if step.writes or step.after(state) is not state:
                waiting.append(i)
                limit = min(limit, step.end)
            else:
                high, pending = i + 1, len(waiting)
        return Next(Configuration(high, tuple(waiting[:pending]), at.used, state), limit, waiting)

    def _choices(self, here: Next) -> Iterator[Configuration]:
        """Yield what can come next: first of what must come, then unknown writes with what needs them."""
        at, _, waiting = here
        state, must = at.state, self._must
        if any(0 < must[i].version < state.low or 0 < must[i].rank <= 2 * state.low for i in waiting):
            return  # one that saw an older version, or follows one, has missed its place
        owed = self._owed(at) >= 0
        for i in waiting:
            after = None if owed and must[i].writes else self._take(must[i], state)
            if after is not None and self._wanted(must[i], after, waiting):
                yield _with(at, i, at.used, after)
        for used, states in () if owed else self._unknown(here):
            for i in waiting:
                if must[i].writes and any(must[i].after(each) is not None for each in states[:-1]):
                    continue  # it could have come earlier, without the last of them
                after = self._take(must[i], states[-1])
                if after is not None and self._wanted(must[i], after, waiting):
                    yield _with(at, i, used, after)

    def _take(self, step: Step, state: RegisterState) -> RegisterState | None:
        """Return the register after a step, None also where a version would be left behind."""
        after = step.after(state)
        if after is None:
            return None
        later = bisect_right(self._ranks, 2 * state.low)
        following = self._ranks[later] if later < len(self._ranks) else 2 * NEVER
        if step.rank:
            return after if step.rank == following else None
        return after if after.low <= (following - 1) // 2 else None

    def _owed(self, at: Configuration) -> int:
        """Return the first that has yet to read what is there, if nobody can write it again; -1 for none."""
        value = at.state.value
        readers = self._readers.get(value) if value is not None else None
        if readers is None:
            return -1
        for i in at.pending:
            if not self._must[i].writes and self._must[i].value == value:
                return i
        later = bisect_left(readers, at.high)
        return readers[later] if later < len(readers) else -1

    def _wanted(self, step: Step, after: RegisterState, waiting: list[int]) -> bool:
        """Whether it is time for a lazy write: somebody can see it at once."""
        if not step.lazy:
            return True
        others = (self._must[i] for i in waiting)
        return any(not each.writes and each.after(after) is not None for each in others)

    def _unknown(self, here: Next) -> Iterator[Way]:
        """Yield what unknown writes can make of the register.

        None of them could have come earlier on that way: then those between would change nothing. Of two that
        do the same, the one with the narrower condition is taken: the other can do later what this one can.
        """
        ways: list[Way] = [(here.at.used, (here.at.state,))]
        for used, states in ways:
            self._budget.spend()
            results: set[RegisterState] = set()
            for number in range(bisect_left(self._numbers, states[-1].low), len(self._groups)):
                group, count = self._groups[number], used[number]
                if count == len(group) or group[count].start > here.limit:
                    continue
                after = self._take(group[count], states[-1])
                if after is None or after in results:
                    continue
                if any(group[count].after(each) is not None for each in states[:-1]):
                    continue
                results.add(after)
                way = (*used[:number], count + 1, *used[number + 1 :]), (*states, after)
                ways.append(way)
                yield way


def _with(at: Configuration, i: int, used: tuple[int, ...], state: RegisterState) -> Configuration:
    """Return the configuration after member `i` of `must`."""
    if i < at.high:
        return Configuration(at.high, tuple(each for each in at.pending if each != i), used, state)
    return Configuration(i + 1, (*at.pending, *range(at.high, i)), used, state)


# --- what is known before the search ---------------------------------------------------------------------


def _prepare(
    must: list[Step], may: list[Step]
) -> tuple[list[Step], list[list[Step]], dict[bytes, list[int]]]:
    """Return what must be ordered, the unknown writes in groups that do the same, and who reads each value
    that only one write can have written.

    Such a write must be in the order, and be followed by all who read it before the next write. If it had no
    answer of its own it is `lazy`: nothing but a reader needs it, so it can wait until right before one.
    Values that nobody read are all the same: nobody can tell which of them was there. In a group only the
    first that is left is tried: what another can do, it can do. The narrowest conditions come first, versions
    ascending.
    """
    sources = Counter(step.value for step in (*must, *may) if step.writes and step.value is not None)
    read = {step.value for step in must if not step.writes and step.value is not None}
    unread = max(read, default=b"") + b"\0"
    groups: defaultdict[tuple[bytes | None, int | None], list[Step]] = defaultdict(list)
    taken = []
    for number, given in enumerate((*must, *may)):
        step, value = replace(given), given.value
        if step.writes and value is not None:
            step.value = value if value in read else unread
            step.lazy = step.end == NEVER and value in read and sources[value] == 1
        if number < len(must) or step.lazy:
            step.rank = _rank(step)
            taken.append(step)
        else:
            expected = None if value is None and step.expected == PRESENT else step.expected
            groups[step.value, expected].append(step)
    taken.sort(key=lambda step: step.start)
    readers: defaultdict[bytes, list[int]] = defaultdict(list)
    for i, step in enumerate(taken):
        if not step.writes and step.value is not None and sources[step.value] == 1:
            readers[step.value].append(i)
    return taken, [groups[name] for name in sorted(groups, key=_breadth)], dict(readers)


def _rank(write: Step) -> int:
    """Return where versions place a write among others: 2 · its own, or right after another's; 0 nowhere."""
    if not write.writes:
        return 0
    if write.version:
        return 2 * write.version
    return 2 * write.expected + 1 if write.expected is not None and write.expected > 0 else 0


def _breadth(group: tuple[bytes | None, int | None]) -> int:
    expected = group[1]
    return NEVER + 1 if expected is None else expected if expected > 0 else NEVER
