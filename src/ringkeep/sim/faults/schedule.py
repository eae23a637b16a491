"""Everything that goes wrong, at random, from the world's seed: what strikes when, and how it all ends."""

from collections.abc import Callable
from typing import TYPE_CHECKING

from ringkeep.sim.faults.coordination import ServiceFaults
from ringkeep.sim.faults.disk_copies import CopyFaults
from ringkeep.sim.faults.machines import MachineFaults
from ringkeep.sim.faults.membership import Membership
from ringkeep.sim.faults.network import NetworkFaults
from ringkeep.sim.world.machine import PLENTY

if TYPE_CHECKING:
    from ringkeep.sim.clients import Clients
    from ringkeep.sim.world.machine import SimMachine
    from ringkeep.sim.world.world import World

MEAN_PAUSES_MS = (100, 250, 250, 600, 1_200, 2_000)
"""How long it takes from one fault to the next: some worlds are rough, some have time to go on in between."""
FEW = 3


class Faults:
    """Causes faults until it is told to stop; then everything it did is undone.

    `kinds`: how likely each is. What they do is in the modules of machines, network, service and membership.
    """

    def __init__(self, world: "World", clients: "Clients") -> None:
        self._world = world
        self.clients = clients
        self.stopped = False
        self.struck: set[str] = set()
        self.machines = MachineFaults(world, self)
        self.membership = Membership(world, self)
        self.kinds: list[tuple[int, Callable[[], None]]] = [
            *self.machines.kinds,
            *NetworkFaults(world, self).kinds,
            *ServiceFaults(world, self).kinds,
            *self.membership.kinds,
            *CopyFaults(world, self).kinds,
        ]
        self._weights = self._swarm()
        self._pause_ms = world.random.choice(MEAN_PAUSES_MS)
        self._soon()

    def _swarm(self) -> list[int]:
        """Choose how likely each kind is in this world: some are left out, so that others meet more often; in
        some worlds a few are all there is.

        Source: swarm testing (Groce and others, ISSTA 2012).
        """
        random, everything = self._world.random, [weight for weight, _ in self.kinds]
        style = random.random()
        if style < 0.25:
            return everything
        if style < 0.6:
            few = random.sample(range(len(everything)), FEW)
            return [int(number in few) for number in range(len(everything))]
        chosen = [weight * random.choice((0, 0, 1, 1, 4)) for weight in everything]
        return chosen if sum(map(bool, chosen)) >= FEW else everything

    def all_kinds(self) -> None:
        """Let everything happen from now on."""
        self._weights = [weight for weight, _ in self.kinds]
        self._pause_ms = min(self._pause_ms, 250)

    def stop(self) -> None:
        """Heal everything, and bring every node back."""
        self.stopped = True
        world = self._world
        world.traps.clear()
        for twin in world.twins:
            twin.end()
        world.heal()
        self.membership.settle()
        world.reasons.everywhere()
        world.slowest_ms = 4
        for node in list(world.nodes.values()):
            node.paused_until = min(node.paused_until, world.events.now)
            node.fsync_ms = (0, 2)
            node.free, node.hangs = PLENTY, False
            node.engine.stall_next(0)
            if node.alive:
                node.coordination.connect()
            else:
                self.machines.restart(node)

    def _soon(self) -> None:
        self._world.events.after(self._world.random.randint(20, 2 * self._pause_ms), self._strike)

    def _strike(self) -> None:
        if self.stopped:
            return
        (_, fault) = self._world.random.choices(self.kinds, self._weights)[0]
        self._world.count(f"fault{fault.__name__}")
        self.struck.add(fault.__name__)
        fault()
        self._soon()

    def any(self) -> "SimMachine":
        """Return some machine."""
        return self._world.random.choice(list(self._world.nodes.values()))

    def later(self, low: int, high: int, call: Callable[[], None]) -> None:
        """Do the second half of a fault, unless all has been healed by then."""

        def strike_again() -> None:
            if not self.stopped:
                call()

        self._world.events.after(self._world.random.randint(low, high), strike_again)
