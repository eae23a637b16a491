"""An import: what is written in which order, and how one goes on that was broken off, without a cluster."""

import io
import random
import threading
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ringkeep.cli.records.batch import ALONE_BYTES, Batch, batches
from ringkeep.cli.records.checkpoint import Checkpoint
from ringkeep.cli.records.counts import Counts
from ringkeep.cli.records.importing import Broken, Import, Pace
from ringkeep.cli.records.json_lines import JsonLinesReader
from ringkeep.cli.records.source import Source
from ringkeep.cli.records.writing import Failed, Stuck


class Store:
    """Stands for a writer and its cluster. `broken`: batches that begin at these offsets are not served."""

    def __init__(self, broken: set[int] | None = None) -> None:
        self.values: dict[bytes, bytes] = {}
        self.writes: Counter[int] = Counter()
        self.broken = broken or set()
        self._lock = threading.Lock()

    def write(self, batch: Batch) -> tuple[Counts, list[Failed]]:
        if batch.begin.offset in self.broken:
            raise Stuck("no node answers", 0)
        with self._lock:
            for each in batch.records:
                self.values[each.key] = each.value
                self.writes[each.line] += 1
        counts = Counts(len(batch.records) + len(batch.bad), len(batch.records))
        counts.failed.update(each.counted for each in batch.bad)
        return counts, [Failed(each.line, each.reason, each.raw) for each in batch.bad]


def lines_of(keys: list[int]) -> bytes:
    return b"".join(b'{"key":"k%d","value":"%d"}\n' % (key, number) for number, key in enumerate(keys))


def run(data: bytes, store: Any, checkpoint: Checkpoint, **pace: Any) -> tuple[JsonLinesReader, list[Failed]]:
    failed: list[Failed] = []
    reader = JsonLinesReader(Source(io.BytesIO(data)))
    if checkpoint.done.offset:
        reader.begin()
        reader.source.skip_to(checkpoint.done.offset, checkpoint.done.line)
    reader.read = checkpoint.counts.read
    Import(reader, store, checkpoint, Pace(**pace), failed.append, lambda: None).run()
    return reader, failed


@given(st.lists(st.integers(0, 20), max_size=60), st.integers(1, 7), st.integers(1, 6))
@settings(deadline=None)
def test_of_two_records_of_a_key_the_later_one_stays(keys: list[int], batch: int, in_flight: int) -> None:
    store, checkpoint = Store(), Checkpoint(None, {})
    run(lines_of(keys), store, checkpoint, batch=batch, in_flight=in_flight)
    assert store.values == {b"k%d" % key: b"%d" % number for number, key in enumerate(keys)}
    assert checkpoint.counts.read == checkpoint.counts.written == len(keys)


@given(st.lists(st.integers(0, 50), min_size=1, max_size=60), st.integers(1, 5), st.randoms())
@settings(deadline=None)
def test_what_was_done_is_not_done_again(keys: list[int], batch: int, draw: random.Random) -> None:
    data = lines_of(keys)
    source = Source(io.BytesIO(data))
    begins = [each.begin.offset for each in batches(JsonLinesReader(source), source, batch, lambda _: False)]
    store = Store(set(draw.sample(begins, draw.randint(0, len(begins)))))
    checkpoint = Checkpoint(None, {})
    for _ in range(len(begins) + 1):
        try:
            run(data, store, checkpoint, batch=batch, in_flight=3)
            break
        except Broken as broken:
            assert broken.unavailable
            assert all(store.writes[line] for line in range(1, checkpoint.done.line + 1))
            assert not any(store.writes[line] for line in range(checkpoint.begun + 1, len(keys) + 1))
            store.broken.discard(min(store.broken))
    assert store.writes == dict.fromkeys(range(1, len(keys) + 1), 1)
    assert store.values == {b"k%d" % key: b"%d" % number for number, key in enumerate(keys)}
    assert checkpoint.counts.read == len(keys)


def test_a_checkpoint_is_what_was_saved(tmp_path: Path) -> None:
    data = lines_of(list(range(100)))
    checkpoint = Checkpoint(tmp_path / "f.import", {"format": "jsonl"})
    with pytest.raises(Broken):
        run(data, Store({len(lines_of(list(range(10))))}), checkpoint, batch=10, in_flight=4)
    found = Checkpoint.load(tmp_path / "f.import")
    assert (found.id, found.done, found.furthest) == (checkpoint.id, checkpoint.done, checkpoint.furthest)
    assert found.counts == checkpoint.counts and found.done.line == 10
    store = Store()
    run(data, store, found, batch=10)
    assert found.counts.written == 100 and not store.writes[1] and store.writes[11]
    found.remove()
    assert not (tmp_path / "f.import").exists()
    (tmp_path / "f.import").write_text("{}")
    with pytest.raises(ValueError, match="lacks"):
        Checkpoint.load(tmp_path / "f.import")


def test_bad_lines_are_counted_once_and_may_stop_it() -> None:
    data = b"".join(b'{"key":"k%d","value":""}\nbad\n' % number for number in range(50))
    store, checkpoint = Store(), Checkpoint(None, {})
    _, failed = run(data, store, checkpoint, batch=5)
    assert sorted(each.line for each in failed) == list(range(2, 101, 2))
    assert (checkpoint.counts.written, sum(checkpoint.counts.failed.values())) == (50, 50)
    checkpoint = Checkpoint(None, {})
    with pytest.raises(Broken, match="records have failed"):
        run(data, Store(), checkpoint, batch=5, in_flight=1, most_failed=10)
    assert 10 <= checkpoint.counts.failed["no JSON object in UTF-8"] < 50


def test_batches_are_bounded_and_a_long_value_goes_alone() -> None:
    long = b'{"key":"l","value":"%b"}\n' % (b"v" * (ALONE_BYTES + 1))
    data = lines_of([1, 2]) + long + lines_of([3, 4, 5])
    source = Source(io.BytesIO(data))
    found = list(batches(JsonLinesReader(source), source, 2, lambda _: False))
    assert [[each.key for each in batch.records] for batch in found] == [
        [b"k1", b"k2"], [b"l"], [b"k3", b"k4"], [b"k5"],
    ]  # fmt: skip
    assert [each.begin for each in found[1:]] == [each.end for each in found[:-1]]
    assert found[-1].end.offset == len(data)


def test_an_interrupted_import_says_how_far_it_came() -> None:
    class Interrupting(JsonLinesReader):
        def __iter__(self) -> Any:
            for item in super().__iter__():
                if item.line == 26:
                    raise KeyboardInterrupt
                yield item

    store, checkpoint = Store(), Checkpoint(None, {})
    reader = Interrupting(Source(io.BytesIO(lines_of(list(range(50))))))
    importing = Import(reader, store, checkpoint, Pace(batch=10), lambda _: None, lambda: None)  # type: ignore[arg-type]
    with pytest.raises(Broken, match="interrupted"):
        importing.run()
    assert checkpoint.done.line == 20 and len(store.writes) == 20
