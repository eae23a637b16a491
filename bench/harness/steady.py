"""A steady load beside whatever else happens: reads and writes of keys of its own, each read checked.

Runs in a thread of its own with its own event loop, at a fixed rate, over a few connections to each node that
is in use. What a client must know of a cluster that changes is told to it: `use`, `forget`.
"""

import asyncio
import random
import threading
import uuid
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final

from harness.load import Endpoint, Job, Pace, Reply, Tally, get_job, percentile, put_job, run

CONNECTIONS_EACH: Final = 4
KEYS: Final = 500
VALUE_BYTES: Final = 100


@dataclass
class Phase:
    """What clients felt from one mark to the next. Seconds."""

    name: str
    latencies: list[float] = field(default_factory=list)
    longest_pause: float = 0.0
    tried_again: int = 0
    failed: int = 0

    def percentile_ms(self, share: float) -> float:
        return 1_000 * percentile(self.latencies, share)


class Ledger:
    """What was acknowledged of every key. Each has one request at a time, so a read has one right answer."""

    def __init__(self) -> None:
        self._random = random.Random(uuid.uuid4().int)
        self._batch = uuid.uuid4().hex
        self._number = 0
        self._free = deque(b"steady/%04d" % number for number in range(KEYS))
        self.values: dict[bytes, bytes] = {}

    def next_job(self) -> Job:
        """Return a read or a write of a key that has no request under way."""
        key = self._free.popleft()
        self._number += 1
        known = self.values.get(key)
        if known is not None and self._random.random() < 0.5:
            job, value = get_job(key, known), known
        else:
            value = self._random.randbytes(VALUE_BYTES)
            job = put_job(key, value, f"{self._batch}-{self._number}")
        accept = job.accept

        def accept_and_note(reply: Reply) -> str | None:
            wrong = accept(reply)
            if wrong is None:
                self.values[key] = value
                self._free.append(key)  # of a request that failed nobody knows what is there now
            return wrong

        job.accept = accept_and_note
        return job


class Steady:
    """The load. Use as a context; `phases` and `contents` are complete when it is over."""

    def __init__(self, endpoints: list[Endpoint], rate: float) -> None:
        self.tally = Tally()
        self.phases: list[Phase] = []
        self._ledger = Ledger()
        self._first = list(endpoints)
        self._ways: dict[Endpoint, list[Endpoint]] = {}  # of each node in use: itself, then where else to try
        self._pace = Pace(rate)
        self._tasks: list[asyncio.Task[None]] = []
        self._marked = (0, 0, 0)  # requests, retries, failures when the phase began
        self._error: BaseException | None = None
        self._runs = threading.Event()
        self._thread = threading.Thread(target=self._main, name="steady load", daemon=True)

    def __enter__(self) -> "Steady":
        self._thread.start()
        self._runs.wait()
        for endpoint in self._first:
            self.use(endpoint)
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._over.set)
        self._thread.join()
        if self._error is not None:
            raise self._error

    @property
    def contents(self) -> dict[bytes, bytes]:
        """What must be in the store by now."""
        return dict(self._ledger.values)

    def use(self, endpoint: Endpoint) -> None:
        """Begin to send requests to this node as well."""
        self._loop.call_soon_threadsafe(self._begin, endpoint)

    def forget(self, endpoint: Endpoint) -> None:
        """Send none to this node any more, after those under way."""
        self._loop.call_soon_threadsafe(self._end, endpoint)

    def mark(self, name: str) -> None:
        """Begin a phase, and end the one before."""
        asyncio.run_coroutine_threadsafe(self._mark(name), self._loop).result()

    # --- in the thread ------------------------------------------------------------------------------------

    def _main(self) -> None:
        try:
            asyncio.run(self._serve())
        except BaseException as error:
            self._error = error

    async def _serve(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._over = asyncio.Event()
        self._runs.set()
        await self._over.wait()
        self._ways.clear()
        await asyncio.gather(*self._tasks)
        self._close_phase()

    def _begin(self, endpoint: Endpoint) -> None:
        way = [endpoint, *self._ways]
        for other in self._ways.values():
            other.append(endpoint)
        self._ways[endpoint] = way
        for _ in range(CONNECTIONS_EACH):
            # One connection each: several would be at home on different nodes.
            work = run(way, self._jobs(endpoint), self.tally, connections=1, pace=self._pace)
            self._tasks.append(asyncio.create_task(work))

    def _end(self, endpoint: Endpoint) -> None:
        del self._ways[endpoint]
        for home, way in self._ways.items():
            way[way.index(endpoint)] = home  # in place: connections have their places in the list

    def _jobs(self, endpoint: Endpoint) -> Iterator[Job]:
        while endpoint in self._ways:
            yield self._ledger.next_job()

    async def _mark(self, name: str) -> None:
        self._close_phase()
        tally = self.tally
        self._marked = tally.done, sum(tally.retries.values()), tally.failed
        tally.longest_pause = 0.0
        self.phases.append(Phase(name))

    def _close_phase(self) -> None:
        if not self.phases:
            return
        phase, tally = self.phases[-1], self.tally
        done, retries, failed = self._marked
        phase.latencies = list(tally.latencies[done:])
        phase.longest_pause = tally.longest_pause
        phase.tried_again = sum(tally.retries.values()) - retries
        phase.failed = tally.failed - failed
