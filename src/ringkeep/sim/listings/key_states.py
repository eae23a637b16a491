"""What every key was, at each place of one partition's committed log: behind each entry, and before the
first.
"""

from bisect import bisect_left
from typing import NamedTuple

from ringkeep.core.protocol.change import ChangeKind
from ringkeep.core.protocol.entry import Entry, EntryKind
from ringkeep.core.protocol.types import Millis
from ringkeep.sim.checks.committed_log import CommittedLog
from ringkeep.sim.checks.effects import effective


class State(NamedTuple):
    """A key that is there. `tail`: content type and value. `deadline`: a log time, 0 for none."""

    version: int
    tail: bytes
    deadline: Millis


class KeyStates:
    """One partition's log as states of keys. `log_times`: at each place."""

    def __init__(self, log: CommittedLog) -> None:
        self._indices = [0, *sorted(log.entries)]
        self._since = [0, *(log.since[index] for index in self._indices[1:])]
        self._until = [0, *(log.until[index][0] for index in self._indices[1:])]
        self._states: dict[bytes, list[tuple[int, State | None]]] = {}
        self.log_times: list[Millis] = [0]
        times: dict[int, Millis] = {}
        for entry in effective(log):
            self._take(entry)
            times[entry.index] = entry.log_time
        for index in self._indices[1:]:  # a copy of a request tells the time too
            self.log_times.append(max(times.get(index, 0), self.log_times[-1]))

    def _take(self, entry: Entry) -> None:
        if entry.kind == EntryKind.PUT:
            self._leave(entry.index, entry.key, State(entry.index, entry.tail, 0))
        elif entry.kind == EntryKind.DELETE:
            self._leave(entry.index, entry.key, None)
        elif entry.kind == EntryKind.CHANGES:
            for change in entry.changes:
                if change.kind in (ChangeKind.DELETE, ChangeKind.EXPIRE):
                    self._leave(entry.index, change.key, None)
                    continue
                before = self._states.get(change.key, [(0, None)])[-1][1]
                kept = before.tail if before is not None else b"\0"
                tail = kept if change.kind == ChangeKind.TOUCH else change.tail
                self._leave(entry.index, change.key, State(entry.index, tail, change.deadline))

    def _leave(self, index: int, key: bytes, state: State | None) -> None:
        self._states.setdefault(key, []).append((bisect_left(self._indices, index), state))

    @property
    def keys(self) -> list[bytes]:
        """The keys that were ever there, in order."""
        return sorted(self._states)

    def places(self, start: int, end: int) -> range:
        """Return the places between what was committed at one event, and at another."""
        return range(max(bisect_left(self._until, start) - 1, 0), bisect_left(self._since, end))

    def index_at(self, place: int) -> int:
        """Return the index of the entry before a place; 0 at the first."""
        return self._indices[place]

    def at(self, key: bytes, place: int) -> State | None:
        """Return what a key was; None: it was not there, or its time was over."""
        states = self._states.get(key, [])
        found = bisect_left(states, place + 1, key=lambda each: each[0])
        state = states[found - 1][1] if found else None
        over = state is not None and 0 < state.deadline <= self.log_times[place]
        return None if over else state
