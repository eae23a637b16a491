"""A small closed-loop load generator over raw sockets: keep-alive connections, one request at a time on each.

Every connection knows all endpoints. What fails on one is tried again on the next with the same bytes, so a
write carries its Idempotency-Key and is applied once. Counts retries, failures and mismatches, keeps every
latency, and the longest time in which nothing succeeded. Shared by the demo and by tests; knows HTTP only.
"""

import asyncio
import contextlib
import math
import time
from array import array
from collections import Counter
from collections.abc import Callable, Coroutine, Iterator
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple, TypeVar, cast
from urllib.parse import quote_from_bytes

ATTEMPT_S: Final = 8.0  # past the server's own deadline: only a node that is stopped or gone is this slow
REQUEST_S: Final = 60.0  # all attempts together; beyond, the request has failed
BACK_OFF_S: Final = 0.02  # after each endpoint refused once
HOME_AFTER_S: Final = 1.0  # how long a connection stays away from the endpoint that it began with
RETRY: Final = frozenset({429, 503, 504})
FAILURES_KEPT: Final = 20
T = TypeVar("T")


class Endpoint(NamedTuple):
    host: str
    port: int


class Reply(NamedTuple):
    status: int
    etag: bytes
    body: bytes


class Broken(Exception):
    """The connection ended before the answer, or the answer is not HTTP that we understand."""


@dataclass(slots=True)
class Job:
    """One request. `accept` says what is wrong with a final answer, None when it is right."""

    method: bytes
    path: bytes
    accept: Callable[[Reply], str | None]
    headers: bytes = b""
    body: bytes = b""
    via: int | None = None  # the endpoint that must answer, None for any


def key_path(key: bytes) -> bytes:
    return b"/v1/kv/" + quote_from_bytes(key, safe="").encode("ascii")


def put_job(key: bytes, value: bytes, idempotency: str) -> Job:
    """A write that may be repeated."""

    def accept(reply: Reply) -> str | None:
        return None if reply.status in (200, 201) else f"answered {reply.status}: {reply.body[:200]!r}"

    return Job(b"PUT", key_path(key), accept, f"Idempotency-Key: {idempotency}\r\n".encode("ascii"), value)


def get_job(key: bytes, value: bytes, via: int | None = None) -> Job:
    """A read that must find exactly these bytes."""

    def accept(reply: Reply) -> str | None:
        if reply.status != 200:
            return f"answered {reply.status}: {reply.body[:200]!r}"
        return (
            None if reply.body == value else f"{len(reply.body)} bytes differ from the {len(value)} written"
        )

    return Job(b"GET", key_path(key), accept, via=via)


@dataclass
class Tally:
    """What happened. Times in seconds.

    `longest_pause`: between two successes, over all connections together. `slowest`: one request, all of its
    attempts included.
    """

    done: int = 0
    retries: Counter[str] = field(default_factory=Counter)
    failures: list[str] = field(default_factory=list)
    failed: int = 0
    latencies: "array[float]" = field(default_factory=lambda: array("d"))
    longest_pause: float = 0.0
    began: float = field(default_factory=time.monotonic)
    latest: float = 0.0

    def resume(self) -> None:
        """Start the clock of the pause anew: nothing was asked for meanwhile."""
        self.latest = time.monotonic()

    def success(self, took: float) -> None:
        now = time.monotonic()
        if self.latest:
            self.longest_pause = max(self.longest_pause, now - self.latest)
        self.latest = now
        self.done += 1
        self.latencies.append(took)

    def failure(self, what: str) -> None:
        self.failed += 1
        if len(self.failures) < FAILURES_KEPT:
            self.failures.append(what)

    @property
    def slowest(self) -> float:
        return max(self.latencies, default=0.0)

    @property
    def rate(self) -> float:
        return self.done / max(self.latest - self.began, 1e-9)


@dataclass
class Dated(Tally):
    """A tally that knows when each answer came, in seconds of the monotonic clock."""

    at: "array[float]" = field(default_factory=lambda: array("d"))

    def success(self, took: float) -> None:
        super().success(took)
        self.at.append(self.latest)

    def between(self, begin: float, end: float) -> list[float]:
        """Return the latencies of what was answered in that time."""
        return [took for at, took in zip(self.at, self.latencies, strict=True) if begin <= at < end]


def percentile(values: "array[float] | list[float]", share: float) -> float:
    """Return the smallest value that at least `share` (0 to 1) of them do not exceed; 0 of nothing."""
    ordered = sorted(values)
    if not ordered:
        return 0.0
    return ordered[max(math.ceil(len(ordered) * share), 1) - 1]


class Connection(asyncio.Protocol):
    """One keep-alive connection; `ask` is not called again before it has returned."""

    def __init__(self) -> None:
        self._buffer = bytearray()
        self._answer: asyncio.Future[Reply] | None = None
        self._transport: asyncio.WriteTransport | None = None
        self.closed = False

    @classmethod
    async def open(cls, endpoint: Endpoint) -> "Connection":
        """Raises OSError."""
        _, connection = await asyncio.get_running_loop().create_connection(cls, endpoint.host, endpoint.port)
        return connection

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(
            asyncio.WriteTransport, transport
        )  # uvloop's own classes do not derive from it

    def connection_lost(self, exc: Exception | None) -> None:
        self._end(str(exc) if exc else "connection closed")

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        head_end = self._buffer.find(b"\r\n\r\n")
        if head_end < 0:
            return
        lines = bytes(self._buffer[:head_end]).split(b"\r\n")
        fields = {}
        for line in lines[1:]:
            name, _, value = line.partition(b":")
            fields[name.strip().lower()] = value.strip()
        status = lines[0][9:12]
        if not status.isdigit() or b"transfer-encoding" in fields:
            self._end("not an answer that we understand")
            return
        length = 0 if status in (b"204", b"304") else int(fields.get(b"content-length", b"0"))
        end = head_end + 4 + length
        if len(self._buffer) < end:
            return
        body = bytes(self._buffer[head_end + 4 : end])
        del self._buffer[:end]
        answer, self._answer = self._answer, None
        if answer is not None and not answer.done():
            answer.set_result(Reply(int(status), fields.get(b"etag", b""), body))
        if fields.get(b"connection", b"").lower() == b"close":
            self._end("closed by the server")

    async def ask(self, request: bytes) -> Reply:
        """Raises Broken, TimeoutError."""
        if self.closed or self._transport is None:
            raise Broken("connection closed")
        self._answer = asyncio.get_running_loop().create_future()
        self._transport.write(request)
        async with asyncio.timeout(ATTEMPT_S):
            return await self._answer

    def close(self) -> None:
        self.closed = True
        if self._transport is not None:
            self._transport.abort()

    def _end(self, why: str) -> None:
        self.close()
        if self._answer is not None and not self._answer.done():
            self._answer.set_exception(Broken(why))
        self._answer = None


class _Worker:
    """One connection at a time, moved to the next endpoint when the present one fails."""

    def __init__(self, endpoints: list[Endpoint], home: int, tally: Tally) -> None:
        self._endpoints = endpoints
        self._home = self._at = home % len(endpoints)
        self._left_home = 0.0
        self._connection: Connection | None = None
        self._tally = tally

    async def perform(self, job: Job) -> None:
        began = time.monotonic()
        attempts = 0
        last = ""
        while time.monotonic() - began < REQUEST_S:
            self._choose(job.via)
            reply, last = await self._attempt(job)
            if reply is not None and reply.status not in RETRY:
                wrong = job.accept(reply)
                if wrong is None:
                    self._tally.success(time.monotonic() - began)
                else:
                    self._tally.failure(f"{job.method.decode()} {job.path.decode()} {wrong}")
                return
            self._tally.retries[last] += 1
            attempts += 1
            self._move(job.via)
            if attempts % len(self._endpoints) == 0 or job.via is not None:
                await asyncio.sleep(BACK_OFF_S)
        self._tally.failure(
            f"{job.method.decode()} {job.path.decode()} gave up after {attempts} tries: {last}"
        )

    async def _attempt(self, job: Job) -> tuple[Reply | None, str]:
        endpoint = self._endpoints[self._at]
        try:
            if self._connection is None or self._connection.closed:
                self._connection = await Connection.open(endpoint)
            head = b"%b %b HTTP/1.1\r\nHost: %b:%d\r\n%bContent-Length: %d\r\n\r\n" % (
                job.method,
                job.path,
                endpoint.host.encode("ascii"),
                endpoint.port,
                job.headers,
                len(job.body),
            )
            reply = await self._connection.ask(head + job.body)
        except OSError as error:  # a timeout is one as well
            self._drop()
            return None, "timeout" if isinstance(error, TimeoutError) else type(error).__name__
        except Broken:
            self._drop()
            return None, "connection lost"
        return reply, str(reply.status)

    def _choose(self, via: int | None) -> None:
        """Go where the job has to go, or home once that has had time to come back."""
        target = self._at
        if via is not None:
            target = via
        elif self._at != self._home and time.monotonic() - self._left_home > HOME_AFTER_S:
            target = self._home
        if target != self._at:
            self._drop()
            self._at = target

    def _move(self, via: int | None) -> None:
        if via is None:
            if self._at == self._home:
                self._left_home = time.monotonic()
            self._drop()
            self._at = (self._at + 1) % len(self._endpoints)

    def _drop(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    async def run(self, jobs: Iterator[Job], pace: "Pace") -> None:
        try:
            while True:
                await pace.wait()
                job = next(jobs, None)
                if job is None:
                    return
                await self.perform(job)
        finally:
            self._drop()


class Pace:
    """Lets jobs start: at most `rate` a second (None: as fast as they go), none while the gate is shut."""

    def __init__(self, rate: float | None = None) -> None:
        self._gap = 1 / rate if rate else 0.0
        self._next = time.monotonic()
        self.gate = asyncio.Event()
        self.gate.set()

    async def wait(self) -> None:
        await self.gate.wait()
        if self._gap:
            now = time.monotonic()
            at = self._next = max(self._next + self._gap, now)
            await asyncio.sleep(at - now)


async def run(
    endpoints: list[Endpoint],
    jobs: Iterator[Job],
    tally: Tally,
    *,
    connections: int = 64,
    pace: Pace | None = None,
) -> None:
    """Do all jobs. What went wrong is in the tally; raises nothing of its own."""
    shared = pace or Pace()
    workers = [_Worker(endpoints, home, tally) for home in range(connections)]
    async with asyncio.TaskGroup() as group:
        for worker in workers:
            group.create_task(worker.run(jobs, shared))


def drive(main: Coroutine[Any, Any, T]) -> T:
    """Run on uvloop where it is installed."""
    with contextlib.suppress(ImportError):
        import uvloop

        return uvloop.run(main)
    return asyncio.run(main)
