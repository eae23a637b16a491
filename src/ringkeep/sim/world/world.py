"""A cluster in one process: the real core behind the real driver, over simulated ports, from one seed.

The world owns the machines, and their cluster's map. Its methods change it; `faults/` decides which of them
happen, and when; `checks/` checks the results.
"""

from collections.abc import Callable

from ringkeep.coordination.memory import MemoryService
from ringkeep.core.cluster.cluster_settings import GRACE_MS
from ringkeep.core.cluster.replica_changes import targets, under_way
from ringkeep.core.protocol import limits, quorum
from ringkeep.core.protocol.client_requests import ListRequest, ReadGroup, Request
from ringkeep.core.protocol.cluster_map import ClusterMap, NodeState
from ringkeep.core.protocol.types import Millis, NodeId
from ringkeep.core.replication.departed_coordinators import coordinators_of
from ringkeep.ports import Ending
from ringkeep.sim.world.environment import Environment
from ringkeep.sim.world.machine import SIM_TICK_MS, SimMachine, Watcher
from ringkeep.sim.world.map_changes import lines_of, rare_steps
from ringkeep.status.cluster_health import Health
from ringkeep.wire import mapcodec


class WatchedService(MemoryService):
    """The coordination service; calls `on_map` for each map that was written."""

    def __init__(self, on_map: Callable[[ClusterMap], None]) -> None:
        super().__init__()
        self._on_map = on_map

    def _write_map(self, expected: int, payload: bytes) -> bool:
        written = super()._write_map(expected, payload)
        if written:
            self._on_map(mapcodec.decode(payload))
        return written


class World(Environment):
    """The machines of one world, and what all of them share.

    `nodes`: every machine that belongs to the cluster or is to join it, by the node id that it has now.
    `watchers`: informed of every event, in this order. `given_up`: nodes that an operator has ordered to give
    up, and until when the order may still take effect.
    """

    def __init__(
        self,
        seed: int,
        nodes: int = 3,
        partitions: int = 2,
        trace: Callable[[str], None] | None = None,
    ) -> None:
        super().__init__(seed, nodes, partitions, WatchedService(self._on_map), trace)
        self.watchers: list[Watcher] = []
        self.map: ClusterMap | None = None
        self.nodes: dict[NodeId, SimMachine] = {}
        self.given_up: dict[NodeId, Millis] = {}
        self._machines = 0
        for _ in range(nodes):
            self.add_machine()

    def add_machine(self) -> SimMachine:
        """Add a machine with an empty disk."""
        node = SimMachine(self, self.nodes, self.watchers, f"n{self._machines}", self._on_stop)
        self._machines += 1
        self.nodes[node.id] = node
        return node

    def start(self) -> None:
        """Start every node, and wait until the cluster serves."""
        for node in self.nodes.values():
            self.events.after(self.random.randint(0, 50), node.start)
            if self.seed % 4 == 2 and self.random.random() < 0.5:
                self.events.after(self.random.randint(60, 1_500), lambda node=node: self._restart(node))  # type: ignore[misc]
        for watcher in self.watchers:
            watcher.on_begin()
        assert self.events.run_until(self.healthy, 20_000), f"seed {self.seed}: the cluster did not form"

    def _restart(self, node: SimMachine) -> None:
        """Restart a node that crashed while the cluster forms."""
        if node.alive:
            self.count("restart_while_forming")
            self.lose(node, lambda count: count)
        self.events.after(self.random.randint(20, 500), node.start)

    # --- what happens to nodes ------------------------------------------------------------------------

    def lose(self, node: SimMachine, keep: Callable[[int], int]) -> None:
        """End a process; keep its counters."""
        for name, count in node.driver.node.context.counters.items():
            self.count(name, count)
        node.crash(keep)
        for watcher in self.watchers:
            watcher.on_lost(node)

    def _on_stop(self, node: SimMachine, ending: Ending) -> None:
        """A process ends itself: its disk failed, or its node is not in the cluster any more."""
        for watcher in self.watchers:
            watcher.on_stop(node, ending)
        if ending is not Ending.DISK:
            self.count("node_left" if ending is Ending.LEFT else "node_given_up")
            self.events.at(self.events.now, lambda: self._replace(node))

    def _replace(self, node: SimMachine) -> None:
        """A node has left, or was given up: its machine returns with an empty disk, as another node."""
        if not node.alive:
            return
        for name, count in node.driver.node.context.counters.items():
            self.count(name, count)
        node.leave()
        self._renew(node)

    def swap_disk(self, node: SimMachine) -> None:
        """Give a dead machine an empty disk, and start it as another node of the same name."""
        assert not node.alive, "a disk is swapped while nothing runs"
        self.count("disk_swapped")
        self._renew(node)

    def _renew(self, node: SimMachine) -> None:
        del self.nodes[node.id]
        node.wipe()
        self.nodes[node.id] = node
        self.events.after(self.random.randint(20, 1_000), node.start)

    def _on_map(self, after: ClusterMap) -> None:
        """The cluster has a new map."""
        before, self.map = self.map, after
        for watcher in self.watchers:
            watcher.on_map(before, after)
        if before is not None:
            self.counters.update(rare_steps(before, after))
        for line in lines_of(before, after) if self.traced else ():
            self.log(None, f"map {after.version}: {line}")

    # --- what is true of it ---------------------------------------------------------------------------

    def healthy(self) -> bool:
        """Whether every node is up and ready, every replica is where it should be, and every partition has an
        ACTIVE primary that all agree on."""
        cluster_map = self.map
        if cluster_map is None or len(cluster_map.nodes) < len(self.nodes):
            return False
        for node in self.nodes.values():
            if not node.alive or not node.driver.node.ready or node.driver.node.context.damaged:
                return False
            held = node.driver.node.context.cluster_map
            if held is None or held.version != cluster_map.version:
                return False
        for number, part in enumerate(cluster_map.partitions):
            leading = self.nodes.get(part.primary)
            if leading is None:
                return False
            primary = leading.driver.node.primaries.get(number)  # type: ignore[call-overload]  # a plain int
            if primary is None or primary.epoch != part.epoch or not primary.may_execute:
                return False
        return self._placed(cluster_map) and all(
            node.says() is Health.HEALTHY for node in self.nodes.values()
        )

    def _placed(self, cluster_map: ClusterMap) -> bool:
        if under_way(cluster_map.partitions):
            return False
        if any(node.state in (NodeState.JOINING, NodeState.LEAVING) for node in cluster_map.nodes):
            return False
        if any(
            set(v) != set(p.voters)
            for v, p in zip(targets(cluster_map, _nobody), cluster_map.partitions, strict=True)
        ):
            return False
        return all(
            node.id in cluster_map.partitions[number].voters
            for node in self.nodes.values()
            for number in node.driver.node.replicas
        )

    @property
    def at_rest(self) -> bool:
        """Whether every store holds what its core believes, and replicas have applied the same."""
        if not all(node.driver.at_rest for node in self.nodes.values()):
            return False
        applied: dict[int, int] = {}
        return all(
            applied.setdefault(number, replica.applied) == replica.applied
            for node in self.nodes.values()
            for number, replica in node.driver.node.replicas.items()
        )

    @property
    def tidy(self) -> bool:
        """Whether no replica keeps results of departed coordinators."""
        assert self.map is not None
        coordinators = coordinators_of(self.map)
        return all(
            replica.state.sessions.origins <= coordinators
            for node in self.nodes.values()
            for replica in node.driver.node.replicas.values()
        )

    def submit(self, node: SimMachine, request: Request) -> bool:
        """Submit a request to a node; False if it accepts none at present."""
        if not node.alive or not node.driver.serving or self.events.now < node.paused_until:
            return False
        node.driver.submit(request)
        return True

    def submit_reads(self, node: SimMachine, group: ReadGroup) -> bool:
        """Submit a request for many keys to a node; False if it accepts none at present."""
        if not node.alive or not node.driver.serving or self.events.now < node.paused_until:
            return False
        node.driver.submit_reads(group)
        return True

    def submit_listing(self, node: SimMachine, request: ListRequest) -> bool:
        """Submit a request for a page of keys to a node; False if it accepts none at present."""
        if not node.alive or not node.driver.serving or self.events.now < node.paused_until:
            return False
        node.driver.submit_listing(request)
        return True

    def survives_without(self, node: SimMachine) -> bool:
        """Whether every partition keeps a majority of voters, even if this node's data is lost
        permanently."""
        if self.map is None:
            return False
        lost = {each.id for each in self.map.nodes if each.state == NodeState.DEAD}
        lost.update(each.id for each in self.map.nodes if each.id not in self.nodes)
        if GRACE_MS in self.map.settings:  # a node that is down may be given up any moment
            lost.update(each.id for each in self.nodes.values() if not each.alive)
        lost.update(each for each, until in self.given_up.items() if self.events.now < until)
        lost.update(each.id for each in self.nodes.values() if each.lost or each is node)
        return all(
            quorum.won(part.voters, part.old_voters, [v for v in part.replicas if v not in lost])
            for part in self.map.partitions
        )

    def some_machine(self) -> SimMachine:
        """Return a random machine."""
        return self.random.choice(list(self.nodes.values()))

    def heal(self) -> None:
        """Unblock the whole network; connections that were blocked are reset."""
        for sender, receiver in self.unblock_all():
            node = self.nodes.get(sender)
            if node is not None and node.alive and self.random.random() < 0.5:
                node.network.reset(receiver)


def _nobody(_: NodeId) -> bool:
    return False


assert SIM_TICK_MS * 2 <= limits.HEARTBEAT_MS
