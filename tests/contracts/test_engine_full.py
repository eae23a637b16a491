"""A disk with no room at all: nothing is lost, nothing is refused for good, and with room it goes on."""

import os
import shutil
import threading
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest
from tests.support.storage.small_disk import SmallDisk
from tests.support.wait import until

from ringkeep.core.protocol.effects import Batch, Family
from ringkeep.errors import StorageStalled
from ringkeep.storage.rocks import RocksEngine, open_engine
from ringkeep.storage.room import RoomWatch

SMALL_MIB = 32
KEYS = 500
RESUMES_S = 30.0  # RocksDB looks every five seconds


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    with SmallDisk(tmp_path / "disk", SMALL_MIB):
        yield tmp_path / "disk"


def key(number: int) -> bytes:
    return b"%05d" % (number % KEYS)


def write(engine: RocksEngine, number: int) -> int:
    batch = Batch()
    batch.data[key(number)] = b"%d" % number + os.urandom(1024)
    return engine.write(batch)


def write_all(engine: RocksEngine, number: int) -> int:
    """Write every key; return the number that follows."""
    for each in range(number, number + KEYS):
        write(engine, each)
    return number + KEYS


def fill(directory: Path) -> Path:
    """Leave no byte."""
    ballast = directory / "log.ballast"
    handle = os.open(ballast, os.O_WRONLY | os.O_CREAT)
    for size in (1 << 20, 1 << 12):
        try:
            while True:
                os.write(handle, bytes(size))
        except OSError:
            continue
    os.close(handle)
    return ballast


def write_until_refused(engine: RocksEngine, number: int) -> int:
    """Return the number of the write that was refused."""
    for each in range(number, number + 1_000_000):
        try:
            write(engine, each)
        except StorageStalled:
            return each
    raise AssertionError("it is never full")


def flush_into(engine: RocksEngine, done: list[int]) -> None:
    done.append(engine.flush())


def rows(engine: RocksEngine) -> dict[bytes, bytes | None]:
    return {key(number): engine.get(Family.DATA, key(number)) for number in range(KEYS)}


def test_a_store_without_room_is_stalled_and_goes_on_with_room(disk: Path, tmp_path: Path) -> None:
    engine = open_engine(disk)
    number = 0
    for _ in range(3):
        number = write_all(engine, number)
        ticket = engine.flush()
        ballast = fill(disk)
        refused = write_until_refused(engine, number)
        ticket, number = ticket + refused - number, refused
        before = rows(engine)
        assert engine.stalled()
        engine.make_room()
        flushed: list[int] = []
        flush = threading.Thread(target=partial(flush_into, engine, flushed))
        flush.start()
        with pytest.raises(StorageStalled):
            write(engine, number)
        assert engine.stalled() and not flushed, "nothing is said to be durable meanwhile"
        assert rows(engine) == before, "nothing of what was refused is there"
        ballast.unlink()
        until(lambda: not engine.stalled(), "the store to take writes again", RESUMES_S)
        flush.join()
        assert flushed == [ticket], "what was written before is durable"
        write(engine, number)
        engine.flush()
        copy = tmp_path / "copy"  # as a killed process leaves it
        shutil.copytree(disk, copy)
        again = open_engine(copy)
        assert not again.damaged and rows(again) == rows(engine)
        again.close()
        shutil.rmtree(copy)
    engine.close()


def test_a_store_that_is_told_that_room_is_used_up_writes_nothing(disk: Path) -> None:
    engine = open_engine(disk)
    watch = RoomWatch(disk, SMALL_MIB // 2 << 20, engine.make_room)
    engine.used_up = watch.used_up
    number = write_all(engine, 0)
    engine.flush()
    ballast = fill(disk)
    until(engine.stalled, "the full disk to be noticed")
    before = rows(engine)
    for each in range(number, number + KEYS):
        with pytest.raises(StorageStalled):
            write(engine, each)
    assert engine.flush() == number and rows(engine) == before, "syncs go on"
    ballast.unlink()
    until(lambda: not engine.stalled(), "the room to be noticed")
    write_all(engine, number)
    engine.flush()
    watch.close()
    engine.close()
