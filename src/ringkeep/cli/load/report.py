"""Tells what a benchmark has measured, and what is wrong with its figures."""

import os
from collections import Counter
from typing import Final

from ringkeep.cli.load.latencies import Latencies
from ringkeep.cli.load.tally import PERCENTILES, Tally
from ringkeep.cli.terminal.tables import show_table

BUSY: Final = 0.85
"""From this share of a core on, this process itself is what limits or delays."""
LATE_US: Final = 5_000


def warnings(tally: Tally, rate: float | None) -> list[str]:
    """Return what makes the figures doubtful, a sentence each."""
    found = []
    share = tally.cpu_seconds / max(tally.seconds, 1e-9)
    if share >= BUSY:
        found.append(
            f"the load generator used {share:.0%} of a core: it is the bottleneck, and latencies contain its "
            "own delays; use a lower --rate or fewer --connections, or run several of them at a time"
        )
    late = tally.lag.percentile_us(99)
    if tally.lag.count and late > LATE_US:
        found.append(
            f"the load generator sent 1 % of its requests more than {late / 1_000:.1f} ms late though a "
            "connection was free: its own machine is too busy"
        )
    if rate is not None and tally.unsent > max(rate * 0.1, 1):
        found.append(
            f"{tally.unsent:,} requests of the schedule had not been sent at its end: the rate is more than "
            "the cluster, or this many connections, can do; latencies grow with the time for which it runs"
        )
    cores = os.cpu_count() or 1
    try:
        load = os.getloadavg()[0]
    except OSError:
        load = 0.0
    if load > 1.5 * cores:
        found.append(f"this machine is busy: {load:.1f} processes want to run, and there are {cores} cores")
    return found


def show(tally: Tally) -> None:
    """Print a table of what was measured, and the errors."""
    rows = [_row(name, each, tally, tally.operations[name]) for name, each in tally.latencies.items()]
    if len(rows) > 1:
        rows.append(_row("all", tally.all, tally, tally.operations.total()))
    heads = ("", "REQUESTS", "/s", "OPERATIONS/s", *(f"p{each:g}" for each in PERCENTILES), "max")
    show_table(heads, rows)
    if tally.missing:
        print(f"{tally.missing:,} reads or deletions found no key")
    totals: Counter[tuple[str, str]] = Counter()
    for (_, outcome, what), count in tally.errors.items():
        totals[outcome, what] += count
    for (outcome, what), count in totals.most_common():
        print(f"{count:,} errors: {what} ({outcome})")
    if not tally.errors:
        print("no errors")


def progress(tally: Tally, before: int, label: str) -> str:
    """Return the line that is shown each second."""
    total = tally.all
    errors = tally.errors.total()
    said = f"{label}: {total.count - before:,}/s, p99 {ms(total.percentile_us(99))}"
    return f"{said}, {errors:,} errors" if errors else said


def ms(us: int) -> str:
    """Return microseconds as milliseconds, to three figures."""
    return f"{us / 1_000:.3g} ms" if us < 1_000_000 else f"{us / 1_000:,.0f} ms"


def _row(name: str, found: Latencies, tally: Tally, operations: int) -> tuple[str, ...]:
    seconds = max(tally.seconds, 1e-9)
    return (
        name,
        f"{found.count:,}",
        f"{found.count / seconds:,.0f}",
        f"{operations / seconds:,.0f}",
        *(ms(found.percentile_us(each)) for each in PERCENTILES),
        ms(found.max_us),
    )
