"""The cluster map as bytes: exact, small, deterministic, and never trusted."""

import contextlib
import random
import zlib

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ringkeep.core.cluster import feature_level
from ringkeep.core.protocol import limits
from ringkeep.core.protocol.cluster_map import ClusterMap, NodeInfo, NodeState, Partition
from ringkeep.core.protocol.types import Epoch, Incarnation, MapVersion, NodeId
from ringkeep.errors import ConfigurationError, ProtocolError
from ringkeep.wire import mapcodec

numbers = st.integers(0, 2**64 - 1)
texts = st.text(max_size=20)


def node_id(random_bits: random.Random) -> NodeId:
    return NodeId(f"{random_bits.getrandbits(128):032x}")


def a_map(partitions: int, nodes: int, seed: int = 1) -> ClusterMap:
    """A cluster after years: epochs, incarnations and configurations all differ; some moves are under way."""
    draw = random.Random(seed)
    infos = tuple(
        NodeInfo(
            node_id(draw), f"node-{n}", f"10.0.{n // 256}.{n % 256}:8000", f"10.0.{n // 256}.{n % 256}:8002",
            f"zone-{n % 7}", 1, Incarnation(draw.randrange(1, 50)),
        )
        for n in range(nodes)
    )  # fmt: skip
    parts = []
    for _ in range(partitions):
        voters = tuple(info.id for info in draw.sample(infos, 3))
        moving = draw.random() < 0.02
        parts.append(
            Partition(
                epoch=Epoch(draw.randrange(1, 200)),
                primary=voters[0] if draw.random() < 0.95 else voters[1],
                incarnation=Incarnation(draw.randrange(1, 50)),
                voters=voters,
                config=MapVersion(draw.randrange(1, 5_000)),
                old_voters=voters if moving else (),
                learner=draw.choice(infos).id if moving else None,
                replaces=voters[2] if moving else None,
            )
        )
    return ClusterMap(
        MapVersion(5_000), "default", f"{7:032x}", 3, infos, tuple(parts), {"grace_ms": 600_000}
    )


@st.composite
def maps(draw: st.DrawFn) -> ClusterMap:
    ids = draw(st.lists(texts.map(NodeId), min_size=1, max_size=5, unique=True))
    some = st.sampled_from(ids)
    several = st.lists(some, max_size=4).map(tuple)
    node = st.builds(
        NodeInfo,
        some,
        texts,
        texts,
        texts,
        texts,
        numbers,
        numbers.map(Incarnation),
        st.sampled_from(NodeState),
    )
    partition = st.builds(
        Partition, numbers.map(Epoch), some, numbers.map(Incarnation), several, numbers.map(MapVersion),
        several, st.none() | some, st.none() | some,
    )  # fmt: skip
    return ClusterMap(
        version=MapVersion(draw(numbers)),
        cluster=draw(texts),
        cluster_id=draw(texts),
        replication=draw(numbers),
        nodes=tuple(draw(st.lists(node, max_size=5, unique_by=lambda info: info.id))),
        partitions=tuple(draw(st.lists(partition, max_size=8))),
        settings=draw(st.dictionaries(texts, st.integers(-(2**63), 2**63 - 1), max_size=4)),
        format=draw(st.integers(1, 9)),
    )


@given(maps())
def test_a_map_comes_back_as_it_was(cluster_map: ClusterMap) -> None:
    encoded = mapcodec.encode(cluster_map)
    decoded = mapcodec.decode(encoded)
    assert decoded == cluster_map
    assert mapcodec.encode(decoded) == encoded
    assert mapcodec.digest(decoded) == mapcodec.digest(cluster_map)


def test_the_order_of_settings_does_not_show() -> None:
    one = a_map(4, 3).next(settings={"a": 1, "b": 2})
    other = a_map(4, 3).next(settings={"b": 2, "a": 1})
    assert mapcodec.encode(one) == mapcodec.encode(other)
    assert mapcodec.digest(one) != mapcodec.digest(one.next())


def test_a_large_cluster_stays_small() -> None:
    large = a_map(4_096, 200)
    encoded = mapcodec.encode(large)
    assert len(encoded) < 100_000, f"4,096 partitions on 200 nodes take {len(encoded)} bytes"
    assert mapcodec.decode(encoded) == large


def test_a_map_past_the_bound_is_refused() -> None:
    with pytest.raises(ConfigurationError, match=str(limits.MAP_BYTES)):
        mapcodec.encode(a_map(65_536, 2_000))


@given(st.data())
def test_damage_is_a_protocol_error_or_harmless(data: st.DataObject) -> None:
    whole = a_map(8, 3)
    encoded = bytearray(mapcodec.encode(whole))
    for _ in range(data.draw(st.integers(1, 3))):
        encoded[data.draw(st.integers(0, len(encoded) - 1))] ^= data.draw(st.integers(1, 255))
    with contextlib.suppress(ProtocolError):
        assert mapcodec.decode(bytes(encoded)) == whole  # zlib's own checksum lets no other pass


@given(st.binary(max_size=200))
def test_random_bytes_are_a_protocol_error(data: bytes) -> None:
    with pytest.raises(ProtocolError):
        mapcodec.decode(data)
    with pytest.raises(ProtocolError):
        mapcodec.decode(b"\x01" + zlib.compress(data))


def packed(columns: list[object]) -> bytes:
    return b"\x01" + zlib.compress(msgspec.msgpack.encode(columns))


@pytest.mark.parametrize(
    ("column", "wrong"),
    [
        (1, -1),  # version
        (5, [["a", "b"]]),  # settings
        (7, [[9, "n", "h", "p", "z", 1, 1, "active"]]),  # a node that is not in the table
        (7, [[0, "n", "h", "p", "z", 1, 1, "unheard-of"]]),
        (8, [1]),  # one epoch for two partitions
        (9, [0, 9]),  # a primary that is not in the table
        (12, [3, 2**40]),  # counts that do not add up
        (13, [0, 1, 2, 0, 1, 9]),  # a voter that is not in the table
        (16, [0, 99]),  # a learner that is not in the table
    ],
)
def test_inconsistent_columns_are_a_protocol_error(column: int, wrong: object) -> None:
    columns = msgspec.msgpack.decode(zlib.decompress(mapcodec.encode(a_map(2, 3))[1:]))
    assert mapcodec.decode(packed(columns)) == a_map(2, 3)
    columns[column] = wrong
    with pytest.raises(ProtocolError):
        mapcodec.decode(packed(columns))


def test_a_bomb_is_not_unpacked() -> None:
    with pytest.raises(ProtocolError):
        mapcodec.decode(b"\x01" + zlib.compress(bytes(64 * limits.MIB)))


def test_the_map_of_a_cluster_that_uses_a_newer_feature_level_is_refused() -> None:
    """An older version would meet messages and rows later that it cannot read."""
    plain = a_map(2, 3)
    newest = plain.next(settings={feature_level.SETTING: feature_level.NEWEST})
    assert mapcodec.encode(plain)[0] == feature_level.FIRST
    encoded = mapcodec.encode(newest)
    assert encoded[0] == feature_level.NEWEST and mapcodec.decode(encoded) == newest
    for level in (0, feature_level.NEWEST + 1):
        with pytest.raises(ProtocolError, match=f"feature level {level}.*as new as the other nodes'"):
            mapcodec.decode(bytes([level]) + encoded[1:])
