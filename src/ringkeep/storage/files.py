"""Small durable files: names in a node's directory, and the order of fsyncs that makes them last.

A file is durable when its bytes are and when the directory that names it is: both are fsynced here.
Knows nothing of what the files mean.
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
"""End of the name under which a file is written before it takes its place."""


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
    """Put a file in place whole or not at all, durably. Raises OSError.

    After an error or a crash the old content is there, or the new one, and perhaps a `.new` file that the
    next call overwrites. Cost: two fsyncs.
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
