"""The Network port, over TCP on loopback: what every network does.

The tests use a `World` only through `start`, `pair`, `until` and what its nodes recorded: a simulated network
can stand in for it.
"""

import asyncio

import pytest
from tests.support.transport.world import A, B, C, World, note, on_both_loops

from ringkeep.core.protocol import limits
from ringkeep.core.protocol.effects import Lane
from ringkeep.core.protocol.hot_messages import Append
from ringkeep.core.protocol.types import Epoch, Index, PartitionId


@on_both_loops
async def test_messages_arrive_once_and_in_order(world: World) -> None:
    a, b = await world.pair()
    entry = bytes(limits.APPEND_BYTES)
    large = [Append(PartitionId(p), Epoch(1), Epoch(1), Index(1), Index(1), [entry]) for p in range(20)]
    for number in range(0, 1_000, 2):
        a.send(b, note(number), note(number + 1))
        if number == 500:
            a.send(b, *large)  # more than a frame
        if number % 100 == 0:
            await asyncio.sleep(0)
    await world.until(lambda: len(b.events.heard) == 1_020, "all messages")
    assert b.events.numbers() == list(range(1_000))
    assert {(peer, incarnation) for peer, incarnation, _ in b.events.heard} == {(A, 1)}
    assert a.events.heard == []


@on_both_loops
async def test_three_nodes_hear_each_other(world: World) -> None:
    nodes = [await world.start(each) for each in (A, B, C)]
    for node in nodes:
        node.meet(*nodes)  # its own address is left out by itself
    await world.until(lambda: all(len(node.events.links) == 2 for node in nodes), "six links")
    shared = Append(PartitionId(1), Epoch(1), Epoch(1), Index(1), Index(1), [b"entry"])
    for node in nodes:
        for other in nodes:
            node.send(other, shared)
    await world.until(lambda: all(len(node.events.heard) == 2 for node in nodes), "six messages")


@on_both_loops
async def test_without_a_link_messages_are_dropped(world: World) -> None:
    a, b = await world.start(A), await world.start(B)
    a.send(b, note(1))
    a.meet(b)
    a.send(b, note(2))
    await world.until(lambda: bool(a.events.links), "the link")
    a.send(b, note(3))
    await world.until(lambda: bool(b.events.heard), "a message")
    assert b.events.numbers() == [3]
    a.meet()
    a.send(b, note(4))
    a.meet(b)
    await world.until(lambda: len(a.events.links) == 2, "the link again")
    a.send(b, note(5))
    await world.until(lambda: len(b.events.heard) == 2, "a message")
    assert b.events.numbers() == [3, 5]
    assert a.events.links == [("up", B, 1)] * 2, "leaving a peer out is no event"


@on_both_loops
async def test_a_stopped_peer_is_refused_and_its_next_life_is_met(world: World) -> None:
    a, b = await world.pair()
    await b.network.close()
    await world.until(lambda: len(a.events.links) == 3, "the refusal", limit_s=1.0)
    assert a.events.links[1:] == [("down", B), ("refused", B)]
    again = await world.start(B, 2, port=b.port)
    again.meet(a)
    await world.until(lambda: a.events.links[-1] == ("up", B, 2), "the next life")
    await world.until(lambda: again.events.links == [("up", A, 1)], "its own link")
    again.send(a, note(7))
    a.send(again, note(8))
    await world.until(lambda: bool(a.events.heard and again.events.heard), "both messages")
    assert a.events.heard[0][:2] == (B, 2)
    assert a.events.links[3:] == [("up", B, 2)], "one event per change"


@on_both_loops
async def test_a_peer_that_was_never_there_is_refused_once(world: World) -> None:
    a, b = await world.start(A), await world.start(B)
    await b.network.close()
    a.meet(b)
    await world.until(lambda: bool(a.events.links), "the refusal")
    await asyncio.sleep(0.1)  # several attempts
    assert a.events.links == [("refused", B)]


@on_both_loops
async def test_an_older_life_is_not_heard(world: World) -> None:
    a = await world.start(A)
    new, old = await world.start(B, 5), await world.start(B, 4)
    new.meet(a)
    await world.until(lambda: bool(new.events.links), "the newer one's link")
    old.meet(a)
    a.meet(old)
    await world.until(lambda: old.events.links == [("down", A)], "the refusal of the older as caller")
    await world.until(lambda: a.events.links == [("down", B)], "the refusal of the older as called")


@on_both_loops
async def test_a_link_to_an_older_life_ends_when_the_newer_calls(world: World) -> None:
    a, old = await world.pair()
    new = await world.start(B, 2)
    new.meet(a)
    await world.until(lambda: a.events.links[-1] == ("down", B), "the end of the old link")
    a.meet(new)
    await world.until(lambda: a.events.links[-1] == ("up", B, 2), "the new link")
    assert old.events.links[0] == ("up", A, 1)


@pytest.mark.parametrize(
    ("mine", "theirs", "meet"),
    [
        ({}, {"cluster": "other"}, False),
        ({"cluster_id": "1"}, {"cluster_id": "2"}, False),
        ({"cluster_id": "1"}, {"cluster_id": "1"}, True),
        ({"cluster_id": ""}, {"cluster_id": "2"}, True),  # the caller is still forming
        ({"cluster_id": "1"}, {"cluster_id": ""}, True),
    ],
)
@on_both_loops
async def test_only_one_cluster_speaks(
    world: World, mine: dict[str, str], theirs: dict[str, str], meet: bool
) -> None:
    a, b = await world.start(A, **mine), await world.start(B, **theirs)  # type: ignore[arg-type]  # strings
    a.meet(b)
    await world.until(lambda: bool(a.events.links), "an answer")
    assert a.events.links == [("up", B, 1) if meet else ("down", B)]


@on_both_loops
async def test_the_cluster_id_counts_as_it_is_at_the_handshake(world: World) -> None:
    a, b = await world.start(A), await world.start(B, cluster_id="2")
    a.identity.cluster_id = "1"
    a.meet(b)
    await world.until(lambda: a.events.links == [("down", B)], "the refusal")
    a.identity.cluster_id = "2"
    await world.until(lambda: a.events.links == [("down", B), ("up", B, 1)], "the link")


@on_both_loops
async def test_another_node_on_that_address_is_not_spoken_to(world: World) -> None:
    a, c = await world.start(A), await world.start(C)
    a.network.set_peers({B: c.address, C: a.address})
    await world.until(lambda: len(a.events.links) == 2, "both refusals")
    a.network.send(B, Lane.MAIN, [note(1)])
    assert sorted(a.events.links) == [("down", B), ("down", C)]
    a.network.set_peers({C: c.address})
    await world.until(lambda: a.events.links[-1] == ("up", C, 1), "the link to the right node")
    assert c.events.heard == []


@on_both_loops
async def test_a_peer_that_moves_is_followed(world: World) -> None:
    a, b = await world.pair()
    moved = await world.start(B, 1)
    a.meet(moved)
    assert len(a.events.links) == 1, "no event from within a call"
    await world.until(lambda: len(a.events.links) == 3, "the move")
    assert a.events.links[1:] == [("down", B), ("up", B, 1)]
    a.send(moved, note(1))
    await world.until(lambda: bool(moved.events.heard), "the message")
    assert b.events.heard == []
