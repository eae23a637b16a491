"""Rows on their way in, aside from the database: sorted table files that it takes over whole.

What is written to the database goes to its log, to a first table, and through several more as it sinks to
where it stays: four times its size and more. A table made aside is written once. Why not always: only whole
ranges that are new can be taken so, and not in one step with a batch (docs/adr/0006-transfer.md).

A file is written out as it grows, so that its last sync is short. Few rows are kept in memory until they are
taken, and go with the batch. Nothing here outlives the process.
"""

import os
import shutil
import threading
from pathlib import Path
from typing import Final

from rocksdict import IngestExternalFileOptions, SstFileWriter
from rocksdict import Rdict as Table

from ringkeep.core.protocol.effects import Family
from ringkeep.storage.tuning import KIB, MIB, family_options

Row = tuple[bytes, bytes]

KEPT_BYTES: Final = 256 * KIB
"""Of one prefix, in memory. A file of its own, and taking it over, costs some ten milliseconds."""

SYNC_BYTES: Final = 4 * MIB
"""Of one file. Each sync is a command to the disk, which costs the same for less."""

FILE_BYTES: Final = 32 * MIB
"""One file. What RocksDB keeps in memory of a file that is being written grows with it."""

_sync_content = getattr(os, "fdatasync", os.fsync)  # macOS has only the latter


class _Aside:
    """The rows of one prefix: few of them in memory, or all of them in files."""

    def __init__(self) -> None:
        self.rows: list[Row] = []
        self.kept_bytes = 0
        self.files: list[Path] = []
        self.writer: SstFileWriter | None = None
        self.descriptor = -1  # of the file that is being written, for its syncs
        self.unsynced_bytes = 0


class StagedTables:
    """All prefixes that are being staged. `sync` may run in another thread, all else may not.

    Whatever RocksDB raises goes up as it is: to the engine, which knows what it means.
    """

    def __init__(self, directory: Path) -> None:
        """Begin with nothing: what an earlier process had not taken is removed. Raises OSError."""
        self._directory = directory
        self._asides: dict[bytes, _Aside] = {}
        self._lock = threading.Lock()  # over the descriptors: one that is being synced is not closed
        self._options = family_options(Family.DATA)
        self._move = IngestExternalFileOptions()
        self._move.set_move_files(True)
        self._count = 0
        if directory.exists():
            shutil.rmtree(directory)

    def add(self, prefix: bytes, rows: list[Row]) -> None:
        """Put rows aside; their keys without the prefix, each greater than all before it.

        Cost: 1 to 2 µs per row, and 2 ms per MiB.
        """
        aside = self._asides.get(prefix)
        if aside is None:
            aside = self._asides[prefix] = _Aside()
        if aside.writer is None and not aside.files:
            aside.rows += rows
            aside.kept_bytes += sum(len(key) + len(value) for key, value in rows)
            if aside.kept_bytes <= KEPT_BYTES:
                return
            rows, aside.rows = aside.rows, []
        writer = aside.writer or self._open(aside, prefix)
        for key, value in rows:
            writer[prefix + key] = value
            aside.unsynced_bytes += len(value)
        if writer.file_size() >= FILE_BYTES:
            self._finish(aside)

    def _open(self, aside: _Aside, prefix: bytes) -> SstFileWriter:
        self._directory.mkdir(exist_ok=True)
        self._count += 1
        path = self._directory / f"{prefix.hex()}-{self._count}.sst"
        writer = aside.writer = SstFileWriter(self._options)
        writer.open(str(path))
        aside.files.append(path)
        aside.descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        return writer

    def _finish(self, aside: _Aside) -> None:
        """Complete the file that is being written: it is durable then."""
        if aside.writer is not None:
            aside.writer.finish()
            self._let_go(aside)

    def _let_go(self, aside: _Aside) -> None:
        with self._lock:
            aside.writer, descriptor = None, aside.descriptor
            aside.descriptor, aside.unsynced_bytes = -1, 0
            if descriptor >= 0:
                os.close(descriptor)

    def take(self, prefix: bytes, table: Table) -> list[Row]:
        """Make the rows of a prefix part of the table; return those that have to go with the batch instead.

        Their keys are without the prefix. Said again before `forget`, it changes nothing, and returns the
        same. Cost: some milliseconds per file.
        """
        aside = self._asides.get(prefix)
        if aside is None:
            return []
        self._finish(aside)
        if aside.files:
            table.ingest_external_file([str(path) for path in aside.files], self._move)
            del self._asides[prefix]
        return aside.rows

    def forget(self, begin: bytes, end: bytes) -> None:
        """Drop what is aside under the prefixes from `begin` on and below `end`."""
        for prefix in [prefix for prefix in self._asides if begin <= prefix < end]:
            aside = self._asides.pop(prefix)
            self._let_go(aside)
            for path in aside.files:
                path.unlink(missing_ok=True)

    def sync(self) -> None:
        """Make the disk keep up: return when it has what was written so far, but for SYNC_BYTES per file.

        Raises OSError.
        """
        with self._lock:
            dirty = [aside for aside in self._asides.values() if aside.unsynced_bytes >= SYNC_BYTES]
            descriptors = [os.dup(aside.descriptor) for aside in dirty]
            for aside in dirty:
                aside.unsynced_bytes = 0
        for descriptor in descriptors:
            try:
                _sync_content(descriptor)
            finally:
                os.close(descriptor)
