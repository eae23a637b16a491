"""Every bit flipped, every frame cut short: refused, by the one error that closes a connection.

Also that the tests know every kind of message: a new one fails here until it has what they need.
"""

import struct
from collections import defaultdict
from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.support.core.message_strategies import HOT, STRATEGIES, contents

from ringkeep.coordination.codec import decode_member, encode_member
from ringkeep.core.protocol.cluster_map import ClusterMap, Member, NodeInfo, Partition
from ringkeep.core.protocol.messages import Message
from ringkeep.core.protocol.types import Epoch, Incarnation, MapVersion, NodeId
from ringkeep.errors import ProtocolError
from ringkeep.wire import codec, mapcodec
from ringkeep.wire.codec import decode, encode
from ringkeep.wire.framing import FORMAT_BYTE, HEADER_BYTES, FrameReader, frame
from ringkeep.wire.handshake import HandshakeRefusal, Hello, Opening, OpeningReader, Welcome, opening

every_kind = pytest.mark.parametrize("kind", STRATEGIES, ids=lambda kind: kind.__name__)
thorough = settings(max_examples=15, derandomize=True, suppress_health_check=[HealthCheck.data_too_large])
"""For tests that try every place in each example."""

LONGEST = 400
"""Of what is damaged in every place: longer examples show nothing more."""


def flips(data: bytes) -> Iterator[bytes]:
    """The bytes with each of their bits flipped, one at a time."""
    for bit in range(8 * len(data)):
        damaged = bytearray(data)
        damaged[bit >> 3] ^= 1 << (bit & 7)
        yield bytes(damaged)


def frames_of(kind: type) -> st.SearchStrategy[tuple[Message, bytes]]:
    """A message of that kind, and the frame that holds it alone."""
    pairs = STRATEGIES[kind].map(lambda message: (message, encode([message])[0]))
    return pairs.filter(lambda pair: len(pair[1]) <= LONGEST)


# --- the tests know all there is -----------------------------------------------------------------------


def test_every_kind_of_message_can_be_written_read_and_drawn() -> None:
    numbers = [number for number, read in enumerate(codec._READERS) if read is not codec._unknown]
    assert set(codec._WRITERS) == set(STRATEGIES) == set(Message.__args__)
    assert len(numbers) == len(STRATEGIES) + 2, "each has a number of its own, Forward and Reply two"
    assert set(HOT) < set(STRATEGIES)


@every_kind
def test_every_field_takes_different_values(kind: type) -> None:
    seen: dict[str, set[str]] = defaultdict(set)

    @settings(max_examples=40, derandomize=True, database=None)
    @given(STRATEGIES[kind])
    def draw(message: Message) -> None:
        for name in message.__dataclass_fields__:
            seen[name].add(repr(getattr(message, name)))

    draw()
    assert [name for name, values in seen.items() if len(values) < 2] == [], "fields that no test varies"


# --- frames --------------------------------------------------------------------------------------------


@every_kind
def test_a_frame_may_be_split_anywhere(kind: type) -> None:
    @thorough
    @given(frames_of(kind))
    def check(made: tuple[Message, bytes]) -> None:
        message, whole = made
        for at in range(len(whole) + 1):
            reader = FrameReader()
            bodies = reader.feed(whole[:at]) + reader.feed(whole[at:])
            ((back,),) = [decode(body) for body in bodies]
            assert contents(back) == contents(message)
            assert reader.buffered_bytes == 0

    check()


def bodies_after(damaged: bytes, then: bytes) -> list[bytes]:
    """What a connection takes from a damaged frame and what follows it, until it is closed."""
    reader = FrameReader()
    found: list[bytes] = []
    try:
        found += reader.feed(damaged)
        while reader.buffered_bytes and reader.buffered_bytes <= 1 << 16:  # it announced more than came
            found += reader.feed(then)
    except ProtocolError:
        pass
    return found


@every_kind
def test_no_flipped_bit_lets_a_message_through(kind: type) -> None:
    @thorough
    @given(frames_of(kind))
    def check(made: tuple[Message, bytes]) -> None:
        for damaged in flips(made[1]):
            assert bodies_after(damaged, then=made[1]) == []

    check()


@every_kind
def test_no_frame_that_is_cut_short_gives_a_message(kind: type) -> None:
    @thorough
    @given(frames_of(kind))
    def check(made: tuple[Message, bytes]) -> None:
        for cut in range(len(made[1])):
            reader = FrameReader()
            assert reader.feed(made[1][:cut]) == []
            assert reader.buffered_bytes == cut, "it waits for the rest"
            # Something else comes instead of the rest: refused, unless it begins as the rest would.
            assert set(bodies_after(made[1][:cut], then=made[1])) <= {made[1][HEADER_BYTES:]}

    check()


# --- bodies whose checksum is right: written by a program with a defect --------------------------------


@every_kind
def test_a_body_that_is_cut_short_is_refused(kind: type) -> None:
    @thorough
    @given(frames_of(kind))
    def check(made: tuple[Message, bytes]) -> None:
        body = made[1][HEADER_BYTES:]
        assert decode(body[:1]) == []
        for cut in {0, *range(2, len(body))}:
            with pytest.raises(ProtocolError):
                decode(body[:cut])

    check()


@every_kind
def test_a_payload_that_is_cut_short_is_refused_or_another_message(kind: type) -> None:
    """The lengths are right, and bytes are missing: some kinds end with bytes of any number."""

    @thorough
    @given(frames_of(kind))
    def check(made: tuple[Message, bytes]) -> None:
        number, payload = made[1][HEADER_BYTES + 1], made[1][HEADER_BYTES + 6 :]
        for cut in range(len(payload)):
            read_or_refused(FORMAT_BYTE + struct.pack("!BI", number, cut) + payload[:cut])

    check()


@every_kind
def test_a_flipped_bit_in_a_body_is_read_or_refused(kind: type) -> None:
    @thorough
    @given(frames_of(kind))
    def check(made: tuple[Message, bytes]) -> None:
        for damaged in flips(made[1][HEADER_BYTES:]):
            read_or_refused(damaged)

    check()


def read_or_refused(body: bytes) -> None:
    """Decoding gives messages or a ProtocolError. What was read can be written again."""
    try:
        found = decode(body)
    except ProtocolError:
        return
    again = [message for whole in encode(found) for message in decode(whole[HEADER_BYTES:])]
    assert [contents(message) for message in again] == [contents(message) for message in found]


@settings(max_examples=300, derandomize=True)
@given(st.integers(0, 255), st.binary(max_size=120))
def test_a_payload_of_any_type_is_read_or_refused(number: int, payload: bytes) -> None:
    read_or_refused(FORMAT_BYTE + struct.pack("!BI", number, len(payload)) + payload)


# --- handshake -----------------------------------------------------------------------------------------

texts = st.text(max_size=20)
numbers = st.integers(0, 2**32 - 1)
OPENINGS: list[st.SearchStrategy[Opening]] = [
    st.builds(
        Hello, texts, texts, numbers, numbers, texts, texts, numbers, texts, texts, texts, numbers, numbers
    ),
    st.builds(Welcome, texts, texts, numbers, texts, numbers, texts, texts, texts, numbers),
    st.builds(HandshakeRefusal, texts, texts),
]


@pytest.mark.parametrize("strategy", OPENINGS, ids=["hello", "welcome", "refusal"])
def test_a_handshake_comes_back_however_it_is_split_and_never_damaged(
    strategy: st.SearchStrategy[Opening],
) -> None:
    @thorough
    @given(strategy)
    def check(message: Opening) -> None:
        whole = opening(message)
        for at in range(len(whole)):
            reader = OpeningReader()
            assert reader.feed(whole[:at]) is None
            assert reader.feed(whole[at:]) == message
        for damaged in flips(whole):
            try:
                assert OpeningReader().feed(damaged) is None, "no more than: waits for the rest"
            except ProtocolError:
                continue
        with pytest.raises(ProtocolError):
            OpeningReader().feed(whole + b"\0")

    check()


# --- the map, and a member's registration --------------------------------------------------------------

A, B, C, D = (NodeId(f"{number:032x}") for number in range(4))
NODES = tuple(
    NodeInfo(node, f"n{i}", f"h:{i}", f"p:{i}", f"z{i}", i, Incarnation(i))
    for i, node in enumerate((A, B, C, D))
)
PARTS = (
    Partition(Epoch(3), A, Incarnation(1), (A, B, C), MapVersion(7)),
    Partition(Epoch(1), B, Incarnation(2), (B, C, D), MapVersion(8), old_voters=(B, C, A)),
    Partition(Epoch(300), C, Incarnation(9), (C, A, B), MapVersion(6), learner=D, replaces=B),
)
MAP = ClusterMap(MapVersion(9), "test", "c" * 32, 3, NODES, PARTS, {"grace_ms": 600_000})


def test_every_flipped_bit_in_a_map_is_refused_or_harmless() -> None:
    whole = mapcodec.encode(MAP)
    refused = 0
    for damaged in flips(whole):
        try:
            assert mapcodec.decode(damaged) == MAP
        except ProtocolError:
            refused += 1
    assert refused >= 8 * len(whole) - 8, "hardly a bit of it does not matter"


def test_a_map_that_is_cut_short_or_followed_by_something_is_refused() -> None:
    whole = mapcodec.encode(MAP)
    assert mapcodec.decode(whole) == MAP
    for cut in range(len(whole)):
        with pytest.raises(ProtocolError):
            mapcodec.decode(whole[:cut])
    for more in (b"\0", whole):
        with pytest.raises(ProtocolError):
            mapcodec.decode(whole + more)


members = st.builds(
    Member, st.just(A), texts, texts, texts, texts, *(numbers for _ in range(4)), numbers.map(Incarnation),
    numbers.map(MapVersion), cluster_id=texts, software=texts, protocol=numbers,
)  # fmt: skip


@thorough
@given(members, texts, numbers)
def test_a_registration_comes_back_and_damage_is_refused_or_read(
    member: Member, process: str, sequence: int
) -> None:
    whole = encode_member(member, process)
    found, by = decode_member(whole, sequence)
    assert (found.sequence, by) == (sequence, process)
    assert encode_member(found, by) == whole
    for cut in range(len(whole)):
        with pytest.raises(ProtocolError):
            decode_member(whole[:cut], sequence)
    for damaged in flips(whole):
        try:
            decode_member(damaged, sequence)
        except ProtocolError:
            continue


def test_a_frame_never_holds_nothing() -> None:
    with pytest.raises(AssertionError):
        frame(b"")
