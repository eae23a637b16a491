"""One contract for both kinds of coordination, when connections, sessions, processes or servers end."""

from collections.abc import Iterator
from itertools import pairwise

import pytest
from tests.contracts.conftest import made
from tests.support.coordination.world import SHORT_SESSION_MS, Node, World, a_member, formed

from ringkeep.core.protocol.types import Incarnation, MapVersion

EVERYTHING = {"map", "barrier", "members"}


@pytest.fixture(params=["memory", "zookeeper"])
def world(request: pytest.FixtureRequest) -> Iterator[World]:
    """Without the one that is embedded: nothing can come between it and its process."""
    yield from made(request.param, "zookeeper", request)


def told_since(node: Node, told: int) -> set[str]:
    """The kinds of events since there were `told` of them."""
    return {kind for kind, _ in node.events[told:]}


def lost_and_found(node: Node, told: int = 0) -> bool:
    """Whether, since then, it was told that its session was lost, once, and at last that there is one.

    On a machine with much else to do, a session may be lost and found more often than the test meant.
    """
    sessions = [value for kind, value in node.events[told:] if kind == "session"]
    return sessions[0] is False and sessions[-1] is True and (False, False) not in pairwise(sessions)


def read_anew(node: Node, sessions: int) -> bool:
    """Whether it was told of more sessions than these, and of the map since the newest one."""
    kinds = [kind for kind, _ in node.events]
    return kinds.count("session") > sessions and "map" in kinds[len(kinds) - kinds[::-1].index("session") :]


# --- processes and sessions -------------------------------------------------------------------------------


def test_a_killed_process_stays_registered_as_long_as_its_session(world: World) -> None:
    observer = world.node()
    observer.port.announce(a_member(1))
    world.until(lambda: observer.names() == ["node-1"], "the first member")
    process = world.process(SHORT_SESSION_MS)
    process.announce(a_member(2))
    world.until(lambda: observer.names() == ["node-1", "node-2"], "both members")
    alive_ms = world.now_ms()
    process.announce(a_member(2, map_version=MapVersion(5)))
    world.until(lambda: 5 in [m.map_version for m in observer.last("members")], "a sign of life since then")
    process.kill()
    world.until(lambda: observer.names() == ["node-1"], "the dead one's absence")
    assert world.now_ms() - alive_ms >= SHORT_SESSION_MS


def test_the_next_life_stands_beside_the_one_that_was_killed(world: World) -> None:
    observer, process = world.node(), world.process(SHORT_SESSION_MS)

    def lives() -> list[int]:
        return sorted(member.incarnation for member in observer.last("members") or [])

    process.announce(a_member(2))
    world.until(lambda: lives() == [1], "the first life")
    world.node().port.announce(a_member(2, incarnation=Incarnation(2)))
    world.until(lambda: lives() == [1, 2], "both lives")
    process.kill()
    world.until(lambda: lives() == [2], "only the second life")


def test_an_expired_member_registers_again_by_itself(world: World) -> None:
    a, b = world.node(), world.node()
    a.port.announce(a_member(1))
    world.until(lambda: a.names() == ["node-1"], "the first member")
    b.port.announce(a_member(2))
    world.until(lambda: len(b.names()) == 2, "both members")
    before, told = a.sequence_of("node-1"), len(a.events)
    world.expire(a)
    world.until(lambda: b.names() == ["node-2", "node-1"], "a new place in the line")
    world.until(lambda: a.names() == ["node-2", "node-1"], "the node itself knowing")
    assert a.sequence_of("node-1") > before
    events = a.events[told:]
    assert [value for kind, value in events if kind == "session"] == [False, True]
    assert {"map", "barrier", "members"} <= {kind for kind, _ in events[events.index(("session", True)) :]}


def test_a_session_that_ended_in_silence_is_followed_by_another(world: World) -> None:
    a, b = world.node(), world.node(session_ms=SHORT_SESSION_MS)
    b.port.announce(a_member(2))
    world.until(lambda: a.names() == ["node-2"], "the member that will fall silent")
    a.port.announce(a_member(1))
    world.until(lambda: a.names() == b.names() == ["node-2", "node-1"], "both members")
    told = len(b.events)
    world.cut(b)
    world.until(lambda: a.names() == ["node-1"], "the absence of the silent one")
    world.until(lambda: b.last("session") is False, "the silence being noticed")
    world.mend(b)
    world.until(lambda: a.names() == b.names() == ["node-1", "node-2"], "a new place in the line")
    assert lost_and_found(b, told)
    assert world.registrations() == 2


def test_a_session_that_ended_behind_a_cut_is_told_when_it_is_mended(world: World) -> None:
    a, b = world.node(), world.node()
    b.port.announce(a_member(2))
    world.until(lambda: a.names() == b.names() == ["node-2"], "the member")
    world.cut(b)
    world.expire(b)
    world.until(lambda: a.names() == [], "its absence")
    assert b.all("session") == [True], "it cannot know"
    world.mend(b)
    world.until(lambda: a.names() == b.names() == ["node-2"], "the registration")
    assert b.all("session") == [True, False, True]


def test_a_long_silence_is_told_without_help(world: World) -> None:
    a = world.node(session_ms=SHORT_SESSION_MS)
    a.port.announce(a_member(1))
    world.until(lambda: a.names() == ["node-1"], "the member")
    told = len(a.events)
    world.cut(a)
    world.until(lambda: told_since(a, told) == {"session"}, "the silence being noticed, and nothing else")
    world.mend(a)
    world.until(lambda: a.names() == ["node-1"] and told_since(a, told) >= EVERYTHING, "everything again")
    assert lost_and_found(a, told)


# --- connections ------------------------------------------------------------------------------------------


def test_everything_is_told_again_after_a_lost_connection(world: World) -> None:
    a, b = world.node(), world.node()
    formed(world, a, b)
    b.port.announce(a_member(2))
    world.until(lambda: len(b.names()) == 2, "both members")
    before = b.sequence_of("node-2")
    world.cut(b)
    told = len(b.events)
    a.port.write_map(0, b"two")
    b.port.announce(a_member(2, map_version=MapVersion(5)))
    world.until(lambda: a.last("map") == (1, b"two"), "a change meanwhile")
    assert b.events[told:] == []
    world.mend(b)
    world.until(lambda: b.last("map") == (1, b"two"), "the change")
    world.until(lambda: a.member("node-2").map_version == 5, "what it announced meanwhile")
    assert a.sequence_of("node-2") == before, "the session lived on"
    assert "barrier" in told_since(b, told)


def test_reregistering_without_a_connection_is_done_when_there_is_one(world: World) -> None:
    a, b = world.node(), world.node()
    a.port.announce(a_member(1))
    world.until(lambda: a.names() == b.names() == ["node-1"], "the first member")
    b.port.announce(a_member(2))
    world.until(lambda: a.names() == b.names() == ["node-1", "node-2"], "both members")
    world.cut(a)
    a.port.reregister()
    world.mend(a)
    world.until(lambda: a.names() == b.names() == ["node-2", "node-1"], "the end of the line")
    assert a.all("session") == [True, True], "in the same session"
    assert world.registrations() == 2


def test_a_write_before_the_first_connection_never_leaves(world: World) -> None:
    a = world.node()
    a.port.announce(a_member(1))
    world.until(lambda: a.last("barrier") is True, "a barrier")
    late = world.node()
    late.port.write_map(-1, b"too early")
    world.until(lambda: late.last("barrier") is True, "the late node's connection")
    assert late.all("written") == [False]
    assert late.all("map") == [(-1, None)]


def test_a_write_without_a_connection_is_answered(world: World) -> None:
    a = world.node()
    formed(world, a)
    world.cut(a)
    a.port.write_map(0, b"two")
    world.until(lambda: len(a.all("written")) == 2, "the answer")
    assert a.last("written") is False, "it never left"
    world.mend(a)
    world.until(lambda: read_anew(a, 1), "the map being read again")
    a.port.write_map(0, b"three")
    world.until(lambda: a.last("map") == (1, b"three"), "the next write")


def test_no_write_leaves_before_the_map_was_read_over_this_connection(world: World) -> None:
    a = world.node()
    formed(world, a)
    world.cut(a)
    a.on_connected = lambda: a.port.write_map(0, b"based on what another ZooKeeper may have held")
    world.mend(a)
    world.until(lambda: read_anew(a, 1) and len(a.all("written")) == 2, "the answer, and the map")
    assert a.last("written") is False, "it never left"
    a.port.write_map(0, b"two")
    world.until(lambda: a.last("map") == (1, b"two"), "the next write")


# --- answers that are lost --------------------------------------------------------------------------------


@pytest.mark.parametrize("carried_out", [True, False])
def test_a_lost_answer_is_unknown_and_the_map_is_read(world: World, carried_out: bool) -> None:
    a, b = world.node(), world.node()
    formed(world, a, b)
    told = len(a.events)
    if carried_out:
        world.write_and_lose_the_answer(a, 0, b"two")
    else:
        world.write_and_lose_the_request(a, 0, b"two")
    world.until(lambda: told_since(a, told) >= {"written", *EVERYTHING}, "the answer, and everything again")
    events, found = a.events[told:], (1, b"two") if carried_out else (0, b"one")
    assert a.all("written") == [True, None]
    assert events.index(("written", None)) < events.index(("map", found))
    assert {value for kind, value in events if kind == "map"} == {found}
    a.port.write_map(found[0], b"after")
    world.until(lambda: a.last("map") == b.last("map") == (found[0] + 1, b"after"), "the next write")


@pytest.mark.parametrize("carried_out", [True, False])
def test_a_lost_answer_to_the_forming_is_unknown_and_the_map_is_read(world: World, carried_out: bool) -> None:
    a, b = world.node(), world.node()
    a.port.announce(a_member(1))
    world.until(lambda: a.last("barrier") is b.last("barrier") is True, "a barrier")
    told = len(a.events)
    if carried_out:
        world.write_and_lose_the_answer(a, -1, b"one")
    else:
        world.write_and_lose_the_request(a, -1, b"one")
    world.until(lambda: told_since(a, told) >= {"written", *EVERYTHING}, "the answer, and everything again")
    assert a.all("written") == [None]
    assert a.last("map") == ((0, b"one") if carried_out else (-1, None))
    assert a.last("barrier") is not carried_out, "both or neither"
    a.port.write_map(-1, b"again")
    world.until(lambda: len(a.all("written")) == 2, "the next answer")
    assert a.last("written") is not carried_out


def test_of_several_writes_only_the_first_can_have_left(world: World) -> None:
    a = world.node()
    formed(world, a)
    told = len(a.events)
    world.write_and_hold_it_up(a, 0, b"two")
    world.mend(a)
    world.until(lambda: read_anew(a, 1), "the map being read again")
    assert a.all("written") == [True, None]
    a.port.write_map(0, b"three")
    a.port.write_map(1, b"four")
    a.port.write_map(2, b"five")
    world.cut(a)
    world.until(lambda: len(a.all("written")) == 5, "all answers")
    assert a.all("written")[2:] == [None, False, False]
    world.mend(a)
    world.until(lambda: told_since(a, told) >= EVERYTHING and len(a.all("session")) == 3, "everything again")
    world.until(lambda: a.events[-1][0] == "members", "the end of what is told")
    assert a.last("map") in ((0, b"one"), (1, b"three"))


def test_a_write_may_arrive_after_its_writer_was_told_that_its_fate_is_not_known(world: World) -> None:
    a, b = world.node(), world.node()
    formed(world, a, b)
    world.write_and_hold_it_up(a, 0, b"late")
    world.until(lambda: a.all("written") == [True, None], "the answer")
    assert b.last("map") == (0, b"one")
    world.let_arrive(a)
    world.until(lambda: b.last("map") == (1, b"late"), "the write, after all")
    assert a.last("map") == (0, b"one"), "it is not told: it has no connection"
    world.mend(a)
    world.until(lambda: a.last("map") == (1, b"late"), "its own write")


@pytest.mark.parametrize("ended_by", ["a new connection", "the end of the session"])
def test_a_write_that_is_held_up_too_long_never_arrives(world: World, ended_by: str) -> None:
    a, b = world.node(), world.node()
    formed(world, a, b)
    world.until(lambda: a.names() == b.names() == ["node-1"], "the member")
    world.write_and_hold_it_up(a, 0, b"late")
    if ended_by == "a new connection":
        world.mend(a)
        world.until(lambda: len(a.all("session")) >= 2, "the connection")
    else:
        world.expire(a)
        world.until(lambda: b.names() == [], "the absence of the writer")
    world.let_arrive(a, too_late=True)
    b.port.write_map(0, b"two")
    world.until(lambda: b.all("written") == [True], "another write, to the same version")
    world.mend(a)
    world.until(lambda: a.last("map") == b.last("map") == (1, b"two"), "the other one's map")
    assert a.all("written") == [True, None]
    assert (1, b"late") not in a.all("map") + b.all("map")


@pytest.mark.parametrize("lost", ["the request", "the answer", "neither: it is late"])
def test_a_race_during_a_reconnection_is_decided_once(world: World, lost: str) -> None:
    a, b, observer = world.node(), world.node(), world.node()
    formed(world, a, b, observer)
    for version in range(4):
        told = len(observer.events)
        answers, sessions = (len(a.all("written")), len(b.all("written"))), len(a.all("session"))
        b.port.write_map(version, b"b")
        if lost == "the request":
            world.write_and_lose_the_request(a, version, b"a")
        elif lost == "the answer":
            world.write_and_lose_the_answer(a, version, b"a")
        else:
            world.write_and_hold_it_up(a, version, b"a")
            world.let_arrive(a)
            world.mend(a)
        world.until(lambda n=sessions: read_anew(a, n), "the map being read again")  # type: ignore[misc]
        a.port.write_map(version, b"a again")
        until_answered(world, a, b, answers)
        first, second = a.all("written")[-2:]
        winner = b"b" if b.last("written") else b"a again" if second else b"a"
        assert first is None and not (b.last("written") and second), "one writer at most is told that it won"
        found = (version + 1, winner)
        for node in (a, b, observer):
            world.until(lambda n=node, f=found: n.last("map") == f, f"{found}")  # type: ignore[misc]
        seen = [value for kind, value in observer.events[told:] if kind == "map"]
        assert [value for value in seen if value[0] > version] == [found], "nobody saw another one"


def until_answered(world: World, a: Node, b: Node, before: tuple[int, int]) -> None:
    """Wait until of two writers one has two answers more than before, and the other one."""
    wanted = before[0] + 2, before[1] + 1
    world.until(lambda: (len(a.all("written")), len(b.all("written"))) == wanted, "all answers")


# --- the service goes away --------------------------------------------------------------------------------


def test_a_service_that_was_killed_comes_back_with_what_it_acknowledged(mortal_world: World) -> None:
    world = mortal_world
    a, b = world.node(), world.node()
    formed(world, a, b)
    b.port.announce(a_member(2))
    world.until(lambda: a.names() == b.names() == ["node-1", "node-2"], "both members")
    a.port.write_map(0, b"two")
    world.until(lambda: a.all("written") == [True, True], "the acknowledgement")
    lines = [member.sequence for member in a.last("members")]
    world.kill_service()
    killed_ms, told_a, told_b = world.now_ms(), len(a.events), len(b.events)
    a.port.write_map(1, b"three")
    world.until(lambda: len(a.all("written")) == 3, "an answer without a service")
    assert a.last("written") in (None, False)
    world.start_service()
    for node, told in ((a, told_a), (b, told_b)):
        world.until(lambda n=node, t=told: told_since(n, t) >= EVERYTHING, "everything again")  # type: ignore[misc]
    world.until(lambda: a.last("map") == b.last("map") == (1, b"two"), "the map that was acknowledged")
    assert a.last("barrier") is b.last("barrier") is False
    if world.now_ms() - killed_ms < a.session_ms:  # or else the sessions may have expired
        for node, told in ((a, told_a), (b, told_b)):
            members = [value for kind, value in node.events[told:] if kind == "members"]
            assert [[member.sequence for member in line] for line in members] == [lines], "nobody was missing"
            assert False not in node.all("session")
    b.port.write_map(1, b"three")
    world.until(lambda: a.last("map") == b.last("map") == (2, b"three"), "the next write")


def test_an_outage_longer_than_the_sessions_is_told_and_survived(mortal_world: World) -> None:
    world = mortal_world
    a, b = (world.node(session_ms=SHORT_SESSION_MS) for _ in range(2))
    formed(world, a, b)
    b.port.announce(a_member(2))
    world.until(lambda: a.names() == b.names() == ["node-1", "node-2"], "both members")
    told = len(a.events), len(b.events)
    world.kill_service()
    world.until(lambda: a.last("session") is b.last("session") is False, "the silence being noticed")
    for event in a.events[told[0] :] + b.events[told[1] :]:
        assert event[0] == "session", "nobody is taken for gone"
    world.start_service()
    world.until(lambda: a.last("session") is b.last("session") is True, "the connections")
    both = ["node-1", "node-2"]
    world.until(lambda: sorted(a.names()) == sorted(b.names()) == both, "the members, each once")
    world.until(lambda: world.registrations() == 2 and a.names() == b.names(), "one line")
    assert a.last("map") == b.last("map") == (0, b"one")


def test_a_service_that_comes_late_is_found(mortal_world: World) -> None:
    world = mortal_world
    world.kill_service()
    node = world.node(session_ms=SHORT_SESSION_MS)
    node.port.announce(a_member(1))
    world.until(lambda: node.all("session") == [False], "the silence being told")
    world.start_service()
    world.until(lambda: node.names() == ["node-1"], "the registration")
    assert lost_and_found(node)


def test_a_service_that_was_wiped_is_found_again(mortal_world: World) -> None:
    world = mortal_world
    a, b = (world.node(session_ms=SHORT_SESSION_MS) for _ in range(2))
    settled(world, a, b)
    told = len(a.events), len(b.events)
    world.kill_service()
    world.wipe_service()
    world.start_service()
    world.until(lambda: a.last("map") == b.last("map") == (-1, None), "the map's absence")
    both = ["node-1", "node-2"]
    world.until(lambda: sorted(a.names()) == both and a.names() == b.names(), "one line, each of them once")
    assert lost_and_found(a, told[0]) and lost_and_found(b, told[1])
    world.put_map(b"recovered")
    world.until(lambda: a.last("map") == b.last("map") == (0, b"recovered"), "the map that was put there")
    a.port.write_map(0, b"next")
    world.until(lambda: a.last("map") == b.last("map") == (1, b"next"), "the next write")


def test_a_service_that_alternates_with_an_older_copy_of_itself_is_followed(mortal_world: World) -> None:
    world = mortal_world
    a, b = (world.node(session_ms=SHORT_SESSION_MS) for _ in range(2))
    settled(world, a, b)
    world.kill_service()
    older = world.copy_service()
    world.start_service()
    world.until(lambda: read_anew(a, 1) and read_anew(b, 1), "the same again")
    for version in range(1, 6):
        a.port.write_map(version, b"after the copy")
    world.until(lambda: a.last("map") == b.last("map") == (6, b"after the copy"), "what the copy has not")
    world.kill_service()
    newest = world.copy_service()
    both = ["node-1", "node-2"]
    two, six = (1, b"two"), (6, b"after the copy")
    for copy, found in ((older, two), (newest, six), (older, two)):
        world.wipe_service(copy)
        world.start_service()
        world.until(lambda f=found: a.last("map") == b.last("map") == f, f"{found}")  # type: ignore[misc]
        world.until(lambda: sorted(a.names()) == both and a.names() == b.names(), "one line")
        world.kill_service()


def settled(world: World, a: Node, b: Node) -> None:
    """Form a cluster, to which both belong, whose map b"two" was written once since."""
    formed(world, a, b)
    a.port.announce(a_member(1, cluster_id="c"))
    b.port.announce(a_member(2, cluster_id="c"))
    world.until(lambda: sorted(a.names()) == sorted(b.names()) == ["node-1", "node-2"], "both members")
    a.port.write_map(0, b"two")
    world.until(lambda: a.last("map") == b.last("map") == (1, b"two"), "the second map")
