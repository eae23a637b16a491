"""Nodes that join, leave, and are given up, while all other faults occur too."""

from collections.abc import Callable

from ringkeep.core.cluster.cluster_settings import CANCELLED, GRACE_MS, MOVES, PAUSED, REPLICATION, RUNNING
from ringkeep.core.cluster.orders import Verb, is_done
from ringkeep.core.cluster.replica_changes import holds_data
from ringkeep.core.protocol import limits
from ringkeep.core.protocol.types import Millis
from ringkeep.sim.faults.crashes import Crashes
from ringkeep.sim.world.drawn_bounds import draw_settings
from ringkeep.sim.world.environment import has_operations
from ringkeep.sim.world.machine import SimMachine
from ringkeep.sim.world.world import World

MOST_NODES = 6
SAY_AGAIN_MS = 500


class MembershipFaults:
    """Operators' actions: add machines, decommission nodes, give up lost ones."""

    def __init__(self, world: World, crashes: Crashes) -> None:
        self._world = world
        self._crashes = crashes
        self._undrained_at: dict[str, Millis] = {}
        self.kinds: list[tuple[int, Callable[[], None]]] = [
            (3, self._join),
            (3, self._leave),
            (2, self._give_up),
            (2, self._swap_disk),
            (2, self._drain),
            (1, self._weigh),
            (1, self._replicate),
            (1, self._hold),
            (1, self._shorten_grace),
        ]
        for name, value in draw_settings(world.seed, has_operations(world.seed)).items():
            self._set(name, value)

    def settle(self, until: Millis = 0) -> None:
        """End temporary changes, repeatedly: orders get lost, and older ones arrive late."""
        until = until or self._world.events.now + limits.ORDER_MS + SAY_AGAIN_MS
        cluster_map = self._world.map
        wanted = ((MOVES, Verb.SET, RUNNING), (REPLICATION, Verb.SET, self._world.replication))
        undone = [order for order in wanted if cluster_map is not None and not is_done(order, cluster_map)]
        for name, _, value in undone:
            self._set(name, value)
        if self._world.events.now < until:
            self._world.events.after(SAY_AGAIN_MS, lambda: self.settle(until))

    def _join(self) -> None:
        """Add a machine, whose process asks to join."""
        world = self._world
        if len(world.nodes) < MOST_NODES:
            node = world.add_machine()
            world.log(node, "is a new machine")
            world.events.after(world.random.randint(0, 50), node.start)

    def _leave(self) -> None:
        """Decommission a node, which then stops; its machine returns as another node."""
        node = self.candidate()
        if node is not None:
            self._order(node, Verb.DECOMMISSION)

    def _give_up(self) -> None:
        """A node is lost, and an operator gives it up; when its machine is back, it learns that, and starts
        as a new node."""
        node = self.candidate()
        if node is not None:
            self._crashes.crash(node)
            self.order_given_up(node)

    def order_given_up(self, node: SimMachine) -> None:
        """Order, through another node, that this one is given up."""
        self._world.given_up[node.id] = self._world.events.now + limits.ORDER_MS + 1_000
        self._order(node, Verb.GIVE_UP)

    def _swap_disk(self) -> None:
        """A machine fails and comes back under its name with an empty disk: another node."""
        node = self.candidate()
        if node is not None:
            self._crashes.crash(node)
            self._world.log(node, "has its disk swapped")
            self._world.swap_disk(node)

    def _drain(self) -> None:
        """Drain a node for a while."""
        world = self._world
        if world.map is not None:
            node = world.nodes.get(world.random.choice(world.map.nodes).id)
            if node is not None:
                self._order(node, Verb.DRAIN)
                lasts_ms = world.random.randint(500, 8_000)
                self._undrained_at[node.name] = world.events.now + lasts_ms
                world.events.after(lasts_ms, lambda: self._order(node, Verb.UNDRAIN))

    def _weigh(self) -> None:
        """Change a node's weight."""
        world = self._world
        if world.map is not None:
            node = world.nodes.get(world.random.choice(world.map.nodes).id)
            if node is not None:
                self._order(node, Verb.WEIGHT, world.random.randint(1, 3))

    def _replicate(self) -> None:
        """Raise the number of copies for a while, if there are enough nodes."""
        world = self._world
        if world.map is not None and world.map.replication == world.replication:
            self._set(REPLICATION, world.replication + 2)
            world.events.after(
                world.random.randint(2_000, 10_000), lambda: self._set(REPLICATION, world.replication)
            )

    def _hold(self) -> None:
        """Pause or cancel moves for a while."""
        world = self._world
        self._set(MOVES, world.random.choice((PAUSED, CANCELLED)))
        world.events.after(world.random.randint(200, 4_000), lambda: self._set(MOVES, RUNNING))

    def _shorten_grace(self) -> None:
        """Give silent nodes up soon, from now on."""
        self._set(GRACE_MS, self._world.random.choice((1_000, 2_000, 5_000)))

    def will_undrain(self, node: SimMachine) -> bool:
        """Tell whether an order is still to come that ends a drain of this machine; it would undo others."""
        return self._undrained_at.get(node.name, 0) >= self._world.events.now

    def candidate(self) -> SimMachine | None:
        """Return a node that the cluster can lose, or None."""
        world = self._world
        if world.map is None:
            return None
        staying = [node.id for node in world.map.nodes if holds_data(node.state)]
        up = [node for node in staying if node in world.nodes and world.nodes[node].alive]
        if len(staying) <= world.replication or len(up) < len(staying):
            return None
        node = world.nodes[world.random.choice(staying)]
        return node if world.survives_without(node) else None

    def _order(self, node: SimMachine, verb: Verb, number: int = 0) -> None:
        others = [other for other in self._world.nodes.values() if other is not node and other.alive]
        if others:
            self._world.log(node, f"is ordered: {verb} {number or ''}".rstrip())
            self._world.random.choice(others).driver.node.controller.order((node.id, verb, number))

    def _set(self, name: str, value: int) -> None:
        alive = [node for node in self._world.nodes.values() if node.alive]
        if alive:
            self._world.log(None, f"{name} is set to {value}")
            self._world.random.choice(alive).driver.node.controller.order((name, Verb.SET, value))
