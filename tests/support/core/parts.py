"""Small parts for unit tests of the core: ids, members, maps, a context whose neighbours only take notes."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from itertools import count
from typing import Any

from ringkeep.core.cluster.observations import Copy, Observations, Reachability, Statement
from ringkeep.core.cluster.orders import Verb
from ringkeep.core.cluster.planner import form, next_map
from ringkeep.core.context import Context, Durable
from ringkeep.core.control.controller import Controller
from ringkeep.core.control.copy_survey import CopySurvey
from ringkeep.core.liveness.failure_detector import Detector
from ringkeep.core.liveness.heartbeat_relay import Relay
from ringkeep.core.node import Node
from ringkeep.core.protocol.bounds import Bounds
from ringkeep.core.protocol.client_requests import Kind, ListRequest, Page, ReadGroup, Request, Result
from ringkeep.core.protocol.cluster_map import ClusterMap, Member, NodeInfo, NodeState, Partition
from ringkeep.core.protocol.effects import MapWrite
from ringkeep.core.protocol.entry import NO_ORIGIN, Entry, EntryKind, encode
from ringkeep.core.protocol.hot_messages import Acks, Forward
from ringkeep.core.protocol.messages import Heartbeat, MapPush, Message, Order, Promise, Said, Sizes
from ringkeep.core.protocol.rows import NO_NODE
from ringkeep.core.protocol.types import Epoch, Incarnation, Index, MapVersion, NodeId, PartitionId, origin_of
from ringkeep.core.replication.budget import Budget
from ringkeep.core.replication.handover import StatementRow
from ringkeep.core.replication.primary import Phase, Primary
from ringkeep.core.replication.replica import Replica
from ringkeep.sim.checks.map_rules import illegal
from ringkeep.status.move_history import MoveHistory
from ringkeep.storage.memory import MemoryEngine
from ringkeep.wire import mapcodec

A, B, C, D, E = (NodeId(f"{number:032x}") for number in range(1, 6))
NAMES = {A: "a", B: "b", C: "c", D: "d", E: "e"}
NODES = {name: node for node, name in NAMES.items()}
MINE = "1" * 32
"""The cluster's id in these maps."""


class Notes:
    """Stands for the other parts of the node; keeps what it was told."""

    def __init__(self) -> None:
        self.budget = Budget()
        self.forwards: list[Forward] = []
        self.told: list[tuple[str, tuple[Any, ...]]] = []

    def on_forward(self, caller: object, message: Forward) -> None:
        self.forwards.append(message)

    def __getattr__(self, name: str) -> Any:
        return lambda *arguments: self.told.append((name, arguments))


def a_context(me: NodeId = A, incarnation: int = 1, engine: MemoryEngine | None = None) -> Context:
    context = Context(me, Incarnation(incarnation), engine or MemoryEngine(), AT_ONCE)
    return context


AT_ONCE = Bounds(unwritten_bytes=-1)
"""Rows are written as they are applied, so that a test finds them in the store."""


def bound(context: Context, **bounds: int) -> None:
    """Let these bounds be others from now on, for what looks at the context's."""
    context.bounds = replace(context.bounds, **bounds)


def sent(context: Context, kind: type[Message]) -> list[Any]:
    """End the turn; return the messages of one kind that left with it."""
    effects, _ = context.end()
    return [message for _, _, queue in effects.frames() for message in queue if isinstance(message, kind)]


def a_member(node: NodeId, machine: str = "", **changes: Any) -> Member:
    machine = machine or NAMES[node]
    fields: dict[str, Any] = {
        "name": machine, "http": f"{machine}:1", "peer": f"{machine}:2", "zone": machine, "weight": 1,
        "expect": 3, "replication": 3, "partitions": 1, "incarnation": Incarnation(1),
        "map_version": MapVersion(0), "sequence": int(node, 16) - 1,
    }  # fmt: skip
    return Member(node, **(fields | changes))


def a_part(primary: NodeId = A, voters: tuple[NodeId, ...] = (A, B, C), **changes: Any) -> Partition:
    fields: dict[str, Any] = {"epoch": Epoch(3), "incarnation": Incarnation(1), "config": MapVersion(1)}
    return Partition(primary=primary, voters=voters, **(fields | changes))


def a_map(
    *parts: Partition,
    nodes: tuple[NodeId, ...] = (A, B, C),
    version: int = 7,
    states: Mapping[NodeId, NodeState] | None = None,
    replication: int = 3,
    starts: Mapping[NodeId, int] | None = None,
) -> ClusterMap:
    """A map. `states`: of the nodes that are not ACTIVE; `starts`: of those that were started before."""
    infos = tuple(
        NodeInfo(
            node, NAMES[node], f"{NAMES[node]}:1", f"{NAMES[node]}:2", NAMES[node], 1,
            Incarnation((starts or {}).get(node, 1)), (states or {}).get(node, NodeState.ACTIVE),
        )
        for node in nodes
    )  # fmt: skip
    return ClusterMap(MapVersion(version), "test", MINE, replication, infos, parts or (a_part(),))


def a_beat(**changes: Any) -> Heartbeat:
    fields: dict[str, Any] = {
        "map_version": MapVersion(7), "map_digest": 0, "link": 1, "probe": 1, "echo": 0, "suspects": [],
        "ready": True,
    }  # fmt: skip
    return Heartbeat(**(fields | changes))


class Cluster:
    """The cluster's map, and what a controller sees of the nodes: all are well, and every primary serves."""

    def __init__(
        self, *parts: Partition, nodes: str = "abcd", replication: int = 3, **states: NodeState
    ) -> None:
        ids = tuple(NODES[name] for name in nodes)
        named = {NODES[name]: state for name, state in states.items()}
        self.map: ClusterMap = a_map(*parts, nodes=ids, states=named, replication=replication)
        self.members = [a_member(node, cluster_id=MINE) for node in ids]
        self.suspects: dict[NodeId, tuple[NodeId, ...]] = {}
        self.said: list[Statement] = []
        self.orders: list[Order] = []
        self.silent: set[NodeId] = set()
        self.heard: set[tuple[NodeId, NodeId]] = set()
        self.damaged: set[NodeId] = set()
        self.full: set[NodeId] = set()
        self.absent: set[NodeId] = set()
        self.lost: set[NodeId] = set()
        self.unfit: set[NodeId] = set()
        self.serves = True
        self.copies: dict[NodeId, Copy] = {}
        self.unsaid: set[NodeId] = set()

    @classmethod
    def formed(cls, count: int, partitions: int, replication: int = 3) -> "Cluster":
        """A cluster as so many equal nodes form it; the first of them are a, b, c, d and e."""
        cluster = cls()
        ids = [NodeId(f"{number:032x}") for number in range(1, count + 1)]
        cluster.members = [
            a_member(
                node, NAMES.get(node, f"n{number}"), cluster_id=MINE, replication=replication,
                partitions=partitions, sequence=number,
            )
            for number, node in enumerate(ids)
        ]  # fmt: skip
        cluster.map = form(cluster.members, "test", MINE)
        return cluster

    @property
    def part(self) -> Partition:
        return self.map.partitions[0]

    def node(self, node: NodeId) -> NodeInfo:
        found = self.map.node(node)
        assert found is not None
        return found

    def suspicions(self, node: NodeId) -> tuple[NodeId, ...] | None:
        """A silent node has no word, and every other suspects it, but for who heard it: (who, whom)."""
        if node in self.silent:
            return None
        said = self.suspects.get(node, ())
        return (*said, *[n for n in sorted(self.silent) if n not in said and (node, n) not in self.heard])

    def copy(self, node: NodeId, number: int) -> Copy | None:
        """What a node says that it holds; unless it is told otherwise, each voter holds ten entries."""
        if node in self.silent or node in self.unsaid:
            return None
        part = self.map.partitions[number]
        votes = node in part.voters or node in part.old_voters
        return self.copies.get(node, Copy(part.epoch, part.epoch, Index(10)) if votes else Copy())

    @property
    def reachability(self) -> Reachability:
        return Reachability(self.suspicions, self.damaged.__contains__, (), self.copy)

    def die(self, *nodes: NodeId) -> None:
        """Their processes end, and their registrations with them."""
        self.silent.update(nodes)
        self.members = [member for member in self.members if member.id not in nodes]

    def order(self, verb: Verb, subject: str, number: int = 0) -> bool:
        """An operator gives one order, and the controller writes the next map; False if nothing is due."""
        self.orders = [(subject, verb, number)]
        try:
            return self.step()
        finally:
            self.orders = []

    def say(self, what: Said, node: NodeId = NO_NODE, number: int = 0, **other: int) -> None:
        """The primary's word for the (epoch, config) of the map, or for others. It is never forgotten."""
        part = self.map.partitions[number]
        epoch, config = other.get("epoch", part.epoch), other.get("config", part.config)
        self.said.append(Statement(number, Epoch(epoch), MapVersion(config), what, node))

    @property
    def seen(self) -> Observations:
        return Observations(
            self.members, self.suspicions, self.unfit.__contains__, self.said, (),
            self.damaged.__contains__, self.full.__contains__, self.absent.__contains__,
            self.lost.__contains__,
            lambda number: self.serves and self.map.partitions[number].primary not in self.silent,
            self.orders, copy=self.copy,
        )  # fmt: skip

    def step(self) -> bool:
        """Let the controller write the next map; False if nothing is due."""
        found = next_map(self.map, self.seen)
        if found is None:
            return False
        assert illegal(self.map, found) == ""
        assert found.version == self.map.version + 1
        self.map = found
        return True

    def say_all(self) -> None:
        """Let every primary say what it would if all goes well."""
        for number, part in enumerate(self.map.partitions):
            if part.learner is not None:
                self.say(Said.CAUGHT_UP, part.learner, number)
            elif part.old_voters:
                self.say(Said.SETTLED, number=number)
            if part.voters[0] != part.primary and not part.old_voters:
                self.say(Said.HANDOVER, part.voters[0], number)

    def finish(self) -> None:
        """Go on until nothing is due any more."""
        for turn in count():
            assert turn < 100, "it comes to an end"
            self.say_all()
            if not self.step():
                return


class ControllerWorld:
    """Node a, first in the line, with b and c."""

    active = b""
    """The partitions that a leads and serves, as bits."""

    def __init__(self, cluster_map: ClusterMap | None) -> None:
        self.context: Context = a_context(A)
        self.context.cluster_map = cluster_map
        self.detector = Detector(self.context)
        self.detector.set_peers([B, C])
        self.relay = Relay(self.context, self.detector)
        self.copies = CopySurvey(self.context, {})
        self.controller = Controller(self.context, self.relay, self.copies, mapcodec.size, "test", "1" * 32)
        self.controller.connected = True
        self.controller.on_members([a_member(node) for node in (A, B, C)])

    def hear(self, peer: NodeId, **beat: object) -> None:
        self.detector.peers[peer].heard = self.detector.peers[peer].echoed = self.context.now
        heard = self.detector.peers[peer].beat = a_beat(**beat)
        self.context.disks.note(peer, heard.disk)

    def refuse(self, peer: NodeId) -> None:
        self.detector.on_down(peer, True)

    def act(self) -> MapWrite | None:
        """Look again, and return the write that this leads to."""
        self.controller.look_again()
        return self.tick()

    def tick(self) -> MapWrite | None:
        """Let time be looked at, and return the write that this leads to."""
        self.controller.on_tick(self.active)
        effects, _ = self.context.end()
        self.effects = effects
        return effects.map_write


def a_row(what: Said, node: NodeId = NO_NODE) -> StatementRow:
    """What the primary of partition 0 says, under the epoch and config of `a_part`."""
    return PartitionId(0), Epoch(3), MapVersion(1), int(what), node


class Host:
    """One node's core over an engine in memory. Each call is a turn; its batch is written, not yet durable.

    Calls return what left with the turn, heartbeats, sizes and maps left out.
    """

    unsaid: tuple[type[Message], ...] = (Heartbeat, MapPush, Sizes)

    def __init__(
        self, me: NodeId, engine: MemoryEngine | None = None, incarnation: int = 1, bounds: Bounds = AT_ONCE
    ) -> None:
        self.engine = engine or MemoryEngine()
        self.history = MoveHistory()
        self.node = Node(
            me, Incarnation(incarnation), self.engine, mapcodec, "test", MINE, bounds=bounds,
            listener=self.history,
        )  # fmt: skip
        self.repaired = False
        self.answers: list[tuple[Request, Result]] = []
        self.groups: list[tuple[ReadGroup, list[Result]]] = []
        self.pages: list[tuple[ListRequest, Page]] = []
        self.damage = ""
        self._waiting: list[Durable] = []
        self.turn(*[partial(self.node.on_peer_up, peer, Incarnation(1)) for peer in NAMES if peer != me])

    @property
    def replica(self) -> Replica:
        return self.node.replicas[PartitionId(0)]

    @property
    def primary(self) -> Primary:
        return self.node.primaries[PartitionId(0)]

    def phase(self) -> Phase:
        return self.primary.phase

    def turn(self, *events: Callable[[], object]) -> list[tuple[NodeId, Message]]:
        """Everything that happens between two looks at the disk."""
        self.node.begin_turn(self.node.context.now)
        for event in events:
            event()
        effects, durable = self.node.end_turn()
        self.engine.write(effects.batch)
        self.answers += effects.answers
        self.groups += effects.groups
        self.pages += effects.pages
        if durable:
            self._waiting.append(durable)
        self.repaired = self.repaired or effects.repaired
        self.damage = self.damage or effects.damage
        return [
            (peer, message)
            for peer, _, queue in effects.frames()
            for message in queue
            if not isinstance(message, self.unsaid)
        ]

    def takes(self, found: ClusterMap) -> Callable[[], object]:
        return partial(self.node.take_map, mapcodec.encode(found))

    def hears(self, peer: NodeId, *messages: Message) -> Callable[[], object]:
        return partial(self.node.on_messages, peer, Incarnation(1), list(messages))

    def take(self, found: ClusterMap) -> list[tuple[NodeId, Message]]:
        return self.turn(self.takes(found))

    def hear(self, peer: NodeId, *messages: Message) -> list[tuple[NodeId, Message]]:
        return self.turn(self.hears(peer, *messages))

    def tick(self, after: int = 0) -> list[tuple[NodeId, Message]]:
        """Time passes, and nobody is missed meanwhile."""
        self.node.context.now += after
        for health in self.node.detector.peers.values():
            health.heard = health.echoed = self.node.context.now
        return self.turn(self.node.on_tick)

    def sync(self) -> list[tuple[NodeId, Message]]:
        """Everything that was written is durable now."""
        self.engine.flush()
        waiting, self._waiting = self._waiting, []
        return self.turn(*[partial(self.node.settle, durable) for durable in waiting])


# --- one partition, for whole nodes ----------------------------------------------------------------------

P = PartitionId(0)


def map_of(part: Partition, version: int) -> ClusterMap:
    """The map of that number, in which the replicas have just become these."""
    return a_map(replace(part, config=MapVersion(version)), nodes=(A, B, C, D, E), version=version)


def an_ack(index: int, epoch: int = 3) -> Acks:
    return Acks([P, epoch, index])


def a_promise(last: int = 0, epoch: int = 3, last_epoch: int = 3, commit: int = 0) -> Promise:
    """For that epoch, with a tail that ends at (last_epoch, last)."""
    return Promise(P, Epoch(epoch), Epoch(last_epoch if last else 0), Index(last), Index(commit))


def some_entries(epoch: int, first: int, last: int) -> list[bytes]:
    """Encoded entries of one epoch, which change nothing."""
    return [
        encode(Entry(EntryKind.NOOP, Epoch(epoch), Index(index), 0, NO_ORIGIN, 0, 0))
        for index in range(first, last + 1)
    ]


def a_request(kind: Kind, counter: int) -> Forward:
    """Of a client of b's; a read has counter 0."""
    origin = origin_of(B, Incarnation(1))
    return Forward(counter, P, Epoch(3), 5_000, kind, 0, origin, counter, 1, b"k")


def to(peer: NodeId, kind: type[Message], left: list[tuple[NodeId, Message]]) -> list[Any]:
    """Of what left with a turn, one peer's messages of one kind."""
    return [message for node, message in left if node == peer and isinstance(message, kind)]
