"""Sends requests for the blocking client, with urllib3: one pool of connections for each endpoint, which
threads share. Why urllib3: ADR 11.
"""

import contextlib
import os
import socket
import time
from typing import Final

import urllib3
from urllib3.exceptions import (
    ConnectTimeoutError,
    HTTPError,
    NewConnectionError,
    ReadTimeoutError,
)

from ringkeep.client.calls.exchange import GRACE_S, Failure, Response, Send

_CHUNK: Final = 1 << 16
_NOT_SENT: Final = (NewConnectionError, ConnectTimeoutError)  # the first: also a name that does not resolve


class Stream:
    """A body that is read as it comes."""

    def __init__(self, answer: urllib3.BaseHTTPResponse) -> None:
        self._answer = answer
        self._chunks = answer.stream(_CHUNK)
        connection = answer.connection
        self._socket = getattr(connection, "sock", None)

    def read(self, silence_s: float) -> bytes:
        """Return the next bytes; b"" at the end, whether it is complete or not, and after so much silence."""
        try:
            if self._socket is not None:
                self._socket.settimeout(silence_s)
            return next(self._chunks, b"")
        except (HTTPError, OSError, ValueError, AttributeError):  # the last two: it was closed meanwhile
            return b""

    def close(self) -> None:
        """End it. Any thread may call this: a `read` that waits returns."""
        with contextlib.suppress(OSError):
            if self._socket is not None:
                self._socket.shutdown(socket.SHUT_RDWR)
        self._answer.close()


class Urllib3Transport:
    """Safe for threads. `connections`: to each endpoint, kept open."""

    def __init__(self, connections: int) -> None:
        self._connections = connections
        self._process = os.getpid()
        self._pools = self._new_pools()

    def _new_pools(self) -> urllib3.PoolManager:
        return urllib3.PoolManager(num_pools=1_024, maxsize=self._connections, block=False, retries=False)

    def close(self) -> None:
        """Close every connection that is not in use."""
        self._pools.clear()

    def send(self, action: Send) -> Response | Failure:
        """Send once, and wait for the whole answer."""
        if os.getpid() != self._process:  # after a fork: two processes must not read from one connection
            self._process, self._pools = os.getpid(), self._new_pools()
        request = action.request
        left = action.until - time.monotonic()
        if left <= 0:
            return Failure("there was no time left to send it", sent=False)
        timeout = urllib3.Timeout(connect=action.connect_s, read=left + GRACE_S)
        headers = dict(request.headers)
        if request.idempotency_key:
            headers["Idempotency-Key"] = request.idempotency_key
        try:
            answer = self._pools.connection_from_url(action.endpoint).urlopen(
                request.method, request.target(max(1, int(left * 1_000))), request.body or None, headers,
                timeout=timeout, retries=False, redirect=False, decode_content=False,
                preload_content=not request.streamed,
            )  # fmt: skip
            said = {name.lower(): value for name, value in answer.headers.items()}
            if request.streamed and answer.status == 200:
                return Response(answer.status, said, b"", Stream(answer))
            return Response(answer.status, said, answer.data)
        except _NOT_SENT as error:
            return Failure(f"{action.endpoint} cannot be reached: {error}", sent=False)
        except ReadTimeoutError:
            return Failure(f"{action.endpoint} did not answer in time", sent=True)
        except (HTTPError, OSError) as error:
            return Failure(f"{action.endpoint} did not answer: {error}", sent=True)
