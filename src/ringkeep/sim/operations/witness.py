"""Judges what the clients of operations saw, with the committed log as the witness of the order.

The log is replayed through the reference model: each write must have answered, logged and left what the model
says at its place. A read has its place between two entries: not before what was committed when it began, nor
after what was committed when it ended, nor before the place of a read that had ended.
"""

from collections.abc import Iterable
from typing import Final

from ringkeep.core.protocol.batch import decode_outcomes
from ringkeep.core.protocol.change import Change, ChangeKind
from ringkeep.core.protocol.client_requests import WROTE, Kind, Result, Status
from ringkeep.core.protocol.entry import Entry, EntryKind, decode, epoch_of
from ringkeep.core.protocol.types import Millis
from ringkeep.sim.attempts import FASTEST_CLOCK, REJECTED, SLOWEST_CLOCK
from ringkeep.sim.checks.committed_log import CommittedLog
from ringkeep.sim.histories.history import NEVER
from ringkeep.sim.operations.batch_model import agree, decide_batch
from ringkeep.sim.operations.calls import Call
from ringkeep.sim.operations.logged import change_of, difference, says, starts_of
from ringkeep.sim.operations.model import Decision, Record, Shown, decide, left
from ringkeep.sim.operations.places import ROUNDED_MS, Places

SOON_MS: Final = 2_000
"""So late a record that is due is removed in a calm cluster, at most."""
_UNCHANGED: Final = (Status.NOT_FOUND, Status.CONDITION_FAILED, Status.WRONG_TYPE, Status.TOO_LARGE)


class Witness:
    """The log of one partition against the calls on its keys. `records`: what is there at the end. `results`:
    how many results with a value were kept for their coordinators. `outlived`: how many records were removed
    by a later primary than wrote them. `calm_from`: the event number from which on the cluster was calm.
    """

    def __init__(self, name: str, log: CommittedLog, calls: Iterable[Call], calm_from: int = 0) -> None:
        self._name = name
        self._log = log
        self._calm_from = calm_from or NEVER
        self._calls = list(calls)
        self._keys = {key for call in self._calls for key in call.keys}
        self._by_id = {each: call for call in self._calls for each in call.ids}
        self._entry: dict[Call, int] = {}
        self._place = "its end"
        self.records: dict[bytes, Record] = {}
        self.results = 0
        self.outlived = 0
        self.places = Places(log)

    def judge(self) -> None:
        """Raise AssertionError if anything does not agree."""
        time: Millis = 0
        for index, data in sorted(self._log.entries.items()):
            entry = decode(data)
            self._place = f"entry {index}"
            self._require(entry.log_time >= time, f"log time {entry.log_time} after {time}")
            time = entry.log_time
            self.places.add(index, time)
            if entry.kind == EntryKind.CHANGES and not entry.counter:
                for change in entry.changes:
                    self._removed(index, entry, change)
            elif entry.key in self._keys:
                self._asked(index, entry)
                self.results += bool(entry.result) and not entry.idempotency
        self._place = "its end"
        for call in self._calls:
            self._require(call in self._entry or not _has_entry(call), f"no entry of {call}")
        self._judge_reads()

    # --- entries --------------------------------------------------------------------------------------

    def _removed(self, index: int, entry: Entry, change: Change) -> None:
        """A record is removed because its time is over."""
        key, record = change.key, self.records.get(change.key)
        self._require(change.kind == ChangeKind.EXPIRE, "changes that nobody asked for")
        if key not in self._keys:
            return
        self._require(
            record is not None and record.version == change.version,
            f"removes version {change.version} of {key!r}: {record}",
        )
        assert record is not None
        due = 0 < record.deadline == change.replaced_deadline <= entry.log_time
        self._require(due, f"of log time {entry.log_time} removes what is not due: {key!r} {record}")
        lived = self._log.until[index][1] - record.asked_ms
        early = lived * FASTEST_CLOCK + ROUNDED_MS < record.ttl_ms
        self._require(not early, f"removes {key!r} after {lived} ms: {record}")
        latest = self._log.until[record.version][1] + record.ttl_ms / SLOWEST_CLOCK + SOON_MS
        late = record.asked > self._calm_from and self._log.until[index][1] > latest
        self._require(not late, f"removes {key!r} only after {lived} ms: {record}")
        self.outlived += epoch_of(self._log.entries[record.version]) < entry.epoch
        self._leave(index, key, None)

    def _asked(self, index: int, entry: Entry) -> None:
        """An entry for a call: it says what the model says, and so did the answer."""
        call = self._by_id.get((entry.origin, entry.counter))
        self._require(call is not None, f"{entry.key!r} is written, and nobody asked for it")
        assert call is not None
        self._require(call not in self._entry, f"{call} took effect before, at {self._entry.get(call)}")
        self._require(call.key == entry.key, f"is of {entry.key!r}, asked was {call}")
        self._entry[call] = index
        began = call.start <= self._log.since[index]
        ended = call.result is None or self._log.since[index] < call.end
        self._require(began and ended, f"committed at {self._log.since[index]}, though {call}")
        for key in call.keys:
            record = self.records.get(key)
            lives = record is None or not record.deadline or record.deadline > entry.log_time
            self._require(lives, f"of log time {entry.log_time} still saw {record}: {call}")
        if call.kind == Kind.BATCH:
            self._batch(index, entry, call)
        else:
            self._single(index, entry, call)

    def _single(self, index: int, entry: Entry, call: Call) -> None:
        """Compare what the entry of one operation says, and its answer."""
        record = self.records.get(call.key)
        decision = decide(record, call, kept=bool(call.name))
        self._require(
            entry.status == decision.status, f"says {entry.status}, not {decision.status}: {call}, {record}"
        )
        version = index
        if decision.status in WROTE:
            change = change_of(entry)
            made = left(record, decision, index, change.deadline, call)
            wrong = difference(change, made)
            self._require(not wrong, f"{wrong}: {call}")
            in_time = decision.lives <= 0 or change.deadline >= entry.log_time + decision.lives
            self._require(in_time, f"of {entry.log_time} lives until {change.deadline}: {call}")
            self._leave(index, call.key, made)
        else:
            self._require(entry.kind == EntryKind.OUTCOME, f"writes for {call}")
            version = record.version if record is not None else 0
        if call.result is not None:
            self._check_answer(call, call.result, decision, version)

    def _batch(self, index: int, entry: Entry, call: Call) -> None:
        """Compare what the entry of a batch says: all of it or nothing; and its answer."""
        time, result = entry.log_time, call.result
        starts = {time, *starts_of(entry.changes, call)}  # of times to live: the entry tells only their ends
        for now in sorted(start for start in starts if start >= time):
            batch = decide_batch(self.records, call, index, now, time)
            if entry.status == batch.status and says(entry.changes, batch.after):
                break
        else:
            self._require(False, f"says {entry.status} {entry.changes}, not {batch}: {call}")
        for key, record in batch.after.items():
            self._leave(index, key, record)
        if result is not None:
            same = result.status == batch.status and result.version == index
            self._require(same, f"was answered {result.status} {result.version}, not {batch.status}: {call}")
            told = decode_outcomes(result.value)
            same = agree(told, batch.outcomes)
            self._require(same, f"was answered {told}, not {batch.outcomes}: {call}")

    def _leave(self, index: int, key: bytes, record: Record | None) -> None:
        self.places.leave(index, key, record)
        if record is None:
            self.records.pop(key, None)
        else:
            self.records[key] = record

    # --- answers --------------------------------------------------------------------------------------

    def _check_answer(self, call: Call, result: Result, decision: Decision, version: int) -> None:
        """Compare the answer of a call that has an entry."""
        told = result.status, result.version, Shown(result.value, result.content_type)
        wanted = decision.status, version, decision.shown
        self._require(told == wanted, f"was answered {_short(told)}, not {_short(wanted)}: {call}")

    def _judge_reads(self) -> None:
        """Find a place for each answer that wrote nothing, by start: the first that is possible."""
        reads = [call for call in self._calls if call not in self._entry and _is_read(call)]
        for call in sorted(reads, key=lambda call: call.start):
            assert call.result is not None
            found = (
                self.places.of_stale(call, call.result) if call.stale else self.places.of(call, call.result)
            )
            self._require(found, f"no place in {self.places.around(call)} for {call}")

    def _require(self, holds: bool, what: str) -> None:
        assert holds, f"{self._name}, {self._place}: {what}"


def _has_entry(call: Call) -> bool:
    """Whether the answer says that there is an entry: of an effect, or of a result that is kept."""
    result = call.result
    if result is None or (call.kind == Kind.BATCH and not call.name):  # a batch may change nothing
        return False
    return result.status in WROTE or (bool(call.name) and result.status in _UNCHANGED)


def _is_read(call: Call) -> bool:
    """Whether a definite answer wrote nothing, not even a result that is kept."""
    result = call.result
    if result is None or result.status in REJECTED:
        return False
    return call.kind in (Kind.GET, Kind.BATCH) or (result.status in _UNCHANGED and not call.name)


def _short(told: tuple[int, int, Shown]) -> str:
    status, version, shown = told
    return f"{Status(status).name} {version} {shown.content_type!r} {shown.value[:30]!r}"
