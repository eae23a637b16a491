"""The closed loop around a client: the same for all, once for clients that block and once for the others.

Runs in the environment of any client library: knows none, and nothing of the rest of bench/.
"""

import time
from array import array
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import cycle
from typing import Any, Final, Protocol

VALUE_BYTES: Final = 128


class Blocking(Protocol):
    """A client of any store. An answer that is no success is an exception."""

    def get(self, key: bytes) -> bytes | None: ...
    def put(self, key: bytes, value: bytes) -> None: ...


class Asynchronous(Protocol):
    """The same, awaited."""

    async def get(self, key: bytes) -> bytes | None: ...
    async def put(self, key: bytes, value: bytes) -> None: ...


def key_of(number: int) -> bytes:
    return b"key-%08d" % number


def value_of(number: int, generation: int) -> bytes:
    return (b"%08d-%06d-" % (number, generation)).ljust(VALUE_BYTES, b"v")


@dataclass(slots=True)
class Work:
    """What is to be done: keys one after the other, from the first, with the values that are written or must
    be there."""

    load: str
    keys: Sequence[bytes]
    values: Sequence[bytes]

    @classmethod
    def of(cls, load: str, generations: Sequence[int]) -> "Work":
        """`generations`: of each key, by its number."""
        numbers = range(len(generations))
        values = [value_of(number, generations[number]) for number in numbers]
        return cls(load, [key_of(number) for number in numbers], values)


@dataclass(slots=True)
class Tally:
    """What came of it: the seconds of each call, and what was wrong."""

    latencies: "array[float]" = field(default_factory=lambda: array("d"))
    faults: int = 0
    fault: str = ""

    def wrong(self, what: str) -> None:
        self.faults += 1
        self.fault = self.fault or what

    def check(self, key: bytes, found: bytes | None, wanted: bytes) -> None:
        """Count a value that is not the one that was written last."""
        if found != wanted:
            self.wrong(f"{key!r} holds {found!r}, not {wanted!r}")

    def percentile_ms(self, share: float) -> float:
        ordered = sorted(self.latencies)
        return 1_000 * ordered[min(int(share * len(ordered)), len(ordered) - 1)]


def one_by_one(client: Blocking, work: Work, seconds: float, least: int) -> dict[str, Any]:
    """Call until the time is over and there were `least` calls; return the figures of one run."""
    tally, reads = Tally(), work.load == "get"
    cpu, began = time.process_time(), time.perf_counter()
    now, end = began, began + seconds
    for number in cycle(range(len(work.keys))):
        key, value = work.keys[number], work.values[number]
        try:
            if reads:
                tally.check(key, client.get(key), value)
            else:
                client.put(key, value)
        except Exception as error:  # of any library
            tally.wrong(repr(error))
        before, now = now, time.perf_counter()
        tally.latencies.append(now - before)
        if now >= end and len(tally.latencies) >= least:
            break
    return _figures(tally, now - began, time.process_time() - cpu)


async def side_by_side(
    client: Asynchronous, work: Work, seconds: float, least: int, tasks: int
) -> dict[str, Any]:
    """The same with so many tasks, which take the keys in turn."""
    from asyncio import gather  # a process of a client that blocks has none of it in memory

    tally, numbers = Tally(), cycle(range(len(work.keys)))
    cpu, began = time.process_time(), time.perf_counter()
    await gather(*(_task(client, work, tally, numbers, began + seconds, least) for _ in range(tasks)))
    return _figures(tally, time.perf_counter() - began, time.process_time() - cpu)


async def _task(
    client: Asynchronous, work: Work, tally: Tally, numbers: Iterator[int], end: float, least: int
) -> None:
    reads, now = work.load == "get", time.perf_counter()
    for number in numbers:
        key, value = work.keys[number], work.values[number]
        try:
            if reads:
                tally.check(key, await client.get(key), value)
            else:
                await client.put(key, value)
        except Exception as error:  # of any library
            tally.wrong(repr(error))
        before, now = now, time.perf_counter()
        tally.latencies.append(now - before)
        if now >= end and len(tally.latencies) >= least:
            return


def _figures(tally: Tally, seconds: float, cpu_s: float) -> dict[str, Any]:
    return {
        "calls": len(tally.latencies),
        "seconds": seconds,
        "cpu_s": cpu_s,
        "p50_ms": tally.percentile_ms(0.5),
        "p99_ms": tally.percentile_ms(0.99),
        "faults": tally.faults,
        "fault": tally.fault,
    }
