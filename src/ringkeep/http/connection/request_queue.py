"""The exchanges of one connection: started in order, answered in order, within bounds.

Reads of one connection run side by side; a write runs alone, because a client that pipelines may rely on what
it sent earlier (RFC 9112, 9.3.2). What is received, and how, is in `connection`, which builds on this.
"""

import asyncio
import time
from collections import deque
from typing import TYPE_CHECKING, Final

from ringkeep.http.connection.exchange import CLOSE, Exchange
from ringkeep.http.connection.listener_state import OTHER, ListenerState, log
from ringkeep.http.limits import DRAIN_BYTES, PIPELINE

if TYPE_CHECKING:
    from ringkeep.http.connection.asgi_bridge import Bridge

NEVER: Final = float("inf")


class Pipeline(asyncio.Protocol):
    """What a connection owes its client."""

    transport: asyncio.Transport

    def __init__(self, hub: ListenerState) -> None:
        self.hub = hub
        self.exchanges: deque[Exchange] = deque()  # all without a written answer, in order
        self.parked: deque[Exchange] = deque()  # those of them that were not started yet
        self.running = 0
        self.exclusive = False  # what runs, runs alone
        self.bridge: Bridge | None = None
        self.out: list[bytes] = []
        self.due = NEVER  # when `overdue` is to be called, on the hub's clock
        self.receiving = False  # in the middle of a request
        self.feeding = False
        self.flush_pending = False
        self.write_paused = False
        self.closing = False  # nothing more is parsed
        self.half_closed = False  # the client sends no more
        self.lost = False
        self.reading = True
        self.drained = 0

    def flush(self) -> None:
        """Write what is due."""
        raise NotImplementedError

    def overdue(self) -> None:
        """Do what is to be done when `due` has passed."""
        raise NotImplementedError

    def pause_reading(self) -> None:
        """Take nothing more from the client for now."""
        if self.reading and not self.transport.is_closing():
            self.reading = False
            self.transport.pause_reading()

    def resume_reading(self) -> None:
        """Go on."""
        if not self.reading and not self.transport.is_closing():
            self.reading = True
            self.transport.resume_reading()

    def drain(self, count: int) -> None:
        """Drop what still comes after the last answer, up to a bound."""
        self.drained += count
        if self.drained > DRAIN_BYTES:
            self.transport.abort()

    def enqueue(self, exchange: Exchange) -> None:
        """Take a request that was received whole; start it if nothing stands before it."""
        self.exchanges.append(exchange)
        if exchange.answered:
            self.collect()
        elif self.parked or not self._may_start(exchange):
            self.parked.append(exchange)
        else:
            self._start(exchange)

    def answered(self, exchange: Exchange) -> None:
        """An exchange that was started has its answer (called by the exchange)."""
        self.hub.in_flight -= 1
        self.running -= 1
        self.exclusive = False
        if self.lost:
            return
        self.collect()
        if not self.feeding:
            if self.parked:
                self.advance()
            if not self.flush_pending:
                self.flush_pending = True
                self.hub.flush_later(self)

    def say_goodbye(self, exchange: Exchange) -> None:
        """Make this exchange's answer the last one of the connection, unless another request is under way."""
        if self.exchanges and self.exchanges[-1] is exchange and not self.receiving:
            self.closing = True
            exchange.close = True
            exchange.connection_line = CLOSE

    def bridge_done(self, exchange: Exchange, status: int, keep_alive: bool) -> None:
        """The admin app has written its answer, to the transport itself."""
        self.bridge = None
        exchange.answered = True
        self.hub.counts[OTHER].count(status, time.monotonic() - exchange.started)
        if not keep_alive:
            self.closing = True
        self.answered(exchange)

    def advance(self) -> None:
        """Start parked requests, in order, as far as they may."""
        parked = self.parked
        while parked and self._may_start(parked[0]):
            self._start(parked.popleft())

    def collect(self) -> None:
        """Move the answers whose turn it is to the output."""
        exchanges = self.exchanges
        while exchanges and exchanges[0].answered:
            exchange = exchanges.popleft()
            if exchange.answer:
                self.out.append(exchange.answer)
                if exchange.tail:
                    self.out.append(exchange.tail)

    def write_out(self) -> None:
        """Give the output to the transport, in one call."""
        out = self.out
        if not out:
            return
        self.out = []
        if self.transport.is_closing():
            return
        if len(out) == 1:
            self.transport.write(out[0])
        else:
            self.transport.writelines(out)

    def _may_start(self, exchange: Exchange) -> bool:
        if self.write_paused:
            return False
        if exchange.safe:
            return self.running < PIPELINE and not self.exclusive
        # All answers before it have left the queue: the admin app writes to the transport itself.
        return self.running == 0 and self.exchanges[0] is exchange

    def _start(self, exchange: Exchange) -> None:
        exchange.running = True
        self.running += 1
        self.hub.in_flight += 1
        self.exclusive = not exchange.safe
        request = exchange.request
        if request is None:
            self.write_out()
            self.bridge = self.hub.bridges.open(self, exchange)
            self.bridge.start()
            return
        try:
            self.hub.service.submit(request)
        except Exception:
            log.exception("the service did not take a request")
            if not exchange.answered:
                exchange.crashed()
                self.answered(exchange)
