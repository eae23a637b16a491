"""POST /v1/kv/{key}: operations on one key, as any node answers them."""

import json
from typing import Any

import pytest
from tests.support.http.host import Host
from tests.support.http.wire import Answer, Wire

from ringkeep.core.protocol.client_requests import Result, Status
from ringkeep.core.protocol.limits import KEPT_RESULT_BYTES, VALUE_BYTES


def operate(wire: Wire, key: str, op: str, **members: Any) -> Answer:
    """Send an operation; members that begin with `_` are header fields."""
    fields = {name[1:]: members.pop(name) for name in list(members) if name[0] == "_"}
    return wire.request("POST", f"/v1/kv/{key}", json.dumps({"op": op, **members}).encode(), **fields)


def done(answer: Answer, status: int = 200) -> dict[str, Any]:
    """Assert that it was done, and return what it says beside key and version."""
    assert answer.status == status, answer
    assert answer.headers["content-type"] == "application/json"
    assert answer.headers["ringkeep-node"] and answer.headers["ringkeep-primary"]
    members: dict[str, Any] = answer.json()
    version = members.pop("version")
    assert answer.headers.get("etag") in (f'"{version}"', None)
    assert members.pop("key")
    return members


def test_add_counts(wire: Wire, key: str) -> None:
    assert done(operate(wire, key, "add"), 201) == {"value": "1"}
    assert done(operate(wire, key, "add", by=41)) == {"value": "42"}
    assert done(operate(wire, key, "add", by=-50)) == {"value": "-8"}
    last = operate(wire, key, "add", by=0)
    found = wire.request("GET", f"/v1/kv/{key}")
    assert (found.body, found.headers["etag"]) == (b"-8", last.headers["etag"])
    assert done(operate(wire, f"{key}-b", "add", by=5, initial=100), 201) == {"value": "105"}
    assert done(operate(wire, f"{key}-b", "add", initial=7)) == {"value": "106"}


@pytest.mark.parametrize("value", [b"x", b"", b"1.5", b" 1", b"1 ", b"+1", b"9223372036854775808", b"\xff"])
def test_what_is_no_number_is_left_alone(wire: Wire, key: str, value: bytes) -> None:
    tag = wire.request("PUT", f"/v1/kv/{key}", value).headers["etag"]
    for fields in ({}, {"_idempotency_key": "a"}, {"_idempotency_key": "a"}):
        answer = operate(wire, key, "add", **fields)
        assert (answer.status, answer.headers["etag"]) == (409, tag)
        problem = answer.json()
        assert (problem["type"], problem["outcome"]) == ("/docs#wrong-type", "not-applied")
    assert wire.request("GET", f"/v1/kv/{key}").body == value


def test_add_does_not_overflow(wire: Wire, key: str) -> None:
    most = 2**63 - 1
    assert done(operate(wire, key, "add", by=most), 201) == {"value": str(most)}
    assert operate(wire, key, "add").status == 409
    assert operate(wire, f"{key}-absent", "add", by=1, initial=most).status == 409
    assert wire.request("GET", f"/v1/kv/{key}-absent").status == 404
    assert done(operate(wire, key, "add", by=-most)) == {"value": "0"}


def test_append(wire: Wire, key: str) -> None:
    first = operate(wire, key, "append", value="a", content_type="text/x-test")
    assert done(first, 201) == {"value": "a", "length": 1}
    assert done(operate(wire, key, "append", value="ü", content_type="other/type")) == {
        "value": "aü",
        "length": 3,
    }
    assert done(operate(wire, key, "append", value_base64="/w==")) == {
        "value_base64": "YcO8/w==",
        "length": 4,
    }
    found = wire.request("GET", f"/v1/kv/{key}")
    assert (found.body, found.headers["content-type"]) == ("aü".encode() + b"\xff", "text/x-test")
    large = "x" * KEPT_RESULT_BYTES
    assert done(operate(wire, key, "append", value=large)) == {"length": 4 + len(large)}


def test_a_stored_content_type_does_not_change_what_append_says(wire: Wire, key: str) -> None:
    wire.request("PUT", f"/v1/kv/{key}", b"1", content_type="length")
    assert done(operate(wire, key, "append", value="7")) == {"value": "17", "length": 2}


def test_a_value_does_not_grow_beyond_the_limit(wire: Wire, key: str) -> None:
    tag = wire.request("PUT", f"/v1/kv/{key}", b"v" * VALUE_BYTES).headers["etag"]
    answer = operate(wire, key, "append", value="v")
    assert (answer.status, answer.headers["etag"]) == (413, tag)
    assert answer.json()["outcome"] == "not-applied"
    assert done(operate(wire, key, "append", value="")) == {"length": VALUE_BYTES}


def test_swap_and_take_return_the_old_value(wire: Wire, key: str) -> None:
    assert done(operate(wire, key, "swap", value="one", content_type="a/b"), 201) == {"replaced": False}
    assert done(operate(wire, key, "swap", value_base64="/w==")) == {
        "replaced": True,
        "value": "one",
        "content_type": "a/b",
    }
    assert done(operate(wire, key, "swap", value="")) == {"replaced": True, "value_base64": "/w=="}
    taken = operate(wire, key, "take")
    assert done(taken) == {"value": ""} and "etag" not in taken.headers
    assert wire.request("GET", f"/v1/kv/{key}").status == 404
    assert operate(wire, key, "take").status == 404


def test_large_old_values_are_returned_but_not_kept(wire: Wire, key: str) -> None:
    large = b"v" * (KEPT_RESULT_BYTES + 1)
    tag = wire.request("PUT", f"/v1/kv/{key}", large).headers["etag"]
    for members in ({"op": "take"}, {"op": "swap", "value": "w"}):
        refused = operate(wire, key, _idempotency_key=members["op"], **members)
        assert (refused.status, refused.headers["etag"]) == (413, tag)
        assert "Idempotency-Key" in refused.json()["detail"]
    assert done(operate(wire, key, "swap", value="w"))["value"] == large.decode()
    assert done(operate(wire, key, "take")) == {"value": "w"}


@pytest.mark.parametrize("op", ["take", "touch", "persist"])
def test_what_needs_a_key_says_404(wire: Wire, key: str, op: str) -> None:
    members = {"ttl": "1m"} if op == "touch" else {}
    answer = operate(wire, key, op, **members)
    assert answer.status == 404 and answer.json()["outcome"] == "not-applied"
    assert wire.request("GET", f"/v1/kv/{key}").status == 404


def test_conditions_come_in_fields_or_in_the_body(wire: Wire, key: str) -> None:
    tag = operate(wire, key, "add", if_absent=True).headers["etag"]
    version = int(tag.strip('"'))
    for refused in (
        operate(wire, key, "add", if_absent=True),
        operate(wire, key, "add", _if_none_match="*"),
        operate(wire, key, "add", if_version=version + 1_000_000),
        operate(wire, key, "take", _if_match='"1x"'),
    ):
        assert (refused.status, refused.headers["etag"]) == (412, tag)
    assert operate(wire, f"{key}-none", "add", if_present=True).status == 412
    assert operate(wire, key, "add", if_version=version, _if_match='"1x"').status == 400
    both = operate(wire, key, "add", if_version=version, _if_match=tag)
    assert done(both) == {"value": "2"}
    assert done(operate(wire, key, "take", _if_match=both.headers["etag"])) == {"value": "2"}


def test_a_retry_returns_the_first_result(wire: Wire, key: str) -> None:
    def add(**more: Any) -> Answer:
        return operate(wire, key, "add", _idempotency_key="a", **more)

    first = add(by=5)
    operate(wire, key, "add", by=100)
    again = add(by=5, initial=0)  # what is left out is the default
    assert (again.status, again.body) == (201, first.body)
    assert wire.request("GET", f"/v1/kv/{key}").body == b"105"
    for other in (add(by=6), add(by=5, ttl="1m"), add(by=5, if_present=True), add(by=5, initial=1)):
        assert other.status == 422, other
    assert operate(wire, key, "take", _idempotency_key="a").status == 422
    taken = operate(wire, key, "take", _idempotency_key="b")
    wire.request("PUT", f"/v1/kv/{key}", b"later")
    assert operate(wire, key, "take", _idempotency_key="b").body == taken.body
    assert wire.request("GET", f"/v1/kv/{key}").body == b"later"


def test_keys_and_values_may_be_any_bytes(wire: Wire, key: str) -> None:
    answer = operate(wire, f"{key}%FF%00/a%20b", "append", value_base64="AP8=")
    assert answer.status == 201 and "key" not in answer.json()
    assert answer.json()["key_base64"] and answer.json()["value_base64"] == "AP8="
    assert wire.request("GET", f"/v1/kv/{key}%FF%00/a%20b").body == b"\0\xff"


def test_how_an_operation_is_sent(wire: Wire, key: str) -> None:
    body, path = b'{"op":"add"}', f"/v1/kv/{key}"
    assert wire.request("POST", path).status == 411
    assert wire.request("POST", path, body, content_encoding="gzip").status == 415
    assert wire.request("POST", path, body, content_type="application/json; charset=latin-1").status == 415
    assert wire.request("POST", f"{path}?ttl=1s", body).status == 400
    assert wire.request("POST", f"{path}?timeout=x", body).status == 400
    assert wire.request("POST", "/v1/kv/", body).status == 400
    assert wire.request("POST", path, b'{"op":"add","key":"k"}').status == 400
    for content_type in (None, "application/x-www-form-urlencoded", "text/plain"):
        assert wire.request("POST", f"{path}?timeout=2s", body, content_type=content_type).status in (
            200,
            201,
        )
    assert wire.request("GET", path).body == b"3"


@pytest.mark.parametrize(
    ("forced", "status", "outcome"),
    [
        (Status.NOT_FOUND, 404, "not-applied"),
        (Status.WRONG_TYPE, 409, "not-applied"),
        (Status.CONDITION_FAILED, 412, "not-applied"),
        (Status.TOO_LARGE, 413, "not-applied"),
        (Status.KEY_REUSED, 422, "not-applied"),
        (Status.BUSY, 429, "not-applied"),
        (Status.UNAVAILABLE, 503, "not-applied"),
        (Status.NO_SPACE, 507, "not-applied"),
        (Status.UNKNOWN, 504, "unknown"),
        (Status.DEFECT, 500, "unknown"),
        (Status.FOUND, 500, "unknown"),
    ],
)
def test_every_end(host: Host, wire: Wire, forced: Status, status: int, outcome: str) -> None:
    host.service.forced = Result(forced, version=7)
    for op, members in (("add", {}), ("append", {"value": "v"}), ("take", {}), ("touch", {"ttl": "1s"})):
        answer = operate(wire, "k", op, **members)
        assert answer.status == status, answer
        assert answer.headers["content-type"] == "application/problem+json"
        assert (answer.json()["outcome"], answer.json()["status"]) == (outcome, status)
        assert ("etag" in answer.headers) is (status in (409, 412, 413))
