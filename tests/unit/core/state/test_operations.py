"""The table of operations, row by row: pure functions of the record, the request and the log's time."""

import struct

import pytest

from ringkeep.core.protocol import limits
from ringkeep.core.protocol.change import ChangeKind
from ringkeep.core.protocol.client_requests import KEEP, Kind, Status
from ringkeep.core.protocol.hot_messages import Forward
from ringkeep.core.protocol.record import tail_of
from ringkeep.core.protocol.types import Epoch, PartitionId
from ringkeep.core.state.operations import (
    LENGTH_ONLY,
    Effect,
    Standing,
    evaluate,
    has_result,
    pack_numbers,
)

NOW = 1_000
ABSENT = Standing(None, 0)
LARGE = b"x" * (limits.KEPT_RESULT_BYTES + 1)


def number(text: bytes, deadline: int = 0) -> Standing:
    return Standing(tail_of(b"text/plain", text), deadline)


def do(kind: Kind, standing: Standing, value: bytes = b"", ttl: int = 0, own: bytes = b"") -> Effect:
    message = Forward(1, PartitionId(0), Epoch(1), 100, kind, 0, b"", 1, 1, b"k", value, b"a/b", own, ttl=ttl)
    return evaluate(standing, message, NOW)


@pytest.mark.parametrize(
    ("found", "by", "initial", "made"),
    [
        (ABSENT, 5, 0, b"5"),
        (ABSENT, -5, 2, b"-3"),
        (number(b"7"), 5, 100, b"12"),
        (number(b"-9223372036854775808"), 1, 0, b"-9223372036854775807"),
        (number(b"007"), 1, 0, b"8"),
    ],
)
def test_add_adds_to_what_is_there_or_to_the_initial_value(
    found: Standing, by: int, initial: int, made: bytes
) -> None:
    effect = do(Kind.ADD, found, pack_numbers(by, initial))
    content_type = b"a/b" if found is ABSENT else b"text/plain"
    status = Status.CREATED if found is ABSENT else Status.REPLACED
    assert effect == Effect(
        status, ChangeKind.PUT, tail_of(content_type, made), 0, tail_of(content_type, made)
    )


@pytest.mark.parametrize(
    ("text", "by"),
    [
        (b"", 1), (b"-", 1), (b"1.5", 1), (b" 1", 1), (b"1\n", 1), (b"+1", 1), ("१".encode(), 1), (b"1e3", 1),
        (b"9223372036854775808", -1), (b"9223372036854775807", 1), (b"-9223372036854775808", -1),
        (b"1" * 5_000, 1),
    ],
)  # fmt: skip
def test_what_is_no_number_of_64_bits_or_would_not_be_stays(text: bytes, by: int) -> None:
    assert do(Kind.ADD, number(text), pack_numbers(by, 0)) == Effect(Status.WRONG_TYPE)


def test_numbers_of_more_than_64_bits_cannot_be_asked_for() -> None:
    with pytest.raises(struct.error):
        pack_numbers(2**63, 0)


def test_append_creates_lengthens_and_answers_the_length_of_what_is_large() -> None:
    assert do(Kind.APPEND, ABSENT, b"ab").tail == tail_of(b"a/b", b"ab")
    effect = do(Kind.APPEND, number(b"1", 50), b"ab")
    assert (effect.tail, effect.deadline) == (tail_of(b"text/plain", b"1ab"), 50), "a deadline is kept"
    assert effect.result == effect.tail
    long = do(Kind.APPEND, Standing(tail_of(b"", LARGE), 0), b"!")
    assert long.result == tail_of(LENGTH_ONLY, b"%d" % (len(LARGE) + 1))
    full = Standing(tail_of(b"", bytes(limits.VALUE_BYTES)), 0)
    assert do(Kind.APPEND, full, b"!") == Effect(Status.TOO_LARGE)
    assert do(Kind.APPEND, full, b"").kind == ChangeKind.PUT


def test_swap_and_take_answer_what_was_there() -> None:
    found = number(b"old", 50)
    assert do(Kind.SWAP, found, b"new") == Effect(
        Status.REPLACED, ChangeKind.PUT, tail_of(b"a/b", b"new"), 0, found.tail or b""
    )
    assert do(Kind.SWAP, ABSENT, b"new").result == b""
    assert do(Kind.TAKE, found).result == found.tail
    assert do(Kind.TAKE, ABSENT) == Effect(Status.NOT_FOUND)


@pytest.mark.parametrize("kind", [Kind.SWAP, Kind.TAKE])
def test_a_large_result_is_not_kept_under_a_clients_own_key(kind: Kind) -> None:
    found = Standing(tail_of(b"", LARGE), 0)
    assert do(kind, found, own=b"mine") == Effect(Status.TOO_LARGE)
    assert do(kind, found).kind


def test_put_and_swap_clear_a_ttl_unless_they_give_or_keep_one() -> None:
    for kind in (Kind.PUT, Kind.SWAP):
        found = number(b"1", 50)
        assert [do(kind, found, ttl=ttl).deadline for ttl in (0, 7, KEEP)] == [0, NOW + 7, 50]
        assert do(kind, ABSENT, ttl=KEEP).deadline == 0, "nothing is left of what was not there"
    for kind, value in ((Kind.ADD, pack_numbers(1, 0)), (Kind.APPEND, b"1")):
        assert [do(kind, number(b"1", 50), value, ttl).deadline for ttl in (0, 7, KEEP)] == [50, NOW + 7, 50]


def test_touch_and_persist_change_the_deadline_alone() -> None:
    found = number(b"1", 50)
    assert do(Kind.TOUCH, found, ttl=7) == Effect(Status.REPLACED, ChangeKind.TOUCH, b"", NOW + 7)
    assert do(Kind.PERSIST, found) == Effect(Status.REPLACED, ChangeKind.TOUCH)
    assert do(Kind.TOUCH, ABSENT, ttl=7) == do(Kind.PERSIST, ABSENT) == Effect(Status.NOT_FOUND)


def test_which_answers_hold_a_result() -> None:
    held = {(kind, status) for kind in Kind for status in Status if has_result(kind, status)}
    assert held == {
        (Kind.ADD, Status.CREATED), (Kind.ADD, Status.REPLACED), (Kind.APPEND, Status.CREATED),
        (Kind.APPEND, Status.REPLACED), (Kind.SWAP, Status.REPLACED), (Kind.TAKE, Status.DELETED),
        (Kind.BATCH, Status.DONE), (Kind.BATCH, Status.CONDITION_FAILED), (Kind.BATCH, Status.WRONG_TYPE),
        (Kind.BATCH, Status.TOO_LARGE),
    }  # fmt: skip
