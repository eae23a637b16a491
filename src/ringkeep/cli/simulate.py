"""`ringkeep simulate`: seeds of the simulated world, one after the other."""

from typing import Annotated, Final

import typer

from ringkeep.cli import options

NO_LIMIT: Final = 1 << 60


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
        typer.Option(metavar="N", min=1, help="End each world after so many steps [default: its own end]."),
    ] = None,
    trace: Annotated[bool, typer.Option("--trace", help="Print everything that happens.")] = False,
) -> None:
    """Run the real core in a simulated world full of faults; the same seed gives the same run.

    Exit code 1: an invariant broke or a history is not linearizable. The seed that shows it is printed.
    """
    from ringkeep.sim.main import run

    for number in range(seed, seed + seeds):
        code = run(number, steps or NO_LIMIT, trace)
        if code:
            raise typer.Exit(code)
