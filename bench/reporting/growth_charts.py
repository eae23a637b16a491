"""Charts of what happens along one axis as something grows: panels side by side, lines in each. Pure."""

from collections.abc import Mapping, Sequence
from typing import Final

from reporting.charts import (
    GAP,
    LEFT,
    PANEL_HEIGHT,
    PANEL_WIDTH,
    TOP,
    Scale,
    frame,
    line,
    page,
    panels_size,
    text,
)
from reporting.figures import shown

LINES: Final = ("#2b6cb0", "#c05621", "#2f855a", "#9b2c2c")

Line = Sequence[tuple[float, float]]
"""Places on the axis, and what was measured there; both above 0."""


def along(title: str, axis: str, ticks: Mapping[float, str], panels: Mapping[str, Mapping[str, Line]]) -> str:
    """Draw one panel for each heading, and in it a line for each name. All axes are logarithmic.

    `ticks`: the places on the axis that are named, and how.
    """
    width, height = panels_size(len(panels))
    names = list(dict.fromkeys(name for lines in panels.values() for name in lines))
    colours = {name: LINES[number % len(LINES)] for number, name in enumerate(names)}
    parts = []
    for number, (name, colour) in enumerate(colours.items()):
        x = 16 + number * 130
        parts.append(f'<rect x="{x}" y="36" width="12" height="12" fill="{colour}"/>')
        parts.append(text(x + 18, 46, name, 'font-size="12"'))
    for number, (heading, lines) in enumerate(panels.items()):
        parts += _panel(LEFT + number * (PANEL_WIDTH + GAP), heading, axis, ticks, lines, colours)
    return page(width, height, title, parts)


def _panel(
    left: float, heading: str, axis: str, ticks: Mapping[float, str], lines: Mapping[str, Line],
    colours: Mapping[str, str],
) -> list[str]:  # fmt: skip
    bottom = TOP + PANEL_HEIGHT
    x = Scale(list(ticks), left, left + PANEL_WIDTH)
    y = Scale([value for each in lines.values() for _, value in each], bottom, TOP)
    parts = frame(left, heading, y, "")
    for place, name in ticks.items():
        parts.append(line(x(place), TOP, x(place), bottom, "#e2e8f0"))
        parts.append(text(x(place), bottom + 16, name, 'text-anchor="middle"'))
    parts.append(text(left + PANEL_WIDTH / 2, bottom + 36, axis, 'text-anchor="middle"'))
    for name, points in lines.items():
        path = " ".join(f"{x(place):.1f},{y(value):.1f}" for place, value in points)
        parts.append(f'<polyline points="{path}" fill="none" stroke="{colours[name]}" stroke-width="1.8"/>')
        for place, value in points:
            at = f'cx="{x(place):.1f}" cy="{y(value):.1f}"'
            parts.append(f'<circle {at} r="3.2" fill="{colours[name]}"/>')
            label = f'fill="{colours[name]}" font-size="10" text-anchor="middle"'
            parts.append(text(x(place), y(value) - 7, shown(value), label))
    return parts
