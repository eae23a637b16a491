"""One client connection: bytes in, exchanges in order, bytes out, within bounds of space and time.

An `asyncio.Protocol` on httptools' parser. No task, no future and no timer per request: the parser calls
back, the service calls `Exchange.done`, and the hub flushes once per turn of the loop. What a request means
is the matter of `request_head`, what an answer looks like of `exchange`, and in what order requests run of
`request_queue`.
"""

import asyncio
import time
from typing import Final

import httptools

from ringkeep.core.protocol.limits import KIB
from ringkeep.http import problems
from ringkeep.http.connection.exchange import CLOSE, Exchange
from ringkeep.http.connection.listener_state import ListenerState, log
from ringkeep.http.connection.request_head import (
    busy,
    complete,
    headers_too_large,
    plan,
    too_large,
    unknown_method,
    uri_too_long,
)
from ringkeep.http.connection.request_queue import NEVER, Pipeline
from ringkeep.http.limits import (
    CHUNK_OVERHEAD,
    HEADER_BYTES,
    LARGE_BODY_BYTES,
    TARGET_BYTES,
)
from ringkeep.http.problems import Problem, bad

_SLICE_BYTES: Final = 16 * KIB  # parsed at once: bounds how many pipelined requests wait parsed
_HEAD_BYTES: Final = TARGET_BYTES + HEADER_BYTES + 4 * KIB
_FRAMING: Final = frozenset({b"content-length", b"transfer-encoding"})
_CONTINUE: Final = b"HTTP/1.1 100 Continue\r\n\r\n"


class Connection(Pipeline):
    """The server's end of one client connection."""

    def __init__(self, hub: ListenerState) -> None:
        super().__init__(hub)
        self.parser = httptools.HttpRequestParser(self)
        # the request that is being received
        self.in_body = False
        self.resuming = False  # a fresh parser is being told how the body of this request is framed
        self.target = b""
        self.headers: list[tuple[bytes, bytes]] = []
        self.body: bytes | bytearray = b""
        self.current: Exchange | None = None
        self.refusal: Problem | None = None
        self.continue_wanted = False
        self.wire_bytes = 0
        self.began = 0.0
        # reading
        self.unread = b""
        self.held = False  # waits for its place in a later turn
        self.draining = False  # the last answer was written; what still comes is dropped

    # --- the transport's side -------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Take the connection, unless there are too many."""
        hub = self.hub
        self.transport = transport  # type: ignore[assignment]  # uvloop's is one without being a subclass
        self.due = hub.now + hub.patience.idle_s
        hub.connections[self] = None
        if not hub.make_room():
            self._refuse_now(busy())
            self.flush()

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget the client. What was started still runs; its answers are dropped."""
        self.lost = True
        self.hub.connections.pop(self, None)
        self.parked.clear()  # not started, and nobody waits for it
        for exchange in (self.current, *self.exchanges):
            if exchange is not None and not exchange.running:
                exchange.release()
        if self.bridge is not None:
            self.bridge.lost(exc)

    def eof_received(self) -> bool:
        """The client sends no more: answer what it asked, then close."""
        if self.draining:
            return False
        self.half_closed = True
        if self.receiving and not self.closing:
            self._refuse_now(self.refusal or bad("The connection ended in the middle of the request."))
        self.closing = True
        if not self.exchanges and not self.out:
            return False
        self.flush()
        return True

    def pause_writing(self) -> None:
        """The client does not read its answers: take no more of its requests until it does."""
        self.write_paused = True
        self.due = self.hub.now + self.hub.patience.write_s
        self.pause_reading()
        if self.bridge is not None:
            self.bridge.protocol.pause_writing()

    def resume_writing(self) -> None:
        """The client reads again."""
        self.write_paused = False
        self.due = self.hub.now + self.hub.patience.drain_s if self.draining else NEVER
        if self.bridge is not None:
            self.bridge.protocol.resume_writing()
        self.advance()
        self.flush()

    def data_received(self, data: bytes) -> None:
        """Parse what came, start what can be started, and answer what is answered."""
        if self.closing:
            self.drain(len(data))
        elif self.unread:  # reading was paused, and this was on its way
            self.unread += data
        else:
            self._feed(data)
            self.flush()

    # --- the parser's side ----------------------------------------------------------------------------

    def on_message_begin(self) -> None:
        """Begin a request."""
        if self.closing or self.resuming:
            return
        hub = self.hub
        self.receiving = True
        self.target = b""
        self.headers = []
        self.body = b""
        self.refusal = None
        self.wire_bytes = 0
        self.began = hub.now
        self.due = hub.now + hub.patience.head_s

    def on_url(self, url: bytes) -> None:
        """Collect the request target, which may come in pieces."""
        if not self.resuming:
            self.target += url

    def on_header(self, name: bytes, value: bytes) -> None:
        """Collect a header field. Trailer fields come here too, and mean nothing."""
        if not self.in_body:
            self.headers.append((name, value))

    def on_headers_complete(self) -> None:
        """Decide what the request is, and whether its body is wanted."""
        if self.closing:
            return
        if self.resuming:
            self.resuming = False
            return
        self.in_body = True
        self.current = exchange = Exchange(self, self.parser.get_method())
        try:
            fields = plan(self, exchange)
            length = fields.get(b"content-length")
            if length is not None and int(length) > LARGE_BODY_BYTES:
                self._reserve(exchange, int(length))
            if b"expect" in fields and self.parser.get_http_version() == "1.1":
                self.continue_wanted = True
                if self.exchanges:  # the client waits for us: its time begins with the interim answer
                    self.due = NEVER
        except Problem as problem:
            self.refusal = problem

    def on_body(self, data: bytes) -> None:
        """Collect a piece of the body, up to the route's limit."""
        exchange = self.current
        if self.closing or self.refusal is not None or exchange is None:
            return
        self.due = min(self.hub.now + self.hub.patience.stall_s, self.began + self.hub.patience.body_s)
        if not self.body:
            self.body = data
        elif isinstance(self.body, bytearray):
            self.body += data
        else:
            self.body = bytearray(self.body) + data
        if len(self.body) > exchange.body_limit:
            self.refusal = too_large(exchange)
            self.body = b""
        elif len(self.body) > LARGE_BODY_BYTES and not exchange.reserved:
            try:
                self._reserve(exchange, exchange.body_limit)
            except Problem as problem:
                self.refusal = problem
                self.body = b""

    def on_message_complete(self) -> None:
        """Queue the request."""
        exchange = self.current
        if self.closing or exchange is None:
            return
        if self.parser.should_upgrade() and exchange.method != b"CONNECT":
            return  # its body is still to come: see `_pass_over_upgrade`
        self.receiving = self.in_body = self.continue_wanted = False
        self.current = None
        self.due = NEVER
        exchange.started = time.monotonic()
        refusal = self.refusal
        if refusal is None:
            body = self.body if isinstance(self.body, bytes) else bytes(self.body)
            self.body = b""
            self.hub.allowance.spend(len(body))
            try:
                complete(self, exchange, body)
            except Problem as problem:
                refusal = problem
        if refusal is not None:
            exchange.fail(refusal)
        if exchange.close:
            self.closing = True
        self.enqueue(exchange)

    def _reserve(self, exchange: Exchange, count: int) -> None:
        """Take room for a large body. Raises Problem (429) when large bodies fill what they may."""
        if not self.hub.reserve(count):
            raise busy()
        exchange.reserved = count

    # --- reading --------------------------------------------------------------------------------------

    def _blocked(self) -> bool:
        return bool(self.parked) or self.held or self.write_paused or self.closing

    def _hold(self) -> None:
        """Enough was taken in this turn: read on in a later one."""
        self.held = True
        self.pause_reading()
        self.hub.allowance.wait(self._go_on)

    def _go_on(self) -> None:
        self.held = False
        if not self.lost:
            self.flush()

    def _feed(self, data: bytes) -> None:
        """Parse `data`, in slices, for as long as its requests need not wait; keep the rest unread."""
        allowance = self.hub.allowance
        if not allowance.spent and len(data) <= _SLICE_BYTES:
            self._parse(data)
            return
        position = 0
        while position < len(data) and not self._blocked():
            if allowance.spent:
                self._hold()
                break
            # A body cannot hold requests: no need to go through it in small steps.
            end = len(data) if self.in_body else position + _SLICE_BYTES
            self._parse(data[position:end])
            position = end
        if self.closing:
            self.drain(max(0, len(data) - position))
        else:
            self.unread = data[position:]

    def _parse(self, data: bytes) -> None:
        """Give bytes to the parser, and refuse what breaks the protocol or a bound."""
        within = self.receiving
        self.hub.allowance.spend(len(data))
        self.feeding = True
        rest = data
        while rest:
            try:
                self.parser.feed_data(rest)
                break
            except httptools.HttpParserUpgrade as offer:
                rest = b"" if self.closing else self._pass_over_upgrade(rest[offer.args[0] :])
            except httptools.HttpParserError as error:
                self._broken(error, rest)
                break
        self.feeding = False
        if not self.receiving or self.closing:
            return
        if self.refusal is not None:
            self._refuse_now(self.refusal)
        elif within:
            self.wire_bytes += len(data)
            if self.in_body:
                assert self.current is not None
                if self.wire_bytes > CHUNK_OVERHEAD * self.current.body_limit + _HEAD_BYTES:
                    self._refuse_now(too_large(self.current))
            elif len(self.target) > TARGET_BYTES:
                self._refuse_now(uri_too_long())
            elif self.wire_bytes > _HEAD_BYTES:
                self._refuse_now(headers_too_large())

    def _pass_over_upgrade(self, rest: bytes) -> bytes:
        """Go on after a head that offers another protocol (RFC 9110, 7.8); return what is to be parsed.

        The parser ends at such a head, and takes no body after it. A fresh one is told how the body is
        framed.
        """
        self.parser = httptools.HttpRequestParser(self)
        self.resuming = True
        framing = [b"%b: %b\r\n" % line for line in self.headers if line[0].lower() in _FRAMING]
        return b"POST / HTTP/1.1\r\n%b\r\n%b" % (b"".join(framing), rest)

    def _broken(self, error: httptools.HttpParserError, data: bytes) -> None:
        """Answer bytes that are not HTTP; nothing after them can be understood."""
        if self.closing:
            return
        problem = self.refusal
        if isinstance(error, httptools.HttpParserCallbackError):
            log.error("a defect while a request was parsed", exc_info=error)
            problem = Problem(problems.DEFECT, "The node failed at parsing the request. Nothing was applied.")
        elif problem is None and isinstance(error, httptools.HttpParserInvalidMethodError):
            problem = unknown_method(data)
        self._refuse_now(problem or bad(f"This is not well-formed HTTP/1.1: {error}."))

    def _refuse_now(self, problem: Problem) -> None:
        """Answer without waiting for the rest of the request, and take nothing more from this client."""
        exchange = self.current or Exchange(self, b"")
        exchange.close = True
        exchange.connection_line = CLOSE
        self.current = None
        self.receiving = self.in_body = self.continue_wanted = False
        self.body = b""
        self.closing = True
        exchange.fail(problem)
        self.enqueue(exchange)

    # --- writing, and time ----------------------------------------------------------------------------

    def flush(self) -> None:
        """Write what is due in one call, then go on reading, wait, or close."""
        self.flush_pending = False
        if self.lost or self.draining:
            return
        self.write_out()
        while self.unread and not self._blocked():
            data, self.unread = self.unread, b""
            self._feed(data)
            self.write_out()
        if self.exchanges:
            if self.parked and not self.closing:
                self.pause_reading()
                if not self.write_paused:
                    self.due = NEVER
        elif self.closing:
            self._finish()
            return
        elif self.continue_wanted and not self.body:
            self.continue_wanted = False
            self.due = self.hub.now + self.hub.patience.stall_s
            self.transport.write(_CONTINUE)
        elif not self.receiving and not self.write_paused:
            if self.hub.stopping:
                self.transport.close()
                return
            self.due = self.hub.now + self.hub.patience.idle_s
        if not self.reading and not self._blocked():
            self.resume_reading()
            if self.receiving:
                self.due = self.hub.now + self.hub.patience.head_s

    def _finish(self) -> None:
        """The last answer is written. Read on for a while, so that a client that still sends sees it."""
        transport = self.transport
        if self.half_closed or transport.is_closing():
            transport.close()
            return
        self.draining = True
        self.due = self.hub.now + self.hub.patience.drain_s
        self.resume_reading()
        transport.write_eof()

    def overdue(self) -> None:
        """Its time is up: an unfinished request gets a 408, a silent connection is closed without a word."""
        self.due = self.hub.now + self.hub.patience.drain_s
        transport = self.transport
        if self.draining or self.write_paused or transport.is_closing():
            transport.abort()
        elif self.receiving:
            part = "body" if self.in_body else "header fields"
            text = f"The {part} did not arrive in time. Nothing was applied; send the request again, faster."
            self._refuse_now(Problem(problems.TOO_SLOW, text))
            self.flush()
        elif not self.exchanges:
            transport.close()

    def idle(self) -> bool:
        """Whether nobody would miss an answer if the connection were closed."""
        return not self.exchanges and not self.receiving and not self.out

    def stop(self) -> None:
        """The server stops: close at once if idle, else with the last answer."""
        if self.draining:
            self.transport.abort()
        elif self.idle():
            self.transport.close()
