"""Measures this checkout against another one: `python bench/compare.py OLD [--rounds N]`.

For a change that claims to be faster, and for one that claims to cost nothing. OLD is a directory with
another commit (`git worktree add`), set up like this one (`make setup`, and `make compiled` in both or in
neither). Clusters of three nodes of each, on the same disk, driven in turn by the same wrk; only ratios
within a round count. Prints for each load the median ratio, new over old, of CPU time per request of all
servers, and of requests per second. Linux only: it reads /proc.
"""

import argparse
import statistics
import sys
import tempfile
from pathlib import Path
from typing import Final

from harness.cluster import Trouble
from quick import Load, fill, measure, wrk
from reporting.report import Row
from systems import Ringkeep

LOADS: Final = (
    ("put", 64),
    ("get", 64),
    ("put", 256),
    ("get", 256),
    ("put", 1),
    ("get", 1),
)


def compare(old: Ringkeep, new: Ringkeep, rounds: int, seconds: int, loads: list[tuple[str, int]]) -> None:
    """Drive both in turn and print each load's ratios. Raises Trouble."""
    for system in (old, new):
        system.start()
        fill(system)
        for script in ("put", "get"):
            wrk(system, Load(script, 64, 2, 1), 0, 0)
    print(f"{'':20}{'CPU µs new':>11}{'old':>8}{'ratio':>8}  spread      {'new/s':>9}{'ratio':>8}")
    generation = 0
    for script, connections in loads:
        load = Load(script, connections, seconds, rounds)
        row = Row(script.upper(), connections, None)
        for number in range(rounds):
            generation += 1
            mine = measure(new, old, load, generation, number % 3)
            theirs = measure(old, new, load, generation, number % 3)
            for sample in (mine, theirs):
                if sample.faults:
                    raise Trouble(f"{row.name}: {sample.faults}")
            row.rounds.append((mine, theirs))
        cost = [(a.server_cpu / a.requests * 1e6, b.server_cpu / b.requests * 1e6) for a, b in row.rounds]
        ratios = sorted(a / b for a, b in cost)
        rates = [a.rate / b.rate for a, b in row.rounds]
        print(
            f"{row.name} {connections:4} connections{statistics.median(a for a, _ in cost):11.1f}"
            f"{statistics.median(b for _, b in cost):8.1f}{statistics.median(ratios):8.3f}"
            f"  {ratios[0]:.2f}-{ratios[-1]:.2f}"
            f"{statistics.median(a.rate for a, _ in row.rounds):13,.0f}{statistics.median(rates):8.3f}",
            flush=True,
        )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("old", type=Path, help="a checkout of the commit to compare with")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=int, default=2, help="of each run of the generator")
    parser.add_argument("--only", choices=("put", "get"), help="this kind of request")
    parser.add_argument("--connections", type=int, nargs="*", help="with so many connections")
    options = parser.parse_args()
    loads = [
        load
        for load in LOADS
        if options.only in (None, load[0]) and (options.connections is None or load[1] in options.connections)
    ]
    here = Path(__file__).resolve().parent.parent
    with tempfile.TemporaryDirectory(prefix="ringkeep-compare-") as scratch:
        old = Ringkeep(Path(scratch) / "old", options.old.resolve())
        new = Ringkeep(Path(scratch) / "new", here)
        try:
            compare(old, new, options.rounds, options.seconds, loads)
        except Trouble as trouble:
            sys.exit(str(trouble))
        finally:
            old.end()
            new.end()


if __name__ == "__main__":
    main()
