"""Puts load on a cluster: so many connections, each with one request at a time.

Closed loop: a connection sends its next request when it has the answer to the last one. Open loop: requests
have a schedule, whatever the answers do, and a latency counts from the moment at which its request should
have been sent. So a cluster that stands still for a second makes all that should have been sent meanwhile
late, as it would be for users, and not one request alone ("coordinated omission", G. Tene).
"""

import asyncio
import contextlib
import json
import time
from collections.abc import Callable
from typing import Final

from ringkeep.cli.load.connection import Broken, Connection
from ringkeep.cli.load.route import Route
from ringkeep.cli.load.tally import INDETERMINATE, REJECTED, Tally
from ringkeep.cli.load.workload import Ask, Workload
from ringkeep.client.calls.requests import new_idempotency_key

PAUSE_S: Final = 0.05
"""After a failure: a node that refuses at once would be asked as fast as this process can."""
TELL_S: Final = 1.0
_FINE: Final = frozenset({200, 201, 204, 404})
_TITLES: Final = {429: "busy", 503: "unavailable", 504: "no answer from the primary", 507: "disk full"}


class Generator:
    """`rate`: requests per second of an open loop; None: a closed loop. `timeout_s`: of a request."""

    def __init__(
        self, workload: Workload, route: Route, *, connections: int, rate: float | None, timeout_s: float
    ) -> None:
        self._workload = workload
        self._route = route
        self._connections = connections
        self._rate = rate
        self._timeout_s = timeout_s
        self._query = b"?timeout=%dms" % max(1, int(timeout_s * 1_000))
        self._pools: list[dict[str, Connection]] = [{} for _ in range(connections)]
        self._warming = Tally()
        self._measured = Tally()
        self._begin = self._measure_from = self._end = 0.0
        self._ticks = 0
        self._stop = asyncio.Event()

    def stop(self) -> None:
        """End soon: what was sent is waited for."""
        self._stop.set()

    async def run(self, warm_up_s: float, seconds: float, on_second: Callable[[Tally], None]) -> Tally:
        """Put the load on for so long, and return what became of the requests that were to be sent behind
        the warm-up, also of those that are answered after its end."""
        self._begin = time.monotonic()
        self._measure_from = self._begin + warm_up_s
        self._end = self._measure_from + seconds
        workers = [asyncio.create_task(self._work(pool)) for pool in self._pools]
        teller = asyncio.create_task(self._tell(on_second))
        try:
            await self._sleep(warm_up_s)
            self._measured.start()
            await self._sleep(seconds)
            self._measured.finish()
            self._end = min(self._end, time.monotonic())
            if self._rate is not None:
                due = int((self._end - self._begin) * self._rate)
                self._measured.unsent = max(0, due - self._ticks)
            await asyncio.gather(*workers)
        finally:
            for task in (*workers, teller):
                task.cancel()
            for pool in self._pools:
                for connection in pool.values():
                    connection.close()
        return self._measured

    async def _sleep(self, seconds: float) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._stop.wait()

    async def _tell(self, on_second: Callable[[Tally], None]) -> None:
        while True:
            await asyncio.sleep(TELL_S)
            on_second(self._measured if time.monotonic() >= self._measure_from else self._warming)
            if self._route.is_due and (self._measured.errors or self._warming.errors):
                with contextlib.suppress(Broken, ValueError, LookupError):
                    await self._route.read_again(self._body)

    async def _body(self, endpoint: str, path: bytes) -> bytes:
        connection = await Connection.open(endpoint, self._timeout_s)
        try:
            return (await connection.ask(b"GET", path, b"", b"", self._timeout_s)).body
        finally:
            connection.close()

    # --- one connection -------------------------------------------------------------------------------

    async def _work(self, pool: dict[str, Connection]) -> None:
        while not self._stop.is_set():
            begin = now = time.monotonic()
            if self._rate is not None:
                begin = self._begin + self._ticks / self._rate
            if max(begin, now) >= self._end:
                return
            tally = self._warming if begin < self._measure_from else self._measured
            self._ticks += 1
            if begin > now:
                await asyncio.sleep(begin - now)
                tally.lag.add(time.monotonic() - begin)
            if not await self._perform(pool, self._workload.ask(), begin, tally):
                await asyncio.sleep(PAUSE_S)

    async def _perform(self, pool: dict[str, Connection], ask: Ask, begin: float, tally: Tally) -> bool:
        """Send a request, and count what becomes of it; return whether the node answered."""
        endpoint = self._route.to(ask.key)
        fields = b"Idempotency-Key: %b\r\n" % new_idempotency_key().encode() if ask.is_write else b""
        try:
            connection = pool.get(endpoint)
            if connection is None or connection.is_closed:
                connection = pool[endpoint] = await Connection.open(endpoint, self._timeout_s)
            reply = await connection.ask(
                ask.method, ask.path + self._query, fields, ask.body, self._timeout_s + 0.25
            )
        except Broken as broken:
            self._route.failed(endpoint)
            outcome = INDETERMINATE if broken.sent and ask.is_write else REJECTED
            tally.failed(ask.operation, outcome, str(broken))
            return False
        if reply.status not in _FINE:
            unknown = ask.is_write and _outcome(reply.body) == "unknown"
            what = f"{reply.status} {_TITLES.get(reply.status, '')}".strip()
            tally.failed(ask.operation, INDETERMINATE if unknown else REJECTED, what)
            return reply.status < 500 and reply.status != 429
        if ask.operation == "batch" and (failed := _failed(reply.body)):
            tally.failed(ask.operation, *failed)
            return False
        tally.missing += reply.status == 404
        tally.answered(ask.operation, ask.operations, time.monotonic() - begin)
        return True


def _outcome(body: bytes) -> str:
    try:
        return str(json.loads(body).get("outcome"))
    except (ValueError, AttributeError):
        return "unknown"


def _failed(body: bytes) -> tuple[str, str] | None:
    """Return what is wrong with the results of a batch: the worst of it."""
    if body.count(b'"status":20') == body.count(b'"status":'):
        return None  # the plain case, without reading all of it
    results = [each for each in json.loads(body)["results"] if each["status"] >= 300]
    worst = next((each for each in results if each.get("outcome") == "unknown"), results[0])
    outcome = INDETERMINATE if worst.get("outcome") == "unknown" else REJECTED
    return outcome, f"{worst['status']} in {len(results)} operations"
