"""A node's directory: whose it is, who holds it, and what is refused in words for the operator."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from ringkeep.errors import ConfigurationError
from ringkeep.storage import files
from ringkeep.storage.identity import Identity, abandon_identity, open_identity
from ringkeep.storage.rocks import open_engine

HOLDER = """
import sys
from pathlib import Path
from ringkeep.storage.identity import open_identity
held = open_identity(Path(sys.argv[1]), "a")
print("held", flush=True)
sys.stdin.read()
"""


def opened(directory: Path, name: str = "a") -> Identity:
    """Open, close at once, and return what was read."""
    found = open_identity(directory, name)
    found.close()
    return found


def rewrite(directory: Path, **changes: Any) -> None:
    path = directory / files.IDENTITY
    fields = json.loads(path.read_bytes()) | changes
    path.write_text(json.dumps(fields))


def test_the_first_use_makes_a_node_that_keeps_its_id(tmp_path: Path) -> None:
    directory = tmp_path / "new" / "deep" / "node"
    first = opened(directory)
    assert len(bytes.fromhex(first.node_id)) == 16
    assert (first.name, first.cluster, first.cluster_id, first.incarnation) == ("a", "", "", 0)
    again = opened(directory)
    assert again.node_id == first.node_id
    assert opened(tmp_path / "other").node_id != first.node_id


def test_incarnations_are_durable_before_they_are_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    held = open_identity(tmp_path, "a")
    synced: list[str] = []
    real = os.fsync
    monkeypatch.setattr(
        files.os, "fsync", lambda handle: (synced.append(os.readlink(f"/dev/fd/{handle}")), real(handle))
    )
    assert held.next_incarnation() == 1
    monkeypatch.undo()
    assert [Path(path).name for path in synced] == [files.IDENTITY + files.TEMPORARY, tmp_path.name]
    assert held.next_incarnation() == 2
    held.close()
    held = open_identity(tmp_path, "a")
    assert held.next_incarnation() == 3
    held.close()


def test_a_directory_joins_one_cluster_for_ever(tmp_path: Path) -> None:
    held = open_identity(tmp_path, "a")
    held.join("production", "c1")
    held.join("production", "c1")
    held.join("renamed", "c1")
    with pytest.raises(ConfigurationError, match="belongs to the cluster renamed"):
        held.join("other", "c2")
    held.close()
    again = opened(tmp_path)
    assert (again.cluster, again.cluster_id) == ("renamed", "c1")


def test_another_name_is_refused(tmp_path: Path) -> None:
    opened(tmp_path)
    with pytest.raises(ConfigurationError, match="directory of the node 'a', not of 'b'"):
        open_identity(tmp_path, "b")
    opened(tmp_path)


def test_one_process_at_a_time(tmp_path: Path) -> None:
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(tmp_path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env=environment,
    )
    assert holder.stdout is not None
    assert holder.stdout.readline() == b"held\n"
    with pytest.raises(ConfigurationError, match=f"in use by another process .pid {holder.pid}."):
        open_identity(tmp_path, "a")
    holder.kill()
    holder.communicate()
    opened(tmp_path)


@pytest.mark.parametrize("name", ["photos", "db", "identity.jsonx", ".hidden"])
def test_a_directory_that_holds_something_else_is_refused(tmp_path: Path, name: str) -> None:
    (tmp_path / name).mkdir()
    with pytest.raises(ConfigurationError, match=f"holds '{name}' but no identity.json"):
        open_identity(tmp_path, "a")


@pytest.mark.parametrize("name", ["pid", "log", "log.1", "lost+found", "identity.json.new", "lock"])
def test_what_is_no_content(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(b"")
    opened(tmp_path)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"format": 2}, "reads format 1 only"),
        ({"node_id": "xyz"}, "changed by hand"),
        ({"node_id": "AB" * 16}, "changed by hand"),
        ({"node_id": "ab" * 15}, "changed by hand"),
        ({"name": 7}, "changed by hand"),
        ({"incarnation": None}, "changed by hand"),
    ],
)
def test_a_file_that_is_not_ours_is_refused(tmp_path: Path, changes: dict[str, Any], words: str) -> None:
    opened(tmp_path)
    rewrite(tmp_path, **changes)
    with pytest.raises(ConfigurationError, match=words):
        open_identity(tmp_path, "a")


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"7", b"{}", b"\xff\xfe"])
def test_garbage_is_refused(tmp_path: Path, content: bytes) -> None:
    opened(tmp_path)
    (tmp_path / files.IDENTITY).write_bytes(content)
    with pytest.raises(ConfigurationError, match="not an identity file"):
        open_identity(tmp_path, "a")


def test_an_unwritable_place_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(ConfigurationError, match="cannot be used as a node's directory"):
        open_identity(tmp_path / "file", "a")
    with pytest.raises(ConfigurationError, match="cannot be used as a node's directory"):
        open_identity(tmp_path / "file" / "below", "a")


@pytest.mark.skipif(os.geteuid() == 0, reason="root writes everywhere")
def test_a_directory_without_write_permission_is_refused(tmp_path: Path) -> None:
    opened(tmp_path)
    tmp_path.chmod(0o500)
    with pytest.raises(ConfigurationError, match="Permission denied"):
        open_identity(tmp_path, "a")
    tmp_path.chmod(0o700)


def test_a_failed_write_keeps_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    held = open_identity(tmp_path, "a")
    held.next_incarnation()

    def broken(_: int) -> None:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(files.os, "fsync", broken)
    with pytest.raises(ConfigurationError, match="Input/output error"):
        held.next_incarnation()
    monkeypatch.undo()
    held.close()
    assert opened(tmp_path).incarnation == 1


def test_an_abandoned_identity_leaves_a_directory_for_a_new_node(tmp_path: Path) -> None:
    held = open_identity(tmp_path, "a")
    engine = open_engine(tmp_path)
    engine.flush()
    engine.close()
    abandon_identity(held)
    held.close()
    kept = sorted(path.name for path in tmp_path.iterdir() if files.ASIDE in path.name)
    assert kept == ["db.damaged-1", "identity.json.damaged-1", "synced.damaged-1"]
    renewed = open_identity(tmp_path, "a")
    assert renewed.node_id != held.node_id
    engine = open_engine(tmp_path)
    assert not engine.damaged
    engine.close()
    abandon_identity(renewed)
    renewed.close()
    assert (tmp_path / "db.damaged-2").is_dir()
