"""How a node's process goes on when its database is lost, or the cluster gave the node up: as a new node.

The store, the directory and `run_node` are the real ones; of the server, only its life is a stand-in.
"""

import asyncio
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from ringkeep.core.protocol.effects import Batch, Family
from ringkeep.errors import StorageDamaged
from ringkeep.ports import Ending
from ringkeep.server import run
from ringkeep.server.run import Server, run_node
from ringkeep.settings import load_node_settings
from ringkeep.storage import files

REFUSED = 78
Life = Callable[[Server], None]


class Process:
    """`run_node` in a directory; each of its servers lives the next life of the script."""

    def __init__(self, directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.directory = directory
        self.ids: list[str] = []
        process = self

        class StandIn(Server):
            async def run(self) -> int:
                process.ids.append(self._identity.node_id)
                self._over = asyncio.Event()
                process.script.pop(0)(self)
                self._engine.close()
                return self._code

        self.script: list[Life] = []
        monkeypatch.setattr(run, "Server", StandIn)
        monkeypatch.setattr(run, "start_log", lambda *_: None)  # it would take pytest's away
        monkeypatch.setattr(run, "run_in_batches", lambda: None)  # pytest is no node
        monkeypatch.setattr(run, "SWITCH_INTERVAL_S", sys.getswitchinterval())

    def run(self, *lives: Life) -> int:
        self.script, self.ids = list(lives), []
        return run_node(load_node_settings({"name": "a", "data": str(self.directory)}, {}))


@pytest.fixture
def process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Process:
    made = Process(tmp_path / "node", monkeypatch)
    assert made.run(write) == 0
    return made


def write(server: Server) -> None:
    batch = Batch()
    batch.meta[b"k"] = b"v" * 2000
    server._engine.write(batch)
    server._engine._database.get_column_family("meta").flush(wait=True)
    server._engine.flush()


def holds_its_row(server: Server) -> None:
    assert server._engine.get(Family.META, b"k") == b"v" * 2000


def is_new_and_empty(server: Server) -> None:
    assert server._engine.get(Family.META, b"k") is None
    assert not server._engine.damaged
    assert server._identity.incarnation == 1
    assert not server._identity.cluster_id
    assert server._identity.name == "a"


def starts_again(server: Server) -> None:
    assert server._identity.incarnation == 2


def is_given_up(server: Server) -> None:
    server.stop("the cluster gave this node up", Ending.RETIRED)


def kept(directory: Path, end: str) -> list[str]:
    return sorted(path.name.removesuffix(end) for path in directory.glob(f"*{end}"))


def spoil(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[10] ^= 1
    path.write_bytes(content)


@pytest.mark.parametrize(
    ("pattern", "is_read"), [("CURRENT", False), ("MANIFEST-*", False), ("*.sst", False), ("*.sst", True)]
)
def test_a_lost_database_is_set_aside_and_a_new_node_begins(
    process: Process, pattern: str, is_read: bool, caplog: pytest.LogCaptureFixture
) -> None:
    """Lost: it does not open, or what the node reads first is rotten."""
    old = process.ids[0]
    for path in (process.directory / files.DATABASE).glob(pattern):
        spoil(path) if is_read else path.unlink()
    lives: list[Life] = [holds_its_row] if is_read else []
    assert process.run(*lives, is_new_and_empty) == 0
    assert process.ids[-1] != old
    assert set(kept(process.directory, ".damaged-1")) >= {"db", "identity.json", "synced"}
    lines = [record.getMessage() for record in caplog.records]
    assert any("lost" in line or "rotten" in line for line in lines)
    (where,) = (line for line in lines if "neither merged nor deleted" in line)
    assert old in where
    assert f"{process.directory}/*.damaged-1" in where


def test_a_node_that_was_given_up_is_set_aside_whole_and_a_new_one_begins(process: Process) -> None:
    (old,) = process.ids
    assert process.run(is_given_up, is_new_and_empty) == 0
    assert process.ids[0] == old != process.ids[1]
    assert kept(process.directory, ".retired-1") == ["db", "identity.json", "synced"]
    new = process.ids[1]
    assert process.run(starts_again) == 0
    assert process.ids == [new], "the new one is there to stay"


def test_a_node_that_is_told_to_stop_does_not_begin_anew(process: Process) -> None:
    (old,) = process.ids

    def stops_and_is_given_up(server: Server) -> None:
        server._on_signal()
        is_given_up(server)

    assert process.run(stops_and_is_given_up) == 0
    assert process.run(holds_its_row) == 0
    assert process.ids == [old], "its next start will hear it again"


@pytest.mark.parametrize(
    ("ending", "code"), [(Ending.LEFT, 0), (Ending.FAILED, 1), (Ending.REFUSED, REFUSED)]
)
def test_other_endings_end_the_process_and_touch_nothing(process: Process, ending: Ending, code: int) -> None:
    (old,) = process.ids
    assert process.run(lambda server: server.stop("so it is", ending)) == code
    assert process.run(holds_its_row) == 0
    assert process.ids == [old]


def test_a_disk_that_loses_a_new_database_at_once_is_refused(
    process: Process, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Otherwise one new node would follow the other, without end."""

    def lost(*_: object) -> None:
        raise StorageDamaged("the database is lost")

    monkeypatch.setattr(run, "open_engine", lost)
    assert process.run() == REFUSED
    assert kept(process.directory, ".damaged-1") == ["db", "identity.json", "synced"]
    assert not kept(process.directory, ".damaged-2")
