"""Charts as SVG, without any library: throughput against latency, percentiles, and bars. Pure.

All axes of the first two are logarithmic: the systems differ by powers of ten.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Final
from xml.sax.saxutils import escape

from reporting.figures import KINDS, Figure, shown

COLOURS: Final = {"ringkeep": "#2b6cb0", "etcd": "#c05621", "zookeeper": "#2f855a", "redis": "#9b2c2c"}
OTHER: Final = "#4a5568"
PANEL_WIDTH: Final = 330
PANEL_HEIGHT: Final = 250
LEFT: Final = 58
TOP: Final = 74
GAP: Final = 76
BOTTOM: Final = 58
TEXT_HEIGHT: Final = 11


def colour_of(system: str) -> str:
    return COLOURS.get(system, OTHER)


class Scale:
    """Maps values to places on a logarithmic axis, whose ends are 1, 2 or 5 times a power of ten."""

    def __init__(self, values: Sequence[float], start: float, end: float) -> None:
        positive = [value for value in values if value > 0] or [1.0]
        steps = [step * 10.0**power for power in range(-4, 9) for step in (1, 2, 5)]
        low = max((step for step in steps if step <= min(positive)), default=steps[0])
        high = min((step for step in steps if step >= max(positive) and step > low), default=steps[-1])
        self.ticks = [step for step in steps if low <= step <= high]
        if len(self.ticks) > 7:
            self.ticks = [tick for tick in self.ticks if math.isclose(math.log10(tick) % 1, 0, abs_tol=1e-9)]
        self._low, self._span = math.log(low), math.log(high) - math.log(low)
        self._start, self._length = start, end - start

    def __call__(self, value: float) -> float:
        return self._start + self._length * (math.log(value) - self._low) / self._span


def text(x: float, y: float, words: str, more: str = "") -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" {more}>{escape(words)}</text>'


def line(x: float, y: float, to_x: float, to_y: float, colour: str, width: float = 1.0) -> str:
    place = f'x1="{x:.1f}" y1="{y:.1f}" x2="{to_x:.1f}" y2="{to_y:.1f}"'
    return f'<line {place} stroke="{colour}" stroke-width="{width}"/>'


def page(width: float, height: float, title: str, parts: Sequence[str]) -> str:
    head = (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:.0f} {height:.0f}" width="{width:.0f}" '
        f'height="{height:.0f}" font-family="sans-serif" font-size="11" fill="#1a202c">'
    )
    background = '<rect width="100%" height="100%" fill="white"/>'
    heading = text(16, 24, title, 'font-size="15" font-weight="bold"')
    return "\n".join([head, background, heading, *parts, "</svg>"]) + "\n"


def legend(systems: Sequence[str], y: float) -> list[str]:
    parts = []
    for number, system in enumerate(systems):
        x = 16 + number * 105
        parts.append(f'<rect x="{x}" y="{y - 10}" width="12" height="12" fill="{colour_of(system)}"/>')
        parts.append(text(x + 18, y, system, 'font-size="12"'))
    return parts


def panels_size(count: int) -> tuple[float, float]:
    return LEFT + count * (PANEL_WIDTH + GAP), TOP + PANEL_HEIGHT + BOTTOM


def frame(left: float, title: str, y: Scale, y_title: str) -> list[str]:
    """A panel's border, its title and the axis at its left."""
    bottom = TOP + PANEL_HEIGHT
    parts = [text(left, TOP - 8, title, 'font-weight="bold"')]
    for tick in y.ticks:
        parts.append(line(left, y(tick), left + PANEL_WIDTH, y(tick), "#e2e8f0"))
        parts.append(text(left - 6, y(tick) + 4, f"{tick:,g}", 'text-anchor="end"'))
    parts.append(line(left, TOP, left, bottom, OTHER))
    parts.append(line(left, bottom, left + PANEL_WIDTH, bottom, OTHER))
    at = f'transform="rotate(-90 {left - 42:.1f} {TOP + PANEL_HEIGHT / 2:.1f})" text-anchor="middle"'
    parts.append(text(left - 42, TOP + PANEL_HEIGHT / 2, y_title, at))
    return parts


def throughput_latency(figures: Sequence[Figure], systems: Sequence[str], what: str = "p50_ms") -> str:
    """One panel for each load; a line for each system, through its numbers of connections."""
    loads = list(dict.fromkeys(figure.load for figure in figures))
    width, height = panels_size(len(loads))
    parts = legend(systems, 46)
    for number, load in enumerate(loads):
        left = LEFT + number * (PANEL_WIDTH + GAP)
        lines = {
            system: [
                (rate, latency, figure.connections, figure.generator_bound(system))
                for figure in sorted(figures, key=lambda each: each.connections)
                if figure.load == load
                if (rate := figure.median(system, "rate")) and (latency := figure.median(system, what))
            ]
            for system in systems
        }
        points = [point for each in lines.values() for point in each]
        x = Scale([point[0] for point in points], left, left + PANEL_WIDTH)
        y = Scale([point[1] for point in points], TOP + PANEL_HEIGHT, TOP)
        parts += frame(left, KINDS[load], y, f"{what.partition('_')[0]} latency, ms")
        for tick in x.ticks:
            parts.append(line(x(tick), TOP, x(tick), TOP + PANEL_HEIGHT, "#e2e8f0"))
            parts.append(text(x(tick), TOP + PANEL_HEIGHT + 16, f"{tick:,.0f}", 'text-anchor="middle"'))
        middle = left + PANEL_WIDTH / 2
        parts.append(text(middle, TOP + PANEL_HEIGHT + 36, "requests per second", 'text-anchor="middle"'))
        for system, found in lines.items():
            parts += _polyline(
                [(x(rate), y(latency), count, bound) for rate, latency, count, bound in found], system
            )
    title = "Throughput against latency; the numbers are connections, hollow: the generator used more CPU"
    return page(width, height, title, parts)


def _polyline(points: Sequence[tuple[float, float, int, bool]], system: str) -> list[str]:
    colour = colour_of(system)
    path = " ".join(f"{x:.1f},{y:.1f}" for x, y, _, _ in points)
    parts = [f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="1.8"/>']
    for x, y, connections, hollow in points:
        fill = "white" if hollow else colour
        parts.append(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3.2" fill="{fill}" stroke="{colour}"/>')
        parts.append(text(x + 5, y - 5, str(connections), f'fill="{colour}" font-size="10"'))
    return parts


def percentiles(figures: Sequence[Figure], systems: Sequence[str], connections: int) -> str:
    """p50, p99 and p99.9 of each system at one number of connections, one panel for each load."""
    chosen = [figure for figure in figures if figure.connections == connections]
    width, height = panels_size(len(chosen))
    parts = legend(systems, 46)
    for number, figure in enumerate(chosen):
        left = LEFT + number * (PANEL_WIDTH + GAP)
        found = {
            system: [figure.median(system, what) or 0.0 for what in ("p50_ms", "p99_ms", "p999_ms")]
            for system in systems
            if figure.valid(system)
        }
        y = Scale([value for each in found.values() for value in each], TOP + PANEL_HEIGHT, TOP)
        parts += frame(left, KINDS[figure.load], y, "latency, ms")
        for place, (system, values) in enumerate(found.items()):
            x = left + PANEL_WIDTH * (place + 0.5) / len(found)
            colour = colour_of(system)
            ys = [y(max(value, 0.001)) for value in values]
            parts.append(line(x, ys[0], x, ys[-1], colour, 2))
            for at, place_of, value, name in zip(ys, apart(ys), values, ("p50", "p99", "p99.9"), strict=True):
                parts.append(f'<circle cx="{x:.1f}" cy="{at:.1f}" r="3.5" fill="{colour}"/>')
                parts.append(text(x + 7, place_of + 4, f"{shown(value)}  {name}", 'font-size="10"'))
            parts.append(text(x, TOP + PANEL_HEIGHT + 16, system, 'text-anchor="middle"'))
    return page(width, height, f"Latency with {connections} connections; medians of the rounds", parts)


def apart(places: Sequence[float]) -> list[float]:
    """Move places of text, which go upwards, so far apart that it can be read."""
    moved: list[float] = []
    for place in places:
        moved.append(min(place, moved[-1] - TEXT_HEIGHT) if moved else place)
    return moved


def bars(title: str, groups: Mapping[str, Mapping[str, float]], unit: str) -> str:
    """A group of bars under each heading, one for each system, from zero."""
    left, room, thick = 170, 460, 16
    most = max((value for group in groups.values() for value in group.values()), default=0.0) or 1.0
    parts, y = [], 46.0
    for heading, group in groups.items():
        parts.append(text(16, y + thick - 3, heading, 'font-weight="bold"'))
        y += thick + 4
        for system, value in group.items():
            parts.append(text(left - 8, y + thick - 4, system, 'text-anchor="end"'))
            size = room * value / most
            box = f'x="{left}" y="{y:.1f}" width="{size:.1f}" height="{thick - 2}"'
            parts.append(f'<rect {box} fill="{colour_of(system)}"/>')
            parts.append(text(left + size + 6, y + thick - 4, f"{shown(value)} {unit}"))
            y += thick
        y += 12
    return page(760, y + 8, title, parts)
