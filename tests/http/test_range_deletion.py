"""`DELETE /v1/kv`: what goes, what stays, and how far it came."""

from typing import Any

import pytest
from tests.http.test_listing import put
from tests.support.http.fake_service import Record
from tests.support.http.host import Host
from tests.support.http.wire import Wire

from ringkeep.core.protocol.client_requests import Kind, Page, Request, Result, Status
from ringkeep.http.parse.positions import cursor_of


def keys_of(wire: Wire, prefix: str) -> list[str]:
    return [each["key"] for each in wire.request("GET", f"/v1/kv?prefix={prefix}").json()["items"]]


def test_it_deletes_the_keys_of_a_prefix(wire: Wire, key: str) -> None:
    for name in ("/a", "/b", "/c", "0"):
        put(wire, f"{key}{name}")
    answer = wire.request("DELETE", f"/v1/kv?prefix={key}/")
    assert answer.status == 200 and (answer.json()["count"], answer.json()["next"]) == (3, None)
    assert answer.json()["until"]
    assert keys_of(wire, key) == [f"{key}0"]
    assert wire.request("DELETE", f"/v1/kv?prefix={key}/").json()["count"] == 0


def test_a_retry_destroys_nothing_newer(wire: Wire, key: str) -> None:
    for name in "abcd":
        put(wire, f"{key}/{name}")
    first = wire.request("DELETE", f"/v1/kv?prefix={key}/&limit=2").json()
    assert (first["count"], first["next"]) == (2, f"{key}/b")
    put(wire, f"{key}/a", b"new")
    put(wire, f"{key}/d", b"newer")
    put(wire, f"{key}/e", b"new")
    target = f"/v1/kv?prefix={key}/&until={first['until']}"
    again = wire.request("DELETE", target).json()
    assert (again["count"], again["until"]) == (1, first["until"])
    assert keys_of(wire, f"{key}/") == [f"{key}/{name}" for name in "ade"]
    field = wire.request("DELETE", f"/v1/kv?prefix={key}/", ringkeep_until=first["until"]).json()
    assert (field["count"], field["next"], field["until"]) == (0, None, first["until"])


def test_it_goes_on_after_the_last_key(wire: Wire, key: str) -> None:
    for name in "abcdef":
        put(wire, f"{key}/{name}")
    target = f"/v1/kv?prefix={key}/&before={key}/f&after={key}/a"
    first = wire.request("DELETE", f"{target}&limit=3").json()
    assert (first["count"], first["next"]) == (3, f"{key}/d")
    target = f"/v1/kv?prefix={key}/&before={key}/f&after={first['next']}&until={first['until']}"
    assert wire.request("DELETE", target).json()["count"] == 1
    assert keys_of(wire, f"{key}/") == [f"{key}/a", f"{key}/f"]


def test_a_deletion_begins_without_deleting(wire: Wire, key: str) -> None:
    put(wire, f"{key}/a")
    put(wire, f"{key}/b")
    begun = wire.request("DELETE", f"/v1/kv?prefix={key}/&limit=0").json()
    assert (begun["count"], begun["next"]) == (0, "")
    later = wire.request("DELETE", f"/v1/kv?prefix={key}/&limit=0&after={key}/a").json()
    assert later["next"] == f"{key}/a"
    put(wire, f"{key}/b", b"newer")
    target = f"/v1/kv?prefix={key}/&until={begun['until']}&after={begun['next']}"
    assert wire.request("DELETE", target).json()["count"] == 1
    assert keys_of(wire, f"{key}/") == [f"{key}/b"]


@pytest.mark.parametrize(
    ("query", "fields"),
    [
        ("", {}), ("prefix=", {}), ("all=false", {}), ("all=yes", {}), ("prefix=a&all=true", {}),
        ("after=a", {}), ("prefix=a&limit=-1", {}), ("prefix=a&values=true", {}), ("prefix=a&count=true", {}),
        ("prefix=a", {"idempotency_key": "i"}), ("prefix=a", {"if_match": '"1"'}),
        ("prefix=a", {"if_none_match": "*"}), ("prefix=a&until=", {}), ("prefix=a&until=x", {}),
        ("prefix=a&until=AQIDBAUGBwgJ", {}), ("prefix=a&until=%FF%C3%A9", {}),
        ("prefix=a", {"ringkeep_until": "nonsense"}),
        ("prefix=a&until=" + cursor_of("another cluster", [5]), {}),
    ],
)  # fmt: skip
def test_a_wrong_request(wire: Wire, query: str, fields: dict[str, Any]) -> None:
    answer = wire.request("DELETE", f"/v1/kv?{query}", **fields)
    assert answer.status == 400 and answer.json()["outcome"] == "not-applied"


def test_everything_goes_where_that_is_said(host: Host, wire: Wire) -> None:
    before = dict(host.service.records)
    host.service.records = {b"%05d" % number: Record(b"", b"", 1) for number in range(10_500)}
    host.service.index = max(host.service.index, 1)
    try:
        first = wire.request("DELETE", "/v1/kv?all=true&timeout=30s").json()
        assert (first["count"], first["next"]) == (10_000, "09999")
        assert wire.request("DELETE", f"/v1/kv?all=true&until={first['until']}").json()["count"] == 500
        assert not host.service.records
    finally:
        host.service.records = before


def test_what_is_written_meanwhile_stays(host: Host, wire: Wire, key: str, monkeypatch: Any) -> None:
    for name in "abc":
        put(wire, f"{key}/{name}")
    execute = host.service.execute

    def executed(request: Request) -> Result:
        if request.kind is Kind.DELETE and request.key.endswith(b"/b"):
            execute(Request(Kind.PUT, request.key, b"newer"))
        return execute(request)

    monkeypatch.setattr(host.service, "execute", executed)
    assert wire.request("DELETE", f"/v1/kv?prefix={key}/").json()["count"] == 2
    assert keys_of(wire, f"{key}/") == [f"{key}/b"]


class _Fails:
    """From the third delete on, all fail."""

    def __init__(self, host: Host, status: Status) -> None:
        self._execute = host.service.execute
        self._status = status
        self._deletes = 0

    def __call__(self, request: Request) -> Result:
        self._deletes += 1
        return Result(self._status) if self._deletes > 2 else self._execute(request)


def test_what_is_not_reached_is_next(host: Host, wire: Wire, key: str, monkeypatch: Any) -> None:
    for name in "abcde":
        put(wire, f"{key}/{name}")
    with monkeypatch.context() as patch:
        patch.setattr(host.service, "execute", _Fails(host, Status.UNAVAILABLE))
        answer = wire.request("DELETE", f"/v1/kv?prefix={key}/").json()
    assert (answer["count"], answer["next"]) == (2, f"{key}/b")
    assert keys_of(wire, f"{key}/") == [f"{key}/{name}" for name in "cde"]


def test_an_unknown_fate_is_told(host: Host, wire: Wire, key: str, monkeypatch: Any) -> None:
    for name in "abcde":
        put(wire, f"{key}/{name}")
    with monkeypatch.context() as patch:
        patch.setattr(host.service, "execute", _Fails(host, Status.UNKNOWN))
        answer = wire.request("DELETE", f"/v1/kv?prefix={key}/")
    problem = answer.json()
    assert (answer.status, problem["outcome"]) == (504, "unknown")
    assert (problem["count"], problem["unknown"], problem["next"]) == (2, 1, f"{key}/b")
    again = wire.request("DELETE", f"/v1/kv?prefix={key}/&until={problem['until']}").json()
    assert (again["count"], again["next"]) == (3, None)


@pytest.mark.parametrize(
    ("forced", "status"), [(Status.BUSY, 429), (Status.NO_SPACE, 507), (Status.UNAVAILABLE, 503)]
)
def test_nothing_deleted_is_nothing_applied(
    host: Host, wire: Wire, key: str, forced: Status, status: int
) -> None:
    put(wire, f"{key}/a")
    host.service.forced = Result(forced)
    answer = wire.request("DELETE", f"/v1/kv?prefix={key}/")
    assert (answer.status, answer.json()["outcome"]) == (status, "not-applied")


def test_a_listing_that_fails_half_way(host: Host, wire: Wire) -> None:
    names = [b"half-%05d" % number for number in range(1_200)]
    for name in names:
        host.service.records[name] = Record(b"", b"", 1)
    host.service.index = max(host.service.index, 1)
    host.service.forced_pages = [None, Page(Status.UNAVAILABLE, detail="no primary")]
    answer = wire.request("DELETE", "/v1/kv?prefix=half-")
    problem = answer.json()
    assert (answer.status, problem["outcome"], problem["count"]) == (504, "unknown", 1_000)
    target = f"/v1/kv?prefix=half-&after={problem['next']}&until={problem['until']}"
    assert wire.request("DELETE", target).json()["count"] == 200
    host.service.forced_pages = [Page(Status.UNAVAILABLE, detail="no primary")]
    assert wire.request("DELETE", "/v1/kv?prefix=half-").status == 503
