"""`ringkeep simulate`: seeds of the simulated world, spread over all cores."""

import os
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, nullcontext
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ringkeep.cli.terminal import options
from ringkeep.cli.terminal.failure import Failure
from ringkeep.exit_codes import FAILED

if TYPE_CHECKING:
    from ringkeep.sim.run import SeedOutcome

CHUNK = 4  # seeds that one process takes at a time
MANY = 10_000  # from so many seeds on, every path of `sim.coverage` must have happened in one of them
STORIES = 2  # so many failing seeds are shortened and told as a story; of the others only the seed is printed


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
    history: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Write what the clients of one seed saw, for `ringkeep check`."),
    ] = None,
) -> None:
    """Run the real core in a simulated world full of faults; the same seed gives the same run.

    Exit code 1: an invariant broke or a history is not linearizable. The failing seed is printed, shortened,
    and told as a story. With 10,000 seeds or more also: a fault or path that must be covered never happened.
    """
    if history is not None:
        _write_history(seed, steps, history)
    begin = time.monotonic()
    total: Counter[str] = Counter()
    done = operations = all_steps = failed = 0
    with outcomes(seed, seeds, steps, trace) as each_outcome:
        for outcome in each_outcome:
            done += 1
            operations += outcome.operations
            all_steps += outcome.steps
            total.update(outcome.counters)
            if outcome.failure:
                failed += 1
                bound = "" if steps is None else f" --steps {steps}"
                print(f"FAILED seed {outcome.seed}: {outcome.failure}")
                print(f"repeat with: ringkeep simulate --seed {outcome.seed}{bound} --trace", flush=True)
                if failed <= STORIES and not trace and steps is None:
                    _tell(outcome)
    spent = time.monotonic() - begin
    faults = _print_totals(total)
    missing = _never(total) if seeds >= MANY else []
    verdict = f"{failed} FAILED" if failed else "all invariants held, every history is linearizable"
    print(
        f"{done} seeds from {seed}: {operations} operations, {all_steps} steps, {faults} fault events"
        f" in {spent:.1f} s ({done / spent:.1f} seeds/s, {all_steps / spent:.0f} steps/s,"
        f" {faults / spent:.0f} faults/s): {verdict}"
    )
    if missing:
        print(f"never happened, though they must in so many seeds: {', '.join(missing)}")
    if failed or missing:
        raise typer.Exit(1)


def _write_history(seed: int, steps: int | None, path: Path) -> None:
    """Run a seed for its history only."""
    from ringkeep.sim.histories.history import Operation, write_history
    from ringkeep.sim.run import NO_LIMIT, run_seed

    operations: list[Operation] = []
    run_seed(seed, steps or NO_LIMIT, history=operations)
    try:
        path.write_bytes(b"".join(write_history(operations)))
    except OSError as error:
        raise Failure(f"the history cannot be written: {error}", FAILED) from error


def _tell(outcome: "SeedOutcome") -> None:
    """Print the shortest failing prefix of a seed as a story."""
    from rich.console import Console

    from ringkeep.sim.story import shortest, tell

    console = Console(stderr=True)
    with (
        console.status("looking for the shortest prefix that fails") if console.is_terminal else nullcontext()
    ):
        lines = tell(outcome.seed, shortest(outcome))
    print("\n".join(lines), flush=True)


@contextmanager
def outcomes(
    seed: int, seeds: int, steps: int | None = None, trace: bool = False
) -> Iterator[Iterable["SeedOutcome"]]:
    """Run these seeds on all cores; with a trace, or for one alone, in this process. Unordered."""
    from ringkeep.sim.run import NO_LIMIT, run_seed

    one = partial(run_seed, steps=steps or NO_LIMIT)
    numbers = range(seed, seed + seeds)
    if trace or seeds == 1:
        yield (one(number, trace=print if trace else None) for number in numbers)
        return
    import multiprocessing

    with multiprocessing.get_context("spawn").Pool(min(os.cpu_count() or 1, seeds)) as pool:
        yield pool.imap_unordered(one, numbers, CHUNK)


def _never(total: Counter[str]) -> list[str]:
    from ringkeep.sim.coverage import never

    return [name.replace("_", " ") for name in never(total)]


def _print_totals(total: Counter[str]) -> int:
    """Print the faults that were injected, then what else happened, in columns; return how many faults."""
    from ringkeep.sim.faults.schedule import FAULT
    from ringkeep.sim.faults.triggers import TRIGGER

    faults = {name.removeprefix(FAULT): count for name, count in total.items() if name.startswith(FAULT)}
    fired = {name.removeprefix(TRIGGER): count for name, count in total.items() if name.startswith(TRIGGER)}
    others = {name: count for name, count in total.items() if not name.startswith((FAULT, TRIGGER))}
    for title, counts in (
        ("faults", faults),
        ("crashes at chosen moments", fired),
        ("what happened", others),
    ):
        print(f"{title}:")
        cells = [f"{name.replace('_', ' '):<24}{count:>9}" for name, count in sorted(counts.items())]
        for at in range(0, len(cells), 3):
            print("  " + "    ".join(cells[at : at + 3]).rstrip())
    return sum(faults.values()) + sum(fired.values())
