"""Messages that arrive late or twice: from a node that was given up, and from a backup that is asked
repeatedly.

Only some worlds have these faults (`has_stragglers`), and a mixture of the usual ones beside them.
"""

import itertools
from collections.abc import Callable
from functools import partial

from ringkeep.core.cluster.slots import partition_of
from ringkeep.core.protocol.client_requests import Kind, Request
from ringkeep.core.protocol.cluster_map import NodeState
from ringkeep.core.protocol.types import NodeId
from ringkeep.sim.clients import Clients
from ringkeep.sim.faults.membership import MembershipFaults
from ringkeep.sim.faults.period import FaultPeriod
from ringkeep.sim.faults.triggers import Triggers
from ringkeep.sim.world.machine import SimMachine
from ringkeep.sim.world.world import World

LOOK_MS = 50
GIVEN_UP_MS = 4_000
"""An operator's order to give a silent node up is carried out within this time, or was refused."""
FORGOTTEN_MS = 300
"""Within this time after that map its primaries have forgotten the node's requests."""
WRITES = 3


class StragglerFaults:
    """Faults of worlds in which much arrives late, or twice."""

    def __init__(
        self,
        world: World,
        period: FaultPeriod,
        triggers: Triggers,
        clients: Clients,
        membership: MembershipFaults,
    ) -> None:
        self._world = world
        self._period = period
        self._triggers = triggers
        self._clients = clients
        self._membership = membership
        self.kinds: list[tuple[int, Callable[[], None]]] = [
            (6, self._given_up_alive),
            (10, self._asked_again),
        ]

    def _given_up_alive(self) -> None:
        """A living node is cut off from all others, and given up. It does not learn that, and continues to
        accept requests. When it is heard again, they arrive, under epochs that are still current."""
        world = self._world
        node = self._membership.candidate()
        if node is None or not node.alive:
            return
        self._write(node)
        name, coordination = node.id, node.coordination
        others = [other for other in world.nodes if other != name]
        for other in others:
            world.block(name, other)
            world.block(other, name)
        coordination.disconnect()
        world.log(node, "is cut off from everybody, and will be given up")
        world.given_up[name] = world.events.now + GIVEN_UP_MS + FORGOTTEN_MS

        def mend() -> None:
            for other in others:
                world.unblock(name, other)
            world.log(node, "is heard again")
            self._period.later(100, 1_000, coordination.connect)

        def look(until: int) -> None:
            if self._period.over or node.id != name:
                return
            there = world.map.node(name) if world.map is not None else None
            if there is None or there.state == NodeState.DEAD:
                world.count("given_up_alive", node.alive)
                self._period.later(60, FORGOTTEN_MS, lambda: self._write(node))
                self._period.later(FORGOTTEN_MS, 2 * FORGOTTEN_MS, mend)
            elif world.events.now >= until:
                mend()
            else:
                world.events.after(LOOK_MS, lambda: look(until))

        self._period.later(1_300, 1_800, lambda: self._membership.order_given_up(node))
        world.events.after(LOOK_MS, lambda: look(world.events.now + GIVEN_UP_MS))

    def _write(self, node: SimMachine) -> None:
        for _ in range(WRITES):
            self._clients.ask(node, "put", self._world.random.choice(self._clients.keys))

    def _asked_again(self) -> None:
        """In each partition, the primary's link to each backup breaks, and breaks again just as the backup
        reports its position. Writes continue, so the entries sent after the answer and the next question
        arrive at once."""
        world = self._world
        if world.map is None:
            return
        for number, part in enumerate(world.map.partitions):
            key = _other_key(number, world.partitions)
            primary = world.nodes.get(part.primary)
            if primary is None:
                continue
            for backup in [v for v in part.voters if v != part.primary and v in world.nodes]:
                world.log(primary, f"asks {world.nodes[backup].name} twice where its log ends")
                ask = partial(self._ask, primary, backup, key)
                ask()
                self._triggers.when_promised[backup] = partial(self._soon, ask)

    def _soon(self, call: Callable[[], None]) -> None:
        self._world.events.after(self._world.draw(0, 1), call)

    def _ask(self, primary: SimMachine, backup: NodeId, key: bytes) -> None:
        """Break a primary's link to a backup, and make it have something to send."""
        if self._period.over or not primary.alive:
            return
        for _ in range(WRITES):
            self._world.submit(primary, Request(Kind.PUT, key, b"again"))
        primary.network.reset(backup)


def _other_key(number: int, partitions: int) -> bytes:
    """Return a key of this partition that no history contains."""
    names = (b"again %d" % each for each in itertools.count())
    return next(name for name in names if partition_of(name, partitions) == number)
