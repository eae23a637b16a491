"""Copies of disks: put back in the place of a newer original, or started beside it while it lives."""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Final, NamedTuple

from ringkeep.core.cluster.admission import Claim
from ringkeep.core.protocol.effects import Family
from ringkeep.core.protocol.keys import log_key
from ringkeep.core.protocol.rows import POSITION_KEY, decode_position, decode_replica, replica_key
from ringkeep.core.protocol.types import Epoch, Incarnation, Index, NodeId, PartitionId
from ringkeep.core.replication.primary import Phase
from ringkeep.sim.faults.copy_process import Twin
from ringkeep.storage.memory import MemoryEngine

if TYPE_CHECKING:
    from ringkeep.sim.faults.schedule import Faults
    from ringkeep.sim.world.machine import SimMachine
    from ringkeep.sim.world.world import World

WAITS_MS: Final = ((10, 150), (50, 3_000))
"""From copying to putting back: so soon that the mark may not have moved, or later."""

Lost = list[tuple[PartitionId, Epoch]]


class DiskCopy(NamedTuple):
    """A copy of a node's directory: its identity, and its store."""

    id: NodeId
    incarnation: Incarnation
    cluster_id: str
    claims: Sequence[Claim]
    engine: MemoryEngine

    @property
    def position(self) -> int:
        row = self.engine.get(Family.META, POSITION_KEY)
        return decode_position(row) if row is not None else 0

    def log_end(self, partition: PartitionId) -> int:
        """Return the index of the last entry that is held: in the log window or, if all of that was applied
        and trimmed, the one before the window."""
        ends = log_key(partition, Index(0)), log_key(partition, Index(2**64 - 1))
        rows = self.engine.scan(Family.LOG, *ends, 1 << 30)
        if rows:
            return int.from_bytes(rows[-1][0][-8:], "big")
        row = self.engine.get(Family.META, replica_key(partition))
        return decode_replica(row).floor_index if row is not None else 0


def copied(node: "SimMachine") -> DiskCopy:
    """Copy a machine's disk while its process runs."""
    return DiskCopy(node.id, node.incarnation, node.cluster_id, node.claims, node.engine.copy())


class CopyFaults:
    """Faults of operators who keep copies of data directories."""

    def __init__(self, world: "World", faults: "Faults") -> None:
        self._world = world
        self._faults = faults
        self.kinds: list[tuple[int, Callable[[], None]]] = [(2, self._old_copy), (1, self._copy_beside)]

    def _old_copy(self) -> None:
        """A disk is copied; later its node crashes, and is given the copy."""
        node = self._faults.any()
        if node.alive and node.driver.enrolment.passed:
            disk = copied(node)
            self._faults.later(*self._world.random.choice(WAITS_MS), lambda: self._put_back(node, disk))

    def _put_back(self, node: "SimMachine", disk: DiskCopy) -> None:
        """Only where the others are whole; and within the window of the mark only where just a primary's
        memory is needed, and is there."""
        world = self._world
        others = [other for other in world.nodes.values() if other is not node]
        same = node.alive and (node.id, node.incarnation) == (disk.id, disk.incarnation)
        if not same or any(not each.alive or each.lost for each in world.nodes.values()):
            return
        if not world.survives_without(node):
            return
        _, mark = world.service.marks[node.id]
        beyond = mark.position > disk.position
        lost = [] if beyond else self._remembered(node, disk, others)
        if not beyond and not lost:
            return
        world.count("old_copy_beyond_mark" if beyond else "old_copy_within_window")
        world.log(
            node, f"crashes, and is given a copy of its disk, {'older' if beyond else 'as old'} as marked"
        )
        world.lose(node, lambda count: count)
        node.put_back(disk, beyond)
        world.invariants.on_damage(node)
        world.invariants.on_old_copy(node, lost)
        world.events.after(world.random.randint(20, 100), lambda: self._faults.machines.restart(node))

    def _remembered(self, node: "SimMachine", disk: DiskCopy, others: "list[SimMachine]") -> Lost:
        """Return under which epochs a primary remembers more of a node than the copy holds; nothing, unless
        all that is committed is held, and all that is promised is known, by everybody else."""
        found, lost = self._world.map, Lost()
        for number, part in enumerate(found.partitions if found is not None else ()):
            partition = PartitionId(number)
            if part.old_voters or part.learner is not None:
                return []
            for other in others:
                replica = other.driver.node.replicas.get(partition)
                if replica is None:
                    continue
                known = self._world.invariants.committed[partition].last
                if replica.promised.epoch != part.epoch or not self._world.invariants.holds(
                    other.id, partition, known
                ):
                    return []
                primary = other.driver.node.primaries.get(partition)
                if primary is None:
                    continue
                match = primary.progress.match.get(node.id, Index(0))
                if primary.epoch != part.epoch or primary.phase != Phase.ACTIVE or match > replica.commit:
                    return []
                if disk.log_end(partition) < match:
                    lost.append((partition, part.epoch))
        return lost

    def _copy_beside(self) -> None:
        """A process is started from a copy of a running node's disk, at another address."""
        node = self._faults.any()
        if node.alive and node.driver.enrolment.passed:
            self._world.log(node, "has a copy of its disk started beside it")
            self._world.twins.append(Twin(self._world, node, copied(node)))
