"""A thread that looks how much room there is: it may be kept waiting, and keeps nobody waiting."""

import errno
import os
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.support.storage.faulty_database import FaultyDatabase
from tests.support.wait import until

from ringkeep.core.protocol.effects import Batch, Family
from ringkeep.errors import ConfigurationError, RingkeepError, StorageError, of_directory
from ringkeep.storage import room
from ringkeep.storage.rocks import open_engine
from ringkeep.storage.room import RoomWatch

HUGE = 1 << 60  # more than any disk has
KIB = 1024


def nothing() -> None:
    """Room is not made."""


@pytest.fixture
def answering() -> Iterator[threading.Event]:
    """Whether the file system answers; in the end it does, so that no thread is left."""
    event = threading.Event()
    event.set()
    yield event
    event.set()


def test_it_looks_again_and_again(tmp_path: Path) -> None:
    watch = RoomWatch(tmp_path, 0, nothing)
    free, first = watch.seen
    found = os.statvfs(tmp_path)
    assert 0 < free <= found.f_blocks * found.f_frsize
    until(lambda: watch.seen[1] > first + 1, "another look")
    watch.close()


def test_a_file_system_that_does_not_answer_keeps_nobody_waiting(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, answering: threading.Event
) -> None:
    real, asked = os.statvfs, threading.Event()

    def slow(path: Path) -> os.statvfs_result:
        asked.set()
        answering.wait()
        return real(path)

    watch = RoomWatch(tmp_path, 0, nothing)
    answering.clear()
    monkeypatch.setattr(os, "statvfs", slow)
    asked.clear()
    until(asked.is_set, "a look")
    seen = watch.seen
    began = time.monotonic()
    watch.close()
    assert time.monotonic() - began < 2 * room.CLOSE_S
    assert watch.seen == seen, "the number of the look says that it is an old one"


def test_a_look_that_fails_does_not_count(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    failed = threading.Event()

    def fail(_: Path) -> os.statvfs_result:
        failed.set()
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    watch = RoomWatch(tmp_path, 0, nothing)
    monkeypatch.setattr(os, "statvfs", fail)
    until(failed.is_set, "a look")
    seen = watch.seen
    failed.clear()
    until(failed.is_set, "another one")
    assert watch.seen == seen
    watch.close()


def test_room_is_made_only_while_there_is_not_clearly_more_than_the_reserve(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(room, "MAKE_ROOM_S", room.LOOK_S)
    made: list[int] = []
    watch = RoomWatch(tmp_path, 0, lambda: made.append(1))
    until(lambda: watch.seen[1] > 3, "some looks")
    watch.close()
    assert not made
    free, _ = watch.seen
    for reserve in (2 * free, free * 15 // 16):  # the latter still counts as too little, if there was less
        watch = RoomWatch(tmp_path, reserve, lambda: made.append(1))
        until(lambda: len(made) > 1, "room to be made, and made again")
        watch.close()
        made.clear()
    watch = RoomWatch(tmp_path, HUGE, lambda: made.append(1))
    until(lambda: watch.seen[1] > 3, "some looks")
    watch.close()
    assert watch.used_up() and not made, "making room takes some, too"


def test_deleted_rows_give_their_room_back_without_a_word_of_the_clients(tmp_path: Path) -> None:
    database = FaultyDatabase()
    engine = open_engine(tmp_path, opener=database.open)

    def write(value: bytes | None) -> None:
        batch = Batch()
        batch.data.update((b"%d" % number, value) for number in range(200))
        engine.write(batch)
        engine.flush()

    def size() -> int:
        return sum(path.stat().st_size for path in tmp_path.rglob("*") if path.is_file())

    write(os.urandom(64 * KIB))
    database.write_table(Family.DATA)
    write(None)
    before = size()
    assert before > 200 * KIB
    engine.make_room()
    until(lambda: size() < before // 4, f"less than a quarter of {before} bytes; there are {size()}")
    engine.close()
    with pytest.raises(StorageError):
        engine.make_room()


@pytest.mark.parametrize(
    ("number", "kind"),
    [
        (errno.EIO, StorageError), (errno.ENOSPC, StorageError), (errno.EDQUOT, StorageError),
        (errno.EACCES, ConfigurationError), (errno.ENOTDIR, ConfigurationError),
    ],
)  # fmt: skip
def test_a_wrong_directory_and_a_failed_disk_are_told_apart(number: int, kind: type[RingkeepError]) -> None:
    error = of_directory(Path("/data"), OSError(number, os.strerror(number)))
    assert type(error) is kind
    assert os.strerror(number) in str(error) and "/data" in str(error)
