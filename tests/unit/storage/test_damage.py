"""What a node's directory says after its files were cut, zeroed, flipped or lost.

The rule: everything that was flushed is there, or the engine says `damaged`, or it does not open.
"""

import os
import shutil
import struct
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from random import Random

import pytest
from tests.support.storage.faulty_database import FaultyDatabase

from ringkeep.core.protocol.effects import Batch, Family
from ringkeep.errors import StorageDamaged, StorageError
from ringkeep.storage import files, tuning
from ringkeep.storage.records import BLOCK_BYTES, HEADER, RECYCLED_TYPES, mend_records
from ringkeep.storage.rocks import RocksEngine, open_engine
from ringkeep.storage.synced_mark import SyncedMark
from ringkeep.storage.tuning import BLOB_BYTES

DURABLE = 80
WRITTEN = 100
ROW_BYTES = 1000
TAIL_BYTES = (WRITTEN - DURABLE) * ROW_BYTES

WRITER = f"""
import os, sys
from pathlib import Path
from ringkeep.core.protocol.effects import Batch
from ringkeep.storage.rocks import open_engine
engine = open_engine(Path(sys.argv[1]))
for number in range({WRITTEN}):
    batch = Batch()
    batch.log[b"%04d" % number] = os.urandom({ROW_BYTES})
    engine.write(batch)
    if number < {DURABLE}:
        engine.flush()
os._exit(0)
"""


@pytest.fixture(scope="module")
def killed_once(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory as a killed process leaves it: DURABLE rows flushed, WRITTEN rows in the log file."""
    directory = tmp_path_factory.mktemp("killed") / "node"
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    subprocess.run([sys.executable, "-c", WRITER, str(directory)], env=environment, check=True, timeout=60)
    return directory


@pytest.fixture
def killed(killed_once: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(killed_once, tmp_path / "node"))


def log_file(directory: Path) -> Path:
    (found,) = (path for path in (directory / files.DATABASE).glob("*.log") if path.stat().st_size)
    return found


def overwrite(path: Path, at: int, change: Callable[[bytes], bytes], count: int = 1) -> None:
    with path.open("r+b") as opened:
        opened.seek(at)
        old = opened.read(count)
        opened.seek(at)
        opened.write(change(old))


def rows(engine: RocksEngine) -> int:
    """Return how many rows there are, and check that they are the first ones."""
    found = [key for key, _ in engine.scan(Family.LOG, b"", b"\xff", 10 * WRITTEN)]
    assert found == [b"%04d" % number for number in range(len(found))], "what is left is a prefix"
    return len(found)


def zeros(old: bytes) -> bytes:
    return bytes(len(old))


def flip(old: bytes) -> bytes:
    return bytes(byte ^ 1 for byte in old)


# --- tails that a power loss may leave: nothing that was flushed is in them --------------------------


def cut_tail(log: Path) -> None:
    os.truncate(log, log.stat().st_size - 30)


def cut_all_that_was_not_flushed(log: Path) -> None:
    os.truncate(log, log.stat().st_size - TAIL_BYTES)


def zero_tail(log: Path) -> None:
    overwrite(log, log.stat().st_size - TAIL_BYTES // 2, zeros, TAIL_BYTES)


def hole_in_tail(log: Path) -> None:
    overwrite(log, log.stat().st_size - TAIL_BYTES // 2, zeros, ROW_BYTES)


def zeros_after_the_end(log: Path) -> None:
    os.truncate(log, log.stat().st_size + 100_000)


def garbage_after_the_end(log: Path) -> None:
    with log.open("ab") as opened:
        opened.write(Random(7).randbytes(50_000))


@pytest.mark.parametrize(
    "harm",
    [
        cut_tail,
        cut_all_that_was_not_flushed,
        zero_tail,
        hole_in_tail,
        zeros_after_the_end,
        garbage_after_the_end,
    ],
)
def test_a_torn_tail_costs_nothing_that_was_flushed(killed: Path, harm: Callable[[Path], object]) -> None:
    harm(log_file(killed))
    engine = open_engine(killed)
    assert not engine.damaged
    assert DURABLE <= rows(engine) <= WRITTEN
    engine.close()


# --- harm to what was flushed ------------------------------------------------------------------------


def cut_into_flushed(log: Path) -> None:
    os.truncate(log, log.stat().st_size // 2)


def zero_a_page(log: Path) -> None:
    overwrite(log, 4096 * (log.stat().st_size // 3 // 4096), zeros, 4096)


def zero_a_block(log: Path) -> None:
    overwrite(log, 32768, zeros, 32768)


def remove(log: Path) -> None:
    log.unlink()


def flip_at(part: float) -> Callable[[Path], object]:
    return lambda log: overwrite(log, int(log.stat().st_size * part), flip)


@pytest.mark.parametrize(
    "harm",
    [
        cut_into_flushed,
        zero_a_page,
        zero_a_block,
        remove,
        *(flip_at(part / 100) for part in (0, 1, 13, 37, 50, 71, 77)),
    ],
)
def test_harm_to_what_was_flushed_is_noticed_and_stays_noticed(
    killed: Path, harm: Callable[[Path], object]
) -> None:
    harm(log_file(killed))
    engine = open_engine(killed)
    assert engine.damaged
    assert rows(engine) < DURABLE
    engine.flush()
    engine.close()
    again = open_engine(killed)
    assert again.damaged, "the mark outlives the restart"
    again.clear_damaged()
    again.close()
    cleared = open_engine(killed)
    assert not cleared.damaged
    cleared.close()


def test_every_single_flip_is_harmless_or_noticed(killed: Path, tmp_path: Path) -> None:
    log = log_file(killed)
    for at in range(0, log.stat().st_size, log.stat().st_size // 40):
        copy = Path(shutil.copytree(killed, tmp_path / f"flip-{at}"))
        overwrite(log_file(copy), at, flip)
        engine = open_engine(copy)
        assert engine.damaged or rows(engine) >= DURABLE, f"a flip at {at} went unnoticed"
        engine.close()


def test_an_older_copy_of_the_database_is_noticed(killed: Path, tmp_path: Path) -> None:
    open_engine(killed).close()
    shutil.copytree(killed / files.DATABASE, tmp_path / "older")
    engine = open_engine(killed)
    batch = Batch()
    batch.meta[b"k"] = b"v"
    engine.write(batch)
    engine.flush()
    engine.close()
    shutil.rmtree(killed / files.DATABASE)
    (tmp_path / "older").rename(killed / files.DATABASE)
    engine = open_engine(killed)
    assert engine.damaged
    engine.close()


@pytest.mark.parametrize("pattern", ["CURRENT", "MANIFEST-*", "*"])
def test_a_database_that_does_not_open_is_lost_for_good(killed: Path, pattern: str) -> None:
    for path in (killed / files.DATABASE).glob(pattern):
        path.unlink()
    for _ in range(2):
        with pytest.raises(StorageDamaged, match="is lost"):
            open_engine(killed)


def table_file(directory: Path) -> Path:
    """Bring the rows into a table file, and return it."""
    database = FaultyDatabase()
    engine = open_engine(directory, opener=database.open)
    database.write_table(Family.LOG)
    engine.close()
    (found,) = (directory / files.DATABASE).glob("*.sst")
    return found


def test_a_missing_table_is_a_lost_database_and_nothing_is_deleted(killed: Path) -> None:
    table_file(killed).unlink()
    before = {path.name for path in (killed / files.DATABASE).iterdir()}
    with pytest.raises(StorageDamaged, match="does not open"):
        open_engine(killed)
    assert before <= {path.name for path in (killed / files.DATABASE).iterdir()}
    assert (killed / files.DAMAGED).exists(), "also if it opened the next time"


def test_a_flip_in_a_table_is_an_error_when_it_is_read_and_damage_afterwards(killed: Path) -> None:
    table = table_file(killed)
    overwrite(table, table.stat().st_size // 3, flip)
    engine = open_engine(killed)
    with pytest.raises(StorageDamaged, match="corrupt"):
        engine.scan(Family.LOG, b"", b"\xff", 10 * WRITTEN)
    with pytest.raises(StorageError):
        engine.flush()
    engine.close()
    again = open_engine(killed)
    assert again.damaged
    again.close()


@pytest.mark.parametrize("harm", [Path.unlink, lambda path: overwrite(path, path.stat().st_size // 2, flip)])
@pytest.mark.parametrize("family", [Family.LOG, Family.DATA])
def test_a_harmed_blob_file_is_damage_once_it_is_read(
    killed: Path, family: Family, harm: Callable[[Path], object]
) -> None:
    """An opening does not notice it. Whoever asks for the value gets an error, and never something else."""
    database = FaultyDatabase()
    engine = open_engine(killed, opener=database.open)
    batch = Batch()
    (batch.log if family is Family.LOG else batch.data)[b"large"] = os.urandom(4 * BLOB_BYTES)
    engine.write(batch)
    engine.flush()
    database.write_table(family)
    engine.close()
    (blob,) = (killed / files.DATABASE).glob("*.blob")
    harm(blob)
    engine = open_engine(killed)
    assert not engine.damaged
    with pytest.raises(StorageDamaged, match="corrupt or missing"):
        engine.get(family, b"large")
    with pytest.raises(StorageError):
        engine.write(Batch())
    engine.close()
    again = open_engine(killed)
    assert again.damaged
    again.close()


def test_a_directory_without_blob_files_still_opens(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a node that wrote large values into tables: they stay there until they are compacted."""
    large = os.urandom(4 * BLOB_BYTES)
    with monkeypatch.context() as before:
        before.setattr(tuning, "_use_blob_files", lambda _options: None)
        database = FaultyDatabase()
        engine = open_engine(tmp_path, opener=database.open)
        batch = Batch()
        batch.data[b"old"] = batch.data[b"both"] = large
        engine.write(batch)
        database.write_table(Family.DATA)
        engine.close()
    assert not list((tmp_path / files.DATABASE).glob("*.blob"))
    database = FaultyDatabase()
    engine = open_engine(tmp_path, opener=database.open)
    batch = Batch()
    batch.data[b"both"] = batch.data[b"new"] = large[::-1]
    engine.write(batch)
    database.write_table(Family.DATA)
    assert list((tmp_path / files.DATABASE).glob("*.blob"))
    assert dict(engine.scan(Family.DATA, b"", b"\xff", 9)) == {
        b"old": large, b"both": large[::-1], b"new": large[::-1]
    }  # fmt: skip
    engine.close()


def test_a_database_in_use_is_an_error_and_no_damage(killed: Path) -> None:
    engine = open_engine(killed)
    with pytest.raises(StorageError) as caught:
        open_engine(killed)
    assert not isinstance(caught.value, StorageDamaged)
    engine.close()
    again = open_engine(killed)
    assert not again.damaged
    assert rows(again) == WRITTEN
    again.close()


# --- bytes that keep RocksDB's reader busy for ever --------------------------------------------------
# In a process of their own: whoever waits for RocksDB holds the interpreter, and no time limit works.

OPENER = """
import sys
from pathlib import Path
from ringkeep.core.protocol.effects import Family
from ringkeep.errors import StorageDamaged
from ringkeep.storage.rocks import open_engine
for directory in map(Path, sys.argv[1:]):
    try:
        engine = open_engine(directory)
    except StorageDamaged:
        print("lost")
        continue
    print("damaged" if engine.damaged else len(engine.scan(Family.LOG, b"", b"\\xff", 1000)), flush=True)
    engine.close()
"""


def outcomes(directories: list[Path]) -> list[str]:
    """Open them one after the other, and return for each how many rows it has, or "damaged", or "lost"."""
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    command = [sys.executable, "-c", OPENER, *map(str, directories)]
    done = subprocess.run(command, env=environment, check=True, timeout=60, capture_output=True, text=True)
    return done.stdout.split()


def harmed(killed: Path, name: str, harm: Callable[[Path], object], pattern: str = "*.log") -> Path:
    """Return a copy whose first file of that name that is not empty was harmed."""
    copy = Path(shutil.copytree(killed, killed.parent / name))
    harm(next(path for path in sorted((copy / files.DATABASE).glob(pattern)) if path.stat().st_size))
    return copy


def second_header(content: bytes) -> int:
    length, _ = HEADER.unpack_from(content)
    return HEADER.size + int(length)


def append(content: bytes) -> Callable[[Path], object]:
    return lambda path: path.write_bytes(path.read_bytes() + content)


def change_type(of_the_first: bool, kind: int) -> Callable[[Path], object]:
    def change(path: Path) -> None:
        at = 0 if of_the_first else second_header(path.read_bytes())
        overwrite(path, at + HEADER.size - 1, lambda _: bytes([kind]))

    return change


def test_no_type_of_record_keeps_a_node_from_starting(killed: Path) -> None:
    kinds = [*range(16), 127, 128, 130, 131, 255]
    behind_the_end = [
        harmed(killed, f"end-{kind}", append(b"sum." + struct.pack("<HB", 100, kind) + bytes(300)))
        for kind in kinds
    ]
    assert outcomes(behind_the_end) == [str(WRITTEN)] * len(kinds)
    flipped = [
        harmed(killed, f"flip-{first}-{kind}", change_type(first, kind))
        for first in (True, False)
        for kind in RECYCLED_TYPES
    ]
    assert outcomes(flipped) == ["damaged"] * len(flipped)
    manifests = [
        harmed(killed, f"manifest-{kind}", change_type(False, kind), "MANIFEST-*") for kind in RECYCLED_TYPES
    ]
    assert outcomes(manifests) == ["lost"] * len(manifests)


def test_no_garbage_after_the_end_keeps_a_node_from_starting(killed: Path) -> None:
    def garbage(random: Random) -> bytes:
        count = random.choice([1, HEADER.size, HEADER.size + 4, 500, 5_000, 2 * BLOCK_BYTES])
        return bytes(random.choices(range(random.choice([12, 256])), k=count))

    torn = [harmed(killed, f"torn-{seed}", append(garbage(Random(seed)))) for seed in range(50)]
    assert any(mend_records(Path(shutil.copytree(path, f"{path}-tried")) / files.DATABASE) for path in torn)
    assert outcomes(torn) == [str(WRITTEN)] * len(torn)


def test_what_is_mended_in_an_older_log_file_leaves_no_hole_unnoticed(tmp_path: Path) -> None:
    database = FaultyDatabase()
    engine = open_engine(tmp_path / "node", opener=database.open)
    for number in range(40):
        batch = Batch()
        batch.meta[b"%04d" % number] = batch.log[b"%04d" % number] = bytes(ROW_BYTES)
        engine.write(batch)
        engine.flush()
        if number == 20:
            database.write_table(Family.LOG)
    holed = harmed(tmp_path / "node", "holed", change_type(False, 5))  # as if killed now
    engine.close()
    assert outcomes([holed]) == ["lost"]


def test_files_that_are_whole_are_left_as_they_are(killed: Path) -> None:
    table_file(killed)
    paths = list((killed / files.DATABASE).iterdir())
    before = [path.read_bytes() for path in paths]
    assert mend_records(killed / files.DATABASE) == []
    assert [path.read_bytes() for path in paths] == before


# --- the synced mark ---------------------------------------------------------------------------------


def test_a_torn_mark_still_speaks_and_a_rotten_one_is_damage(killed: Path) -> None:
    path = killed / files.SYNCED
    newest = SyncedMark.open(path)
    newest.close()
    overwrite(path, 8, flip)
    older = SyncedMark.open(path)
    older.close()
    assert newest.sequence - 1 <= older.sequence <= newest.sequence
    overwrite(path, 4096 + 8, flip)
    engine = open_engine(killed)
    assert engine.damaged
    engine.close()


def test_a_missing_mark_is_damage(killed: Path) -> None:
    (killed / files.SYNCED).unlink()
    engine = open_engine(killed)
    assert engine.damaged
    engine.close()
