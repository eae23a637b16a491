"""Measures Ringkeep beside etcd, ZooKeeper and Redis: `make bench`, or `python bench/peers.py [OPTIONS]`.

Three nodes each, from empty, on the same disk. One closed-loop generator (bench/generator) drives them in
turn (A B C D, A B C D, …), and checks every answer. Only ratios within a round count. Linux only: it reads
/proc.

  make bench                                about ten minutes; results in bench/results
  make bench ARGS="--rounds 2 --seconds 1"  a short run
  make bench ARGS=--reference               also writes docs/benchmarks.md; add --memory for 1 M keys
"""

import argparse
import datetime
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import generator
from generator import Order
from harness.cluster import Trouble
from harness.resources import busy_s, cpu_s, disk_mb, machine, memory
from reporting import page
from reporting.figures import KINDS, Figure, as_json, costs, from_json, latencies, rates, void_runs
from reporting.report import Sample
from systems import Etcd, Redis, Ringkeep, System, ZooKeeper, check_programs

ROOT: Final = Path(__file__).parent.parent
SYSTEMS: Final[dict[str, Callable[[Path], System]]] = {
    "ringkeep": Ringkeep,
    "etcd": Etcd,
    "zookeeper": ZooKeeper,
    "redis": Redis,
}
KEYS: Final = 20_000
MEMORY_KEYS: Final = 1_000_000
MEMORY_SYSTEMS: Final = ("ringkeep", "etcd")
LOAD_CONNECTIONS: Final = 64
WARM_UP: Final = (("put", 2.0), ("get", 2.0))  # Java compiles while it works
SETTLE_S: Final = 3.0  # before memory is read


class Bench:
    """The systems of one run. Every run of the generator has a generation of its own, told in the values."""

    def __init__(self, program: Path, systems: list[System]) -> None:
        self.systems = systems
        self._program = program
        self._generation = 0

    def run(self, system: System, order: Order) -> Sample:
        """One run against one of them, and what CPU everybody used meanwhile. Raises Trouble."""
        marks: list[tuple[float, float, float]] = []
        found = generator.run(
            self._program, system.name, system.endpoints, order, lambda: marks.append(self._cpu(system))
        )
        servers, idle, busy = (after - before for before, after in zip(*marks, strict=True))
        return Sample(
            requests=found["requests"],
            seconds=found["seconds"],
            p50_ms=found["p50_ms"],
            p99_ms=found["p99_ms"],
            p999_ms=found["p999_ms"],
            server_cpu=servers,
            generator_cpu=found["cpu"],
            idle_cpu=idle,
            foreign_cpu=max(busy - servers - idle - found["cpu"], 0.0),
            late=found["late"],
            faults=faults_of(found),
        )

    def _cpu(self, chosen: System) -> tuple[float, float, float]:
        idle = [pid for system in self.systems if system is not chosen for pid in system.pids()]
        return sum(map(cpu_s, chosen.pids())), sum(map(cpu_s, idle)), busy_s()

    def load(self, system: System, keys: int) -> float:
        """Write every key once; return how many seconds it took. Raises Trouble."""
        sample = self.run(system, Order("load", LOAD_CONNECTIONS, 0, keys, 0))
        if sample.faults or sample.requests != keys:
            raise Trouble(f"loading {system.name}: {sample.requests} of {keys} keys; {sample.faults}")
        return sample.seconds

    def measure(
        self, loads: list[str], connections: list[int], rounds: int, seconds: float
    ) -> Iterator[Figure]:
        """Every load on every system, in turn. Prints each round."""
        for load in loads:
            for count in connections:
                figure = Figure(load, count)
                for number in range(rounds):
                    figure.rounds.append(
                        {each.name: self._next(each, load, count, seconds, number) for each in self.systems}
                    )
                    print(round_text(figure), flush=True)
                yield figure

    def warm_up(self) -> None:
        for system in self.systems:
            for load, seconds in WARM_UP:
                self._next(system, load, LOAD_CONNECTIONS, seconds, 0)

    def _next(self, system: System, load: str, connections: int, seconds: float, number: int) -> Sample:
        self._generation += 1
        first = number % len(system.endpoints)  # a single connection goes to another node each round
        return self.run(system, Order(load, connections, seconds, KEYS, self._generation, first))


def faults_of(found: dict[str, Any]) -> list[str]:
    """What was wrong with a run, in words."""
    if found["faults"]:
        return [f"{found['faults']} wrong answers, the first: {found['fault']}"]
    return [] if found["requests"] else ["no requests"]


def round_text(figure: Figure) -> str:
    """The newest round in one line."""
    cells = [
        f"{name} {sample.rate:,.0f}/s" + (f" VOID {sample.faults}" if sample.faults else "")
        for name, sample in figure.rounds[-1].items()
    ]
    head = f"{KINDS[figure.load]}, {figure.connections} connections, round {len(figure.rounds)}"
    return f"{head}: {'  '.join(cells)}"


def rss_mb(system: System) -> float:
    return sum(memory(pid)["VmRSS"] for pid in system.pids())


@contextmanager
def running(name: str, data: Path) -> Iterator[System]:
    """One system from empty, and nothing of it left afterwards."""
    system = SYSTEMS[name](data / name)
    try:
        system.start()
        yield system
    finally:
        system.end()
        shutil.rmtree(data / name, ignore_errors=True)


def measure_memory(program: Path, data: Path, keys: int) -> dict[str, Any]:
    """Load many keys into each of the systems that keep data on disk, one after the other."""
    found: dict[str, Any] = {"keys": keys, "connections": LOAD_CONNECTIONS, "systems": {}}
    for name in MEMORY_SYSTEMS:
        with running(name, data) as system:
            time.sleep(SETTLE_S)
            empty = rss_mb(system)
            seconds = Bench(program, [system]).load(system, keys)
            time.sleep(SETTLE_S)
            figures = {"empty_mb": empty, "loaded_mb": rss_mb(system), "disk_mb": disk_mb(data / name)}
            figures["seconds"] = seconds
        found["systems"][name] = figures
        print(
            f"{keys:,} keys in {name}: " + ", ".join(f"{k} {v:,.0f}" for k, v in figures.items()), flush=True
        )
    return found


def commit() -> str:
    """The commit of this checkout, and whether something that matters differs from it."""

    def git(*words: str) -> str:
        shown = subprocess.run(["git", *words], cwd=ROOT, capture_output=True, text=True, check=False)
        return shown.stdout.strip()

    changed = git("status", "--porcelain", "--", "src", "bench")
    return (git("rev-parse", "--short=12", "HEAD") or "unknown") + (" with changes" if changed else "")


def measure_systems(options: argparse.Namespace, program: Path, data: Path) -> dict[str, Any]:
    """Start all, measure all, end all."""
    began, started, idle = time.monotonic(), [], {}
    about: dict[str, Any] = {"cores": os.cpu_count(), **machine(data), "generator": generator.ABOUT}
    try:
        for name in options.systems:
            system = SYSTEMS[name](data / name)
            started.append(system)
            system.start()
            print(f"{name}: {system.version}; {system.settings}", flush=True)
        bench = Bench(program, started)
        time.sleep(SETTLE_S)
        for system in started:
            idle[system.name] = {"processes": len(system.pids()), "empty_mb": rss_mb(system)}
        for system in started:
            bench.load(system, KEYS)
        bench.warm_up()
        figures = list(bench.measure(options.loads, options.connections, options.rounds, options.seconds))
        time.sleep(SETTLE_S)
        for system in started:
            idle[system.name]["loaded_mb"] = rss_mb(system)
    finally:
        for system in started:
            system.end()
            shutil.rmtree(data / system.name, ignore_errors=True)  # the next part starts from empty, too
    said = ("version", "settings", "writes", "reads")
    return {
        "run": {
            "date": datetime.date.today().isoformat(),
            "commit": commit(),
            "rounds": options.rounds,
            "seconds": options.seconds,
            "keys": KEYS,
            "took_s": time.monotonic() - began,
        },
        "machine": about,
        "systems": {each.name: {what: getattr(each, what) for what in said} for each in started},
        "figures": as_json(figures),
        "idle": idle,
    }


def keep(options: argparse.Namespace, result: dict[str, Any]) -> str:
    """Write everything; return the tables as text."""
    page.write(options.out, result)
    if options.reference:
        page.write(ROOT / "docs", result)
    figures, systems = from_json(result["figures"]), list(result["systems"])
    parts = [
        "requests per second (°: the generator used more CPU than the servers: no claim)",
        rates(figures, systems),
        "p50 / p99 / p99.9 in ms",
        latencies(figures, systems),
        "CPU of all servers per request in µs (generator)",
        costs(figures, systems),
        page.memory_text(result),
    ]
    return "\n\n".join(parts)


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=2.0, help="of each run of the generator")
    parser.add_argument("--connections", type=int, nargs="+", default=[1, 16, 64, 256])
    parser.add_argument("--loads", nargs="+", choices=list(KINDS), default=list(KINDS))
    parser.add_argument("--systems", nargs="+", choices=list(SYSTEMS), default=list(SYSTEMS))
    parser.add_argument(
        "--memory", action="store_true", help="also load 1 M keys (ten minutes more, or less)"
    )
    parser.add_argument("--memory-keys", type=int, default=MEMORY_KEYS, help="so many instead, with --memory")
    parser.add_argument("--reference", action="store_true", help="also replace docs/benchmarks.md")
    parser.add_argument(
        "--page", type=Path, metavar="JSON", help="measure nothing: write the page anew from this"
    )
    parser.add_argument("--data", type=Path, help="where all keep their data meanwhile (default: temporary)")
    parser.add_argument("--out", type=Path, default=ROOT / "bench" / "results", help="where the results go")
    return parser.parse_args()


def main() -> int:
    options = arguments()
    if options.page:
        print(keep(options, json.loads(options.page.read_text(encoding="utf-8"))))
        return 0
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that what was started is stopped
    data = Path(tempfile.mkdtemp(prefix="ringkeep-bench-", dir=options.data))
    try:
        check_programs({"etcd": "etcd-server", "redis-server": "redis-server", "cc": "gcc libc6-dev"})
        program = generator.build(data)
        result = measure_systems(options, program, data)
        if options.memory:
            keep(options, result)  # should the rest fail, these figures are there
            result["memory"] = measure_memory(program, data, options.memory_keys)
        print("\n" + keep(options, result))
        print(f"kept in {os.path.relpath(options.out)}")
        void = void_runs(from_json(result["figures"]))
        print("\n".join(f"VOID: {each}" for each in void))
        return 1 if void else 0
    except Trouble as trouble:
        print(f"bench: {trouble}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    finally:
        shutil.rmtree(data, ignore_errors=True)


if __name__ == "__main__":
    sys.exit(main())
