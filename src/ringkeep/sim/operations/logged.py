"""What entries of the log say, compared with records of the reference model."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Final

from ringkeep.core.protocol.change import Change, ChangeKind
from ringkeep.core.protocol.entry import Entry, EntryKind
from ringkeep.core.protocol.types import Millis
from ringkeep.sim.operations.calls import Call
from ringkeep.sim.operations.model import Record

_KINDS: Final[Mapping[int, ChangeKind]] = {
    EntryKind.PUT: ChangeKind.PUT,
    EntryKind.DELETE: ChangeKind.DELETE,
}


def change_of(entry: Entry) -> Change:
    """Return what the entry of one operation does to its key."""
    if entry.kind == EntryKind.CHANGES:
        assert len(entry.changes) == 1 and entry.changes[0].key == entry.key
        return entry.changes[0]
    return Change(_KINDS[entry.kind], entry.key, entry.tail)


def difference(change: Change, record: Record | None) -> str:
    """Return how a change leaves something else than this record, "" if it does not."""
    if record is None:
        return "" if change.kind == ChangeKind.DELETE else "leaves a record"
    tail = bytes((len(record.content_type),)) + record.content_type + record.value
    if change.kind != ChangeKind.TOUCH and (change.kind != ChangeKind.PUT or change.tail != tail):
        return "leaves another record"
    same = change.deadline == record.deadline
    return "" if same else f"lives until {change.deadline}, not {record}"


def says(changes: Sequence[Change], after: Mapping[bytes, Record | None]) -> bool:
    """Whether these changes leave exactly this: each key once."""
    return len(changes) == len(after) and all(
        change.key in after and not difference(change, after[change.key]) for change in changes
    )


def starts_of(changes: Iterable[Change], call: Call) -> Iterable[Millis]:
    """Return from which log times the times to live of a batch may count."""
    return [
        change.deadline - step.ttl_ms
        for change in changes
        for step in call.steps
        if change.key == step.key and step.ttl_ms > 0 and change.deadline
    ]
