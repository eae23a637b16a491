"""The JSON of a batch: what is read, and what is refused with which words."""

import json
from typing import Any

import pytest

from ringkeep.core.protocol.batch import CHECK, Step
from ringkeep.core.protocol.client_requests import ABSENT, ANY, KEEP, PRESENT, Kind
from ringkeep.core.protocol.limits import KEY_BYTES
from ringkeep.core.state.operations import pack_numbers
from ringkeep.http.limits import BATCH_OPERATIONS
from ringkeep.http.parse.batch_body import parse_batch
from ringkeep.http.parse.operation_table import BATCH_TAKES
from ringkeep.http.problems import Problem


def batch(*operations: object, **more: Any) -> bytes:
    return json.dumps({"operations": operations, **more}).encode()


@pytest.mark.parametrize(
    ("members", "step"),
    [
        ({"op": "get", "key": "k"}, Step(Kind.GET, b"k")),
        ({"op": "get", "key_base64": "/w=="}, Step(Kind.GET, b"\xff")),
        ({"op": "put", "key": "k", "value": 'a"b'}, Step(Kind.PUT, b"k", b'a"b')),
        (
            {"op": "put", "key": "ü", "value_base64": "/wA=", "content_type": "a/b", "ttl": "1s"},
            Step(Kind.PUT, "ü".encode(), b"\xff\0", b"a/b", ANY, 1_000),
        ),
        (
            {"op": "put", "key": "k", "value": "", "ttl": "keep", "if_version": 7},
            Step(Kind.PUT, b"k", b"", b"", 7, KEEP),
        ),
        ({"op": "delete", "key": "k", "if_present": True}, Step(Kind.DELETE, b"k", condition=PRESENT)),
        ({"op": "add", "key": "k", "by": -2}, Step(Kind.ADD, b"k", pack_numbers(-2, 0))),
        ({"op": "append", "key": "k", "value": "v"}, Step(Kind.APPEND, b"k", b"v")),
        ({"op": "swap", "key": "k", "value": "v", "if_absent": True},
         Step(Kind.SWAP, b"k", b"v", condition=ABSENT)),
        ({"op": "take", "key": "k"}, Step(Kind.TAKE, b"k")),
        ({"op": "touch", "key": "k", "ttl": "2m"}, Step(Kind.TOUCH, b"k", ttl_ms=120_000)),
        ({"op": "persist", "key": "k"}, Step(Kind.PERSIST, b"k")),
    ],
)  # fmt: skip
def test_an_operation(members: dict[str, object], step: Step) -> None:
    parsed = parse_batch(batch(members, members))
    assert parsed.steps == [step, step]
    assert (parsed.atomic, parsed.conditions, parsed.goes_on) == (False, [], False)
    assert parse_batch(batch(members, atomic=True)).atomic


def test_conditions_and_going_on() -> None:
    parsed = parse_batch(batch(
        {"op": "get", "key": "{t}a"}, atomic=True, on_error="continue",
        conditions=[{"key": "{t}b", "if_version": 3}, {"key": "{t}c", "if_absent": True}],
    ))  # fmt: skip
    assert parsed.goes_on
    assert parsed.conditions == [Step(CHECK, b"{t}b", condition=3), Step(CHECK, b"{t}c", condition=ABSENT)]


GET = {"op": "get", "key": "k"}
# What is sent, and what the answer has to name.
REFUSED: list[tuple[bytes, str]] = [
    (b"", "JSON object"),
    (b"[]", "JSON object"),
    (b'{"operations":[', "JSON object"),
    (b"{}", "no operations"),
    (batch(), "no operations"),
    (b'{"operations":null}', "'operations' is null"),
    (b'{"operations":{}}', "'operations' must be an array"),
    (b'{"operations":[null]}', "Operation 0 (from 0): It is no JSON object"),
    (b'{"operations":["get"]}', "Operation 0"),
    (batch(GET, ops=[]), "'ops'"),
    (batch(GET, atomic=None), "'atomic' is null"),
    (batch(GET, atomic="yes"), "atomic"),
    (batch(GET, atomic=1), "atomic"),
    (batch(GET, conditions=[]), "\"atomic\": true"),
    (batch(GET, on_error="continue"), "\"atomic\": true"),
    (batch(GET, atomic=False, conditions=[{"key": "k", "if_absent": True}]), "\"atomic\": true"),
    (batch(GET, atomic=True, on_error="stop"), "'on_error'"),
    (batch(GET, atomic=True, conditions=[{"key": "k"}]), "Condition 0 (from 0): It names no condition"),
    (batch(GET, atomic=True, conditions=[{"if_absent": True}]), "'key'"),
    (batch(GET, atomic=True, conditions=[{"key": "k", "if_version": "7"}]), "Condition 0"),
    (batch(GET, atomic=True, conditions=[{"key": "k", "value": "v"}]), "'value'"),
    (batch(GET, {"key": "k"}), "Operation 1 (from 0): It names no operation"),
    (batch(GET, {"op": "set", "key": "k"}), "'set'"),
    (batch(GET, {"op": 1, "key": "k"}), "Operation 1 (from 0): The member 'op'"),
    (batch({"op": "get"}), "neither 'key' nor 'key_base64'"),
    (batch({"op": "get", "key": ""}), "the key is empty".capitalize()),
    (batch({"op": "get", "key": "k" * (KEY_BYTES + 1)}), "1025 bytes"),
    (batch({"op": "get", "key": "k", "key_base64": "aw=="}), "both 'key'"),
    (batch({"op": "get", "key_base64": "?"}), "not base64"),
    (batch({"op": "get", "key": "k", "if_version": 7}), "takes no member 'if_version'"),
    (batch({"op": "put", "key": "k"}), "neither 'value'"),
    (batch({"op": "put", "key": "k", "value": 1}), "'value' must be a JSON string"),
    (batch({"op": "put", "key": "k", "value": None}), "'value' is null"),
    (batch({"op": "put", "key": "k", "value": "v", "by": 1}), "takes no member 'by'"),
    (batch({"op": "put", "key": "k", "value": "v", "ttl": 30}), "'ttl'"),
    (batch({"op": "put", "key": "k", "value": "v", "ttl": "-1s"}), "'ttl'"),
    (batch({"op": "put", "key": "k", "value": "v", "ttl": "0s"}), "'ttl'"),
    (batch({"op": "touch", "key": "k"}), "needs the member 'ttl'"),
    (batch({"op": "delete", "key": "k", "if_version": 0}), "'if_version'"),
    (batch({"op": "delete", "key": "k", "if_absent": False}), "must be true"),
    (batch({"op": "delete", "key": "k", "if_absent": True, "if_present": True}), "one condition"),
    (batch({"op": "delete", "key": "k", "vale": 1}), "'vale'"),
    (b'{"operations":[{"op":"get","key":"a","key":"b"}]}', "twice"),
    (b'{"operations":[{"op":"get","key":"a"}],"operations":[]}', "twice"),
    (b'{"operations":[{"op":"get","key":"a"}],"atomic":true,"atomic":true}', "twice"),
    (b'{"operations":[{"op":"get","key":"\xff"}]}', "JSON"),
    (b'{"operations":[{"op":"get","key":"\\ud800"}]}', "JSON"),
]  # fmt: skip


@pytest.mark.parametrize(("body", "names"), REFUSED)
def test_what_is_refused(body: bytes, names: str) -> None:
    with pytest.raises(Problem) as refused:
        parse_batch(body)
    assert refused.value.kind.status == 400
    detail = refused.value.detail
    assert names in detail, detail
    assert "Nothing was applied" in detail and len(detail) < 600


def test_the_keys_of_an_atomic_batch_share_a_slot() -> None:
    with pytest.raises(Problem) as refused:
        parse_batch(batch(GET, {"op": "get", "key": "l"}, atomic=True))
    assert "{user1}" in refused.value.detail and "'l'" in refused.value.detail
    with pytest.raises(Problem):
        parse_batch(batch(GET, atomic=True, conditions=[{"key": "l", "if_absent": True}]))
    parse_batch(batch(GET, GET, {"op": "get", "key": "{k}l"}, atomic=True))


def test_how_many_operations() -> None:
    assert len(parse_batch(batch(*[GET] * BATCH_OPERATIONS)).steps) == BATCH_OPERATIONS
    absent = {"key": "k", "if_absent": True}
    parse_batch(batch(GET, atomic=True, conditions=[absent] * BATCH_OPERATIONS))
    for body in (
        batch(*[GET] * (BATCH_OPERATIONS + 1)),
        batch(GET, atomic=True, conditions=[absent] * (BATCH_OPERATIONS + 1)),
    ):
        with pytest.raises(Problem) as refused:
            parse_batch(body)
        assert refused.value.kind.status == 413


def test_every_operation_is_named_when_there_is_no_such() -> None:
    with pytest.raises(Problem) as refused:
        parse_batch(batch({"op": "GET", "key": "k"}))
    assert all(name in refused.value.detail for name in BATCH_TAKES)
