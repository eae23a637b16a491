"""One connection to a node: keep-alive, one request at a time, as little work for each as Python permits."""

import asyncio
from typing import Final, NamedTuple, cast

from ringkeep.parsing import host_port

CONNECT_S: Final = 1.0
_NO_BODY: Final = frozenset({204, 304})


class Reply(NamedTuple):
    """An answer: its status, and its body."""

    status: int
    body: bytes


class Broken(Exception):
    """There is no answer. `sent`: the request may have reached the node."""

    def __init__(self, reason: str, sent: bool) -> None:
        super().__init__(reason)
        self.sent = sent


class Connection(asyncio.Protocol):
    """One connection; once it is closed, another one takes its place."""

    def __init__(self, host: str, port: int) -> None:
        name = f"[{host}]" if ":" in host else host
        self._tail = f" HTTP/1.1\r\nHost: {name}:{port}\r\n".encode()
        self._buffer = bytearray()
        self._wanted = 0  # bytes of the answer under way, 0: not known yet
        self._status = 0
        self._answer: asyncio.Future[Reply] | None = None
        self._transport: asyncio.WriteTransport | None = None

    @classmethod
    async def open(cls, endpoint: str, timeout_s: float) -> "Connection":
        """Connect to "HOST:PORT". Raises Broken."""
        host, port = host_port(endpoint)
        try:
            async with asyncio.timeout(min(timeout_s, CONNECT_S)):
                _, connection = await asyncio.get_running_loop().create_connection(
                    lambda: cls(host, port), host, port
                )
        except OSError as error:  # a timeout is one as well
            raise Broken(error.strerror or "no connection in time", sent=False) from None
        return connection

    @property
    def is_closed(self) -> bool:
        """Whether it cannot be used any more."""
        return self._transport is None

    async def ask(self, method: bytes, target: bytes, fields: bytes, body: bytes, timeout_s: float) -> Reply:
        """Send a request, and return its answer. Raises Broken."""
        if self._transport is None:
            raise Broken("the connection was closed", sent=False)
        loop = asyncio.get_running_loop()
        self._answer = loop.create_future()
        length = b"Content-Length: %d\r\n" % len(body) if body or method in (b"PUT", b"POST") else b""
        self._transport.write(b"%b %b%b%b%b\r\n%b" % (method, target, self._tail, fields, length, body))
        late = loop.call_later(timeout_s, self._end, "no answer in time")
        try:
            return await self._answer
        finally:
            late.cancel()

    def close(self) -> None:
        """Close it."""
        if self._transport is not None:
            self._transport.abort()
            self._transport = None

    # --- asyncio.Protocol -----------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.WriteTransport, transport)  # uvloop's do not derive from it

    def connection_lost(self, exc: Exception | None) -> None:
        self._end(getattr(exc, "strerror", None) or "the connection was closed")

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        if not self._wanted and not self._read_head():
            return
        if len(self._buffer) < self._wanted:
            return
        begin = self._buffer.index(b"\r\n\r\n") + 4
        reply = Reply(self._status, bytes(self._buffer[begin : self._wanted]))
        closes = b"\r\nconnection: close" in self._buffer[:begin].lower()
        del self._buffer[: self._wanted]
        self._wanted = 0
        answer, self._answer = self._answer, None
        if answer is not None and not answer.done():
            answer.set_result(reply)
        if closes:
            self.close()

    def _read_head(self) -> bool:
        end = self._buffer.find(b"\r\n\r\n")
        if end < 0:
            return False
        head = bytes(self._buffer[: end + 2]).lower()
        status, at = head[9:12], head.find(b"\r\ncontent-length:")
        if not head.startswith(b"http/1.1 ") or not status.isdigit() or b"\r\ntransfer-encoding:" in head:
            self._end("not an answer of a Ringkeep node")
            return False
        length = head[at + 17 : head.index(b"\r\n", at + 2)] if at >= 0 else b"0"
        self._status = int(status)
        self._wanted = end + 4 + (0 if self._status in _NO_BODY else int(length))
        return True

    def _end(self, why: str) -> None:
        self.close()
        answer, self._answer = self._answer, None
        if answer is not None and not answer.done():
            answer.set_exception(Broken(why, sent=True))
