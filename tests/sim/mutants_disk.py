"""Deliberate breaks of what is asked of a disk that hangs or fills up. See `mutants.py`."""

from collections.abc import Callable
from typing import Any

from tests.sim.mutants import patched

from ringkeep.core.disk_state import DiskState, OwnDisk
from ringkeep.core.node import Node


def hanging_disk_not_noticed() -> Any:
    """A sync is waited for, however long it takes."""

    def make(seen: Any) -> Any:
        def mutant(self: OwnDisk) -> DiskState:
            self._waits_ms = [0] * len(self._waits_ms)
            found: DiskState = seen(self)
            return found

        return mutant

    return patched(OwnDisk, "_seen", make)


def full_disk_leads_on() -> Any:
    """Less room than the reserve is no reason to give primaries away."""

    def make(seen: Any) -> Any:
        def mutant(self: OwnDisk) -> DiskState:
            found: DiskState = seen(self)
            return DiskState.FINE if found == DiskState.SHORT else found

        return mutant

    return patched(OwnDisk, "_seen", make)


def full_backup_appends() -> Any:
    """A backup takes entries until its disk refuses one."""
    return patched(OwnDisk, "takes_entries", lambda _: property(lambda self: self.state != DiskState.SILENT))


def dropped_frames_not_told_of() -> Any:
    """What arrived while the store refused writes is dropped: only entries of logs are asked for again."""

    def make(_: Any) -> Any:
        def mutant(self: Node) -> None:
            self._unheard.clear()
            self.replica_set.missed.update(dict.fromkeys(self.replicas))

        return mutant

    return patched(Node, "_listen_again", make)


OF_DISKS: dict[str, Callable[[], Any]] = {
    "hanging disk not noticed": hanging_disk_not_noticed,
    "full disk leads on": full_disk_leads_on,
    "full backup appends": full_backup_appends,
    "dropped frames not told of": dropped_frames_not_told_of,
}
