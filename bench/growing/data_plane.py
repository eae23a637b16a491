"""Measures the points of a dimension on real clusters, one cluster at a time."""

import shutil
from pathlib import Path
from typing import Final

from generator import Order
from growing.dimensions import Dimension, Point
from harness.cluster import Trouble
from peers import Bench
from reporting.figures import Figure
from reporting.report import Sample
from systems import Ringkeep

LOADS: Final = ("put", "get")
LOADERS: Final = 512  # connections that fill a cluster: the more wait, the more goes into one message
WARM_UP_S: Final = 1.0


class Measuring:
    """One dimension under way: the cluster that runs, and what is in it."""

    def __init__(self, program: Path, data: Path, seconds: float) -> None:
        self._program = program
        self._data = data
        self._seconds = seconds
        self._system: Ringkeep | None = None
        self._cluster: tuple[int, int] | None = None
        self._filled: tuple[int, int] | None = None
        self._generation = 0

    def run(self, dimension: Dimension, rounds: int) -> list[Figure]:
        """Return a figure for each load, whose systems are the points. Raises Trouble."""
        found = {load: Figure(load, 0, [{} for _ in range(rounds)]) for load in LOADS}
        points = dimension.points
        order = [(point, number) for point in points for number in range(rounds)]
        if not dimension.upwards:
            order = [(p, n) for n in range(rounds) for p in (points[::-1] if n % 2 else points)]
        try:
            for point, number in order:
                for load, sample in self._measure(point).items():
                    found[load].rounds[number][str(point.at)] = sample
                    print(line(dimension, point, load, sample), flush=True)
        finally:
            self.end()
        return list(found.values())

    def end(self) -> None:
        """Stop the cluster that runs, and delete what it has stored."""
        if self._system is not None:
            self._system.end()
        self._system = self._cluster = self._filled = None
        shutil.rmtree(self._data / "cluster", ignore_errors=True)

    def _measure(self, point: Point) -> dict[str, Sample]:
        if self._system is None or point.cluster != self._cluster:
            self.end()
            self._system = self._started(point)
            self._cluster = point.cluster
        bench = Bench(self._program, [self._system])
        if self._filled != (point.keys, point.value_bytes):
            self._fill(bench, self._system, point)
            self._filled = point.keys, point.value_bytes
            for load in LOADS:
                bench.run(self._system, self._order(load, point, WARM_UP_S))
        return {load: bench.run(self._system, self._order(load, point, self._seconds)) for load in LOADS}

    def _started(self, point: Point) -> Ringkeep:
        options = ("--partitions", str(point.partitions))
        system = Ringkeep(self._data / "cluster", nodes=point.nodes, options=options)
        try:
            system.start()
        except BaseException:
            system.end()
            raise
        return system

    def _fill(self, bench: Bench, system: Ringkeep, point: Point) -> None:
        count = min(LOADERS, point.keys) if point.value_bytes <= 1_024 else min(16, point.keys)
        order = self._order("load", point, 0, count)
        sample = bench.run(system, order)
        if sample.faults or sample.requests != point.keys:
            raise Trouble(f"filling: {sample.requests} of {point.keys} keys; {sample.faults}")
        print(f"  {point.keys:,} keys of {point.value_bytes:,} bytes in {sample.seconds:.1f} s", flush=True)

    def _order(self, load: str, point: Point, seconds: float, connections: int = 0) -> Order:
        self._generation += 1
        return Order(
            load, connections or point.connections, seconds, point.keys, self._generation,
            value_bytes=point.value_bytes,
        )  # fmt: skip


def line(dimension: Dimension, point: Point, load: str, sample: Sample) -> str:
    """One run in words."""
    void = f" VOID {sample.faults}" if sample.faults else ""
    return (
        f"{point.at:,} {dimension.axis}, {load}: {sample.rate:,.0f}/s, p99 {sample.p99_ms:.1f} ms,"
        f" {sample.server_us:,.0f} µs of CPU each{void}"
    )
