"""What a run over several systems found: rounds, medians, ratios; kept as JSON and read again. Pure.

Systems are told by their names. Only ratios within one round are compared: the machine may be busier in the
next.
"""

import statistics
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Final

from reporting.report import Sample

KINDS: Final = {"put": "PUT", "get": "GET", "mixed": "90 % GET, 10 % PUT"}


@dataclass(slots=True)
class Figure:
    """One load on every system, round by round. `load`: put, get or mixed."""

    load: str
    connections: int
    rounds: list[dict[str, Sample]] = field(default_factory=list)

    def valid(self, system: str) -> list[Sample]:
        """Its runs in which every answer was right."""
        return [each[system] for each in self.rounds if system in each and not each[system].faults]

    def median(self, system: str, what: str) -> float | None:
        """The median of one attribute of a `Sample` over the valid rounds; None when there is none."""
        values = [float(getattr(sample, what)) for sample in self.valid(system)]
        return statistics.median(values) if values else None

    def ratios(self, ours: str, theirs: str) -> list[float]:
        """Requests per second, one over the other, in each round in which both were right."""
        pairs = [(each[ours], each[theirs]) for each in self.rounds if ours in each and theirs in each]
        return [a.rate / b.rate for a, b in pairs if not a.faults and not b.faults and b.rate]

    def generator_bound(self, system: str) -> bool:
        """Whether the generator used more CPU than the servers: then nothing is claimed."""
        return (self.median(system, "generator_cpu") or 0.0) > (self.median(system, "server_cpu") or 0.0)

    def verdict(self, system: str) -> str:
        """Say in words what does not speak for itself."""
        if not self.valid(system):
            return "void"
        if self.generator_bound(system):
            return "no claim: the generator uses more CPU"
        return ""


def median_share(figures: Sequence[Figure], what: str, cores: int) -> float:
    """How much of the machine something took while it was measured: the median over all runs, 0 to 1."""
    samples = [sample for figure in figures for each in figure.rounds for sample in each.values()]
    shares = [getattr(sample, what) / sample.seconds / cores for sample in samples if sample.seconds]
    return float(statistics.median(shares)) if shares else 0.0


def void_runs(figures: Sequence[Figure]) -> list[str]:
    """Name every run that had a wrong answer, and the first of them."""
    return [
        f"{system}, {figure.load} {figure.connections}, round {number}: {'; '.join(sample.faults)}"
        for figure in figures
        for number, each in enumerate(figure.rounds, 1)
        for system, sample in each.items()
        if sample.faults
    ]


MEDIANS: Final = ("rate", "p50_ms", "p99_ms", "p999_ms", "server_us", "generator_us")


def as_json(figures: Sequence[Figure]) -> list[dict[str, Any]]:
    """Everything that was measured, and what was made of it."""
    found = []
    for figure in figures:
        systems = list(dict.fromkeys(name for each in figure.rounds for name in each))
        medians = {
            name: {what: figure.median(name, what) for what in MEDIANS} | {"verdict": figure.verdict(name)}
            for name in systems
        }
        rounds = [{name: asdict(sample) for name, sample in each.items()} for each in figure.rounds]
        found.append(
            {
                "load": figure.load,
                "connections": figure.connections,
                "medians": medians,
                "rounds": rounds,
            }
        )
    return found


def from_json(kept: Sequence[dict[str, Any]]) -> list[Figure]:
    """Read again what `as_json` wrote."""
    return [
        Figure(
            each["load"],
            each["connections"],
            [{name: Sample(**sample) for name, sample in one.items()} for one in each["rounds"]],
        )
        for each in kept
    ]


def shown(value: float | None, digits: int | None = None) -> str:
    """A number for people: thousands apart, three digits that say something; – for none."""
    if value is None:
        return "–"
    if digits is None:
        digits = 0 if value >= 100 else 1 if value >= 10 else 2
    return f"{value:,.{digits}f}"


def grid(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table that can be read as it is: the first column to the left, the others to the right."""
    widths = [max(map(len, column)) for column in zip(head, *rows, strict=True)]

    def line(row: Sequence[str]) -> str:
        cells = [row[0].ljust(widths[0])]
        cells += [cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True)]
        return "| " + " | ".join(cells) + " |"

    rule = "|" + "|".join("-" * (width + 1) + (":" if i else "-") for i, width in enumerate(widths)) + "|"
    return "\n".join([line(head), rule, *map(line, rows)])


def rates(figures: Sequence[Figure], systems: Sequence[str]) -> str:
    """Requests per second. A degree sign: the generator used more CPU than the servers."""
    return _each(figures, systems, lambda figure, name: (
        shown(figure.median(name, "rate"), 0) + ("°" if figure.generator_bound(name) else "")
    ))  # fmt: skip


def latencies(figures: Sequence[Figure], systems: Sequence[str]) -> str:
    """p50 / p99 / p99.9 in ms."""
    return _each(figures, systems, lambda figure, name: " / ".join(
        shown(figure.median(name, what)) for what in ("p50_ms", "p99_ms", "p999_ms")
    ))  # fmt: skip


def costs(figures: Sequence[Figure], systems: Sequence[str]) -> str:
    """CPU time per request of all servers of a system in µs, and in parentheses the generator's."""
    return _each(figures, systems, lambda figure, name: (
        f"{shown(figure.median(name, 'server_us'))} ({shown(figure.median(name, 'generator_us'))})"
    ))  # fmt: skip


def comparison(figures: Sequence[Figure], ours: str, others: Sequence[str]) -> str:
    """Our requests per second over those of each other system: median, and lowest to highest."""

    def cell(figure: Figure, name: str) -> str:
        ratios = figure.ratios(ours, name)
        if not ratios:
            return "–"
        claim = "°" if figure.generator_bound(name) or figure.generator_bound(ours) else ""
        return f"{statistics.median(ratios):.2f}{claim} ({min(ratios):.2f}–{max(ratios):.2f})"

    return _each(figures, others, cell)


def _each(figures: Sequence[Figure], systems: Sequence[str], cell: Callable[[Figure, str], str]) -> str:
    rows = [
        [f"{KINDS[figure.load]}, {figure.connections}", *(cell(figure, name) for name in systems)]
        for figure in figures
    ]
    return grid(["load, connections", *systems], rows)
