"""Measures what happens as things grow: `make bench-growth`, or `python bench/growth.py [DIMENSION ...]`.

Keys, sizes of values, partitions, nodes and connections on real clusters; and the control plane of up to 200
nodes and 4,096 partitions without servers. Each dimension can be measured by itself: what was measured before
stays in the results. Linux only.

  make bench-growth                            all of it, in half an hour; results in bench/results
  make bench-growth ARGS="control --quick"     one dimension, a short run
  make bench-growth ARGS=--reference           with 10 M keys (hours), and writes docs/growth.md
"""

import argparse
import datetime
import json
import os
import shutil
import signal
import sys
import tempfile
import time
from pathlib import Path
from typing import Any, Final

import generator
from growing import control_plane
from growing.data_plane import Measuring
from growing.dimensions import Dimension, all_of
from harness.cluster import Trouble
from harness.resources import machine
from peers import commit
from reporting import growth_page
from reporting.figures import as_json, from_json, void_runs
from systems import check_programs
from systems.ringkeep_cluster import CORE

ROOT: Final = Path(__file__).parent.parent
CONTROL: Final = "control"


def measured(dimension: Dimension, rounds: int, seconds: float, data: Path) -> dict[str, Any]:
    """Measure one dimension on real clusters. Raises Trouble."""
    work = Path(tempfile.mkdtemp(dir=data))
    try:
        figures = Measuring(generator.build(work), work, seconds).run(dimension, rounds)
    finally:
        shutil.rmtree(work, ignore_errors=True)
    about = {str(point.at): [point.keys, point.connections] for point in dimension.points}
    return {"axis": dimension.axis, "points": about, "left_out": dimension.left_out} | {
        "figures": as_json(figures)
    }


def controlled(quick: bool, rounds: int) -> dict[str, Any]:
    """Measure the control plane."""
    nodes, partitions = control_plane.NODES, control_plane.PARTITIONS
    if quick:
        nodes, partitions = (nodes[0], nodes[-1]), (partitions[0], partitions[-1])
    return {"rows": control_plane.measure(rounds, nodes, partitions)}


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    names = [*all_of(False, False), CONTROL]
    parser.add_argument("dimensions", nargs="*", metavar="DIMENSION", help=f"of {', '.join(names)}")
    parser.add_argument("--quick", action="store_true", help="fewer points, one round of one second")
    parser.add_argument("--rounds", type=int, help="(default: 3)")
    parser.add_argument("--seconds", type=float, help="of each run of the generator (default: 3)")
    parser.add_argument("--reference", action="store_true", help="also 10 M keys; write docs/growth.md")
    parser.add_argument("--page", action="store_true", help="write docs/growth.md, but no 10 M keys")
    parser.add_argument("--data", type=Path, help="where clusters keep their data (default: temporary)")
    parser.add_argument("--out", type=Path, default=ROOT / "bench" / "results", help="where the results go")
    options = parser.parse_args()
    for name in options.dimensions:
        if name not in names:
            parser.error(f"no dimension {name!r}: there are {', '.join(names)}")
    options.dimensions = options.dimensions or names
    options.rounds = options.rounds or (1 if options.quick else 3)
    options.seconds = options.seconds or (1.0 if options.quick else 3.0)
    return options


def measure(options: argparse.Namespace, out: Path, result: dict[str, Any]) -> None:
    """Measure what was chosen; keep the results after each dimension. Raises Trouble."""
    known = all_of(options.quick, options.reference)
    for name in options.dimensions:
        began = time.monotonic()
        with tempfile.TemporaryDirectory(prefix="ringkeep-growth-", dir=options.data) as data:
            about = {"cores": os.cpu_count(), **machine(Path(data)), "generator": generator.ABOUT}
            found = (
                controlled(options.quick, options.rounds)
                if name == CONTROL
                else measured(known[name], options.rounds, options.seconds, Path(data))
            )
        found["run"] = {
            "date": datetime.date.today().isoformat(),
            "commit": commit(),
            "core": CORE,
            "rounds": options.rounds,
            "seconds": options.seconds,
            "took_s": time.monotonic() - began,
            "machine": about,
        }
        result[name] = found
        growth_page.write(out, result)


def main() -> int:
    options = arguments()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that what was started is stopped
    out = ROOT / "docs" if options.reference or options.page else options.out
    kept = growth_page.kept_in(out)
    result: dict[str, Any] = json.loads(kept.read_text(encoding="utf-8")) if kept.exists() else {}
    try:
        check_programs({"cc": "gcc libc6-dev"})
        measure(options, out, result)
    except Trouble as trouble:
        print(f"growth: {trouble}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    print(growth_page.page(result))
    print(f"kept in {os.path.relpath(kept)}")
    void = [
        f"{name}: {each}"
        for name in options.dimensions
        for each in void_runs(from_json(result[name].get("figures", [])))
    ]
    print("\n".join(f"VOID: {each}" for each in void))
    return 1 if void else 0


if __name__ == "__main__":
    sys.exit(main())
