"""Draws the operations of one key below each other, so that people see which came before which.

Times are drawn in their order and not to scale: what counts is only what ended before what began.
"""

from collections.abc import Sequence
from typing import Final

from ringkeep.sim.histories.history import Operation

SHOWN: Final = 24  # operations
WIDTH: Final = 100
STEP: Final = 5  # columns between two times, if there is room
LEGEND: Final = "╌ may take effect at any time after its start"


def draw(operations: Sequence[Operation], width: int = WIDTH) -> list[str]:
    """Return the lines: a heading, one operation each, and what there is to say. None is wider than `width`,
    unless that is less than some 60."""
    shown = operations[:SHOWN]
    if not shown:
        return []
    filed = any(each.line for each in shown)
    names = [(str(each.line if filed else each.start), str(each.client), each.call()) for each in shown]
    headings = ("line" if filed else "start", "client", "operation")
    widths = [max(map(len, column)) for column in zip(headings, *names, strict=True)]
    answers = [each.answer() for each in shown]
    times = sorted({time for each in shown for time in (each.start, each.end) if time is not None})
    fixed = widths[0] + widths[1] + 4 * 2
    gaps = max(len(times) - 1, 1)
    free = max(width - fixed - widths[2] - max(map(len, answers)), min(gaps + 1, width * 2 // 5))
    step = min(STEP, max((free - 1) // gaps, 1))
    bar = min(gaps * step + 1, free)
    room = width - fixed - bar  # for call and answer: who needs less than half leaves it to the other
    answer_room = max(room // 2, room - widths[2])
    widths[2] = min(widths[2], max(room // 2, room - max(map(len, answers))))
    places = {time: place * (bar - 1) // gaps for place, time in enumerate(times)}

    def line(left: Sequence[str], middle: str, answer: str) -> str:
        cells = [
            left[0].rjust(widths[0]),
            left[1].rjust(widths[1]),
            _cut(left[2], widths[2]).ljust(widths[2]),
        ]
        return "  ".join((*cells, middle.ljust(bar), _cut(answer, answer_room))).rstrip()

    lines = [line(headings, "time →", "answer")]
    for name, each, answer in zip(names, shown, answers, strict=True):
        lines.append(line(name, _bar(each, places, bar), answer))
    if any(each.outcome == "unknown" for each in shown):
        lines.append(LEGEND)
    if len(operations) > SHOWN:
        lines.append(f"and {len(operations) - SHOWN} more")
    return lines


def _bar(operation: Operation, places: dict[int, int], width: int) -> str:
    start = places[operation.start]
    end = start if operation.end is None else places[operation.end]
    text = "│" if end == start else "├" + "─" * (end - start - 1) + "┤"
    if operation.end is None:
        text = "├"
    if operation.outcome == "unknown":
        text = text.ljust(width - start, "╌")
    return " " * start + text


def _cut(text: str, width: int) -> str:
    return text if len(text) <= width else text[: width - 1] + "…"
