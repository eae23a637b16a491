"""Number and size of RocksDB's MANIFEST, the file that lists the database's files.

It only grows, and a new one has a greater number; so number and size reveal an older state of it. RocksDB
would open with that, without the tables written since, whose log files are already deleted.
"""

import os
from pathlib import Path
from typing import Final, NamedTuple

_PREFIX: Final = "MANIFEST-"


class Manifest(NamedTuple):
    """The number in the file's name, and how many bytes of it are durable. Compared in this order."""

    number: int
    size: int


NONE: Final = Manifest(0, 0)


def manifest_of(database: Path) -> Manifest:
    """Return the MANIFEST that CURRENT names, with its present size; NONE if there is none. Raises
    OSError."""
    try:
        name = (database / "CURRENT").read_text().strip()
        return Manifest(int(name.removeprefix(_PREFIX)), (database / name).stat().st_size)
    except (FileNotFoundError, ValueError):
        return NONE


def synced_manifest(database: Path, known: Manifest) -> Manifest:
    """Make the MANIFEST durable and return it; `known` was durable before. Raises OSError.

    Cost: an fsync if it grew.
    """
    present = manifest_of(database)
    if present > known:
        handle = os.open(database / f"{_PREFIX}{present.number:06d}", os.O_RDONLY | os.O_CLOEXEC)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
    return present
