"""Copies of the cluster map, read from the directories of stopped nodes and from running ones."""

import base64
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from tests.support.core.parts import a_map
from tests.support.http.host import Host

from ringkeep.cli.map_recovery.copies import from_directory, from_node, gather
from ringkeep.cli.terminal.failure import Failure
from ringkeep.core.protocol.cluster_map import ClusterMap
from ringkeep.core.protocol.effects import Batch
from ringkeep.core.protocol.rows import MAP_KEY, Promised, encode_promised, promised_key
from ringkeep.core.protocol.types import Epoch, Incarnation, MapVersion, NodeId, PartitionId
from ringkeep.errors import ConfigurationError
from ringkeep.recovery import CannotRecover
from ringkeep.storage import files
from ringkeep.storage.identity import open_identity
from ringkeep.storage.rocks import open_engine
from ringkeep.wire import mapcodec


def a_directory(path: Path, payload: bytes | None, promised: dict[int, int]) -> NodeId:
    """Make the directory of a stopped node, and return its id."""
    identity = open_identity(path, "n1")
    engine = open_engine(path)
    batch = Batch()
    if payload is not None:
        batch.meta[MAP_KEY] = payload
    for partition, epoch in promised.items():
        row = encode_promised(Promised(Epoch(epoch), identity.node_id, Incarnation(1)))
        batch.meta[promised_key(PartitionId(partition))] = row
    engine.write(batch)
    engine.flush()
    engine.close()
    identity.close()
    return identity.node_id


def a_document(held: ClusterMap | None, **changes: Any) -> dict[str, Any]:
    payload = base64.b64encode(mapcodec.encode(held)).decode() if held is not None else None
    return {"name": "n1", "id": "1" * 32, "map": payload, "promised": [[0, 9]]} | changes


@pytest.fixture
def host() -> Any:
    node = Host()
    yield node
    node.close()


def address(host: Host) -> str:
    return host.url.removeprefix("http://")


def test_a_directory_is_read_and_left_as_it_was(tmp_path: Path) -> None:
    held = a_map()
    node = a_directory(tmp_path, mapcodec.encode(held), {0: 5, 300: 7})
    before = (tmp_path / files.IDENTITY).read_bytes()
    for _ in range(2):
        copy = from_directory(tmp_path)
        assert (copy.node, copy.name, copy.held, copy.whole) == (node, "n1", held, True)
        assert dict(copy.promised) == {0: 5, 300: 7}
        assert str(tmp_path) in copy.source
    assert (tmp_path / files.IDENTITY).read_bytes() == before
    open_identity(tmp_path, "n1").close()


def test_a_directory_that_never_had_a_map(tmp_path: Path) -> None:
    a_directory(tmp_path / "fresh", None, {})
    assert from_directory(tmp_path / "fresh").held is None
    open_identity(tmp_path / "bare", "n1").close()
    assert not from_directory(tmp_path / "bare").whole
    assert not (tmp_path / "bare" / files.DATABASE).exists(), "reading makes no database"


def test_a_directory_that_is_no_nodes_stays_as_it_is(tmp_path: Path) -> None:
    with pytest.raises(Failure, match="not a node's directory") as failure:
        from_directory(tmp_path)
    assert failure.value.exit_code == 78 and not list(tmp_path.iterdir())
    (tmp_path / files.IDENTITY).write_text("{")
    with pytest.raises(ConfigurationError, match="not an identity file"):
        from_directory(tmp_path)


def test_the_directory_of_a_running_node_is_refused(tmp_path: Path) -> None:
    a_directory(tmp_path, None, {})
    held = open_identity(tmp_path, "n1")
    with pytest.raises(ConfigurationError, match="in use"):
        from_directory(tmp_path)
    held.close()


def test_a_store_that_lost_something_is_no_whole_copy(tmp_path: Path) -> None:
    a_directory(tmp_path, mapcodec.encode(a_map()), {})
    (tmp_path / files.DAMAGED).write_text("it lost something")
    copy = from_directory(tmp_path)
    assert copy.held == a_map() and not copy.whole


def test_a_lost_database_is_said(tmp_path: Path) -> None:
    a_directory(tmp_path, mapcodec.encode(a_map()), {})
    (tmp_path / files.DATABASE / "CURRENT").unlink()
    with pytest.raises(CannotRecover, match=r"n1 .* cannot be read"):
        from_directory(tmp_path)


def test_a_running_node_is_asked(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(host.service, "map_copy", lambda: a_document(a_map()))
    copy = from_node(address(host), 1_000)
    assert (copy.node, copy.name, copy.held, dict(copy.promised)) == ("1" * 32, "n1", a_map(), {0: 9})
    assert copy.source == f"n1 ({host.url})"


@pytest.mark.parametrize(
    "answer",
    [{}, {"map": None}, a_document(None, promised=None), a_document(None, promised=[[1]]),
     a_document(None, map=7), a_document(None, map="***")],
)  # fmt: skip
def test_an_answer_that_is_no_copy(
    host: Host, monkeypatch: pytest.MonkeyPatch, answer: dict[str, Any]
) -> None:
    monkeypatch.setattr(host.service, "map_copy", lambda: answer)
    with pytest.raises(Failure, match="not a copy of a cluster map"):
        from_node(address(host), 1_000)
    monkeypatch.setattr(host.service, "map_copy", lambda: a_document(None, map="AAAA"))
    with pytest.raises(CannotRecover):
        from_node(address(host), 1_000)


def test_the_others_are_found_in_the_newest_map(
    host: Host, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """The map in the directory names where the node with the newer map is, and that one names a third."""
    third = Host()
    first, second, last = (
        replace(node, http=place)
        for node, place in zip(a_map().nodes, ("127.0.0.1:1", address(host), address(third)), strict=True)
    )
    old = replace(a_map(), nodes=(first, second))
    new = replace(old, version=MapVersion(old.version + 1), nodes=(first, second, last))
    a_directory(tmp_path, mapcodec.encode(old), {})
    monkeypatch.setattr(host.service, "map_copy", lambda: a_document(new, id=second.id))
    monkeypatch.setattr(third.service, "map_copy", lambda: a_document(old, id=last.id))
    copies, silent = gather([], [tmp_path], 1_000)
    third.close()
    assert [copy.held for copy in copies] == [old, new, old]
    assert len(silent) == 1 and "127.0.0.1:1: connection refused" in silent[0]
