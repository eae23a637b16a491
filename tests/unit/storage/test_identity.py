"""A node's directory: whose it is, who holds it, and what is refused in words for the operator."""

import contextlib
import itertools
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from ringkeep.admission import Claim
from ringkeep.core.protocol.effects import Batch, Family
from ringkeep.core.protocol.types import Incarnation
from ringkeep.errors import ConfigurationError, StorageError
from ringkeep.storage import files
from ringkeep.storage.identity import Identity, abandon_identity, open_identity
from ringkeep.storage.retire import Why, is_kept
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


def test_claims_are_kept_in_place_of_those_before(tmp_path: Path) -> None:
    held = open_identity(tmp_path, "a")
    assert held.claims == ()
    first, second = Claim(Incarnation(1), "one"), Claim(Incarnation(2), "two")
    held.claim((first,))
    held.claim((first, second))
    held.close()
    assert opened(tmp_path).claims == (first, second)
    rewrite(tmp_path, claims=[[1]])
    with pytest.raises(ConfigurationError, match="wrong or missing field"):
        open_identity(tmp_path, "a")


def test_incarnations_are_durable_before_they_are_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    held = open_identity(tmp_path, "a")
    synced: list[str] = []
    real = os.fsync

    def noted(handle: int) -> None:
        synced.append(os.readlink(f"/dev/fd/{handle}"))
        real(handle)

    monkeypatch.setattr(os, "fsync", noted)
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


@pytest.mark.parametrize("alone", [False, True])
def test_a_directory_of_the_other_kind_is_refused_and_stays_as_it_is(tmp_path: Path, alone: bool) -> None:
    open_identity(tmp_path, "dev", alone).close()
    before = (tmp_path / files.IDENTITY).read_bytes()
    with pytest.raises(ConfigurationError, match=r"is the directory of .*Nothing was changed"):
        open_identity(tmp_path, "dev", not alone)
    assert (tmp_path / files.IDENTITY).read_bytes() == before
    open_identity(tmp_path, "dev", alone).close()


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
    with pytest.raises(ConfigurationError, match="cannot be used as a data directory"):
        open_identity(tmp_path / "file", "a")
    with pytest.raises(ConfigurationError, match="cannot be used as a data directory"):
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

    monkeypatch.setattr(os, "fsync", broken)
    with pytest.raises(StorageError, match="Input/output error"):
        held.next_incarnation()
    monkeypatch.undo()
    held.close()
    assert opened(tmp_path).incarnation == 1


# --- a node that is set aside ------------------------------------------------------------------------

PARTS = [files.DAMAGED, files.DATABASE, files.IDENTITY, files.SYNCED]


def live(directory: Path, number: int) -> Identity:
    """Make it a node's directory, with one durable row and a note of damage; return the identity."""
    held = open_identity(directory, "a")
    held.next_incarnation()
    engine = open_engine(directory)
    batch = Batch()
    batch.meta[b"number"] = b"%d" % number
    engine.write(batch)
    engine.flush()
    engine.close()
    (directory / files.DAMAGED).write_text("lost\n")
    return held


def number_of(directory: Path) -> bytes | None:
    engine = open_engine(directory)
    found = engine.get(Family.META, b"number")
    engine.close()
    return found


def test_what_is_set_aside_is_whole_and_leaves_a_directory_for_a_new_node(tmp_path: Path) -> None:
    ids, ends = [], []
    for number, why in enumerate([Why.DAMAGED, Why.RETIRED, Why.DAMAGED]):
        held = live(tmp_path, number)
        ends.append(abandon_identity(held, why))
        held.close()
        kept = sorted(path.name for path in tmp_path.glob(f"*{ends[-1]}"))
        assert kept == [part + ends[-1] for part in PARTS]
        ids.append(held.node_id)
    assert ends == [".damaged-1", ".retired-2", ".damaged-3"]
    assert len({opened(tmp_path).node_id, *ids}) == 4
    assert number_of(tmp_path) is None
    for part in PARTS:  # what is kept can be looked at: it is a node's directory but for the names
        (tmp_path / "look").mkdir(exist_ok=True)
        (tmp_path / (part + ".retired-2")).rename(tmp_path / "look" / part)
    assert opened(tmp_path / "look").node_id == ids[1]
    assert number_of(tmp_path / "look") == b"1"


class PowerLoss(Exception):
    """Stands for the end of the process."""


def lose_power_after(renames: int, monkeypatch: pytest.MonkeyPatch, work: Callable[[], Any]) -> None:
    """Do the work, but end right after so many renames, if there are so many."""
    real, left = Path.rename, [renames]

    def rename(path: Path, target: Path) -> Path:
        if not left[0]:
            raise PowerLoss
        left[0] -= 1
        return real(path, target)

    with monkeypatch.context() as patched, contextlib.suppress(PowerLoss):
        patched.setattr(Path, "rename", rename)
        work()


def test_a_power_loss_while_a_node_is_set_aside_leaves_the_old_node_or_a_new_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The old one with its votes; or a new one with none, and the old one kept whole."""
    live(tmp_path / "before", 7).close()
    for first, second in itertools.product(range(len(PARTS) + 1), range(len(PARTS) + 2)):
        directory = tmp_path / f"{first}-{second}"
        shutil.copytree(tmp_path / "before", directory)
        held = open_identity(directory, "a")
        lose_power_after(first, monkeypatch, partial(abandon_identity, held, Why.RETIRED))
        held.close()
        lose_power_after(second, monkeypatch, partial(opened, directory))  # and once more, in the next start
        found = opened(directory)
        if first == 0:
            assert (found.node_id, number_of(directory)) == (held.node_id, b"7")
        else:
            assert found.node_id != held.node_id
            assert number_of(directory) is None
            kept = sorted(path.name for path in directory.iterdir() if is_kept(path.name))
            assert kept == [f"{part}.retired-1" for part in PARTS]


def test_nothing_that_was_set_aside_is_overwritten(tmp_path: Path) -> None:
    held = live(tmp_path, 1)
    abandon_identity(held, Why.RETIRED)
    held.close()
    live(tmp_path, 2).close()
    (tmp_path / files.IDENTITY).unlink()
    with pytest.raises(ConfigurationError, match=r"db\.retired-1 is there already"):
        open_identity(tmp_path, "a")
    assert number_of(tmp_path) == b"2"
