"""Network faults: of single links, of one direction, of the whole network, some at chosen moments."""

from collections.abc import Callable
from functools import partial

from ringkeep.core.cluster.slots import partition_of
from ringkeep.core.protocol.client_requests import Kind, Request
from ringkeep.core.protocol.types import NodeId
from ringkeep.sim.clients import Clients
from ringkeep.sim.faults.crashes import Crashes
from ringkeep.sim.faults.period import FaultPeriod
from ringkeep.sim.faults.triggers import Triggers
from ringkeep.sim.world.world import World

BURST = 30  # writes: more than a log window of the simulator holds after them
BURST_KEY = b"burst"


class NetworkFaults:
    """Faults between machines."""

    def __init__(
        self,
        world: World,
        period: FaultPeriod,
        triggers: Triggers,
        crashes: Crashes,
        clients: Clients,
    ) -> None:
        self._world = world
        self._period = period
        self._triggers = triggers
        self._crashes = crashes
        self._clients = clients
        self.kinds: list[tuple[int, Callable[[], None]]] = [
            (4, self._partition),
            (3, self._partial),
            (3, self._one_way),
            (3, self._reset),
            (2, self._slow_network),
            (3, self._old_primary_returns),
            (3, self._deaf_primary),
            (5, self._burst),
            (3, self._take_turns),
        ]

    def _partition(self) -> None:
        """Cut one node off, or one pair of nodes from each other."""
        world = self._world
        node = self._world.some_machine()
        others = [other for other in world.nodes.values() if other is not node]
        cut = others if world.random.random() < 0.5 else [world.random.choice(others)]
        for other in cut:
            world.block(node.id, other.id)
            world.block(other.id, node.id)
        world.log(node, f"is cut off from {', '.join(other.name for other in cut)}")
        self._period.later(100, 3_000, self._heal)

    def _partial(self) -> None:
        """Cut a primary off from one of its voters for a while; all other nodes reach both."""
        world = self._world
        if world.map is None:
            return
        part = world.random.choice(world.map.partitions)
        other = world.random.choice(part.voters)
        if other != part.primary and {other, part.primary} <= world.nodes.keys():
            world.block(other, part.primary)
            world.block(part.primary, other)
            world.log(world.nodes[part.primary], f"and {world.nodes[other].name} lose each other")
            self._period.later(1_500, 4_000, self._heal)

    def _one_way(self) -> None:
        node, other = self._world.random.sample(list(self._world.nodes.values()), 2)
        self._world.block(node.id, other.id)
        self._world.log(node, f"reaches {other.name} no more, one way")
        self._period.later(100, 3_000, self._heal)

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
        world.set_slowest(world.random.choice((20, 100, 300)))
        self._period.later(200, 1_000, world.set_slowest)

    def _old_primary_returns(self) -> None:
        """A primary is cut off with writes in flight. When it has been replaced, a voter crashes, and after
        its restart hears from the old primary first: only its promise keeps it from following."""
        world = self._world
        node = next((n for n in world.nodes.values() if n.alive and n.driver.serving), None)
        if node is None:
            return
        cluster_map = node.driver.node.context.cluster_map
        assert cluster_map is not None
        part = world.random.choice(cluster_map.partitions)
        if len(part.voters) == 1 or not all(voter in world.nodes for voter in part.voters):
            return
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
            self._crashes.crash(voter)
            world.unblock(old.id, voter.id)
            self._period.later(20, 100, lambda: self._crashes.restart(voter))

        self._period.later(1_200, 2_500, meet)
        self._period.later(2_600, 4_000, self._heal)
        coordination = old.coordination
        self._period.later(2_600, 4_000, coordination.connect)

    def _take_turns(self) -> None:
        """No node hears a partition's primary any more; then the same for its successor, just after the
        takeover, while the first is heard again; and so on. So each has entries that the others lack.

        Source: Raft (USENIX ATC 2014), figure 8.
        """
        world = self._world
        if world.map is None:
            return
        number, clients = world.random.randrange(world.partitions), self._clients
        muted: list[NodeId] = []
        turns = world.random.randint(2, 4)

        def mute(node: NodeId) -> None:
            speak()
            if self._period.over or node not in world.nodes:
                return
            for other in [other for other in world.nodes if other != node]:
                world.block(node, other)
            muted.append(node)
            world.log(world.nodes[node], f"is heard by nobody, as the primary of partition {number}")
            for _ in range(3):
                clients.ask(world.nodes[node], "put", world.random.choice(clients.keys))

        def speak() -> None:
            for node in muted:
                for other in world.nodes:
                    world.unblock(node, other)
            muted.clear()

        def on_primary(node: NodeId) -> bool:
            if node in muted or len(turned) >= turns or self._period.over:
                speak()
            if len(turned) >= turns or self._period.over:
                return False
            turned.append(node)
            pieces = world.random.randint(1, 3)
            self._triggers.when_appended[node, number] = pieces, partial(mute, node)
            return True

        turned: list[NodeId] = []
        mute(world.map.partitions[number].primary)
        self._triggers.when_led[number] = on_primary
        self._period.later(5_000, 8_000, speak)

    def _deaf_primary(self) -> None:
        """A primary hears no node until it has been replaced, and then, all at once, what was sent before:
        echoes of rounds that began before the takeover. It reaches ZooKeeper even later."""
        world, clients = self._world, self._clients
        if world.map is None:
            return
        number = world.random.randrange(world.partitions)
        primary = world.nodes.get(world.map.partitions[number].primary)
        if primary is None or not primary.alive:
            return
        others = [other for other in world.nodes.values() if other is not primary]
        keys = [key for key in clients.keys if partition_of(key, world.partitions) == number] or clients.keys
        for other in others:
            world.block(other.id, primary.id)
        primary.coordination.disconnect()
        if world.random.random() < 0.5:  # it notices late, and they notice early
            primary.set_rate(0.8)
            for other in others:
                other.set_rate(1.2)
        world.log(primary, "hears nobody")
        talking = [True]

        def hear() -> None:
            talking[0] = False
            for other in others:
                world.unblock(other.id, primary.id)

        def talk() -> None:
            if not self._period.over and talking[0]:
                key = world.random.choice(keys)
                clients.ask(primary, "get", key)
                clients.ask(world.random.choice(others), "put", key)
                world.events.after(world.draw(4, 25), talk)

        def replaced(_: NodeId) -> bool:
            world.events.after(world.draw(20, 250), hear)
            return False

        self._triggers.when_led[number] = replaced
        world.events.after(700, talk)
        self._period.later(1_600, 1_800, hear)
        coordination = primary.coordination
        self._period.later(1_800, 2_500, coordination.connect)

    def _burst(self) -> None:
        """A backup with a slow disk gets a new connection, and is asked for its position twice. As it answers
        the first time, a burst of writes moves the primary's log window."""
        world = self._world
        node = next((n for n in world.nodes.values() if n.alive and n.driver.serving), None)
        if node is None:
            return
        cluster_map = node.driver.node.context.cluster_map
        assert cluster_map is not None
        part = cluster_map.partitions[partition_of(BURST_KEY, len(cluster_map.partitions))]
        if len(part.voters) == 1 or not all(voter in world.nodes for voter in part.voters):
            return
        primary = world.nodes[part.primary]
        backup = world.nodes[world.random.choice([n for n in part.voters if n != part.primary])]
        if not primary.alive:
            return
        slow_ms = world.random.randint(350, 450)
        backup.fsync_ms = (slow_ms, slow_ms)
        primary.network.reset(backup.id)
        world.log(primary, f"loses its connection to {backup.name}, whose disk is slow, before many writes")

        def write() -> None:
            for _ in range(BURST):
                world.submit(primary, Request(Kind.PUT, BURST_KEY, b"burst"))

        def promised() -> None:
            world.events.after(world.random.randint(0, 6), write)

        def quicken() -> None:
            backup.fsync_ms = (8, 25)  # so that the second answer comes a little after the first

        def recover() -> None:
            backup.fsync_ms = (0, 2)

        self._triggers.when_promised[backup.id] = promised
        self._period.later(250, 340, quicken)
        self._period.later(700, 1_000, recover)
