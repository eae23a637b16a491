"""The exceptions of Ringkeep. After one of `Rejected` the request was not applied, and never will be.

Imports no other module of the product, so that every part and the stand-alone client can use it.
"""

import errno
from pathlib import Path
from typing import Final


class RingkeepError(Exception):
    """Anything that Ringkeep reports to its caller."""


class Rejected(RingkeepError):
    """It was not applied, and never will be."""


class Unavailable(Rejected):
    """No node could serve it by the deadline; a retry is safe."""


class Refusal(Rejected):
    """An operator's order that the cluster does not carry out; the text says why, and what to do."""


class NoSuchNode(Refusal):
    """There is no node of that name in the cluster map."""


class ConfigurationError(RingkeepError):
    """A setting or a data directory is refused (exit code 78)."""


class StorageError(RingkeepError):
    """The disk failed in a way that ends this process: it must stop acknowledging."""


class StorageStalled(RingkeepError):
    """The engine takes no writes just now. Nothing of the refused batch was written."""


class StorageDamaged(StorageError):
    """Some durable data is missing, or the database does not open."""


_OF_SETTINGS: Final = frozenset({
    errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOENT, errno.ENOTDIR, errno.EISDIR, errno.EEXIST,
    errno.ENAMETOOLONG, errno.ELOOP,
})  # fmt: skip
"""Errors that mean that a wrong directory was configured; all others are the disk's fault."""


def of_directory(directory: Path, error: OSError) -> RingkeepError:
    """Return what to raise when a directory cannot be used: StorageError, unless it is the wrong one."""
    text = error.strerror or str(error)
    if error.errno in _OF_SETTINGS:
        return ConfigurationError(f"{directory} cannot be used as a data directory: {text}")
    return StorageError(f"{directory}: {text}")


class ProtocolError(RingkeepError):
    """A peer sent bytes that are not valid in the protocol. The connection is closed."""


class StartError(RingkeepError):
    """Something that must run beside us cannot be started; the text says what to do about it (exit
    code 1)."""
