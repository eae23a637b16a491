"""A driver between a core that stands in for the real one and ports that record their calls."""

from collections.abc import Callable, Sequence
from types import SimpleNamespace
from typing import Any

from tests.support.core.parts import A, B, a_member

from ringkeep.admission import Claim, Mark
from ringkeep.core.context import Context, Durable
from ringkeep.core.protocol.client_requests import Kind, Request, Result, Status
from ringkeep.core.protocol.cluster_map import ClusterMap, Member
from ringkeep.core.protocol.effects import Batch, Effects
from ringkeep.core.protocol.types import Incarnation, NodeId
from ringkeep.driver.enrolment import Start
from ringkeep.driver.turns import Driver
from ringkeep.ports import Ports
from ringkeep.storage.memory import MemoryEngine
from ringkeep.wire import mapcodec

BEFORE = Claim(Incarnation(1), "before")
"""The start before this one, whose mark is found."""


class Core:
    """Stands for the core: each request writes a row, waits for its sync, is sent and answered."""

    def __init__(self, seen: list[str], cluster_map: ClusterMap | None) -> None:
        self.seen = seen
        self.effects, self.durable = Effects(), Durable()
        self.context = Context(A, Incarnation(1), MemoryEngine())
        self.context.cluster_map = cluster_map
        self.incarnation = Incarnation(2)  # of the start that the map must name
        self.on_event: Callable[[], None] = lambda: None  # what a test wants to happen in a turn
        self.replica_set = SimpleNamespace(staging=False, empty=False)
        self.map_payload = b"" if cluster_map is None else mapcodec.encode(cluster_map)
        self.controller = SimpleNamespace(
            members=[],
            frozen="",
            on_map_read=lambda: None,
            on_written=lambda done: seen.append("written"),
            on_not_written=lambda: seen.append("written"),
        )

    def begin_turn(self, now: int) -> None:
        pass

    def on_members(self, members: list[Member]) -> None:
        self.controller.members = members

    def on_damage(self) -> None:
        self.context.damaged = True

    def submit(self, request: Request) -> None:
        name = request.key.decode()
        self.seen.append(f"core {name}")
        self.effects.batch.meta[request.key] = b""
        self.durable.calls.append(lambda: self.seen.append(f"durable {name}"))
        self.effects.sends.setdefault(B, []).append(name)  # type: ignore[arg-type]  # stands for a message
        self.effects.answers.append((request, Result(Status.CREATED)))

    def end_turn(self) -> tuple[Effects, Durable]:
        ended = self.effects, self.durable
        self.effects, self.durable = Effects(), Durable()
        return ended

    def on_tick(self) -> None:
        pass

    def on_peer_up(self, peer: NodeId, incarnation: Incarnation) -> None:
        self.on_event()

    def settle(self, durable: Durable) -> None:
        for call in durable.calls:
            call()

    def take_map(self, payload: bytes) -> bool:
        found, held = mapcodec.decode(payload), self.context.cluster_map
        if held is not None and (found.version <= held.version or found.cluster_id != held.cluster_id):
            return False
        self.context.cluster_map, self.map_payload = found, payload
        mine = found.node(self.context.me)
        self.context.recognised = mine is not None and mine.incarnation == self.incarnation
        return True


class World:
    """A driver between a core that stands in and ports that take notes in one list."""

    def __init__(
        self,
        cluster_map: ClusterMap | None = None,
        member: Member | None = None,
        partitions: int | None = None,
        claims: Sequence[Claim] = (BEFORE,),
        mark: tuple[int, Mark | None] = (4, Mark(*BEFORE, 0)),
        engine: MemoryEngine | None = None,
    ) -> None:
        self.seen: list[str] = []
        self.turn_ends: list[Callable[[], None]] = []
        self.timers: list[Callable[[], None]] = []
        self.peers: dict[NodeId, str] = {}
        self.claimed: list[Sequence[Claim]] = []
        self.mark: tuple[int, Mark | None] = mark
        self.now = 0
        self.engine = engine or MemoryEngine()
        write = self.engine.write

        def noted(batch: Batch) -> int:
            self.seen.append(f"write {b' '.join(batch.meta).decode()}")
            return write(batch)

        self.engine.write = noted  # type: ignore[method-assign]
        self.core = Core(self.seen, cluster_map)
        note = self.seen.append
        shell = SimpleNamespace(
            disk_free=lambda: (1 << 30, 1), soon=self.turn_ends.append,
            later=lambda _, call: self.timers.append(call), alarm=note,
            stop=lambda reason, ending: note(f"stop {ending.value}: {reason}"),
            joined=lambda cluster_id: note("joined"), superseded=lambda: note("superseded"),
            departed=lambda: note("departed"), claiming=self.claimed.append,
        )  # fmt: skip
        network = SimpleNamespace(
            send=lambda peer, lane, m: note(f"send {' '.join(m)}"), set_peers=self.set_peers
        )
        coordination = SimpleNamespace(
            session_ms=1_000, read_mark=self.read_mark, write_mark=self.write_mark,
            announce=lambda member: note("announce"), refresh=lambda: note("refresh"),
            write_map=lambda version, payload: note(f"write map at {version}"),
        )  # fmt: skip
        ports = Ports(
            self.engine, SimpleNamespace(request=lambda ticket: note(f"sync {ticket}")), network,
            coordination, SimpleNamespace(now=lambda: self.now), shell, mapcodec,
        )  # fmt: skip
        mine = member or a_member(A, incarnation=Incarnation(2))
        self.core.incarnation = mine.incarnation
        start = Start("this", claims, partitions)
        self.driver = Driver(self.core, ports, mine, 0, start)  # type: ignore[arg-type]  # a stand-in

    def read_mark(self, node: NodeId) -> None:
        self.turn_ends.append(lambda: self.driver.membership.mark_read(*self.mark))

    def write_mark(self, node: NodeId, expected: int, mark: Mark) -> None:
        if expected == self.mark[0]:
            self.mark = expected + 1, mark
        self.read_mark(node)

    def set_peers(self, peers: dict[NodeId, str]) -> None:
        self.peers = peers

    def submit(self, *names: str) -> list[str]:
        """Requests of one turn; return what was seen since the last look."""
        for name in names:
            done: Any = lambda result, name=name: self.seen.append(f"answer {name}")  # noqa: E731  # bound to name
            self.driver.submit(Request(Kind.PUT, name.encode(), done=done))
        return self.look()

    def look(self) -> list[str]:
        """End the turns that are open; return what was seen since the last look."""
        while self.turn_ends:
            self.turn_ends.pop(0)()
        seen = self.seen[:]
        self.seen.clear()
        return seen

    def event(self, call: Callable[[], None]) -> None:
        """Run this as an event of a turn."""
        self.core.on_event = call
        self.driver.peer_up(B, Incarnation(1))

    def synced(self, ticket: int) -> list[str]:
        self.engine.make_durable(ticket)
        self.driver.synced(ticket)
        return self.look()


def read(world: World, found: ClusterMap | None, znode: int = 5, members: Sequence[Member] = ()) -> list[str]:
    """Give the driver what ZooKeeper holds; return what was noted."""
    if not world.driver.enrolment.passed:
        world.driver.membership.members_changed(list(members))
    world.driver.membership.map_read(znode, None if found is None else mapcodec.encode(found))
    return world.look()


def tick(world: World) -> list[str]:
    """One tick; return what was noted."""
    world.driver.tick()
    return [line for line in world.look() if line != "announce"]
