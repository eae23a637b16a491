"""`python -m ringkeep.sim.model`: explore, print the numbers of states, and the shortest path to a violation.

Without bounds it explores every configuration of `bounds.CONFIGURATIONS`. Exit code 1: an invariant does not
hold, or the exploration is incomplete.
"""

import argparse
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import fields
from textwrap import wrap

from ringkeep.sim.model.bounds import CONFIGURATIONS, ModelBounds
from ringkeep.sim.model.explore import Exploration, Explorer
from ringkeep.sim.model.story import story_of

WIDTH = 100


def main(arguments: Sequence[str] | None = None) -> int:
    """Run from a command line; return the exit code."""
    chosen = _parser().parse_args(arguments)
    counters: Counter[str] = Counter()
    wrong = states = moves = 0
    seconds = 0.0
    for name, bounds in _wanted(chosen):
        print(f"{name}: {bounds.spell()}", flush=True)
        explorer = Explorer(bounds)
        told = (lambda line: print(f"  {line}", flush=True)) if chosen.verbose else None
        report = explorer.run(chosen.depth, chosen.states, told)
        print("\n".join(_lines(report, explorer.world.locals.transitions)), flush=True)
        counters.update(explorer.world.locals.counters)
        states, moves, seconds = states + report.states, moves + report.moves, seconds + report.seconds
        capped = chosen.depth is not None or chosen.states is not None
        wrong += bool(report.violation) or not (report.exhausted or capped)
    print("paths of the core that were taken: " + ", ".join(sorted(counters)).replace("_", " "))
    verdict = f"{wrong} WRONG" if wrong else "every invariant held in every state"
    print(f"{states:,} states, {moves:,} moves, {seconds:.0f} s of processor time: {verdict}")
    return 1 if wrong else 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser("python -m ringkeep.sim.model", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="CONFIGURATION", help=", ".join(CONFIGURATIONS))
    for field in fields(ModelBounds):
        option = f"--{field.name}"
        if field.type in (bool, "bool"):
            parser.add_argument(option, action="store_true", default=None, help="see ModelBounds")
        else:
            parser.add_argument(option, type=int, metavar="N", help="see ModelBounds")
    parser.add_argument("--depth", type=int, metavar="N", help="stop after so many moves in a row")
    parser.add_argument(
        "--states-seen", dest="states", type=int, metavar="N", help="stop after so many states"
    )
    parser.add_argument("--verbose", action="store_true", help="a line for each depth")
    return parser


def _wanted(chosen: argparse.Namespace) -> Iterator[tuple[str, ModelBounds]]:
    """Yield the given bounds, or the named configurations: all, if none is named."""
    given = {field.name: getattr(chosen, field.name) for field in fields(ModelBounds)}
    given = {name: value for name, value in given.items() if value is not None}
    if given:
        yield "bounds", ModelBounds(**given)
        return
    unknown = [name for name in chosen.names if name not in CONFIGURATIONS]
    if unknown:
        raise SystemExit(
            f"no such configuration: {', '.join(unknown)}; there are {', '.join(CONFIGURATIONS)}"
        )
    for name in chosen.names or CONFIGURATIONS:
        yield name, CONFIGURATIONS[name]


def _lines(report: Exploration, transitions: int) -> list[str]:
    """Return a summary of an exploration, and the path to a violation if there is one."""
    depths = " ".join(f"{new:,}" for new in report.depths)
    lines = [f"  {line}" for line in wrap(f"new states by depth: {depths}", WIDTH)]
    known = 100 - 100 * report.states // max(report.moves, 1)
    end = "exhausted" if report.exhausted else "CUT OFF" if not report.violation else "STOPPED"
    lines.append(
        f"  {report.states:,} states at depths up to {len(report.depths) - 1}, {report.rests:,} at rest,"
        f" {report.moves:,} moves"
        f" ({known} % to a known state), {transitions:,} different ones of a single node,"
        f" {report.seconds:.1f} s: {end}"
    )
    if report.violation:
        lines += [f"  VIOLATED: {report.violation}", *story_of(report.bounds, report.story)]
    return lines


if __name__ == "__main__":
    sys.exit(main())
