"""A primary that time may ask something of is looked at; one at rest is not, and costs a tick nothing."""

from functools import partial
from typing import Any

import pytest
from tests.support.core.group import Group, a_put
from tests.support.core.parts import A, B, C, D, Host, P, a_beat, a_map, a_part, bound, map_of, to

from ringkeep.core.disk_state import DiskState
from ringkeep.core.protocol import limits
from ringkeep.core.protocol.client_requests import Kind, Request, Status
from ringkeep.core.protocol.messages import Prepare
from ringkeep.core.protocol.types import Incarnation
from ringkeep.core.replication.primary import Primary


def at_rest() -> Group:
    """Three nodes of which nobody has asked anything for a while."""
    group = Group(A, B, C)
    group.ask(a_put(b"k"))
    assert comes_to_rest(group)
    return group


def comes_to_rest(group: Group) -> bool:
    for _ in range(15):
        group.tick(limits.HEARTBEAT_MS)
        if not watched(group):
            return True
    return False


def watched(group: Group) -> bool:
    return P in group.hosts[A].node.context.watched


def test_nobody_looks_at_a_primary_at_rest(monkeypatch: pytest.MonkeyPatch) -> None:
    group = at_rest()
    looked: list[Any] = []
    monkeypatch.setattr(Primary, "on_tick", looked.append)
    for _ in range(5):
        group.tick(limits.LOOK_AFTER_MS // 2)
        if watched(group):  # it was confirmed, so that stale reads have an age, and the backups are told
            group.tick(limits.HEARTBEAT_MS)
            looked.clear()
    assert not looked
    assert group.hosts[A].node.reports.active == b"\x01", "what is said of it stays"
    assert group.hosts[A].node.reports.copies == [b"\x01"]


def test_a_write_has_it_watched_until_every_peer_has_it() -> None:
    group = at_rest()
    leader, deaf = group.hosts[A], group.hosts.pop(C)
    group.ask(a_put(b"k", b"2"))
    for _ in range(5):
        group.tick(limits.HEARTBEAT_MS)
    assert watched(group)
    assert leader.node.context.counters["position_asked_again"] > 0
    group.hosts[C] = deaf
    assert comes_to_rest(group)
    assert deaf.replica.commit == leader.replica.commit


def test_a_peer_without_a_link_is_not_waited_for_and_asked_once_there_is_one() -> None:
    group = at_rest()
    leader = group.hosts[A]
    leader.turn(lambda: leader.node.on_peer_down(C, False))
    group.ask(a_put(b"k", b"2"))
    assert comes_to_rest(group)
    assert to(C, Prepare, leader.turn(lambda: leader.node.on_peer_up(C, Incarnation(1))))
    assert watched(group)


def test_it_is_paused_when_its_peers_are_suspected_and_goes_on_when_they_answer() -> None:
    group = at_rest()
    leader = group.hosts[A]
    for peer in (B, C):
        leader.node.detector.on_down(peer, True)
    leader.tick(limits.LOOK_AFTER_MS)
    assert leader.primary.paused
    leader.tick(limits.HEARTBEAT_MS)
    assert leader.node.reports.active == b""
    for peer in (B, C):
        leader.node.detector.peers[peer].refused = False
    leader.tick(limits.LOOK_AFTER_MS)
    leader.tick(limits.HEARTBEAT_MS)
    assert not leader.primary.paused
    assert leader.node.reports.active == b"\x01"


def test_what_waits_at_a_paused_primary_is_refused_at_its_deadline() -> None:
    group = at_rest()
    leader = group.hosts[A]
    for peer in (B, C):
        leader.node.detector.on_down(peer, True)
    leader.tick(limits.LOOK_AFTER_MS)
    leader.turn(lambda: leader.node.submit(Request(Kind.PUT, b"k", b"3", timeout_ms=500)))
    leader.tick(500)
    leader.tick(limits.LOOK_AFTER_MS)
    assert [result.status for _, result in leader.answers[-1:]] == [Status.UNAVAILABLE]


@pytest.mark.parametrize("why", ["stops", "slow disk"])
def test_it_is_handed_over_from_rest(why: str) -> None:
    group = at_rest()
    node = group.hosts[A].node
    for peer in (B, C):
        hear_well(group, peer)
    node.handover.on_tick([], True)
    if why == "stops":
        node.context.draining = True
    else:
        node.context.disks.own.state = DiskState.SLOW
    for _ in range(3):
        node.context.now += limits.LOOK_AFTER_MS
        for peer in (B, C):
            hear_well(group, peer)
        group.hosts[A].turn(node.on_tick)
    assert watched(group), "until another leads"
    assert node.context.counters["handover_asked"] > 0


def hear_well(group: Group, peer: Any) -> None:
    """A peer says that it wants requests."""
    health = group.hosts[A].node.detector.peers[peer]
    health.heard = health.echoed = group.hosts[A].node.context.now
    health.beat = a_beat()


def test_a_learner_has_it_watched_until_it_votes() -> None:
    group = at_rest()
    group.join(D)
    for _ in range(5):
        group.tick(limits.HEARTBEAT_MS)
    assert watched(group)
    group.version += 1
    group.take(map_of(a_part(A, (A, B, C)), group.version))
    assert comes_to_rest(group)


# --- stale reads -----------------------------------------------------------------------------------------


def test_primaries_are_confirmed_in_turn_and_only_so_many_at_once() -> None:
    host = Host(A)
    bound(host.node.context, probes_at_once=2)
    host.take(a_map(*[a_part(A, (A,), epoch=3) for _ in range(5)]))
    host.sync()
    host.sync()
    for _ in range(3):
        host.tick(limits.SUSPECT_AFTER_MS)
    ages = [host.node.context.now - p.confirmed_at for p in host.node.primaries.values()]
    assert sorted(ages) == [0, 1_000, 1_000, 2_000, 2_000]


@pytest.mark.parametrize("ticks", range(15))
def test_one_at_rest_that_loses_its_majority_pauses_whenever_that_is(ticks: int) -> None:
    """Reports are due every fifth tick, and may come before the look that would pause it."""
    group = at_rest()
    leader = group.hosts[A]
    for _ in range(ticks):
        group.tick(limits.TICK_MS)
    for peer in (B, C):
        leader.turn(partial(leader.node.on_peer_down, peer, True))
    for _ in range(2 * limits.SUSPECT_AFTER_MS // limits.TICK_MS):
        leader.tick(limits.TICK_MS)
    assert leader.node.detector.suspected() and leader.primary.paused
    assert not any(leader.node.reports.active), "and does not say that it serves"
