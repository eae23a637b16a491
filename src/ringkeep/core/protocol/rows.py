"""The rows of the meta family: what a replica must store beside its log and its records."""

import struct
from typing import Final, NamedTuple

from ringkeep.core.protocol.effects import Family
from ringkeep.core.protocol.reader import Reader
from ringkeep.core.protocol.types import Epoch, Incarnation, Index, Millis, NodeId, PartitionId

FORMAT: Final = 1
WITH_HISTORY: Final = 2
"""The format of a replica's row that says what is kept below its window."""
_PARTITION: Final = struct.Struct("!cH")
_PROMISED: Final = struct.Struct("!BQ16sI")
_APPLIED: Final = struct.Struct("!BQq")
_REPLICA: Final = struct.Struct("!BIIQQQQ")
_POSITION: Final = struct.Struct("!BQ")
_HISTORY: Final = struct.Struct("!QHH")
_STEP: Final = struct.Struct("!QQ")
_INDEX: Final = struct.Struct("!Q")

MAP_KEY: Final = b"map"
POSITION_KEY: Final = b"position"
NO_NODE: Final = NodeId("0" * 32)


class Promised(NamedTuple):
    """The primary that a replica follows. Never decreases, and is kept for ever, even after the replica is
    moved away.
    """

    epoch: Epoch
    node: NodeId
    incarnation: Incarnation


NOBODY: Final = Promised(Epoch(0), NO_NODE, Incarnation(0))


Step = tuple[Index, int]
"""Log rows that are cut together: the index of the last one, and the bytes of all of them."""


class KeptHistory(NamedTuple):
    """Which entries can be told to readers of changes: those after `begin`, but for the `skipped` ones, which
    changed nothing. `steps`: of the rows below the window."""

    begin: Index
    steps: tuple[Step, ...] = ()
    skipped: tuple[Index, ...] = ()


class ReplicaRow(NamedTuple):
    """Where the log window begins, which generation is live, and the de-duplication table at
    `sessions_index`.

    floor_index <= sessions_index <= applied: the table is brought up to `applied` from the window at start.
    `history`: None in a row of the first format, under which nothing is kept below the window.
    """

    generation: int
    next_generation: int
    floor_epoch: Epoch
    floor_index: Index
    floor_time: Millis
    sessions_index: Index
    sessions: bytes
    history: KeptHistory | None = None


FRESH: Final = ReplicaRow(1, 2, Epoch(0), Index(0), 0, Index(0), b"\0\0\0\0")


def promised_key(partition: PartitionId) -> bytes:
    """Return the meta key of `promised`."""
    return _PARTITION.pack(b"P", partition)


def applied_key(partition: PartitionId) -> bytes:
    """Return the meta key of the applied index, which is written with every batch of applied entries."""
    return _PARTITION.pack(b"A", partition)


def replica_key(partition: PartitionId) -> bytes:
    """Return the meta key of the replica's row."""
    return _PARTITION.pack(b"R", partition)


def _check_format(form: int) -> None:
    if form != FORMAT:
        raise ValueError(f"a row of format {form}: written by a newer version")


def encode_promised(promised: Promised) -> bytes:
    """Return the row of a promise."""
    return _PROMISED.pack(FORMAT, promised.epoch, bytes.fromhex(promised.node), promised.incarnation)


def decode_promised(row: bytes) -> Promised:
    """Return the promise of a row."""
    form, epoch, node, incarnation = _PROMISED.unpack(row)
    _check_format(form)
    return Promised(Epoch(epoch), NodeId(node.hex()), Incarnation(incarnation))


def encode_applied(applied: Index, data_bytes: int) -> bytes:
    """Return the row that holds an applied index and the size of the applied rows in bytes."""
    return _APPLIED.pack(FORMAT, applied, data_bytes)


def decode_applied(row: bytes) -> tuple[Index, int]:
    """Return (applied index, size of the applied rows in bytes)."""
    form, applied, data_bytes = _APPLIED.unpack(row)
    _check_format(form)
    return Index(applied), data_bytes


def encode_replica(row: ReplicaRow) -> bytes:
    """Return the bytes of a replica's row."""
    if row.history is None:
        return _REPLICA.pack(FORMAT, *row[:6]) + row.sessions
    begin, steps, skipped = row.history
    parts = [_REPLICA.pack(WITH_HISTORY, *row[:6]), _HISTORY.pack(begin, len(steps), len(skipped))]
    parts += [_STEP.pack(*step) for step in steps]
    parts += [_INDEX.pack(index) for index in skipped]
    return b"".join((*parts, row.sessions))


def decode_replica(data: bytes) -> ReplicaRow:
    """Return the replica's row of these bytes."""
    form, generation, next_generation, epoch, index, time, sessions_index = _REPLICA.unpack_from(data)
    at, history = _REPLICA.size, None
    if form == WITH_HISTORY:
        history, at = _read_history(data, at)
    else:
        _check_format(form)
    return ReplicaRow(
        generation, next_generation, Epoch(epoch), Index(index), time, Index(sessions_index), data[at:],
        history,
    )  # fmt: skip


def _read_history(data: bytes, at: int) -> tuple[KeptHistory, int]:
    """Return the history in a replica's row, and where that ends."""
    begin, step_count, skipped_count = _HISTORY.unpack_from(data, at)
    at += _HISTORY.size
    steps_end = at + step_count * _STEP.size
    end = steps_end + skipped_count * _INDEX.size
    steps = tuple((Index(last), size) for last, size in _STEP.iter_unpack(data[at:steps_end]))
    skipped = tuple(Index(index) for (index,) in _INDEX.iter_unpack(data[steps_end:end]))
    return KeptHistory(Index(begin), steps, skipped), end


def encode_position(position: int) -> bytes:
    """Return the row that every batch writes: the number of batches so far, counting only starts that were
    allowed to speak."""
    return _POSITION.pack(FORMAT, position)


def decode_position(row: bytes) -> int:
    """Return the position of a row."""
    form, position = _POSITION.unpack(row)
    _check_format(form)
    return int(position)


def partitions_stored(reader: Reader) -> list[PartitionId]:
    """Return the partitions of which a replica is stored here, ascending."""
    rows = reader.scan(Family.META, b"R", b"S", 1 << 16)
    return [PartitionId(_PARTITION.unpack(key)[1]) for key, _ in rows]


def promises_stored(reader: Reader) -> list[tuple[PartitionId, Promised]]:
    """Return every stored promise, by partition, including those of deleted replicas."""
    rows = reader.scan(Family.META, b"P", b"Q", 1 << 16)
    return [(PartitionId(_PARTITION.unpack(key)[1]), decode_promised(row)) for key, row in rows]
