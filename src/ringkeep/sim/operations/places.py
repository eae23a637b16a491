"""Where in the committed log an answer that wrote nothing can stand."""

from bisect import bisect_left
from typing import Final

from ringkeep.core.protocol.batch import decode_outcomes
from ringkeep.core.protocol.client_requests import Kind, Result, Status
from ringkeep.core.protocol.types import Millis
from ringkeep.sim.attempts import FASTEST_CLOCK, SLOWEST_CLOCK
from ringkeep.sim.checks.committed_log import CommittedLog
from ringkeep.sim.operations.batch_model import NO_ENTRY, agree, decide_batch
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
            elif record is None or over:
                continue
            elif _shows(record, result) and _lives(call, result, record, time):
                return True
        return False

    def around(self, call: Call) -> str:
        """Describe the possible places of a call, for people."""
        floor = max((place for end, place in self._ended if end < call.start), default=0)
        shown = [
            f"{self._indices[place]}@{self._times[place]}: {self._state(call.key, place) or 'absent'}"
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

    def _fits(self, call: Call, result: Result, place: int) -> bool:
        time = self._times[place]
        records = {key: record for key in call.keys if (record := self._state(key, place)) is not None}
        if any(0 < record.deadline <= time for record in records.values()):
            return False  # whoever meets it there removes it first
        record = records.get(call.key)
        if call.kind == Kind.GET:
            if result.status == Status.NOT_FOUND or record is None:
                return record is None and result.status == Status.NOT_FOUND
            return _shows(record, result) and _lives(call, result, record, time)
        if call.kind == Kind.BATCH:
            batch = decide_batch(records, call, NO_ENTRY, time, time)
            same = batch.status == result.status and not batch.after and not result.version
            return same and agree(decode_outcomes(result.value), batch.outcomes)
        done = decide(record, call, kept=False)
        present = record.version if record is not None else 0
        return done.status == result.status and result.version == present and not result.value


def _lives(call: Call, result: Result, record: Record, time: Millis) -> bool:
    """Whether the time that is left can be true, by any clock."""
    if not record.deadline:
        return result.ttl_ms == 0
    least = record.ttl_ms - (call.end_ms - record.asked_ms) * FASTEST_CLOCK - ROUNDED_MS
    return max(least, 1) <= result.ttl_ms <= record.deadline - time


def _shows(record: Record, result: Result) -> bool:
    told = result.status, result.version, result.value, result.content_type
    return told == (Status.FOUND, record.version, record.value, record.content_type)
