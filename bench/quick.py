"""Measures Ringkeep against etcd on this machine, in under two minutes: `python bench/quick.py [--data DIR]`.

Three nodes each, from empty, both on the same disk and both with fsync before they acknowledge, both read
linearizably. The same wrk with the same script drives them in turn (A B A B), each of its threads through one
node. Only the ratio within a round counts. A round with a wrong answer is void. Linux only: it reads /proc.
"""

import argparse
import dataclasses
import functools
import json
import os
import random
import resource
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Final

from harness.cluster import Trouble, fetch_raw
from harness.load import Tally, drive, run
from harness.resources import cpu_s, machine
from reporting.report import Row, Sample, as_json, chart, table, verdict
from systems import Etcd, HttpSystem, Ringkeep, check_programs, version_of

HERE: Final = Path(__file__).parent
KEYS: Final = 20_000
THREADS: Final = 3  # one per node
SPOT_CHECKS: Final = 30  # per node, after each round
LOADED_CHECKS: Final = 2_000
OPTIONAL_UNTIL_S: Final = 98.0  # no further optional row is begun after this


@dataclasses.dataclass(frozen=True, slots=True)
class Load:
    """One row to measure. `script` is the wrk script, `put` or `get`."""

    script: str
    connections: int
    seconds: int
    rounds: int
    reach: float | None = None


LOADS: Final = (
    Load("put", 64, 2, 5, reach=1.4),
    Load("get", 64, 2, 5, reach=3.0),
    Load("put", 1, 1, 3),
    Load("get", 1, 1, 3),
    Load("put", 256, 2, 3),
    Load("get", 256, 2, 3),
)


def wrk(system: HttpSystem, load: Load, generation: int, first: int) -> dict[str, float]:
    """Run the generator once; return what its script printed. Raises Trouble."""
    threads = min(THREADS, load.connections)
    endpoints = system.endpoints
    environment = os.environ | {
        "BENCH_SYSTEM": system.name,
        "BENCH_ADDRESSES": ",".join(f"{each.host}:{each.port}" for each in endpoints),
        "BENCH_KEYS": str(KEYS),
        "BENCH_GENERATION": str(generation),
        "BENCH_FIRST": str(first),
    }
    shown = subprocess.run(
        [
            *("wrk", f"-t{threads}", f"-c{load.connections}", f"-d{load.seconds}s", "--timeout", "5s"),
            *("-s", f"{load.script}.lua", f"http://{endpoints[0].host}:{endpoints[0].port}/"),
        ],
        cwd=HERE,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    for line in shown.stdout.splitlines():
        if line.startswith("RESULT "):
            found: dict[str, float] = json.loads(line[7:])
            return found
    raise Trouble(f"wrk printed no result:\n{shown.stdout}{shown.stderr}")


def measure(system: HttpSystem, other: HttpSystem, load: Load, generation: int, first: int) -> Sample:
    """One run, its CPU times, and what was wrong with its answers."""
    before = sum(map(cpu_s, system.pids())), sum(map(cpu_s, other.pids())), _children_cpu()
    found = wrk(system, load, generation, first)
    after = sum(map(cpu_s, system.pids())), sum(map(cpu_s, other.pids())), _children_cpu()
    faults = [
        f"{name} {found[name]:.0f}"
        for name in ("connect", "read", "write", "status", "timeout")
        if found[name]
    ]
    if not found["requests"]:
        faults.append("no requests")
    elif load.script == "get":
        if found["bytes"] / found["requests"] < 0.95 * answer_bytes(system):
            faults.append("answers are too short: keys were missed")
    else:
        faults += spot_check(system, load, generation, first)
    return Sample(
        requests=int(found["requests"]),
        seconds=found["microseconds"] / 1e6,
        p50_ms=found["p50_ms"],
        p99_ms=found["p99_ms"],
        server_cpu=after[0] - before[0],
        generator_cpu=after[2] - before[2],
        idle_cpu=after[1] - before[1],
        faults=faults,
    )


@functools.cache
def answer_bytes(system: HttpSystem) -> float:
    """How long an answer is that found its key, head included."""
    return statistics.mean(len(fetch_raw(each, system.get_request(0, each))) for each in system.endpoints)


def _children_cpu() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def spot_check(system: HttpSystem, load: Load, generation: int, first: int) -> list[str]:
    """Read back, through every node, what each thread of the generator wrote first."""
    tally = Tally()
    threads = min(THREADS, load.connections)
    jobs = [
        system.get_job(KEYS * thread // THREADS + i, generation, via)
        for thread in range(threads)
        for via in range(len(system.endpoints))
        for i in range(1, 1 + SPOT_CHECKS)  # wrk asks for one request beforehand and does not send it
    ]
    drive(run(system.endpoints, iter(jobs), tally, connections=6))
    return [each[:120] for each in tally.failures[:1]]


def fill(system: HttpSystem) -> None:
    """Load all keys and read a sample back. Raises Trouble."""
    for jobs in (
        [system.put_job(i, 0) for i in range(KEYS)],
        [system.get_job(i, 0, i % 3) for i in random.Random(1).sample(range(KEYS), LOADED_CHECKS)],
    ):
        tally = Tally()
        drive(run(system.endpoints, iter(jobs), tally, connections=96))
        if tally.failed:
            raise Trouble(f"loading {system.name}: {tally.failed} failed, the first: {tally.failures[0]}")


def measure_all(ours: HttpSystem, theirs: HttpSystem, began: float) -> list[Row]:
    """Every load, its rounds interleaved. Prints each round."""
    warm_up = Load("put", 64, 1, 1), Load("get", 64, 1, 1)
    for load in warm_up:
        for system in (ours, theirs):
            wrk(system, load, 0, 0)
    rows, generation = [], 0
    for load in LOADS:
        if load.reach is None and time.monotonic() - began > OPTIONAL_UNTIL_S:
            print(
                f"{load.script.upper()} with {load.connections} connections left out: time is up", flush=True
            )
            continue
        row = Row(load.script.upper(), load.connections, load.reach)
        rows.append(row)
        for number in range(load.rounds):
            generation += 1
            first = number % 3  # a single connection goes to another node each round, on both sides
            mine = measure(ours, theirs, load, generation, first)
            yours = measure(theirs, ours, load, generation, first)
            row.rounds.append((mine, yours))
            print_round(row, number, mine, yours)
    return rows


def print_round(row: Row, number: int, mine: Sample, yours: Sample) -> None:
    faults = [*mine.faults, *yours.faults]
    ratio = f"{mine.rate / yours.rate:5.2f}" if yours.rate else "    -"
    print(
        f"{row.name} {row.connections:3} connections, round {number + 1}: "
        f"{mine.rate:8,.0f}/s  {yours.rate:8,.0f}/s  ratio {ratio}"
        f"  CPU servers {mine.server_cpu:.1f}/{yours.server_cpu:.1f} s"
        f" generator {mine.generator_cpu:.1f}/{yours.generator_cpu:.1f} s"
        f" idle other {mine.idle_cpu:.1f}/{yours.idle_cpu:.1f} s" + (f"  VOID: {faults}" if faults else ""),
        flush=True,
    )


def write_results(out: Path, rows: list[Row], about: dict[str, str], systems: tuple[str, str]) -> str:
    """Keep the figures as text, JSON and a chart; return the text."""
    out.mkdir(parents=True, exist_ok=True)
    text = "\n".join(
        [
            *(f"{name}: {value}" for name, value in about.items()),
            "",
            table(rows, systems),
            "",
            "Medians of the rounds; ratio and spread: of the ratios within each round. CPU: user and system",
            "time per request, of all servers (Ringkeep: with ZooKeeper); generator: wrk's, for each.",
        ]
    )
    (out / "quick.txt").write_text(text + "\n")
    (out / "quick.json").write_text(
        json.dumps({"about": about, "figures": as_json(rows, systems)}, indent=1) + "\n"
    )
    caption = f"{about['cpu']}, {about['file system']}; 128-byte values, {KEYS:,} keys; whiskers: all rounds"
    (out / "quick.svg").write_text(chart(rows, systems, caption))
    return text


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument(
        "--data", type=Path, help="where both keep their data while it runs (default: temporary)"
    )
    parser.add_argument("--out", type=Path, default=HERE / "results", help="where the figures go")
    arguments = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that what was started is stopped
    began = time.monotonic()
    started: list[HttpSystem] = []
    data = Path(tempfile.mkdtemp(prefix="ringkeep-bench-", dir=arguments.data))
    try:
        check_programs({"etcd": "etcd-server", "wrk": "wrk"})
        ours: HttpSystem = Ringkeep(data / "ringkeep")
        theirs: HttpSystem = Etcd(data / "etcd")
        about = machine(data) | {"wrk": version_of("wrk", "-v")}
        for system in (ours, theirs):
            started.append(system)
            system.start()
            about[system.name] = f"{system.version}; {system.settings}"
            fill(system)
        about["load"] = f"wrk, {THREADS} threads, one per node; 128-byte values, {KEYS:,} keys loaded before"
        print("\n".join(f"{name}: {value}" for name, value in about.items()), flush=True)
        rows = measure_all(ours, theirs, began)
        print("\n" + write_results(arguments.out, rows, about, (ours.name, theirs.name)))
        print(f"kept in {os.path.relpath(arguments.out)}; {time.monotonic() - began:.0f} s in all")
        return 1 if any(verdict(row) == "void" for row in rows) else 0
    except Trouble as trouble:
        print(f"bench-quick: {trouble}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    finally:
        for system in started:
            system.end()
        shutil.rmtree(data, ignore_errors=True)


if __name__ == "__main__":
    sys.exit(main())
