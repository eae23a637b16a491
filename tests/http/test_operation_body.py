"""The JSON of an operation on a key, and times to live: tables of what is read, and of what is refused."""

import json
import struct

import pytest

from ringkeep.core.protocol.client_requests import ABSENT, ANY, KEEP, PRESENT, Kind
from ringkeep.core.protocol.limits import MAX_TTL_MS
from ringkeep.http.parse.operation_body import one_condition, parse_operation
from ringkeep.http.parse.operation_table import TAKES
from ringkeep.http.parse.put_body import parse_put
from ringkeep.http.parse.time_to_live import parse_ttl
from ringkeep.http.problems import Problem

MOST, LEAST = 2**63 - 1, -(2**63)


def numbers(by: int, initial: int) -> bytes:
    return struct.pack("!qq", by, initial)


@pytest.mark.parametrize(
    ("text", "milliseconds"),
    [
        ("1ms", 1),
        ("30s", 30_000),
        ("0030s", 30_000),
        ("5m", 300_000),
        ("2h", 7_200_000),
        ("1d", 86_400_000),
        ("36600d", MAX_TTL_MS),
        (f"{MAX_TTL_MS}ms", MAX_TTL_MS),
        ("keep", KEEP),
    ],
)
def test_a_ttl(text: str, milliseconds: int) -> None:
    assert parse_ttl(text, "The parameter") == milliseconds
    assert parse_put(b'{"key":"k","value":"v","ttl":"%b"}' % text.encode()).ttl_ms == milliseconds


@pytest.mark.parametrize(
    "text",
    ["", "0s", "0ms", "30", "-1s", "+1s", " 1s", "1s ", "1 s", "1.5s", "1e3s", "1S", "1w", "1y", "s", "1ss",
     "1m1s", "36601d", f"{MAX_TTL_MS + 1}ms", "9" * 15 + "d", "9" * 5_000 + "s", "Keep", "KEEP", "forever",
     "٣s", "1s\n"],
)  # fmt: skip
def test_what_is_no_ttl(text: str) -> None:
    for keeps in (True, False):
        with pytest.raises(Problem) as refused:
            parse_ttl(text, "The parameter", keeps=keeps)
        detail = refused.value.detail
        assert refused.value.kind.status == 400
        assert detail.startswith("The parameter 'ttl' must be") and "ms, s, m, h or d" in detail
        assert ("keep" in detail) is keeps
        assert len(detail) < 300


@pytest.mark.parametrize(
    ("members", "expected"),
    [
        ({"op": "add"}, (Kind.ADD, numbers(1, 0), b"", 0, ANY)),
        ({"op": "add", "by": -7, "initial": 40}, (Kind.ADD, numbers(-7, 40), b"", 0, ANY)),
        ({"op": "add", "by": MOST, "initial": LEAST}, (Kind.ADD, numbers(MOST, LEAST), b"", 0, ANY)),
        ({"op": "add", "ttl": "1m", "if_version": 7}, (Kind.ADD, numbers(1, 0), b"", 60_000, 7)),
        ({"op": "append", "value": ""}, (Kind.APPEND, b"", b"", 0, ANY)),
        ({"op": "append", "value": 'a"b', "if_absent": True}, (Kind.APPEND, b'a"b', b"", 0, ABSENT)),
        (
            {"op": "append", "value_base64": "/wA=", "content_type": "a/b"},
            (Kind.APPEND, b"\xff\0", b"a/b", 0, ANY),
        ),
        ({"op": "swap", "value": "ü", "ttl": "keep"}, (Kind.SWAP, "ü".encode(), b"", KEEP, ANY)),
        ({"op": "swap", "value": "v", "if_present": True}, (Kind.SWAP, b"v", b"", 0, PRESENT)),
        ({"op": "take", "if_version": MOST}, (Kind.TAKE, b"", b"", 0, MOST)),
        ({"op": "touch", "ttl": "1ms"}, (Kind.TOUCH, b"", b"", 1, ANY)),
        ({"op": "persist"}, (Kind.PERSIST, b"", b"", 0, ANY)),
    ],
)
def test_an_operation(members: dict[str, object], expected: tuple[object, ...]) -> None:
    for body in (json.dumps(members), json.dumps(members, indent=1, ensure_ascii=False)):
        assert parse_operation(body.encode()) == expected


# What is sent, and what the answer has to name.
REFUSED = [
    (b"", "JSON object"),
    (b"add", "JSON object"),
    (b'["add"]', "JSON object"),
    (b"null", "JSON object"),
    (b'{"op":"add"', "JSON object"),
    (b'{"op":"add"} x', "JSON object"),
    (b"{}", "add, append, swap, take, touch, persist"),
    (b'{"op":null}', "'op' is null"),
    (b'{"op":1}', "'op'"),
    (b'{"op":["add"]}', "'op'"),
    (b'{"op":"Add"}', "'Add'"),
    (b'{"op":"get"}', "GET /v1/kv/KEY"),
    (b'{"op":"put","value":"v"}', "PUT /v1/kv/KEY"),
    (b'{"op":"incr"}', '"add"'),
    (b'{"op":"add","op":"add"}', "twice"),
    (b'{"op":"add","by":1,"by":2}', "twice"),
    (b'{"op":"add","by":1,"b\\u0079":2}', "twice"),
    (b'{"op":"add","by":null}', "'by' is null"),
    (b'{"op":"add","by":"1"}', "'by'"),
    (b'{"op":"add","by":1.0}', "'by'"),
    (b'{"op":"add","by":1e3}', "'by'"),
    (b'{"op":"add","by":1e400}', "'by'"),
    (b'{"op":"add","by":true}', "'by'"),
    (b'{"op":"add","by":[1]}', "'by'"),
    (b'{"op":"add","by":%d}' % (MOST + 1), "'by'"),
    (b'{"op":"add","initial":%d}' % (LEAST - 1), "'initial'"),
    (b'{"op":"add","by":%b}' % (b"9" * 400), "'by'"),
    (b'{"op":"add","value":"1"}', "'value'"),
    (b'{"op":"add","value":5}', '"add" takes no member'),
    (b'{"op":"add","delta":1}', "'delta'"),
    (b'{"op":"added","delta":1}', "'delta'"),
    (b'{"op":"add","ttl":"keep"}', "by itself"),
    (b'{"op":"add","ttl":30}', "'ttl'"),
    (b'{"op":"add","ttl":"30"}', "'ttl'"),
    (b'{"op":"append"}', "'value'"),
    (b'{"op":"append","value":1}', "'value'"),
    (b'{"op":"append","value":"v","by":1}', "'by'"),
    (b'{"op":"append","value":"v","value_base64":"dg=="}', "both"),
    (b'{"op":"append","value_base64":"dg"}', "base64"),
    (b'{"op":"append","value":"v","ttl":"keep"}', "'ttl'"),
    (b'{"op":"append","value":"\\ud800"}', "JSON"),
    (b'{"op":"append","value":"\xff"}', "JSON"),
    (b'{"op":"swap"}', "'value'"),
    (b'{"op":"swap","value":"v","content_type":"t\xc3\xa4xt"}', "Content-Type"),
    (b'{"op":"swap","value":"v","content_type":"a\\nb"}', "Content-Type"),
    (b'{"op":"swap","value":"v","content_type":"%b"}' % (b"x" * 256), "Content-Type"),
    (b'{"op":"take","ttl":"1s"}', "'ttl'"),
    (b'{"op":"take","value":"v"}', "'value'"),
    (b'{"op":"touch"}', "'ttl'"),
    (b'{"op":"touch","ttl":"keep"}', "'ttl'"),
    (b'{"op":"persist","ttl":"1s"}', "'ttl'"),
    (b'{"op":"take","if_version":0}', "'if_version'"),
    (b'{"op":"take","if_version":-1}', "'if_version'"),
    (b'{"op":"take","if_version":%d}' % (MOST + 1), "'if_version'"),
    (b'{"op":"take","if_version":"7"}', "'if_version'"),
    (b'{"op":"take","if_absent":false}', "'if_absent'"),
    (b'{"op":"take","if_present":1}', "'if_present'"),
    (b'{"op":"take","if_present":true,"if_version":7}', "one condition"),
    (b'{"op":' * 100_000, "JSON object"),
    (b'{"op":"add","by":' + b"[" * 200_000, "JSON object"),
]


@pytest.mark.parametrize(("body", "named"), REFUSED, ids=[str(body[:48]) for body, _ in REFUSED])
def test_what_is_no_operation(body: bytes, named: str) -> None:
    with pytest.raises(Problem) as refused:
        parse_operation(body)
    assert refused.value.kind.status == 400 and refused.value.outcome == "not-applied"
    assert named in refused.value.detail, refused.value.detail
    assert "Nothing was applied" in refused.value.detail


def test_members_of_other_operations_are_named_for_each() -> None:
    for op, takes in TAKES.items():
        for name, value in {"by": 1, "value": "v", "content_type": "a/b", "ttl": "1s"}.items():
            if name not in takes:
                with pytest.raises(Problem) as refused:
                    parse_operation(json.dumps({"op": op, name: value}).encode())
                assert f'"{op}" takes no member {name!r}' in refused.value.detail


def test_fields_and_body_name_one_condition() -> None:
    assert one_condition(ANY, 7) == one_condition(7, ANY) == one_condition(7, 7) == 7
    for field, member in ((7, 8), (ABSENT, PRESENT), (PRESENT, 7)):
        with pytest.raises(Problem, match="different conditions"):
            one_condition(field, member)
