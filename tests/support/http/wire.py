"""A client for HTTP tests that sends exactly the bytes it is given, and reads answers one by one."""

import json
import socket
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit


@dataclass(frozen=True, slots=True)
class Answer:
    """One response."""

    status: int
    headers: dict[str, str]
    body: bytes

    def json(self) -> Any:
        """Return the body as JSON."""
        return json.loads(self.body)


class Wire:
    """One connection. Every wait has a deadline; what was waited for is in the error."""

    def __init__(self, base_url: str, timeout_s: float = 5.0) -> None:
        parts = urlsplit(base_url)
        assert parts.hostname and parts.port
        self.host = f"{parts.hostname}:{parts.port}"
        self.socket = socket.create_connection((parts.hostname, parts.port), timeout_s)
        self._buffer = b""

    def __enter__(self) -> "Wire":
        return self

    def __exit__(self, *_: object) -> None:
        self.socket.close()

    def send(self, data: bytes) -> None:
        """Send bytes as they are."""
        self.socket.sendall(data)

    def request(
        self, method: str, target: str | bytes, body: bytes | None = None, **headers: str | None
    ) -> Answer:
        """Send one well-formed request and return its answer. `if_match="x"` makes the field If-Match."""
        self.send(self.render(method, target, body, **headers))
        return self.read(method)

    def render(
        self, method: str, target: str | bytes, body: bytes | None = None, **headers: str | None
    ) -> bytes:
        """Return the bytes of a request. A header given as None is left out."""
        raw = target if isinstance(target, bytes) else target.encode()
        fields: dict[str, str | None] = {"host": self.host}
        if body is not None:
            fields["content-length"] = str(len(body))
        fields |= {name.replace("_", "-"): value for name, value in headers.items()}
        lines = [method.encode() + b" " + raw + b" HTTP/1.1"]
        lines += [f"{name}: {value}".encode("latin-1") for name, value in fields.items() if value is not None]
        return b"\r\n".join(lines) + b"\r\n\r\n" + (body or b"")

    def read(self, method: str = "GET") -> Answer:
        """Return the next answer; interim ones (1xx) too."""
        code, headers = self.read_head()
        if method == "HEAD" or code in (100, 204, 304):
            return Answer(code, headers, b"")
        if headers.get("transfer-encoding") == "chunked":
            return Answer(code, headers, self._chunks())
        assert "content-length" in headers, headers
        length = int(headers["content-length"])
        while len(self._buffer) < length:
            self._more("the rest of a body")
        body, self._buffer = self._buffer[:length], self._buffer[length:]
        return Answer(code, headers, body)

    def read_head(self) -> tuple[int, dict[str, str]]:
        """Return status and header fields of the next answer; its body is left to be read."""
        while b"\r\n\r\n" not in self._buffer:
            self._more("the end of an answer's header fields")
        head, _, self._buffer = self._buffer.partition(b"\r\n\r\n")
        first, *lines = head.decode("latin-1").split("\r\n")
        version, status, _phrase = first.split(" ", 2)
        assert version == "HTTP/1.1", first
        return int(status), {name.lower(): value for name, value in (line.split(": ", 1) for line in lines)}

    def _chunks(self) -> bytes:
        """Return a body that comes in chunks."""
        return b"".join(self.chunks())

    def chunks(self) -> Iterator[bytes]:
        """Yield the chunks of a body, as they come."""
        while True:
            while b"\r\n" not in self._buffer:
                self._more("the size of a chunk")
            size, _, self._buffer = self._buffer.partition(b"\r\n")
            length = int(size, 16)
            while len(self._buffer) < length + 2:
                self._more("the rest of a chunk")
            chunk = self._buffer[:length]
            self._buffer = self._buffer[length + 2 :]
            if not length:
                return
            yield chunk

    def closed(self) -> bool:
        """Wait for the server's end of the connection; False if anything else comes."""
        if self._buffer:
            return False
        try:
            return self.socket.recv(1) == b""
        except ConnectionResetError:
            return True

    def _more(self, what: str) -> None:
        try:
            data = self.socket.recv(65536)
        except TimeoutError:
            raise AssertionError(f"waited in vain for {what}; have {self._buffer[:200]!r}") from None
        assert data, f"the connection ended before {what}; have {self._buffer[:200]!r}"
        self._buffer += data
