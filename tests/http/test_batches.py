"""POST /v1/batch: several operations in one request, atomic or not, as any node answers them."""

import json
from collections.abc import Callable
from typing import Any

import pytest
from tests.support.http.host import Host
from tests.support.http.wire import Answer, Wire

from ringkeep.core.protocol.client_requests import Request, Result, Status
from ringkeep.core.protocol.limits import KEPT_RESULT_BYTES, MIB
from ringkeep.http.limits import BATCH_BYTES, BATCH_VALUES_BYTES, IN_FLIGHT

Members = dict[str, Any]


def send(wire: Wire, *operations: Members, name: str | None = None, **more: Any) -> Answer:
    """Send a batch; `name`: its Idempotency-Key."""
    body = json.dumps({"operations": operations, **more}).encode()
    return wire.request("POST", "/v1/batch", body, idempotency_key=name)


def results(answer: Answer) -> list[Members]:
    """Return the results of a batch that was done."""
    assert answer.status == 200, answer
    assert answer.headers["content-type"] == "application/json" and answer.headers["ringkeep-node"]
    found: list[Members] = answer.json()["results"]
    return found


def codes(answer: Answer) -> list[int]:
    return [each["status"] for each in results(answer)]


def op(name: str, key: str, value: str | None = None, **more: Any) -> Members:
    return {"op": name, "key": key, **({} if value is None else {"value": value}), **more}


ALL = ["put", "put", "get", "append", "add", "add", "swap", "take", "touch", "persist", "delete", "delete",
       "get"]  # fmt: skip


def every_operation(key: str) -> list[Members]:
    """Return a batch of every operation, on two keys."""
    k, n = f"{{{key}}}k", f"{{{key}}}n"
    return [
        op("put", k, "a", content_type="a/b"), op("put", k, "b", content_type="text/x"), op("get", k),
        op("append", k, "c"), op("add", n), op("add", n, by=41), op("swap", k, "d", ttl="1h"),
        op("take", n), op("touch", k, ttl="2h"), op("persist", k), op("delete", k), op("delete", k),
        op("get", k),
    ]  # fmt: skip


@pytest.mark.parametrize("atomic", [False, True])
def test_every_operation(wire: Wire, key: str, atomic: bool) -> None:
    answer = send(wire, *every_operation(key), atomic=atomic)
    found = results(answer)
    assert codes(answer) == [201, 200, 200, 200, 201, 200, 200, 200, 200, 200, 204, 404, 404]
    versions = [each.pop("version", 0) for each in found]
    assert found[2] == {"status": 200, "value": "b", "content_type": "text/x"}
    assert found[3] == {"status": 200, "value": "bc", "length": 2}
    assert [found[4]["value"], found[5]["value"], found[7]["value"]] == ["1", "42", "42"]
    assert found[6] == {"status": 200, "replaced": True, "value": "bc", "content_type": "text/x"}
    assert found[12]["outcome"] == "not-applied" and found[12]["detail"]
    if atomic:
        assert versions[:11] == [answer.json()["version"]] * 11 and versions[0] > 0
        assert answer.headers["ringkeep-primary"]
    else:
        assert "version" not in answer.json()
        on_k = [versions[each] for each in (0, 1, 3, 6, 8, 9, 10)]
        assert on_k == sorted(set(on_k)), "each waits for the one before"
        assert versions[2] == versions[1]


@pytest.mark.parametrize("atomic", [False, True])
def test_bytes_that_are_no_text(wire: Wire, key: str, atomic: bool) -> None:
    put = {"op": "put", "key_base64": "e2F9/w==", "value_base64": "AP8="}
    get = {"op": "get", "key_base64": "e2F9/w=="}
    assert results(send(wire, put, get, atomic=atomic))[1]["value_base64"] == "AP8="
    assert wire.request("GET", "/v1/kv/%7Ba%7D%FF").body == b"\0\xff"


def test_each_operation_fails_by_itself(wire: Wire, key: str) -> None:
    answer = send(
        wire, op("put", f"{key}a", "x"), op("put", f"{key}b", "y", if_present=True),
        op("add", f"{key}a"), op("get", f"{key}b"), op("put", f"{key}a", "z", if_absent=True),
        op("put", f"{key}c", "w"),
    )  # fmt: skip
    assert codes(answer) == [201, 412, 409, 404, 412, 201]
    found = results(answer)
    assert found[4]["version"] == found[2]["version"] == found[0]["version"]
    assert "version" not in found[1]
    assert {found[each]["outcome"] for each in (1, 2, 3, 4)} == {"not-applied"}


def test_an_atomic_batch_is_all_or_nothing(wire: Wire, key: str) -> None:
    tag = f"{{{key}}}"
    assert codes(send(wire, op("put", f"{tag}a", "1"), op("put", f"{tag}b", "x"), atomic=True)) == [201, 201]
    version = wire.request("GET", f"/v1/kv/{tag}a").headers["etag"].strip('"')
    cases: list[tuple[int, Members, list[Members], Members]] = [
        (412, {"position": 1, "key": f"{tag}b", "version": int(version)},
         [op("put", f"{tag}a", "2"), op("put", f"{tag}b", "2", if_absent=True)], {}),
        (412, {"condition": 1, "key": f"{tag}c", "version": 0}, [op("put", f"{tag}a", "2")],
         {"conditions": [{"key": f"{tag}b", "if_present": True}, {"key": f"{tag}c", "if_version": 9}]}),
        (409, {"position": 1, "key": f"{tag}b", "version": int(version)},
         [op("delete", f"{tag}a"), op("add", f"{tag}b")], {}),
        (412, {"condition": 0, "key": f"{tag}c", "version": 0}, [op("put", f"{tag}a", "2")],
         {"conditions": [{"key": f"{tag}c", "if_present": True}], "on_error": "continue"}),
    ]  # fmt: skip
    for status, failed, operations, more in cases:
        refused = send(wire, *operations, atomic=True, **more)
        assert refused.status == status, refused
        assert refused.headers["content-type"] == "application/problem+json"
        problem = refused.json()
        assert (problem["failed"], problem["outcome"]) == ([failed], "not-applied")
    assert wire.request("GET", f"/v1/kv/{tag}a").body == b"1"
    assert wire.request("GET", f"/v1/kv/{tag}b").body == b"x"


def test_going_on_after_an_error(wire: Wire, key: str) -> None:
    tag = f"{{{key}}}"
    answer = send(
        wire, op("put", f"{tag}a", "x"), op("add", f"{tag}a"), op("delete", f"{tag}b", if_present=True),
        op("put", f"{tag}b", "y"), atomic=True, on_error="continue",
        conditions=[{"key": f"{tag}a", "if_absent": True}],
    )  # fmt: skip
    assert codes(answer) == [201, 409, 412, 201]
    assert wire.request("GET", f"/v1/kv/{tag}b").body == b"y"


def test_reads_alone_make_no_version(wire: Wire, key: str) -> None:
    for name in (None, "a", "a"):
        answer = send(wire, op("get", key), op("delete", key), atomic=True, name=name)
        assert codes(answer) == [404, 404] and answer.json()["version"] == 0


def test_a_version_that_was_answered_is_no_other_keys(wire: Wire, key: str) -> None:
    """Also if nothing is left of it: the batch has deleted what it has made."""
    answer = send(wire, op("put", key, "v"), op("delete", key), atomic=True)
    version = answer.json()["version"]
    assert [each["version"] for each in results(answer)] == [version] * 2 and version > 0
    later = wire.request("PUT", f"/v1/kv/{{{key}}}", b"w").headers["etag"]
    assert int(later.strip('"')) > version


@pytest.mark.parametrize("atomic", [False, True])
def test_a_retry_returns_the_first_results(wire: Wire, key: str, atomic: bool) -> None:
    n, v = f"{{{key}}}n", f"{{{key}}}v"
    batch = [op("add", n), op("add", n, by=10), op("put", v, "w"), op("get", v), op("take", n), op("get", n)]
    first = send(wire, *batch, name="a", atomic=atomic)
    assert codes(first) == [201, 200, 201, 200, 200, 404]
    wire.request("PUT", f"/v1/kv/{v}", b"later")
    wire.request("PUT", f"/v1/kv/{n}", b"5")
    again = send(wire, *batch, name="a", atomic=atomic)
    before, now = results(first), results(again)
    assert [now[each] for each in (0, 1, 2, 4)] == [before[each] for each in (0, 1, 2, 4)]
    assert now[3]["value"] == "later" and now[3].get("replayed", False) is atomic
    assert wire.request("GET", f"/v1/kv/{n}").body == b"5"
    other = send(wire, op("add", n), op("add", n, by=11), name="a", atomic=atomic)
    if atomic:
        assert other.status == 422
    else:
        assert codes(other) == [422, 422]
    assert send(wire, *batch, name="b", atomic=atomic).status == 200


def test_a_refused_atomic_batch_is_kept_too(wire: Wire, key: str) -> None:
    batch, guard = [op("put", key, "v")], [{"key": key, "if_present": True}]
    first = send(wire, *batch, name="a", atomic=True, conditions=guard)
    wire.request("PUT", f"/v1/kv/{key}", b"w")
    again = send(wire, *batch, name="a", atomic=True, conditions=guard)
    assert (first.status, first.body) == (again.status, again.body) and first.status == 412


def test_large_values(wire: Wire, key: str) -> None:
    tag = f"{{{key}}}"
    third = "v" * (BATCH_VALUES_BYTES // 3)
    for name in "abc":
        wire.request("PUT", f"/v1/kv/{tag}{name}", third.encode())
    wire.request("PUT", f"/v1/kv/{tag}d", b"12")
    reads = [op("get", f"{tag}{name}") for name in "abc"]
    assert codes(send(wire, *reads)) == codes(send(wire, *reads, atomic=True)) == [200] * 3
    more = [*reads, op("get", f"{tag}d"), op("put", f"{tag}e", "v")]
    each = send(wire, *more)
    assert sorted(codes(each)[:4]) == [200, 200, 200, 413] and codes(each)[4] == 201
    assert wire.request("DELETE", f"/v1/kv/{tag}e").status == 204
    refused = send(wire, *more, atomic=True)
    assert refused.status == 413 and refused.json()["failed"][0] == {
        "position": 3, "key": f"{tag}d", "version": 0,
    }  # fmt: skip
    assert wire.request("GET", f"/v1/kv/{tag}e").status == 404
    takes = [op("take", f"{tag}{name}") for name in "ab"]
    assert {send(wire, *takes, name="t", atomic=True).status} == {413}
    assert codes(send(wire, *takes, name="u")) == [413, 413]
    assert len(third) > KEPT_RESULT_BYTES
    assert [len(each["value"]) for each in results(send(wire, *takes))] == [len(third)] * 2


def test_how_a_batch_is_sent(wire: Wire, key: str, connect: Callable[[], Wire]) -> None:
    body = json.dumps({"operations": [op("put", key, "v")]}).encode()
    assert wire.request("POST", "/v1/batch?timeout=2s", body, content_type="text/plain").status == 200
    assert wire.request("POST", "/v1/batch?ttl=2s", body).status == 400
    assert wire.request("POST", "/v1/batch", body, if_match='"1"').status == 400
    assert wire.request("POST", "/v1/batch", body, idempotency_key="a b").status == 400
    assert wire.request("POST", "/v1/batch", body, content_encoding="gzip").status == 415
    refused = wire.request("GET", "/v1/batch")
    assert (refused.status, refused.headers["allow"]) == (405, "POST")
    with connect() as other:
        assert other.request("POST", "/v1/batch").status == 411
    with connect() as other:
        assert other.request("POST", "/v1/batch", b" " * (BATCH_BYTES + 1)).status == 413
    large = op("put", f"{key}l", "v" * (4 * MIB - 100))
    assert codes(send(wire, large)) == [201]
    two = {"operations": [op("put", "a", "v"), op("put", "b", "v")], "atomic": True}
    answer = wire.request("POST", "/v1/batch", json.dumps(two).encode())
    assert answer.status == 400 and "{user1}" in answer.json()["detail"]


# --- with answers as the test wants them ------------------------------------------------------------------


@pytest.mark.parametrize(
    ("forced", "status", "outcome"),
    [
        (Status.KEY_REUSED, 422, "not-applied"),
        (Status.BUSY, 429, "not-applied"),
        (Status.UNAVAILABLE, 503, "not-applied"),
        (Status.NO_SPACE, 507, "not-applied"),
        (Status.UNKNOWN, 504, "unknown"),
        (Status.DEFECT, 500, "unknown"),
        (Status.CREATED, 500, "unknown"),
        (Status.CONDITION_FAILED, 500, "unknown"),  # without outcomes that could be read
    ],
)
def test_every_end_of_an_atomic_batch(
    host: Host, wire: Wire, forced: Status, status: int, outcome: str
) -> None:
    host.service.forced = Result(forced)
    answer = send(wire, op("put", "k", "v"), atomic=True)
    assert (answer.status, answer.json()["outcome"]) == (status, outcome)


def test_outcomes_that_cannot_be_read_are_a_defect(host: Host, wire: Wire) -> None:
    host.service.forced = Result(Status.DONE, value=b"x")
    assert send(wire, op("put", "k", "v"), atomic=True).status == 500
    host.service.forced = None
    assert send(wire, op("put", "k", "v"), atomic=True).status == 200


def test_a_read_only_batch_that_times_out_changed_nothing(host: Host, wire: Wire) -> None:
    host.service.forced = Result(Status.UNKNOWN)
    assert send(wire, op("get", "k"), op("get", "k"), atomic=True).status == 503


def test_what_is_not_sent_says_so(host: Host, wire: Wire) -> None:
    host.service.forced = Result(Status.UNKNOWN)
    found = results(send(wire, op("put", "a", "v"), op("put", "b", "v"), op("put", "a", "w")))
    assert [each["status"] for each in found] == [504, 504, 503]
    assert [each["outcome"] for each in found] == ["unknown", "unknown", "not-applied"]
    assert "not sent" in found[2]["detail"]
    assert len(host.service.submitted) == 2


def test_a_batch_needs_room_for_all_its_operations(host: Host, wire: Wire) -> None:
    listener = host.server.listener
    batch = [op("put", f"k{each}", "v") for each in range(64)]
    listener.in_flight = IN_FLIGHT - 63
    refused = send(wire, *batch)
    assert refused.status == 429 and refused.headers["retry-after"]
    assert host.service.submitted == []
    listener.in_flight = IN_FLIGHT - 64
    counted: list[int] = []
    evaluate = host.service.execute

    def execute(request: Request) -> Result:
        counted.append(listener.in_flight)
        return evaluate(request)

    host.service.execute = execute  # type: ignore[method-assign]
    try:
        assert codes(send(wire, *batch)) == [201] * 64
        assert codes(send(wire, *batch[:1], atomic=True)) == [200]
    finally:
        del host.service.execute
    assert counted == [IN_FLIGHT] * 64 + [IN_FLIGHT - 63]
    assert host.call(lambda: listener.in_flight) == IN_FLIGHT - 64
    listener.in_flight = 0


def test_a_batch_of_others_is_no_batch_of_one(host: Host, wire: Wire) -> None:
    """The name of an operation of a batch is none that a client can send."""
    send(wire, op("put", "k", "v"), name="a")
    assert wire.request("PUT", "/v1/kv/k", b"w", idempotency_key="a").status == 200
    names = [request.idempotency for request in host.service.submitted]
    assert names[0][:1] == b"\0" and names[1] == b"a"
