"""A lasting cut: one link stays cut, or one node without ZooKeeper, and then another node dies.

All other faults end soon, so a cluster that merely waits for their end would pass. Here the fault lasts, and
the cluster must continue meanwhile: each partition of which a majority of voters reach each other has a
primary that serves, and operators' orders are carried out.
"""

from collections.abc import Callable
from typing import Final

from ringkeep.core.cluster.cluster_settings import MOVES_AT_ONCE
from ringkeep.core.cluster.orders import Verb, is_done
from ringkeep.core.cluster.replica_changes import holds_data
from ringkeep.core.protocol import limits, quorum
from ringkeep.core.protocol.cluster_map import NodeState, Partition
from ringkeep.core.protocol.types import Millis, NodeId
from ringkeep.sim.faults.schedule import FaultSchedule
from ringkeep.sim.world.machine import SESSION_MS, SimMachine
from ringkeep.sim.world.world import World

SERVED_MS: Final = 2_000
"""Within this time after the last fault every partition that can be served is served. Clocks may run at 0.8
of the rate."""
CARRIED_OUT_MS: Final = limits.ORDER_MS
LEFT_MS: Final = 40_000
LOOK_EVERY: Final = 10


class LastingCut:
    """One lasting fault of one world, at the end of its run."""

    def __init__(self, world: World, faults: FaultSchedule) -> None:
        self._world = world
        self._faults = faults
        self._hurt: list[SimMachine] = []

    def endure(self) -> None:
        """Start the fault, and check that the cluster continues."""
        world = self._world
        if world.random.random() < 0.6:
            self._cut_link()
        else:
            self._cut_service()
        if world.random.random() < 0.7:  # or at once, before the cut is noticed
            pause = world.events.now + world.random.randint(0, 4_000)
            world.events.run_until(lambda: world.events.now >= pause, pause)
        if len(world.nodes) <= world.replication or world.random.random() < 0.5:
            self._kill()
        self._expect(self._served, SERVED_MS, "a partition that could be served is not, while a cut lasts")
        order = self._order()
        self._expect(lambda: self._is_done(order), CARRIED_OUT_MS, f"{order} is not done, while a cut lasts")
        self._expect(self._served, SERVED_MS, "a partition is not served any more, while a cut lasts")
        self._decommission()

    def _decommission(self) -> None:
        """If no node died and there are enough, decommission one, and check that it leaves."""
        world, cluster_map = self._world, self._world.map
        assert cluster_map is not None, "the cluster was formed"
        staying = [node for node in cluster_map.nodes if holds_data(node.state)]
        well = self._well(list(world.nodes.values()))
        if (
            len(staying) <= cluster_map.replication
            or not all(node.alive for node in world.nodes.values())
            or not well
        ):
            return
        leaver = world.random.choice(well)
        leaving = leaver.id
        asked = world.random.choice([node for node in world.nodes.values() if node is not leaver])
        world.log(leaver, f"is to leave, {asked.name} is told")
        world.count("lasting_decommission")
        asked.driver.node.controller.order((leaving, Verb.DECOMMISSION, 0))

        began = False

        def gone() -> bool:
            """Or cancelled: an earlier order, which a node repeats for seconds, may undo this one."""
            nonlocal began
            node = world.map.node(leaving) if world.map is not None else None
            began = began or (node is not None and node.state == NodeState.LEAVING)
            return node is None or (began and node.state != NodeState.LEAVING)

        self._expect(gone, LEFT_MS, f"{leaver.name} has not left, while a cut lasts")

    def end(self) -> None:
        """Heal everything."""
        world = self._world
        world.heal()
        for node in self._hurt:
            node.coordination.connect() if node.alive else self._faults.crashes.restart(node)
        self._faults.membership.settle()

    # --- trouble --------------------------------------------------------------------------------------

    def _controller(self) -> SimMachine:
        """Return the first registered node that is still one: a departed one stays registered for a while."""
        nodes = self._world.nodes
        return next(nodes[member.id] for member in self._world.service.members() if member.id in nodes)

    def _some(self) -> SimMachine:
        """Return a node, the controller more often than others."""
        return self._controller() if self._world.random.random() < 0.5 else self._world.some_machine()

    def _cut_link(self) -> None:
        """Cut the link of two nodes, in one or both directions; all others reach both."""
        world, node = self._world, self._some()
        other = world.random.choice([other for other in world.nodes.values() if other is not node])
        ways = world.random.choice((((node, other),), ((other, node),), ((node, other), (other, node))))
        for sender, receiver in ways:
            world.block(sender.id, receiver.id)
        self._hurt += [node, other]
        world.count("lasting_cut")
        world.log(node, f"and {other.name} lose each other for good ({len(ways)} ways)")

    def _cut_service(self) -> None:
        """A node loses ZooKeeper, and later its registration there."""
        world, node = self._world, self._some()
        coordination = node.coordination
        coordination.disconnect()
        world.events.after(SESSION_MS, coordination.time_out)
        world.events.after(SESSION_MS, coordination.expire)
        self._hurt.append(node)
        world.count("lasting_without_service")
        world.log(node, "loses ZooKeeper for good")

    def _kill(self) -> None:
        """Another node dies, if a majority of the nodes that are left reach each other."""
        world = self._world
        others = [node for node in world.nodes.values() if node not in self._hurt]
        node = world.random.choice(others)
        left = len(world.nodes) - 1
        if (len(self._hurt) == 2 and left <= 2) or not world.survives_without(node):
            return
        world.lose(node, lambda count: count)
        self._hurt.append(node)
        world.count("lasting_cut_and_death")
        world.log(node, "dies, and stays dead")

    def _order(self) -> tuple[str, str, int]:
        """Give an order to some living node: drain a node, change its weight, or change a setting."""
        world = self._world
        alive = [node for node in world.nodes.values() if node.alive]
        choice: list[tuple[str, str, int]] = [(MOVES_AT_ONCE, Verb.SET, world.random.randint(9, 64))]
        for subject in self._well(alive):
            choice += [(subject.id, Verb.DRAIN, 0), (subject.id, Verb.WEIGHT, 4)]
        asked, order = world.random.choice(alive), world.random.choice(choice)
        world.log(asked, f"is asked: {order[1]} {order[0]}")
        asked.driver.node.controller.order(order)
        return order

    def _well(self, alive: list[SimMachine]) -> list[SimMachine]:
        """Return the nodes that any order may concern: none about them is under way, or still to come."""
        cluster_map = self._world.map
        assert cluster_map is not None, "the cluster was formed"
        active = {node.id for node in cluster_map.nodes if node.state == NodeState.ACTIVE}
        settled = [node for node in alive if not self._faults.membership.will_undrain(node)]
        return [node for node in settled if node.id in active]

    # --- what must be true meanwhile ------------------------------------------------------------------

    def _expect(self, done: Callable[[], bool], within: Millis, otherwise: str) -> None:
        world, looked = self._world, [0]

        def seen() -> bool:
            looked[0] += 1
            return looked[0] % LOOK_EVERY == 0 and done()

        assert world.events.run_until(seen, world.events.now + within), f"{world.events.now} {otherwise}"

    def _is_done(self, order: tuple[str, str, int]) -> bool:
        return self._world.map is not None and is_done(order, self._world.map)

    def _served(self) -> bool:
        cluster_map = self._world.map
        assert cluster_map is not None, "the cluster was formed"
        return all(
            self._is_served(number, part) or not self._can_be_served(part)
            for number, part in enumerate(cluster_map.partitions)
        )

    def _is_served(self, number: int, part: Partition) -> bool:
        node = self._world.nodes.get(part.primary)
        if node is None or not node.alive:
            return False
        primary = node.driver.node.primaries.get(number)  # type: ignore[call-overload]  # a plain int
        return primary is not None and primary.epoch == part.epoch and primary.may_execute

    def _can_be_served(self, part: Partition) -> bool:
        """Return whether a voter reaches a majority: while joint, a voter of both sets reaches both
        majorities."""
        common = [node for node in part.voters if not part.old_voters or node in part.old_voters]
        return any(
            self._lives(node)
            and quorum.won(part.voters, part.old_voters, [v for v in part.replicas if self._reach(node, v)])
            for node in common
        )

    def _lives(self, node: NodeId) -> bool:
        return node in self._world.nodes and self._world.nodes[node].alive

    def _reach(self, one: NodeId, other: NodeId) -> bool:
        world = self._world
        return self._lives(other) and not world.blocked(one, other) and not world.blocked(other, one)
