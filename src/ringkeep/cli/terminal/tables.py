"""Prints results: tables for people (drawn on a terminal, plain in a pipe), JSON for programs."""

import json
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

from ringkeep.cli.terminal.streams import is_unicode

if TYPE_CHECKING:
    from rich.table import Table


def show_json(value: object) -> None:
    """Print a value as JSON for another program."""
    print(json.dumps(value, ensure_ascii=not is_unicode(sys.stdout), indent=2))


def show_table(headers: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    """Print a table. In a pipe it has plain columns that are never cut."""
    texts = [["–" if cell is None else str(cell) for cell in row] for row in rows]
    if sys.stdout.isatty():
        _draw(headers, texts)
    else:
        print("\n".join(plain_table(headers, texts)), flush=True)


def plain_table(headers: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """Return the lines of a table in plain columns."""
    lines = [list(headers), *rows]
    widths = [max(len(line[column]) for line in lines) for column in range(len(headers))]
    return [
        "  ".join(text.ljust(width) for text, width in zip(line, widths, strict=True)).rstrip()
        for line in lines
    ]


def drawn_table(headers: Sequence[str], rows: Sequence[Sequence[str]]) -> "Table":
    """Return a table to be drawn on a terminal."""
    from rich.table import Table
    from rich.text import Text

    table = Table(*headers, header_style="bold", border_style="dim")
    for row in rows:
        table.add_row(*map(Text, row))  # as Text: brackets in an address are no markup
    return table


def _draw(headers: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    from rich.console import Console

    Console().print(drawn_table(headers, rows))
