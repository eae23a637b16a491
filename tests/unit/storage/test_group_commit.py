"""Making writes durable: a broken disk is final, a slow one is waited for, and flushes are shared."""

import errno
import os
import queue
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.support.storage.faulty_database import FaultyDatabase

from ringkeep.core.protocol.effects import Batch, Family
from ringkeep.errors import StorageError, StorageStalled
from ringkeep.storage import tuning
from ringkeep.storage.group_commit import GroupCommit
from ringkeep.storage.rocks import open_engine

DEADLINE_S = 20.0


# --- a disk that fails, or is slow -------------------------------------------------------------------


def one_row() -> Batch:
    batch = Batch()
    batch.data[b"k"] = b"v"
    return batch


@pytest.mark.parametrize("method", ["write", "flush_wal"])
def test_an_error_of_the_disk_is_final(tmp_path: Path, method: str) -> None:
    database = FaultyDatabase()
    engine = open_engine(tmp_path, opener=database.open)
    engine.write(one_row())
    database.fail("IO error: While fdatasync: Input/output error", method)
    with pytest.raises(StorageError, match="Input/output error"):
        engine.write(one_row())
        engine.flush()
    database.recover()
    with pytest.raises(StorageError, match="Input/output error"):
        engine.flush()
    with pytest.raises(StorageError, match="Input/output error"):
        engine.write(one_row())
    assert database.refused == {method: 1}, "never tried again"
    engine.close()
    again = open_engine(tmp_path)
    assert not again.damaged
    again.close()


def test_a_failed_background_flush_is_final(tmp_path: Path) -> None:
    database = FaultyDatabase()
    engine = open_engine(tmp_path, opener=database.open)
    database.background_failures = 1
    database.fail("IO error: Input/output error: While fsync: 000012.sst", "write")
    with pytest.raises(StorageError, match="Input/output error"):
        engine.stalled()
    database.recover()
    with pytest.raises(StorageError):
        engine.write(one_row())
    engine.close()


@pytest.mark.parametrize(
    "error", ["", "IO error: No space left on device: While appending to file: 000012.sst"]
)
def test_one_that_found_no_room_is_not_final(tmp_path: Path, error: str) -> None:
    """Of a compaction RocksDB itself makes nothing; after a flush it takes no writes until there is room."""
    database = FaultyDatabase()
    engine = open_engine(tmp_path, opener=database.open)
    database.background_failures = 1
    if error:
        database.fail(error, "write")
    assert engine.stalled() == bool(error)
    database.recover()
    assert not engine.stalled()
    engine.write(one_row())
    engine.flush()
    engine.close()


def test_a_sync_that_found_no_room_is_final(tmp_path: Path) -> None:
    database = FaultyDatabase()
    engine = open_engine(tmp_path, opener=database.open)
    database.background_failures = 1
    database.fail("IO error: No space left on device: While fdatasync: 000012.log", "write")
    with pytest.raises(StorageError, match="No space"):
        engine.write(one_row())
    database.recover()
    with pytest.raises(StorageError):
        engine.flush()
    engine.close()


def test_a_refused_write_wrote_nothing_and_passes_later(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(tuning.WRITE_BUFFER_BYTES, Family.DATA, 64 << 10)
    monkeypatch.setitem(tuning.WRITE_BUFFERS, Family.DATA, 2)
    engine = open_engine(tmp_path)
    deadline = time.monotonic() + DEADLINE_S
    number = refused = 0
    while not (refused and number % 10 == 0):
        assert time.monotonic() < deadline, "waited for a write to be refused"
        batch = Batch()
        batch.data[b"%06d" % number] = os.urandom(100_000)
        try:
            assert engine.write(batch) == number + 1
            number += 1
        except StorageStalled:
            refused += 1
            assert engine.get(Family.DATA, b"%06d" % number) is None
    assert engine.flush() == number
    assert len(engine.scan(Family.DATA, b"", b"\xff", number + 1)) == number
    engine.close()


# --- group commit ------------------------------------------------------------------------------------


class Loop:
    """An event loop's one method: what was handed over is kept for the test."""

    def __init__(self) -> None:
        self.handed: queue.SimpleQueue[tuple[Callable[..., object], object]] = queue.SimpleQueue()

    def call_soon_threadsafe(self, callback: Callable[..., object], *args: object) -> None:
        self.handed.put((callback, *args))  # type: ignore[arg-type]  # always one argument

    def next(self) -> object:
        callback, argument = self.handed.get(timeout=DEADLINE_S)
        callback(argument)
        return argument


class SlowDisk:
    """An engine whose flushes begin when the test lets them."""

    def __init__(self) -> None:
        self.ticket = 0
        self.flushes = 0
        self.begun = threading.Semaphore(0)
        self.go = threading.Semaphore(0)
        self.error: Exception | None = None

    def flush(self) -> int:
        ticket = self.ticket
        self.flushes += 1
        self.begun.release()
        assert self.go.acquire(timeout=DEADLINE_S), "waited for the test to let the flush go on"
        if self.error:
            raise self.error
        return ticket


class Committed:
    """A group commit over a slow disk, and what it told."""

    def __init__(self) -> None:
        self.disk = SlowDisk()
        self.loop = Loop()
        self.synced: list[int] = []
        self.failed: list[StorageError] = []
        self.group = GroupCommit(self.disk, self.loop, self.synced.append, self.failed.append)

    def write(self) -> None:
        self.disk.ticket += 1
        self.group.request(self.disk.ticket)

    def wait_for_flush(self) -> None:
        assert self.disk.begun.acquire(timeout=DEADLINE_S), "waited for a flush to begin"


def test_requests_during_a_flush_share_the_next() -> None:
    committed = Committed()
    committed.write()
    committed.wait_for_flush()
    for _ in range(50):
        committed.write()
    committed.disk.go.release(2)
    while committed.synced[-1:] != [51]:
        committed.loop.next()
    committed.group.close()
    assert committed.synced == [1, 51]
    assert committed.disk.flushes == 2


def test_every_request_is_answered_also_if_a_flush_already_covered_it() -> None:
    committed = Committed()
    committed.disk.ticket = 2
    committed.group.request(1)
    committed.disk.go.release()
    assert committed.loop.next() == 2
    committed.group.request(2)
    assert committed.loop.next() == 2
    committed.group.close()
    assert committed.disk.flushes == 1


@pytest.mark.parametrize("error", [StorageError("EIO"), OSError(errno.EIO, "EIO"), ValueError("a defect")])
def test_a_failed_flush_is_told_once_and_never_repeated(error: Exception) -> None:
    committed = Committed()
    committed.disk.error = error
    committed.disk.go.release(10)
    committed.write()
    committed.loop.next()
    committed.write()
    committed.group.close()
    assert committed.loop.handed.empty()
    assert committed.synced == []
    assert len(committed.failed) == 1
    assert committed.disk.flushes == 1


def test_close_drains_what_was_asked() -> None:
    committed = Committed()
    committed.disk.go.release(2)
    committed.write()
    committed.group.close()
    committed.group.close()
    while not committed.loop.handed.empty():
        committed.loop.next()
    assert committed.synced == [1]


def test_a_closed_loop_does_not_hurt(tmp_path: Path) -> None:
    class Closed:
        def call_soon_threadsafe(self, *_: object) -> None:
            raise RuntimeError("Event loop is closed")

    engine = open_engine(tmp_path)
    group = GroupCommit(engine, Closed(), print, print)
    group.request(engine.write(one_row()))
    group.close()
    engine.close()


def test_group_commit_over_rocksdb(tmp_path: Path) -> None:
    engine = open_engine(tmp_path)
    loop = Loop()
    synced: list[int] = []
    group = GroupCommit(engine, loop, synced.append, print)
    for _ in range(200):
        group.request(engine.write(one_row()))
    while synced[-1:] != [200]:
        loop.next()
    group.close()
    engine.close()
    assert synced == sorted(synced)
