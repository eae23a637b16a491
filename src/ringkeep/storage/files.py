"""Small durable files in a node's directory: their names, and the order of fsyncs that makes them durable.

A file is durable once its bytes and the directory that names it are: both are fsynced here. Knows nothing of
what the files mean.
"""

import os
from pathlib import Path
from typing import Final

IDENTITY: Final = "identity.json"
LOCK: Final = "lock"
DATABASE: Final = "db"
SYNCED: Final = "synced"
DAMAGED: Final = "damaged"
STAGED: Final = "staged"
COORDINATION: Final = "coordination.json"
"""The map and the marks of a node that is alone (`ringkeep dev`)."""

PROBE: Final = "direct"
"""A file that exists only while it is tried whether the file system takes direct I/O."""

TEMPORARY: Final = ".new"
"""The suffix under which a file is written before it replaces the old one."""


def sync_directory(path: Path) -> None:
    """Make the names in this directory durable. Raises OSError."""
    handle = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def takes_direct_io(directory: Path) -> bool:
    """Tell whether files in this directory can be written past the page cache: some file systems refuse."""
    if not hasattr(os, "O_DIRECT"):
        return False
    path = directory / PROBE
    try:
        os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC | os.O_DIRECT, 0o644))
    except OSError:
        return False
    finally:
        path.unlink(missing_ok=True)
    return True


def make_directories(path: Path) -> None:
    """Create the directory and what is missing above it, durably. Raises OSError."""
    missing = [path] if not path.exists() else []
    while missing and not missing[-1].parent.exists():
        missing.append(missing[-1].parent)
    for directory in reversed(missing):
        directory.mkdir(exist_ok=True)
        sync_directory(directory.parent)


def write_atomically(path: Path, content: bytes) -> None:
    """Replace a file as a whole, durably. Raises OSError.

    After an error or a crash the file has the old content or the new one; a leftover `.new` file is
    overwritten by the next call. Cost: two fsyncs.
    """
    temporary = path.with_name(path.name + TEMPORARY)
    handle = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o644)
    try:
        view = memoryview(content)
        while view:
            view = view[os.write(handle, view) :]
        os.fsync(handle)
    finally:
        os.close(handle)
    temporary.rename(path)
    sync_directory(path.parent)
