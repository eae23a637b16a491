"""`ringkeep simulate`: seeds of the simulated world, spread over all cores."""

import os
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, Annotated

import typer

from ringkeep.cli import options

if TYPE_CHECKING:
    from ringkeep.sim.main import Outcome

CHUNK = 4  # seeds that one process takes at a time
FAULT = "fault_"


def register(app: typer.Typer) -> None:
    """Add this command."""
    app.command(epilog=options.examples("ringkeep simulate --seed 7", "ringkeep simulate --seeds 100"))(
        simulate
    )


def simulate(
    seed: Annotated[int, typer.Option(metavar="S", min=0, help="The first seed.")] = 1,
    seeds: Annotated[
        int, typer.Option(metavar="N", min=1, help="How many seeds, counting up from the first.")
    ] = 1,
    steps: Annotated[
        int | None,
        typer.Option(metavar="N", min=1, help="End the faults of each world after so many steps."),
    ] = None,
    trace: Annotated[bool, typer.Option("--trace", help="Print everything that happens.")] = False,
) -> None:
    """Run the real core in a simulated world full of faults; the same seed gives the same run.

    Exit code 1: an invariant broke or a history is not linearizable. The seed that shows it is printed.
    """
    begin = time.monotonic()
    total: Counter[str] = Counter()
    done = operations = all_steps = failed = 0
    with outcomes(seed, seeds, steps, trace) as found:
        for outcome in found:
            done += 1
            operations += outcome.operations
            all_steps += outcome.steps
            total.update(outcome.counters)
            if outcome.failure:
                failed += 1
                bound = "" if steps is None else f" --steps {steps}"
                print(f"FAILED seed {outcome.seed}: {outcome.failure}")
                print(f"again with: ringkeep simulate --seed {outcome.seed}{bound} --trace", flush=True)
    spent = time.monotonic() - begin
    _print_totals(total)
    verdict = f"{failed} FAILED" if failed else "all invariants held, every history is linearizable"
    print(
        f"{done} seeds from {seed}: {operations} operations, {all_steps} steps, "
        f"{spent:.1f} s, {done / spent:.1f} seeds/s: {verdict}"
    )
    if failed:
        raise typer.Exit(1)


@contextmanager
def outcomes(
    seed: int, seeds: int, steps: int | None = None, trace: bool = False
) -> Iterator[Iterable["Outcome"]]:
    """Run these seeds on all cores; with a trace, or for one alone, in this process. Unordered."""
    from ringkeep.sim.main import NO_LIMIT, run_seed

    one = partial(run_seed, steps=steps or NO_LIMIT)
    numbers = range(seed, seed + seeds)
    if trace or seeds == 1:
        yield (one(number, trace=print if trace else None) for number in numbers)
        return
    import multiprocessing

    with multiprocessing.get_context("spawn").Pool(min(os.cpu_count() or 1, seeds)) as pool:
        yield pool.imap_unordered(one, numbers, CHUNK)


def _print_totals(total: Counter[str]) -> None:
    """Print what was done to the worlds, then what they went through, in columns."""
    faults = {name.removeprefix(FAULT): count for name, count in total.items() if name.startswith(FAULT)}
    others = {name: count for name, count in total.items() if not name.startswith(FAULT)}
    for title, counts in (("faults", faults), ("what happened", others)):
        print(f"{title}:")
        cells = [f"{name.replace('_', ' '):<24}{count:>9}" for name, count in sorted(counts.items())]
        for at in range(0, len(cells), 3):
            print("  " + "    ".join(cells[at : at + 3]).rstrip())
