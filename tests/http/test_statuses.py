"""The rows of the status table: which status, which outcome, and that the connection or the node survives."""

import pytest
from tests.support.http.host import Host
from tests.support.http.wire import Answer, Wire

from ringkeep.core.protocol.client_requests import Result, Status
from ringkeep.core.protocol.limits import VALUE_BYTES
from ringkeep.http.connection import listener_state, request_head

PUT_BODY = b'{"key":"k","value":"v"}'
# What each original route and its counterpart say to a forced result.
WRITES = [
    ("POST", "/put", PUT_BODY),
    ("PUT", "/v1/kv/k", b"v"),
    ("DELETE", "/delete?key=k", None),
    ("DELETE", "/v1/kv/k", None),
]
READS = [("GET", "/get?key=k", None), ("GET", "/v1/kv/k", None), ("HEAD", "/v1/kv/k", None)]


def check(answer: Answer, status: int, outcome: str = "not-applied") -> None:
    """Assert a well-formed problem."""
    assert answer.status == status, answer
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.headers["ringkeep-node"]
    if not answer.body:
        return
    problem = answer.json()
    assert problem["outcome"] == outcome, problem
    assert isinstance(problem["retryable"], bool)
    assert problem["type"].startswith("/docs#") and problem["title"]
    assert len(problem["detail"]) > 20
    assert "applied" in problem["detail"] or "changed" in problem["detail"], problem
    assert problem["detail"].endswith("."), problem
    if problem["status"] == "Failed":
        assert problem["error"] == problem["detail"]
    else:
        assert problem["status"] == status


@pytest.mark.parametrize(
    ("forced", "status", "outcome"),
    [
        (Status.CONDITION_FAILED, 412, "not-applied"),
        (Status.KEY_REUSED, 422, "not-applied"),
        (Status.BUSY, 429, "not-applied"),
        (Status.UNAVAILABLE, 503, "not-applied"),
        (Status.NO_SPACE, 507, "not-applied"),
        (Status.UNKNOWN, 504, "unknown"),
        (Status.DEFECT, 500, "unknown"),
        (Status.FOUND, 500, "unknown"),  # a result that no write has: our own mistake
    ],
)
def test_every_end_of_a_write(host: Host, wire: Wire, forced: Status, status: int, outcome: str) -> None:
    host.service.forced = Result(forced, version=7, detail="said the node")
    for method, target, body in WRITES:
        answer = wire.request(method, target, body)
        check(answer, status, outcome)
        assert answer.headers["ringkeep-primary"] == "node-1"
        if status in (429, 503):
            assert int(answer.headers["retry-after"]) > 0
            assert answer.json()["retryable"] is True
        if forced not in (Status.CONDITION_FAILED, Status.FOUND):
            assert "said the node" in answer.json()["detail"] or status == 422
        if status == 412:
            assert answer.headers["etag"] == '"7"'


def test_an_unknown_write_may_be_retried_with_its_key(host: Host, wire: Wire) -> None:
    host.service.forced = Result(Status.UNKNOWN)
    assert wire.request("PUT", "/v1/kv/k", b"v").json()["retryable"] is False
    assert wire.request("PUT", "/v1/kv/k", b"v", idempotency_key="a").json()["retryable"] is True


@pytest.mark.parametrize(
    ("forced", "status"),
    [
        (Status.NOT_FOUND, 404),
        (Status.BUSY, 429),
        (Status.UNAVAILABLE, 503),
        (Status.UNKNOWN, 503),  # a read is never unknown
        (Status.DEFECT, 500),
        (Status.CREATED, 500),
    ],
)
def test_every_end_of_a_read(host: Host, wire: Wire, forced: Status, status: int) -> None:
    host.service.forced = Result(forced)
    for method, target, body in READS:
        check(wire.request(method, target, body), status)


def test_head_tells_the_length_of_what_get_would_send(host: Host, wire: Wire) -> None:
    host.service.forced = Result(Status.UNAVAILABLE)
    length = wire.request("GET", "/v1/kv/k").headers["content-length"]
    assert wire.request("HEAD", "/v1/kv/k").headers["content-length"] == length


def test_a_service_that_raises_is_a_500(host: Host, wire: Wire) -> None:
    host.service.raises = RuntimeError("a bug")
    check(wire.request("PUT", "/v1/kv/k", b"v"), 500, "unknown")
    check(wire.request("GET", "/v1/kv/k"), 500)
    host.service.raises = None
    assert wire.request("GET", "/get?key=none").status == 404
    assert host.server.listener.in_flight == 0


def test_a_node_that_does_not_serve_says_why(host: Host, wire: Wire) -> None:
    host.service.reason = "the barrier stands: 2 of 3 nodes have come"
    for method, target, body in WRITES + READS:
        answer = wire.request(method, target, body)
        check(answer, 503)
        assert int(answer.headers["retry-after"]) > 0
        if answer.body:
            assert "2 of 3" in answer.json()["detail"]
    assert wire.request("GET", "/get?key=").status == 400  # what is wrong is wrong anywhere
    assert not host.service.submitted


def test_a_full_node_answers_429(host: Host, wire: Wire, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(request_head, "IN_FLIGHT", 0)
    check(wire.request("PUT", "/v1/kv/k", b"v"), 429)
    monkeypatch.undo()
    monkeypatch.setattr(listener_state, "LARGE_BODIES_BYTES", 100_000)
    check(wire.request("PUT", "/v1/kv/k", b"v" * 100_001), 429)
    with Wire(host.url) as other:
        assert other.request("PUT", "/v1/kv/k", b"v" * 99_000).status in (200, 201)
    assert host.call(lambda: host.server.listener.large_body_bytes) == 0


def test_timeouts_reach_the_node(host: Host, wire: Wire) -> None:
    for target in ("/v1/kv/k", "/v1/kv/k?timeout=250ms", "/v1/kv/k?timeout=30s"):
        wire.request("GET", target)
    assert [request.timeout_ms for request in host.service.submitted] == [5_000, 250, 30_000]


def test_a_deadline_that_passes(host: Host, wire: Wire) -> None:
    host.service.mute = True
    check(wire.request("GET", "/v1/kv/k?timeout=20ms"), 503)
    check(wire.request("PUT", "/v1/kv/k?timeout=20ms", b"v"), 504, "unknown")


@pytest.mark.parametrize(
    ("target", "allow"),
    [
        ("/put", "POST"),
        ("/get?key=a", "GET"),
        ("/delete", "DELETE"),
        ("/v1/kv/a", "GET, HEAD, PUT, DELETE, POST"),
        ("/livez", "GET, HEAD"),
        ("/v1/cluster", "GET, HEAD"),
        ("/v1/cluster/moves", "GET, HEAD"),
        ("/v1/cluster/moves/pause", "POST"),
        ("/v1/cluster/nodes/a/drain", "POST"),
        ("/v1/cluster/recover", "POST"),
        ("/v1/cluster/settings", "GET, HEAD, PATCH"),
    ],
)
def test_a_wrong_method_is_told_the_right_ones(wire: Wire, target: str, allow: str) -> None:
    for method in ("GET", "HEAD", "POST", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "PROPFIND"):
        if method not in allow.split(", "):
            answer = wire.request(method, target, b"" if method in ("POST", "PUT") else None)
            check(answer, 405)
            assert answer.headers["allow"] == allow


@pytest.mark.parametrize("method", ["BREW", "get", "Put", "X" * 30])
def test_a_method_that_nobody_knows(base_url: str, method: str) -> None:
    with Wire(base_url) as wire:
        answer = wire.request(method, "/put")
        check(answer, 405)
        assert answer.headers["allow"] == "POST" and answer.headers["connection"] == "close"
        assert wire.closed()
    for target, allow in (
        ("/v1/cluster/settings?x", "GET, HEAD, PATCH"),
        ("/v1/cluster/nodes/a/weight", "POST"),
        ("/v1/kv?prefix=a", "DELETE, GET, HEAD"),
    ):
        with Wire(base_url) as wire:
            assert wire.request(method, target).headers["allow"] == allow


@pytest.mark.parametrize(
    "target",
    [
        "/nope",
        "/put/",
        "/PUT",
        "/%67et?key=a",
        "/v1",
        "/livez/",
        "/v1/cluster/moves/",
        "/v1/cluster/nodes/a",
        "/v1/cluster/nodes//drain",
        "/v1/cluster/nodes/a/give-up",
    ],
)
def test_an_unknown_path(wire: Wire, target: str) -> None:
    check(wire.request("GET", target), 404)
    check(wire.request("POST", target, b"x"), 404)


def test_a_long_url(wire: Wire) -> None:
    check(wire.request("GET", "/get?key=" + "a" * 9_000), 414)
    with Wire(f"http://{wire.host}") as other:
        other.send(b"GET /" + b"a" * 80_000)  # and no end in sight
        check(other.read(), 414)
        assert other.closed()


def test_headers_too_large_or_too_many(wire: Wire) -> None:
    check(wire.request("GET", "/get?key=a", x="y" * 33_000), 431)
    many = {f"x{number}": "" for number in range(120)}
    check(wire.request("GET", "/get?key=a", None, **many), 431)
    with Wire(f"http://{wire.host}") as other:
        other.send(b"GET / HTTP/1.1\r\nHost: " + other.host.encode() + b"\r\nX: " + b"a" * 80_000)
        check(other.read(), 431)
        assert other.closed()


def test_encodings_are_refused(wire: Wire) -> None:
    for target, method in (("/put", "POST"), ("/v1/kv/k", "PUT")):
        check(wire.request(method, target, PUT_BODY, content_encoding="gzip"), 415)
        assert wire.request(method, target, PUT_BODY, content_encoding="identity").status in (200, 201)
    for charset in ("latin-1", '"utf-16"', ""):
        check(wire.request("POST", "/put", PUT_BODY, content_type=f"a/b; Charset={charset}"), 415)


def test_a_missing_length(wire: Wire) -> None:
    for method, target in (("PUT", "/v1/kv/k"), ("POST", "/put")):
        check(wire.request(method, target), 411)


@pytest.mark.parametrize("size", [VALUE_BYTES + 1, 3 * VALUE_BYTES])
def test_a_value_too_large_is_refused_and_the_answer_seen(base_url: str, size: int) -> None:
    with Wire(base_url) as wire:
        check(wire.request("PUT", "/v1/kv/large", b"v" * size), 413)
        assert wire.closed()
    with Wire(base_url) as wire:
        check(wire.request("POST", "/put", b'{"key":"large","value":"%b"}' % (b"v" * size)), 413)
    with Wire(base_url) as wire:
        assert wire.request("GET", "/get?key=large").status == 404


@pytest.mark.parametrize(
    ("header", "value", "allowed"),
    [
        ("host", "evil.example", False),
        ("host", "evil.example:{port}", False),
        ("host", "127.0.0.1:1", True),
        ("host", "192.0.2.7:9000", True),
        ("host", "localhost:1", True),
        ("host", "evil.127.0.0.1", False),
        ("host", "localhost.evil.example:{port}", False),
        ("host", "localhost:{port}", True),
        ("host", "LOCALHOST:{port}", True),
        ("host", "[::1]:{port}", True),
        ("host", "localhost", True),
        ("origin", "http://evil.example", False),
        ("origin", "null", False),
        ("origin", "", False),
        ("origin", "http://localhost:1", False),
        ("origin", "http://127.0.0.1:{port}", True),
        ("origin", "http://localhost:{port}", True),
    ],
)
def test_pages_from_elsewhere_are_refused(wire: Wire, header: str, value: str, allowed: bool) -> None:
    """As a browser asks: it says which language it wants."""
    text = value.format(port=wire.host.rpartition(":")[2])
    for method, target, body in (*WRITES[:2], ("GET", "/get?key=none", None), ("GET", "/v1/cluster", None)):
        answer = wire.request(method, target, body, **{"accept_language": "en", header: text})
        if allowed:
            assert answer.status in (200, 201, 404), answer
        else:
            check(answer, 403)
            assert "--allowed-hosts" in answer.json()["detail"]


def test_a_request_without_host(wire: Wire) -> None:
    check(wire.request("GET", "/get?key=a", host=None), 400)
    check(wire.request("GET", "/livez", host=None), 400)
    check(wire.request("GET", "/livez", host=""), 400)
