"""One request and the answer that is owed for it: an `Exchange` holds the request's place on its connection.

`done` turns the service's `Result` into the bytes of an answer. Knows what was asked, nothing of sockets, and
of its connection only whom to tell (`ExchangeOwner`).
"""

import logging
import time
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any, Final, Protocol

import msgspec

from ringkeep.core.protocol.client_requests import Kind, Request, Result, Status
from ringkeep.http import problems
from ringkeep.http.connection.batch_call import BatchCall
from ringkeep.http.connection.failures import CONDITION_TEXT, PRESENT, failure
from ringkeep.http.connection.listener_state import ListenerState
from ringkeep.http.connection.long_poll import LongPoll
from ringkeep.http.connection.operation_answer import operation_members
from ringkeep.http.limits import SMALL_BODY_BYTES
from ringkeep.http.parse.header_fields import ANYTHING
from ringkeep.http.parse.json_members import put_member
from ringkeep.http.problems import DEFECT, UNKNOWN, Problem
from ringkeep.http.routes import BATCH, DELETE3, GET3, KV_DELETE, KV_GET, KV_POST, KV_PUT, OTHER, PUT3

log = logging.getLogger("ringkeep.http")

CLOSE: Final = b"Connection: close\r\n"
KEEP: Final = b"Connection: keep-alive\r\n"
OCTETS: Final = b"application/octet-stream"
# What a client stored must not run as a page of this node.
_INERT: Final = b"X-Content-Type-Options: nosniff\r\nContent-Security-Policy: sandbox\r\n"
_WHOLE_BYTES: Final = 16 * 1024  # up to here body and head are joined; a larger body is not copied

_JSON: Final = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n%b%b%b\r\n%b"
_OPERATED: Final = b"HTTP/1.1 %b\r\nContent-Type: application/json\r\nContent-Length: %d\r\n%b%b%b%b\r\n%b"
_VALUE: Final = b'HTTP/1.1 %b\r\nContent-Type: %b\r\nContent-Length: %d\r\nETag: "%d"\r\n%b%b%b\r\n'
_STORED: Final = b'HTTP/1.1 %b\r\nContent-Length: 0\r\nETag: "%d"\r\n%b%b%b\r\n'
_BARE: Final = b"HTTP/1.1 %b\r\n%b%b%b\r\n"
_PROBLEM: Final = (
    b"HTTP/1.1 %d %b\r\nContent-Type: application/problem+json\r\nContent-Length: %d\r\n%b%b%b%b\r\n"
)
_PHRASES: Final = {kind.status: HTTPStatus(kind.status).phrase.encode() for kind in problems.KINDS}
_encode: Final = msgspec.json.Encoder().encode


@dataclass(slots=True)
class AppRequest:
    """A request for the admin app, as it came. The body is added when it is complete."""

    target: bytes
    headers: list[tuple[bytes, bytes]]
    body: bytes = b""


class ExchangeOwner(Protocol):
    """Who keeps an exchange, and is told of its answer."""

    def answered(self) -> None:
        """An exchange that was started has its answer."""
        ...

    def close_if_last(self, exchange: "Exchange") -> None:
        """The server stops: let this answer be the connection's last, unless more requests came after it."""
        ...


class Exchange:
    """One request's place on its connection, from its header fields to its answer."""

    __slots__ = (
        "answer",
        "answered",
        "app_request",
        "body_limit",
        "call",
        "close",
        "connection_line",
        "head_only",
        "listener",
        "match",
        "method",
        "none_match",
        "owner",
        "poll",
        "request",
        "reserved",
        "route",
        "running",
        "safe",
        "started",
        "tail",
    )

    def __init__(self, listener: ListenerState, owner: ExchangeOwner, method: bytes) -> None:
        self.listener = listener
        self.owner = owner
        self.method = method
        self.route = OTHER
        self.head_only = method == b"HEAD"
        self.safe = False  # may run beside other reads of its connection
        self.close = False  # the connection ends with this answer
        self.connection_line = b""
        self.body_limit = SMALL_BODY_BYTES
        self.request: Request | None = None  # for the service,
        self.app_request: AppRequest | None = None  # or for the admin app
        self.call: BatchCall | None = None  # of the request, if it is a batch
        self.poll: LongPoll | None = None  # of the request, if it waits for another state of its key
        self.running = False
        self.match: frozenset[int] | None = None
        self.none_match: frozenset[int] | None = None
        self.started = 0.0
        self.reserved = 0
        self.answered = False
        self.answer = b""
        self.tail = b""  # a large body, sent after `answer` without being copied

    def done(self, result: Result) -> None:
        """Take the result and make it the answer. The service calls this exactly once."""
        assert not self.answered, "a request is answered once"
        try:
            if self.listener.stopping:
                self.owner.close_if_last(self)
            status = self._success(result)
            if not status:
                status = self._problem(self._failure(result), result.primary)
        except Exception:
            log.exception("an answer could not be written")
            status = self._problem(self._defect("The answer could not be written."), result.primary)
        self.finish(status)
        self.owner.answered()

    def fail(self, problem: Problem) -> None:
        """Make a problem the answer, without the service; the owner still has to be told."""
        self.finish(self._problem(problem, ""))

    def crashed(self) -> None:
        """The service raised instead of taking the request: the answer says no more than is known."""
        self.fail(self._defect("The node failed while it took the request."))

    def end_connection(self) -> None:
        """Make this answer the last one of its connection."""
        self.close = True
        self.connection_line = CLOSE

    def finish(self, status: int) -> None:
        """Count the answer, and let go of what the request held."""
        self.answered = True
        self.request = None  # it refers to us: without this, every request would be left to the collector
        self.call = self.poll = None
        seconds = time.monotonic() - self.started if self.started else 0.0
        self.listener.counts[self.route].count(status, seconds)
        if self.reserved:
            self.release()

    def release(self) -> None:
        """Give back what was reserved for a large body."""
        if self.reserved:
            self.listener.release(self.reserved)
            self.reserved = 0

    def _success(self, result: Result) -> int:
        """Write the answer of a request that got what it asked for; return its status, or 0 if it did not."""
        request = self.request
        assert request is not None
        route = self.route
        status = result.status
        listener = self.listener
        primary = listener.primary(result.primary)
        if self.poll is not None and self.poll.is_known(result):
            return self._as_known(result, primary)
        if status is Status.FOUND:
            primary += self._age(result)
            if result.ttl_ms:
                primary += b"Ringkeep-TTL: %d\r\n" % result.ttl_ms
            if route == KV_GET:
                return self._value(result, primary)
            assert route == GET3
            members: dict[str, Any] = {}
            put_member(members, "key", request.key)
            put_member(members, "value", result.value)
            members["version"] = result.version
            if result.ttl_ms:
                members["ttl"] = result.ttl_ms
        elif status is Status.CREATED or status is Status.REPLACED:
            if route == KV_PUT:
                code, line = (201, b"201 Created") if status is Status.CREATED else (200, b"200 OK")
                self.answer = _STORED % (line, result.version, primary, listener.common, self.connection_line)
                return code
            if route == KV_POST:
                return self._operated(request, result, primary)
            assert route == PUT3
            members = {"status": "Success"}
            put_member(members, "key", request.key)
            members["version"] = result.version
        elif status is Status.DELETED or (status is Status.NOT_FOUND and route == DELETE3):
            if route == KV_DELETE:
                self.answer = _BARE % (b"204 No Content", primary, listener.common, self.connection_line)
                return 204
            if route == KV_POST:
                return self._operated(request, result, primary)
            assert route == DELETE3
            members = {"status": "Success"}
            put_member(members, "key", request.key)
            members["deleted"] = status is Status.DELETED
        elif status is Status.DONE:
            assert route == BATCH and self.call is not None
            members = self.call.answer(result)
        else:
            return 0
        body = _encode(members)
        self.answer = _JSON % (len(body), primary, listener.common, self.connection_line, body)
        return 200

    def _as_known(self, result: Result, primary: bytes) -> int:
        """Write the answer of a read that has waited in vain: the key is in the state that the client has."""
        line = b"304 Not Modified"
        if result.version:
            line += b'\r\nETag: "%d"' % result.version
        self.answer = _BARE % (line, primary, self.listener.common, self.connection_line)
        return 304

    def _operated(self, request: Request, result: Result, primary: bytes) -> int:
        """Write the answer of an operation on a key; the ETag is the version of what is there now."""
        members: dict[str, Any] = {}
        put_member(members, "key", request.key)
        members["version"] = result.version
        body = _encode(members | operation_members(request.kind, result))
        status = result.status
        code, line = (201, b"201 Created") if status is Status.CREATED else (200, b"200 OK")
        etag = b'ETag: "%d"\r\n' % result.version if status is not Status.DELETED else b""
        common = self.listener.common
        self.answer = _OPERATED % (line, len(body), etag, primary, common, self.connection_line, body)
        return code

    def _age(self, result: Result) -> bytes:
        """Return the header line that says how old what a stale read saw may be, also if it saw nothing."""
        request = self.request
        stale = request is not None and request.stale
        return b"Age: %d\r\n" % -(-result.age_ms // 1_000) if stale else b""

    def _value(self, result: Result, primary: bytes) -> int:
        """Write the answer of GET or HEAD /v1/kv/{key} for a key that is there."""
        version = result.version
        common = self.listener.common
        if self.match is not None and not self.match & {ANYTHING, version}:
            headers = b'ETag: "%d"\r\n' % version + self._age(result)
            failed = Problem(problems.CONDITION, CONDITION_TEXT, headers=headers)
            return self._problem(failed, result.primary)
        if self.none_match is not None and self.none_match & {ANYTHING, version}:
            line = b'304 Not Modified\r\nETag: "%d"' % version
            self.answer = _BARE % (line, primary, common, self.connection_line)
            return 304
        value = result.value
        kind = result.content_type
        if kind:
            primary += _INERT
        self.answer = _VALUE % (
            b"200 OK",
            kind or OCTETS,
            len(value),
            version,
            primary,
            common,
            self.connection_line,
        )
        if self.head_only:
            return 200
        if len(value) <= _WHOLE_BYTES:
            self.answer += value
        else:
            self.tail = value
        return 200

    def _problem(self, problem: Problem, primary: str) -> int:
        """Write a problem as the answer, and return its status."""
        listener = self.listener
        original = self.route <= DELETE3
        request = self.request
        if original and request is not None and request.key and not problem.extra:
            put_member(problem.extra, "key", request.key)
        body = problem.body(original)
        kind = problem.kind
        self.answer = _PROBLEM % (
            kind.status,
            _PHRASES[kind.status],
            len(body),
            problem.header_lines(),
            listener.primary(primary),
            listener.common,
            self.connection_line,
        )
        self.tail = b""
        if not self.head_only:
            self.answer += body
        return kind.status

    def _defect(self, detail: str) -> Problem:
        request = self.request
        if request is None or request.kind is Kind.GET:
            return Problem(DEFECT, f"{detail} Nothing was applied. This is a defect; please report it.")
        return Problem(
            DEFECT,
            f"{detail} It is not known whether the write was applied; read the key before writing again. "
            "This is a defect; please report it.",
            outcome=UNKNOWN,
        )

    def _failure(self, result: Result) -> Problem:
        """Return the problem that a result stands for."""
        request = self.request
        assert request is not None
        status = result.status
        if status is Status.NOT_FOUND:
            age = self._age(result)
            if self.match is not None:
                return Problem(problems.CONDITION, CONDITION_TEXT, headers=age)
            return Problem(problems.NOT_FOUND, "There is no such key. Nothing was changed.", headers=age)
        if status is Status.DEFECT:
            return self._defect(result.detail or "The node met an internal error.")
        if self.call is not None and status in PRESENT:
            return self.call.refusal(result)
        return failure(request.kind, bool(request.idempotency), result)
