"""Measures what batches save, in keys per second: `python bench/batches.py [--data DIR]`.

Three nodes, from empty. The same wrk drives them in turn with single requests and with batches of 64
(A B A B), 64 connections, each of its threads through one node. Only the ratio within a round counts.
"""

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Final

from harness.cluster import Trouble
from quick import HERE, KEYS, THREADS, fill
from systems import Ringkeep, check_programs

BATCH: Final = 64
CONNECTIONS: Final = 64
ROWS: Final = (("put", "put", 2.0), ("get", "get", 4.0), ("put", "tagged", 4.0))
"""The script of the single requests, the kind of the batches, and the ratio to reach."""


def keys_per_s(system: Ringkeep, script: str, kind: str, seconds: int, generation: int) -> float:
    """Run wrk once. Raises Trouble for a wrong answer."""
    each = BATCH if kind else 1
    environment = os.environ | {
        "BENCH_SYSTEM": system.name,
        "BENCH_ADDRESSES": ",".join(f"{each.host}:{each.port}" for each in system.endpoints),
        "BENCH_KEYS": str(KEYS // each // THREADS * THREADS),
        "BENCH_GENERATION": str(generation),
        "BENCH_FIRST": "0",
        "BENCH_BATCH": str(BATCH),
        "BENCH_KIND": kind,
    }
    first = system.endpoints[0]
    shown = subprocess.run(
        [
            *("wrk", f"-t{THREADS}", f"-c{CONNECTIONS}", f"-d{seconds}s", "--timeout", "5s"),
            *("-s", f"{script}.lua", f"http://{first.host}:{first.port}/"),
        ],
        cwd=HERE, env=environment, capture_output=True, text=True, check=False,
    )  # fmt: skip
    for line in shown.stdout.splitlines():
        if line.startswith("RESULT "):
            found: dict[str, float] = json.loads(line[7:])
            if any(found[name] for name in ("connect", "read", "write", "status", "timeout")):
                raise Trouble(f"wrong answers: {found}")
            print(f"    {kind or script}: p50 {found['p50_ms']:.1f} ms, p99 {found['p99_ms']:.1f} ms")
            return found["requests"] * each / (found["microseconds"] / 1e6)
    raise Trouble(f"wrk printed no result:\n{shown.stdout}{shown.stderr}")


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--data", type=Path, help="where the data are while it runs (default: temporary)")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=int, default=2)
    arguments = parser.parse_args()
    data = Path(tempfile.mkdtemp(prefix="ringkeep-bench-", dir=arguments.data))
    system = Ringkeep(data / "ringkeep")
    try:
        check_programs({"wrk": "wrk"})
        system.start()
        fill(system)
        print(f"{system.version}; {system.settings}", flush=True)
        fell_short = False
        for script, kind, reach in ROWS:
            ratios = []
            for number in range(arguments.rounds):
                single = keys_per_s(system, script, "", arguments.seconds, number)
                batched = keys_per_s(system, "batch", kind, arguments.seconds, number)
                ratios.append(batched / single)
                print(
                    f"{kind:6} {single:8,.0f}/s  batches {batched:9,.0f}/s  ratio {ratios[-1]:5.2f}",
                    flush=True,
                )
            ratio = statistics.median(ratios)
            fell_short |= ratio < reach
            print(f"{kind}: median {ratio:.2f}, wanted {reach}", flush=True)
        return int(fell_short)
    except Trouble as trouble:
        print(f"bench-batches: {trouble}", file=sys.stderr)
        return 1
    finally:
        system.end()
        shutil.rmtree(data, ignore_errors=True)


if __name__ == "__main__":
    sys.exit(main())
