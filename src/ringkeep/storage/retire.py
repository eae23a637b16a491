"""Retires a node: renames all of its files, so that a new node can start in the directory. Deletes nothing.

Each file is renamed to `<name>.<why>-<n>`, the identity first: a power loss must not leave an identity
without the promises in its database, because such a node could vote twice. After the first rename, files
without an identity belong to the node that was retired last; the next start renames them too (`finish`).
"""

import errno
import re
from enum import Enum
from pathlib import Path
from typing import Final

from ringkeep.storage import files

_PARTS: Final = (files.IDENTITY, files.DATABASE, files.SYNCED, files.DAMAGED)


class Why(Enum):
    """Why a node is retired."""

    DAMAGED = "damaged"  # its database is lost
    RETIRED = "retired"  # the cluster gave it up


_KEPT: Final = re.compile(
    rf"(?P<part>{'|'.join(map(re.escape, _PARTS))})"
    rf"(?P<suffix>\.(?:{'|'.join(why.value for why in Why)})-(?P<number>[0-9]+))"
)


def is_kept(name: str) -> bool:
    """Whether a file of this name belongs to a retired node."""
    return _KEPT.fullmatch(name) is not None


def retire(directory: Path, why: Why) -> str:
    """Rename a node's identity and all of its files, durably; return what the new names end with.

    They have the same number, greater than all existing ones. The database must be closed. Raises OSError.
    """
    number = 1 + max((int(kept["number"]) for kept in _kept(directory)), default=0)
    suffix = f".{why.value}-{number}"
    _rename(directory, suffix)
    return suffix


def finish(directory: Path) -> None:
    """Rename what an interrupted `retire` has left. Raises OSError."""
    identities = [kept for kept in _kept(directory) if kept["part"] == files.IDENTITY]
    if identities and not (directory / files.IDENTITY).exists():
        _rename(directory, max(identities, key=lambda kept: int(kept["number"]))["suffix"])


def _kept(directory: Path) -> list[re.Match[str]]:
    names = (_KEPT.fullmatch(path.name) for path in directory.iterdir())
    return [match for match in names if match]


def _rename(directory: Path, suffix: str) -> None:
    for part in _PARTS:
        path, target = directory / part, directory / (part + suffix)
        if not path.exists():
            continue
        if target.exists():
            raise FileExistsError(errno.EEXIST, f"{target.name} is there already")
        path.rename(target)
        files.sync_directory(directory)  # before the next rename: a power loss must keep their order
