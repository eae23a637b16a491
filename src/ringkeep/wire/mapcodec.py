"""The cluster map as bytes: for its znode, for MapPush, and for the start-up copy on disk.

u8 format, then zlib over one msgpack array. The format is the feature level of the cluster: a version that
does not speak it refuses the map, before it meets anything else that it cannot read. Partitions are columns
of small numbers (equal neighbours compress well), and nodes are given as positions in one table of ids.
Equal maps give equal bytes with the same zlib; `digest` does not depend on zlib at all.
"""

import zlib
from itertools import accumulate, pairwise
from typing import Annotated, Final, NamedTuple

import msgspec

from ringkeep.core.cluster.feature_level import FIRST, NEWEST, feature_level
from ringkeep.core.protocol import limits
from ringkeep.core.protocol.cluster_map import ClusterMap, NodeInfo, NodeState, Partition
from ringkeep.core.protocol.types import Epoch, Incarnation, Index, MapVersion, NodeId
from ringkeep.errors import ConfigurationError, ProtocolError

UNPACKED_BYTES: Final = 4 * limits.MIB  # a map that unpacks to more is refused: it is a zip bomb, or not ours
_COMPRESSION: Final = 9  # maps change seldom: 4,096 partitions take about 10 ms

_MOST_PARTITIONS: Final = 65_536
_Short = Annotated[str, msgspec.Meta(max_length=1_024)]
_Number = Annotated[int, msgspec.Meta(ge=0)]
_Column = Annotated[list[_Number], msgspec.Meta(max_length=_MOST_PARTITIONS)]
_Flat = Annotated[list[_Number], msgspec.Meta(max_length=_MOST_PARTITIONS * 16)]
_NodeRow = tuple[_Number, _Short, _Short, _Short, _Short, _Number, _Number, NodeState]


class _Columns(NamedTuple):
    """What is packed, in this order. A `*_count` column gives the number of items of the flat list for each
    row."""

    format: _Number
    version: _Number
    cluster: _Short
    cluster_id: _Short
    replication: _Number
    settings: Annotated[list[tuple[_Short, int]], msgspec.Meta(max_length=1_024)]
    ids: Annotated[list[_Short], msgspec.Meta(max_length=_MOST_PARTITIONS)]
    nodes: Annotated[list[_NodeRow], msgspec.Meta(max_length=_MOST_PARTITIONS)]
    epoch: _Column
    primary: _Column
    incarnation: _Column
    config: _Column
    voter_count: _Column
    voters: _Flat
    old_voter_count: _Column
    old_voters: _Flat
    learner: _Column  # position + 1, 0 for none; `replaces` likewise
    replaces: _Column
    base: _Column


_decoder: Final = msgspec.msgpack.Decoder(_Columns)
_pack: Final = msgspec.msgpack.Encoder().encode


def size(cluster_map: ClusterMap) -> int:
    """Return the size of the encoded map in bytes. Cost: that of encoding it."""
    return len(_encoded(cluster_map))


def encode(cluster_map: ClusterMap) -> bytes:
    """Return the map as bytes. Raises ConfigurationError if they are more than limits.MAP_BYTES."""
    encoded = _encoded(cluster_map)
    if len(encoded) > limits.MAP_BYTES:
        raise ConfigurationError(
            f"the cluster map takes {len(encoded)} bytes, {limits.MAP_BYTES} are allowed: "
            f"fewer partitions ({len(cluster_map.partitions)}) or nodes ({len(cluster_map.nodes)})"
        )
    return encoded


def _encoded(cluster_map: ClusterMap) -> bytes:
    return bytes([feature_level(cluster_map)]) + zlib.compress(_pack(_columns(cluster_map)), _COMPRESSION)


def decode(encoded: bytes) -> ClusterMap:
    """Return the map. Raises ProtocolError on bytes that `encode` does not make."""
    if not 1 < len(encoded) <= limits.MAP_BYTES:
        raise ProtocolError(f"a cluster map of {len(encoded)} bytes")
    if not FIRST <= encoded[0] <= NEWEST:
        raise ProtocolError(
            f"the cluster map is of feature level {encoded[0]}, this version reads up to {NEWEST}: start a"
            " version that is as new as the other nodes'"
        )
    try:
        columns = _decoder.decode(_unpack(encoded))
    except (zlib.error, ValueError, msgspec.MsgspecError) as error:
        raise ProtocolError(f"malformed cluster map: {error}") from error
    return _cluster_map(columns)


def digest(cluster_map: ClusterMap) -> int:
    """Return a CRC-32 of the map's contents: equal on every node that holds an equal map."""
    return zlib.crc32(_pack(_columns(cluster_map)))


def _unpack(encoded: bytes) -> bytes:
    unpacker = zlib.decompressobj()
    unpacked = unpacker.decompress(memoryview(encoded)[1:], UNPACKED_BYTES)
    if not unpacker.eof or unpacker.unused_data or unpacker.unconsumed_tail:
        raise ProtocolError("malformed cluster map: cut short, too long, or followed by something")
    return unpacked


def _columns(cluster_map: ClusterMap) -> _Columns:
    nodes, partitions = cluster_map.nodes, cluster_map.partitions
    mentioned: set[str] = set()
    for part in partitions:
        mentioned.add(part.primary)
        mentioned.update(part.voters, part.old_voters)
        mentioned.update(node for node in (part.learner, part.replaces) if node is not None)
    known: list[str] = [node.id for node in nodes]
    ids = list(dict.fromkeys(known + sorted(mentioned.difference(known))))
    at = {node: position for position, node in enumerate(ids)}
    return _Columns(
        format=cluster_map.format,
        version=cluster_map.version,
        cluster=cluster_map.cluster,
        cluster_id=cluster_map.cluster_id,
        replication=cluster_map.replication,
        settings=sorted(cluster_map.settings.items()),
        ids=ids,
        nodes=[(at[n.id], n.name, n.http, n.peer, n.zone, n.weight, n.incarnation, n.state) for n in nodes],
        epoch=[part.epoch for part in partitions],
        primary=[at[part.primary] for part in partitions],
        incarnation=[part.incarnation for part in partitions],
        config=[part.config for part in partitions],
        voter_count=[len(part.voters) for part in partitions],
        voters=[at[node] for part in partitions for node in part.voters],
        old_voter_count=[len(part.old_voters) for part in partitions],
        old_voters=[at[node] for part in partitions for node in part.old_voters],
        learner=[0 if part.learner is None else at[part.learner] + 1 for part in partitions],
        replaces=[0 if part.replaces is None else at[part.replaces] + 1 for part in partitions],
        base=[part.base for part in partitions],
    )


def _cluster_map(columns: _Columns) -> ClusterMap:
    ids = [NodeId(node) for node in columns.ids]
    optional: list[NodeId | None] = [None, *ids]
    voters = _groups(columns.voter_count, columns.voters, ids)
    old_voters = _groups(columns.old_voter_count, columns.old_voters, ids)
    try:
        nodes = tuple(
            NodeInfo(ids[at], name, http, peer, zone, weight, Incarnation(incarnation), state)
            for at, name, http, peer, zone, weight, incarnation, state in columns.nodes
        )
        rows = zip(
            columns.epoch, columns.primary, columns.incarnation, voters, columns.config, old_voters,
            columns.learner, columns.replaces, columns.base, strict=True,
        )  # fmt: skip
        partitions = tuple(
            Partition(
                Epoch(epoch), ids[primary], Incarnation(incarnation), voting, MapVersion(config), old,
                optional[learner], optional[replaces], Index(base),
            )
            for epoch, primary, incarnation, voting, config, old, learner, replaces, base in rows
        )  # fmt: skip
    except (IndexError, ValueError) as error:
        raise ProtocolError(f"malformed cluster map: {error}") from error
    return ClusterMap(
        version=MapVersion(columns.version),
        cluster=columns.cluster,
        cluster_id=columns.cluster_id,
        replication=columns.replication,
        nodes=nodes,
        partitions=partitions,
        settings=dict(columns.settings),
        format=columns.format,
    )


def _groups(counts: list[int], flat: list[int], ids: list[NodeId]) -> list[tuple[NodeId, ...]]:
    """Cut the flat list of positions into one tuple of ids per partition."""
    if sum(counts) != len(flat) or (flat and max(flat) >= len(ids)):
        raise ProtocolError("malformed cluster map: the replicas do not fit the partitions and nodes")
    named = [ids[position] for position in flat]
    return [tuple(named[start:end]) for start, end in pairwise(accumulate(counts, initial=0))]
