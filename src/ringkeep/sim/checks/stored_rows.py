"""The rows of a partition's replica agree: deadlines with records, large values with records that name them,
results with their times."""

from typing import NamedTuple

from ringkeep.core.protocol.effects import Family
from ringkeep.core.protocol.keys import (
    DEADLINES,
    IDEMPOTENCY,
    IDEMPOTENCY_BY_TIME,
    PREFIX_BYTES,
    RECORDS,
    RESULTS,
    RESULTS_BY_TIME,
    VALUES,
    after,
    data_prefix,
)
from ringkeep.core.protocol.record import deadline_of, is_parted, read_record, value_bytes_of
from ringkeep.core.protocol.types import Millis
from ringkeep.core.replication.replica import Replica
from ringkeep.sim.world.machine import SimMachine

_NUMBER_BYTES = 8


class Stored(NamedTuple):
    """A record as the rows have it."""

    version: int
    value: bytes
    content_type: bytes
    deadline: Millis


def rows_of(node: SimMachine, replica: Replica) -> list[tuple[bytes, bytes]]:
    """Return all rows of a replica, ordered, with their keys in its generation."""
    prefix = data_prefix(replica.partition, replica.generation)
    assert len(prefix) == PREFIX_BYTES
    stored = dict(node.engine.scan(Family.DATA, prefix, after(prefix), 1 << 30))
    rows = sorted((stored | replica.state.unwritten).items())
    return [(key[PREFIX_BYTES:], value) for key, value in rows if value is not None]


def disagreement(rows: list[tuple[bytes, bytes]]) -> str:
    """Return how these rows of one replica contradict each other, "" if they do not."""
    spaces: dict[int, dict[bytes, bytes]] = {}
    for key, value in rows:
        spaces.setdefault(key[0], {})[key[1:]] = value
    records = spaces.get(RECORDS, {})
    deadlines = {
        deadline_of(row).to_bytes(_NUMBER_BYTES) + key for key, row in records.items() if deadline_of(row)
    }
    if (found := spaces.get(DEADLINES, {}).keys()) != deadlines:
        return f"deadlines {sorted(found)} of records with {sorted(deadlines)}"
    sizes = {key: value_bytes_of(row) for key, row in records.items() if is_parted(row)}
    values = {key: len(value) for key, value in spaces.get(VALUES, {}).items()}
    if values != sizes:
        return f"values {values} of records with {sizes}"
    by_time = {
        (row, at[:_NUMBER_BYTES], int.from_bytes(at[_NUMBER_BYTES:]))
        for at, row in spaces.get(RESULTS_BY_TIME, {}).items()
    }
    results = {
        (number, row[:_NUMBER_BYTES], int.from_bytes(number))
        for number, row in spaces.get(RESULTS, {}).items()
    }
    if by_time != results:
        return f"results {sorted(results)}, by time {sorted(by_time)}"
    named = spaces.get(IDEMPOTENCY_BY_TIME, {}).values()
    if not spaces.get(IDEMPOTENCY, {}).keys() <= set(named):
        return "a result under a client's key is kept for ever"
    return ""


def records_of(rows: list[tuple[bytes, bytes]]) -> dict[bytes, Stored]:
    """Return the records in these rows, by key."""
    values = {key[1:]: value for key, value in rows if key[0] == VALUES}
    found: dict[bytes, Stored] = {}
    for key, row in rows:
        if key[0] == RECORDS:
            version, content_type, value = read_record(row)
            value = values[key[1:]] if is_parted(row) else value
            found[key[1:]] = Stored(version, value, content_type, deadline_of(row))
    return found
