"""Runs the nodes of one directory, one after the other.

A node whose database is lost, or that the cluster gave up, is retired: its files are kept under other names,
and a new node of the same name starts in the directory.
"""

import gc
import logging
import sys
from collections.abc import Callable
from typing import Final

from ringkeep.driver.turns import DISK_FAILED
from ringkeep.errors import ConfigurationError, RingkeepError, StorageDamaged, StorageError
from ringkeep.exit_codes import FAILED, REFUSED
from ringkeep.settings import NodeSettings
from ringkeep.storage.identity import Identity, abandon_identity, open_identity
from ringkeep.storage.retire import Why

RENEWED: Final = -1  # not an exit code: the node was retired, or is to be, and a new one starts

Serve = Callable[[NodeSettings, Identity], int]
"""Opens the store and serves; returns the exit code, or RENEWED. Raises StorageDamaged if it is lost."""

log = logging.getLogger("ringkeep.node")


def run_lives(settings: NodeSettings, serve: Serve) -> int:
    """Serve until no new node is to start; return the exit code. One clear line in the log when it fails."""
    try:
        while (code := _run_life(settings, serve)) == RENEWED:
            log.info("%s starts as a new node", settings.name)
            gc.unfreeze()  # the objects of the old node may be collected
        return code
    except RingkeepError as error:
        return failed(settings, error)


def failed(settings: NodeSettings, error: RingkeepError) -> int:
    """Log why the process ends; return the exit code."""
    reason = f"{DISK_FAILED}{error}" if type(error) is StorageError else str(error)
    log.critical(reason) if log.hasHandlers() else print(f"{settings.name}: {reason}", file=sys.stderr)
    return REFUSED if isinstance(error, ConfigurationError | StorageDamaged) else FAILED


def _run_life(settings: NodeSettings, serve: Serve) -> int:
    """Run the node that the directory belongs to; return the exit code, RENEWED once it was retired."""
    identity = open_identity(settings.data, settings.name, settings.alone)
    try:
        identity.next_incarnation()
        try:
            code, why = serve(settings, identity), Why.RETIRED
        except StorageDamaged as error:
            if settings.alone:
                raise StorageDamaged(
                    f"{error}. No other node has a copy: restore the directory from a backup"
                ) from error
            if identity.incarnation == 1:
                raise  # the disk lost what was written just now, and would lose the next node's data as well
            log.critical(error)
            code, why = RENEWED, Why.DAMAGED
        if code == RENEWED:
            kept = abandon_identity(identity, why)
            log.warning(
                "node %s was retired. Its files are kept as %s/*%s: they are neither merged nor deleted;"
                " remove them by hand when nobody needs them",
                identity.node_id, settings.data, kept,
            )  # fmt: skip
        return code
    finally:
        identity.close()
