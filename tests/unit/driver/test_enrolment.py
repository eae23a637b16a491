"""How a start comes to speak for its node, and keeps its mark: the map, other processes, what is durable."""

from collections.abc import Sequence

import pytest
from tests.support.core.parts import A, B, a_map, a_member
from tests.support.driver.world import BEFORE, World, read, tick

from ringkeep.admission import Claim, Mark, is_other_line
from ringkeep.core.protocol import limits
from ringkeep.core.protocol.effects import Batch, Family
from ringkeep.core.protocol.rows import POSITION_KEY, decode_position, encode_position
from ringkeep.core.protocol.types import Incarnation
from ringkeep.ports import NO_MARK
from ringkeep.storage.memory import MemoryEngine

FIRST, SECOND, THIRD = (Claim(Incarnation(n), f"life {n}") for n in (1, 2, 3))


def a_store(position: int) -> MemoryEngine:
    engine = MemoryEngine()
    batch = Batch()
    batch.meta[POSITION_KEY] = encode_position(position)
    engine.write(batch)
    engine.close()
    return engine.reopen()


def speaks(world: World) -> bool:
    return world.driver.enrolment.passed


@pytest.mark.parametrize(
    ("claims", "mark", "other"),
    [
        ((FIRST,), FIRST, False),
        ((FIRST, SECOND), FIRST, False),  # the second one set out, and did not get there
        ((FIRST, SECOND), SECOND, False),  # it got there, and was not told
        ((FIRST,), SECOND, True),  # a copy from before the second start
        ((FIRST,), Claim(Incarnation(1), "another"), True),  # a copy that was started beside
        ((), FIRST, True),  # a copy of a directory that was never enrolled
        ((SECOND, THIRD), FIRST, False),  # the register was restored: it is the one that is old
        ((Claim(Incarnation(5), "a refused start counts on"),), SECOND, False),
    ],
)
def test_a_directory_knows_the_start_of_its_mark(claims: Sequence[Claim], mark: Claim, other: bool) -> None:
    assert is_other_line(claims, Mark(*mark, 0)) == other


def test_a_start_makes_the_mark_its_own_before_it_speaks() -> None:
    world = World(engine=a_store(7), mark=(4, Mark(*BEFORE, 7)))
    assert read(world, a_map())[0] == "announce"
    assert world.mark == (5, Mark(Incarnation(2), "this", 7))
    assert world.claimed == [(BEFORE, Claim(Incarnation(2), "this"))], "recorded before it was written"
    assert not world.core.context.damaged


def test_a_store_below_its_mark_is_damaged_before_it_speaks() -> None:
    world = World(engine=a_store(6), mark=(4, Mark(*BEFORE, 7)))
    said = read(world, a_map())
    assert said[0].startswith("the data of this node is older than in its start 1: batch 7 was durable")
    assert said[1] == "announce"
    assert world.core.context.damaged
    assert world.engine.damaged
    assert world.mark == (5, Mark(Incarnation(2), "this", 6))


def test_a_directory_of_another_line_is_refused_for_good() -> None:
    for life, incarnation in (("another", 1), ("this", 2), ("later", 3)):
        mark = Mark(Incarnation(incarnation), f"{life} one's", 0)
        world = World(mark=(4, mark))
        noted, line = read(world, a_map())
        assert noted == "superseded"
        assert line.startswith(f"stop refused: start {incarnation} of this node was from another directory")
        assert world.mark == (4, mark), "untouched"
        assert not speaks(world)


def test_a_node_without_a_mark_is_believed_and_that_is_said() -> None:
    world = World(mark=(NO_MARK, None))
    alarm, *rest = read(world, a_map())
    assert alarm.startswith("ZooKeeper has no mark of how far this node's data was durable")
    assert rest[0] == "announce"
    newcomer = World(member=a_member(A), mark=(NO_MARK, None), claims=())
    assert read(newcomer, None) == ["announce"], "which has nothing to lose"


def test_whoever_is_registered_elsewhere_as_this_node_comes_first() -> None:
    other = a_member(A, peer="elsewhere:2")
    world = World()
    assert read(world, a_map(), members=[other, a_member(B)]) == []
    assert "elsewhere:2" in world.driver.enrolment.waiting_for
    world.now += 2 * 1_000 + limits.COPY_WAIT_MS
    assert tick(world) == [], "it may have been killed, and be registered until its session ends"
    world.now += 1
    (line,) = tick(world)
    assert line.startswith("stop refused: the node a runs already, at elsewhere:2")
    assert world.mark == (4, Mark(*BEFORE, 0)), "untouched"


def test_a_registration_that_goes_away_was_that_of_a_dead_process() -> None:
    world = World()
    read(world, a_map(), members=[a_member(A, peer="elsewhere:2")])
    assert not speaks(world)
    world.driver.membership.members_changed([])
    world.now += 1_000
    assert tick(world) == [], "it may have lost its session, and register again"
    world.now += 1
    world.driver.tick()
    assert world.look()[0] == "announce"
    assert not world.driver.enrolment.waiting_for


def test_a_registration_at_the_own_address_is_that_of_the_start_before() -> None:
    world = World()
    assert read(world, a_map(), members=[a_member(A)])[0] == "announce"


def test_a_lost_answer_is_asked_for_again() -> None:
    world = World()
    asked: list[object] = []
    world.driver._ports.coordination.read_mark = asked.append  # type: ignore[assignment]
    read(world, a_map())
    assert len(asked) == 1
    world.now += limits.MARK_ANSWER_MS + 1
    tick(world)
    assert len(asked) == 2


def running() -> World:
    world = World(engine=a_store(7), mark=(4, Mark(*BEFORE, 7)))
    read(world, a_map())
    world.now += limits.MARK_MS
    return world


def test_the_mark_follows_what_is_durable() -> None:
    world = running()
    position = decode_position(world.engine.get(Family.META, POSITION_KEY) or b"")
    world.submit("a")
    tick(world)
    assert world.mark[1] == Mark(Incarnation(2), "this", 7), "written, and not durable"
    world.synced(world.engine.written)
    tick(world)
    assert world.mark[1] == Mark(Incarnation(2), "this", position + 1)
    version = world.mark[0]
    world.submit("b")
    world.synced(world.engine.written)
    tick(world)
    assert world.mark[0] == version, "not so soon again"
    world.now += limits.MARK_MS
    tick(world)
    tick(world)
    assert world.mark == (version + 1, Mark(Incarnation(2), "this", position + 2)), "and once"
    assert world.driver.enrolment.last_mark() == (version + 1, Mark(Incarnation(2), "this", position + 2))


def test_what_a_refused_start_writes_does_not_count() -> None:
    world = World(engine=a_store(7), mark=(4, Mark(*FIRST, 7)))
    world.submit("a")
    assert decode_position(world.engine.get(Family.META, POSITION_KEY) or b"") == 7


def test_a_wiped_mark_is_written_again_and_a_taken_one_ends_the_process() -> None:
    world = running()
    for older in ((NO_MARK, None), (0, Mark(Incarnation(1), "restored", 3))):
        world.mark = older
        world.driver.membership.session_changed(True)
        assert world.look() == []
        assert world.mark == (older[0] + 1, Mark(Incarnation(2), "this", 7))
    world.mark = 9, Mark(Incarnation(3), "a copy's", 7)
    world.driver.membership.session_changed(True)
    (line,) = world.look()
    assert line.startswith(
        "stop refused: start 3 of this node, from another copy of its data directory, has replaced"
    )
    assert not world.driver.serving


def test_a_map_that_names_a_later_start_ends_the_process() -> None:
    world = running()
    (line,) = read(world, a_map(version=8, starts={A: 3}))
    assert line.startswith("stop refused: start 3 of this node")
