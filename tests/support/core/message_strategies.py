"""Every kind of message with values for all its fields, for property tests. A new kind has them at once."""

from dataclasses import fields
from typing import get_args, get_origin, get_type_hints

from hypothesis import strategies as st

from ringkeep.core.protocol import limits
from ringkeep.core.protocol.client_requests import KEEP, Kind, Status
from ringkeep.core.protocol.hot_messages import (
    RETRY,
    Acks,
    Append,
    Clocks,
    Commits,
    Confirm,
    Confirmed,
    Forward,
    Reply,
)
from ringkeep.core.protocol.messages import Message
from ringkeep.core.protocol.types import Epoch, Index, MapVersion, NodeId, PartitionId

wide = st.integers(0, 2**64 - 1)
partitions = st.integers(0, 65_535).map(PartitionId)
epochs = wide.map(Epoch)
indexes = wide.map(Index)
blobs = st.binary(max_size=300)
short = st.binary(max_size=255)
node_ids = st.text("0123456789abcdef", min_size=32, max_size=32).map(NodeId)
entries = st.lists(blobs, max_size=5)
triples = st.lists(st.tuples(partitions, wide, wide), max_size=150).map(
    lambda rows: [x for r in rows for x in r]
)
pairs = st.lists(st.tuples(partitions, wide), max_size=150).map(lambda rows: [x for r in rows for x in r])

HOT = {Append, Acks, Clocks, Commits, Confirm, Confirmed, Forward, Reply}
CHECKED: dict[object, st.SearchStrategy[object]] = {
    PartitionId: partitions,
    Epoch: wide,
    Index: wide,
    MapVersion: wide,
    NodeId: node_ids,
    int: st.integers(-(2**63), 2**64 - 1),
    bytes: blobs,
    str: st.text(max_size=100),
    bool: st.booleans(),
}


def by_annotation(hint: object) -> st.SearchStrategy[object]:
    """Values of a field, by its annotation: what codec derives its checks from."""
    parts = [by_annotation(part) for part in get_args(hint)]
    if get_origin(hint) is list:
        return st.lists(parts[0], max_size=4)
    return st.tuples(*parts) if get_origin(hint) is tuple else CHECKED[hint]


def cold(kind: type) -> st.SearchStrategy[Message]:
    hints = get_type_hints(kind)
    return st.builds(kind, **{field.name: by_annotation(hints[field.name]) for field in fields(kind)})


ttls = st.integers(1, limits.MAX_TTL_MS)
COLD = [kind for kind in Message.__args__ if kind not in HOT]
STRATEGIES: dict[type, st.SearchStrategy[Message]] = {
    kind: cold(kind) for kind in COLD
} | {
    Append: st.builds(Append, partitions, epochs, epochs, indexes, indexes, entries),
    Acks: st.builds(Acks, triples),
    Clocks: st.builds(Clocks, triples),
    Commits: st.builds(Commits, wide, triples),
    Confirm: st.builds(Confirm, wide, pairs),
    Confirmed: st.builds(Confirmed, wide, pairs),
    Forward: st.builds(
        Forward, wide, partitions, epochs, st.integers(-(2**31), 2**31 - 1), st.sampled_from(Kind).map(int),
        st.integers(-2, 2**63 - 1), st.just(b"") | st.binary(min_size=20, max_size=20), wide, wide,
        st.binary(max_size=1_024), blobs, short, short, short, st.just(0) | ttls | st.just(KEEP),
    ),
    Reply: st.builds(
        Reply, wide, epochs, st.sampled_from([*map(int, Status), RETRY]), st.booleans(), wide, blobs, short,
        st.text(max_size=100), st.integers(-(2**63), 2**63 - 1), st.just(0) | ttls,
    ),
}  # fmt: skip
messages = st.lists(st.one_of(*STRATEGIES.values()), max_size=6)


def contents(message: Message) -> tuple[object, ...]:
    """The type and the fields: an Append does not compare."""
    return type(message), *(getattr(message, field.name) for field in fields(message))
