"""docs/growth.md and its charts, made from the JSON of runs: nothing on the page is written by hand.

What growth.py keeps is a part for each dimension that was measured, and each part tells of its own run: they
may have been measured on different days. What was not measured is named as missing.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from reporting import control_page, growth_charts
from reporting.figures import KINDS, Figure, from_json, grid, median_share, shown, void_runs
from reporting.page import BUSY, VOID_SHOWN

ALLOWED: Final = 0.20  # of growth that must not be felt
ENOUGH_ROUNDS: Final = 3  # of a run that is more than a trial
CONTROL: Final = "control"

HEAD: Final = """\
# Growth

<!-- Written by bench/reporting/growth_page.py from the JSON of runs: the next run replaces it. -->

What happens as there are more keys, larger values, more partitions, nodes and connections: each along an
axis of its own, while all else stays. `make bench-growth` measures; `make bench-growth ARGS=--reference`
also writes this page, its charts, and [all figures](growth/reference.json). No figure here is calculated
from others that were measured at another size.
"""

METHOD: Final = """\
All runs on one machine: the nodes, ZooKeeper and the generator share its processors, and the network
between them is the loopback interface. So the figures say what a request *costs* as things grow, not how
much faster a cluster on machines of its own becomes with each machine.

The generator is that of [benchmarks.md](benchmarks.md): a program in C with one thread, in a closed loop,
that checks every answer. Every cluster starts from empty, with 3 replicas, quorum fsync and linearizable
reads; points with as many nodes and partitions share one. Unless it is what grows: 3 nodes, 64 partitions,
20,000 keys, values of 128 bytes, 64 connections. Keys are loaded by batches (values above 1 KiB: one by
one), then the cluster is left alone until its servers use less than half of a processor together, or for a
minute. One run of each kind warms up.

A round goes through all points, the next one through them backwards; only for keys, which are added, each
point is measured in all rounds before more keys are loaded, so there a machine that becomes slower
meanwhile counts as growth. Figures are medians over the rounds, with the lowest and the highest. "Of the
first" is the median over the median of the first point. A wrong, missing or refused answer makes a run
void: it counts in no figure.

**°** marks points where the generator used more CPU than all servers together: there it is measured as much
as they are. **Requests per CPU second** counts the user and system time of all nodes and of ZooKeeper, also
what they use when nobody asks: every node and every partition adds some of that.
"""

NOTES: Final = {
    "keys": "Requests take keys from the whole store at random.",
    "values": "Fewer keys as values become large (64 MiB of values in all, at least 32 keys), and 16 "
    "connections above 16 KiB. So compare neighbours; no bound is set.",
    "partitions": "No bound is set. Requests that go to more partitions have less in common with each other.",
    "nodes": "Connections grow with the nodes (64 for each three), as clients do: each node has as many "
    "requests under way. All nodes share the processors of the one machine, so requests per second cannot "
    "grow; what counts is requests per CPU second. The more nodes there are, the more requests reach one "
    "that is not the key's primary and passes them on: 67 % with three nodes, 92 % with twelve.",
    "connections": "A closed loop: with N connections, requests wait for each other, and by Little's law the "
    "median latency is near N over the throughput. No bound is set.",
}


@dataclass(frozen=True, slots=True)
class Bound:
    """What growth must not change by more than ALLOWED for the worse. `what`: an attribute of `Sample`."""

    dimension: str
    what: str
    name: str

    def holds(self, ratio: float) -> bool:
        """Whether a ratio to the first point is within ALLOWED; better is always allowed."""
        return ratio <= 1 + ALLOWED if self.what.endswith("_ms") else ratio >= 1 - ALLOWED


BOUNDS: Final = (
    Bound("keys", "rate", "requests per second"),
    Bound("keys", "p99_ms", "p99"),
    Bound("nodes", "per_cpu_s", "requests per CPU second"),
)


def ratio_of(figure: Figure, what: str, first: str, at: str) -> float | None:
    """Return the median of an attribute at a place over that at the first; None if one was not measured."""
    before, after = figure.median(first, what), figure.median(at, what)
    return after / before if before and after is not None else None


def folder_of(out: Path) -> Path:
    return out / "growth"


def kept_in(out: Path) -> Path:
    """Return where the results are kept below `out`."""
    return folder_of(out) / "reference.json"


def write(out: Path, result: Mapping[str, Any], wanted: Sequence[str]) -> str:
    """Write `growth.md`, and charts and JSON into `growth/`, below `out`; return the page."""
    folder = folder_of(out)
    folder.mkdir(parents=True, exist_ok=True)
    for name, drawing in drawings(result).items():
        (folder / f"{name}.svg").write_text(drawing, encoding="utf-8")
    kept_in(out).write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    text = page(result, wanted)
    (out / "growth.md").write_text(text, encoding="utf-8")
    return text


def drawings(result: Mapping[str, Any]) -> dict[str, str]:
    """Return every chart by its name."""
    found = {name: _chart(name, result[name]) for name in result if name != CONTROL}
    if CONTROL in result:
        found[CONTROL] = control_page.chart(result[CONTROL]["rows"])
    return found


def page(result: Mapping[str, Any], wanted: Sequence[str]) -> str:
    """Return the whole page as Markdown. `wanted`: every dimension there is, in order."""
    there = [name for name in wanted if name in result]
    sections = [HEAD, _missing(result, wanted)]
    if there:
        sections += ["## What was measured, and when\n", _runs(result, there)]
    if any(bound.dimension in result for bound in BOUNDS):
        sections += ["## What growth may not change\n", _bounds(result)]
    for name in there:
        sections += [f"## {name.capitalize()}\n", f"![{name}](growth/{name}.svg)\n"]
        sections += [control_page.section(result[name]) if name == CONTROL else _section(name, result[name])]
    sections += ["## How it was measured\n", METHOD, _machines(result, there) if there else ""]
    return "\n".join(each for each in sections if each)


# --- what holds for the whole page ------------------------------------------------------------------------


def _missing(result: Mapping[str, Any], wanted: Sequence[str]) -> str:
    missing = [name for name in wanted if name not in result]
    if not missing:
        return ""
    return (
        f'> **Not measured yet: {", ".join(missing)}** (`make bench-growth ARGS="--reference --missing"`).\n'
    )


def _runs(result: Mapping[str, Any], there: Sequence[str]) -> str:
    """Say of each dimension how far its figures can be trusted."""
    rows, short, busy = [], [], []
    for name in there:
        run = result[name]["run"]
        others = f"{others_share(result[name]):.1%}"
        rounds = f"{run['rounds']} × {run['seconds']:g} s" if name != CONTROL else f"{run['rounds']}"
        rows.append(
            [name, run["date"], run["commit"], run["core"], rounds, f"{run['took_s'] / 60:.1f}", others]
        )
        short += [name] if run["rounds"] < ENOUGH_ROUNDS else []
        busy += [name] if others_share(result[name]) > BUSY else []
    head = ["dimension", "date", "commit", "core", "rounds", "minutes", "other work took"]
    text = grid(head, rows) + "\n\n"
    text += "Other work: its share of the processors, the median over the runs"
    text += "; for the control plane, over all of it.\n" if CONTROL in there else ".\n"
    if short:
        text += (
            f"\n> **Short runs: {', '.join(short)}.** They show that all works; their figures are rough.\n"
        )
    if busy:
        text += (
            f"\n> **The machine was busy with other work during: {', '.join(busy)}.** Throughput is too low,"
            " latencies are too high there, and points that were not measured together compare badly.\n"
        )
    return text


def others_share(part: Mapping[str, Any]) -> float:
    """How much of the machine other work took while a dimension was measured, 0 to 1."""
    if "figures" not in part:
        return float(part["run"]["foreign_share"])
    return median_share(from_json(part["figures"]), "foreign_cpu", part["run"]["machine"]["cores"])


def _bounds(result: Mapping[str, Any]) -> str:
    """Each bound, at every point after the first."""
    rows = []
    for bound in BOUNDS:
        part = result.get(bound.dimension, {"points": {}, "figures": []})
        for figure in from_json(part["figures"]):
            first, *more = places_of(part)
            for at in more:
                ratio = ratio_of(figure, bound.what, first, at)
                verdict = "not measured" if ratio is None else "yes" if bound.holds(ratio) else "**no**"
                span = f"{int(first):,} → {int(at):,} {bound.dimension}, {KINDS[figure.load]}"
                rows.append([span, bound.name, _times(ratio), verdict])
    text = f"Within {ALLOWED:.0%} of the first point, or better:\n\n"
    return text + grid(["growth", "figure", "of the first", "within"], rows) + "\n"


def _times(ratio: float | None) -> str:
    return "–" if ratio is None else f"{ratio:.2f} ×"


def _machines(result: Mapping[str, Any], there: Sequence[str]) -> str:
    """The machine of the runs, in plain rows: every value that some run found."""
    found: dict[str, list[str]] = {}
    for name in there:
        for what, value in result[name]["run"]["machine"].items():
            values = found.setdefault(what, [])
            values += [str(value)] if str(value) not in values else []
    rows = [f"| {what} | {'; '.join(values)} |" for what, values in found.items()]
    return "\n".join(["| machine | |", "|---|---|", *rows]) + "\n"


# --- one dimension ----------------------------------------------------------------------------------------


def places_of(part: Mapping[str, Any]) -> list[str]:
    """Return the places on the axis with a run, from the lowest to the highest."""
    return sorted(part["points"], key=int)


def place_name(name: str, at: str) -> str:
    """A place on an axis for people."""
    if name != "values":
        return f"{int(at):,}"
    size = int(at)
    for unit, factor in (("MiB", 1 << 20), ("KiB", 1 << 10)):
        if size >= factor:
            return f"{size // factor} {unit}"
    return f"{size} B"


def _section(name: str, part: Mapping[str, Any]) -> str:
    figures, places = from_json(part["figures"]), places_of(part)
    text = NOTES[name] + "\n"
    for figure in figures:
        head = [
            part["axis"],
            "per second (lowest–highest)",
            "p50 / p99, ms",
            "per CPU second",
            "CPU each, µs",
        ]
        rows = [[place_name(name, at), *_cells(figure, at)] for at in places]
        if name == "values":
            head += ["MB per second"]
            rows = [[*row, _megabytes(figure, at)] for row, at in zip(rows, places, strict=True)]
        else:
            head += ["of the first: per second", "p99", "per CPU second"]
            rows = [[*row, *_ratios(figure, places[0], at)] for row, at in zip(rows, places, strict=True)]
        text += f"\n{KINDS[figure.load]}:\n\n{grid(head, rows)}\n"
    left = [f"- {place_name(name, at)}: not measured: {why}." for at, why in part["left_out"].items()]
    text += "\n" + "\n".join(left) + "\n" if left else ""
    void = void_runs(figures)
    if void:
        named = "; ".join(void[:VOID_SHOWN])
        text += f"\nVoid in this run ({len(void)}), by the place on the axis: {named}.\n"
    return text


def _cells(figure: Figure, at: str) -> list[str]:
    """What a load found at one place."""
    rates = [sample.rate for sample in figure.valid(at)]
    if not rates:
        return ["void", *["–"] * 3]
    bound = "°" if figure.generator_bound(at) else ""
    return [
        f"{shown(figure.median(at, 'rate'), 0)}{bound} ({shown(min(rates), 0)}–{shown(max(rates), 0)})",
        f"{shown(figure.median(at, 'p50_ms'))} / {shown(figure.median(at, 'p99_ms'))}",
        shown(figure.median(at, "per_cpu_s"), 0),
        shown(figure.median(at, "server_us")),
    ]


def _ratios(figure: Figure, first: str, at: str) -> list[str]:
    return [_times(ratio_of(figure, what, first, at)) for what in ("rate", "p99_ms", "per_cpu_s")]


def _megabytes(figure: Figure, size: str) -> str:
    """Values per second in MB, 10⁶ bytes."""
    rate = figure.median(size, "rate")
    return shown(rate and rate * int(size) / 1e6)


def _chart(name: str, part: Mapping[str, Any]) -> str:
    figures, places = from_json(part["figures"]), places_of(part)

    def lines(value: str) -> dict[str, list[tuple[float, float]]]:
        return {
            KINDS[figure.load]: [(float(at), found) for at in places if (found := figure.median(at, value))]
            for figure in figures
        }

    panels = {
        "requests per second": lines("rate"),
        "p99, ms": lines("p99_ms"),
        "requests per CPU second": lines("per_cpu_s"),
    }
    ticks = {float(at): place_name(name, at) for at in places}
    return growth_charts.along(f"Growth: {name}; medians of the rounds", part["axis"], ticks, panels)
