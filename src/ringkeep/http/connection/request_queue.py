"""The requests of one connection: started in order, answered in order, within bounds.

Reads of one connection run side by side; a write runs alone, because a client that sends a request before it
has the answers to earlier ones may rely on these (RFC 9112, 9.3.2). Knows nothing of bytes received, nor of
sockets.
"""

import logging
from collections import deque
from typing import Protocol

from ringkeep.http.connection.exchange import Exchange
from ringkeep.http.connection.listener_state import ListenerState, OpenConnection
from ringkeep.http.limits import IN_FLIGHT_EACH

log = logging.getLogger("ringkeep.http")


class QueueOwner(OpenConnection, Protocol):
    """What the queue asks of its connection. `flush` writes `RequestQueue.out`."""

    def call_app(self, exchange: Exchange) -> None:
        """Have the admin app answer after what is in `out`; it ends with `RequestQueue.answered`."""
        ...

    def end_input(self) -> bool:
        """Take no further request, unless one is being received; return whether so."""
        ...


class RequestQueue:
    """Exchanges in the order of their requests.

    The connection calls `add`, takes the answers from `out`, and sets `adding` and `suspended`.
    """

    def __init__(self, listener: ListenerState, owner: QueueOwner) -> None:
        self._listener = listener
        self._owner = owner
        self._running = 0
        self._exclusive = False  # what runs, runs alone
        self._weight = 1  # of each that runs: how many requests it counts as
        self.exchanges: deque[Exchange] = deque()  # all whose answer is not in `out` yet
        self.parked: deque[Exchange] = deque()  # those of them that were not started yet
        self.out: list[bytes] = []  # answers whose turn it is, to be written
        self.adding = False  # requests are being added: the connection flushes when it is done
        self.suspended = False  # nothing more is started: the client does not read its answers
        self.abandoned = False  # the client is gone

    def add(self, exchange: Exchange) -> None:
        """Take a request that was received whole; start it if nothing stands before it."""
        self.exchanges.append(exchange)
        if exchange.answered:
            self._collect()
        elif self.parked or not self._may_start(exchange):
            self.parked.append(exchange)
        else:
            self._start(exchange)

    def answered(self) -> None:
        """An exchange that was started has its answer."""
        self._listener.in_flight -= self._weight
        self._running -= 1
        self._exclusive = False
        if self.abandoned:
            return
        self._collect()
        if not self.adding:
            if self.parked:
                self.start_parked()
            self._listener.flush_later(self._owner)

    def close_if_last(self, exchange: Exchange) -> None:
        """The server stops: let this answer be the connection's last, unless more requests came after it."""
        if self.exchanges and self.exchanges[-1] is exchange and self._owner.end_input():
            exchange.end_connection()

    def start_parked(self) -> None:
        """Start parked requests, in order, as far as they may."""
        parked = self.parked
        while parked and self._may_start(parked[0]):
            self._start(parked.popleft())

    def abandon(self) -> None:
        """The client is gone. What was started still runs; its answers are dropped."""
        self.abandoned = True
        self.parked.clear()
        self.hurry()
        for exchange in self.exchanges:
            if not exchange.running:
                exchange.release()

    def hurry(self) -> None:
        """Let no answer wait any longer for a change."""
        for exchange in list(self.exchanges):
            if exchange.poll is not None:
                exchange.poll.hurry()

    def _collect(self) -> None:
        """Move the answers whose turn it is to the output."""
        exchanges = self.exchanges
        while exchanges and exchanges[0].answered:
            exchange = exchanges.popleft()
            if exchange.answer:
                self.out.append(exchange.answer)
                if exchange.tail:
                    self.out.append(exchange.tail)

    def _may_start(self, exchange: Exchange) -> bool:
        if self.suspended:
            return False
        if exchange.safe:
            return self._running < IN_FLIGHT_EACH and not self._exclusive
        # All answers before it have left the queue: the admin app writes to the transport itself.
        return self._running == 0 and self.exchanges[0] is exchange

    def _start(self, exchange: Exchange) -> None:
        exchange.running = True
        self._running += 1
        call = exchange.call
        self._weight = 1 if call is None else call.size  # then it runs alone
        self._listener.in_flight += self._weight
        self._exclusive = not exchange.safe
        request = exchange.request
        if request is None:
            self._owner.call_app(exchange)
            return
        try:
            if call is not None:
                call.start()
            elif exchange.poll is not None:
                exchange.poll.start()
            else:
                self._listener.service.submit(request)
        except Exception:
            log.exception("the service did not take a request")
            if not exchange.answered:
                exchange.crashed()
                self.answered()
