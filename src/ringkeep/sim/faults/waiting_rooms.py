"""Takeovers that take long, with full waiting rooms at the new primary, and links to it that break meanwhile.

Only some worlds have this fault (`has_full_rooms`), and a mixture of the usual ones beside it. In them one
request may wait for its primary. A second copy of it, sent over a new link, then finds the room full: of
itself.
"""

from collections.abc import Callable
from typing import Final

from ringkeep.core.cluster.slots import partition_of
from ringkeep.core.protocol.types import NodeId
from ringkeep.sim.clients import Clients
from ringkeep.sim.faults.crashes import Crashes
from ringkeep.sim.faults.period import FaultPeriod
from ringkeep.sim.faults.triggers import Triggers
from ringkeep.sim.world.machine import SimMachine
from ringkeep.sim.world.world import World

ASKED_MS: Final = (20, 150)
"""When requests come after a takeover began: the map must have reached their coordinators."""
BROKEN_MS: Final = (160, 350)
OVER_MS: Final = (450, 700)
"""When the new primary hears its voters: before they suspect it."""
READ_MS: Final = 100


class WaitingRoomFaults:
    """Faults of worlds in which requests wait for their primaries, one at a time."""

    def __init__(
        self, world: World, period: FaultPeriod, triggers: Triggers, clients: Clients, crashes: Crashes
    ) -> None:
        self._world = world
        self._period = period
        self._triggers = triggers
        self._clients = clients
        self._crashes = crashes
        self.kinds: list[tuple[int, Callable[[], None]]] = [(12, self._long_takeover)]

    def _long_takeover(self) -> None:
        """A primary ends. Its successor and the other voters do not reach each other for a while; the other
        nodes reach it, send requests, lose their links to it, and send them again."""
        world, clients = self._world, self._clients
        if world.map is None:
            return
        key = world.random.choice(clients.keys)
        number = partition_of(key, world.partitions)
        primary = world.nodes.get(world.map.partitions[number].primary)
        if primary is None or not primary.alive:
            return

        def led(successor: NodeId) -> bool:
            node = world.nodes.get(successor)
            if node is not None and not self._period.over:
                self._lengthen(node, number, key)
            return False

        self._triggers.when_led[number] = led
        world.log(primary, f"is about to be replaced as the primary of partition {number}")
        self._crashes.crash(primary)

    def _lengthen(self, primary: SimMachine, number: int, key: bytes) -> None:
        """Cut a new primary off from the other voters, and have the others send requests, twice."""
        world, clients, name = self._world, self._clients, primary.id
        assert world.map is not None, "a takeover is a change of the map"
        voters = [node for node in world.map.partitions[number].voters if node != name]
        others = [node for each, node in world.nodes.items() if each not in (name, *voters)]
        if not others:
            return
        for voter in voters:
            world.block(name, voter)
            world.block(voter, name)
        world.log(primary, "and the other voters lose each other as it takes office")

        def ask(kind: str) -> None:
            for node in others:
                clients.ask(node, kind, key)

        def breaks() -> None:
            for node in others:
                if node.alive:
                    node.network.reset(name)
            world.count("asked_through_another_link")

        def mend() -> None:
            for voter in voters:
                world.unblock(name, voter)
                if primary.alive:
                    primary.network.reset(voter)
            self._period.later(READ_MS, 2 * READ_MS, lambda: ask("get"))

        self._period.later(*ASKED_MS, lambda: ask("put"))
        self._period.later(*BROKEN_MS, breaks)
        self._period.later(*OVER_MS, mend)
