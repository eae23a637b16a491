"""Everything that goes wrong, at random, from the world's seed."""

from collections.abc import Callable
from typing import TYPE_CHECKING

from ringkeep.core.requests import Kind, Request
from ringkeep.core.slots import partition_of

if TYPE_CHECKING:
    from ringkeep.sim.world import SimNode, World

MEAN_PAUSE_MS = 250
BURST = 30  # writes: more than a log window of the simulator holds after them
BURST_KEY = b"burst"


class Faults:
    """Causes faults until it is told to stop; then everything it did is undone."""

    def __init__(self, world: "World") -> None:
        self._world = world
        self._stopped = False
        self.struck: set[str] = set()
        self.kinds: list[tuple[int, Callable[[], None]]] = [
            (5, self._crash),
            (1, self._crash_all),
            (4, self._partition),
            (3, self._one_way),
            (4, self._reset),
            (3, self._pause),
            (2, self._slow_disk),
            (2, self._stall),
            (2, self._expire_session),
            (2, self._disconnect),
            (1, self._lose_answer),
            (2, self._slow_network),
            (1, self._clock_rate),
            (3, self._old_primary_returns),
            (3, self._burst),
        ]
        self._weights = [weight for weight, _ in self.kinds]
        self._soon()

    def stop(self) -> None:
        """Heal everything, and bring every node back."""
        self._stopped = True
        world = self._world
        world.heal()
        world.slowest_ms = 4
        for node in world.nodes.values():
            node.paused_until = min(node.paused_until, world.events.now)
            node.fsync_ms = (0, 2)
            if node.alive:
                node.coordination.connect()
            else:
                self._restart(node)

    def _soon(self) -> None:
        self._world.events.after(self._world.random.randint(20, 2 * MEAN_PAUSE_MS), self._strike)

    def _strike(self) -> None:
        if self._stopped:
            return
        (_, fault) = self._world.random.choices(self.kinds, self._weights)[0]
        self._world.count(f"fault{fault.__name__}")
        self.struck.add(fault.__name__)
        fault()
        self._soon()

    def _any(self) -> "SimNode":
        return self._world.random.choice(list(self._world.nodes.values()))

    def _later(self, low: int, high: int, call: Callable[[], None]) -> None:
        """Do the second half of a fault, unless all has been healed by then."""

        def strike_again() -> None:
            if not self._stopped:
                call()

        self._world.events.after(self._world.random.randint(low, high), strike_again)

    # --- processes and disks --------------------------------------------------------------------------

    def _crash(self) -> None:
        self._crash_node(self._any())

    def _crash_all(self) -> None:
        for node in self._world.nodes.values():
            self._crash_node(node)

    def _crash_node(self, node: "SimNode") -> None:
        """A killed process keeps what it wrote; a power loss keeps any prefix of what was not synced."""
        if not node.alive:
            return
        world = self._world
        worst = world.random.random() < 0.5
        for name, count in node.driver.node.context.counters.items():
            world.count(name, count)
        node.crash(lambda count: world.random.randint(0, count) if worst else count)
        world.invariants.forget_promises(node)
        world.log(node, "crashes, unsynced writes lost" if worst else "is killed")
        self._later(20, 1_500, lambda: self._restart(node))

    def _restart(self, node: "SimNode") -> None:
        if not node.alive:
            self._world.log(node, "starts")
            node.start()

    def _pause(self) -> None:
        node = self._any()
        node.paused_until = self._world.events.now + self._world.random.randint(50, 2_500)
        self._world.log(node, f"pauses until {node.paused_until}")

    def _slow_disk(self) -> None:
        node = self._any()
        node.fsync_ms = (20, 200)

        def recover() -> None:
            node.fsync_ms = (0, 2)

        self._later(100, 1_000, recover)

    def _stall(self) -> None:
        node = self._any()
        if node.alive:
            node.engine.stall_next(self._world.random.randint(1, 20), shown=self._world.random.random() < 0.5)

    def _clock_rate(self) -> None:
        """Clocks run apart; a running process's own goes on from where it is, so only a start changes it."""
        node = self._any()
        if not node.alive:
            node.clock_rate = self._world.random.choice((0.8, 1.0, 1.2))

    # --- the network ----------------------------------------------------------------------------------

    def _partition(self) -> None:
        """Cut one node off, or one pair of nodes from each other."""
        world = self._world
        node = self._any()
        others = [other for other in world.nodes.values() if other is not node]
        cut = others if world.random.random() < 0.5 else [world.random.choice(others)]
        for other in cut:
            world.block(node.id, other.id)
            world.block(other.id, node.id)
        world.log(node, f"is cut off from {', '.join(other.name for other in cut)}")
        self._later(100, 3_000, self._heal)

    def _one_way(self) -> None:
        node, other = self._world.random.sample(list(self._world.nodes.values()), 2)
        self._world.block(node.id, other.id)
        self._world.log(node, f"reaches {other.name} no more, one way")
        self._later(100, 3_000, self._heal)

    def _heal(self) -> None:
        self._world.log(None, "the network heals")
        self._world.heal()

    def _reset(self) -> None:
        node, other = self._world.random.sample(list(self._world.nodes.values()), 2)
        if node.alive:
            self._world.log(node, f"loses its connection to {other.name}")
            node.network.reset(other.id)

    def _slow_network(self) -> None:
        world = self._world
        world.slowest_ms = world.random.choice((20, 100, 300))

        def recover() -> None:
            world.slowest_ms = 4

        self._later(200, 1_000, recover)

    def _old_primary_returns(self) -> None:
        """A primary is cut off with writes under way; when it has been replaced, a voter crashes, and the
        first that this voter hears of after its restart is the old primary: only its promise keeps it from
        following."""
        world = self._world
        node = next((n for n in world.nodes.values() if n.alive and n.driver.serving), None)
        if node is None:
            return
        found = node.driver.node.context.cluster_map
        assert found is not None
        part = world.random.choice(found.partitions)
        old, others = world.nodes[part.primary], [world.nodes[n] for n in part.voters if n != part.primary]
        for other in world.nodes.values():
            if other is not old:
                world.block(old.id, other.id)
                world.block(other.id, old.id)
        if old.alive:
            old.coordination.disconnect()
        world.log(old, "is cut off from everybody, and will be heard again by one")
        voter = world.random.choice(others)

        def meet() -> None:
            self._crash_node(voter)
            world.unblock(old.id, voter.id)
            self._later(20, 100, lambda: self._restart(voter))

        self._later(1_200, 2_500, meet)
        self._later(2_600, 4_000, self._heal)
        coordination = old.coordination
        self._later(2_600, 4_000, coordination.connect)

    def _burst(self) -> None:
        """A backup with a slow disk gets a new connection, and is asked twice where its log ends; before it
        has said so again, a burst of writes moves the primary's log window on."""
        world = self._world
        node = next((n for n in world.nodes.values() if n.alive and n.driver.serving), None)
        if node is None:
            return
        found = node.driver.node.context.cluster_map
        assert found is not None
        number = partition_of(BURST_KEY, len(found.partitions))
        part = found.partitions[number]
        primary = world.nodes[part.primary]
        backup = world.nodes[world.random.choice([n for n in part.voters if n != part.primary])]
        if not primary.alive:
            return
        backup.fsync_ms = (150, 400)
        primary.network.reset(backup.id)
        world.log(primary, f"loses its connection to {backup.name}, whose disk is slow, before many writes")

        def write() -> None:
            for _ in range(BURST):
                world.submit(primary, Request(Kind.PUT, BURST_KEY, b"burst"))

        def recover() -> None:
            backup.fsync_ms = (0, 2)

        self._later(300, 800, write)
        self._later(1_000, 1_200, recover)

    # --- coordination ---------------------------------------------------------------------------------

    def _expire_session(self) -> None:
        node = self._any()
        if node.alive:
            self._world.log(node, "loses its ZooKeeper session")
            node.coordination.expire()

    def _disconnect(self) -> None:
        """Nobody, or one, reaches ZooKeeper for a while."""
        world = self._world
        nodes = [n for n in world.nodes.values() if n.alive]
        cut = nodes if world.random.random() < 0.3 else nodes[:1]
        for node in cut:
            node.coordination.disconnect()
            world.log(node, "loses ZooKeeper")
            coordination = node.coordination
            if world.random.random() < 0.5:
                self._later(400, 1_500, coordination.time_out)
            self._later(100, 3_000, coordination.connect)

    def _lose_answer(self) -> None:
        node = self._any()
        if node.alive:
            node.coordination.lose_next_answer()
