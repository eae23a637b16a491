"""The driver's order of things: nothing overtakes a refused batch, and nothing is settled before its sync."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest
from tests.support.core.parts import MINE, A, B, C, D, a_map, a_member, a_part

from ringkeep.admission import Claim, Mark
from ringkeep.core.context import Context, Durable
from ringkeep.core.protocol import limits
from ringkeep.core.protocol.client_requests import Kind, Request, Result, Status
from ringkeep.core.protocol.cluster_map import ClusterMap, Member, NodeState
from ringkeep.core.protocol.effects import Batch, Effects, Family, MapWrite
from ringkeep.core.protocol.types import Incarnation, NodeId
from ringkeep.driver.enrolment import Start
from ringkeep.driver.turns import Driver
from ringkeep.errors import StorageError, StorageStalled
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

    def synced(self, ticket: int) -> list[str]:
        self.engine.make_durable(ticket)
        self.driver.synced(ticket)
        return self.look()


def test_one_turn_is_one_batch_one_sync_and_one_frame() -> None:
    world = World()
    assert world.submit("a", "b") == [
        "core a", "core b", "write a b", "sync 1", "send a b", "answer a", "answer b",
    ]  # fmt: skip
    assert world.synced(1) == ["durable a", "durable b"]


def test_a_sync_settles_only_what_was_written_before_it_began() -> None:
    world = World()
    world.submit("a")
    world.submit("b")
    world.submit("c")
    assert world.synced(1) == ["durable a"]
    assert world.synced(3) == ["durable b", "durable c"]
    assert world.synced(3) == []


def test_what_waits_for_a_batch_that_is_durable_already_is_settled_at_once() -> None:
    world = World()
    world.submit("a")
    world.synced(1)
    world.driver._event(lambda: world.core.durable.calls.append(lambda: world.seen.append("durable")))
    assert world.look() == ["durable"], "nothing new was written"


def test_nothing_overtakes_a_refused_batch() -> None:
    world = World()
    world.engine.stall_next(2)
    assert world.submit("a") == ["core a", "write a"], "neither sent nor answered"
    assert world.submit("b") == []
    assert world.synced(0) == []
    assert not world.driver.at_rest
    world.timers.pop()()
    assert world.look() == ["write a"], "refused again: b still waits"
    world.timers.pop()()
    assert world.look() == [
        "write a", "sync 1", "send a", "answer a", "core b", "write b", "sync 2", "send b", "answer b",
    ]  # fmt: skip
    assert world.driver.at_rest
    assert world.engine.get(Family.META, b"b") == b""


def test_events_behind_a_second_refusal_keep_their_order() -> None:
    world = World()
    world.engine.stall_next(1)
    world.submit("a")
    world.submit("b")
    world.submit("c")
    world.timers.pop()()
    assert [line for line in world.look() if line.startswith(("core", "write"))] == [
        "write a", "core b", "core c", "write b c",
    ]  # fmt: skip


def test_a_failed_sync_is_final() -> None:
    world = World()
    world.submit("a")
    world.driver.disk_failed(StorageError("no"))
    (line,) = world.look()
    assert line.startswith("stop disk: the disk failed, nothing more is acknowledged: no")
    world.driver.synced(1)
    assert world.look() == [], "nothing is acknowledged any more"
    assert world.submit("b") == []
    assert not world.driver.serving


@pytest.mark.parametrize("error", [StorageError("no"), StorageStalled("not now")], ids=["final", "stalled"])
def test_a_batch_that_was_not_written_is_neither_sent_nor_answered(error: Exception) -> None:
    world = World()

    def refuse(batch: Batch) -> int:
        raise error

    world.engine.write = refuse  # type: ignore[method-assign]
    seen = world.submit("a")
    assert seen[0] == "core a"
    assert [line[:27] for line in seen[1:]] == (
        ["stop disk: the disk failed,"] if type(error) is StorageError else []
    )


def test_a_defect_ends_the_node_before_anything_of_its_turn_is_carried_out() -> None:
    world = World()

    def broken() -> None:
        world.core.submit(Request(Kind.PUT, b"a"))
        raise KeyError("a bug")

    with pytest.raises(KeyError):
        world.driver._event(broken)
    seen = world.look()
    assert seen[0] == "core a"
    assert seen[1].startswith("stop failed: a defect")
    assert len(seen) == 2


# --- the map ---------------------------------------------------------------------------------------------


def read(world: World, found: ClusterMap | None, znode: int = 5, members: Sequence[Member] = ()) -> list[str]:
    if not world.driver.enrolment.passed:
        world.driver.membership.members_changed(list(members))
    world.driver.membership.map_read(znode, None if found is None else mapcodec.encode(found))
    return world.look()


def test_a_directory_that_fits_joins_and_serves_once_the_map_names_this_start() -> None:
    world = World()
    assert read(world, a_map()) == ["announce", "joined", "announce"]
    assert not world.driver.serving, "what primaries answer is not heard yet, and would end as unknown"
    read(world, a_map(version=8, starts={A: 2}))
    assert world.driver.serving


def test_a_newcomer_announces_itself_and_joins_once_the_map_names_it() -> None:
    world = World(member=a_member(D))
    world.core.context.me = D
    assert read(world, a_map()) == ["announce"], "and nothing is recorded: it may yet be refused"
    assert not world.driver.serving
    named = a_map(nodes=(A, B, C, D), version=8)
    assert read(world, named) == ["joined", "announce"], "which tells the controller that it may leave again"
    assert world.driver.serving
    assert read(world, named) == [], "once"


def test_who_is_named_no_more_has_left() -> None:
    world = World(member=a_member(C, incarnation=Incarnation(2)))
    read(world, a_map(states={C: NodeState.LEAVING}))
    departed, line = read(world, a_map(nodes=(A, B), version=8))
    assert departed == "departed"
    assert line.startswith("stop left: ")
    assert not world.driver.serving


def test_who_was_not_asked_to_leave_was_given_up_and_forgotten() -> None:
    world = World(member=a_member(C, incarnation=Incarnation(2), cluster_id=MINE))
    read(world, a_map())
    (line,) = read(world, a_map(nodes=(A, B), version=8))
    assert line.startswith("stop retired: ")
    assert not world.driver.serving


def test_who_was_asked_to_leave_stops_once_nothing_is_held_and_serves_until_then() -> None:
    leaving = {C: NodeState.LEAVING}
    world = World(member=a_member(C, incarnation=Incarnation(2)))
    world.core.context.me = C
    read(world, a_map(states=leaving))
    world.core.replica_set.empty = True
    assert "departed" not in tick(world), "the map gives it a replica"
    world.core.replica_set.empty = False
    read(world, a_map(a_part(A, (A, B)), states=leaving, version=8, starts={C: 2}))
    assert "departed" not in tick(world), "it is not deleted yet"
    world.core.replica_set.empty = True
    assert [line[:10] for line in tick(world)] == ["departed", "stop left:"]
    assert world.driver.serving, "what it coordinates it finishes"
    assert tick(world) == [], "said once"


def tick(world: World) -> list[str]:
    world.driver.tick()
    return [line for line in world.look() if line != "announce"]


def test_who_was_given_up_for_dead_stops_and_is_nobodys_peer() -> None:
    dead = a_map(version=8, states={C: NodeState.DEAD})
    world = World(member=a_member(C, incarnation=Incarnation(2)))
    read(world, a_map())
    (line,) = read(world, dead)
    assert line.startswith("stop retired: the cluster test gave this node up for dead")
    other = World(member=a_member(A, incarnation=Incarnation(2)))
    read(other, a_map())
    assert sorted(other.peers) == [B, C]
    read(other, dead)
    assert sorted(other.peers) == [B]


def test_who_was_given_up_while_it_was_away_retires_before_it_announces_itself() -> None:
    dead = a_map(states={C: NodeState.DEAD})
    for incarnation in (1, 2):  # an old copy of its directory is needed as little
        world = World(member=a_member(C, incarnation=Incarnation(incarnation), cluster_id=dead.cluster_id))
        (line,) = read(world, dead)
        assert line.startswith("stop retired: the cluster test gave this node up for dead")
        assert not world.driver.serving


def test_a_newcomer_of_a_name_stops_only_if_the_node_that_has_it_answers() -> None:
    world = World(member=a_member(D, name="a"))
    world.core.context.me = D
    assert read(world, a_map()) == ["announce"], "the other may be gone"
    world.core.context.links = {B: Incarnation(1)}
    assert tick(world) == [], "it waits to be given the name"
    world.core.context.links[A] = Incarnation(1)
    (line,) = tick(world)
    assert line.startswith("stop refused: the name a belongs to another data directory, whose node answers")
    assert "choose another --name" in line


def test_a_newcomer_that_was_let_in_does_not_look_back() -> None:
    world = World(member=a_member(D, name="a"))
    world.core.context.me = D
    read(world, a_map())
    taken = a_map(nodes=(A, B, C, D), version=8, states={A: NodeState.DEAD})
    assert read(world, taken)[0] == "joined"
    world.core.context.links = {A: Incarnation(1)}
    assert tick(world) == []


def test_a_number_of_partitions_that_was_asked_for_must_be_the_clusters() -> None:
    (line,) = read(World(partitions=4), a_map())
    assert line.startswith("stop refused: --partitions is 4 here, but the cluster was formed with 1")
    assert read(World(partitions=1), a_map()) == ["announce", "joined", "announce"]


def test_the_damage_is_forgotten_only_after_everything_before_it_is_written() -> None:
    world = World()
    world.engine.damaged = True
    world.core.effects.repaired = True
    world.engine.stall_next(1)
    world.submit("a")
    assert world.engine.damaged, "the batch was refused"
    world.timers.pop()()
    assert not world.engine.damaged


def test_one_that_does_not_fit_stops_before_it_announces_itself() -> None:
    for member, said in (
        (
            a_member(A, incarnation=Incarnation(2), cluster_id="2" * 32),
            ["stop refused: this directory belongs"],
        ),
        (a_member(A), ["superseded", "stop refused: this directory was start"]),
    ):
        world = World(member=member)
        seen = read(world, a_map())
        assert [line[: len(text)] for line, text in zip(seen, said, strict=True)] == said
        assert not world.driver.serving


@pytest.mark.parametrize(
    "found",
    [None, a_map(version=6), a_map(version=7, replication=5), replace(a_map(version=9), cluster_id="2" * 32)],
    ids=["wiped", "restored", "of two sides", "another cluster's"],
)
def test_a_running_node_serves_on_under_its_own_map_and_changes_nothing(found: ClusterMap | None) -> None:
    world = World()
    read(world, a_map(version=5))
    read(world, a_map(version=7, starts={A: 2}))
    assert read(world, found) == ["refresh"], "what was read may be from before map 7 came from a peer"
    (alarm,) = read(world, found)
    assert "this node holds map 7" in alarm and "changes are refused" in alarm
    assert read(world, found) == [], "said once"
    assert world.driver.serving
    assert world.core.controller.frozen
    read(world, a_map(version=7, starts={A: 2}))
    assert not world.core.controller.frozen, "until the register is right again"


def test_a_change_based_on_another_map_than_the_registers_is_not_written() -> None:
    world = World()
    read(world, a_map(version=7), znode=5)
    world.core.effects.map_write = MapWrite(6, a_map(version=7))
    world.driver.submit(Request(Kind.GET, b"x"))
    assert [line for line in world.look() if "map" in line or line in ("refresh", "written")] == [
        "refresh", "written",
    ]  # fmt: skip
    world.core.effects.map_write = MapWrite(7, a_map(version=8))
    world.driver.submit(Request(Kind.GET, b"x"))
    assert "write map at 5" in world.look()


def test_a_map_past_its_bound_ends_no_node(monkeypatch: pytest.MonkeyPatch) -> None:
    world = World()
    read(world, a_map(version=7))
    monkeypatch.setattr(limits, "MAP_BYTES", 10)
    world.core.effects.map_write = MapWrite(7, a_map(version=8))
    world.driver.submit(Request(Kind.GET, b"x"))
    said = world.look()
    assert any("the next cluster map is not written: the cluster map takes" in line for line in said), said
    assert "written" in said, "another is looked for"
    assert not [line for line in said if line.startswith("stop")]


def test_only_a_certain_yes_makes_a_written_map_the_clusters() -> None:
    for ok, version in ((True, 8), (False, 7), (None, 7)):
        world = World()
        read(world, a_map(version=7))
        world.core.effects.map_write = MapWrite(7, a_map(version=8))
        world.submit("x")
        world.driver.membership.map_written(ok)
        assert ("refresh" in world.look()) == (ok is None)
        assert world.core.context.cluster_map is not None
        assert world.core.context.cluster_map.version == version


def test_nodes_that_differ_at_the_barrier_are_told() -> None:
    world = World()
    assert read(world, None) == ["announce"], "there is no map: it waits at the barrier"
    world.driver.membership.members_changed([a_member(B, expect=5), a_member(A), a_member(C)])
    (line,) = world.look()
    assert line.startswith("stop refused: --expect is 3 here and 5 on b")


@pytest.mark.parametrize(
    "odd", [{"expect": 5}, {"replication": 5}, {"partitions": 4}, {"name": "d"}], ids=str
)
def test_a_newcomer_to_a_formed_cluster_is_not_held_to_what_it_was_formed_with(odd: dict[str, Any]) -> None:
    """Whichever it hears of first, the members or the map."""
    world = World(member=a_member(D))
    world.core.context.me = D
    assert read(world, a_map(), members=[a_member(A, "", **odd)]) == ["announce"]
