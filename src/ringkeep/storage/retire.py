"""Setting a node's files aside, whole: its directory becomes a new node's, and nothing is deleted.

Each file is renamed to `<name>.<why>-<n>`, the identity first: a power loss must not leave an identity
without the votes in its database, for such a node could vote twice. From that first rename on, what stands
there without an identity belongs to the one that was set aside last, and the next start sets it aside, too
(`finish`).
"""

import errno
import re
from enum import Enum
from pathlib import Path
from typing import Final

from ringkeep.storage import files

_PARTS: Final = (files.IDENTITY, files.DATABASE, files.SYNCED, files.DAMAGED)


class Why(Enum):
    """Why a node's files are set aside."""

    DAMAGED = "damaged"  # its database is lost
    RETIRED = "retired"  # the cluster gave it up


_KEPT: Final = re.compile(
    rf"(?P<part>{'|'.join(map(re.escape, _PARTS))})"
    rf"(?P<suffix>\.(?:{'|'.join(why.value for why in Why)})-(?P<number>[0-9]+))"
)


def is_kept(name: str) -> bool:
    """Whether a file of this name was set aside."""
    return _KEPT.fullmatch(name) is not None


def set_aside(directory: Path, why: Why) -> str:
    """Set a node's identity and all that is its own aside, durably; return what the new names end with.

    They have one number, greater than any that is there. The database must be closed. Raises OSError.
    """
    number = 1 + max((int(kept["number"]) for kept in _kept(directory)), default=0)
    suffix = f".{why.value}-{number}"
    _rename(directory, suffix)
    return suffix


def finish(directory: Path) -> None:
    """Set aside what an interrupted `set_aside` has left, if there is such a thing. Raises OSError."""
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
        files.sync_directory(directory)  # before the next one: their order is what a power loss must keep
