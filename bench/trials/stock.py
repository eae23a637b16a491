"""The stock of a trial: keys that are loaded once, by batches, and stay as they are; in order of numbers."""

import asyncio
import json
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

from harness.cluster import Trouble
from harness.load import Broken, Connection, Endpoint

BATCH: Final = 500
CONNECTIONS_EACH: Final = 2  # to each node
GIVE_UP_S: Final = 60.0  # of one batch
PAUSE_S: Final = 0.05
SURE_S: Final = 0.5  # within which the time is known at which a batch is due
DONE: Final = (b'"status":201', b'"status":200')
RETRY: Final = frozenset({429, 503, 504})


@dataclass(frozen=True, slots=True)
class Stock:
    """`count` keys, each `prefix` and a number; values of `value_bytes`. `atomic`: all are in one slot."""

    prefix: str
    count: int
    value_bytes: int = 100
    atomic: bool = False

    def key(self, number: int) -> str:
        return f"{self.prefix}{number:08d}"

    def keys(self) -> list[bytes]:
        """Return all keys, in order."""
        return [self.key(number).encode() for number in range(self.count)]

    def value(self, number: int) -> str:
        return f"{number:08d}-".ljust(self.value_bytes, "v")

    def puts(self, numbers: range, ttl_ms: int | None) -> bytes:
        """Return the body of a batch that writes these keys."""
        ttl = f',"ttl":"{ttl_ms}ms"' if ttl_ms is not None else ""
        operations = ",".join(
            f'{{"op":"put","key":"{self.key(number)}","value":"{self.value(number)}"{ttl}}}'
            for number in numbers
        )
        return f'{{"atomic":{"true" if self.atomic else "false"},"operations":[{operations}]}}'.encode()

    def gets(self, numbers: range) -> bytes:
        """Return the body of a batch that reads these keys."""
        operations = ",".join(f'{{"op":"get","key":"{self.key(number)}"}}' for number in numbers)
        return f'{{"operations":[{operations}]}}'.encode()


@dataclass(slots=True)
class Loaded:
    """How a load went. `due_first`, `due_last`: bounds of the times at which the keys are due, by the
    monotonic clock of this process: not before the request was sent plus its ttl, nor after the answer came.
    """

    seconds: float = 0.0
    due_first: float = float("inf")
    due_last: float = 0.0
    repeated: int = 0  # batches of which a part was refused
    slow: int = 0  # batches that were written again, because it was not sure when they are due


async def load(
    endpoints: list[Endpoint], stock: Stock, numbers: range | None = None, due_at: float | None = None
) -> Loaded:
    """Write the stock, or these of its keys; all due at `due_at` of the monotonic clock. Raises Trouble."""
    wanted, found = numbers or range(stock.count), Loaded()
    batches = (wanted[at : at + BATCH] for at in range(0, len(wanted), BATCH))
    began = time.monotonic()
    ways = endpoints * CONNECTIONS_EACH
    await asyncio.gather(*(_load_through(endpoint, stock, batches, due_at, found) for endpoint in ways))
    found.seconds = time.monotonic() - began
    return found


async def read(endpoints: list[Endpoint], stock: Stock, every: int) -> None:
    """Read every so many-th key of the stock, so that what is read is in the caches. Raises Trouble."""
    wanted = range(0, stock.count, every)
    batches = (wanted[at : at + BATCH] for at in range(0, len(wanted), BATCH))

    async def through(endpoint: Endpoint) -> None:
        connection = await Connection.open(endpoint)
        for batch in batches:
            reply = await connection.ask(_request(endpoint, stock.gets(batch)))
            if reply.status != 200 or reply.body.count(DONE[1]) != len(batch):
                raise Trouble(f"a batch of reads is answered with {reply.status}: {reply.body[:300]!r}")
        connection.close()

    await asyncio.gather(*map(through, endpoints))


def _request(endpoint: Endpoint, body: bytes) -> bytes:
    head = f"POST /v1/batch?timeout=5s HTTP/1.1\r\nHost: {endpoint.host}:{endpoint.port}\r\n"
    return f"{head}Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body


async def _load_through(
    endpoint: Endpoint, stock: Stock, batches: Iterator[range], due_at: float | None, found: Loaded
) -> None:
    connection = await Connection.open(endpoint)
    for batch in batches:
        give_up_at = time.monotonic() + GIVE_UP_S
        while True:
            sent = time.monotonic()
            ttl_ms = None if due_at is None else round(1_000 * (due_at - sent))
            if ttl_ms is not None and ttl_ms < 1_000:
                raise Trouble("the keys are due before all of them are loaded; give the load more time")
            try:
                reply = await connection.ask(_request(endpoint, stock.puts(batch, ttl_ms)))
            except (Broken, TimeoutError) as error:
                raise Trouble(f"loading: {error!r}") from None
            if reply.status == 200 and sum(map(reply.body.count, DONE)) == len(batch):
                took = time.monotonic() - sent
                if ttl_ms is not None and took > SURE_S:
                    found.slow += 1
                    continue
                if ttl_ms is not None:
                    found.due_first = min(found.due_first, sent + ttl_ms / 1_000)
                    found.due_last = max(found.due_last, sent + took + ttl_ms / 1_000)
                break
            _check_refused(reply.status, reply.body)
            if time.monotonic() > give_up_at:
                raise Trouble(f"loading: refused for {GIVE_UP_S:.0f} s: {reply.body[:300]!r}")
            found.repeated += 1
            await asyncio.sleep(PAUSE_S)
    connection.close()


def _check_refused(status: int, body: bytes) -> None:
    """Raise Trouble for what repeating does not mend."""
    results: list[dict[str, Any]] = json.loads(body)["results"] if status == 200 else []
    others = {each["status"] for each in results} - {200, 201} if results else {status}
    if not others <= RETRY:
        raise Trouble(f"loading: answered {status}: {body[:300]!r}")
