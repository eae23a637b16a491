"""Stages the rows of a snapshot outside of the database: sorted table files that it ingests as a whole.

A normal write goes to the database's log, to a first table, and by compaction through several more: four
times its size and more. A staged table is written once. Only whole new ranges can be ingested, and not
atomically with a batch, so this is not used for other writes (docs/adr/0006-transfer.md).

A file is synced as it grows, so that its last sync is short. A few rows are kept in memory until they are
taken, and are written with the batch. Nothing here outlives the process.
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


class _Staged:
    """The rows of one prefix: few of them in memory, or all of them in files."""

    def __init__(self) -> None:
        self.rows: list[Row] = []
        self.kept_bytes = 0
        self.files: list[Path] = []
        self.writer: SstFileWriter | None = None
        self.descriptor = -1  # of the file that is being written, for its syncs
        self.unsynced_bytes = 0


class StagedTables:
    """All prefixes that are being staged. `sync` may run in another thread, all other methods may not.

    RocksDB's exceptions are passed on unchanged: the engine knows what they mean.
    """

    def __init__(self, directory: Path) -> None:
        """Start empty: what an earlier process had not taken is removed. Raises OSError."""
        self._directory = directory
        self._prefixes: dict[bytes, _Staged] = {}
        self._lock = threading.Lock()  # over the descriptors: one that is being synced is not closed
        self._options = family_options(Family.DATA)
        self._move = IngestExternalFileOptions()
        self._move.set_move_files(True)
        self._count = 0
        if directory.exists():
            shutil.rmtree(directory)

    def add(self, prefix: bytes, rows: list[Row]) -> None:
        """Stage rows; their keys are without the prefix, each greater than all before it.

        Cost: 1 to 2 µs per row, and 2 ms per MiB.
        """
        staged = self._prefixes.get(prefix)
        if staged is None:
            staged = self._prefixes[prefix] = _Staged()
        if staged.writer is None and not staged.files:
            staged.rows += rows
            staged.kept_bytes += sum(len(key) + len(value) for key, value in rows)
            if staged.kept_bytes <= KEPT_BYTES:
                return
            rows, staged.rows = staged.rows, []
        writer = staged.writer or self._open(staged, prefix)
        for key, value in rows:
            writer[prefix + key] = value
            staged.unsynced_bytes += len(value)
        if writer.file_size() >= FILE_BYTES:
            self._finish(staged)

    def _open(self, staged: _Staged, prefix: bytes) -> SstFileWriter:
        self._directory.mkdir(exist_ok=True)
        self._count += 1
        path = self._directory / f"{prefix.hex()}-{self._count}.sst"
        writer = staged.writer = SstFileWriter(self._options)
        writer.open(str(path))
        staged.files.append(path)
        staged.descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        return writer

    def _finish(self, staged: _Staged) -> None:
        """Complete the file that is being written: it is durable then."""
        if staged.writer is not None:
            staged.writer.finish()
            self._let_go(staged)

    def _let_go(self, staged: _Staged) -> None:
        with self._lock:
            staged.writer, descriptor = None, staged.descriptor
            staged.descriptor, staged.unsynced_bytes = -1, 0
            if descriptor >= 0:
                os.close(descriptor)

    def take(self, prefix: bytes, table: Table) -> list[Row]:
        """Ingest the rows of a prefix into the table; return those that must be written with the batch
        instead.

        Their keys are without the prefix. Repeated before `forget`, it changes nothing, and returns the same.
        Cost: some milliseconds per file.
        """
        staged = self._prefixes.get(prefix)
        if staged is None:
            return []
        self._finish(staged)
        if staged.files:
            table.ingest_external_file([str(path) for path in staged.files], self._move)
            del self._prefixes[prefix]
        return staged.rows

    def forget(self, begin: bytes, end: bytes) -> None:
        """Drop what is staged under the prefixes from `begin` on and below `end`."""
        for prefix in [prefix for prefix in self._prefixes if begin <= prefix < end]:
            staged = self._prefixes.pop(prefix)
            self._let_go(staged)
            for path in staged.files:
                path.unlink(missing_ok=True)

    def sync(self) -> None:
        """Sync the files that are being written: afterwards less than SYNC_BYTES of each is not durable.

        Raises OSError.
        """
        with self._lock:
            dirty = [staged for staged in self._prefixes.values() if staged.unsynced_bytes >= SYNC_BYTES]
            descriptors = [os.dup(staged.descriptor) for staged in dirty]
            for staged in dirty:
                staged.unsynced_bytes = 0
        for descriptor in descriptors:
            try:
                _sync_content(descriptor)
            finally:
                os.close(descriptor)
