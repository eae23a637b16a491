"""One client connection: what is read when, what is written when, and for how long the client is waited for.

An `asyncio.Protocol` without a task, a future or a timer per request: `RequestReader` makes exchanges of
bytes, `RequestQueue` runs them in order, and the listener has answers flushed once per turn of the loop.
"""

import asyncio
from typing import Final

from ringkeep.core.protocol.limits import KIB
from ringkeep.http.connection.asgi_bridge import AppCall, AsgiBridge
from ringkeep.http.connection.exchange import Exchange
from ringkeep.http.connection.listener_state import NEVER, ListenerState
from ringkeep.http.connection.request_queue import RequestQueue
from ringkeep.http.connection.request_reader import RequestReader
from ringkeep.http.limits import DRAIN_BYTES
from ringkeep.http.problems import busy

_SLICE_BYTES: Final = 16 * KIB  # parsed at once: bounds how many requests wait parsed
_CONTINUE: Final = b"HTTP/1.1 100 Continue\r\n\r\n"


class Connection(asyncio.Protocol):
    """The server's end of one client connection."""

    transport: asyncio.Transport

    def __init__(self, listener: ListenerState, bridge: AsgiBridge) -> None:
        self.due = NEVER
        self.draining = False
        self._listener = listener
        self._bridge = bridge
        self._queue = RequestQueue(listener, self)
        self._reader = RequestReader(listener, self._queue)
        self._app_call: AppCall | None = None
        self._unread = b""
        self._reading = True
        self._held = False  # waits for its place in a later turn
        self._half_closed = False  # the client sends no more
        self._drained = 0

    # --- the transport's side -------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Take the connection, unless there are too many."""
        listener = self._listener
        self.transport = transport  # type: ignore[assignment]  # uvloop's is one without being a subclass
        self.due = listener.now + listener.patience.idle_s
        listener.connections[self] = None
        if not listener.make_room():
            self._reader.refuse(busy())
            self.flush()

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget the client."""
        self._listener.connections.pop(self, None)
        self._queue.abandon()
        self._reader.abandon()
        if self._app_call is not None:
            self._app_call.lost(exc)

    def eof_received(self) -> bool:
        """The client sends no more: answer what it asked, then close."""
        if self.draining:
            return False
        self._half_closed = True
        self._reader.end()
        self._queue.hurry()  # it may be gone, and cannot be asked
        if not self._queue.exchanges and not self._queue.out:
            return False
        self.flush()
        return True

    def pause_writing(self) -> None:
        """The client does not read its answers: take no more of its requests until it does."""
        self._queue.suspended = True
        self.due = self._listener.now + self._listener.patience.write_s
        self._pause_reading()
        if self._app_call is not None:
            self._app_call.pause_writing()

    def resume_writing(self) -> None:
        """The client reads again."""
        self._queue.suspended = False
        if self.draining:
            self.due = self._listener.now + self._listener.patience.drain_s
        if self._app_call is not None:
            self._app_call.resume_writing()
        self._queue.start_parked()
        self.flush()

    def data_received(self, data: bytes) -> None:
        """Parse what came, start what can be started, and answer what is answered."""
        if self._reader.ended:
            self._drain(len(data))
        elif self._unread:  # reading was paused, and this was on its way
            self._unread += data
        else:
            self._feed(data)
            self.flush()

    # --- the queue's side -----------------------------------------------------------------------------

    def call_app(self, exchange: Exchange) -> None:
        """Have the admin app answer; it writes to the transport itself."""
        self._write_out()
        self._app_call = self._bridge.call(exchange, self.transport, self._app_answered)
        self._app_call.start()

    def _app_answered(self, exchange: Exchange, status: int, keep_alive: bool) -> None:
        """The admin app has written its answer."""
        self._app_call = None
        if not keep_alive:
            self._reader.ended = True
        exchange.finish(status)
        self._queue.answered()

    def end_input(self) -> bool:
        """Take no further request, unless one is being received; return whether so."""
        if self._reader.receiving:
            return False
        self._reader.ended = True
        return True

    # --- reading --------------------------------------------------------------------------------------

    def _blocked(self) -> bool:
        queue = self._queue
        return bool(queue.parked) or self._held or queue.suspended or self._reader.ended

    def _pause_reading(self) -> None:
        """Take nothing more from the client for now."""
        if self._reading and not self.transport.is_closing():
            self._reading = False
            self.transport.pause_reading()

    def _resume_reading(self) -> None:
        if not self._reading and not self.transport.is_closing():
            self._reading = True
            self.transport.resume_reading()

    def _hold(self) -> None:
        """Enough was taken in this turn: read on in a later one."""
        self._held = True
        self._pause_reading()
        self._listener.allowance.wait(self._go_on)

    def _go_on(self) -> None:
        self._held = False
        self.flush()

    def _feed(self, data: bytes) -> None:
        """Read requests from `data`, in slices, while none of them needs to wait; keep the rest unread."""
        allowance = self._listener.allowance
        reader = self._reader
        if not allowance.spent and len(data) <= _SLICE_BYTES:
            reader.feed(data)
            return
        position = 0
        while position < len(data) and not self._blocked():
            if allowance.spent:
                self._hold()
                break
            # A body cannot hold requests: no need to go through it in small steps.
            end = len(data) if reader.in_body else position + _SLICE_BYTES
            reader.feed(data[position:end])
            position = end
        if reader.ended:
            self._drain(max(0, len(data) - position))
        else:
            self._unread = data[position:]

    def _drain(self, count: int) -> None:
        """Drop what still comes after the last request, up to a bound."""
        self._drained += count
        if self._drained > DRAIN_BYTES:
            self.transport.abort()

    # --- writing --------------------------------------------------------------------------------------

    def flush(self) -> None:
        """Write what is ready in one call, then go on reading, wait, or close."""
        queue, reader, listener = self._queue, self._reader, self._listener
        if queue.abandoned or self.draining:
            return
        self._write_out()
        while self._unread and not self._blocked():
            data, self._unread = self._unread, b""
            self._feed(data)
            self._write_out()
        if queue.exchanges:
            if queue.parked and not reader.ended:
                self._pause_reading()
        elif reader.ended:
            self._finish()
            return
        elif reader.continue_wanted:
            reader.continue_wanted = False
            reader.due = listener.now + listener.patience.stall_s
            self.transport.write(_CONTINUE)
        elif listener.stopping and not reader.receiving and not queue.suspended:
            self.transport.close()
            return
        if not self._reading and not self._blocked():
            self._resume_reading()
            reader.due = listener.now + listener.patience.head_s
        if not queue.suspended:
            self._wait_for_client()

    def _write_out(self) -> None:
        """Give the answers to the transport, in one call."""
        out = self._queue.out
        if not out:
            return
        self._queue.out = []
        if self.transport.is_closing():
            return
        if len(out) == 1:
            self.transport.write(out[0])
        else:
            self.transport.writelines(out)

    def _finish(self) -> None:
        """The last answer is written. Read on for a while, so that a client that still sends sees it."""
        transport = self.transport
        if self._half_closed or transport.is_closing():
            transport.close()
            return
        self.draining = True
        self.due = self._listener.now + self._listener.patience.drain_s
        self._resume_reading()
        transport.write_eof()

    # --- time, and the end ----------------------------------------------------------------------------

    def _wait_for_client(self) -> None:
        """Say until when the client has to send something."""
        if self._queue.parked:
            self.due = NEVER  # it is not read from
        elif self._reader.receiving:
            self.due = self._reader.due
        elif self._queue.exchanges:
            self.due = NEVER  # it waits for us
        else:
            self.due = self._listener.now + self._listener.patience.idle_s

    def overdue(self) -> None:
        """Its time is up: an unfinished request gets a 408, a silent connection is closed without a word."""
        self.due = self._listener.now + self._listener.patience.drain_s
        transport = self.transport
        if self.draining or self._queue.suspended or transport.is_closing():
            transport.abort()
        elif self._reader.receiving:
            self._reader.time_out()
            self.flush()
        elif not self._queue.exchanges:
            transport.close()

    def idle(self) -> bool:
        """Whether nobody would miss an answer if the connection were closed, and nobody closes it yet."""
        queue = self._queue
        waits = queue.exchanges or queue.out or self._reader.receiving
        return not waits and not self.transport.is_closing()

    def stop(self) -> None:
        """The server stops: close at once if idle, else with the last answer."""
        self._queue.hurry()
        if self.draining:
            self.transport.abort()
        elif self.idle():
            self.transport.close()

    def abort(self) -> None:
        """Break the connection off."""
        self.transport.abort()
