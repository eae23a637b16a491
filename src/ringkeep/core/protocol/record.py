"""Records as rows: version, deadline, content type and value. `docs/storage.md` shows them byte by byte.

A large value of a change has a row of its own, so that whoever needs keys and versions does not read it.
"""

import struct
from typing import Final

from ringkeep.core.protocol.types import Index, Millis

PLAIN: Final = 1
EXPIRING: Final = 2  # with a deadline
PARTED: Final = 3  # with a deadline or 0; the value is in a row of its own
_PLAIN: Final = struct.Struct("!BQB")
_EXPIRING: Final = struct.Struct("!BQBQ")
_PARTED: Final = struct.Struct("!BQBQI")
_VERSION: Final = struct.Struct("!BQ")
_DEADLINE: Final = struct.Struct("!Q")
_DEADLINE_AT: Final = _PLAIN.size


def tail_of(content_type: bytes, value: bytes) -> bytes:
    """Return content type and value as entries and records hold them."""
    return bytes((len(content_type),)) + content_type + value


def value_at(tail: bytes) -> int:
    """Return where the value begins in a tail."""
    return 1 + tail[0]


def record_of(version: Index, tail: bytes, deadline: Millis = 0) -> bytes:
    """Return the record of a key, with its value."""
    if deadline:
        return _EXPIRING.pack(EXPIRING, version, tail[0], deadline) + tail[1:]
    return _VERSION.pack(PLAIN, version) + tail  # one copy: the tail begins with the type's length


def parted_record(version: Index, content_type: bytes, value_bytes: int, deadline: Millis) -> bytes:
    """Return the record of a key whose value is in a row of its own."""
    return _PARTED.pack(PARTED, version, len(content_type), deadline, value_bytes) + content_type


def version_of(record: bytes) -> int:
    """Return the version of a record."""
    return int(_VERSION.unpack_from(record)[1])


def deadline_of(record: bytes) -> Millis:
    """Return the log time until which a record lives; 0 for ever."""
    return 0 if record[0] == PLAIN else int(_DEADLINE.unpack_from(record, _DEADLINE_AT)[0])


def is_parted(record: bytes) -> bool:
    """Whether the value is in a row of its own."""
    return record[0] == PARTED


def value_bytes_of(record: bytes) -> int:
    """Return the size of the value of a record."""
    if record[0] == PARTED:
        return int(_PARTED.unpack_from(record)[4])
    return len(record) - (_PLAIN if record[0] == PLAIN else _EXPIRING).size - record[_VERSION.size]


def read_record(record: bytes) -> tuple[int, bytes, bytes]:
    """Return (version, content type, value) of a record; the value is b"" if it is in a row of its own.

    Raises ValueError for a record of an unknown format.
    """
    form = record[0]
    if form == PLAIN:
        _, version, type_bytes = _PLAIN.unpack_from(record)
        at = _PLAIN.size
    elif form == EXPIRING:
        _, version, type_bytes, _ = _EXPIRING.unpack_from(record)
        at = _EXPIRING.size
    elif form == PARTED:
        _, version, type_bytes, _, _ = _PARTED.unpack_from(record)
        at = _PARTED.size
    else:
        raise ValueError(f"a record of format {form}: written by a newer version")
    return version, record[at : at + type_bytes], record[at + type_bytes :]


def row_bytes(key: bytes, tail: bytes) -> int:
    """Return the size of the row of a record that has no deadline and holds its value: the space's byte, key
    and record."""
    return len(key) + len(tail) + _PLAIN.size


def rows_bytes(key: bytes, record: bytes) -> int:
    """Return the size of all rows of a record: its own, its deadline's, its value's."""
    size = 1 + len(key) + len(record)
    if record[0] != PLAIN:
        if deadline_of(record):
            size += 1 + _DEADLINE.size + len(key)
        if record[0] == PARTED:
            size += 1 + len(key) + value_bytes_of(record)
    return size


def rows_bytes_of(key: bytes, tail: bytes, deadline: Millis, parted: bool) -> int:
    """Return the size of all rows of a record that is yet to be made, as `rows_bytes` counts them."""
    of_deadline = 1 + _DEADLINE.size + len(key) if deadline else 0
    if parted:  # two rows; the tail begins with a byte that the record has in its head
        return 2 * (1 + len(key)) + _PARTED.size + len(tail) - 1 + of_deadline
    return row_bytes(key, tail) + (_DEADLINE.size + of_deadline if deadline else 0)
