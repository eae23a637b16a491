"""`/v1/changes`: streams of changes as events and as lines, their cursors, their end, and slow readers."""

import socket
import time
from collections.abc import Callable
from typing import Any
from urllib.parse import quote

import pytest
from tests.support.http.changes import LINES, Changes
from tests.support.http.host import Host
from tests.support.http.wire import Wire
from tests.support.wait import until

from ringkeep.core.protocol.client_requests import Kind
from ringkeep.http.parse.positions import cursor_of

Connect = Callable[[], Wire]


def version_of(wire: Wire, method: str, path: str, body: bytes | None = None, **fields: str) -> int:
    answer = wire.request(method, f"/v1/kv/{quote(path)}", body, **fields)
    assert answer.status in (200, 201)
    return int(answer.headers["etag"].strip('"'))


@pytest.mark.parametrize("lines", [True, False], ids=["lines", "events"])
def test_every_change_is_told_in_order(wire: Wire, connect: Connect, key: str, lines: bool) -> None:
    with connect() as other:
        changes = Changes(other, f"?prefix={key}&values=true", lines)
        assert changes.headers["content-type"] == (LINES if lines else "text/event-stream")
        assert changes.headers["cache-control"] == "no-store"
        assert changes.bookmark()["age"] is not None
        first = version_of(wire, "PUT", key, b"one", content_type="text/plain")
        second = version_of(wire, "PUT", f"{key}/\u00e9", b"\xff")
        third = version_of(wire, "POST", key, b'{"op": "touch", "ttl": "60s"}')
        assert wire.request("DELETE", f"/v1/kv/{key}").status == 204
        put, base64, touch, delete = changes.events(4)
        assert put == {
            "event": "put", "key": key, "version": first, "value": "one", "content_type": "text/plain"
        }  # fmt: skip
        assert base64 == {
            "event": "put", "key": f"{key}/\u00e9", "version": second, "value_base64": "/w==",
            "content_type": "application/octet-stream",
        }  # fmt: skip
        assert (touch["event"], touch["key"], touch["version"]) == ("touch", key, third)
        assert 55_000 < touch["ttl"] <= 60_000
        assert (delete["event"], delete["key"]) == ("delete", key) and delete["version"] > third
        assert set(delete) == {"event", "key", "version"}


def test_without_values_and_of_other_keys_nothing_is_told(wire: Wire, connect: Connect, key: str) -> None:
    with connect() as other:
        changes = Changes(other, f"?prefix={key}/")
        changes.bookmark()
        version_of(wire, "PUT", f"{key}0", b"beyond the prefix")
        version = version_of(wire, "PUT", f"{key}/a", b"v", content_type="text/plain")
        assert changes.events(1) == [{"event": "put", "key": f"{key}/a", "version": version}]


@pytest.mark.parametrize("lines", [True, False], ids=["lines", "events"])
@pytest.mark.parametrize("by", ["after", "Ringkeep-After", "Last-Event-ID", "body"])
def test_a_reader_goes_on_where_it_was(
    wire: Wire, connect: Connect, key: str, lines: bool, by: str
) -> None:  # fmt: skip
    with connect() as other:
        changes = Changes(other, f"?prefix={key}", lines)
        changes.bookmark()
        version_of(wire, "PUT", f"{key}/a", b"v")
        changes.until(lambda told: told.get("key") == f"{key}/a")
        changes.until(lambda told: told["event"] == "bookmark")
        cursor = changes.cursor
    version_of(wire, "PUT", f"{key}/b", b"v")
    version_of(wire, "PUT", f"{key}/b", b"w")
    with connect() as other:
        if by == "after":
            changes = Changes(other, f"?prefix={key}&after={cursor}", lines)
        elif by == "body":
            body = f'{{"prefix": "{key}", "after": "{cursor}"}}'.encode()
            changes = Changes(other, "", lines, "POST", body)
        else:  # the query is the first one, as a browser sends it again
            later = "&after=now" if by == "Last-Event-ID" else ""
            changes = Changes(other, f"?prefix={key}{later}", lines, **{by: cursor})  # type: ignore[arg-type]  # a header field
        assert [told["key"] for told in changes.events(2)] == [f"{key}/b"] * 2
        version_of(wire, "PUT", f"{key}/c", b"v")
        assert changes.events(1)[0]["key"] == f"{key}/c", "and goes on with what is new"


def test_a_stream_continues_a_listing(wire: Wire, connect: Connect, key: str) -> None:
    """Events that the listing shows already are recognised by their version."""
    version_of(wire, "PUT", f"{key}/a", b"v")
    page = wire.request("GET", f"/v1/kv?prefix={key}/").json()
    copy = {each["key"]: each["version"] for each in page["items"]}
    assert copy == {f"{key}/a": version_of(wire, "GET", f"{key}/a")}
    version_of(wire, "PUT", f"{key}/b", b"v")
    version = version_of(wire, "PUT", f"{key}/a", b"w")
    with connect() as other:
        changes = Changes(other, f"?prefix={key}/&after={page['cursor']}")
        changes.until(lambda told: told.get("version") == version > copy[f"{key}/a"])
    until = wire.request("DELETE", f"/v1/kv?prefix={key}/").json()["until"]
    with connect() as other:
        changes = Changes(other, f"?prefix={key}/&after={until}")
        assert [told["event"] for told in changes.events(2)] == ["delete"] * 2, "an 'until' is a cursor too"


def test_the_changes_of_a_batch_come_together(wire: Wire, connect: Connect, key: str) -> None:
    with connect() as other:
        changes = Changes(other, f"?prefix={{{key}}}".replace("{", "%7B").replace("}", "%7D"))
        changes.bookmark()
        operations = ",".join(f'{{"op": "put", "key": "{{{key}}}/{name}", "value": "v"}}' for name in "abc")
        body = f'{{"atomic": true, "operations": [{operations}]}}'.encode()
        assert wire.request("POST", "/v1/batch", body).status == 200
        told = changes.until(lambda each: each.get("key") == f"{{{key}}}/c")
        events = [each for each in told if each["event"] != "bookmark"]
        assert len({each["version"] for each in events}) == 1 and len(events) == 3
        assert told[-3:] == events, "no bookmark among them"


@pytest.mark.parametrize(
    ("query", "fields"),
    [
        ("?after=", {}), ("?after=nonsense", {}), ("?after=%FF", {}), ("?values=perhaps", {}),
        ("?limit=5", {}), ("", {"ringkeep_after": "nonsense"}), ("", {"last_event_id": "nonsense"}),
        ("?after=now", {"ringkeep_after": "now"}), ("?prefix=" + "k" * 1_025, {}),
        ("?after=" + cursor_of("another cluster", [5]), {}),
    ],
)  # fmt: skip
def test_a_wrong_request(wire: Wire, query: str, fields: dict[str, Any]) -> None:
    answer = wire.request("GET", f"/v1/changes{query}", **fields)
    assert answer.status == 400 and answer.json()["outcome"] == "not-applied"


@pytest.mark.parametrize(
    "body", [b"[]", b'{"prefix": 5}', b'{"limit": 5}', b'{"after": ""}', b'{"after": "x"}', b"\xff",
             b'{"prefix": "a", "prefix_base64": "YQ=="}', b'{"prefix_base64": "?"}'],
)  # fmt: skip
def test_a_wrong_body(wire: Wire, body: bytes) -> None:
    assert wire.request("POST", "/v1/changes", body).status == 400


def test_the_methods_of_the_route(wire: Wire) -> None:
    answer = wire.request("PUT", "/v1/changes", b"")
    assert (answer.status, answer.headers["allow"]) == (405, "GET, HEAD, POST")
    head = wire.request("HEAD", "/v1/changes")
    assert (head.status, head.headers["content-type"].split(";")[0]) == (200, "text/event-stream")


# --- with the fake node ---------------------------------------------------------------------------------


def test_where_history_is_cut_it_says_so(host: Host, wire: Wire, connect: Connect, key: str) -> None:
    feeds = host.service.feeds
    cursor = cursor_of(host.service.partitioning()[0], [feeds.begin])
    version_of(wire, "PUT", key, b"v")
    with connect() as other:
        changes = Changes(other, f"?prefix={key}&after={cursor}")
        changes.bookmark()
        feeds.begin = host.service.index + 5
        *_, gone = changes.until(lambda told: told["event"] == "gone")
        assert "list" in gone["detail"]
        assert list(changes) == [], "and ends"
        assert other.request("GET", "/v1/kv/" + key).status == 200, "the connection does not"
    try:
        answer = wire.request("GET", f"/v1/changes?after={cursor}")
        assert answer.status == 410
        assert answer.json()["type"] == "/docs#history-cut" and "list" in answer.json()["detail"]
    finally:
        feeds.begin = 0
    assert not feeds.readers


def test_a_resume_answers_at_once_though_nothing_is_known(host: Host, wire: Wire) -> None:
    """A browser gives up where it is told 503."""
    cursor = cursor_of(host.service.partitioning()[0], [host.service.index + 1])
    begin = time.monotonic()
    with Wire(host.url) as other:
        Changes(other, f"?after={cursor}").bookmark()
    assert time.monotonic() - begin < 2


def test_a_node_that_is_full(host: Host, wire: Wire, key: str) -> None:
    host.service.feeds.most = 0
    try:
        assert wire.request("GET", "/v1/changes").status == 429
        assert wire.request("GET", f"/v1/kv/{key}?newer_than=0").status == 429
    finally:
        host.service.feeds.most = 1_000


def test_a_cluster_with_a_node_of_an_older_version(host: Host, wire: Wire, key: str) -> None:
    host.service.feeds.is_older = True
    try:
        for path in ("/v1/changes", f"/v1/kv/{key}?newer_than=0"):
            answer = wire.request("GET", path)
            assert answer.status == 503 and "older version" in answer.json()["detail"]
    finally:
        host.service.feeds.is_older = False


def test_a_node_that_does_not_serve(host: Host, wire: Wire) -> None:
    host.service.reason = "it is starting"
    assert wire.request("GET", "/v1/changes").status == 503


def test_a_reader_that_leaves_is_forgotten(host: Host, connect: Connect) -> None:
    with connect() as other:
        Changes(other).bookmark()
        assert host.service.feeds.readers
    until(lambda: not host.service.feeds.readers, "the feed is closed")


def test_a_slow_reader_costs_its_window(host: Host, wire: Wire, connect: Connect, key: str) -> None:
    """It is told the rest once it reads on; nothing is gathered for it meanwhile."""
    value = b"v" * 100_000
    with connect() as other:
        other.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65_536)
        until(lambda: not host.service.feeds.readers, "earlier readers are forgotten")
        changes = Changes(other, f"?prefix={key}&values=true")
        changes.bookmark()
        versions = [version_of(wire, "PUT", key, value) for _ in range(100)]
        (reader,) = host.service.feeds.readers.values()
        until(lambda: reader.credit <= 0, "it was told as much as was granted")
        assert reader.position < versions[-20], "most of it waits where it is kept"
        assert [told["version"] for told in changes.events(100)] == versions


def test_a_stream_ends_when_its_node_stops(make_host: Callable[..., Host]) -> None:
    host = make_host()
    with Wire(host.url) as wire, Wire(host.url) as poll:
        changes = Changes(wire)
        changes.bookmark()
        poll.send(poll.render("GET", "/v1/kv/k?newer_than=0&wait=60s"))
        until(lambda: len(host.service.feeds.readers) == 2, "both wait")
        begin = time.monotonic()
        host.close(3.0)
        assert all(told["event"] == "bookmark" for told in changes), "the body is complete"
        assert poll.read().status == 304
        assert time.monotonic() - begin < 4


# --- long polls -----------------------------------------------------------------------------------------


def test_a_long_poll_is_answered_when_the_key_changes(wire: Wire, connect: Connect, key: str) -> None:
    path = f"/v1/kv/{key}"
    with connect() as other:
        other.send(other.render("GET", f"{path}?newer_than=0&wait=30s"))
        first = version_of(wire, "PUT", key, b"one")
        answer = other.read()
        assert (answer.status, answer.body, answer.headers["etag"]) == (200, b"one", f'"{first}"')
        other.send(other.render("GET", f"{path}?newer_than={first}&wait=30s"))
        version_of(wire, "PUT", f"{key}/longer", b"of another key")
        second = version_of(wire, "PUT", key, b"two")
        answer = other.read()
        assert (answer.body, answer.headers["etag"]) == (b"two", f'"{second}"')
        other.send(other.render("GET", f"{path}?newer_than={second}&wait=30s"))
        assert wire.request("DELETE", path).status == 204
        assert other.read().status == 404, "absent is another state"


def test_a_long_poll_of_another_state_is_answered_at_once(wire: Wire, key: str) -> None:
    path = f"/v1/kv/{key}"
    assert wire.request("GET", f"{path}?newer_than=7&wait=30s").status == 404
    version = version_of(wire, "PUT", key, b"v")
    for known in (0, version - 1, version + 1):
        answer = wire.request("GET", f"{path}?newer_than={known}&wait=30s")
        assert (answer.status, answer.body) == (200, b"v")


@pytest.mark.parametrize("wait", ["0s", "50ms"])
def test_a_long_poll_ends(wire: Wire, key: str, wait: str) -> None:
    answer = wire.request("GET", f"/v1/kv/{key}?newer_than=0&wait={wait}")
    assert (answer.status, "etag" in answer.headers) == (304, False)
    version = version_of(wire, "PUT", key, b"v")
    answer = wire.request("GET", f"/v1/kv/{key}?newer_than={version}&wait={wait}")
    assert (answer.status, answer.headers["etag"]) == (304, f'"{version}"')
    assert wire.request("GET", f"/v1/kv/{key}").body == b"v", "the connection goes on"


def test_what_changes_before_the_feed_begins_is_seen(host: Host, wire: Wire, key: str) -> None:
    """Nothing is told: the first bookmark has the key read again."""
    host.service.feeds.silent = True
    execute, reads = host.service.execute, list[Any]()

    def written_after_the_first_read(request: Any) -> Any:
        result = execute(request)
        if request.key == key.encode() and not reads:
            reads.append(request)
            put = type(request)(kind=Kind.PUT, key=request.key, value=b"v")
            execute(put)
        return result

    host.service.execute = written_after_the_first_read  # type: ignore[method-assign]
    try:
        assert wire.request("GET", f"/v1/kv/{key}?newer_than=0&wait=30s").body == b"v"
    finally:
        del host.service.execute
        host.service.feeds.silent = False


def test_a_client_that_leaves_polls_no_more(host: Host, connect: Connect, key: str) -> None:
    with connect() as other:
        other.send(other.render("GET", f"/v1/kv/{key}?newer_than=0&wait=60s"))
        until(lambda: bool(host.service.feeds.readers), "it waits")
    until(lambda: not host.service.feeds.readers, "the feed is closed")


def test_polls_of_one_connection_wait_side_by_side(wire: Wire, connect: Connect, key: str) -> None:
    with connect() as other:
        for name in "ab":
            other.send(other.render("GET", f"/v1/kv/{quote(key)}/{name}?newer_than=0&wait=30s"))
        version_of(wire, "PUT", f"{key}/b", b"b")
        version_of(wire, "PUT", f"{key}/a", b"a")
        assert [other.read().body for _ in range(2)] == [b"a", b"b"], "answered in order"


@pytest.mark.parametrize(
    "query", ["wait=5s", "newer_than=", "newer_than=-1", "newer_than=x", "newer_than=1&wait=61s",
              "newer_than=1&wait=5", "newer_than=1&consistency=stale"],
)  # fmt: skip
def test_a_wrong_poll(wire: Wire, query: str) -> None:
    assert wire.request("GET", f"/v1/kv/k?{query}").status == 400
    assert wire.request("PUT", "/v1/kv/k?newer_than=1", b"v").status == 400
    assert wire.request("GET", "/v1/kv/k?newer_than=1", if_none_match='"1"').status == 400
