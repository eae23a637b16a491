"""Schedules all faults at random from the world's seed, and ends them."""

from collections.abc import Callable

from ringkeep.sim.checks.invariants import Invariants
from ringkeep.sim.clients import Clients
from ringkeep.sim.faults.coordination import CoordinationFaults
from ringkeep.sim.faults.crashes import Crashes
from ringkeep.sim.faults.disk_copies import CopyFaults
from ringkeep.sim.faults.machines import MachineFaults
from ringkeep.sim.faults.membership import MembershipFaults
from ringkeep.sim.faults.network import NetworkFaults
from ringkeep.sim.faults.period import FaultPeriod
from ringkeep.sim.faults.stragglers import StragglerFaults
from ringkeep.sim.faults.triggers import Triggers
from ringkeep.sim.faults.updates import Updates
from ringkeep.sim.faults.waiting_rooms import WaitingRoomFaults
from ringkeep.sim.world.machine import PLENTY
from ringkeep.sim.world.world import World

FAULT = "fault_"
"""Prefix of the counters of faults that occurred."""
MEAN_PAUSES_MS = (100, 250, 250, 600, 1_200, 2_000)
"""The time between two faults: short in some worlds, and long enough for progress in others."""
FEW = 3


class FaultSchedule:
    """Causes faults until `stop`, which undoes all of them. `kinds`: how likely each is. `struck`: the names
    of those that occurred.
    """

    def __init__(self, world: World, clients: Clients, invariants: Invariants) -> None:
        self._world = world
        self._period = period = FaultPeriod(world)
        self.crashes = crashes = Crashes(world, period)
        self._triggers = triggers = Triggers(world, crashes)
        world.watchers.append(triggers)
        self.struck: set[str] = set()
        self.membership = MembershipFaults(world, crashes)
        self._copies = CopyFaults(world, period, crashes, invariants)
        self.kinds: list[tuple[int, Callable[[], None]]] = [
            *MachineFaults(world, period, crashes, triggers, invariants).kinds,
            *NetworkFaults(world, period, triggers, crashes, clients).kinds,
            *CoordinationFaults(world, period).kinds,
            *self.membership.kinds,
            *self._copies.kinds,
        ]
        self._weights = self._swarm()
        more: list[tuple[int, Callable[[], None]]] = []
        if world.stragglers:
            more = StragglerFaults(world, period, triggers, clients, self.membership).kinds
        elif world.full_rooms:
            more = WaitingRoomFaults(world, period, triggers, clients, crashes).kinds
        self.kinds += more
        self._weights += [weight for weight, _ in more]
        self._pause_ms = world.random.choice(MEAN_PAUSES_MS)
        self.updates = Updates(world, period, crashes)
        self._soon()

    def _swarm(self) -> list[int]:
        """Choose how likely each kind is in this world. Some are left out, so that others coincide more
        often; some worlds have only a few.

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
        """Allow all kinds of fault from now on."""
        self._weights = [weight for weight, _ in self.kinds]
        self._pause_ms = min(self._pause_ms, 250)

    def stop(self) -> None:
        """Heal everything, and bring every node back."""
        self._period.over = True
        world = self._world
        self._triggers.clear()
        self._copies.end()
        world.heal()
        self.membership.settle()
        world.set_slowest()
        for node in list(world.nodes.values()):
            node.paused_until = min(node.paused_until, world.events.now)
            node.fsync_ms = (0, 2)
            node.free, node.hangs = PLENTY, False
            node.engine.stall_next(0)
            if node.alive:
                node.coordination.connect()
            else:
                self.crashes.restart(node)

    def _soon(self) -> None:
        self._world.events.after(self._world.random.randint(20, 2 * self._pause_ms), self._strike)

    def _strike(self) -> None:
        if self._period.over:
            return
        (_, fault) = self._world.random.choices(self.kinds, self._weights)[0]
        self._world.count(FAULT + fault.__name__.lstrip("_"))
        self.struck.add(fault.__name__)
        fault()
        self._soon()
