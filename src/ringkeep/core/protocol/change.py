"""Changes of records: what an entry of several changes says, as bytes. `docs/storage.md` shows the layout.

Only effects are logged: a primary evaluates the operation, so applying a change needs no other knowledge.
"""

import struct
from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import Final

from ringkeep.core.protocol.types import Index, Millis

_COUNTS: Final = struct.Struct("!HI")
_CHANGE: Final = struct.Struct("!BHIQQQQ")


class ChangeKind(IntEnum):
    """What a change does to one record."""

    PUT = 1  # the record is what `tail` says, until `deadline`
    DELETE = 2
    TOUCH = 3  # the record stays, with a new version and `deadline`
    EXPIRE = 4  # removes the record of `version`, whose deadline was reached


@dataclass(slots=True)
class Change:
    """One change of one record.

    `tail`: content type and value, as in an entry. `deadline`: a log time of the partition, 0 for none.
    `replaced_bytes`, `replaced_deadline`: size of all rows of the record before it, and its deadline; 0 for
    none. `version`: of an EXPIRE, the version that is removed.
    """

    kind: int
    key: bytes
    tail: bytes = b""
    deadline: Millis = 0
    replaced_bytes: int = 0
    replaced_deadline: Millis = 0
    version: Index = Index(0)


def encode_changes(changes: Sequence[Change], result: bytes) -> bytes:
    """Return changes, and the result that the request's answer repeats (b"": none), as an entry's tail."""
    parts = [_COUNTS.pack(len(changes), len(result)), result]
    for each in changes:
        parts.append(_CHANGE.pack(
            each.kind, len(each.key), len(each.tail), each.deadline, each.replaced_bytes,
            each.replaced_deadline, each.version,
        ))  # fmt: skip
        parts += (each.key, each.tail)
    return b"".join(parts)


def decode_changes(data: bytes) -> tuple[list[Change], bytes]:
    """Return (changes, result) of an entry's tail. Raises ValueError for other bytes."""
    changes: list[Change] = []
    try:
        count, size = _COUNTS.unpack_from(data)
        at = _COUNTS.size + size
        result = data[_COUNTS.size : at]
        for _ in range(count):
            kind, key_bytes, tail_bytes, *numbers = _CHANGE.unpack_from(data, at)
            key_at = at + _CHANGE.size
            tail_at = key_at + key_bytes
            at = tail_at + tail_bytes
            deadline, replaced_bytes, replaced_deadline, version = numbers
            changes.append(Change(
                ChangeKind(kind), data[key_at:tail_at], data[tail_at:at], deadline, replaced_bytes,
                replaced_deadline, Index(version),
            ))  # fmt: skip
    except struct.error as error:
        raise ValueError(f"changes of {len(data)} bytes are cut short") from error
    if at != len(data):
        raise ValueError(f"changes of {len(data)} bytes end after {at}")
    return changes, result
