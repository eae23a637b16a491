"""What the core writes down comes back as it was, and sorts as it must."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ringkeep.core import entry as e
from ringkeep.core import keys, rows
from ringkeep.core.types import Epoch, Incarnation, Index, NodeId, PartitionId

u64 = st.integers(0, 2**64 - 1)
u32 = st.integers(0, 2**32 - 1)
partitions = st.integers(0, 2**16 - 1).map(PartitionId)
short = st.binary(max_size=255)
tails = st.builds(e.tail_of, short, st.binary(max_size=64))
ids = st.binary(min_size=16, max_size=16).map(lambda raw: NodeId(raw.hex()))


@st.composite
def entries(draw: st.DrawFn) -> e.Entry:
    kind = draw(st.sampled_from(e.EntryKind))
    head = (
        kind,
        draw(u64),
        draw(u64),
        draw(u64),
        draw(st.binary(min_size=20, max_size=20)),
        draw(u64),
        draw(u64),
    )
    if kind == e.EntryKind.NOOP:
        return e.Entry(*head)  # type: ignore[arg-type]  # the fields in order
    body = draw(st.binary(max_size=1_024)), draw(st.integers(0, 255)), draw(u64)
    key = draw(short)
    extra = (key, draw(st.binary(min_size=16, max_size=16)), draw(u64)) if key else (b"", b"", 0)
    return e.Entry(*head, *body, *extra, draw(tails))  # type: ignore[arg-type]  # the fields in order


@settings(derandomize=True, deadline=None)
@given(entries())
def test_an_entry_comes_back(entry: e.Entry) -> None:
    data = e.encode(entry)
    assert e.decode(data) == entry
    assert (e.epoch_of(data), e.log_time_of(data)) == (entry.epoch, entry.log_time)


@settings(derandomize=True, deadline=None)
@given(entries(), st.integers(0, 10**6))
def test_a_cut_header_is_no_entry(entry: e.Entry, cut: int) -> None:
    data = e.encode(entry)
    with pytest.raises(ValueError, match="cut short"):
        e.decode(data[: cut % e.HEADER_BYTES])


def test_an_entry_of_another_format_is_refused() -> None:
    data = e.encode(e.Entry(e.EntryKind.NOOP, Epoch(1), Index(1), 0, e.NO_ORIGIN, 0, 0))
    with pytest.raises(ValueError, match="newer version"):
        e.decode(bytes([e.FORMAT + 1]) + data[1:])


@settings(derandomize=True, deadline=None)
@given(u64, short, st.binary(max_size=64))
def test_a_record_comes_back(version: int, content_type: bytes, value: bytes) -> None:
    record = e.record_of(Index(version), e.tail_of(content_type, value))
    assert e.read_record(record) == (version, content_type, value)
    assert e.version_of(record) == version


@settings(derandomize=True, deadline=None)
@given(u64, ids, u32, u32, u32, u64, u64, u64, st.binary(max_size=64))
def test_rows_come_back(
    epoch: int, node: NodeId, incarnation: int, generation: int, following: int, index: int, time: int,
    at: int, sessions: bytes,
) -> None:  # fmt: skip
    promised = rows.Promised(Epoch(epoch), node, Incarnation(incarnation))
    assert rows.decode_promised(rows.encode_promised(promised)) == promised
    assert rows.decode_applied(rows.encode_applied(Index(index))) == index
    row = rows.ReplicaRow(generation, following, Epoch(epoch), Index(index), time, Index(at), sessions)
    assert rows.decode_replica(rows.encode_replica(row)) == row


@settings(derandomize=True, deadline=None)
@given(partitions, partitions, u64, u64)
def test_log_keys_sort_by_partition_then_index(p: PartitionId, q: PartitionId, i: int, j: int) -> None:
    assert (keys.log_key(p, Index(i)) < keys.log_key(q, Index(j))) == ((p, i) < (q, j))


@settings(derandomize=True, deadline=None)
@given(partitions, u32, st.binary(max_size=8))
def test_a_generation_is_one_range_that_holds_nothing_else(
    p: PartitionId, generation: int, key: bytes
) -> None:
    begin = keys.data_prefix(p, generation)
    end = keys.after(begin) if begin.strip(b"\xff") else None
    for space in (keys.RECORDS, keys.IDEMPOTENCY, keys.IDEMPOTENCY_BY_TIME):
        inside = keys.space_prefix(p, generation, space) + key
        assert begin <= inside
        assert end is None or inside < end
    if generation < 2**32 - 1 and end is not None:
        assert end <= keys.data_prefix(p, generation + 1)


def test_the_meta_rows_of_a_partition_do_not_collide() -> None:
    made = [
        make(PartitionId(p))
        for make in (rows.promised_key, rows.applied_key, rows.replica_key)
        for p in range(3)
    ]
    assert len({*made, rows.MAP_KEY}) == 10
