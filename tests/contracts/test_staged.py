"""Rows put aside and taken: one contract, held by the engine in memory and by RocksDB."""

import os
import shutil
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Event

import pytest
from tests.support.storage.faulty_database import WRITE_STALL, FaultyDatabase

from ringkeep.core.protocol.effects import Batch, Family
from ringkeep.errors import StorageStalled
from ringkeep.ports import Engine
from ringkeep.storage import files, staged
from ringkeep.storage.memory import MemoryEngine
from ringkeep.storage.rocks import RocksEngine, open_engine

ALL = (b"", b"\xff" * 64)
P, Q = b"\0\1\0\0\0\2", b"\0\1\0\0\0\3"
Rows = list[tuple[bytes, bytes]]

FEW: Rows = [(b"a", b"1"), (b"b", b"")]
MANY: Rows = [(b"%06d" % number, os.urandom(1_000)) for number in range(3_000)]
"""More than are kept in memory."""


def staging(prefix: bytes, *chunks: Rows) -> Batch:
    batch = Batch()
    batch.staged[prefix] = list(chunks)
    return batch


def taking(*prefixes: bytes) -> Batch:
    batch = Batch()
    batch.taken += prefixes
    return batch


def under(prefix: bytes, rows: Rows) -> Rows:
    return [(prefix + key, value) for key, value in rows]


def held(engine: Engine) -> Rows:
    return engine.scan(Family.DATA, *ALL, 1 << 20)


@pytest.fixture(params=["memory", "rocks"])
def engine(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Engine]:
    engine = MemoryEngine() if request.param == "memory" else open_engine(tmp_path / "node")
    yield engine
    engine.close()


@pytest.mark.parametrize("rows", [[], FEW, MANY], ids=["none", "few", "many"])
def test_staged_rows_are_seen_when_they_are_taken(engine: Engine, rows: Rows) -> None:
    engine.write(staging(P, rows[:1], rows[1:100]))
    assert held(engine) == []
    assert engine.get(Family.DATA, P + b"a") is None
    engine.write(staging(P, rows[100:]))
    engine.flush()
    assert held(engine) == []
    engine.write(taking(P))
    assert held(engine) == under(P, rows)


def test_a_snapshot_that_is_open_does_not_see_what_is_taken(engine: Engine) -> None:
    engine.write(staging(P, MANY))
    snapshot = engine.snapshot()
    engine.write(taking(P))
    assert snapshot.scan(*ALL, 10, 1 << 20) == []
    snapshot.close()


def test_what_was_taken_is_written_over_and_deleted_like_everything_else(engine: Engine) -> None:
    engine.write(staging(P, MANY))
    engine.write(taking(P))
    batch = Batch()
    batch.data[P + MANY[0][0]] = None
    batch.data[P + MANY[1][0]] = b"new"
    engine.write(batch)
    assert held(engine)[:2] == [(P + MANY[1][0], b"new"), (P + MANY[2][0], MANY[2][1])]
    batch = Batch()
    batch.delete_data(P, Q)
    engine.write(batch)
    assert held(engine) == []


@pytest.mark.parametrize("rows", [FEW, MANY], ids=["few", "many"])
def test_a_deleted_range_takes_what_is_staged_along(engine: Engine, rows: Rows) -> None:
    engine.write(staging(P, rows))
    engine.write(staging(Q, rows))
    batch = staging(P, FEW[:1])  # anew: ranges come first
    batch.ranges.append((Family.DATA, P, Q))
    engine.write(batch)
    engine.write(taking(P, Q))
    assert held(engine) == under(P, FEW[:1]) + under(Q, rows)


def test_a_batch_deletes_a_range_with_what_it_has_put_there_itself(engine: Engine) -> None:
    engine.write(staging(P, FEW))
    batch = taking(P)
    batch.staged[Q] = [FEW]
    batch.data[Q + b"z"] = b"1"
    batch.delete_data(P, b"\xff")
    engine.write(batch)
    engine.write(taking(P, Q))
    assert held(engine) == []


def test_several_prefixes_grow_side_by_side(engine: Engine) -> None:
    for at in range(0, len(MANY), 100):
        batch = staging(P, MANY[at : at + 100])
        batch.staged[Q] = [MANY[at : at + 50], MANY[at + 50 : at + 100]]
        engine.write(batch)
        engine.flush()
    engine.write(taking(Q, P))
    assert held(engine) == under(P, MANY) + under(Q, MANY)


def test_nothing_of_it_outlives_the_process(tmp_path: Path) -> None:
    for engine in (MemoryEngine(), open_engine(tmp_path / "node")):
        engine.write(staging(P, MANY))
        engine.close()
    engine = open_engine(tmp_path / "node")
    engine.write(taking(P))
    assert held(engine) == []
    engine.close()


# --- a power loss ----------------------------------------------------------------------------------------


def lose_power(directory: Path, engine: RocksEngine) -> RocksEngine:
    """Return what is found when nothing of the log file is there that was not synced; the rest stays."""
    other = directory.with_name("after")
    shutil.copytree(directory, other)
    engine.close()
    for log in (other / files.DATABASE).glob("*.log"):
        log.write_bytes(b"")
    return open_engine(other)


def test_what_was_taken_stays_when_the_batch_is_lost_and_nothing_is_damaged(tmp_path: Path) -> None:
    engine = open_engine(tmp_path / "node")
    engine.write(staging(P, MANY))
    batch = taking(P)
    batch.meta[b"switched"] = b"yes"
    engine.write(batch)
    found = lose_power(tmp_path / "node", engine)
    assert not found.damaged
    assert found.get(Family.META, b"switched") is None
    assert held(found) == under(P, MANY)
    found.close()


def test_the_same_in_memory() -> None:
    engine = MemoryEngine()
    engine.write(staging(P, MANY))
    engine.write(staging(Q, FEW))
    engine.write(taking(P, Q))
    engine.crash(0)
    assert held(engine.reopen()) == under(P, MANY), "but for a few rows, which go with the batch"


def test_what_is_half_written_is_removed_at_the_start(tmp_path: Path) -> None:
    engine = open_engine(tmp_path / "node")
    engine.write(staging(P, MANY))
    found = lose_power(tmp_path / "node", engine)
    assert held(found) == []
    assert not (tmp_path / "after" / files.STAGED).exists()
    found.close()


def test_the_mark_stays_true_when_a_range_was_deleted_just_before(tmp_path: Path) -> None:
    """Then the rows need a place above the deletion, and with it a number that no log file knows."""
    engine = open_engine(tmp_path / "node")
    engine.write(staging(P, MANY))
    engine.write(taking(P))
    batch = Batch()
    batch.delete_data(P, Q)
    engine.write(batch)
    engine.flush()
    engine.write(staging(P, MANY[:400]))
    engine.write(taking(P))
    assert held(engine) == under(P, MANY[:400])
    engine.flush()
    found = lose_power(tmp_path / "node", engine)
    assert not found.damaged
    assert held(found) == under(P, MANY[:400])
    found.close()


# --- RocksDB only ----------------------------------------------------------------------------------------


def staged_files(directory: Path) -> list[Path]:
    return sorted((directory / files.STAGED).glob("*"))


def test_many_rows_are_in_files_of_a_bounded_size(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(staged, "FILE_BYTES", 1 << 20)
    engine = open_engine(tmp_path / "node")
    for at in range(0, len(MANY), 10):
        engine.write(staging(P, MANY[at : at + 10]))
    sizes = [path.stat().st_size for path in staged_files(tmp_path / "node")]
    assert len(sizes) == 3
    assert max(sizes) < 1.2 * (1 << 20)
    engine.write(taking(P))
    assert held(engine) == under(P, MANY)
    assert staged_files(tmp_path / "node") == []
    engine.close()


def test_few_rows_need_no_file(tmp_path: Path) -> None:
    engine = open_engine(tmp_path / "node")
    engine.write(staging(P, MANY[:100]))
    assert staged_files(tmp_path / "node") == []
    engine.write(taking(P))
    assert held(engine) == under(P, MANY[:100])
    engine.close()


@pytest.mark.parametrize("rows", [FEW, MANY], ids=["few", "many"])
def test_a_refused_batch_is_taken_whole_the_second_time(tmp_path: Path, rows: Rows) -> None:
    database = FaultyDatabase()
    engine = open_engine(tmp_path / "node", opener=database.open)
    engine.write(staging(P, rows))
    batch = taking(P)
    batch.staged[Q] = [rows]
    batch.meta[b"m"] = b"1"
    database.fail(WRITE_STALL, "write")
    with pytest.raises(StorageStalled):
        engine.write(batch)
    database.recover()
    engine.write(batch)
    engine.write(taking(Q))
    assert held(engine) == under(P, rows) + under(Q, rows)
    assert engine.get(Family.META, b"m") == b"1"
    engine.close()


def test_a_flush_beside_it_finds_every_file_in_order(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(staged, "FILE_BYTES", 300_000)
    monkeypatch.setattr(staged, "SYNC_BYTES", 1)
    engine = open_engine(tmp_path / "node")
    over = Event()

    def flush() -> None:
        while not over.is_set():
            engine.flush()

    with ThreadPoolExecutor() as beside:
        flushed = beside.submit(flush)
        for at in range(0, len(MANY), 20):
            engine.write(staging(P, MANY[at : at + 20]))
            engine.write(staging(Q, MANY[at : at + 20]))
            if at % 400 == 0:
                batch = Batch()
                batch.delete_data(Q, Q + b"\xff")
                engine.write(batch)
        over.set()
        flushed.result()
    engine.write(taking(P))
    assert held(engine) == under(P, MANY)
    engine.close()
