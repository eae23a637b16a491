"""What a benchmark found: rounds, ratios and their spread, as a table, as JSON and as a chart. Pure.

Only ratios within one round are compared: the machine may be busier in the next.
"""

import statistics
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from rich.console import Console
from rich.table import Table


@dataclass(slots=True)
class Sample:
    """One run of the generator against one system. CPU in seconds.

    `idle_cpu`: of the systems that waited; `foreign_cpu`: of whatever else ran on the machine. `late`: how
    many requests were answered after the end; they count in nothing but the CPU time per request.
    """

    requests: int
    seconds: float
    p50_ms: float
    p99_ms: float
    server_cpu: float
    generator_cpu: float
    idle_cpu: float
    faults: list[str] = field(default_factory=list)
    p999_ms: float = 0.0
    foreign_cpu: float = 0.0
    late: int = 0

    @property
    def rate(self) -> float:
        return self.requests / self.seconds if self.seconds else 0.0

    @property
    def server_us(self) -> float:
        """CPU time of all servers together per request, in microseconds."""
        return 1e6 * self.server_cpu / (self.requests + self.late) if self.requests else 0.0

    @property
    def per_cpu_s(self) -> float:
        """Requests per second of CPU time of all servers together."""
        return (self.requests + self.late) / self.server_cpu if self.server_cpu else 0.0

    @property
    def generator_us(self) -> float:
        return 1e6 * self.generator_cpu / (self.requests + self.late) if self.requests else 0.0


@dataclass(slots=True)
class Row:
    """One figure: the same load on both systems, round by round. `reach`: the least ratio aimed at."""

    name: str
    connections: int
    reach: float | None = None
    rounds: list[tuple[Sample, Sample]] = field(default_factory=list)

    @property
    def valid(self) -> list[tuple[Sample, Sample]]:
        """The rounds in which every answer was right, on both sides."""
        return [each for each in self.rounds if not each[0].faults and not each[1].faults]

    @property
    def ratios(self) -> list[float]:
        return [ours.rate / theirs.rate for ours, theirs in self.valid if theirs.rate]

    def median(self, side: int, what: str) -> float:
        """The median of one attribute of a `Sample` over the valid rounds; 0 when there is none."""
        return float(statistics.median([getattr(each[side], what) for each in self.valid] or [0.0]))

    @property
    def generator_bound(self) -> bool:
        """Whether the generator used more CPU than the servers: then nothing is claimed."""
        return any(self.median(side, "generator_cpu") > self.median(side, "server_cpu") for side in (0, 1))


def verdict(row: Row) -> str:
    """Say in words how the figure stands to what it should reach."""
    if not row.ratios:
        return "void"
    if row.generator_bound:
        return "no claim: the generator uses more CPU"
    if row.reach is None:
        return ""
    return "reached" if statistics.median(row.ratios) >= row.reach else "below"


def table(rows: Sequence[Row], systems: tuple[str, str]) -> str:
    """Lay the medians out for people, 110 columns wide."""
    ours, theirs = systems
    grid = Table(box=None, pad_edge=False, header_style="")
    for column in ("", f"{ours}/s", f"{theirs}/s", "ratio", "spread", "aim", ""):
        grid.add_column(column, justify="left" if not column else "right")
    for name in (f"p99 ms {ours}", theirs, f"CPU µs {ours}", theirs, "generator"):
        grid.add_column(name, justify="right")
    for row in rows:
        ratios = row.ratios or [0.0]
        grid.add_row(
            f"{row.name}, {row.connections} connections",
            f"{row.median(0, 'rate'):,.0f}",
            f"{row.median(1, 'rate'):,.0f}",
            f"{statistics.median(ratios):.2f}",
            f"{min(ratios):.2f}-{max(ratios):.2f}",
            "" if row.reach is None else f"≥ {row.reach:g}",
            verdict(row),
            f"{row.median(0, 'p99_ms'):.1f}",
            f"{row.median(1, 'p99_ms'):.1f}",
            f"{row.median(0, 'server_us'):.0f}",
            f"{row.median(1, 'server_us'):.0f}",
            f"{row.median(0, 'generator_us'):.0f}/{row.median(1, 'generator_us'):.0f}",
        )
    console = Console(width=150, highlight=False, color_system=None)
    with console.capture() as capture:
        console.print(grid)
    return "\n".join(line.rstrip() for line in capture.get().splitlines())


def as_json(rows: Sequence[Row], systems: tuple[str, str]) -> list[dict[str, Any]]:
    """Everything that was measured, and what was made of it."""
    return [
        {
            "figure": row.name,
            "connections": row.connections,
            "reach": row.reach,
            "ratio_median": statistics.median(row.ratios) if row.ratios else None,
            "ratios": row.ratios,
            "verdict": verdict(row),
            "rounds": [
                {
                    system: asdict(sample) | {"rate": sample.rate}
                    for system, sample in zip(systems, each, strict=True)
                }
                for each in row.rounds
            ],
        }
        for row in rows
    ]


def chart(rows: Sequence[Row], systems: tuple[str, str], caption: str) -> str:
    """Draw requests per second as bars, the spread of the rounds as whiskers: one SVG without any library."""
    left, width, bar, gap, top = 190, 420, 16, 22, 56
    most = max((sample.rate for row in rows for each in row.valid for sample in each), default=1.0) or 1.0
    height = top + len(rows) * (2 * bar + gap) + 24
    colours = ("#2b6cb0", "#a0aec0")
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="760" height="{height}" '
        f'font-family="sans-serif" font-size="12">',
        '<rect width="100%" height="100%" fill="white"/>',
        '<text x="12" y="20" font-size="14" font-weight="bold">Requests per second, three nodes</text>',
    ]
    for side, system in enumerate(systems):
        x = left + side * 110
        parts.append(f'<rect x="{x}" y="31" width="12" height="12" fill="{colours[side]}"/>')
        parts.append(f'<text x="{x + 18}" y="42">{system}</text>')
    for number, row in enumerate(rows):
        y = top + number * (2 * bar + gap)
        parts.append(f'<text x="12" y="{y + bar + 4}">{row.name}, {row.connections} connections</text>')
        for side in (0, 1):
            rates = [each[side].rate for each in row.valid] or [0.0]
            middle, low, high = (
                width * each / most for each in (statistics.median(rates), min(rates), max(rates))
            )
            at = y + side * bar
            parts.append(
                f'<rect x="{left}" y="{at}" width="{middle:.0f}" height="{bar - 2}" fill="{colours[side]}"/>'
            )
            line = at + bar / 2 - 1
            parts.append(
                f'<path d="M{left + low:.0f} {line}H{left + high:.0f}" stroke="#1a202c" stroke-width="1.5"/>'
            )
            parts.append(
                f'<text x="{left + high + 6:.0f}" y="{at + 11}">{statistics.median(rates):,.0f}</text>'
            )
        ratio = statistics.median(row.ratios) if row.ratios else 0.0
        parts.append(f'<text x="690" y="{y + bar + 4}" font-weight="bold">{ratio:.2f} ×</text>')
    parts.append(f'<text x="12" y="{height - 10}" fill="#4a5568" font-size="11">{caption}</text></svg>')
    return "\n".join(parts) + "\n"
