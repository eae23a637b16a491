"""Times to live: how they are given, told, kept and changed, and that a key is gone after its time."""

import json
from typing import Any

import pytest
from tests.support.http.host import Host
from tests.support.http.wire import Answer, Wire
from tests.support.wait import until

SECOND, HOUR = 1_000, 3_600_000


def left(answer: Answer) -> int:
    """Return the milliseconds that a read says, 0 for ever."""
    assert answer.status in (200, 304), answer
    return int(answer.headers.get("ringkeep-ttl", "0"))


def about(milliseconds: int, hours: int) -> bool:
    return (hours - 1) * HOUR < milliseconds <= hours * HOUR


def operate(wire: Wire, key: str, op: str, **members: Any) -> Answer:
    answer = wire.request("POST", f"/v1/kv/{key}", json.dumps({"op": op, **members}).encode())
    assert answer.status in (200, 201), answer
    return answer


def test_every_read_tells_what_is_left(wire: Wire, key: str) -> None:
    path = f"/v1/kv/{key}"
    tag = wire.request("PUT", f"{path}?ttl=2h", b"v").headers["etag"]
    for method in ("GET", "HEAD"):
        assert about(left(wire.request(method, path)), 2)
        assert about(left(wire.request(method, path, if_none_match=tag)), 2)
    assert about(wire.request("GET", f"/get?key={key}").json()["ttl"], 2)
    version = tag.strip('"')
    for target in (f"{path}?consistency=stale&at_least={version}", f"/get?key={key}&consistency=stale"):
        stale = until(lambda at=target: found(wire, at), "a replica that holds it")  # type: ignore[misc]
        assert about(left(stale) or stale.json()["ttl"], 2)


def found(wire: Wire, target: str) -> Answer | None:
    answer = wire.request("GET", target)
    return answer if answer.status == 200 else None


def test_a_key_without_a_ttl_says_nothing_of_one(wire: Wire, key: str) -> None:
    wire.request("PUT", f"/v1/kv/{key}", b"v")
    assert "ringkeep-ttl" not in wire.request("GET", f"/v1/kv/{key}").headers
    assert "ttl" not in wire.request("GET", f"/get?key={key}").json()


def test_put_in_json_takes_a_ttl(wire: Wire, key: str) -> None:
    body = json.dumps({"ttl": "3h", "key": key, "value": 'with "quotes"'}).encode()
    assert wire.request("POST", "/put", body).status == 200
    assert about(wire.request("GET", f"/get?key={key}").json()["ttl"], 3)
    hint = wire.request("POST", "/put", json.dumps({"key": key, "value": "v", "ttl": 30}).encode())
    assert hint.status == 400 and '"30s"' in hint.json()["detail"]
    misplaced = wire.request("POST", "/put?ttl=30s", body)
    assert misplaced.status == 400 and "as a member" in misplaced.json()["detail"]


def test_which_writes_keep_a_ttl(wire: Wire, key: str) -> None:
    path = f"/v1/kv/{key}"

    def ttl() -> int:
        return left(wire.request("GET", path))

    wire.request("PUT", f"{path}?ttl=2h", b"1")
    operate(wire, key, "add")
    operate(wire, key, "append", value="0")
    assert about(ttl(), 2)
    wire.request("PUT", f"{path}?ttl=keep", b"1")
    operate(wire, key, "swap", value="2", ttl="keep")
    assert about(ttl(), 2)
    operate(wire, key, "add", ttl="5h")
    assert about(ttl(), 5)
    operate(wire, key, "swap", value="v")
    assert ttl() == 0, "as PUT, it makes the key permanent"
    operate(wire, key, "touch", ttl="4h")
    assert about(ttl(), 4)
    operate(wire, key, "persist")
    assert ttl() == 0
    wire.request("PUT", f"{path}?ttl=1h", b"v")
    wire.request("PUT", path, b"v")
    assert ttl() == 0
    assert wire.request("PUT", f"{path}-new?ttl=keep", b"v").status == 201
    assert left(wire.request("GET", f"{path}-new")) == 0


def test_touch_and_persist_make_a_new_version_of_the_same_value(wire: Wire, key: str) -> None:
    path = f"/v1/kv/{key}"
    versions = [wire.request("PUT", path, b"v", content_type="a/b").headers["etag"]]
    for op, members in (("touch", {"ttl": "1h"}), ("persist", {}), ("persist", {})):
        versions.append(operate(wire, key, op, **members).headers["etag"])
    assert len(set(versions)) == 4
    kept = wire.request("GET", path)
    assert (kept.body, kept.headers["content-type"], kept.headers["etag"]) == (b"v", "a/b", versions[-1])


def test_a_key_is_gone_after_its_time(wire: Wire, key: str) -> None:
    path = f"/v1/kv/{key}"
    wire.request("PUT", f"{path}?ttl=300ms", b"v")
    until(lambda: wire.request("GET", path).status == 404, "the key to expire")
    assert wire.request("GET", f"/get?key={key}").status == 404
    assert wire.request("DELETE", path).status == 404
    assert wire.request("PUT", path, b"v", if_match="*").status == 412
    created = wire.request("PUT", path, b"w", if_none_match="*")
    assert created.status == 201
    assert wire.request("GET", path).body == b"w"


def test_a_ttl_is_part_of_what_an_idempotency_key_stands_for(wire: Wire, key: str) -> None:
    path = f"/v1/kv/{key}"
    first = wire.request("PUT", f"{path}?ttl=60s", b"v", idempotency_key="a")
    again = wire.request("PUT", f"{path}?ttl=1m", b"v", idempotency_key="a")
    assert (again.status, again.headers["etag"]) == (201, first.headers["etag"])
    for query in ("", "?ttl=61s", "?ttl=keep"):
        assert wire.request("PUT", path + query, b"v", idempotency_key="a").status == 422


@pytest.mark.parametrize(
    "query",
    ["ttl=", "ttl", "ttl=0s", "ttl=30", "ttl=-1s", "ttl=1.5h", "ttl=1w", "ttl=1%20s", "ttl=1s&ttl=1s"],
)
def test_a_ttl_that_is_none_is_refused(wire: Wire, key: str, query: str) -> None:
    answer = wire.request("PUT", f"/v1/kv/{key}?{query}", b"v")
    assert answer.status == 400 and "ttl" in answer.json()["detail"]
    assert wire.request("GET", f"/v1/kv/{key}").status == 404


@pytest.mark.parametrize("method", ["GET", "HEAD", "DELETE"])
def test_other_routes_take_no_ttl(wire: Wire, key: str, method: str) -> None:
    assert wire.request(method, f"/v1/kv/{key}?ttl=1s").status == 400


def test_without_a_ttl_a_request_has_the_digest_that_it_always_had(host: Host, wire: Wire) -> None:
    wire.request("PUT", "/v1/kv/k", b"v", idempotency_key="a", content_type="a/b")
    assert host.service.submitted[0].fingerprint.hex() == "29e75c5c8ccbbcd6f16bb83c22c11c00"
