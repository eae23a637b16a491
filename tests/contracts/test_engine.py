"""The Engine port: one contract, held by the engine in memory and by RocksDB."""

import itertools
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from ringkeep.core.protocol.effects import Batch, Family
from ringkeep.errors import StorageError, StorageStalled
from ringkeep.ports import Engine
from ringkeep.storage.memory import MemoryEngine
from ringkeep.storage.rocks import open_engine

ALL = (b"", b"\xff" * 2048)
"""Bounds around every key that these tests write."""

Rows = dict[bytes, bytes | None]


class Machine:
    """An engine that can be closed and opened again, as a process that restarts would."""

    def __init__(self, kind: str, directory: Path) -> None:
        self._kind = kind
        self._directory = directory
        self.engine: Engine = MemoryEngine() if kind == "memory" else open_engine(directory)

    def restart(self) -> Engine:
        self.engine.close()
        if isinstance(self.engine, MemoryEngine):
            self.engine = self.engine.reopen()
        else:
            self.engine = open_engine(self._directory)
        return self.engine


@pytest.fixture(params=["memory", "rocks"])
def machine(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Machine]:
    machine = Machine(request.param, tmp_path / "node")
    yield machine
    machine.engine.close()


@pytest.fixture
def engine(machine: Machine) -> Engine:
    return machine.engine


def batch(
    data: Rows | None = None,
    log: Rows | None = None,
    meta: Rows | None = None,
    ranges: list[tuple[Family, bytes, bytes]] | None = None,
) -> Batch:
    made = Batch()
    made.data.update(data or {})
    made.log.update(log or {})
    made.meta.update(meta or {})
    made.ranges.extend(ranges or [])
    return made


def keys(rows: list[tuple[bytes, bytes]]) -> list[bytes]:
    return [key for key, _ in rows]


# --- writes ------------------------------------------------------------------------------------------


def test_a_write_is_visible_when_it_returns(engine: Engine) -> None:
    engine.write(batch(data={b"k": b"data"}, log={b"k": b"log"}, meta={b"k": b"meta"}))
    assert engine.get(Family.DATA, b"k") == b"data"
    assert engine.get(Family.LOG, b"k") == b"log"
    assert engine.get(Family.META, b"k") == b"meta"


def test_families_are_apart(engine: Engine) -> None:
    engine.write(batch(log={b"k": b"1"}))
    assert engine.get(Family.DATA, b"k") is None
    assert engine.scan(Family.META, *ALL, 10) == []


def test_what_is_not_there_is_none_and_an_empty_value_is_not(engine: Engine) -> None:
    engine.write(batch(data={b"empty": b""}))
    assert engine.get(Family.DATA, b"empty") == b""
    assert engine.get(Family.DATA, b"nothing") is None


def test_none_deletes_also_what_was_never_there(engine: Engine) -> None:
    engine.write(batch(data={b"a": b"1", b"b": b"2"}))
    engine.write(batch(data={b"a": None, b"c": None}))
    assert engine.scan(Family.DATA, *ALL, 10) == [(b"b", b"2")]
    engine.write(batch(data={b"a": b"again"}))
    assert engine.get(Family.DATA, b"a") == b"again"


def test_ranges_are_deleted_before_the_puts_of_their_batch(engine: Engine) -> None:
    engine.write(batch(log={b"a": b"1", b"b": b"1", b"c": b"1"}))
    engine.write(batch(log={b"b": b"2"}, ranges=[(Family.LOG, b"a", b"c")]))
    assert engine.scan(Family.LOG, *ALL, 10) == [(b"b", b"2"), (b"c", b"1")]


@pytest.mark.parametrize(("begin", "end"), [(b"b", b"b"), (b"c", b"a")])
def test_an_empty_range_deletes_nothing(engine: Engine, begin: bytes, end: bytes) -> None:
    engine.write(batch(data={b"a": b"1", b"b": b"1", b"c": b"1"}))
    engine.write(batch(ranges=[(Family.DATA, begin, end)]))
    assert keys(engine.scan(Family.DATA, *ALL, 10)) == [b"a", b"b", b"c"]


def test_a_range_touches_its_family_only(engine: Engine) -> None:
    engine.write(batch(data={b"k": b"1"}, log={b"k": b"1"}))
    engine.write(batch(ranges=[(Family.LOG, b"a", b"z")]))
    assert engine.get(Family.DATA, b"k") == b"1"
    assert engine.get(Family.LOG, b"k") is None


def test_many_batches_agree_with_a_plain_dict(engine: Engine) -> None:
    expected: dict[bytes, bytes] = {}
    for number in range(400):
        low, high = b"%02d" % (number * 37 % 100), b"%02d" % (number * 37 % 100 + number % 5)
        put, gone = b"%02d" % (number * 7 % 100), b"%02d" % ((number * 11 + 1) % 100)
        rows: Rows = {gone: None, put: b"%d" % number}
        engine.write(batch(data=rows, ranges=[(Family.DATA, low, high)]))
        expected = {key: value for key, value in expected.items() if not low <= key < high}
        expected.pop(gone, None)
        expected[put] = b"%d" % number
        if number % 29 == 0:
            assert engine.scan(Family.DATA, *ALL, 1000) == sorted(expected.items())
    assert engine.scan(Family.DATA, *ALL, 1000) == sorted(expected.items())


def test_large_values_and_long_keys(machine: Machine) -> None:
    value = os.urandom(4 << 20)
    key = b"\xfe" * 1024
    machine.engine.write(batch(data={key: value, key[:-1]: b"shorter"}, log={b"entry": value}))
    machine.engine.flush()
    found = machine.restart()
    assert found.get(Family.DATA, key) == value
    assert found.scan(Family.LOG, *ALL, 2) == [(b"entry", value)]
    assert keys(found.scan(Family.DATA, *ALL, 2)) == [key[:-1], key]


# --- scans -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("begin", "end", "limit", "expected"),
    [
        (b"", b"\xff", 10, [b"\x00", b"a", b"a\x00", b"b", b"b\xff", b"c"]),
        (b"a", b"b", 10, [b"a", b"a\x00"]),
        (b"a\x00", b"b\x00", 10, [b"a\x00", b"b"]),
        (b"a", b"c", 3, [b"a", b"a\x00", b"b"]),
        (b"a", b"c", 0, []),
        (b"c", b"a", 10, []),
        (b"b", b"b", 10, []),
        (b"d", b"z", 10, []),
    ],
)
def test_scan_bounds_limits_and_order(
    engine: Engine, begin: bytes, end: bytes, limit: int, expected: list[bytes]
) -> None:
    engine.write(batch(data={b"c": b"", b"a": b"", b"b\xff": b"", b"\x00": b""}))
    engine.write(batch(data={b"a\x00": b"", b"b": b""}))
    assert keys(engine.scan(Family.DATA, begin, end, limit)) == expected
    snapshot = engine.snapshot()
    assert keys(snapshot.scan(begin, end, limit, 1 << 20)) == expected
    snapshot.close()


@pytest.mark.parametrize(("limit_bytes", "rows"), [(1, 1), (10, 1), (11, 2), (20, 2), (21, 3), (1000, 4)])
def test_a_snapshot_scan_stops_at_its_bytes_but_gives_one_row(
    engine: Engine, limit_bytes: int, rows: int
) -> None:
    engine.write(batch(data={b"%d" % number: b"x" * 9 for number in range(4)}))
    snapshot = engine.snapshot()
    assert len(snapshot.scan(*ALL, 100, limit_bytes)) == rows
    snapshot.close()


# --- snapshots ---------------------------------------------------------------------------------------


def test_a_snapshot_sees_nothing_of_later_writes(engine: Engine) -> None:
    engine.write(batch(data={b"a": b"1", b"b": b"1", b"c": b"1", b"d": b"1"}))
    snapshot = engine.snapshot()
    engine.write(batch(data={b"a": b"2", b"e": b"2", b"d": None}, ranges=[(Family.DATA, b"b", b"d")]))
    before = [(key, b"1") for key in (b"a", b"b", b"c", b"d")]
    assert snapshot.scan(*ALL, 10, 1000) == before
    assert snapshot.scan(b"b", b"d", 10, 1000) == before[1:3]
    assert engine.scan(Family.DATA, *ALL, 10) == [(b"a", b"2"), (b"e", b"2")]
    engine.flush()
    assert snapshot.scan(*ALL, 10, 1000) == before, "read again, also after a flush"
    later = engine.snapshot()
    assert later.scan(*ALL, 10, 1000) == [(b"a", b"2"), (b"e", b"2")]
    snapshot.close()
    later.close()


def test_a_snapshot_is_read_in_chunks_while_others_write(engine: Engine) -> None:
    engine.write(batch(data={b"%04d" % number: b"old" for number in range(500)}))
    snapshot = engine.snapshot()
    begin, found = b"", []
    for turn in itertools.count():
        rows = snapshot.scan(begin, ALL[1], 7, 1 << 20)
        if not rows:
            break
        found.extend(rows)
        begin = rows[-1][0] + b"\0"
        engine.write(batch(data={b"%04d" % (499 - turn): b"new", b"%04d+" % turn: b"new"}))
    assert found == [(b"%04d" % number, b"old") for number in range(500)]
    snapshot.close()


def test_closing_twice_is_harmless_and_an_open_snapshot_does_not_keep_the_store(machine: Machine) -> None:
    machine.engine.write(batch(data={b"a": b"1"}))
    closed = machine.engine.snapshot()
    closed.close()
    closed.close()
    machine.engine.snapshot()
    assert machine.restart().get(Family.DATA, b"a") == b"1"


# --- tickets, flush, restart -------------------------------------------------------------------------


def test_tickets_count_writes_from_one(engine: Engine) -> None:
    assert engine.flush() == 0
    assert [engine.write(batch(data={b"k": b"v"})) for _ in range(3)] == [1, 2, 3]
    assert engine.flush() == 3
    assert engine.flush() == 3
    assert engine.write(batch()) == 4, "an empty batch has its ticket too"
    assert engine.flush() == 4


def test_an_idle_engine_is_not_stalled(engine: Engine) -> None:
    assert not engine.stalled()


def test_a_clean_close_keeps_flushed_and_unflushed_writes(machine: Machine) -> None:
    machine.engine.write(batch(data={b"a": b"1"}, log={b"l": b"1"}, meta={b"m": b"1"}))
    machine.engine.flush()
    machine.engine.write(batch(data={b"b": b"2"}, ranges=[(Family.LOG, b"a", b"z")]))
    found = machine.restart()
    assert found.scan(Family.DATA, *ALL, 10) == [(b"a", b"1"), (b"b", b"2")]
    assert found.get(Family.LOG, b"l") is None
    assert found.get(Family.META, b"m") == b"1"
    assert found.write(batch(data={b"c": b"3"})) == 1, "tickets are of one process"


# --- what only the one in memory can be made to do (what a crash leaves: test_engine_crashes.py) ----------


def fill(keep: int | Callable[[int], int]) -> MemoryEngine:
    """Return an engine found after a crash: 3 batches were durable, 4 more were written."""
    engine = MemoryEngine()
    for number in range(7):
        engine.write(batch(data={b"%d" % number: b"", b"latest": b"%d" % number}))
        if number == 2:
            engine.flush()
    engine.write(batch(ranges=[(Family.DATA, b"1", b"3")]))
    engine.crash(keep)
    return engine.reopen()


@pytest.mark.parametrize(("keep", "latest", "rows"), [(0, 2, 3), (1, 3, 4), (4, 6, 7), (5, 6, 5), (-2, 0, 1)])
def test_a_simulated_crash_leaves_a_prefix(keep: int, latest: int, rows: int) -> None:
    found = fill(keep)
    assert found.get(Family.DATA, b"latest") == b"%d" % latest
    assert len(found.scan(Family.DATA, b"", b"9", 100)) == rows
    assert found.damaged == (keep < 0)
    assert found.unsynced == 0


def test_a_simulated_crash_may_ask_how_much_to_keep() -> None:
    assert fill(lambda unsynced: unsynced - 1).get(Family.DATA, b"latest") == b"6"


def test_a_simulated_flush_covers_what_was_written_before_it_began() -> None:
    engine = MemoryEngine()
    began = engine.write(batch(data={b"a": b"1"}))
    engine.write(batch(data={b"b": b"1"}))
    assert engine.make_durable(began) == 1
    engine.crash(0)
    assert engine.reopen().scan(Family.DATA, *ALL, 10) == [(b"a", b"1")]


def test_simulated_stalls_and_failures() -> None:
    engine = MemoryEngine()
    engine.stall_next(2)
    for _ in range(2):
        assert engine.stalled()
        with pytest.raises(StorageStalled):
            engine.write(batch(data={b"a": b"1"}))
    assert not engine.stalled()
    assert engine.write(batch(data={b"a": b"1"})) == 1
    engine.fail_flush()
    with pytest.raises(StorageError):
        engine.flush()
    with pytest.raises(StorageError):
        engine.flush()
    with pytest.raises(StorageError):
        engine.write(batch(data={b"a": b"2"}))
    engine.crash(0)
    assert engine.reopen().get(Family.DATA, b"a") is None
