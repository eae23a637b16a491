"""A process as a member of its cluster: maps and members read from ZooKeeper, joining, leaving, retiring."""

from dataclasses import replace
from typing import Any

import pytest
from tests.support.core.parts import MINE, A, B, C, D, a_map, a_member, a_part
from tests.support.driver.world import World, read, tick

from ringkeep.core.protocol import limits
from ringkeep.core.protocol.client_requests import Kind, Request
from ringkeep.core.protocol.cluster_map import ClusterMap, NodeState
from ringkeep.core.protocol.effects import MapWrite
from ringkeep.core.protocol.types import Incarnation


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
