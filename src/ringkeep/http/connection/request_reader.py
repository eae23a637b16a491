"""Reads the requests of one connection: bytes in, complete exchanges into the queue, within bounds.

httptools' parser calls it back. What a request means is the matter of `request_head`; how much is read, and
when, is the connection's.
"""

import logging
import time
from typing import Final

import httptools

from ringkeep.core.protocol.limits import KIB
from ringkeep.http import problems
from ringkeep.http.connection.exchange import Exchange
from ringkeep.http.connection.listener_state import NEVER, ListenerState
from ringkeep.http.connection.repeated_head import RepeatedHeads
from ringkeep.http.connection.request_head import (
    complete,
    headers_too_large,
    read_head,
    too_large,
    unknown_method,
    uri_too_long,
)
from ringkeep.http.connection.request_queue import RequestQueue
from ringkeep.http.limits import CHUNK_OVERHEAD, HEADER_BYTES, LARGE_BODY_BYTES, TARGET_BYTES
from ringkeep.http.problems import Problem, bad, busy

log = logging.getLogger("ringkeep.http")

_HEAD_BYTES: Final = TARGET_BYTES + HEADER_BYTES + 4 * KIB
_FRAMING: Final = frozenset({b"content-length", b"transfer-encoding"})


class RequestReader:
    """Makes exchanges of a client's bytes."""

    def __init__(self, listener: ListenerState, queue: RequestQueue) -> None:
        self.receiving = False  # in the middle of a request,
        self.in_body = False  # or even of its body
        self.continue_wanted = False  # the client waits for a word before it sends the body
        self.ended = False  # nothing more is read
        self.due = NEVER  # when the rest of the request is late, on the listener's clock
        self._listener = listener
        self._queue = queue
        self.repeated = RepeatedHeads(listener, queue)
        self._parser = httptools.HttpRequestParser(self)
        self._first = b""  # what is parsed from, until the request at its beginning is complete
        self._resuming = False  # a fresh parser is being told how the body of this request is framed
        # the request that is being received
        self._target = b""
        self._headers: list[tuple[bytes, bytes]] = []
        self._body: bytes | bytearray = b""
        self._exchange: Exchange | None = None  # once its header fields are complete
        self._refusal: Problem | None = None
        self._wire_bytes = 0
        self._began = 0.0

    # --- the connection's side ------------------------------------------------------------------------

    def feed(self, data: bytes) -> None:
        """Parse what came, queue the requests in it, and refuse what breaks the protocol or a bound."""
        within = self.receiving
        self._listener.allowance.spend(len(data))
        self._queue.adding = True
        rest = data if within else self._take_repeated(data)
        self._first = b"" if within else rest
        while rest:
            try:
                self._parser.feed_data(rest)
                break
            except httptools.HttpParserUpgrade as offer:
                rest = b"" if self.ended else self._pass_over_upgrade(rest[offer.args[0] :])
            except httptools.HttpParserError as error:
                self._broken(error, rest)
                break
        self._queue.adding = False
        if not self.receiving or self.ended:
            return
        if self._refusal is not None:
            self.refuse(self._refusal)
        elif within:
            self._wire_bytes += len(data)
            if self.in_body:
                assert self._exchange is not None
                if self._wire_bytes > CHUNK_OVERHEAD * self._exchange.body_limit + _HEAD_BYTES:
                    self.refuse(too_large(self._exchange))
            elif len(self._target) > TARGET_BYTES:
                self.refuse(uri_too_long())
            elif self._wire_bytes > _HEAD_BYTES:
                self.refuse(headers_too_large())

    def _take_repeated(self, data: bytes) -> bytes:
        """Queue the requests at the beginning of `data` whose heads were parsed before; return the rest."""
        at = 0
        while at < len(data) and not self.ended:
            taken = self.repeated.take(data, at)
            if taken is None:
                return data[at:] if at else data
            exchange, body, at = taken
            self._complete(exchange, body, None)
        return data[at:]

    def refuse(self, problem: Problem) -> None:
        """Answer without waiting for the rest of the request, and take nothing more from this client."""
        exchange = self._exchange or Exchange(self._listener, self._queue, b"")
        exchange.end_connection()
        self._exchange = None
        self.receiving = self.in_body = self.continue_wanted = False
        self._body = b""
        self.ended = True
        exchange.fail(problem)
        self._queue.add(exchange)

    def time_out(self) -> None:
        """The rest of the request is late."""
        part = "body" if self.in_body else "header fields"
        text = f"The {part} did not arrive in time. Nothing was applied; send the request again, faster."
        self.refuse(Problem(problems.TOO_SLOW, text))

    def end(self) -> None:
        """The client sends no more."""
        if self.receiving and not self.ended:
            self.refuse(self._refusal or bad("The connection ended in the middle of the request."))
        self.ended = True

    def abandon(self) -> None:
        """The client is gone."""
        if self._exchange is not None:
            self._exchange.release()

    # --- the parser's side ----------------------------------------------------------------------------

    def on_message_begin(self) -> None:
        """Begin a request."""
        if self.ended or self._resuming:
            return
        listener = self._listener
        self.receiving = True
        self._target = b""
        self._headers = []
        self._body = b""
        self._refusal = None
        self._wire_bytes = 0
        self._began = listener.now
        self.due = listener.now + listener.patience.head_s

    def on_url(self, url: bytes) -> None:
        """Collect the request target, which may come in pieces."""
        if not self._resuming:
            self._target += url

    def on_header(self, name: bytes, value: bytes) -> None:
        """Collect a header field. Trailer fields come here too, and mean nothing."""
        if not self.in_body:
            self._headers.append((name, value))

    def on_headers_complete(self) -> None:
        """Decide what the request is, and whether its body is wanted."""
        if self.ended:
            return
        if self._resuming:
            self._resuming = False
            return
        self.in_body = True
        parser = self._parser
        version = parser.get_http_version()
        self._exchange = exchange = Exchange(self._listener, self._queue, parser.get_method())
        try:
            fields = read_head(
                exchange, self._listener, self._target, self._headers, version, parser.should_keep_alive()
            )
            length = fields.get(b"content-length")
            if length is not None and int(length) > LARGE_BODY_BYTES:
                self._reserve(exchange, int(length))
            if b"expect" in fields and version == "1.1":
                self.continue_wanted = True
                if self._queue.exchanges:  # the client waits for us: its time begins with the interim answer
                    self.due = NEVER
        except Problem as problem:
            self._refusal = problem

    def on_body(self, data: bytes) -> None:
        """Collect a piece of the body, up to the route's limit."""
        exchange = self._exchange
        if self.ended or self._refusal is not None or exchange is None:
            return
        listener = self._listener
        self.due = min(listener.now + listener.patience.stall_s, self._began + listener.patience.body_s)
        self.continue_wanted = False  # it did not wait
        if not self._body:
            self._body = data
        elif isinstance(self._body, bytearray):
            self._body += data
        else:
            self._body = bytearray(self._body) + data
        if len(self._body) > exchange.body_limit:
            self._refusal = too_large(exchange)
            self._body = b""
        elif len(self._body) > LARGE_BODY_BYTES and not exchange.reserved:
            try:
                self._reserve(exchange, exchange.body_limit)
            except Problem as problem:
                self._refusal = problem
                self._body = b""

    def on_message_complete(self) -> None:
        """Queue the request."""
        exchange = self._exchange
        if self.ended or exchange is None:
            return
        if self._parser.should_upgrade() and exchange.method != b"CONNECT":
            return  # its body is still to come: see `_pass_over_upgrade`
        self.receiving = self.in_body = self.continue_wanted = False
        self._exchange = None
        body = self._body if isinstance(self._body, bytes) else bytes(self._body)
        self._body = b""
        if self._first:
            if self._refusal is None:
                self.repeated.learn(self._first, len(self._headers), exchange)
            self._first = b""
        self._complete(exchange, body, self._refusal)

    def _complete(self, exchange: Exchange, body: bytes, refusal: Problem | None) -> None:
        exchange.started = time.monotonic()
        if refusal is None:
            self._listener.allowance.spend(len(body))
            try:
                complete(exchange, body)
            except Problem as problem:
                refusal = problem
        if refusal is not None:
            exchange.fail(refusal)
        if exchange.close:
            self.ended = True
        self._queue.add(exchange)

    def _reserve(self, exchange: Exchange, count: int) -> None:
        """Take room for a large body. Raises Problem (429) when large bodies fill what they may."""
        if not self._listener.reserve(count):
            raise busy()
        exchange.reserved = count

    def _pass_over_upgrade(self, rest: bytes) -> bytes:
        """Go on after a head that offers another protocol (RFC 9110, 7.8); return what is to be parsed.

        The parser ends at such a head, and takes no body after it. A fresh one is told how the body is
        framed.
        """
        self._parser = httptools.HttpRequestParser(self)
        self._resuming = True
        framing = [b"%b: %b\r\n" % line for line in self._headers if line[0].lower() in _FRAMING]
        return b"POST / HTTP/1.1\r\n%b\r\n%b" % (b"".join(framing), rest)

    def _broken(self, error: httptools.HttpParserError, data: bytes) -> None:
        """Answer bytes that are not HTTP; nothing after them can be understood."""
        if self.ended:
            return
        problem = self._refusal
        if isinstance(error, httptools.HttpParserCallbackError):
            log.error("a defect while a request was parsed", exc_info=error)
            problem = Problem(problems.DEFECT, "The node failed at parsing the request. Nothing was applied.")
        elif problem is None and isinstance(error, httptools.HttpParserInvalidMethodError):
            problem = unknown_method(data)
        self.refuse(problem or bad(f"This is not well-formed HTTP/1.1: {error}."))
