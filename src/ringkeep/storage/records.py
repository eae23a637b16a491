"""Repairs RocksDB's record files before RocksDB reads them: some bytes would make its reader loop for ever.

Log files and MANIFEST share one format: blocks of 32 KiB, in each a chain of records, and before each record
its checksum, length and type. Some types occur in recycled files only, and no file is recycled here. If
RocksDB 9.8 reads such a type after a file's first record, it loops without end (its issue 13333), and the
node would never start. One flipped bit is enough (1, a whole record, becomes 5), or some bytes after a torn
end.

Such a type is overwritten with an unused one. RocksDB then finds what it finds in any corrupt record: a
checksum that does not match. Nothing that it would have accepted is changed, because it would never have
passed that record. Nothing is truncated, because a file that ends between two records looks complete.
"""

import os
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Final

BLOCK_BYTES: Final = 32 * 1024
HEADER: Final = struct.Struct("<4xHB")
"""Checksum (not looked at), length of the record without this header, type."""

RECYCLED_TYPES: Final = frozenset({5, 6, 7, 8, 11})
_NOBODYS_TYPE: Final = b"\x7f"
_READ_BYTES: Final = 32 * BLOCK_BYTES


def mend_records(database: Path) -> list[str]:
    """Overwrite the types that RocksDB's reader cannot pass; return the places, one text per file.

    Call it while the database is not open. Not made durable: the next start would repeat it. Raises OSError.
    Cost: 0.2 µs per record.
    """
    mended = []
    for path in sorted([*database.glob("*.log"), *database.glob("MANIFEST-*")]):
        if places := list(_recycled_types(path)):
            _overwrite(path, places)
            mended.append(f"{path}, {len(places)} from offset {places[0]} on")
    return mended


def _recycled_types(path: Path) -> Iterator[int]:
    """Find, block by block, the offset of the first type of a recycled file.

    RocksDB follows a block's chain up to the first wrong checksum, and drops the rest. Checksums are not
    computed here: the chain may be followed further, into bytes that are dropped anyway.
    """
    unpack = HEADER.unpack_from
    with path.open("rb") as opened:
        before = 0
        while some := opened.read(_READ_BYTES):
            for start in range(0, len(some), BLOCK_BYTES):
                at = start
                last = min(start + BLOCK_BYTES, len(some)) - HEADER.size
                while at <= last:
                    length, kind = unpack(some, at)
                    at += HEADER.size + length
                    if kind in RECYCLED_TYPES:
                        yield before + at - length - 1
                        break  # once this one is overwritten, RocksDB drops the rest of the block
                    if not kind and not length:
                        break  # zeros: here it drops the rest, too
            before += len(some)


def _overwrite(path: Path, places: list[int]) -> None:
    handle = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
    try:
        for place in places:
            os.pwrite(handle, _NOBODYS_TYPE, place)
    finally:
        os.close(handle)
