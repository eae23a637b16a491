"""How many bytes a partition has: counted as entries are applied, and equal to a scan of its rows, always."""

import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st
from tests.support.core.group import Group, a_put, scanned
from tests.support.core.parts import A, B, C, D, P, a_context

from ringkeep.core.protocol import limits
from ringkeep.core.protocol.batch import CHECK, Step, encode_steps
from ringkeep.core.protocol.client_requests import ABSENT, KEEP, PRESENT, Kind, Request
from ringkeep.core.protocol.effects import Family
from ringkeep.core.protocol.record import record_of, row_bytes, tail_of
from ringkeep.core.protocol.rows import applied_key, decode_applied
from ringkeep.core.protocol.types import Index
from ringkeep.core.replication.replica import Replica
from ringkeep.core.state.operations import pack_numbers

WINDOW_MS = 5_000
LONGEST_TTL_MS = 3_000
FAST = [Phase.explicit, Phase.generate]  # what fails here is slow to shrink


@pytest.fixture(autouse=True)
def short_window(monkeypatch: pytest.MonkeyPatch) -> None:
    """Results under clients' own keys are forgotten soon: log time moves by a second an entry."""
    monkeypatch.setattr(limits, "IDEMPOTENCY_WINDOW_MS", WINDOW_MS)


def check(group: Group) -> None:
    """The count is a scan's on every node, and so it is written down."""
    group.tick(limits.LOOK_AFTER_MS)
    for host in group.hosts.values():
        assert host.replica.state.data_bytes == scanned(host)
        row = host.engine.get(Family.META, applied_key(P))
        assert row is not None
        assert decode_applied(row) == (host.replica.applied, scanned(host))


keys = st.sampled_from([b"a", b"bb", b"{x}ccc"])
bodies = st.tuples(st.binary(max_size=20), st.sampled_from([b"", b"text/plain"]))
conditions = st.sampled_from([0, 0, 0, ABSENT, PRESENT, 2])
own_keys = st.sampled_from([b"", b"", b"1", b"once", b"again" * 9])


single_writes = st.sampled_from([Kind.PUT, Kind.PUT, Kind.PUT, Kind.DELETE, *Kind]).filter(
    lambda kind: kind not in (Kind.GET, Kind.BATCH)
)
reads_and_checks = st.sampled_from([Kind.GET, CHECK])


@st.composite
def a_step(draw: st.DrawFn, kinds: st.SearchStrategy[int] = single_writes) -> Step:
    value, content_type = draw(bodies)
    kind = draw(kinds)
    ttl = draw(st.sampled_from([0, 0, KEEP, 1, 500, LONGEST_TTL_MS]))
    if kind == Kind.ADD:
        value = pack_numbers(draw(st.integers(-5, 5)), 7)
    elif kind in (Kind.DELETE, Kind.TAKE, Kind.PERSIST, Kind.GET, CHECK):
        value, content_type, ttl = b"", b"", 0
    return Step(kind, draw(keys), value, content_type, draw(conditions), ttl)


@st.composite
def a_client_request(draw: st.DrawFn) -> Request:
    step, own = draw(a_step()), draw(own_keys)
    fingerprint = bytes(16) if own else b""
    if draw(st.integers(0, 4)) == 0:
        steps = draw(st.lists(a_step() | a_step(reads_and_checks), min_size=1, max_size=4))
        batch = encode_steps(steps, draw(st.booleans()))
        return Request(Kind.BATCH, steps[0].key, batch, idempotency=own, fingerprint=fingerprint)
    return Request(
        Kind(step.kind), step.key, step.value, step.content_type, step.condition, own, fingerprint,
        ttl_ms=step.ttl_ms,
    )  # fmt: skip


turns = st.lists(
    st.tuples(st.lists(a_client_request(), min_size=1, max_size=4), st.sampled_from([0, 100, 1_000, 9_000])),
    max_size=25,
)


@settings(derandomize=True, max_examples=80, phases=FAST)
@given(turns)
def test_the_count_is_a_scans_whatever_clients_do(asked: list[tuple[list[Request], int]]) -> None:
    """All operations, conditions, times to live, and clients' own keys that are forgotten and used again."""
    group = Group(A)
    for requests, after_ms in asked:
        group.ask(*requests, after_ms=after_ms)
        check(group)


@settings(derandomize=True, max_examples=25, phases=FAST)
@given(turns.filter(bool), turns)
def test_all_replicas_count_the_same_and_one_that_is_filled_by_a_snapshot_counts_on(
    before: list[tuple[list[Request], int]], then: list[tuple[list[Request], int]]
) -> None:
    group = Group(A, B, C)
    for requests, after_ms in before:
        group.ask(*requests, after_ms=after_ms)
    check(group)
    group.join(D)
    check(group)
    for requests, after_ms in then:
        group.ask(*requests, after_ms=after_ms)
        check(group)
    for _ in range(LONGEST_TTL_MS // limits.RESEND_MS + 3):
        group.tick(limits.RESEND_MS)
    found = {(host.replica.applied, host.replica.state.data_bytes) for host in group.hosts.values()}
    assert len(found) == 1


def test_the_count_outlives_a_restart() -> None:
    group = Group(A, B, C)
    group.ask(a_put(b"a", b"first"), a_put(b"b", b"", b"own"))
    group.ask(a_put(b"a", b"longer than before"))
    for node, host in group.hosts.items():
        again = Replica(a_context(node, 2, host.engine), P)
        assert again.state.data_bytes == scanned(host) > 0


def test_nothing_counts_for_nothing() -> None:
    group = Group(A)
    group.ask(a_put(b"a"), a_put(b"a", b"twice in a turn"), a_put(b"a", kind=Kind.DELETE))
    group.ask(a_put(b"a", kind=Kind.DELETE), a_put(b"none", kind=Kind.DELETE))
    assert group.hosts[A].replica.state.data_bytes == scanned(group.hosts[A]) == 0


def test_a_row_is_as_large_as_its_key_and_record_and_one_byte_for_its_space() -> None:
    group = Group(A)
    group.ask(Request(Kind.PUT, b"key", b"value", b"text/plain"))
    tail = tail_of(b"text/plain", b"value")
    assert group.hosts[A].replica.state.data_bytes == row_bytes(b"key", tail)
    assert row_bytes(b"key", tail) == 1 + len(b"key") + len(record_of(Index(2), tail))


def used_again_behind_many(group: Group) -> None:
    """Many own keys are past the window; one far behind in their line is used again, as a new one."""
    for number in range(12):
        group.ask(a_put(b"a", own=b"%d" % number), after_ms=0)
    for _ in range(8):
        group.ask(a_put(b"b"), after_ms=1_000)
    group.ask(a_put(b"a", own=b"11"))


def test_an_own_key_that_is_used_again_before_it_was_forgotten_counts_once() -> None:
    group = Group(A)
    used_again_behind_many(group)
    check(group)
    for number in range(8):
        group.ask(a_put(b"b", own=b"later %d" % number), after_ms=0)
        check(group)


def test_it_counts_once_also_where_a_snapshot_brought_it() -> None:
    group = Group(A, B, C)
    used_again_behind_many(group)
    group.join(D)
    for number in range(8):
        group.ask(a_put(b"b", own=b"later %d" % number), after_ms=0)
        check(group)
