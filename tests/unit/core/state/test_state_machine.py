"""Applied state: de-duplication, idempotency rows, and that replicas agree on both."""

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.support.core.parts import A, B, C, a_context

from ringkeep.core.context import Context
from ringkeep.core.protocol.change import Change, ChangeKind
from ringkeep.core.protocol.client_requests import Status
from ringkeep.core.protocol.effects import Family
from ringkeep.core.protocol.entry import NO_ORIGIN, Entry, EntryKind
from ringkeep.core.protocol.record import read_record, tail_of
from ringkeep.core.protocol.types import Epoch, Incarnation, Index, PartitionId, origin_of
from ringkeep.core.state.deduplication import STALE, Sessions
from ringkeep.core.state.state_machine import State

OLD, NEW, OTHER = origin_of(A, Incarnation(4)), origin_of(A, Incarnation(5)), origin_of(B, Incarnation(1))
CREATED = int(Status.CREATED)


def test_a_request_is_known_until_its_coordinator_has_finished_it() -> None:
    table = Sessions()
    table.record(NEW, 1, 1, CREATED, 10)
    table.record(NEW, 2, 1, CREATED, 11)
    assert table.find(NEW, 1) == (CREATED, 10)
    assert table.find(NEW, 3) is None
    table.record(NEW, 3, 2, CREATED, 12)
    assert table.find(NEW, 1) == STALE, "pruned, and never to be executed"
    assert table.find(NEW, 2) == (CREATED, 11), "the lowest unfinished is kept"
    table.record(NEW, 4, 1, CREATED, 13)
    assert table.find(NEW, 1) == STALE, "a late, lower number brings nothing back"


def test_only_the_newest_life_of_a_node_counts() -> None:
    table = Sessions()
    table.record(OLD, 7, 7, CREATED, 10)
    assert table.find(NEW, 7) is None, "counters begin anew"
    table.record(NEW, 1, 1, CREATED, 11)
    assert table.find(OLD, 7) == table.find(OLD, 8) == STALE
    assert table.find(OTHER, 7) is None, "another node is another matter"


records = st.tuples(
    st.sampled_from((OLD, NEW, OTHER)), st.integers(1, 9), st.integers(1, 9), st.integers(1, 9)
)


def fill(calls: list[tuple[bytes, int, int, int]]) -> Sessions:
    table = Sessions()
    for origin, counter, low, version in calls:
        if table.find(origin, counter) is None:
            table.record(origin, counter, min(low, counter), CREATED, version)
    return table


@settings(derandomize=True)
@given(st.lists(records, max_size=30))
def test_a_table_comes_back_and_equal_tables_are_equal_bytes(
    calls: list[tuple[bytes, int, int, int]],
) -> None:
    table = fill(calls)
    back = Sessions.decode(table.encode())
    assert back.encode() == table.encode() == fill(calls).encode()
    asked = [(origin, counter) for origin in (OLD, NEW, OTHER) for counter in range(1, 10)]
    assert [back.find(*each) for each in asked] == [table.find(*each) for each in asked]


def test_the_order_of_nodes_does_not_show() -> None:
    one, other = Sessions(), Sessions()
    for table, origins in ((one, (NEW, OTHER)), (other, (OTHER, NEW))):
        for origin in origins:
            table.record(origin, 1, 1, CREATED, 10)
    assert one.encode() == other.encode()


def test_a_table_that_is_cut_short_is_refused() -> None:
    table = Sessions()
    table.record(NEW, 1, 1, CREATED, 10)
    with pytest.raises(ValueError, match="cut short"):
        Sessions.decode(table.encode()[:-1])


# --- the state machine ---------------------------------------------------------------------------------


class Machine:
    """A State over an engine, applying one entry per turn."""

    def __init__(self) -> None:
        self.context: Context = a_context(C)
        self.state = State(self.context, PartitionId(0), 1, Sessions())
        self.index = 0

    def apply(
        self, kind: EntryKind, key: bytes = b"k", counter: int = 0, **fields: object
    ) -> tuple[int, int]:
        self.index += 1
        status = {EntryKind.PUT: Status.CREATED, EntryKind.DELETE: Status.DELETED}.get(
            kind, Status.CONDITION_FAILED
        )
        entry = Entry(
            kind, Epoch(1), Index(self.index), 0, NEW, counter or self.index, 1, key, int(status),
            tail=tail_of(b"", b"v"),
        )  # fmt: skip
        for name, value in fields.items():
            setattr(entry, name, value)
        found = self.state.apply(entry)
        self.end_turn()
        return found

    def end_turn(self, write_down: bool = True) -> None:
        if write_down:
            self.state.write_down()
        effects, _ = self.context.end()
        self.context.reader.write(effects.batch)  # type: ignore[attr-defined]  # a MemoryEngine

    def kept(self, idempotency: bytes, horizon: int = 0) -> tuple[int, int, bytes, bytes] | None:
        return self.state.find_result(b"k", idempotency, horizon)

    def rows(self) -> int:
        return len(self.context.reader.scan(Family.DATA, b"", b"\xff" * 8, 100))


def test_put_and_delete_change_the_record_and_a_noop_nothing() -> None:
    machine = Machine()
    assert machine.apply(EntryKind.PUT) == (Status.CREATED, 1)
    assert read_record(machine.state.record(b"k") or b"") == (1, b"", b"v")
    assert machine.apply(EntryKind.DELETE) == (Status.DELETED, 2)
    assert machine.state.record(b"k") is None
    assert machine.apply(EntryKind.NOOP, b"", origin=NO_ORIGIN, counter=0) == (0, 0)
    assert machine.rows() == 0


def test_a_request_takes_effect_once() -> None:
    machine = Machine()
    machine.apply(EntryKind.PUT, counter=1)
    machine.apply(EntryKind.DELETE, counter=2)
    assert machine.apply(EntryKind.PUT, counter=1) == (Status.CREATED, 1), "the first result, again"
    assert machine.state.record(b"k") is None, "a deleted key stays deleted"
    machine.apply(EntryKind.PUT, counter=3, low=3)
    assert machine.apply(EntryKind.DELETE, counter=2) == STALE
    assert machine.state.record(b"k") is not None


def test_the_result_under_a_clients_own_key_is_kept_with_its_fingerprint() -> None:
    machine = Machine()
    fields: dict[str, Any] = {"idempotency": b"mine", "fingerprint": b"f" * 16, "log_time": 1_000}
    machine.apply(EntryKind.PUT, **fields)
    assert machine.kept(b"mine") == (Status.CREATED, 1, b"f" * 16, b"")
    assert machine.kept(b"mine", horizon=1_001) is None, "too old counts as new"
    assert machine.kept(b"min") is None
    assert machine.state.find_result(b"", b"kmine", 0) is None, "the key's length is part of the name"


def test_a_failed_condition_is_kept_and_changes_no_record() -> None:
    machine = Machine()
    machine.apply(EntryKind.OUTCOME, version=42, idempotency=b"mine", fingerprint=b"f" * 16)
    assert machine.kept(b"mine") == (Status.CONDITION_FAILED, 42, b"f" * 16, b"")
    assert machine.state.record(b"k") is None


def test_results_past_the_horizon_are_forgotten_and_renewed_ones_are_not() -> None:
    machine = Machine()
    for number, name in enumerate((b"old", b"again", b"again", b"new")):
        machine.apply(EntryKind.PUT, idempotency=name, fingerprint=b"f" * 16, log_time=100 * number)
    before = machine.rows()
    machine.apply(EntryKind.PUT, idempotency=b"last", fingerprint=b"f" * 16, log_time=900, horizon=150)
    assert machine.kept(b"old") is None
    assert machine.kept(b"again") is not None, "used again at 200"
    assert machine.kept(b"new") is not None
    # gone: a row and its time, and one time that was renewed since; come: a row and its time
    assert machine.rows() == before - 3 + 2


def test_replicas_forget_the_same_results_whatever_they_apply_in_one_turn() -> None:
    """One applies entry by entry, as it commits them; one catches up, and applies all in a turn. And whenever
    they write down what they have applied."""
    entries = [
        Entry(
            EntryKind.PUT, Epoch(1), Index(number), 1_000 * number, NEW, number, number, b"k",
            int(Status.REPLACED if number > 1 else Status.CREATED), 0, b"name-%d" % (number % 7), b"f" * 16,
            max(1_000 * number - 3_000, 0), tail_of(b"", b"v"),
        )
        for number in range(1, 30)
    ]  # fmt: skip
    held = []
    for together, written in ((1, 1), (4, 4), (29, 29), (1, 2), (1, 5), (2, 6), (3, 29)):
        machine = Machine()
        for at, entry in enumerate(entries, 1):
            machine.state.apply(entry)
            if at % together == 0:
                machine.end_turn(at % written == 0)
        machine.end_turn()
        rows = machine.context.reader.scan(Family.DATA, b"", b"\xff" * 8, 100)
        held.append((rows, machine.state.data_bytes, machine.state.sessions.encode()))
    assert all(each == held[0] for each in held)
    assert len(held[0][0]) < 15, "what is past the horizon is forgotten"


@settings(max_examples=200, deadline=None)
@given(
    st.lists(
        st.one_of(
            st.tuples(st.just("put"), st.integers(0, 5), st.integers(1, 40)),
            st.tuples(st.just("look"), st.integers(0, 40), st.integers(0, 40)),
        ),
        max_size=40,
    )
)
def test_it_is_known_whether_something_is_due_between_two_times(steps: list[tuple[str, int, int]]) -> None:
    """What was found out before is remembered, and stays true while records come and go."""
    machine = Machine()
    deadlines: dict[bytes, int] = {}
    for step, first, second in steps:
        if step == "put":
            key = b"%d" % first
            change = Change(ChangeKind.PUT, key, tail_of(b"", b"v"), second, 0, deadlines.get(key, 0))
            machine.apply(EntryKind.CHANGES, key, changes=[change], tail=b"")
            deadlines[key] = second
        else:
            due = any(first < deadline <= second for deadline in deadlines.values())
            assert machine.state.is_due_between(first, second) == due
