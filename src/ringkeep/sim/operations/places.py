"""Where in the committed log an answer that wrote nothing can stand."""

from bisect import bisect_left
from typing import Final

from ringkeep.core.protocol.client_requests import Kind, Result, Status
from ringkeep.core.protocol.types import Millis
from ringkeep.sim.attempts import FASTEST_CLOCK, SLOWEST_CLOCK
from ringkeep.sim.checks.committed_log import CommittedLog
from ringkeep.sim.operations.batches import differs, run
from ringkeep.sim.operations.calls import Call
from ringkeep.sim.operations.model import Record, decide

ROUNDED_MS: Final = 10
"""Clocks are read in whole milliseconds, by each primary anew."""


class Places:
    """The places of one partition's log: behind each entry, and before the first. Calls come by start."""

    def __init__(self, log: CommittedLog) -> None:
        self._log = log
        self._indices = [0]
        self._times: list[Millis] = [0]
        self._since: list[int] = [0]
        self._until: list[int] = [0]
        self._until_ms: list[Millis] = [0]
        self._states: dict[bytes, list[tuple[int, Record | None]]] = {}  # by place, ascending
        self._ended: list[tuple[int, int]] = []  # reads so far: (end, place)

    def add(self, index: int, time: Millis) -> None:
        """Add the place behind the next entry."""
        self._indices.append(index)
        self._times.append(time)
        self._since.append(self._log.since[index])
        event, moment = self._log.until[index]
        self._until.append(event)
        self._until_ms.append(moment)

    def leave(self, index: int, key: bytes, record: Record | None) -> None:
        """The newest entry leaves this record of a key, or none."""
        assert index == self._indices[-1]
        self._states.setdefault(key, []).append((len(self._indices) - 1, record))

    def of(self, call: Call, result: Result) -> bool:
        """Find the first place of a confirmed answer; False if there is none."""
        floor = max((place for end, place in self._ended if end < call.start), default=0)
        for place in self._range(call, floor):
            if self._fits(call, result, place):
                self._ended.append((call.end, place))
                return True
        return False

    def of_stale(self, call: Call, result: Result) -> bool:
        """Whether a replica can have given a stale answer, and was as fresh as it said."""
        told = call.start_ms - result.age_ms / SLOWEST_CLOCK - ROUNDED_MS
        first = max(bisect_left(self._indices, call.at_least), bisect_left(self._until_ms, told) - 1)
        for place in range(first, bisect_left(self._since, call.end)):
            record, time = self._state(call.key, place), self._times[place]
            over = record is None or 0 < record.deadline <= time
            if result.status == Status.NOT_FOUND:
                if over:
                    return True
            elif record is not None and not over and _shows(record, result):
                left = record.deadline - time if record.deadline else 0
                if result.ttl_ms == left:
                    return True
        return False

    def around(self, call: Call) -> str:
        """Describe the possible places of a call, for people."""
        floor = max((place for end, place in self._ended if end < call.start), default=0)
        shown = [
            f"{self._indices[place]}@{self._times[place]}: "
            + ", ".join(_text(self._state(key, place)) for key in sorted(call.keys))
            for place in self._range(call, floor)
        ]
        return f"[{'; '.join(shown[:4] + shown[-4:])}]"

    def _range(self, call: Call, floor: int) -> range:
        """Return the places between what was committed when the call began and when it ended."""
        first = bisect_left(self._until, call.start) - 1
        return range(
            max(first, floor, bisect_left(self._indices, call.at_least)), bisect_left(self._since, call.end)
        )

    def _state(self, key: bytes, place: int) -> Record | None:
        states = self._states.get(key, [])
        at = bisect_left(states, place + 1, key=lambda state: state[0])
        return states[at - 1][1] if at else None

    def _fits_batch(self, call: Call, place: int) -> bool:
        """Whether a batch that left no entry can have been run here."""
        ran = run(call, lambda key: self._state(key, place))
        time = self._times[place]
        due = any(record is not None and 0 < record.deadline <= time for record in ran.before.values())
        assert call.result is not None
        if due or ran.wrote or call.result.status != ran.status or call.result.version:
            return False
        return not differs(
            ran.told, call.outcomes, None, lambda said, record: lives(call, said.ttl_ms, record, time)
        )

    def _fits(self, call: Call, result: Result, place: int) -> bool:
        if call.kind == Kind.BATCH:
            return self._fits_batch(call, place)
        record, time = self._state(call.key, place), self._times[place]
        if record is not None and 0 < record.deadline <= time:
            return False  # whoever meets it there removes it first
        if call.kind == Kind.GET:
            if result.status == Status.NOT_FOUND or record is None:
                return record is None and result.status == Status.NOT_FOUND
            return _shows(record, result) and lives(call, result.ttl_ms, record, time)
        done = decide(record, call)
        present = record.version if record is not None else 0
        return done.status == result.status and result.version == present and not result.value


def lives(call: Call, ttl_ms: Millis, record: Record, time: Millis) -> bool:
    """Whether the time that is left can be true, by any clock."""
    if not record.deadline:
        return ttl_ms == 0
    least = record.ttl_ms - (call.end_ms - record.asked_ms) * FASTEST_CLOCK - ROUNDED_MS
    return max(least, 1) <= ttl_ms <= record.deadline - time


def _shows(record: Record, result: Result) -> bool:
    told = result.status, result.version, result.value, result.content_type
    return told == (Status.FOUND, record.version, record.value, record.content_type)


def _text(record: Record | None) -> str:
    if record is None:
        return "absent"
    return f"version {record.version} {record.value[:20]!r} until {record.deadline} ({record.ttl_ms} ms)"
