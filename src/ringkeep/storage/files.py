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

TEMPORARY: Final = ".new"
"""The suffix under which a file is written before it replaces the old one."""


def sync_directory(path: Path) -> None:
    """Make the names in this directory durable. Raises OSError."""
    handle = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


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
