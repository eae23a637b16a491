"""The peer port against strangers, liars and peers that stall: they lose their connection, no more."""

import asyncio
import random
import struct
from typing import ClassVar, cast

import msgspec
import pytest
from tests.support.transport.world import A, B, C, Raw, World, note, on_both_loops, said

from ringkeep.core.protocol import limits
from ringkeep.core.protocol.effects import Lane
from ringkeep.core.protocol.hot_messages import Append
from ringkeep.core.protocol.types import Epoch, Index, PartitionId
from ringkeep.transport import listener, outgoing
from ringkeep.wire.codec import encode
from ringkeep.wire.framing import frame
from ringkeep.wire.handshake import MAGIC, Code, HandshakeRefusal, Role, Welcome, opening


def damaged(whole: bytes) -> bytes:
    return whole[:-1] + bytes([whole[-1] ^ 1])


FOUR_GIB = struct.pack("!II", 2**32 - 1, 0)
GARBAGE = {
    "random": random.Random(1).randbytes(10_000),
    "http": b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
    "no magic": frame(b"\x01\x01"),
    "four GiB": MAGIC + FOUR_GIB,
    "bad checksum": MAGIC + damaged(frame(b"\x01\x01abc")),
    "a frame too long for a handshake": MAGIC + frame(b"\x01" + bytes(5_000)),
    "an answer": opening(HandshakeRefusal("x", "y")),
    "half a Hello": MAGIC + frame(b"\x01\x01\x91\x01"),
    "an empty kind": MAGIC + frame(b"\x01"),
}


@pytest.mark.parametrize("kind", GARBAGE)
@on_both_loops
async def test_garbage_closes_its_own_connection_only(
    world: World, kind: str, caplog: pytest.LogCaptureFixture
) -> None:
    a, b = await world.pair()
    raw = await Raw.to(a)
    raw.writer.write(GARBAGE[kind])
    await raw.closed()
    b.send(a, note(1))
    await world.until(lambda: a.events.numbers() == [1], "a message as before")
    assert a.network.listener.openings == 0
    assert [record for record in caplog.records if "stranger" in record.getMessage()]


@pytest.mark.parametrize(
    "bad", [FOUR_GIB, damaged(encode([note(1)])[0]), frame(b"\x01\x63\0\0\0\0"), frame(b"\x02")]
)
@on_both_loops
async def test_a_peer_that_sends_garbage_loses_its_connection(world: World, bad: bytes) -> None:
    a = await world.start(A)
    raw = await Raw.as_peer(a)
    raw.writer.write(encode([note(1)])[0])
    await world.until(lambda: a.events.numbers() == [1], "a good message")
    raw.writer.write(bad)
    await raw.closed()
    again = await Raw.as_peer(a, link=2)
    again.writer.write(encode([note(2)])[0])
    await world.until(lambda: a.events.numbers() == [1, 2], "a good message again")
    again.writer.close()


@on_both_loops
async def test_half_a_handshake_ends_at_its_deadline(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(listener, "OPENING_S", 0.05)
    a = await world.start(A)
    silent, half = await Raw.to(a), await Raw.to(a)
    half.writer.write(opening(said(a))[:20])
    await world.until(lambda: a.network.listener.openings == 2, "two strangers")
    await silent.closed()
    await half.closed()
    assert a.network.listener.openings == 0


@on_both_loops
async def test_idle_strangers_keep_no_peer_out(world: World) -> None:
    a, b = await world.start(A), await world.start(B)
    a.network.listener.room = listener.Room(openings=16)
    strangers = [await Raw.to(a) for _ in range(200)]
    b.meet(a)
    await world.until(lambda: b.events.links == [("up", A, 1)], "the peer's link")
    assert a.network.listener.openings <= 16
    for stranger in strangers[:100]:
        await stranger.closed()
    for stranger in strangers:
        stranger.writer.close()


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"role": Role.CLIENT}, Code.ROLE),
        ({"role": "unheard-of"}, Code.ROLE),
        ({"protocol_low": 7, "protocol_high": 9}, Code.PROTOCOL),
        ({"cluster": "other"}, Code.CLUSTER),
        ({"node_id": A}, Code.SELF),
        ({"expected": C}, Code.WRONG_NODE),
        ({"expected": ""}, Code.WRONG_NODE),
        ({"incarnation": 0}, Code.INCARNATION),
        ({"node_id": ""}, Code.INCARNATION),
    ],
)
@on_both_loops
async def test_a_refusal_says_why(world: World, change: dict[str, object], code: Code) -> None:
    a = await world.start(A)
    raw = await Raw.to(a)
    raw.writer.write(opening(msgspec.structs.replace(said(a), **change)))
    answer = await raw.answer()
    assert isinstance(answer, HandshakeRefusal)
    assert answer.code == code
    assert answer.detail
    await raw.closed()


@on_both_loops
async def test_a_welcome_names_both_ends(world: World) -> None:
    a = await world.start(A, 7)
    raw = await Raw.to(a)
    raw.writer.write(opening(said(a, B, 3)))
    answer = await raw.answer()
    assert isinstance(answer, Welcome)
    assert (answer.node_id, answer.incarnation, answer.caller_id, answer.caller_incarnation) == (A, 7, B, 3)
    raw.writer.close()


@on_both_loops
async def test_a_new_link_discards_the_old_one_on_every_lane(world: World) -> None:
    a = await world.start(A)
    old = await Raw.as_peer(a, link=3)
    bulk = await Raw.as_peer(a, link=3, lane=Lane.BULK)
    first, second = encode([note(1)])[0], encode([note(2)])[0]
    old.writer.write(first + second[:10])
    await world.until(lambda: a.events.numbers() == [1], "the first message")
    new = await Raw.as_peer(a, link=4)
    bulk.writer.write(encode([note(9)])[0])
    old.writer.write(second[10:] + encode([note(3)])[0])
    new.writer.write(encode([note(4)])[0])
    await world.until(lambda: len(a.events.heard) > 1, "the message on the new connection")
    await old.closed()
    await bulk.closed()
    assert a.events.numbers() == [1, 4]
    late = await Raw.to(a)
    late.writer.write(opening(said(a, link=3, lane=Lane.BULK)))
    refusal = await late.answer()
    assert isinstance(refusal, HandshakeRefusal) and refusal.code == Code.OLDER
    await late.closed()
    newer = await Raw.as_peer(a, incarnation=2)
    await new.closed()
    newer.writer.write(encode([note(5)])[0])
    await world.until(lambda: len(a.events.heard) > 2, "the message of the next life")
    assert [incarnation for _, incarnation, _ in a.events.heard] == [1, 1, 2]
    newer.writer.close()


@on_both_loops
async def test_bytes_behind_a_hello_are_refused(world: World) -> None:
    a = await world.start(A)
    raw = await Raw.to(a)
    raw.writer.write(opening(said(a)) + encode([note(1)])[0])
    await raw.closed()
    assert a.events.heard == []


class Fake(asyncio.Protocol):
    """A listener that answers a Hello as told, and then reads nothing, or speaks where it should not."""

    alive: ClassVar[list["Fake"]] = []  # asyncio's loop keeps no transport that does not read

    def __init__(self, answer: bytes, then: bytes = b"") -> None:
        self.answer, self.then = answer, then
        self.alive.append(self)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)  # uvloop's is none by its class

    def data_received(self, data: bytes) -> None:
        self.transport.pause_reading()
        if self.answer:
            self.transport.write(self.answer)
        if self.then:
            asyncio.get_running_loop().call_later(0.01, self.transport.write, self.then)


WELCOME = opening(Welcome("test", "", 1, B, 1, "node-b", "", A, 1))


@on_both_loops
async def test_a_peer_that_does_not_read_loses_its_link(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "LINK_BUFFER_BYTES", 4 * limits.MIB)
    server = await asyncio.get_running_loop().create_server(lambda: Fake(WELCOME), "127.0.0.1", 0)
    a = await world.start(A)
    a.network.set_peers({B: f"127.0.0.1:{server.sockets[0].getsockname()[1]}"})
    await world.until(lambda: a.events.links == [("up", B, 1)], "the link")
    message = Append(PartitionId(1), Epoch(1), Epoch(1), Index(1), Index(1), [bytes(limits.MIB)])
    for _ in range(100):
        a.network.send(B, Lane.BULK, [message])
        await asyncio.sleep(0)
    await world.until(lambda: a.events.links[:3] == [("up", B, 1), ("down", B), ("up", B, 1)], "a new link")
    server.close()


@pytest.mark.parametrize(
    ("answer", "then"),
    [
        (b"", b""),  # silence
        (b"RINGKEEPER", b""),
        (MAGIC + FOUR_GIB, b""),
        (opening(Welcome("test", "", 1, C, 1, "node-c", "", A, 1)), b""),  # another node
        (opening(Welcome("test", "", 1, B, 1, "node-b", "", A, 9)), b""),  # an answer to another life
        (opening(Welcome("test", "", 2, B, 1, "node-b", "", A, 1)), b""),  # a version that was not offered
        (opening(HandshakeRefusal("unheard-of", "because")), b""),
    ],
)
@on_both_loops
async def test_a_wrong_answer_makes_no_link(
    world: World, monkeypatch: pytest.MonkeyPatch, answer: bytes, then: bytes
) -> None:
    monkeypatch.setattr(outgoing, "HANDSHAKE_S", 0.05)
    server = await asyncio.get_running_loop().create_server(lambda: Fake(answer, then), "127.0.0.1", 0)
    a = await world.start(A)
    a.network.set_peers({B: f"127.0.0.1:{server.sockets[0].getsockname()[1]}"})
    await world.until(lambda: bool(a.events.links), "the failure")
    assert a.events.links == [("down", B)]
    server.close()


@on_both_loops
async def test_a_peer_that_speaks_where_it_should_hear_loses_its_link(world: World) -> None:
    speaking = encode([note(1)])[0]
    server = await asyncio.get_running_loop().create_server(lambda: Fake(WELCOME, speaking), "127.0.0.1", 0)
    a = await world.start(A)
    a.network.set_peers({B: f"127.0.0.1:{server.sockets[0].getsockname()[1]}"})
    await world.until(lambda: a.events.links[:2] == [("up", B, 1), ("down", B)], "the loss")
    assert a.events.heard == []
    server.close()
