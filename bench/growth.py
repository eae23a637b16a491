"""Measures what happens as things grow: `make bench-growth`, or `python bench/growth.py [DIMENSION ...]`.

Keys, sizes of values, partitions, nodes and connections on real clusters; and the control plane of up to 200
nodes and 4,096 partitions without servers. Each dimension can be measured by itself: what was measured before
stays in the results. Linux only.

  make bench-growth                            all but 10 M keys; results in bench/results
  make bench-growth ARGS="control --quick"     one dimension, a short run
  make bench-growth ARGS=--reference           all, and writes docs/growth.md; twenty minutes
  make bench-growth ARGS="--reference --missing"   goes on where such a run ended early
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
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final

import generator
from growing import control_plane
from growing.data_plane import Measuring
from growing.dimensions import Dimension, all_of
from harness.cluster import Trouble
from harness.resources import busy_s, machine
from peers import commit
from reporting import growth_page
from reporting.figures import as_json, from_json, void_runs
from reporting.growth_page import CONTROL
from ringkeep.descriptors import raise_limit
from systems import check_programs
from systems.ringkeep_cluster import CORE

ROOT: Final = Path(__file__).parent.parent
NAMES: Final = [*all_of(False, False), CONTROL]


def measured(dimension: Dimension, rounds: int, seconds: float, data: Path) -> dict[str, Any]:
    """Measure one dimension on real clusters. Raises Trouble."""
    work = Path(tempfile.mkdtemp(dir=data))
    try:
        figures = Measuring(generator.build(work), work, seconds).run(dimension, rounds)
    finally:
        shutil.rmtree(work, ignore_errors=True)
    if not dimension.points:
        raise Trouble(f"{dimension.name}: no point could be measured")
    return {
        "axis": dimension.axis,
        "points": {str(point.at): asdict(point) for point in dimension.points},
        "left_out": {str(at): why for at, why in dimension.left_out.items()},
        "figures": as_json(figures),
    }


def controlled(quick: bool, rounds: int) -> dict[str, Any]:
    """Measure the control plane."""
    step = 2 if quick else 1  # the ends only
    rows = control_plane.measure(rounds, control_plane.NODES[::step], control_plane.PARTITIONS[::step])
    return {"rows": rows}


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("dimensions", nargs="*", metavar="DIMENSION", help=f"of {', '.join(NAMES)}")
    parser.add_argument("--quick", action="store_true", help="fewer points, one round of one second")
    parser.add_argument("--rounds", type=int, help="(default: 3)")
    parser.add_argument("--seconds", type=float, help="of each run of the generator (default: 2)")
    parser.add_argument("--reference", action="store_true", help="also 10 M keys; write docs/growth.md")
    parser.add_argument("--missing", action="store_true", help="only what the results do not have yet")
    parser.add_argument(
        "--page", type=Path, metavar="JSON", help="measure nothing: write docs/growth.md anew from this"
    )
    parser.add_argument("--data", type=Path, help="where clusters keep their data (default: temporary)")
    parser.add_argument("--out", type=Path, default=ROOT / "bench" / "results", help="where the results go")
    options = parser.parse_args()
    for name in options.dimensions:
        if name not in NAMES:
            parser.error(f"no dimension {name!r}: there are {', '.join(NAMES)}")
    options.dimensions = options.dimensions or NAMES
    options.rounds = options.rounds or (1 if options.quick else 3)
    options.seconds = options.seconds or (1.0 if options.quick else 2.0)
    return options


def measure(options: argparse.Namespace, out: Path, result: dict[str, Any]) -> list[str]:
    """Measure what was chosen; keep the results after each dimension. Return what went wrong."""
    known, wrong = all_of(options.quick, options.reference), []
    for name in options.dimensions:
        expected = set(known[name].left_out) if name in known else set()
        began, cpu, busy = time.monotonic(), time.process_time(), busy_s()
        with tempfile.TemporaryDirectory(prefix="ringkeep-growth-", dir=options.data) as data:
            about = {"cores": os.cpu_count(), **machine(Path(data)), "generator": generator.ABOUT}
            try:
                found = (
                    controlled(options.quick, options.rounds)
                    if name == CONTROL
                    else measured(known[name], options.rounds, options.seconds, Path(data))
                )
            except Trouble as trouble:
                wrong.append(str(trouble))
                continue
        took = time.monotonic() - began
        found["run"] = {
            "date": datetime.date.today().isoformat(),
            "commit": commit(),
            "core": CORE,
            "rounds": options.rounds,
            "seconds": options.seconds,
            "took_s": took,
            "machine": about,
        }
        if name == CONTROL:  # nothing else of this run works meanwhile
            foreign = busy_s() - busy - (time.process_time() - cpu)
            found["run"]["foreign_share"] = max(foreign, 0.0) / took / (os.cpu_count() or 1)
        result[name] = found
        growth_page.write(out, result, NAMES)
        left = found.get("left_out", {}).items()
        wrong += [f"{name} {at}: {why}" for at, why in left if int(at) not in expected]
        wrong += [f"VOID: {name}: {each}" for each in void_runs(from_json(found.get("figures", [])))]
        print(f"{name}: {took / 60:.1f} minutes", flush=True)
    return wrong


def read(kept: Path) -> dict[str, Any]:
    """Return the results that are kept there, none if there is no such file."""
    found: dict[str, Any] = json.loads(kept.read_text(encoding="utf-8")) if kept.exists() else {}
    return found


def main() -> int:
    options = arguments()
    if options.page:
        growth_page.write(ROOT / "docs", read(options.page), NAMES)
        return 0
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that what was started is stopped
    raise_limit()  # of this process, and of the generator: it opens a descriptor for each connection
    out = ROOT / "docs" if options.reference else options.out
    kept = growth_page.kept_in(out)
    result = read(kept)
    if options.missing:
        options.dimensions = [name for name in options.dimensions if name not in result]
    try:
        check_programs({"cc": "gcc libc6-dev"})
        wrong = measure(options, out, result)
    except Trouble as trouble:
        print(f"growth: {trouble}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    print(growth_page.page(result, NAMES))
    print(f"kept in {os.path.relpath(kept)}")
    for each in wrong:
        print(f"growth: {each}", file=sys.stderr)
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
