"""Copies of disks: restored in place of a newer original, or started beside it while it runs."""

from collections.abc import Callable
from typing import Final

from ringkeep.core.protocol.types import Epoch, Index, PartitionId
from ringkeep.core.replication.primary import Phase
from ringkeep.sim.checks.invariants import Invariants
from ringkeep.sim.faults.copy_process import CopyProcess
from ringkeep.sim.faults.crashes import Crashes
from ringkeep.sim.faults.period import FaultPeriod
from ringkeep.sim.world.disk_copy import DiskCopy
from ringkeep.sim.world.machine import SimMachine
from ringkeep.sim.world.world import World

WAITS_MS: Final = ((10, 150), (50, 3_000))
"""Time from copying to restoring: so short that the mark may not have moved, or longer."""

Lost = list[tuple[PartitionId, Epoch]]


class CopyFaults:
    """Faults of operators who keep copies of data directories."""

    def __init__(self, world: World, period: FaultPeriod, crashes: Crashes, invariants: Invariants) -> None:
        self._world = world
        self._period = period
        self._crashes = crashes
        self._invariants = invariants
        self._beside: list[CopyProcess] = []
        self.kinds: list[tuple[int, Callable[[], None]]] = [(2, self._old_copy), (1, self._copy_beside)]

    def _old_copy(self) -> None:
        """A disk is copied; later its node crashes, and restarts from the copy."""
        node = self._world.some_machine()
        if node.alive and node.driver.enrolment.passed:
            disk = node.copy_disk()
            self._period.later(*self._world.random.choice(WAITS_MS), lambda: self._put_back(node, disk))

    def _put_back(self, node: SimMachine, disk: DiskCopy) -> None:
        """Restore only where the other copies are complete; within the window of the mark, only where a
        living primary still remembers what the copy lacks."""
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
        self._invariants.on_damage(node)
        self._invariants.on_old_copy(node, lost)
        world.events.after(world.random.randint(20, 100), lambda: self._crashes.restart(node))

    def _remembered(self, node: SimMachine, disk: DiskCopy, others: list[SimMachine]) -> Lost:
        """Return the epochs under which a primary remembers more of a node than the copy holds. Nothing,
        unless all other nodes hold everything committed and know everything promised."""
        cluster_map, lost = self._world.map, Lost()
        for number, part in enumerate(cluster_map.partitions if cluster_map is not None else ()):
            partition = PartitionId(number)
            if part.old_voters or part.learner is not None:
                return []
            for other in others:
                replica = other.driver.node.replicas.get(partition)
                if replica is None:
                    continue
                known = self._invariants.committed[partition].last
                if replica.promised.epoch != part.epoch or not self._invariants.holds(
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
        node = self._world.some_machine()
        if node.alive and node.driver.enrolment.passed:
            self._world.log(node, "has a copy of its disk started beside it")
            self._beside.append(CopyProcess(self._world, node, node.copy_disk()))

    def end(self) -> None:
        """End the processes that were started beside their originals."""
        for process in self._beside:
            process.end()
