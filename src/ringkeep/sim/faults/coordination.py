"""Faults between nodes and ZooKeeper: lost sessions, connections, answers and registrations."""

from collections.abc import Callable

from ringkeep.sim.faults.period import FaultPeriod
from ringkeep.sim.world.world import World


class CoordinationFaults:
    """Faults of the coordination service, as the nodes see it."""

    def __init__(self, world: World, period: FaultPeriod) -> None:
        self._world = world
        self._period = period
        self.kinds: list[tuple[int, Callable[[], None]]] = [
            (2, self._expire_session),
            (2, self._lose_registration),
            (2, self._disconnect),
            (1, self._lose_answer),
        ]

    def _expire_session(self) -> None:
        node = self._world.some_machine()
        if node.alive:
            self._world.log(node, "loses its ZooKeeper session")
            node.coordination.expire()

    def _lose_registration(self) -> None:
        """Sessions end while their nodes cannot reach ZooKeeper and continue to run: most members', or
        one."""
        world = self._world
        nodes = [node for node in world.nodes.values() if node.alive]
        for node in nodes[1:] if world.random.random() < 0.5 else nodes[:1]:
            world.log(node, "loses ZooKeeper, and its registration")
            coordination = node.coordination
            coordination.disconnect(requests_arrive=world.random.random() < 0.5)
            self._period.later(100, 600, coordination.expire)
            self._period.later(1_000, 3_000, coordination.connect)

    def _disconnect(self) -> None:
        """Nobody, or one, reaches ZooKeeper for a while."""
        world = self._world
        nodes = [n for n in world.nodes.values() if n.alive]
        cut = nodes if world.random.random() < 0.3 else nodes[:1]
        for node in cut:
            node.coordination.disconnect(requests_arrive=world.random.random() < 0.5)
            world.log(node, "loses ZooKeeper")
            coordination = node.coordination
            if world.random.random() < 0.5:
                self._period.later(400, 1_500, coordination.time_out)
            self._period.later(100, 3_000, coordination.connect)

    def _lose_answer(self) -> None:
        node = self._world.some_machine()
        if node.alive:
            node.coordination.lose_next_answer()
