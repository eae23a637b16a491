"""Frames that a node dropped while its store refused writes were lost as with a link: all sides ask again."""

from functools import partial

from tests.support.core.group import speaking_all
from tests.support.core.parts import A, B, Host, a_beat, a_map, a_part

from ringkeep.core.protocol.client_requests import Kind, ListRequest, Request
from ringkeep.core.protocol.hot_messages import Forward
from ringkeep.core.protocol.messages import Heartbeat, Message, Scan
from ringkeep.core.protocol.types import NodeId


class Beating(Host):
    unsaid = ()


def kinds(said: list[tuple[NodeId, Message]]) -> list[type[Message]]:
    return [type(message) for peer, message in said if peer == B]


def asking() -> Beating:
    """Node A, which has asked B, the primary, for a record and for a list, and B's first heartbeat."""
    host = Beating(A)
    host.turn(host.takes(speaking_all(a_map(a_part(B)))), host.hears(B, a_beat(link=1)))
    listed = ListRequest(limit=10, timeout_ms=60_000)
    asked = host.turn(
        partial(host.node.submit, Request(Kind.PUT, b"k", b"v", timeout_ms=60_000)),
        partial(host.node.submit_listing, listed),
    )
    assert {Forward, Scan} <= set(kinds(asked))
    return host


def test_what_was_asked_of_a_node_that_dropped_it_is_asked_again() -> None:
    host = asking()
    assert not {Forward, Scan} & set(kinds(host.turn(host.hears(B, a_beat(link=1)), host.node.on_tick)))
    host.node.context.now += 100
    assert {Forward, Scan} <= set(
        kinds(host.turn(host.hears(B, a_beat(link=2)), host.node.on_tick)) + kinds(_later(host))
    )


def test_a_node_that_dropped_frames_tells_of_it_once_and_asks_again_itself() -> None:
    host = asking()
    before = _links(host)
    host.node.on_frame_lost(B)
    host.node.on_frame_lost(B)
    said = host.turn(host.node.on_tick) + _later(host)
    assert {Forward, Scan} <= set(kinds(said)), "the answers may have been in them"
    assert _links(host) == before + 1


def _later(host: Beating) -> list[tuple[NodeId, Message]]:
    host.node.context.now += 100
    return host.turn(host.node.on_tick)


def _links(host: Beating) -> int:
    """How many links to B this node has had, as its newest heartbeat to B says."""
    beats: list[Heartbeat] = []
    while not beats:
        beats = [beat for peer, beat in _later(host) if peer == B and isinstance(beat, Heartbeat)]
    return beats[-1].link
