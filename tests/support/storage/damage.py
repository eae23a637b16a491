"""Harm to the database of a stopped node, as disks do it: flipped bits, lost ends, lost files."""

import os
from pathlib import Path

from ringkeep.storage import files


def newest_log(data: Path) -> Path:
    """Return the largest of the database's own log files: what a killed node had not yet put into tables."""
    return max((data / files.DATABASE).glob("*.log"), key=lambda path: path.stat().st_size)


def flip_bits(data: Path) -> None:
    """Flip one bit in each byte of a small stretch, in the first half of what was synced."""
    path = newest_log(data)
    with path.open("r+b") as opened:
        opened.seek(path.stat().st_size // 3)
        old = opened.read(16)
        opened.seek(-len(old), os.SEEK_CUR)
        opened.write(bytes(byte ^ 1 for byte in old))


def cut_synced_tail(data: Path) -> None:
    """Lose the second half of the log, synced as it was."""
    path = newest_log(data)
    os.truncate(path, path.stat().st_size // 2)


def lose_manifest(data: Path) -> None:
    """Write nonsense over the file that says which files the database consists of."""
    for path in (data / files.DATABASE).glob("MANIFEST-*"):
        path.write_bytes(b"nonsense" * 64)
