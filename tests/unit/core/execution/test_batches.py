"""Atomic batches at a primary, against a model of a few lines; and their bounds, versions and retries."""

from dataclasses import dataclass

from hypothesis import given, settings
from hypothesis import strategies as st
from tests.support.core.group import Group, a_put
from tests.support.core.parts import A, B, C, bound

from ringkeep.core.protocol import limits
from ringkeep.core.protocol.batch import (
    CHECK,
    READ_ANEW,
    Outcome,
    Step,
    decode_outcomes,
    decode_steps,
    encode_outcomes,
    encode_steps,
)
from ringkeep.core.protocol.client_requests import (
    ABSENT,
    ANY,
    KEEP,
    PRESENT,
    WROTE,
    Kind,
    Request,
    Result,
    Status,
)
from ringkeep.core.state.operations import pack_numbers

KEYS = (b"k", b"l", b"m")


@dataclass
class Record:
    value: bytes
    content_type: bytes
    version: int
    lives: bool


Store = dict[bytes, Record]


def a_batch(*steps: Step, own: bytes = b"", goes_on: bool = False) -> Request:
    return Request(
        Kind.BATCH, steps[0].key, encode_steps(steps, goes_on), idempotency=own,
        fingerprint=bytes(16) if own else b"",
    )  # fmt: skip


def answered(group: Group, *requests: Request) -> list[Result]:
    """Ask in one turn, so that the later ones find the earlier ones pending."""
    group.ask(*requests)
    results = dict(group.hosts[A].answers)
    return [results[request] for request in requests]


def model_step(store: Store, step: Step, version: int) -> Outcome:
    """Do one step, as it is promised to users."""
    record = store.get(step.key)
    present = record.version if record else 0
    held = {ANY: True, ABSENT: record is None, PRESENT: record is not None}.get(step.condition)
    if not (step.condition == present if held is None else held):
        return Outcome(Status.CONDITION_FAILED, present)
    if step.kind == CHECK:
        return Outcome(Status.FOUND if record else Status.NOT_FOUND, present)
    if step.kind == Kind.GET:
        if record is None:
            return Outcome(Status.NOT_FOUND)
        return Outcome(Status.FOUND, present, record.lives, record.value, record.content_type)
    old = Outcome(Status.REPLACED, version, 0, record.value, record.content_type) if record else None
    status = Status.REPLACED if record else Status.CREATED
    if step.kind in (Kind.DELETE, Kind.TAKE):
        if record is None or old is None:
            return Outcome(Status.NOT_FOUND)
        del store[step.key]
        old.status = Status.DELETED
        return old if step.kind == Kind.TAKE else Outcome(Status.DELETED, version)
    if step.kind in (Kind.TOUCH, Kind.PERSIST):
        if record is None:
            return Outcome(Status.NOT_FOUND)
        store[step.key] = Record(record.value, record.content_type, version, step.kind == Kind.TOUCH)
        return Outcome(status, version)
    lives = step.ttl_ms > 0 or bool(
        record and record.lives and (step.ttl_ms == KEEP or step.kind == Kind.APPEND)
    )
    if step.kind == Kind.APPEND and record:
        made = Record(record.value + step.value, record.content_type, version, lives)
    else:
        made = Record(step.value, step.content_type, version, lives)
    store[step.key] = made
    if step.kind == Kind.APPEND:
        return Outcome(status, version, 0, made.value, made.content_type)
    return (old or Outcome(status, version)) if step.kind == Kind.SWAP else Outcome(status, version)


def model(store: Store, steps: list[Step], goes_on: bool, version: int) -> tuple[Status, list[Outcome]]:
    """Do a batch, or nothing of it."""
    trial, outcomes = dict(store), list[Outcome]()
    for step in steps:
        outcome = model_step(trial, step, version)
        outcomes.append(outcome)
        if outcome.status == Status.CONDITION_FAILED and (step.kind == CHECK or not goes_on):
            for done, each in zip(outcomes, steps, strict=False):
                if done.version == version:  # which never was
                    done.version = store[each.key].version if each.key in store else 0
            return Status.CONDITION_FAILED, outcomes
    store.clear()
    store.update(trial)
    return Status.DONE, outcomes


VALUES = st.sampled_from([b"", b"a", b"bc", b"d" * 40])


@st.composite
def a_step(draw: st.DrawFn) -> Step:
    kind = draw(st.sampled_from([
        CHECK, Kind.GET, Kind.PUT, Kind.DELETE, Kind.APPEND, Kind.SWAP, Kind.TAKE, Kind.TOUCH, Kind.PERSIST,
    ]))  # fmt: skip
    step = Step(kind, draw(st.sampled_from(KEYS)))
    step.condition = draw(st.sampled_from([ANY, ANY, ANY, PRESENT, ABSENT, 2]))
    if kind in (Kind.PUT, Kind.APPEND, Kind.SWAP):
        step.value, step.content_type = draw(VALUES), draw(st.sampled_from([b"", b"a/b"]))
        step.ttl_ms = draw(st.sampled_from([0, 0, 10**9] if kind == Kind.APPEND else [0, 0, 10**9, KEEP]))
    if kind == Kind.TOUCH:
        step.ttl_ms = 10**9
    return step


BATCHES = st.lists(
    st.tuples(st.lists(a_step(), min_size=1, max_size=6), st.booleans()), min_size=1, max_size=5
)


@settings(max_examples=60, deadline=None)
@given(st.lists(BATCHES, min_size=1, max_size=4))
def test_batches_do_what_the_model_does(turns: list[list[tuple[list[Step], bool]]]) -> None:
    """All batches of a turn are pending together; some values are large, and have rows of their own."""
    group = Group(A, B, C)
    for host in group.hosts.values():
        bound(host.node.context, bulk_bytes=32)
    store: Store = {}
    for batches in turns:
        requests = [a_batch(*steps, goes_on=goes_on) for steps, goes_on in batches]
        first = int(group.hosts[A].replica.log.last_index)
        for (steps, goes_on), result in zip(batches, answered(group, *requests), strict=True):
            status, outcomes = model(store, steps, goes_on, first + 1)
            told = decode_outcomes(result.value)
            for outcome in told:
                outcome.ttl_ms = outcome.ttl_ms > 0
            assert (result.status, told) == (status, outcomes)
            wrote = status == Status.DONE and any(outcome.status in WROTE for outcome in outcomes)
            assert result.version == (first + 1 if wrote else 0)
            first += wrote
    group.tick(1_000)
    for host in group.hosts.values():
        records = {key: host.replica.state.record(key) for key in KEYS}
        assert {key for key, record in records.items() if record} == store.keys()
    reads = [Request(Kind.GET, key) for key in KEYS]
    for key, found in zip(KEYS, answered(group, *reads), strict=True):
        record = store.get(key)
        if record is None:
            assert found.status == Status.NOT_FOUND
        else:
            assert (found.value, found.content_type, found.version) == (
                record.value, record.content_type, record.version,
            )  # fmt: skip
            assert (found.ttl_ms > 0) is record.lives


@given(st.lists(a_step(), max_size=5), st.booleans())
def test_steps_as_bytes(steps: list[Step], goes_on: bool) -> None:
    data = encode_steps(steps, goes_on)
    assert decode_steps(data) == (steps, goes_on)
    for broken in (data[:-1], data + b"\0"):
        try:
            assert decode_steps(broken) == (steps, goes_on)
        except ValueError:
            continue
        raise AssertionError("cut or lengthened bytes are no batch")


def test_a_retry_is_told_the_first_outcomes_and_reads_anew() -> None:
    group = Group(A, B, C)
    batch = (
        Step(Kind.ADD, b"n", pack_numbers(2, 40)),
        Step(Kind.GET, b"n"),
        Step(Kind.TAKE, b"n"),
        Step(Kind.GET, b"n"),
    )
    (first,) = answered(group, a_batch(*batch, own=b"own"))
    assert [each.value for each in decode_outcomes(first.value)] == [b"42", b"42", b"42", b""]
    answered(group, a_put(b"n", b"later"))
    (again,) = answered(group, a_batch(*batch, own=b"own"))
    added, read, taken, gone = decode_outcomes(again.value)
    assert (again.status, again.version, read) == (Status.DONE, first.version, Outcome(READ_ANEW))
    assert [added, taken, gone] == [decode_outcomes(first.value)[each] for each in (0, 2, 3)]
    guarded = (Step(CHECK, b"n", condition=ABSENT), Step(Kind.PUT, b"n", b"v"))
    (refused,) = answered(group, a_batch(*guarded, own=b"other"))
    answered(group, Request(Kind.DELETE, b"n"))
    (repeated,) = answered(group, a_batch(*guarded, own=b"other"))
    assert (refused.status, refused.value) == (repeated.status, repeated.value)
    assert refused.status == Status.CONDITION_FAILED


def test_a_version_that_was_answered_is_given_out_once() -> None:
    group = Group(A, B, C)
    done, put = answered(group, a_batch(Step(Kind.PUT, b"k", b"v"), Step(Kind.DELETE, b"k")), a_put(b"k"))
    assert done.version and put.version == done.version + 1
    (reads,) = answered(group, a_batch(Step(Kind.GET, b"k"), Step(Kind.DELETE, b"l")))
    assert (reads.status, reads.version) == (Status.DONE, 0)
    assert group.hosts[A].replica.log.last_index == put.version


def test_what_a_batch_reads_and_makes_is_bounded() -> None:
    group = Group(A, B, C)
    third = b"v" * (limits.VALUE_BYTES // 3)
    answered(group, *[a_put(key, third) for key in (b"k", b"l", b"m", b"n")])
    reads = [Step(Kind.GET, key) for key in (b"k", b"l", b"m")]
    (fits, over, many, made) = answered(
        group, a_batch(*reads), a_batch(*reads, Step(Kind.GET, b"k"), Step(Kind.PUT, b"x")),
        a_batch(*reads * 50), a_batch(*[Step(Kind.APPEND, b"k", b"1") for _ in range(20)], goes_on=True),
    )  # fmt: skip
    assert fits.status == Status.DONE
    for refused, position in ((over, 3), (many, 3), (made, 5)):
        outcomes = decode_outcomes(refused.value)
        assert (refused.status, len(outcomes)) == (Status.TOO_LARGE, position + 1)
        assert outcomes[-1] == Outcome(Status.TOO_LARGE)
        assert len(refused.value) <= limits.VALUE_BYTES + 1_000
    takes = [Step(Kind.TAKE, key) for key in (b"k", b"l")]
    (kept, told) = answered(group, a_batch(*takes, own=b"own"), a_batch(*takes))
    assert (kept.status, told.status) == (Status.TOO_LARGE, Status.DONE)
    assert encode_outcomes(decode_outcomes(told.value)) == told.value
