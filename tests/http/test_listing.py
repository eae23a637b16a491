"""`GET /v1/kv`: pages, streams of lines and counts; and what is wrong with a query."""

import json
import socket
import time
from base64 import b64decode, b64encode
from collections.abc import Callable, Iterator
from typing import Any
from urllib.parse import quote_from_bytes

import pytest
from tests.support.http.fake_service import Record
from tests.support.http.host import Host
from tests.support.http.wire import Answer, Wire

from ringkeep.core.protocol.client_requests import Page, Status
from ringkeep.http.admin.listing_routes import STREAMED_KEYS

LINES = "application/x-ndjson"


def put(wire: Wire, key: str | bytes, value: bytes = b"v", **fields: str) -> int:
    raw = key.encode() if isinstance(key, str) else key
    answer = wire.request("PUT", f"/v1/kv/{quote_from_bytes(raw, safe='')}", value, **fields)
    assert answer.status in (200, 201)
    return int(answer.headers["etag"].strip('"'))


def lines_of(answer: Answer) -> list[Any]:
    assert answer.status == 200 and answer.headers["content-type"] == LINES
    lines = [json.loads(line) for line in answer.body.splitlines()]
    assert lines[-1].pop("cursor", None) or not lines[-1]["end"], "a complete listing has a cursor"
    return lines


@pytest.fixture
def many(host: Host) -> Iterator[list[str]]:
    """More keys than two pages of a stream have, in the fake node."""
    names = [f"many-{number:06d}" for number in range(2 * STREAMED_KEYS + 500)]
    for name in names:
        host.service.records[name.encode()] = Record(b"v" * 100, b"", 1)
    yield names
    for name in names:
        del host.service.records[name.encode()]


# --- pages --------------------------------------------------------------------------------------------


def test_keys_come_in_order_page_by_page(wire: Wire, key: str) -> None:
    versions = {f"{key}/{name}": put(wire, f"{key}/{name}") for name in ("c", "a", "e", "b", "d")}
    put(wire, f"{key}0")  # beyond the prefix
    whole = wire.request("GET", f"/v1/kv?prefix={key}/").json()
    assert whole.pop("cursor")
    assert whole == {
        "items": [{"key": name, "version": versions[name]} for name in sorted(versions)],
        "next": None,
    }
    found, after, pages = [], "", 0
    while after is not None:
        page = wire.request("GET", f"/v1/kv?prefix={key}/&limit=2&after={after}").json()
        found += [each["key"] for each in page["items"]]
        assert ("cursor" in page) == (not after), "it was taken before the first key"
        after, pages = page["next"], pages + 1
        assert pages <= 5, "it comes to an end"
    assert found == sorted(versions)
    assert pages in (3, 4)


@pytest.mark.parametrize(
    ("query", "names"),
    [
        ("after={key}/b", "cde"), ("after={key}/bb", "cde"), ("before={key}/c", "ab"),
        ("after={key}/a&before={key}/d", "bc"), ("after={key}/d&before={key}/b", ""),
        ("after={key}/e", ""), ("before={key}/a", ""), ("after=", "abcde"),
    ],
)  # fmt: skip
def test_the_bounds_of_a_range(wire: Wire, key: str, query: str, names: str) -> None:
    for name in "abcde":
        put(wire, f"{key}/{name}")
    answer = wire.request("GET", f"/v1/kv?prefix={key}/&" + query.format(key=key))
    assert [each["key"] for each in answer.json()["items"]] == [f"{key}/{name}" for name in names]
    count = wire.request("GET", f"/v1/kv?prefix={key}/&count=true&" + query.format(key=key))
    assert count.json() == {"count": len(names)}


def test_values_with_their_types(wire: Wire, key: str) -> None:
    put(wire, f"{key}/a", "größer".encode(), content_type="text/plain")
    put(wire, f"{key}/b", b"\xff\x00", content_type="a/b")
    put(wire, f"{key}/c", b"")
    items = wire.request("GET", f"/v1/kv?prefix={key}/&values=true").json()["items"]
    told = [(each.get("value"), each.get("value_base64"), each["content_type"]) for each in items]
    assert told == [
        ("größer", None, "text/plain"),
        (None, b64encode(b"\xff\x00").decode(), "a/b"),
        ("", None, "application/octet-stream"),
    ]


def test_keys_that_are_no_text(wire: Wire, key: str) -> None:
    raw = [key.encode() + tail for tail in (b"/\x80", b"/\xfe", b"/\xff", b"/\xff\xff")]
    for each in raw:
        put(wire, each)
    target = f"/v1/kv?prefix={key}/"
    found: list[bytes] = []
    page = wire.request("GET", f"{target}&limit=1").json()
    while True:
        assert "key" not in page["items"][0]
        found.append(b64decode(page["items"][0]["key_base64"]))
        if "next_base64" not in page:
            break
        after = quote_from_bytes(b64decode(page["next_base64"]), safe="")
        page = wire.request("GET", f"{target}&limit=1&after={after}").json()
    assert page["next"] is None and found == raw
    assert wire.request("GET", f"/v1/kv?prefix={key}%2F%FF&count=true").json() == {"count": 2}


def test_large_values_end_a_page_early(wire: Wire, key: str) -> None:
    sizes = [600_000, 600_000, 100, 2_000_000, 7]
    for number, size in enumerate(sizes):
        put(wire, f"{key}/{number}", b"v" * size)
    found: list[int] = []
    after: str | None = ""
    while after is not None:
        page = wire.request("GET", f"/v1/kv?prefix={key}/&values=true&after={after}").json()
        assert sum(len(each["value"]) for each in page["items"][:-1]) < 1 << 20
        found += [len(each["value"]) for each in page["items"]]
        after = page["next"]
    assert found == sizes
    assert len(wire.request("GET", f"/v1/kv?prefix={key}/").json()["items"]) == len(sizes)


def test_an_empty_range(wire: Wire, key: str) -> None:
    page = wire.request("GET", f"/v1/kv?prefix={key}").json()
    assert (page["items"], page["next"], set(page)) == ([], None, {"items", "next", "cursor"})
    assert lines_of(wire.request("GET", f"/v1/kv?prefix={key}", accept=LINES)) == [{"end": True, "count": 0}]
    assert wire.request("GET", f"/v1/kv?prefix={key}&count=true").json() == {"count": 0}


# --- streams ------------------------------------------------------------------------------------------


def test_a_stream_has_a_line_for_each_key_and_a_last_one(wire: Wire, key: str) -> None:
    for name in "abc":
        put(wire, f"{key}/{name}", name.encode())
    lines = lines_of(wire.request("GET", f"/v1/kv?prefix={key}/&values=1", accept=f"text/html, {LINES}"))
    assert [line["value"] for line in lines[:-1]] == ["a", "b", "c"]
    assert lines[-1] == {"end": True, "count": 3}
    lines = lines_of(wire.request("GET", f"/v1/kv?prefix={key}/&limit=2", accept=LINES))
    assert lines[-1] == {"end": True, "count": 2, "next": f"{key}/b"}


def test_a_stream_goes_on_over_many_pages(host: Host, wire: Wire, many: list[str]) -> None:
    lines = lines_of(wire.request("GET", "/v1/kv?prefix=many-", accept=LINES))
    assert [line["key"] for line in lines[:-1]] == many
    assert lines[-1] == {"end": True, "count": len(many)}
    lines = lines_of(wire.request("GET", f"/v1/kv?prefix=many-&limit={STREAMED_KEYS + 3}", accept=LINES))
    assert lines[-1] == {"end": True, "count": STREAMED_KEYS + 3, "next": many[STREAMED_KEYS + 2]}


def test_a_stream_that_fails_says_so(host: Host, wire: Wire, many: list[str]) -> None:
    host.service.forced_pages = [None, Page(Status.BUSY), None, Page(Status.UNAVAILABLE, detail="no primary")]
    lines = lines_of(wire.request("GET", "/v1/kv?prefix=many-", accept=LINES))
    end = lines.pop()
    assert [line["key"] for line in lines] == many[: 2 * STREAMED_KEYS], "busy: asked again"
    assert (end["end"], end["count"]) == (False, 2 * STREAMED_KEYS)
    assert end["error"]["status"] == 503 and "No primary" in end["error"]["detail"]
    host.service.forced_pages = [Page(Status.UNAVAILABLE, detail="no primary")]
    assert wire.request("GET", "/v1/kv?prefix=many-", accept=LINES).status == 503, "before it begins"


def test_a_reader_that_stops_costs_a_bounded_buffer(host: Host, many: list[str]) -> None:
    """Beyond what the sockets hold, the node asks for two pages ahead of its reader, and no more."""
    with socket.create_connection(("127.0.0.1", host.server.port)) as reader:
        for name in list(host.service.records):
            if name.startswith(b"many-"):
                host.service.records[name] = Record(b"v" * 6_000, b"", 1)
        head = f"GET /v1/kv?prefix=many-&values=1 HTTP/1.1\r\nHost: 127.0.0.1:{host.server.port}\r\n"
        reader.sendall(f"{head}Accept: {LINES}\r\n\r\n".encode())
        pages = still(lambda: len(host.service.listed))
        assert pages < 30, "of 49"
        with Wire(host.url) as other:
            assert other.request("GET", "/livez").status == 200
        reader.settimeout(10)
        while len(host.service.listed) < pages + 5:
            assert reader.recv(1 << 20), "it goes on when it is read"


def still(look: Callable[[], int]) -> int:
    """Wait until a number has not changed for a while; return it."""
    deadline = time.monotonic() + 10
    seen, since = look(), time.monotonic()
    while time.monotonic() < since + 0.5 or seen < 2:
        assert time.monotonic() < deadline, f"waited for it to stop, at {seen}"
        time.sleep(0.02)
        if look() != seen:
            seen, since = look(), time.monotonic()
    return seen


# --- what is wrong ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "query",
    [
        "limit=0", "limit=-1", "limit=x", "limit=", "limit=1.5", "limit=" + "9" * 30, "values=yes", "count=2",
        "count=true&values=true", "count=true&limit=5", "before=", "timeout=0s", "timeout=31s", "cursor=a",
        "prefix=%", "prefix=a&prefix=b", "prefix=" + "a" * 1_025, "after=" + "a" * 1_025, "all=true",
    ],
)  # fmt: skip
def test_a_wrong_query(wire: Wire, query: str) -> None:
    answer = wire.request("GET", f"/v1/kv?{query}")
    assert answer.status == 400 and answer.json()["outcome"] == "not-applied"


def test_a_limit_beyond_the_largest_is_the_largest(host: Host, wire: Wire) -> None:
    assert wire.request("GET", "/v1/kv?prefix=none&limit=999999").status == 200
    assert host.service.listed[-1].limit == 10_000


def test_head_is_get_without_the_body(host: Host, wire: Wire, many: list[str]) -> None:
    page, head = (wire.request(method, "/v1/kv?prefix=many-&limit=9") for method in ("GET", "HEAD"))
    assert (head.status, head.body) == (200, b"")
    assert head.headers["content-length"] == page.headers["content-length"]
    host.service.listed.clear()
    head = wire.request("HEAD", "/v1/kv?prefix=many-", accept=LINES)
    assert (head.status, head.headers["content-type"]) == (200, LINES)
    assert not host.service.listed, "nothing is read for it"
    assert wire.request("GET", "/livez").status == 200


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH"])
def test_other_methods(wire: Wire, method: str) -> None:
    answer = wire.request(method, "/v1/kv?prefix=a", b"")
    assert (answer.status, answer.headers["allow"]) == (405, "DELETE, GET, HEAD")


def test_foreign_pages(wire: Wire) -> None:
    assert wire.request("DELETE", "/v1/kv?prefix=none", origin="http://evil.example").status == 403
    rebound = wire.request("GET", "/v1/kv?prefix=none", host="evil.example", accept_language="en")
    assert rebound.status == 403


def test_a_node_that_does_not_serve(host: Host, wire: Wire) -> None:
    host.service.reason = "it is still forming"
    for method in ("GET", "DELETE"):
        answer = wire.request(method, "/v1/kv?prefix=a")
        assert answer.status == 503 and "still forming" in answer.json()["detail"]
        assert answer.headers["retry-after"]


def test_what_a_page_cannot_be_had_for(host: Host, wire: Wire) -> None:
    host.service.forced_pages = [Page(Status.BUSY)]
    assert wire.request("GET", "/v1/kv").status == 429
    host.service.mute = True
    answer = wire.request("GET", "/v1/kv?timeout=50ms")
    assert answer.status == 503 and answer.headers["retry-after"]


def test_the_node_that_answered_is_named(wire: Wire, key: str) -> None:
    assert wire.request("GET", f"/v1/kv?prefix={key}").headers["ringkeep-node"]
