"""Histories as JSON lines: what is written is read again, and what is wrong is said with its line."""

import json
from dataclasses import fields
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ringkeep.core.protocol.client_requests import PRESENT
from ringkeep.sim.histories.history import UNTOLD, Malformed, Operation, read_history, short, write_history

GET = {
    "client": 1,
    "kind": "get",
    "key": "k",
    "start": 1,
    "end": 2,
    "outcome": "ok",
    "version": 7,
    "read": "v",
}
PUT = {
    "client": 1,
    "kind": "put",
    "key": "k",
    "value": "v",
    "start": 1,
    "end": 2,
    "outcome": "ok",
    "version": 7,
}
DELETE = {"client": 1, "kind": "delete", "key": "k", "start": 1, "end": 2, "outcome": "ok"}
CAS = PUT | {"kind": "cas", "expected": 3}


def read(*lines: dict[str, Any] | bytes) -> list[Operation]:
    texts = [line if isinstance(line, bytes) else json.dumps(line).encode() for line in lines]
    return list(read_history([text + b"\n" for text in texts], "file"))


def same(one: Operation, other: Operation) -> bool:
    names = [each.name for each in fields(Operation) if each.name != "line"]
    return all(getattr(one, name) == getattr(other, name) for name in names)


# --- there and back -----------------------------------------------------------------------------------------


@st.composite
def operations(draw: st.DrawFn) -> Operation:
    """Whatever a client can be told."""
    kind = draw(st.sampled_from(["get", "put", "delete", "cas"]))
    start = draw(st.integers(0, 1 << 61))
    value = draw(st.binary(max_size=9)) if kind in ("put", "cas") else None
    conditions = st.sampled_from([PRESENT, 0, 1, 1 << 61])
    expected = (
        draw(conditions if kind == "cas" else st.none() | conditions) if kind in ("cas", "delete") else None
    )
    outcomes = ["ok", "rejected", "unknown", *(["failed"] if kind != "put" else [])]
    if kind == "delete" and expected == 0:
        outcomes.remove("ok")
    outcome = draw(st.sampled_from(outcomes))
    end = start + draw(st.integers(0, 1 << 60))
    each = Operation(
        draw(st.integers(0, 99)), kind, draw(st.binary(max_size=9)), value, expected, start, end, outcome
    )
    if outcome == "ok":
        each.version = draw(st.sampled_from([0, 1, 1 << 61]))
        each.read = draw(st.binary(max_size=9)) if kind == "get" else None
    elif outcome == "failed" and expected is not None:
        each.version = draw(st.sampled_from([UNTOLD, 0, 5]))
    elif outcome == "unknown":
        each.end = draw(st.sampled_from([None, end]))
    return each


@given(st.lists(operations(), max_size=3))
def test_what_is_written_is_read_again(history: list[Operation]) -> None:
    again = list(read_history(write_history(history), "file"))
    assert len(again) == len(history)
    assert all(map(same, again, history))
    assert [each.line for each in again] == list(range(1, len(history) + 1))


def test_a_line_can_be_read_by_people() -> None:
    history = [
        Operation(3, "cas", "clé".encode(), b"\xff\0", 7, 1, 4, "ok", 9),
        Operation(4, "get", b"k", None, None, 5, 6, "ok", 9, b""),
        Operation(5, "delete", b"k", None, PRESENT, 7, None, "unknown"),
        Operation(6, "cas", b"k", b"v", 0, 8, 9, "failed", 0),
        Operation(6, "cas", b"k", b"v", 7, 8, 9, "failed", UNTOLD),
    ]
    assert b"".join(write_history(history)).decode().splitlines() == [
        '{"client":3,"kind":"cas","key":"clé","value_base64":"/wA=","expected":7,'
        '"start":1,"end":4,"outcome":"ok","version":9}',
        '{"client":4,"kind":"get","key":"k","start":5,"end":6,"outcome":"ok","version":9,"read":""}',
        '{"client":5,"kind":"delete","key":"k","expected":"present","start":7,"end":null,"outcome":"unknown"}',
        '{"client":6,"kind":"cas","key":"k","value":"v","expected":"absent",'
        '"start":8,"end":9,"outcome":"failed","version":0}',
        '{"client":6,"kind":"cas","key":"k","value":"v","expected":7,"start":8,"end":9,"outcome":"failed"}',
    ]


def test_fields_may_stand_in_any_order_be_null_or_base64() -> None:
    [get] = read(
        {"key_base64": "aw==", "read_base64": "/w==", "version": None, "value": None}
        | GET
        | {"key": None, "read": None}
    )
    assert (get.key, get.read, get.version, get.value) == (b"k", b"\xff", 7, None)


def test_empty_lines_are_passed_over_and_counted() -> None:
    first, second = read(b"", PUT, b"  ", GET)
    assert (first.line, second.line) == (2, 4)


def test_a_failed_condition_may_tell_the_version_an_absence_or_nothing() -> None:
    failed = {name: CAS[name] for name in CAS if name != "version"} | {"outcome": "failed"}
    told = [each.version for each in read(failed, failed | {"version": 0}, failed | {"version": 5})]
    assert told == [UNTOLD, 0, 5]
    [nothing] = read(DELETE | {"outcome": "failed"})
    assert nothing.version == 0


# --- what is wrong ------------------------------------------------------------------------------------------


def without(line: dict[str, Any], name: str) -> dict[str, Any]:
    return {each: line[each] for each in line if each != name}


WRONG: dict[str, tuple[dict[str, Any] | bytes, str]] = {
    "no JSON": (b"hello", "not JSON: invalid character (byte 0)"),
    "half a line": (b'{"client": 1,', "not JSON: it is truncated"),
    "two objects": (json.dumps(GET).encode() * 2, "not JSON: trailing characters"),
    "no object": (b"[1]", "expected `object`, got `array`"),
    "not UTF-8": (
        b'{"client":1,"key":"\xff"}',
        "not UTF-8 (use the fields that end in _base64 for other bytes)",
    ),
    "deep": (b"[" * 100_000, "expected `object`, got `array`"),
    "a field too many": (GET | {"colour": "red"}, "unknown field `colour`"),
    "no client": (without(GET, "client"), "missing field `client`"),
    "no end": (without(GET, "end"), "missing field `end`"),
    "no key": (without(GET, "key"), "missing field `key`"),
    "two keys": (GET | {"key_base64": "aw=="}, "both `key` and `key_base64`"),
    "no base64": (without(GET, "key") | {"key_base64": "a"}, "key_base64: not base64"),
    "an unknown kind": (GET | {"kind": "incr"}, "kind: invalid enum value 'incr'"),
    "an unknown outcome": (GET | {"outcome": "maybe"}, "outcome: invalid enum value 'maybe'"),
    "a time in seconds": (GET | {"start": 1.5}, "start: expected `int`, got `float`"),
    "a time below 0": (GET | {"start": -1}, "start: expected `int` >= 0"),
    "a time without bounds": (GET | {"end": 1 << 99}, "end: expected `int`"),
    "a truth for a number": (GET | {"client": True}, "client: expected `int`, got `bool`"),
    "end before start": (GET | {"start": 9}, "`end` 2 is before `start` 9"),
    "answered without an end": (GET | {"end": None}, "`end` is null, but it was answered: ok"),
    "a put that failed": (without(PUT, "version") | {"outcome": "failed"}, "a put cannot end as failed"),
    "a put without a value": (without(PUT, "value"), "missing field `value` of a put"),
    "a put with a condition": (
        PUT | {"expected": 3},
        "a put has no `expected`: with a condition it is",
    ),
    "a get with a value": (GET | {"value": "v"}, "a get has no `value`"),
    "a get with a condition": (GET | {"expected": 3}, "a get has no `expected`"),
    "an ok get without what it read": (without(GET, "read"), "missing field `read` of an ok get"),
    "a put that read": (PUT | {"read": "v"}, "only an ok get has `read`"),
    "a delete with a value": (DELETE | {"value": "v"}, "a delete has no `value`"),
    "a cas without a value": (without(CAS, "value"), "missing field `value` of a cas"),
    "a cas without a condition": (without(CAS, "expected"), "missing field `expected` of a cas"),
    "a condition in words": (CAS | {"expected": "there"}, "expected: invalid enum value 'there'"),
    "a condition on version 0": (CAS | {"expected": 0}, "expected: expected `int` >= 1"),
    "ok at version 0": (PUT | {"version": 0}, "`version` 0 of an ok operation"),
    "unknown, with a version": (PUT | {"outcome": "unknown"}, "ended as unknown was told no `version`"),
    "rejected, with a version": (PUT | {"outcome": "rejected"}, "ended as rejected was told no `version`"),
    "nothing found, with a version": (
        without(GET, "read") | {"outcome": "failed"},
        "a get without a condition that failed found nothing, so no `version` 7",
    ),
    "a delete of nothing": (DELETE | {"expected": "absent"}, "a delete of what is absent is not ok"),
}


@pytest.mark.parametrize("name", WRONG)
def test_what_is_wrong_is_said_with_file_and_line(name: str) -> None:
    line, reason = WRONG[name]
    with pytest.raises(Malformed) as caught:
        read(GET, line, PUT)
    text = str(caught.value)
    assert text.startswith("file:2: ")
    assert reason in text
    assert "\n" not in text
    assert "$" not in text


@given(
    st.binary(max_size=40)
    | st.dictionaries(st.sampled_from(sorted(GET | CAS)), st.none() | st.integers() | st.text())
)
def test_bad_input_is_never_another_error(line: Any) -> None:
    try:
        read(line)
    except Malformed as error:
        assert str(error).startswith("file:")


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (b"plain", '"plain"'),
        (b"", '""'),
        (b'a "quote"', r'"a \"quote\""'),
        ("ünï".encode(), '"ünï"'),
        (b"\xff\xfe", r"b'\xff\xfe'"),
        (b"a\nb\0", r'"a\nb\u0000"'),
        (b"\x1b[31m", r'"\u001b[31m"'),
        ("\u202e".encode(), r'"\u202e"'),
        (b"x" * 30, '"' + "x" * 20 + '"…'),
    ],
)
def test_bytes_are_shown_so_that_they_cannot_harm_a_terminal(value: bytes, text: str) -> None:
    assert short(value) == text
