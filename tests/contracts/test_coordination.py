"""One contract for the coordination in memory and for the one over a real ZooKeeper.

What must hold when connections, sessions, processes and servers end: test_coordination_failures.py.
"""

from dataclasses import replace
from functools import partial

from tests.support.coordination.world import MemoryWorld, Node, World, a_member, formed

from ringkeep.admission import Mark
from ringkeep.core.protocol.types import Incarnation, MapVersion
from ringkeep.ports import NO_MARK


def test_everything_is_told_after_the_connection(world: World) -> None:
    node = world.node()
    world.until(lambda: node.last("members") is not None, "the first members")
    assert node.events == [("session", True), ("map", (-1, None)), ("barrier", False), ("members", [])]


def test_members_are_told_in_the_order_of_their_registration(world: World) -> None:
    a, b = world.node(), world.node()
    a.port.announce(a_member(1))
    world.until(lambda: b.names() == ["node-1"], "the first member")
    b.port.announce(a_member(2))
    world.until(lambda: a.names() == b.names() == ["node-1", "node-2"], "both members")
    first, second = a.last("members")
    assert first.sequence < second.sequence
    assert replace(second, sequence=0) == a_member(2)


def test_only_a_node_that_may_form_puts_up_a_barrier(world: World) -> None:
    belongs = world.node()
    belongs.port.announce(a_member(1, cluster_id="c"))
    world.until(lambda: belongs.names() == ["node-1"], "the member")
    assert belongs.last("barrier") is False
    empty = world.node()
    empty.port.announce(a_member(2))
    world.until(lambda: belongs.last("barrier") is True, "the barrier")


def test_a_stopped_member_is_gone_at_once(world: World) -> None:
    a, b = world.node(), world.node()
    a.port.announce(a_member(1))
    b.port.announce(a_member(2))
    world.until(lambda: len(a.names()) == 2, "both members")
    told = len(b.events)
    world.stop(b)
    world.until(lambda: a.names() == ["node-1"], "the other one's departure")
    assert b.events[told:] == []


def test_an_update_of_a_member_is_told_to_others(world: World) -> None:
    a, b = world.node(), world.node()
    a.port.announce(a_member(1))
    b.port.announce(a_member(2))
    world.until(lambda: sorted(b.names()) == ["node-1", "node-2"], "both members")
    before = b.sequence_of("node-1")
    for version in (1, 2, 3):
        a.port.announce(a_member(1, map_version=MapVersion(version)))
    world.until(lambda: b.member("node-1").map_version == 3, "the newest map version")
    assert b.sequence_of("node-1") == before and len(b.names()) == 2


def test_forming_creates_the_map_and_opens_the_barrier(world: World) -> None:
    a, b = world.node(), world.node()
    formed(world, a, b)
    assert a.all("written") == [True]
    late = world.node()
    late.port.announce(a_member(3))
    world.until(lambda: "node-3" in late.names(), "the late member")
    assert late.last("map") == (0, b"one") and late.last("barrier") is False
    late.port.write_map(-1, b"another")
    world.until(lambda: late.all("written") == [False], "the refusal")


def test_of_two_formers_one_wins(world: World) -> None:
    a, b = world.node(), world.node()
    a.port.announce(a_member(1))
    b.port.announce(a_member(2))
    world.until(lambda: a.last("barrier") is True and b.last("barrier") is True, "a barrier")
    a.port.write_map(-1, b"a")
    b.port.write_map(-1, b"b")
    world.until(lambda: bool(a.all("written") and b.all("written")), "both answers")
    assert sorted(a.all("written") + b.all("written")) == [False, True]
    winner = b"a" if a.all("written") == [True] else b"b"
    world.until(lambda: a.last("map") == b.last("map") == (0, winner), "the winner's map")


def test_of_two_writes_to_one_version_one_wins(world: World) -> None:
    a, b = world.node(), world.node()
    formed(world, a, b)
    a.port.write_map(0, b"a")
    b.port.write_map(0, b"b")
    world.until(lambda: len(a.all("written")) == 2 and len(b.all("written")) == 1, "both answers")
    assert sorted([a.last("written"), b.last("written")]) == [False, True]
    winner = b"a" if a.last("written") else b"b"
    world.until(lambda: a.last("map") == b.last("map") == (1, winner), "the winner's map")


def test_writes_are_answered_once_and_in_order(world: World) -> None:
    a = world.node()
    formed(world, a)
    for payload in (b"two", b"lost", b"lost too"):
        a.port.write_map(0, payload)
    world.until(lambda: len(a.all("written")) == 4, "all answers")
    assert a.all("written") == [True, True, False, False]


def test_a_map_is_told_after_a_refused_write(world: World) -> None:
    a = world.node()
    formed(world, a)
    a.port.write_map(7, b"from nowhere")
    world.until(lambda: a.last("written") is False, "the refusal")
    told = a.events.index(("written", False))
    world.until(lambda: ("map", (0, b"one")) in a.events[told:], "the map again")


def test_a_map_past_its_bound_is_refused(world: World) -> None:
    a = world.node()
    formed(world, a)
    a.port.write_map(0, bytes(512 * 1024 + 1))
    world.until(lambda: a.last("written") is False, "the refusal")
    a.port.write_map(0, bytes(512 * 1024))
    world.until(lambda: a.last("written") is True, "the largest map")


def test_a_stray_barrier_beside_a_map_is_deleted(world: World) -> None:
    a = world.node()
    formed(world, a)
    opened = len(a.all("barrier"))
    world.put_stray_barrier()
    world.until(lambda: True in a.all("barrier")[opened:] and a.last("barrier") is False, "its removal")
    assert a.last("map") == (0, b"one")


def test_reregistering_moves_to_the_end_of_the_line(world: World) -> None:
    a, b = world.node(), world.node()
    a.port.announce(a_member(1))
    world.until(lambda: a.names() == ["node-1"], "the first member")
    b.port.announce(a_member(2))
    world.until(lambda: a.names() == b.names() == ["node-1", "node-2"], "both members")
    a.port.reregister()
    world.until(lambda: a.names() == b.names() == ["node-2", "node-1"], "the new order")
    b.port.reregister()
    world.until(lambda: a.names() == b.names() == ["node-1", "node-2"], "the old order")
    assert world.registrations() == 2


def test_refresh_tells_everything_again(world: World) -> None:
    a = world.node()
    formed(world, a)
    world.until(lambda: a.names() == ["node-1"], "the member")
    told = len(a.events)
    a.port.refresh()
    world.until(lambda: {"map", "barrier", "members"} <= {k for k, _ in a.events[told:]}, "everything again")
    assert a.last("map") == (0, b"one") and a.names() == ["node-1"]


def test_two_lives_of_one_node_are_both_told(world: World) -> None:
    old, new = world.node(), world.node()
    old.port.announce(a_member(1))
    world.until(lambda: len(new.names()) == 1, "the old life")
    new.port.announce(a_member(1, incarnation=2))
    world.until(lambda: [m.incarnation for m in new.last("members") or []] == [1, 2], "both lives")
    copy = world.node()
    copy.port.announce(a_member(1, incarnation=2))  # a copied directory: nobody's registration is touched
    world.until(lambda: [m.incarnation for m in new.last("members")] == [1, 2, 2], "the copy as well")


def test_in_memory_watches_can_arrive_late() -> None:
    world = MemoryWorld()
    a, b = world.node(), world.node()
    formed(world, a, b)
    b.port.hold_watches()
    a.port.write_map(0, b"two")
    a.port.write_map(1, b"three")
    world.until(lambda: a.last("map") == (2, b"three"), "the writer knowing")
    assert b.last("map") == (0, b"one")
    b.port.release_watches()
    world.until(lambda: b.last("map") == (2, b"three"), "the watch")
    assert (1, b"two") not in b.all("map"), "a watch tells that, not what"


def test_in_memory_what_a_process_sent_may_outlive_it() -> None:
    world = MemoryWorld()
    a, b = world.node(), world.node()
    formed(world, a, b)
    told = len(a.events)
    a.port.write_map(0, b"last words")
    a.port.disconnect(requests_arrive=True)
    a.port.crash()
    world.until(lambda: b.last("map") == (1, b"last words"), "the write")
    assert a.events[told:] == []


# --- marks -------------------------------------------------------------------------------------------

A_NODE = a_member(1).id


def a_mark(position: int, life: str = "a", incarnation: int = 1) -> Mark:
    return Mark(Incarnation(incarnation), life, position)


def test_a_mark_is_told_when_it_is_read_and_after_it_was_written(world: World) -> None:
    a, b = world.node(), world.node()
    world.until(lambda: bool(a.last("session") and b.last("session")), "the connections")
    a.port.read_mark(A_NODE)
    world.until(lambda: a.all("mark") == [(NO_MARK, None)], "that there is none")
    a.port.write_mark(A_NODE, NO_MARK, a_mark(1))
    a.port.write_mark(A_NODE, 0, a_mark(2))
    world.until(lambda: len(a.all("mark")) == 3, "both writes")
    assert a.all("mark")[1:] == [(0, a_mark(1)), (1, a_mark(2))]
    b.port.read_mark(A_NODE)
    world.until(lambda: b.all("mark") == [(1, a_mark(2))], "the mark, as another one reads it")
    b.port.read_mark(a_member(2).id)
    world.until(lambda: b.last("mark") == (NO_MARK, None), "that the other node has none")


def _both_were_told(a: Node, b: Node, of_a: int, of_b: int) -> bool:
    return len(a.all("mark")) > of_a and len(b.all("mark")) > of_b


def test_of_two_who_want_a_mark_one_gets_it_and_both_are_told(world: World) -> None:
    a, b = world.node(), world.node()
    world.until(lambda: bool(a.last("session") and b.last("session")), "the connections")
    for version in (NO_MARK, 0):
        told = len(a.all("mark")), len(b.all("mark"))
        a.port.write_mark(A_NODE, version, a_mark(version, "a"))
        b.port.write_mark(A_NODE, version, a_mark(version, "b"))
        world.until(partial(_both_were_told, a, b, *told), "both answers")
        assert a.last("mark") == b.last("mark")
        assert a.last("mark")[0] == version + 1


def test_a_mark_outlives_sessions_and_the_service(world: World) -> None:
    a = world.node()
    world.until(lambda: bool(a.last("session")), "the connection")
    a.port.write_mark(A_NODE, NO_MARK, a_mark(7))
    world.until(lambda: a.last("mark") == (0, a_mark(7)), "the write")
    world.stop(a)
    world.kill_service()
    world.start_service()
    b = world.node()
    world.until(lambda: bool(b.last("session")), "a connection")
    b.port.read_mark(A_NODE)
    world.until(lambda: b.last("mark") == (0, a_mark(7)), "the mark")
