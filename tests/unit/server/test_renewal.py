"""How a node's process goes on when its database is lost, or the cluster gave the node up: as a new node.

The store, the directory and what follows an end are the real ones; what a node does until then is a script.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
from tests.support.storage.faulty_database import FaultyDatabase

from ringkeep.core.protocol.effects import Batch, Family
from ringkeep.descriptors import shares_of
from ringkeep.errors import StorageDamaged
from ringkeep.ports import Ending
from ringkeep.server.lives import run_lives
from ringkeep.server.run import Server
from ringkeep.settings import NodeSettings, load_node_settings
from ringkeep.storage import files
from ringkeep.storage.identity import Identity
from ringkeep.storage.rocks import RocksEngine, open_engine

REFUSED = 78


@dataclass(frozen=True, slots=True)
class Node:
    """What a life of the script has: all of a node, but it does not serve."""

    database: FaultyDatabase
    engine: RocksEngine
    identity: Identity
    server: Server


Life = Callable[[Node], None]


class Process:
    """A directory in which nodes live; each lives the next life of the script."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.ids: list[str] = []
        self.script: list[Life] = []

    def run(self, *lives: Life) -> int:
        self.script, self.ids = list(lives), []
        return run_lives(load_node_settings({"name": "a", "data": str(self.directory)}, {}), self._serve)

    def _serve(self, settings: NodeSettings, identity: Identity) -> int:
        database = FaultyDatabase()
        engine = open_engine(settings.data, opener=database.open)
        try:
            server = Server(settings, identity, engine, shares_of(1_024))
            self.ids.append(identity.node_id)
            self.script.pop(0)(Node(database, engine, identity, server))
            return server.exit_code
        finally:
            engine.close()


@pytest.fixture
def process(tmp_path: Path) -> Process:
    made = Process(tmp_path / "node")
    assert made.run(write) == 0
    return made


def write(node: Node) -> None:
    batch = Batch()
    batch.meta[b"k"] = b"v" * 2000
    node.engine.write(batch)
    node.database.write_table(Family.META)
    node.engine.flush()


def holds_its_row(node: Node) -> None:
    assert node.engine.get(Family.META, b"k") == b"v" * 2000


def is_new_and_empty(node: Node) -> None:
    assert node.engine.get(Family.META, b"k") is None
    assert not node.engine.damaged
    assert node.identity.incarnation == 1
    assert not node.identity.cluster_id
    assert node.identity.name == "a"


def starts_again(node: Node) -> None:
    assert node.identity.incarnation == 2


def is_given_up(node: Node) -> None:
    node.server.stop("the cluster gave this node up", Ending.RETIRED)


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
    """Lost: it does not open, or what the node reads first is corrupt."""
    old = process.ids[0]
    for path in (process.directory / files.DATABASE).glob(pattern):
        spoil(path) if is_read else path.unlink()
    lives: list[Life] = [holds_its_row] if is_read else []
    assert process.run(*lives, is_new_and_empty) == 0
    assert process.ids[-1] != old
    assert set(kept(process.directory, ".damaged-1")) >= {"db", "identity.json", "synced"}
    lines = [record.getMessage() for record in caplog.records]
    assert any("lost" in line or "corrupt" in line for line in lines)
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

    def stops_and_is_given_up(node: Node) -> None:
        node.server.on_signal()
        is_given_up(node)

    assert process.run(stops_and_is_given_up) == 0
    assert process.run(holds_its_row) == 0
    assert process.ids == [old], "its next start will hear it again"


@pytest.mark.parametrize(
    ("ending", "code"), [(Ending.LEFT, 0), (Ending.FAILED, 1), (Ending.REFUSED, REFUSED)]
)
def test_other_endings_end_the_process_and_touch_nothing(process: Process, ending: Ending, code: int) -> None:
    (old,) = process.ids
    assert process.run(lambda node: node.server.stop("so it is", ending)) == code
    assert process.run(holds_its_row) == 0
    assert process.ids == [old]


def test_a_disk_that_loses_a_new_database_at_once_is_refused(process: Process) -> None:
    """Otherwise one new node would follow the other, without end."""

    def is_lost(_: Node) -> None:
        raise StorageDamaged("the database is lost")

    assert process.run(is_lost, is_lost) == REFUSED
    assert kept(process.directory, ".damaged-1") == ["db", "identity.json", "synced"]
    assert not kept(process.directory, ".damaged-2")
