"""Sends requests for the asynchronous client, with aiohttp. Why aiohttp: ADR 11."""

import asyncio
import time
from typing import Any, Final

import aiohttp
from yarl import URL

from ringkeep.client.calls.exchange import GRACE_S, Failure, Response, Send

_UNASKED: Final = ("Accept", "Accept-Encoding", "Content-Type", "User-Agent")


def _noting_what_was_sent() -> aiohttp.TraceConfig:
    async def note(
        session: aiohttp.ClientSession, context: Any, sent: aiohttp.TraceRequestHeadersSentParams
    ) -> None:
        context.trace_request_ctx.append(True)

    tracing = aiohttp.TraceConfig()
    tracing.on_request_headers_sent.append(note)
    return tracing


class Stream:
    """A body that is read as it comes."""

    def __init__(self, answer: aiohttp.ClientResponse) -> None:
        self._answer = answer

    async def read(self, silence_s: float) -> bytes:
        """Return the next bytes; b"" at the end, whether it is complete or not, and after so much silence."""
        try:
            async with asyncio.timeout(silence_s):
                return await self._answer.content.readany()
        except (aiohttp.ClientError, OSError, TimeoutError):
            return b""

    def close(self) -> None:
        """End it."""
        self._answer.close()


class AiohttpTransport:
    """To be used from one event loop. `connections`: to each endpoint, kept open; what is beyond waits."""

    def __init__(self, connections: int) -> None:
        self._connections = connections
        self._rooms: dict[str, asyncio.Semaphore] = {}
        self._session: aiohttp.ClientSession | None = None

    async def close(self) -> None:
        """Close every connection."""
        session, self._session = self._session, None
        if session is not None:
            await session.close()

    async def send(self, action: Send) -> Response | Failure:
        """Send once, as soon as there is a connection, and wait for the whole answer."""
        room = self._rooms.get(action.endpoint)
        if room is None:
            room = self._rooms[action.endpoint] = asyncio.Semaphore(self._connections)
        if room.locked():
            try:
                async with asyncio.timeout(action.until - time.monotonic()):
                    await room.acquire()
            except TimeoutError:
                return Failure(
                    f"all {self._connections} connections to {action.endpoint} are in use", sent=False
                )
        else:
            await room.acquire()
        try:
            return await self._exchange(action)
        finally:
            room.release()

    async def _exchange(self, action: Send) -> Response | Failure:
        request = action.request
        left = action.until - time.monotonic()
        if left <= 0:
            return Failure("there was no time left to send it", sent=False)
        headers = dict(request.headers)
        if request.idempotency_key:
            headers["Idempotency-Key"] = request.idempotency_key
        url = URL(action.endpoint + request.target(max(1, int(left * 1_000))), encoded=True)
        timeout = aiohttp.ClientTimeout(total=None, sock_connect=action.connect_s)
        sent: list[bool] = []  # not empty once the head has left: aiohttp repeats some requests by itself
        try:
            async with asyncio.timeout(left + GRACE_S):
                answer = await self._open().request(
                    request.method, url, data=request.body or None, headers=headers, timeout=timeout,
                    allow_redirects=False, skip_auto_headers=_UNASKED, trace_request_ctx=sent,
                )  # fmt: skip
                said = {name.lower(): value for name, value in answer.headers.items()}
                if request.streamed and answer.status == 200:
                    return Response(answer.status, said, b"", Stream(answer))
                async with answer:
                    return Response(answer.status, said, await answer.read())
        except (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError) as error:
            return Failure(f"{action.endpoint} cannot be reached: {error}", sent=bool(sent))
        except TimeoutError:
            return Failure(f"{action.endpoint} did not answer in time", sent=True)
        except aiohttp.ClientResponseError as error:  # its text has the URL, and so the key
            return Failure(f"{action.endpoint} answered what is no HTTP: {error.message}", sent=True)
        except (aiohttp.ClientError, OSError) as error:
            return Failure(f"{action.endpoint} did not answer: {error!r}", sent=True)

    def _open(self) -> aiohttp.ClientSession:
        if self._session is None:
            self._session = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(limit=0, limit_per_host=0, ttl_dns_cache=10),
                cookie_jar=aiohttp.DummyCookieJar(),
                auto_decompress=False,
                trace_configs=[_noting_what_was_sent()],
            )
        return self._session
