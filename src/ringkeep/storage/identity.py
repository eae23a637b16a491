"""The identity file, which ties a data directory to one node, and the lock, which ties it to one process.

The identity outlives the process and never moves to another disk: a wiped directory is a new node. The
incarnation counts the starts; it is durable before it is used, so no two starts share a number.
"""

import errno
import fcntl
import json
import os
import secrets
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from ringkeep.admission import Claim
from ringkeep.core.protocol.types import Incarnation, NodeId
from ringkeep.errors import ConfigurationError, of_directory
from ringkeep.storage import files, retire

FORMAT: Final = 1
NODE_ID_BYTES: Final = 16

_UNFINISHED: Final = {name + files.TEMPORARY for name in (files.IDENTITY, files.SYNCED, files.DAMAGED)}
_NOT_CONTENT: Final = frozenset({files.LOCK, "pid", "lost+found", *_UNFINISHED})


class Identity:
    """The identity of the node whose directory this process has locked. Close it last."""

    def __init__(self, directory: Path, lock: int) -> None:
        self.directory = directory
        self.node_id = NodeId("")
        self.name = ""
        self.cluster = ""
        self.cluster_id = ""
        """Of the cluster that this directory belongs to; empty until `join`."""
        self.incarnation = Incarnation(0)
        """Of the latest start; 0 before the first."""
        self.claims: Sequence[Claim] = ()
        """The starts that may have written the node's mark: see `ringkeep.admission`."""
        self.superseded = False
        """Whether the cluster has seen a newer copy of this directory: then it is never opened again."""
        self.left = False
        """Whether the node has left its cluster: then it is never opened again either."""
        self.alone = False
        """Whether it is a node without others, whose directory holds the coordination as well."""
        self._lock = lock

    def next_incarnation(self) -> Incarnation:
        """Count this start. The number is durable when this returns. Raises StorageError."""
        self.incarnation = Incarnation(self.incarnation + 1)
        self._save()
        return self.incarnation

    def join(self, cluster: str, cluster_id: str) -> None:
        """Record the cluster, durably. Raises StorageError, and ConfigurationError if it is another one's."""
        if self.cluster_id and self.cluster_id != cluster_id:
            raise ConfigurationError(
                f"{self.directory} belongs to the cluster {self.cluster} ({self.cluster_id}), "
                f"not to {cluster} ({cluster_id})"
            )
        if (self.cluster, self.cluster_id) != (cluster, cluster_id):
            self.cluster = cluster
            self.cluster_id = cluster_id
            self._save()

    def claim(self, claims: Sequence[Claim]) -> None:
        """Record these claims in place of those before, durably. Raises StorageError."""
        self.claims = tuple(claims)
        self._save()

    def supersede(self) -> None:
        """Record, durably, that this is an old copy. Otherwise repeated starts would make its count look
        new."""
        self.superseded = True
        self._save()

    def leave(self) -> None:
        """Record, durably, that the node has left its cluster: nothing here is needed any more."""
        self.left = True
        self._save()

    def close(self) -> None:
        """Give up the lock. Calling it again does nothing."""
        if self._lock >= 0:
            os.close(self._lock)
            self._lock = -1

    def _save(self) -> None:
        fields = {
            "format": FORMAT,
            "node_id": self.node_id,
            "name": self.name,
            "cluster": self.cluster,
            "cluster_id": self.cluster_id,
            "incarnation": self.incarnation,
            "claims": self.claims,
            "superseded": self.superseded,
            "left": self.left,
        }
        if self.alone:
            fields["alone"] = True
        content = json.dumps(fields, indent=2).encode() + b"\n"
        try:
            files.write_atomically(self.directory / files.IDENTITY, content)
        except OSError as error:
            raise of_directory(self.directory, error) from error

    def _load(self, content: bytes) -> None:
        path = self.directory / files.IDENTITY
        try:
            fields = json.loads(content)
            form = fields["format"]
        except (ValueError, TypeError, KeyError) as error:
            raise ConfigurationError(f"{path} is not an identity file; was it changed by hand?") from error
        if form != FORMAT:
            raise ConfigurationError(
                f"{path} has format {form!r}; this version of Ringkeep reads format {FORMAT} only"
            )
        try:
            self.node_id = _checked_id(fields["node_id"])
            self.name, self.cluster, self.cluster_id = (
                _checked_text(fields[field]) for field in ("name", "cluster", "cluster_id")
            )
            self.incarnation = Incarnation(int(fields["incarnation"]))
            self.claims = tuple(
                Claim(Incarnation(int(incarnation)), _checked_text(life))
                for incarnation, life in fields.get("claims", ())
            )
            self.superseded = bool(fields.get("superseded", False))
            self.left = bool(fields.get("left", False))
            self.alone = bool(fields.get("alone", False))
        except (ValueError, TypeError, KeyError) as error:
            raise ConfigurationError(
                f"{path} has a wrong or missing field ({error}); was it changed by hand?"
            ) from error


def open_identity(directory: Path, name: str, alone: bool = False) -> Identity:
    """Lock the directory and read its identity; on the first use, make it the directory of a new node.

    `alone`: see Identity; it never changes. The same on the first use after `abandon_identity`, even if that
    was interrupted. Raises
    ConfigurationError if the directory cannot be written, is locked by another process, holds something else,
    is another node's, or has an unknown format. Raises StorageError if the disk fails.
    """
    try:
        files.make_directories(directory)
        lock = _lock(directory)
    except OSError as error:
        raise of_directory(directory, error) from error
    identity = Identity(directory, lock)
    try:
        _fill(identity, name, alone)
    except BaseException:
        identity.close()
        raise
    return identity


def abandon_identity(identity: Identity, why: retire.Why) -> str:
    """Retire the node: rename its identity, database and marks; return what their new names end with.

    Nothing is deleted, and a power loss leaves the old state or the new one for the next start. That start
    creates a new node here. The database must be closed; the lock stays with this process. Raises
    StorageError.
    """
    try:
        return retire.retire(identity.directory, why)
    except OSError as error:
        raise of_directory(identity.directory, error) from error


def _fill(identity: Identity, name: str, alone: bool) -> None:
    path = identity.directory / files.IDENTITY
    try:
        retire.finish(identity.directory)
        content = path.read_bytes() if path.exists() else None
        others = sorted(entry.name for entry in identity.directory.iterdir() if _is_content(entry.name))
    except OSError as error:
        raise of_directory(identity.directory, error) from error
    if content is not None:
        identity._load(content)
        if identity.alone != alone:
            raise ConfigurationError(_of_the_other_kind(identity))
        if identity.name != name:
            raise ConfigurationError(
                f"{identity.directory} is the directory of the node {identity.name!r}, not of {name!r}"
            )
        if identity.superseded:
            raise ConfigurationError(
                f"{identity.directory} was refused before: it is an old copy of a directory that the cluster "
                "has seen in a newer state. Nothing was changed. Use the newest directory"
            )
        if identity.left:
            raise ConfigurationError(
                f"{identity.directory} is the directory of a node that has left the cluster"
                f" {identity.cluster}: the other nodes hold its data. Choose an empty directory to join as a"
                " new node"
            )
        if not os.access(identity.directory, os.W_OK):
            raise of_directory(identity.directory, PermissionError(errno.EACCES, "Permission denied"))
        return
    if others:
        raise ConfigurationError(
            f"{identity.directory} holds {others[0]!r} but no {files.IDENTITY}: "
            "it is not the directory of a node; choose an empty one"
        )
    identity.node_id = NodeId(secrets.token_hex(NODE_ID_BYTES))
    identity.name = name
    identity.alone = alone
    identity._save()


def _of_the_other_kind(identity: Identity) -> str:
    if identity.alone:
        return (
            f"{identity.directory} is the directory of `ringkeep dev`: its node is alone, and joins no"
            " cluster. Nothing was changed. Choose another directory"
        )
    return (
        f"{identity.directory} is the directory of the node {identity.name!r} of a cluster, which needs its"
        " ZooKeeper (ringkeep node). Nothing was changed. Choose another directory for `ringkeep dev`"
    )


def _lock(directory: Path) -> int:
    """Return a handle that holds the lock for as long as it is open. Raises OSError, ConfigurationError."""
    handle = os.open(directory / files.LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        holder = os.pread(handle, 32, 0).decode("ascii", "replace").strip()
        os.close(handle)
        raise ConfigurationError(
            f"{directory} is in use by another process{f' (pid {holder})' if holder else ''}"
        ) from error
    except BaseException:
        os.close(handle)
        raise
    os.ftruncate(handle, 0)
    os.pwrite(handle, f"{os.getpid()}\n".encode(), 0)
    return handle


def _is_content(name: str) -> bool:
    return not (name in _NOT_CONTENT or name.startswith("log") or retire.is_kept(name))


def _checked_id(text: object) -> NodeId:
    if not isinstance(text, str) or text != text.lower() or len(bytes.fromhex(text)) != NODE_ID_BYTES:
        raise ValueError(f"{text!r} is not a node id")
    return NodeId(text)


def _checked_text(text: object) -> str:
    if not isinstance(text, str):
        raise ValueError(f"{text!r} is not text")
    return text
