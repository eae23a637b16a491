"""A cluster in one process: the real core behind the real driver, over simulated ports, from one seed.

The world owns time, the machines, the network and the coordination service. Faults are its methods; who calls
them, and when, is `faults.py`.
"""

from collections import Counter
from collections.abc import Callable
from random import Random

from ringkeep.coordination.memory import MemoryService
from ringkeep.core.cluster.cluster_settings import GRACE_MS
from ringkeep.core.cluster.replica_changes import targets, under_way
from ringkeep.core.control.cluster_health import Health
from ringkeep.core.protocol import limits, quorum
from ringkeep.core.protocol.client_requests import Request
from ringkeep.core.protocol.cluster_map import ClusterMap, NodeState
from ringkeep.core.protocol.types import Millis, NodeId
from ringkeep.core.replication.departed_coordinators import coordinators_of
from ringkeep.ports import Ending
from ringkeep.sim.checks.failover_reasons import Reasons
from ringkeep.sim.checks.health_claims import Claims
from ringkeep.sim.checks.invariants import Invariants, Violated
from ringkeep.sim.checks.map_rules import illegal
from ringkeep.sim.faults.copy_process import Twin
from ringkeep.sim.faults.triggers import Traps
from ringkeep.sim.world import drawn_bounds
from ringkeep.sim.world.events import Events
from ringkeep.sim.world.machine import SIM_TICK_MS, SimMachine
from ringkeep.wire import mapcodec

LOOK_MS = 250


class WatchedService(MemoryService):
    """The coordination service; every map that is written is held against the one before."""

    def __init__(self, world: "World") -> None:
        super().__init__()
        self._world = world

    def _write_map(self, expected: int, payload: bytes) -> bool:
        before = self.map
        if not super()._write_map(expected, payload):
            return False
        after = mapcodec.decode(payload)
        if before is not None:
            reason = illegal(mapcodec.decode(before), after)
            if reason:
                raise Violated(f"{self._world.events.now} map {after.version}: 7. {reason}")
        self._world.on_map(after)
        return True


class World:
    """Everything, from one seed. The same seed gives the same run, whatever PYTHONHASHSEED is.

    `nodes`: every machine that belongs to the cluster or is to join it, by the node id that it has now.
    """

    def __init__(
        self,
        seed: int,
        nodes: int = 3,
        partitions: int = 2,
        replication: int = 3,
        trace: Callable[[str], None] | None = None,
    ) -> None:
        self.seed = seed
        self.random = Random(seed)
        self._uniform = self.random.random
        self.events = Events()
        self.partitions = partitions
        self.replication = replication
        self.expect = nodes
        self.service = WatchedService(self)
        self.invariants = Invariants(self)
        self.claims = Claims(self)
        self.traps = Traps(self)
        self.reasons = Reasons(self)
        self._trace = trace
        self.traced = trace is not None
        self._blocked: set[tuple[NodeId, NodeId]] = set()
        self._identities = 0
        self._proposer = ""
        self.slowest_ms = 4
        self.bounds = drawn_bounds.draw(seed)
        self.in_bytes = seed % 8 == 3
        """Whether messages pass through the codec on their way."""
        self.map: ClusterMap | None = None
        self.nodes: dict[NodeId, SimMachine] = {}
        self.twins: list[Twin] = []
        self.given_up: dict[NodeId, Millis] = {}
        """Nodes of which an operator has said that they are lost, and until when that may yet be acted upon.
        """
        self.counters: Counter[str] = Counter()
        self._machines = 0
        for _ in range(nodes):
            self.add_machine()

    def new_id(self) -> NodeId:
        """Return a node id that nobody had before."""
        self._identities += 1
        return NodeId(f"{self._identities:08x}{0:024x}")

    def add_machine(self) -> SimMachine:
        """Put up one more machine, with an empty disk."""
        node = SimMachine(self, f"n{self._machines}")
        self._machines += 1
        self.nodes[node.id] = node
        return node

    def start(self) -> None:
        """Start every node, and wait until the cluster serves."""
        for node in self.nodes.values():
            self.events.after(self.random.randint(0, 50), node.start)
            if self.seed % 4 == 2 and self.random.random() < 0.5:
                self.events.after(self.random.randint(60, 1_500), lambda node=node: self._restart(node))  # type: ignore[misc]
        self.events.after(0, self.claims.start)
        self._look_for_lingering()
        assert self.events.run_until(self.healthy, 20_000), f"seed {self.seed}: the cluster did not form"

    def _restart(self, node: SimMachine) -> None:
        """Forming meets crashes too."""
        if node.alive:
            self.count("restart_while_forming")
            self.lose(node, lambda count: count)
        self.events.after(self.random.randint(20, 500), node.start)

    # --- what happens to nodes ------------------------------------------------------------------------

    def lose(self, node: SimMachine, keep: Callable[[int], int]) -> None:
        """End a process; keep what it has counted."""
        for name, count in node.driver.node.context.counters.items():
            self.count(name, count)
        node.crash(keep)
        self.reasons.of_node(node.id)
        self.invariants.forget_promises(node)
        self.invariants.check_held()

    def on_died(self, node: SimMachine) -> None:
        """A trap has ended a process in the middle of its turn."""
        if node.alive:
            self.invariants.after_turn(node)  # what the turn decided counts, though nobody may hear of it
            self.traps.on_died(node)

    def on_stop(self, node: SimMachine, ending: Ending) -> None:
        """A process ends itself: a broken disk, or the cluster has no place for it any more."""
        if ending is Ending.DISK:
            self.events.at(self.events.now, lambda: self.traps.on_failed(node))
            return
        has_left = self.map is not None and self.map.node(node.id) is None
        if ending is Ending.REFUSED and not has_left:
            raise Violated(f"{self.events.now} {node.name} was refused: {node.life.stopped}")
        self.count("node_left" if ending is Ending.LEFT else "node_given_up")
        self.events.at(self.events.now, lambda: self._replace(node))

    def _replace(self, node: SimMachine) -> None:
        """A node has left, or was given up: its machine comes back with an empty disk, as another node."""
        if not node.alive:
            return
        for name, count in node.driver.node.context.counters.items():
            self.count(name, count)
        node.leave()
        del self.nodes[node.id]
        node.wipe()
        self.nodes[node.id] = node
        self.events.after(self.random.randint(20, 1_000), node.start)

    def swap_disk(self, node: SimMachine) -> None:
        """A dead machine gets an empty disk, and starts as another node of its name."""
        assert not node.alive, "a disk is swapped while nothing runs"
        del self.nodes[node.id]
        node.wipe()
        self.nodes[node.id] = node
        self.count("disk_swapped")
        self.events.after(self.random.randint(20, 1_000), node.start)

    def on_proposal(self, node: SimMachine) -> None:
        """A controller proposes a map."""
        self.reasons.proposer = node
        if self._proposer not in ("", node.name):
            self.count("controller_changed")
        self._proposer = node.name

    def _note_steps(self, before: ClusterMap, after: ClusterMap) -> None:
        """Count the steps of changes that not every run takes."""
        gone = [node for node in before.nodes if after.node(node.id) is None]
        self.count("dead_forgotten", sum(node.state == NodeState.DEAD for node in gone))
        for old, new in zip(before.partitions, after.partitions, strict=True):
            if old.old_voters and new.epoch != old.epoch:
                self.count("joint_failover")
            elif old.old_voters and not new.old_voters and set(new.voters) == set(old.old_voters):
                self.count("joint_rolled_back")
            elif old.learner is not None and new.learner is None and not new.old_voters:
                self.count("learner_given_up")

    def on_map(self, after: ClusterMap) -> None:
        """The cluster has a new map."""
        before, self.map = self.map, after
        self.reasons.on_map(before, after)
        if before is None:
            missing = self.expect - len(after.nodes)
            assert not missing, f"the barrier is open, and {missing} of {self.expect} nodes are not there"
        else:
            reason = self.reasons.unfounded(before, after)
            assert not reason, f"{self.events.now} map {after.version}: {reason}"
            self.invariants.check_step(before, after)
            self.invariants.check_recoveries(before, after)
            self._note_steps(before, after)
            self.invariants.check_held()
        self.traps.on_map(before, after)
        if not self.traced:
            return
        names = {node.id: node.name for node in after.nodes}
        for node in before.nodes if before is not None else ():
            if after.node(node.id) is None:
                self.log(None, f"map {after.version}: {node.name} is named no more")
        states = {node.id: node.state for node in before.nodes} if before is not None else {}
        for node in after.nodes:
            if states.get(node.id) != node.state:
                self.log(None, f"map {after.version}: {node.name} is {node.state}")
        for number, part in enumerate(after.partitions):
            if before is not None and part == before.partitions[number]:
                continue
            voters = " ".join(names[node] for node in part.voters)
            text = f"partition {number}: epoch {part.epoch} of {names[part.primary]}, voters {voters}"
            if part.old_voters:
                text += f" and {' '.join(names[node] for node in part.old_voters)}"
            if part.learner is not None:
                text += f", learner {names[part.learner]}"
            if before is not None and part.base != before.partitions[number].base:
                text += f", recovered, goes on above {part.base}"
            self.log(None, f"map {after.version}: {text}")

    def log(self, node: SimMachine | None, text: str) -> None:
        """Write a line of the story, if anybody reads it."""
        if self._trace is not None:
            self._trace(f"{self.events.now:>7} {node.name if node is not None else '':<4} {text}")

    # --- what is true of it ---------------------------------------------------------------------------

    def healthy(self) -> bool:
        """Whether every node is up and ready, every replica is where it should be, and every partition has an
        ACTIVE primary that all agree on."""
        found = self.map
        if found is None or len(found.nodes) < len(self.nodes):
            return False
        for node in self.nodes.values():
            if not node.alive or not node.driver.node.ready or node.driver.node.context.damaged:
                return False
            held = node.driver.node.context.cluster_map
            if held is None or held.version != found.version:
                return False
        for number, part in enumerate(found.partitions):
            leading = self.nodes.get(part.primary)
            if leading is None:
                return False
            primary = leading.driver.node.primaries.get(number)  # type: ignore[call-overload]  # a plain int
            if primary is None or primary.epoch != part.epoch or not primary.may_execute:
                return False
        return self._placed(found) and self.said_healthy()

    def said_healthy(self) -> bool:
        """Whether every node says so itself."""
        return all(self.claims.says(node) is Health.HEALTHY for node in self.nodes.values())

    def _placed(self, found: ClusterMap) -> bool:
        if under_way(found.partitions):
            return False
        if any(node.state in (NodeState.JOINING, NodeState.LEAVING) for node in found.nodes):
            return False
        if any(
            set(v) != set(p.voters) for v, p in zip(targets(found, _nobody), found.partitions, strict=True)
        ):
            return False
        return all(
            node.id in found.partitions[number].voters
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
        """Whether no replica keeps what coordinators asked that are no more."""
        assert self.map is not None
        coordinators = coordinators_of(self.map)
        return all(
            replica.state.sessions.origins <= coordinators
            for node in self.nodes.values()
            for replica in node.driver.node.replicas.values()
        )

    def submit(self, node: SimMachine, request: Request) -> bool:
        """Put a request to a node; False if it takes none just now."""
        if not node.alive or not node.driver.serving or self.events.now < node.paused_until:
            return False
        node.driver.submit(request)
        return True

    def survives_without(self, node: SimMachine) -> bool:
        """Whether every partition keeps a majority of voters, also if this node's data is lost for good."""
        if self.map is None:
            return False
        lost = {each.id for each in self.map.nodes if each.state == NodeState.DEAD}
        lost.update(each.id for each in self.map.nodes if each.id not in self.nodes)
        if GRACE_MS in self.map.settings:  # who is down may be given up any moment
            lost.update(each.id for each in self.nodes.values() if not each.alive)
        lost.update(each for each, until in self.given_up.items() if self.events.now < until)
        lost.update(each.id for each in self.nodes.values() if each.lost or each is node)
        return all(
            quorum.won(part.voters, part.old_voters, [v for v in part.replicas if v not in lost])
            for part in self.map.partitions
        )

    # --- the network ----------------------------------------------------------------------------------

    def delay(self, sender: NodeId, receiver: NodeId) -> Millis:
        """How long a frame takes."""
        return self.draw(0, self.slowest_ms)

    def blocked(self, sender: NodeId, receiver: NodeId) -> bool:
        """Whether nothing gets from one to the other."""
        return (sender, receiver) in self._blocked

    def block(self, sender: NodeId, receiver: NodeId) -> None:
        """Let nothing through in this direction, until `heal`."""
        self._blocked.add((sender, receiver))

    def unblock(self, one: NodeId, other: NodeId) -> None:
        """Let everything through again between these two."""
        self.reasons.between(one, other)
        self._blocked -= {(one, other), (other, one)}

    def heal(self) -> None:
        """Let everything through again; connections that had stood blocked are reset."""
        for sender, receiver in sorted(self._blocked):
            self.reasons.between(sender, receiver)
            node = self.nodes.get(sender)
            if node is not None and node.alive and self.random.random() < 0.5:
                node.network.reset(receiver)
        self._blocked.clear()

    def _look_for_lingering(self) -> None:
        """What is mended is soon seen to be mended."""
        self.events.after(LOOK_MS, self._look_for_lingering)
        text = self.reasons.lingering()
        if text:
            raise Violated(f"{self.events.now} {text}")

    def drop_links_of(self, gone: SimMachine) -> None:
        """A process ended: its peers' connections to it break, and new ones are refused."""
        for node in self.nodes.values():
            if node.alive and node is not gone:
                node.network.reset(gone.id)

    def draw(self, low: int, high: int) -> int:
        """Return a number from low to high. Cost: a third of `randint`, and it is drawn for every frame."""
        return low + int(self._uniform() * (high - low + 1))

    def count(self, name: str, by: int = 1) -> None:
        """Count what was done to this world."""
        self.counters[name] += by


def _nobody(_: NodeId) -> bool:
    return False


assert SIM_TICK_MS * 2 <= limits.HEARTBEAT_MS
