"""Heads that a connection repeats: compared with one that was parsed and found right, and not parsed again.

A client of a store sends the same header fields with every request; what differs is the key, and the length
of the value. Everything else about a request follows from bytes that are equal to those of an earlier one.
Whatever is not as plain as that, and whatever is to be refused, is left to the parser.
Of the microseconds that a request costs in this layer it saves about 3.5: of 8.2 of a GET, of 9 of a PUT.
"""

import re
from dataclasses import dataclass
from typing import Final

from ringkeep.core.protocol.client_requests import Kind, Request
from ringkeep.core.protocol.limits import KEY_BYTES
from ringkeep.http.connection.exchange import Exchange, ExchangeOwner
from ringkeep.http.connection.listener_state import ListenerState
from ringkeep.http.limits import IN_FLIGHT, LARGE_BODY_BYTES
from ringkeep.http.routes import PUT3

# What stands before the key, and keys that are themselves as path and as query: no '%', '+', '&', '?'.
_LINE: Final = re.compile(
    rb"((?:GET|PUT|DELETE|POST) /v1/kv/|(?:GET /get|DELETE /delete)\?key=|POST /put)"
    rb"([-A-Za-z0-9._~/:]*) HTTP/1\.1\r\n"
)
_LENGTH: Final = re.compile(rb"\r\ncontent-length: ([0-9]{1,7})\r\n", re.IGNORECASE)
_SPECIAL: Final = re.compile(
    rb"\r\n(?:transfer-encoding|expect|upgrade|content-length(?!: [0-9]{1,7}\r\n))", re.IGNORECASE
)
_DIGITS: Final = re.compile(rb"[0-9]{1,7}")
_END: Final = b"\r\n\r\n"
_KEPT_BYTES: Final = 4 * 1024  # the longest head that is remembered
_TRIES: Final = 8  # heads remembered for nothing, before a connection is taken for one that repeats none


@dataclass(slots=True, eq=False)
class _Head:
    """A head after its request line: `before`, the digits of Content-Length, `after`; or `before` alone.

    The rest is what came of it: nothing of that depends on the key, or on the body.
    """

    before: bytes
    after: bytes
    method: bytes
    route: int
    safe: bool
    body_limit: int
    match: frozenset[int] | None
    none_match: frozenset[int] | None
    kind: Kind
    content_type: bytes
    condition: int


class RepeatedHeads:
    """The last head of each data route on one connection."""

    __slots__ = ("_heads", "_listener", "_owner", "_tries")

    def __init__(self, listener: ListenerState, owner: ExchangeOwner) -> None:
        self._listener = listener
        self._owner = owner
        self._heads: dict[bytes, _Head] = {}
        self._tries = _TRIES

    def learn(self, data: bytes, fields: int, exchange: Exchange) -> None:
        """Remember the head at the start of `data`, of so many header fields, that became `exchange`.

        The exchange was not refused.
        """
        request, line = exchange.request, _LINE.match(data)
        if line is None or request is None or request.idempotency or not self._tries:
            return
        self._tries -= 1
        head = data[line.end() - 2 : data.find(_END) + len(_END)]
        plain = head.count(b"\n") == head.count(b"\r\n") == fields + 2  # no line is folded, or ends otherwise
        if not plain or len(head) > _KEPT_BYTES or _SPECIAL.search(head):
            return
        before, after = head, b""
        length = _LENGTH.search(head)
        if length is not None:
            before, after = head[: length.start(1)], head[length.end(1) :]
        self._heads[line[1]] = _Head(
            before, after, exchange.method, exchange.route, exchange.safe, exchange.body_limit,
            exchange.match, exchange.none_match, request.kind, request.content_type, request.condition,
        )  # fmt: skip

    def take(self, data: bytes, at: int) -> tuple[Exchange, bytes, int] | None:
        """Return the request that begins at `at`, its body, and where it ends in `data`.

        None if its head is not one that was seen, if it is not whole, or if something else is to be said
        about it. The body is still to be given to the request (`request_head.complete`).
        """
        line = _LINE.match(data, at)
        if line is None:
            return None
        head = self._heads.get(line[1])
        end = line.end() - 2
        if head is None or not data.startswith(head.before, end):
            return None
        end += len(head.before)
        body = b""
        if head.after:
            digits = _DIGITS.match(data, end)
            if digits is None or not data.startswith(head.after, digits.end()):
                return None
            begin = digits.end() + len(head.after)
            length = int(digits[0])
            end = begin + length
            if length > min(LARGE_BODY_BYTES, head.body_limit) or end > len(data):
                return None
            body = data[begin:end]
        key, listener = line[2], self._listener
        if (not key) != (head.route == PUT3) or len(key) > KEY_BYTES:
            return None
        if listener.in_flight >= IN_FLIGHT or listener.service.serving() is not None:
            return None
        self._tries = _TRIES
        exchange = Exchange(listener, self._owner, head.method)
        exchange.route, exchange.safe, exchange.body_limit = head.route, head.safe, head.body_limit
        exchange.match, exchange.none_match = head.match, head.none_match
        exchange.request = Request(head.kind, key, b"", head.content_type, head.condition, done=exchange.done)
        return exchange, body, end
