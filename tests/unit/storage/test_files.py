"""What is said of a database that lost a whole file, or got an older one back: never that all is well.

The rule is that of test_damage.py. Here it has several log files, and tables.
"""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from ringkeep.core.protocol.effects import Family
from ringkeep.errors import StorageDamaged
from ringkeep.storage import files, synced_mark
from ringkeep.storage.manifest import NONE, manifest_of
from ringkeep.storage.rocks import open_engine

BIG = 1 << 20
ROUNDS = 54  # of a MiB each: three write buffers of the log family, which its log files outlive
OLDER = "older-manifest"

WRITER = f"""
import os, shutil, sys, time
from pathlib import Path
from ringkeep.core.protocol.effects import Batch
from ringkeep.storage import synced_mark
from ringkeep.storage.manifest import manifest_of
from ringkeep.storage.rocks import open_engine
directory = Path(sys.argv[1])
engine = open_engine(directory)
for number in range({ROUNDS}):
    batch = Batch()
    batch.meta[b"%04d" % number] = b"keeps every log file"
    batch.log[b"%04d" % number] = os.urandom({BIG})
    while engine.stalled():
        time.sleep(0.001)
    engine.write(batch)
    engine.flush()
    if number == 20:
        name = (directory / "db" / "CURRENT").read_text().strip()
        shutil.copyfile(directory / "db" / name, directory / "{OLDER}")
names = "num-running-flushes", "num-running-compactions", "mem-table-flush-pending", "compaction-pending"
while any(table.property_int_value("rocksdb." + name) for table in engine._tables for name in names):
    time.sleep(0.01)  # MANIFEST grows meanwhile
synced_mark.FSYNC_EVERY_S = 0.0  # so that the mark learns the MANIFEST at the next flush
batch = Batch()
batch.meta[b"%04d" % number] = b"keeps every log file"
engine.write(batch)
engine.flush()
mark = synced_mark.SyncedMark.open(directory / "synced").manifest
assert mark.number and mark == manifest_of(directory / "db")
os._exit(0)
"""


@pytest.fixture(scope="module")
def killed_once(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory as a killed process leaves it, with several log files that are all needed."""
    directory = tmp_path_factory.mktemp("killed") / "node"
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    subprocess.run([sys.executable, "-c", WRITER, str(directory)], env=environment, check=True, timeout=120)
    return directory


@pytest.fixture
def killed(killed_once: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(killed_once, tmp_path / "node"))


def logs(directory: Path) -> list[Path]:
    return sorted((directory / files.DATABASE).glob("*.log"))


def is_lost(directory: Path) -> None:
    with pytest.raises(StorageDamaged, match="is lost"):
        open_engine(directory)
    assert (directory / files.DAMAGED).exists(), "the next opening knows it as well"


def test_all_of_it_opens(killed: Path) -> None:
    assert len(logs(killed)) >= 3
    for _ in range(2):
        engine = open_engine(killed)
        assert not engine.damaged
        assert len(engine.scan(Family.META, b"0", b"1", 1000)) == ROUNDS
        assert len(engine.scan(Family.LOG, b"0", b"1", 1000)) == ROUNDS
        engine.flush()
        engine.close()


def test_an_older_log_file_that_vanished_is_missed(killed: Path, tmp_path: Path) -> None:
    for number, path in enumerate(logs(killed)[:-1]):
        harmed = Path(shutil.copytree(killed, tmp_path / f"without-{number}"))
        (harmed / files.DATABASE / path.name).unlink()
        is_lost(harmed)


def test_an_older_log_file_that_was_cut_is_missed(killed: Path) -> None:
    path = logs(killed)[0]
    os.truncate(path, path.stat().st_size // 2)
    is_lost(killed)


def test_the_newest_log_file_is_missed_by_the_mark(killed: Path) -> None:
    logs(killed)[-1].unlink()
    engine = open_engine(killed)
    assert engine.damaged
    engine.close()


def test_a_table_that_vanished_is_missed(killed: Path) -> None:
    for table in (killed / files.DATABASE).glob("*.sst"):  # one of them may be a compaction's leftover
        table.unlink()
    is_lost(killed)


def test_an_older_manifest_that_was_put_back_is_noticed(killed: Path) -> None:
    database = killed / files.DATABASE
    before = manifest_of(database)
    shutil.copyfile(killed / OLDER, database / f"MANIFEST-{before.number:06d}")
    assert manifest_of(database) < before
    is_lost(killed)


def test_a_manifest_of_an_earlier_start_that_was_put_back_is_noticed(
    killed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(synced_mark, "FSYNC_EVERY_S", 0.0)
    database = killed / files.DATABASE
    earlier = Path(shutil.copytree(database, tmp_path / "earlier"))
    engine = open_engine(killed)
    engine.flush()
    engine.close()
    assert manifest_of(database).number > manifest_of(earlier).number
    for name in ("CURRENT", (earlier / "CURRENT").read_text().strip()):
        shutil.copyfile(earlier / name, database / name)
    is_lost(killed)


def test_no_manifest_is_less_than_any(tmp_path: Path) -> None:
    assert manifest_of(tmp_path) == NONE
    (tmp_path / "CURRENT").write_text("MANIFEST-000007\n")
    assert manifest_of(tmp_path) == NONE
    (tmp_path / "MANIFEST-000007").write_bytes(b"123")
    assert manifest_of(tmp_path) == (7, 3) > NONE
