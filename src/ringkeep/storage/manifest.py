"""How far the file was written that says of which files the database consists: RocksDB's MANIFEST.

It only grows, and a new one has a greater number; so an older state of it is found out by number and size.
RocksDB itself would open with it, without the tables made since, whose log files are gone.
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
    """Return what CURRENT names, as large as it is; NONE if there is no such file. Raises OSError."""
    try:
        name = (database / "CURRENT").read_text().strip()
        return Manifest(int(name.removeprefix(_PREFIX)), (database / name).stat().st_size)
    except (FileNotFoundError, ValueError):
        return NONE


def synced_manifest(database: Path, known: Manifest) -> Manifest:
    """Return what is durable of it now; `known` was before. Raises OSError. Costs an fsync if it grew."""
    found = manifest_of(database)
    if found > known:
        handle = os.open(database / f"{_PREFIX}{found.number:06d}", os.O_RDONLY | os.O_CLOEXEC)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
    return found
