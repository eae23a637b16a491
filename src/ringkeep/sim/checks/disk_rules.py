"""What a node must not write to a disk that has no room, or does not answer, once the node can know that.
Time is counted in ticks of the process, so that pauses and refused batches cause neither false alarms nor
gaps.
"""

from typing import Final

from ringkeep.core.protocol import limits
from ringkeep.core.protocol.effects import Batch
from ringkeep.core.protocol.entry import EntryKind, decode
from ringkeep.core.protocol.types import PartitionId
from ringkeep.core.replication.primary import Phase
from ringkeep.sim.errors import Violated
from ringkeep.sim.world.machine import SimMachine

KNOWN_AFTER: Final = 2  # ticks: one to check the disk, and the turn of that check
FEW: Final = 8  # turns that may still come to wait for a sync after that, because of new maps


class DiskRules:
    """The rules for one process."""

    def __init__(self, node: SimMachine) -> None:
        self._node = node
        self._without_room = 0
        self._silent = 0
        self._waiting = 0
        self._taking_office: set[PartitionId] = set()  # as of the last turn; this one may depose them

    def on_tick(self, tick_ms: int) -> None:
        """The process has just checked its disk."""
        node, driver = self._node, self._node.driver
        unhindered = driver._stuck is None
        self._without_room = self._without_room + 1 if not node.free and unhindered else 0
        self._silent = self._silent + 1 if node.hangs and unhindered and driver._asked > driver._synced else 0
        waiting = driver.unsynced
        if self._silent < KNOWN_AFTER + (limits.DISK_ANSWERS_MS // tick_ms) * 5 // 4:
            self._waiting = waiting  # the slowest clock runs at 0.8 of the rate
        elif waiting > self._waiting + FEW:
            raise Violated(f"{node.name}: {waiting} turns wait for a disk that does not answer")

    def after_turn(self) -> None:
        """A turn was carried out."""
        if self._without_room:
            primaries = self._node.driver.node.primaries
            self._taking_office = {
                partition for partition, each in primaries.items() if each.phase != Phase.ACTIVE
            }

    def on_write(self, batch: Batch) -> None:
        """A batch was written. It may hold the first entry of a new primary, and the entries that it adopts,
        even if it is deposed in the same turn."""
        if self._without_room < KNOWN_AFTER:
            return
        primaries = self._node.driver.node.primaries
        for key, value in batch.log.items():
            partition = PartitionId(int.from_bytes(key[:2], "big"))
            primary = primaries.get(partition)
            taking = (
                primary.phase != Phase.ACTIVE if primary is not None else partition in self._taking_office
            )
            if value is None or taking:
                continue
            if primary is None or decode(value).kind != EntryKind.NOOP:
                raise Violated(f"{self._node.name} has no room, and appends")
