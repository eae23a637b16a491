"""What the core writes down comes back as it was, and sorts as it must."""

import struct

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ringkeep.core.protocol import entry as e
from ringkeep.core.protocol import keys, record, rows
from ringkeep.core.protocol.change import Change, ChangeKind
from ringkeep.core.protocol.types import Epoch, Incarnation, Index, NodeId, PartitionId
from ringkeep.core.state.deduplication import STALE, Sessions

u64 = st.integers(0, 2**64 - 1)
u32 = st.integers(0, 2**32 - 1)
partitions = st.integers(0, 2**16 - 1).map(PartitionId)
short = st.binary(max_size=255)
tails = st.builds(record.tail_of, short, st.binary(max_size=64))
BODY_BYTES = 12  # of an entry, after its header and before its key
changes = st.builds(
    Change, st.sampled_from(ChangeKind), short, st.just(b"") | tails, u64, u64, u64, u64.map(Index)
)
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
    if kind == e.EntryKind.FORGET:
        origins = draw(st.lists(st.binary(min_size=20, max_size=20), max_size=4))
        return e.Entry(*head, tail=e.origins_tail(origins))  # type: ignore[arg-type]  # likewise
    is_outcome = kind == e.EntryKind.OUTCOME  # only that names a version; only the others replace a row
    body = draw(st.binary(max_size=1_024)), draw(st.integers(0, 255)), draw(u64) if is_outcome else 0
    key = draw(short)
    extra = (key, draw(st.binary(min_size=16, max_size=16)), draw(u64)) if key else (b"", b"", 0)
    if kind == e.EntryKind.CHANGES:
        made, result = draw(st.lists(changes, max_size=3)), draw(st.just(b"") | tails)
        return e.Entry(*head, *body, *extra, changes=made, result=result)  # type: ignore[arg-type]  # likewise
    replaced_bytes = 0 if is_outcome else draw(u64)
    return e.Entry(*head, *body, *extra, draw(tails), replaced_bytes)  # type: ignore[arg-type]  # the fields in order


@settings(derandomize=True)
@given(entries())
def test_an_entry_comes_back(entry: e.Entry) -> None:
    data = e.encode(entry)
    assert e.decode(data) == entry
    assert (e.epoch_of(data), e.log_time_of(data)) == (entry.epoch, entry.log_time)


@settings(derandomize=True)
@given(entries(), st.integers(0, 10**6))
def test_a_cut_header_is_no_entry(entry: e.Entry, cut: int) -> None:
    data = e.encode(entry)
    with pytest.raises(ValueError, match="cut short"):
        e.decode(data[: cut % e.HEADER_BYTES])


@settings(derandomize=True)
@given(
    entries().filter(lambda entry: entry.kind in (e.EntryKind.PUT, e.EntryKind.DELETE, e.EntryKind.OUTCOME))
)
def test_an_entry_cut_in_its_numbers_is_no_entry(entry: e.Entry) -> None:
    """Wherever a number is missing. Where key and value end is for the frame and the store to check."""
    data = e.encode(entry)
    numbers_end = e.HEADER_BYTES + BODY_BYTES
    if entry.idempotency:
        numbers_end = len(data) - len(entry.tail)
    for cut in range(numbers_end):
        with pytest.raises(ValueError, match="cut short"):
            e.decode(data[:cut])


def test_an_entry_that_names_half_an_origin_is_refused() -> None:
    head = (Epoch(1), Index(1), 0, e.NO_ORIGIN, 0, 0)
    data = e.encode(e.Entry(e.EntryKind.FORGET, *head, tail=bytes(40)))
    assert e.origins_in(e.decode(data).tail) == [bytes(20)] * 2
    with pytest.raises(ValueError, match="no origins"):
        e.decode(data[:-1])


def test_an_entry_of_another_format_is_refused() -> None:
    data = e.encode(e.Entry(e.EntryKind.NOOP, Epoch(1), Index(1), 0, e.NO_ORIGIN, 0, 0))
    with pytest.raises(ValueError, match="newer version"):
        e.decode(bytes([e.FORMAT + 1]) + data[1:])


def test_an_entry_of_a_kind_to_come_is_not_taken_for_one_that_does_nothing() -> None:
    data = e.encode(e.Entry(e.EntryKind.NOOP, Epoch(1), Index(1), 0, e.NO_ORIGIN, 0, 0))
    later = data[:1] + bytes([max(e.EntryKind) + 1]) + data[2:]
    assert e.is_known(data) and not e.is_known(later)
    with pytest.raises(ValueError, match="newer version"):
        e.decode(later)


@settings(derandomize=True)
@given(st.lists(changes, max_size=3), st.just(b"") | tails, st.data())
def test_changes_that_are_cut_short_are_none(made: list[Change], result: bytes, data: st.DataObject) -> None:
    entry = e.Entry(
        e.EntryKind.CHANGES, Epoch(1), Index(1), 0, e.NO_ORIGIN, 0, 0, changes=made, result=result
    )
    whole = e.encode(entry)
    cut = data.draw(st.integers(e.HEADER_BYTES + BODY_BYTES, len(whole) - 1))
    with pytest.raises(ValueError, match=r"cut short|end after"):
        e.decode(whole[:cut])


@settings(derandomize=True)
@given(u64, short, st.binary(max_size=64), st.just(0) | u64)
def test_a_record_comes_back(version: int, content_type: bytes, value: bytes, deadline: int) -> None:
    tail = record.tail_of(content_type, value)
    whole = record.record_of(Index(version), tail, deadline)
    assert record.read_record(whole) == (version, content_type, value)
    parted = record.parted_record(Index(version), content_type, len(value), deadline)
    assert record.read_record(parted) == (version, content_type, b"")
    for made in (whole, parted):
        assert (record.version_of(made), record.deadline_of(made)) == (version, deadline)
        assert record.value_bytes_of(made) == len(value)
        size = record.rows_bytes_of(b"key", tail, deadline, record.is_parted(made))
        assert record.rows_bytes(b"key", made) == size


@settings(derandomize=True)
@given(u64, ids, u32, u32, u32, u64, u64, u64, st.binary(max_size=64))
def test_rows_come_back(
    epoch: int, node: NodeId, incarnation: int, generation: int, following: int, index: int, time: int,
    at: int, sessions: bytes,
) -> None:  # fmt: skip
    promised = rows.Promised(Epoch(epoch), node, Incarnation(incarnation))
    assert rows.decode_promised(rows.encode_promised(promised)) == promised
    assert rows.decode_applied(rows.encode_applied(Index(index), at >> 1)) == (index, at >> 1)
    row = rows.ReplicaRow(generation, following, Epoch(epoch), Index(index), time, Index(at), sessions)
    assert rows.decode_replica(rows.encode_replica(row)) == row


@settings(derandomize=True)
@given(u64, ids, u32, u64)
def test_a_row_that_is_cut_short_is_refused(epoch: int, node: NodeId, number: int, index: int) -> None:
    promised = rows.encode_promised(rows.Promised(Epoch(epoch), node, Incarnation(number)))
    applied = rows.encode_applied(Index(index), number)
    replica = rows.encode_replica(
        rows.ReplicaRow(number, number, Epoch(epoch), Index(index), index, Index(index), b"")
    )
    for decode, row in (
        (rows.decode_promised, promised),
        (rows.decode_applied, applied),
        (rows.decode_replica, replica),
    ):
        for cut in range(len(row)):
            with pytest.raises(struct.error):
                decode(row[:cut])


# --- de-duplication ----------------------------------------------------------------------------------------

lives = st.builds(
    lambda node, incarnation: bytes.fromhex(node) + incarnation.to_bytes(4, "big"), ids, st.integers(0, 5)
)
requests = st.lists(
    st.tuples(lives, st.integers(0, 20), st.integers(0, 20), st.integers(0, 255), u64), max_size=40
)


def table_of(applied: list[tuple[bytes, int, int, int, int]]) -> Sessions:
    """The table after these requests, in their order, each unless it is known or stale."""
    table = Sessions()
    for origin, counter, low, status, version in applied:
        if table.find(origin, counter) is None:
            table.record(origin, counter, low, status, version)
    return table


def known_of(table: Sessions, applied: list[tuple[bytes, int, int, int, int]]) -> list[object]:
    return [table.find(origin, counter) for origin, _, _, _, _ in applied for counter in range(21)]


@settings(derandomize=True)
@given(requests)
def test_a_table_comes_back_and_a_cut_one_is_refused(
    applied: list[tuple[bytes, int, int, int, int]],
) -> None:
    table = table_of(applied)
    data = table.encode()
    back = Sessions.decode(data)
    assert back.encode() == data
    assert known_of(back, applied) == known_of(table, applied)
    for cut in range(len(data)):
        with pytest.raises(ValueError, match="cut short"):
            Sessions.decode(data[:cut])


@settings(derandomize=True)
@given(requests, requests)
def test_a_table_that_came_back_goes_on_as_the_first_one_would(
    before: list[tuple[bytes, int, int, int, int]], after: list[tuple[bytes, int, int, int, int]]
) -> None:
    table = table_of(before)
    back = Sessions.decode(table.encode())
    for origin, counter, low, status, version in after:
        assert back.find(origin, counter) == table.find(origin, counter)
        if table.find(origin, counter) is None:
            for each in (table, back):
                each.record(origin, counter, low, status, version)
    assert back.encode() == table.encode()


def test_equal_tables_are_equal_bytes_however_they_came_to_be() -> None:
    first, second = bytes(16) + b"\0\0\0\1", b"\1" * 16 + b"\0\0\0\1"
    one, other = Sessions(), Sessions()
    one.record(first, 1, 0, 0, 5)
    one.record(first, 2, 0, 0, 6)
    one.record(second, 1, 0, 0, 7)
    other.record(second, 1, 0, 0, 7)
    other.record(first, 2, 0, 0, 6)
    other.record(first, 1, 0, 0, 5)
    assert one.encode() == other.encode()


def test_a_table_remembers_that_an_earlier_life_is_stale() -> None:
    table = Sessions()
    table.record(bytes(16) + b"\0\0\0\2", 1, 0, 0, 5)
    assert Sessions.decode(table.encode()).find(bytes(16) + b"\0\0\0\1", 1) == STALE


# --- keys --------------------------------------------------------------------------------------------------


@settings(derandomize=True)
@given(partitions, partitions, u64, u64)
def test_log_keys_sort_by_partition_then_index(p: PartitionId, q: PartitionId, i: int, j: int) -> None:
    assert (keys.log_key(p, Index(i)) < keys.log_key(q, Index(j))) == ((p, i) < (q, j))


@settings(derandomize=True)
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
