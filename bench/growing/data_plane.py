"""Measures the points of a dimension on real clusters, one cluster at a time."""

import shutil
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from generator import Order
from growing.dimensions import KIB, Dimension, Point
from harness.cluster import Trouble
from harness.load import drive
from harness.resources import cpu_s
from peers import Bench
from reporting.figures import Figure
from reporting.report import Sample
from systems import Ringkeep
from trials import stock

LOADS: Final = ("put", "get")
BATCHED_BYTES: Final = KIB  # of a value at most, for batches to be loaded
LOADERS: Final = 16  # connections that load larger ones
WARM_UP_S: Final = 1.0
SETTLED: Final = 0.5  # of one processor, for all servers together: what a load has left to do is done
SETTLE_S: Final = 60.0  # at most


@dataclass(frozen=True, slots=True)
class Loaded(stock.Stock):
    """Keys and values as the generator writes them, which checks what it reads."""

    generation: int = 0

    def value(self, number: int) -> str:
        return f"{number:08d}-{self.generation:06d}-{1:08d}-".ljust(self.value_bytes, "v")[: self.value_bytes]


class Measuring:
    """One dimension under way: the cluster that runs, and what is in it."""

    def __init__(self, program: Path, data: Path, seconds: float) -> None:
        self._program = program
        self._data = data
        self._seconds = seconds
        self._system: Ringkeep | None = None
        self._cluster: tuple[int, int] | None = None
        self._keys, self._value_bytes = 0, 0
        self._warm: Point | None = None
        self._generation = 0

    def run(self, dimension: Dimension, rounds: int) -> list[Figure]:
        """Return a figure for each load, whose systems are the points.

        A point that fails is left out, and the dimension says why.
        """
        found = {load: Figure(load, 0, [{} for _ in range(rounds)]) for load in LOADS}
        points = list(dimension.points)
        order = [(point, number) for point in points for number in range(rounds)]
        if not dimension.upwards:
            order = [(p, n) for n in range(rounds) for p in (points[::-1] if n % 2 else points)]
        try:
            for point, number in order:
                if point.at in dimension.left_out:
                    continue
                try:
                    samples = self._measure(point)
                except Trouble as trouble:
                    print(f"{point.at:,} {dimension.axis}: {trouble}", flush=True)
                    dimension.leave_out([point.at], str(trouble).split("\n")[0])
                    self.end()
                    continue
                for load, sample in samples.items():
                    found[load].rounds[number][str(point.at)] = sample
                    print(line(dimension, point, load, sample), flush=True)
        finally:
            self.end()
        return list(found.values())

    def end(self) -> None:
        """Stop the cluster that runs, and delete what it has stored."""
        if self._system is not None:
            self._system.end()
        self._system = self._cluster = self._warm = None
        self._keys = self._value_bytes = 0
        shutil.rmtree(self._data / "cluster", ignore_errors=True)

    def _measure(self, point: Point) -> dict[str, Sample]:
        if self._system is None or point.cluster != self._cluster:
            self.end()
            self._system = self._started(point)
            self._cluster = point.cluster
        bench = Bench(self._program, [self._system])
        if (self._keys, self._value_bytes) != (point.keys, point.value_bytes):
            self._fill(bench, self._system, point)
            self._keys, self._value_bytes = point.keys, point.value_bytes
        if point != self._warm:
            for load in LOADS:
                bench.run(self._system, self._order(load, point, WARM_UP_S))
            self._warm = point
        return {load: bench.run(self._system, self._order(load, point, self._seconds)) for load in LOADS}

    def _started(self, point: Point) -> Ringkeep:
        options = ("--partitions", str(point.partitions))
        system = Ringkeep(self._data / "cluster", nodes=point.nodes, options=options)
        began = time.monotonic()
        try:
            system.start()
        except BaseException:
            system.end()
            raise
        took = time.monotonic() - began
        print(f"  {point.nodes} nodes, {point.partitions:,} partitions: ready in {took:.1f} s", flush=True)
        return system

    def _fill(self, bench: Bench, system: Ringkeep, point: Point) -> None:
        """Write every key that is not there yet in this size; wait until nothing is left to be done of it."""
        began = time.monotonic()
        if point.value_bytes <= BATCHED_BYTES:
            there = self._keys if self._value_bytes == point.value_bytes else 0
            self._generation += 1
            wanted = Loaded("key-", point.keys, point.value_bytes, generation=self._generation)
            drive(stock.load(system.endpoints, wanted, range(min(there, point.keys), point.keys)))
        else:
            sample = bench.run(system, self._order("load", point, 0, min(LOADERS, point.keys)))
            if sample.faults or sample.requests != point.keys:
                raise Trouble(f"filling: {sample.requests} of {point.keys} keys; {sample.faults}")
        loaded, settled = time.monotonic() - began, settle(system)
        what = f"{point.keys:,} keys of {point.value_bytes:,} bytes"
        print(f"  {what} in {loaded:.1f} s, settled in {settled:.1f} s", flush=True)

    def _order(self, load: str, point: Point, seconds: float, connections: int = 0) -> Order:
        self._generation += 1
        return Order(
            load, connections or point.connections, seconds, point.keys, self._generation,
            value_bytes=point.value_bytes,
        )  # fmt: skip


def settle(system: Ringkeep) -> float:
    """Wait until the servers do little more than being there, or SETTLE_S; return the seconds."""
    began = looked = time.monotonic()
    used = sum(map(cpu_s, system.pids()))
    while looked < began + SETTLE_S:
        time.sleep(0.5)
        now, before = time.monotonic(), used
        used = sum(map(cpu_s, system.pids()))
        share, looked = (used - before) / (now - looked), now
        if share < SETTLED:
            break
    return looked - began


def line(dimension: Dimension, point: Point, load: str, sample: Sample) -> str:
    """One run in words."""
    void = f" VOID {sample.faults}" if sample.faults else ""
    return (
        f"{point.at:,} {dimension.axis}, {load}: {sample.rate:,.0f}/s, p99 {sample.p99_ms:.1f} ms,"
        f" {sample.server_us:,.0f} µs of CPU each{void}"
    )
