"""Frames and messages: what goes in comes out, and whatever else comes in is refused."""

import contextlib
import re
import struct
import tracemalloc
from dataclasses import fields

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.support.core.message_strategies import HOT, STRATEGIES, contents, messages
from tests.support.paths import DOCS

from ringkeep.core.protocol import limits
from ringkeep.core.protocol.client_requests import Kind, Status
from ringkeep.core.protocol.hot_messages import Acks, Append, Forward, Reply
from ringkeep.core.protocol.messages import Message, Prepare
from ringkeep.core.protocol.types import Epoch, Index, PartitionId
from ringkeep.errors import ProtocolError
from ringkeep.wire.codec import Encoder, decode, encode
from ringkeep.wire.framing import BODY_BYTES, HEADER_BYTES, FrameReader, frame
from ringkeep.wire.handshake import MAGIC, Hello, OpeningReader, opening

# --- every message ----------------------------------------------------------------------------------------


def through(sent: list[Message]) -> list[Message]:
    reader = FrameReader()
    return [message for frame_ in encode(sent) for body in reader.feed(frame_) for message in decode(body)]


@pytest.mark.parametrize("kind", STRATEGIES, ids=lambda kind: kind.__name__)
def test_a_message_comes_back_as_it_was(kind: type) -> None:
    @settings(max_examples=60)
    @given(STRATEGIES[kind])
    def check(message: Message) -> None:
        (back,) = through([message])
        assert contents(back) == contents(message)

    check()


@given(messages)
def test_many_messages_keep_their_order(sent: list[Message]) -> None:
    assert [contents(m) for m in through(sent)] == [contents(m) for m in sent]


def test_nothing_makes_no_frame() -> None:
    assert encode([]) == []


def test_entries_are_bytes_of_their_own() -> None:
    (back,) = through([Append(PartitionId(1), Epoch(1), Epoch(1), Index(1), Index(1), [b"a", b"", b"bc"])])
    assert isinstance(back, Append)
    assert [type(entry) for entry in back.entries] == [bytes, bytes, bytes]


def test_more_than_a_frame_becomes_several() -> None:
    entry = bytes(1_000_000)
    sent: list[Message] = [
        Append(PartitionId(p), Epoch(1), Epoch(1), Index(1), Index(1), [entry]) for p in range(40)
    ]
    frames = encode(sent)
    assert len(frames) == 3
    assert all(len(each) <= limits.FRAME_BYTES for each in frames)
    assert [contents(m) for m in through(sent)] == [contents(m) for m in sent]


def test_a_message_just_fits_a_frame_and_one_byte_more_is_our_mistake() -> None:
    room = BODY_BYTES - 1 - 5 - 38 - 4
    just = Append(PartitionId(1), Epoch(1), Epoch(1), Index(1), Index(1), [bytes(room)])
    (only,) = encode([just])
    assert len(only) == limits.FRAME_BYTES
    just.entries = [bytes(room + 1)]
    with pytest.raises(AssertionError):
        encode([just])


def test_an_append_to_two_backups_is_encoded_once() -> None:
    append = Append(PartitionId(1), Epoch(1), Epoch(1), Index(1), Index(1), [b"entry"])
    encoder = Encoder()
    first = encoder.encode([append])
    assert encoder.holds
    assert encoder.encode([append, Acks([1, 1, 1])]) != first
    append.entries = [b"other"]
    assert encoder.encode([append]) == first, "remembered until the end of the turn"
    encoder.forget()
    assert not encoder.holds
    assert encoder.encode([append]) != first


def test_a_large_append_is_framed_once_for_both_backups_and_arrives_whole() -> None:
    append = Append(PartitionId(1), Epoch(1), Epoch(1), Index(1), Index(1), [bytes(range(256)) * 1_024])
    encoder = Encoder()
    most = 64 << 10
    (first,) = encoder.encode([append], most)
    before, second, after = encoder.encode([Acks([1, 1, 1]), append, Acks([2, 1, 1])], most)
    assert second is first
    assert before != after
    (body,) = FrameReader().feed(first)
    (back,) = decode(body)
    assert contents(back) == contents(append)
    encoder.forget()
    assert encoder.encode([append], most)[0] is not first


def test_a_detail_is_cut() -> None:
    (back,) = through([Reply(1, Epoch(1), Status.DEFECT, True, detail="x" * 100_000)])
    assert isinstance(back, Reply)
    assert back.detail == "x" * 4_096


# --- frames -----------------------------------------------------------------------------------------------


@given(st.lists(st.binary(min_size=1, max_size=50), max_size=20), st.data())
def test_frames_do_not_depend_on_how_bytes_arrive(bodies: list[bytes], data: st.DataObject) -> None:
    stream = b"".join(map(frame, bodies))
    reader = FrameReader()
    got: list[bytes] = []
    while stream:
        count = data.draw(st.integers(1, len(stream)))
        got += reader.feed(stream[:count])
        stream = stream[count:]
    assert got == bodies
    assert reader.buffered_bytes == 0


def test_frames_arrive_byte_by_byte() -> None:
    bodies = [b"\x01one", b"\x01" + bytes(3_000), b"\x01three"]
    reader = FrameReader()
    got = [body for byte in b"".join(map(frame, bodies)) for body in reader.feed(bytes([byte]))]
    assert got == bodies


@pytest.mark.parametrize("length", [0, BODY_BYTES + 1, 2**32 - 1])
def test_a_length_out_of_bounds_is_refused_before_its_body(length: int) -> None:
    header = struct.pack("!II", length, 0)
    for pieces in ([header], [header[:5], header[5:]], [frame(b"\x01ok") + header]):
        reader = FrameReader()
        with pytest.raises(ProtocolError, match=str(length)):
            for piece in pieces:
                reader.feed(piece)


@pytest.mark.parametrize("at", range(4, HEADER_BYTES + 10))
def test_a_flipped_bit_is_noticed(at: int) -> None:
    damaged = bytearray(frame(b"\x01" + b"123456789"))
    damaged[at] ^= 0x10
    with pytest.raises(ProtocolError, match="checksum"):
        FrameReader().feed(bytes(damaged))
    reader = FrameReader()
    reader.feed(bytes(damaged[:11]))
    with pytest.raises(ProtocolError, match="checksum"):
        reader.feed(bytes(damaged[11:]))


def test_a_large_frame_in_small_pieces_takes_little_more_than_itself() -> None:
    body = b"\x01" + bytes(4 * limits.MIB)
    whole = frame(body)
    reader = FrameReader()
    tracemalloc.start()
    got = [found for at in range(0, len(whole), 1_000) for found in reader.feed(whole[at : at + 1_000])]
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert got == [body]
    assert peak < 3 * len(whole)


# --- damage -----------------------------------------------------------------------------------------------


def refused_or_read(body: bytes) -> None:
    """Decoding gives messages or a ProtocolError, and nothing else."""
    try:
        found = decode(body)
    except ProtocolError:
        return
    assert isinstance(found, list)


@settings(max_examples=500)
@given(st.binary(max_size=200))
def test_random_bytes(data: bytes) -> None:
    refused_or_read(data)
    refused_or_read(b"\x01" + data)


@settings(max_examples=500)
@given(st.sampled_from([*range(1, 9), *range(16, 26), *range(32, 35)]), st.binary(max_size=120))
def test_random_payloads(number: int, payload: bytes) -> None:
    refused_or_read(b"\x01" + struct.pack("!BI", number, len(payload)) + payload)


@settings(max_examples=500)
@given(messages.filter(bool), st.data())
def test_mutated_bodies(sent: list[Message], data: st.DataObject) -> None:
    body = bytearray(encode(sent)[0][HEADER_BYTES:])
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, len(body) - 1))
        match data.draw(st.sampled_from(["flip", "drop", "insert", "cut"])):
            case "flip":
                body[at] ^= data.draw(st.integers(1, 255))
            case "drop":
                del body[at]
            case "insert":
                body.insert(at, data.draw(st.integers(0, 255)))
            case "cut":
                del body[at + 1 :]
        if not body:
            break
    refused_or_read(bytes(body))


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"\x02",
        b"\x01\x00\x00\x00\x00\x00",  # type 0
        b"\x01\xff\x00\x00\x00\x00",  # type 255
        b"\x01\x02\x00\x00",  # half a head
        b"\x01\x02\xff\xff\xff\xff",  # a payload behind the frame
        b"\x01\x01\x00\x00\x00\x26" + bytes(34) + b"\xff\xff\xff\xff",  # Append of 2^32 - 1 entries
        b"\x01\x01\x00\x00\x00\x26"
        + bytes(34)
        + b"\x00\x00\x00\x01",  # Append of one entry without its length
        b"\x01\x02\x00\x00\x00\x11" + bytes(17),  # Acks with a part of a row
        b"\x01\x04\x00\x00\x00\x07" + bytes(7),  # Confirm with a part of its round
        b"\x01\x14\x00\x00\x00\x0a\x95\x01\x01\x01\x01\xdd\xff\xff\xff\xff",  # Entries of 2^32 - 1
        b"\x01\x10\x00\x00\x00\x03\x92\x01\xff",  # Prepare with a negative epoch
        b"\x01\x10\x00\x00\x00\x03\x92\xc3\x01",  # Prepare with a boolean partition
        b"\x01\x10\x00\x00\x00\x04\x93\x01\x01\x01",  # Prepare with a field too many
        b"\x01\x10\x00\x00\x00\x04\x92\x01\x01\x01",  # Prepare with something behind it
    ],
)
def test_malformed_bodies(body: bytes) -> None:
    with pytest.raises(ProtocolError):
        decode(body)


def test_what_would_confuse_the_core_is_refused() -> None:
    forward = Forward(1, PartitionId(1), Epoch(1), 1, Kind.PUT, 0, bytes(20), 1, 1, b"k")
    for name, value in (("kind", 99), ("condition", -3), ("origin", bytes(19))):
        wrong = Forward(**{field.name: getattr(forward, field.name) for field in fields(forward)})
        setattr(wrong, name, value)
        with pytest.raises(ProtocolError):
            through([wrong])
    with pytest.raises(ProtocolError):
        through([Reply(1, Epoch(1), 50, True)])


def test_an_amplifying_frame_stays_within_bounds() -> None:
    count = 200_000
    body = (
        b"\x01"
        + struct.pack("!BIHQQQQI", 1, 38 + 4 * count, 1, 1, 1, 1, 1, count)
        + bytes(4 * count)
    )  # fmt: skip
    tracemalloc.start()
    decode(body)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 8 * len(body)


# --- the worked example of docs/protocol.md ----------------------------------------------------------------

EXAMPLE: list[Message] = [
    Append(PartitionId(5), Epoch(3), Epoch(2), Index(41), Index(40), [b"entry-42"]),
    Acks([5, 3, 41]),
    Prepare(PartitionId(6), Epoch(4)),
]


HELLO = Hello("default", "", 1, 1, "node", "0a" * 16, 3, "node-1", "0b" * 16, "0.1.0", 7, 1)


def in_hex(data: bytes) -> str:
    """Sixteen bytes a line, as docs/protocol.md shows them."""
    return "\n".join(data[at : at + 16].hex(" ") for at in range(0, len(data), 16))


@pytest.mark.parametrize("data", [encode(EXAMPLE)[0], opening(HELLO)], ids=["frame", "handshake"])
def test_the_bytes_are_those_of_the_document(data: bytes) -> None:
    document = (DOCS / "protocol.md").read_text(encoding="utf-8")
    assert f"```\n{in_hex(data)}\n```" in document, f"docs/protocol.md should show\n{in_hex(data)}"


@pytest.mark.parametrize(
    "kind", [kind for kind in STRATEGIES if kind not in HOT], ids=lambda kind: kind.__name__
)
def test_the_document_names_every_field(kind: type) -> None:
    document = (DOCS / "protocol.md").read_text(encoding="utf-8")
    (row,) = re.findall(rf"^\| \d+ {kind.__name__} \| (.*) \|$", document, re.MULTILINE)
    while "[" in row:
        row = re.sub(r"\[[^\[\]]*\]", "list", row)
    assert len(row.split(", ")) == len(fields(kind)), f"{kind.__name__} has {[f.name for f in fields(kind)]}"


# --- handshake --------------------------------------------------------------------------------------------


@given(st.integers(1, 200))
def test_a_handshake_arrives_in_any_pieces(step: int) -> None:
    data = opening(HELLO)
    reader = OpeningReader()
    got = [reader.feed(data[at : at + step]) for at in range(0, len(data), step)]
    assert got == [None] * (len(got) - 1) + [HELLO]


def test_a_newer_node_may_say_more() -> None:
    body = b"\x01\x01" + msgspec.msgpack.encode([*msgspec.structs.astuple(HELLO), "further", 7])
    assert OpeningReader().feed(MAGIC + frame(body)) == HELLO


@given(st.binary(max_size=60), st.sampled_from([b"", MAGIC]))
def test_a_handshake_of_random_bytes(data: bytes, before: bytes) -> None:
    with contextlib.suppress(ProtocolError):
        assert OpeningReader().feed(before + data) is None
    with contextlib.suppress(ProtocolError):
        OpeningReader().feed(MAGIC + frame(b"\x01" + data))
