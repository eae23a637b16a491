"""HTTP by hand, as a small program would speak it: one socket to a node, kept open, and no library.

Knows no retries, no time limits, no other nodes. Writes carry an Idempotency-Key, as those of the client do,
so that the nodes have as much to do for each.
"""

import socket
from binascii import hexlify
from itertools import count
from os import urandom

GET = b"GET /v1/kv/%b HTTP/1.1\r\nHost: %b\r\n\r\n"
PUT = b"PUT /v1/kv/%b HTTP/1.1\r\nHost: %b\r\nIdempotency-Key: %b-%d\r\nContent-Length: %d\r\n\r\n%b"
LENGTH = b"\r\ncontent-length: "


class Wrong(Exception):
    """The node answered something else."""


class Connection:
    """To one node."""

    def __init__(self, host: str, port: int) -> None:
        self._host = f"{host}:{port}".encode()
        self._socket = socket.create_connection((host, port))
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._name = hexlify(urandom(8))  # of writes: unlike those of any other connection
        self._writes = count()

    def get(self, key: bytes) -> bytes | None:
        status, body = self._ask(GET % (key, self._host))
        if status not in (200, 404):
            raise Wrong(f"{status}: {body[:200]!r}")
        return body if status == 200 else None

    def put(self, key: bytes, value: bytes) -> None:
        status, body = self._ask(PUT % (key, self._host, self._name, next(self._writes), len(value), value))
        if status not in (200, 201):
            raise Wrong(f"{status}: {body[:200]!r}")

    def _ask(self, request: bytes) -> tuple[int, bytes]:
        self._socket.sendall(request)
        answer = self._more(b"")
        while (end := answer.find(b"\r\n\r\n")) < 0:
            answer = self._more(answer)
        head = answer[: end + 2].lower()
        at = head.find(LENGTH)
        length = int(head[at + len(LENGTH) : head.index(b"\r\n", at + 2)]) if at >= 0 else 0
        while len(answer) < end + 4 + length:
            answer = self._more(answer)
        return int(answer[9:12]), answer[end + 4 :]

    def _more(self, answer: bytes) -> bytes:
        found = self._socket.recv(65_536)
        if not found:
            raise Wrong("the node closed the connection")
        return answer + found


class OneNode(Connection):
    """All calls go to the first node: it forwards those of keys that others lead."""

    def __init__(self, nodes: list[tuple[str, int]], homes: dict[str, int]) -> None:
        super().__init__(*nodes[0])


class Primaries:
    """Each call goes to the primary of its key, told beforehand: one connection to each node."""

    def __init__(self, nodes: list[tuple[str, int]], homes: dict[str, int]) -> None:
        connections = [Connection(*node) for node in nodes]
        self._home = {key.encode(): connections[home] for key, home in homes.items()}

    def get(self, key: bytes) -> bytes | None:
        return self._home[key].get(key)

    def put(self, key: bytes, value: bytes) -> None:
        self._home[key].put(key, value)
