"""The durable store of a node: RocksDB through rocksdict, three column families, one write-ahead log.

A write appends to the log file without a sync; `flush` is the sync, for the storage thread. Every opening
checks against the synced mark beside the database that nothing durable is missing.

Knows nothing of what the rows mean. Why each choice was made: docs/adr/0003-storage.md.
"""

import logging
import re
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

from rocksdict import (
    DbClosedError,
    RdictIter,
    ReadOptions,
    WriteBatch,
    WriteOptions,
)
from rocksdict import Rdict as Database

from ringkeep.core.protocol.effects import Batch, Family
from ringkeep.errors import StorageDamaged, StorageError, StorageStalled
from ringkeep.storage import files
from ringkeep.storage.manifest import manifest_of, synced_manifest
from ringkeep.storage.records import mend_records
from ringkeep.storage.staged import StagedTables
from ringkeep.storage.synced_mark import SyncedMark
from ringkeep.storage.tuning import (
    MAX_OPEN_FILES,
    database_options,
    family_options,
    make_compactions_wait,
)

Row = tuple[bytes, bytes]

_REFUSED: Final = "Result incomplete"
"""How RocksDB's error begins when a write would have had to wait: nothing was written."""

_NO_ROOM: Final = "No space left on device"
_IN_A_SYNC: Final = re.compile(r"While \w*sync", re.IGNORECASE)
"""Also in RocksDB's errors. A sync that found no room may have lost data: that is final."""

_WAIT_S: Final = 0.05
"""Between two checks whether a store that ran out of room accepts writes again."""

_ROTTEN: Final = "Corruption"
_GONE: Final = "No such file or directory"
_BLOB: Final = ".blob"

_log = logging.getLogger("ringkeep.storage")


class RocksSnapshot:
    """A frozen view of the data family. While open, the files and buffers that it sees are kept.

    It is an iterator: RocksDB's iterators see the table as it was when they were made. rocksdict's own
    snapshots cannot be used: their iterators show later writes (0.3.29; only their look-ups are frozen).
    """

    __slots__ = ("_engine", "_rows")

    def __init__(self, engine: "RocksEngine", rows: RdictIter) -> None:
        self._engine = engine
        self._rows: RdictIter | None = rows

    def scan(self, begin: bytes, end: bytes, limit: int, limit_bytes: int) -> list[Row]:
        """See `ringkeep.ports.Snapshot`. The row that reaches `limit_bytes` is the last.

        Raises StorageError.
        """
        assert self._rows is not None, "a closed snapshot is not read"
        try:
            return _collect(self._rows, begin, end, limit, limit_bytes)
        except Exception as error:
            raise self._engine.failure(error) from error

    def close(self) -> None:
        """Release it. Calling it again does nothing."""
        self._rows = None
        self._engine.forget(self)


class RocksEngine:
    """The Engine port on disk. Made by `open_engine`; `flush` may run in another thread, all else may not.

    After a StorageError all calls fail, on purpose: RocksDB may have dropped what failed to reach the disk,
    and a second try could succeed without it. A write that finds no room is different: nothing of it was
    written, and once there is room RocksDB writes everything before it to tables, and starts a new log file.
    Until then the engine is stalled, and must not sync: a failed sync is final.
    """

    def __init__(
        self, database: Database, directory: Path, mark: SyncedMark, staged: StagedTables, damaged: bool
    ) -> None:
        self.damaged = damaged
        """Whether something durable was lost before this was opened. Stays so until `clear_damaged`."""
        self._directory = directory
        self._mark = mark
        self._database = database
        self._tables = [database.get_column_family(family.name.lower()) for family in Family]
        self._handles = [database.get_column_family_handle(family.name.lower()) for family in Family]
        self._write_options = WriteOptions()
        self._write_options.no_slowdown = True
        self._ticket = 0
        self._failed = ""
        self._held = False
        """Whether RocksDB accepts no writes, and must not sync, because it found no room, or because of an
        error whose cause is being determined."""
        self._background_failures = 0
        self.used_up: Callable[[], bool] = bool
        """Whether there is so little room that nothing may be written. It becomes true before RocksDB finds
        no room at all: a sync that is running at that moment would fail, which is final."""
        self._open = True
        self._snapshots: set[RocksSnapshot] = set()
        self._staged = staged

    def write(self, batch: Batch) -> int:
        """See `ringkeep.ports.Engine`. Cost: about 3 µs, and 1 µs per row; for staged rows see `staged`."""
        assert self._open, "a closed engine is not written"
        if self._failed:
            raise StorageError(self._failed)
        if self.used_up():
            raise StorageStalled("there is no room on the disk")
        meta, log, data = self._handles
        rows = WriteBatch(raw_mode=True)
        for family, begin, end in batch.ranges:
            if begin < end:
                rows.delete_range(begin, end, self._handles[family])
        for handle, changes in ((meta, batch.meta), (log, batch.log), (data, batch.data)):
            for key, value in changes.items():
                if value is None:
                    rows.delete(key, handle)
                else:
                    rows.put(key, value, handle)
        try:
            for prefix in batch.taken:
                for key, value in self._staged.take(prefix, self._tables[Family.DATA]):
                    rows.put(prefix + key, value, data)
            self._commit(rows)
            self._stage(batch)
        except StorageStalled:
            raise
        except Exception as error:
            raise self.failure(error) from error
        self._ticket += 1
        return self._ticket

    def _commit(self, rows: WriteBatch) -> None:
        """Write to the database. Raises StorageStalled if nothing was written and a later try may succeed."""
        try:
            self._database.write(rows, self._write_options)
        except Exception as error:
            self._held = True  # first, before another thread can begin a sync
            text = str(error)
            no_room = _NO_ROOM in text and not _IN_A_SYNC.search(text)
            self._held = no_room
            if no_room or text.startswith(_REFUSED):
                raise StorageStalled(text) from error
            raise
        self._held = False

    def _stage(self, batch: Batch) -> None:
        """Drop staged rows that were taken or deleted, and stage new ones: after the batch, which may
        fail."""
        for prefix in batch.taken:
            self._staged.forget(prefix, prefix + b"\0")
        for family, begin, end in batch.ranges:
            if family is Family.DATA:
                self._staged.forget(begin, end)
        for prefix, chunks in batch.staged.items():
            for rows in chunks:
                self._staged.add(prefix, rows)

    def flush(self) -> int:
        """See `ringkeep.ports.Engine`. Cost: one fsync, and a second one each FSYNC_EVERY_S for the mark."""
        sync = self._database.flush_wal
        while True:
            ticket = self._ticket
            sequence = self._database.latest_sequence_number()
            if self._failed:
                raise StorageError(self._failed)
            if not self._held:
                break  # no other check between this one and the sync
            time.sleep(_WAIT_S)
        try:
            sync(True)
            if self._mark.due:
                self._mark.manifest = synced_manifest(self._directory / files.DATABASE, self._mark.manifest)
            self._mark.advance(sequence)
            self._staged.sync()
        except Exception as error:
            raise self.failure(error) from error
        return ticket

    def get(self, family: Family, key: bytes) -> bytes | None:
        """See `ringkeep.ports.Engine`. Raises StorageError."""
        try:
            value: bytes | None = self._tables[family].get(key)
        except Exception as error:
            raise self.failure(error) from error
        return value

    def scan(
        self, family: Family, begin: bytes, end: bytes, limit: int, limit_bytes: int | None = None
    ) -> list[Row]:
        """See `ringkeep.ports.Engine`. Raises StorageError."""
        try:
            options = ReadOptions()
            options.set_iterate_upper_bound(end)
            return _collect(self._tables[family].iter(options), begin, end, limit, limit_bytes)
        except Exception as error:
            raise self.failure(error) from error

    def snapshot(self) -> RocksSnapshot:
        """See `ringkeep.ports.Engine`."""
        options = ReadOptions()
        options.fill_cache(False)  # type: ignore[call-arg]  # the stub lacks it; a transfer reads all once
        options.set_background_purge_on_iterator_cleanup(True)  # closing must not unlink files in the loop
        snapshot = RocksSnapshot(self, self._tables[Family.DATA].iter(options))
        self._snapshots.add(snapshot)
        return snapshot

    def stalled(self) -> bool:
        """See `ringkeep.ports.Engine`. Cost: 1 µs, so nothing is cached.

        Raises StorageError after a failed flush or compaction in the background, which is final unless it
        found no room.
        """
        number = self._database.property_int_value
        failures = number("rocksdb.background-errors") or 0
        if failures != self._background_failures or self._held:
            self._background_failures = failures
            try:
                self._commit(WriteBatch(raw_mode=True))  # its result shows whether the failure is final
            except StorageStalled:
                return True
            except Exception as error:
                raise self.failure(error) from error
        if self.used_up():
            return True
        return bool(number("rocksdb.is-write-stopped") or number("rocksdb.actual-delayed-write-rate"))

    def make_room(self) -> None:
        """Start flushing the memory tables: then their log files are removed, and with them deleted rows. Any
        thread may call it; the flush continues after it has returned.

        Raises StorageError.
        """
        try:
            for table in self._tables:
                if table.property_int_value("rocksdb.num-entries-active-mem-table") and not self._held:
                    table.flush(wait=False)
        except Exception as error:
            if _NO_ROOM not in str(error):
                raise self.failure(error) from error

    def close(self) -> None:
        """Close, with all open snapshots. What was not flushed stays in the log file. Idempotent.

        To be called when no flush runs any more. Raises StorageError.
        """
        if not self._open:
            return
        self._open = False
        for snapshot in list(self._snapshots):
            snapshot.close()
        self._staged.forget(b"", b"\xff" * 8)
        self._handles.clear()
        try:
            for table in self._tables:
                table.close()
            self._database.close()
            self._mark.close()
        except Exception as error:
            raise self.failure(error) from error

    def record_damage(self, what: str) -> None:
        """See `ringkeep.ports.Engine`."""
        _record_damage(self._directory, what)
        self.damaged = True

    def clear_damaged(self) -> None:
        """Clear the damage, durably; called once the refilled replicas are durable. Raises StorageError."""
        try:
            (self._directory / files.DAMAGED).unlink(missing_ok=True)
            files.sync_directory(self._directory)
        except OSError as error:
            raise self.failure(error) from error
        self.damaged = False

    def failure(self, error: Exception) -> StorageError:
        """Return the error to raise, and refuse all writes and flushes from now on.

        A corruption that RocksDB reports is recorded durably, so that the next opening finds the store
        damaged. So is a blob file that is missing: an opening does not notice that.
        """
        if isinstance(error, DbClosedError):
            return StorageError("the database is closed")
        self._failed = self._failed or f"{self._directory}: {error}"
        text = str(error)
        if not text.startswith(_ROTTEN) and not (_GONE in text and _BLOB in text):
            return StorageError(self._failed)
        _record_damage(self._directory, text)
        return StorageDamaged(f"{self._directory}: the database has corrupt or missing files: {text}")

    def forget(self, snapshot: RocksSnapshot) -> None:
        """Called by a snapshot that closes."""
        self._snapshots.discard(snapshot)


def open_database(path: Path, tables: int) -> Database:
    """Open RocksDB as this store uses it, with at most so many tables open at a time."""
    families = {family.name.lower(): family_options(family) for family in Family}
    options = database_options(tables, files.takes_direct_io(path.parent))
    database = Database(str(path), options, column_families=families)
    make_compactions_wait()
    return database


def open_engine(
    directory: Path,
    tables: int = MAX_OPEN_FILES,
    opener: Callable[[Path, int], Database] = open_database,
) -> RocksEngine:
    """Open the store in a node's directory, or create it on the first use. `opener` opens its database.

    `damaged` is set on the result if it holds less than the synced mark says, now or at an earlier opening.
    Raises StorageDamaged if the database is missing or does not open because it is corrupt: this node's
    promises are lost with it, so the caller must use `abandon_identity`. Raises StorageError for anything
    else; nothing is changed then.
    """
    path = directory / files.DATABASE
    try:
        files.make_directories(directory)
        fresh = not (directory / files.SYNCED).exists() and not path.exists()
        if fresh:
            SyncedMark.create(directory / files.SYNCED, 0).close()
        mark, doubt = _open_mark(directory)
    except OSError as error:
        raise StorageError(f"{directory}: {error}") from error
    held_rows = mark.sequence or (directory / files.DAMAGED).exists()
    if held_rows and not (path / "CURRENT").exists():
        mark.close()
        raise StorageDamaged(f"the database in {directory} is lost: it held rows before, and is missing")
    try:
        _check_manifest(path, mark)
        for where in mend_records(path):
            _log.warning("record types that RocksDB cannot pass were overwritten: %s", where)
        database = opener(path, tables)
        files.sync_directory(directory)
    except Exception as error:
        mark.close()
        raise _unopened(directory, error) from error
    newest = database.latest_sequence_number()
    if newest < mark.sequence:
        doubt = f"it was durable up to {mark.sequence}, and holds {newest}"
    try:
        if doubt:
            _record_damage(directory, doubt)
            mark.close()
            mark = SyncedMark.create(directory / files.SYNCED, newest)
        damaged = (directory / files.DAMAGED).exists()
        staged = StagedTables(directory / files.STAGED)
    except (OSError, StorageError) as error:
        database.close()
        raise StorageError(f"{directory}: {error}") from error
    return RocksEngine(database, directory, mark, staged, damaged)


def _check_manifest(path: Path, mark: SyncedMark) -> None:
    """Raise OSError for an older MANIFEST: RocksDB would open with it, and miss what was written later."""
    present = manifest_of(path)
    if present < mark.manifest:
        raise OSError(
            f"{_ROTTEN}: MANIFEST {present.number} of {present.size} bytes is older than the synced one,"
            f" {mark.manifest.number} of {mark.manifest.size} bytes"
        )


def _open_mark(directory: Path) -> tuple[SyncedMark, str]:
    """Return the mark, and what is wrong with it, if anything. Raises OSError."""
    path = directory / files.SYNCED
    try:
        return SyncedMark.open(path), ""
    except (StorageDamaged, FileNotFoundError) as error:
        _record_damage(directory, str(error))
        return SyncedMark.create(path, 0), f"it is unknown how far it was durable: {error}"


def _unopened(directory: Path, error: Exception) -> StorageError:
    """Return what to raise for a database that did not open; recorded as damage if its files are at fault."""
    text = str(error)
    if not (text.startswith(_ROTTEN) or _GONE in text):
        return StorageError(f"{directory / files.DATABASE} does not open: {text}")
    try:
        _record_damage(directory, text)
    except StorageError as failure:
        return StorageError(f"{directory / files.DATABASE} does not open: {text}; {failure}")
    return StorageDamaged(f"the database in {directory} is lost: it does not open ({text})")


def _record_damage(directory: Path, what: str) -> None:
    """Make it durable that this store lost something. Raises StorageError."""
    try:
        files.write_atomically(directory / files.DAMAGED, what.encode() + b"\n")
    except OSError as error:
        raise StorageError(f"{directory / files.DAMAGED}: {error}") from error


def _collect(rows: RdictIter, begin: bytes, end: bytes, limit: int, limit_bytes: int | None) -> list[Row]:
    """Read begin <= key < end. Raises the database's own exception.

    rocksdict's `items()` is not used: it ends at an unreadable block as if it were the end of the table.
    """
    collected: list[Row] = []
    if limit <= 0 or begin >= end:
        return collected
    rows.seek(begin)
    room = limit_bytes
    while rows.valid():
        key: bytes = rows.key()
        if key >= end:
            return collected
        value: bytes = rows.value()
        collected.append((key, value))
        if len(collected) == limit:
            return collected
        if room is not None:
            room -= len(key) + len(value)
            if room <= 0:
                return collected
        rows.next()
    rows.status()
    return collected
