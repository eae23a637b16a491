"""The map stays within its bound: the dead are forgotten, and what would make it too large is refused."""

from dataclasses import replace

import pytest
from tests.support.core.parts import MINE, A, B, C, Cluster, ControllerWorld, D, E, a_map, a_member, a_part

from ringkeep.core.cluster import cluster_settings, orders
from ringkeep.core.cluster.orders import Verb
from ringkeep.core.cluster.planner import next_map
from ringkeep.core.protocol import limits
from ringkeep.core.protocol.cluster_map import ClusterMap, NodeState
from ringkeep.core.protocol.messages import Report
from ringkeep.wire import mapcodec

DEAD = NodeState.DEAD


def names(cluster: Cluster) -> list[str]:
    return [node.name for node in cluster.map.nodes]


# --- the dead ----------------------------------------------------------------------------------------------


def with_a_dead_node() -> Cluster:
    cluster = Cluster(a_part(A), nodes="abcd", d=DEAD)
    cluster.die(D)
    return cluster


def test_a_dead_node_that_holds_nothing_is_forgotten_by_order() -> None:
    cluster = with_a_dead_node()
    assert not cluster.step()
    assert cluster.order(Verb.FORGET, D)
    assert names(cluster) == ["a", "b", "c"]
    assert not cluster.order(Verb.FORGET, D), "done once"


@pytest.mark.parametrize(
    ("part", "subject", "words"),
    [
        (a_part(A), C, "c was not given up"),
        (a_part(A, (A, B, D)), D, "1 partitions still name d"),
        (a_part(A), E, "no such node"),
    ],
)
def test_nobody_else_is(part: object, subject: str, words: str) -> None:
    cluster = Cluster(part, nodes="abcd", d=DEAD)  # type: ignore[arg-type]  # a partition
    cluster.die(D)
    order = (subject, Verb.FORGET, 0)
    assert words in orders.objection(order, cluster.map, cluster.seen.reachability)
    before = names(cluster)
    cluster.order(Verb.FORGET, subject)
    assert names(cluster) == before


def test_a_dead_node_is_told_so_before_it_is_forgotten() -> None:
    cluster = with_a_dead_node()
    cluster.members.append(a_member(D, cluster_id=MINE))
    assert "still registered" in orders.objection((D, Verb.FORGET, 0), cluster.map, cluster.seen.reachability)
    assert next_map(cluster.map, replace(cluster.seen, forgettable=lambda node: node == D)) is None


def test_the_dead_are_forgotten_by_themselves_after_the_time_that_is_set() -> None:
    found = a_map(a_part(A), nodes=(A, B, C, D), states={D: DEAD})
    world = ControllerWorld(replace(found, settings={cluster_settings.FORGET_MS: 5_000}))
    for passed, forgotten in ((0, False), (4_999, False), (1, True)):
        world.context.now += passed
        for peer in (B, C):
            world.hear(peer)
        write = world.act()
        assert (write is not None) == forgotten
    assert write is not None
    assert [node.id for node in write.next_map.nodes] == [A, B, C]


# --- no room -----------------------------------------------------------------------------------------------


def adopt(world: ControllerWorld, found: ClusterMap) -> None:
    """The map that was written is the cluster's."""
    world.controller.on_written(done=True)
    world.context.cluster_map = found
    world.context.now += limits.MAP_WRITE_INTERVAL_MS
    for peer in (B, C):
        world.hear(peer, map_version=found.version)


def full(monkeypatch: pytest.MonkeyPatch, found: ClusterMap, room: int = 5) -> ControllerWorld:
    """A world whose map may hardly grow: by some bytes for what changes all the time, not by a node."""
    world = ControllerWorld(found)
    for peer in (B, C):
        world.hear(peer)
    while (write := world.act()) is not None:  # let everything be done that is due anyway
        found = write.next_map
        adopt(world, found)
    monkeypatch.setattr(limits, "MAP_GROWTH_BYTES", mapcodec.size(found) + room)
    return world


@pytest.mark.plain  # the bound is replaced
def test_a_join_that_the_map_has_no_room_for_is_refused_and_said_and_failovers_are_written(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    world = full(monkeypatch, a_map(a_part(C)))
    world.controller.on_members([a_member(node, cluster_id=MINE) for node in (A, B, C)] + [a_member(E)])
    for said in (1, 0):
        assert world.act() is None
        assert len(world.effects.alarms) == said, "once"
    assert "e cannot join: the cluster map would take" in world.controller.no_room
    world.refuse(C)
    current = world.context.cluster_map
    assert current is not None
    world.hear(B, suspects=[C], map_version=current.version)
    write = world.act()
    assert write is not None
    assert write.next_map.partitions[0].primary == A
    assert write.next_map.node(E) is None


@pytest.mark.plain  # the bound is replaced
def test_who_was_refused_joins_once_there_is_room(monkeypatch: pytest.MonkeyPatch) -> None:
    """A dead node that is kept for nothing makes room at once."""
    found = a_map(a_part(A), nodes=(A, B, C, D), states={D: DEAD})
    world = full(monkeypatch, found)
    world.controller.on_members([a_member(node, cluster_id=MINE) for node in (A, B, C)] + [a_member(E)])
    write = world.act()
    assert write is not None
    assert [node.id for node in write.next_map.nodes] == [A, B, C]
    adopt(world, write.next_map)
    write = world.act()
    assert write is not None
    assert write.next_map.node(E) is not None
    assert world.controller.no_room == ""


@pytest.mark.plain  # the bound is replaced
def test_a_setting_that_the_map_has_no_room_for_is_refused_when_it_is_asked_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """What more copies take is known beforehand: that of the map when all of them are made."""
    parts = [a_part(A, (A, B, C)) for _ in range(64)]
    nodes = (A, B, C, D, E)
    world = full(monkeypatch, a_map(*parts, nodes=nodes), room=30)
    order = (cluster_settings.REPLICATION, Verb.SET, 5)
    assert "this cannot be set: the cluster map would take" in world.controller.objection(order)
    world.controller.on_report(Report([], [order]))
    write = world.act()
    assert write is None or write.next_map.replication == 3
    monkeypatch.setattr(limits, "MAP_GROWTH_BYTES", limits.MAP_BYTES)
    assert world.controller.objection(order) == ""


@pytest.mark.plain  # the bound is replaced
def test_a_newcomer_without_room_holds_no_order_up(monkeypatch: pytest.MonkeyPatch) -> None:
    world = full(
        monkeypatch, replace(a_map(a_part(A)), settings={cluster_settings.MOVES: cluster_settings.PAUSED})
    )
    world.controller.on_members([a_member(node, cluster_id=MINE) for node in (A, B, C)] + [a_member(E)])
    world.controller.on_report(Report([], [(cluster_settings.MOVES, Verb.SET, cluster_settings.RUNNING)]))
    write = world.act()
    assert write is not None
    assert write.next_map.settings[cluster_settings.MOVES] == cluster_settings.RUNNING
    assert write.next_map.node(E) is None
