"""What clients feel: a closed loop of reads and writes in a process of its own, and its latencies by time."""

import multiprocessing
import os
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Final

from harness.load import Dated, Endpoint, Job, drive, get_job, percentile, put_job, run

VALUE: Final = b"b" * 100
LEAST: Final = 200  # answers of a second whose p99 says something


@dataclass(frozen=True, slots=True)
class Felt:
    """The latencies of a time, in milliseconds."""

    requests: int
    rate: float
    p50: float
    p99: float
    worst: float

    def text(self) -> str:
        return (
            f"{self.requests:,} requests, {self.rate:,.0f}/s, p50 {self.p50:.1f} ms, p99 {self.p99:.1f} ms, "
            f"worst {self.worst:.0f} ms"
        )


def felt(tally: Dated, begin: float, end: float) -> Felt:
    """Return what clients felt in that time."""
    took = tally.between(begin, end)
    p50, p99, worst = (1_000 * percentile(took, share) for share in (0.5, 0.99, 1.0))
    return Felt(len(took), len(took) / max(end - begin, 1e-9), p50, p99, worst)


def worst_second(tally: Dated, begin: float, end: float) -> float:
    """Return the highest p99 of a whole second in that time, in milliseconds; 0 if there is none."""
    seconds = [tally.between(begin + at, begin + at + 1) for at in range(int(end - begin))]
    return max((1_000 * percentile(each, 0.99) for each in seconds if len(each) >= LEAST), default=0.0)


class Clients:
    """The loop, from the start to `stop`: half reads, half writes of `keys`, over so many connections."""

    def __init__(self, endpoints: list[Endpoint], keys: list[bytes], connections: int) -> None:
        context = multiprocessing.get_context("spawn")
        self._over = context.Event()
        self._results, results = context.Pipe(duplex=False)
        job = endpoints, keys, connections, self._over, results
        self._process = context.Process(target=_run, args=job, daemon=True)
        self._process.start()
        results.close()  # so that its end is noticed here, should it fail

    def stop(self) -> Dated:
        """Raises EOFError if it had failed."""
        self._over.set()
        tally: Dated = self._results.recv()
        self._process.join()
        return tally


def _jobs(keys: list[bytes], is_over: Callable[[], bool]) -> Iterator[Job]:
    chosen, number = random.Random(7), 0
    while not is_over():
        number += 1
        key = chosen.choice(keys)
        if number % 2:
            yield get_job(key, VALUE)
        else:
            yield put_job(key, VALUE, f"beside-{os.getpid()}-{number}")


def _run(endpoints: list[Endpoint], keys: list[bytes], connections: int, over: Any, results: Any) -> None:
    tally = Dated()
    drive(
        run(endpoints, iter([put_job(key, VALUE, f"first-{key!r}") for key in keys]), tally, connections=16)
    )
    drive(run(endpoints, _jobs(keys, over.is_set), tally, connections=connections))
    results.send(tally)
