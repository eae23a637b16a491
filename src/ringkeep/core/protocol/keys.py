"""The keys of the three tables, and the encoding of their small rows.

Big-endian numbers, so that byte order is number order. Every value begins with a format version or is a
fixed struct named here; `docs/storage.md` shows them byte by byte.
"""

import struct
from typing import Final

from ringkeep.core.protocol.types import Index, PartitionId

_LOG_KEY: Final = struct.Struct("!HQ")
_DATA_PREFIX: Final = struct.Struct("!HI")
_DATA_SPACE: Final = struct.Struct("!HIB")

PREFIX_BYTES: Final = _DATA_PREFIX.size
"""(partition, generation) in front of every data key."""

RECORDS: Final = 0
IDEMPOTENCY: Final = 1
IDEMPOTENCY_BY_TIME: Final = 2
DEADLINES: Final = 3
VALUES: Final = 4
RESULTS: Final = 5
RESULTS_BY_TIME: Final = 6
"""The spaces of one (partition, generation): records by key; idempotency rows, and the same by log time;
records with a deadline by that; large values by key; results that are kept by version, and the same by log
time."""


def log_key(partition: PartitionId, index: Index) -> bytes:
    """Return the key of one log entry."""
    return _LOG_KEY.pack(partition, index)


def data_prefix(partition: PartitionId, generation: int) -> bytes:
    """Return the prefix of everything that one generation of one partition holds."""
    return _DATA_PREFIX.pack(partition, generation)


ALL_DATA: Final = (b"", b"\xff" * (_DATA_PREFIX.size + 1))
"""The key range of the data of all partitions and generations: half open."""


def space_prefix(partition: PartitionId, generation: int, space: int) -> bytes:
    """Return the prefix of one space of one generation. A record's data key is this and the user's key."""
    return _DATA_SPACE.pack(partition, generation, space)


def after(prefix: bytes) -> bytes:
    """Return the least byte string greater than every string with this prefix."""
    stripped = prefix.rstrip(b"\xff")
    assert stripped, "a prefix of only 0xff has no end"
    return stripped[:-1] + bytes((stripped[-1] + 1,))
