"""Formats `ringkeep --help`: the commands in groups, each with a whole sentence."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Final

import typer.core

if TYPE_CHECKING:
    from typer._click import Context
    from typer._click.formatting import HelpFormatter

GROUPS: Final[Mapping[str, Sequence[str]]] = {
    "Run": ("up", "dev", "node", "zookeeper"),
    "Keys": ("put", "get", "delete", "list", "count", "watch", "where"),
    "Many keys": ("import", "export"),
    "Change keys": ("add", "append", "swap", "take", "touch", "persist", "batch"),
    "Look": ("status", "wait", "members", "partitions", "ring", "moves", "plan"),
    "Change": ("drain", "undrain", "decommission", "forget", "weight", "settings"),
    "Repair": ("recover",),
    "Prove": ("simulate", "check"),
    "Measure": ("bench",),
}


class GroupedCommands(typer.core.TyperGroup):
    """A command group whose help names every command in one of `GROUPS`, or else under "Commands"."""

    def format_commands(self, ctx: "Context", formatter: "HelpFormatter") -> None:
        """Write the lists of commands."""
        sentences = {
            name: _sentence(command.help or "")
            for name, command in self.commands.items()
            if not command.hidden
        }
        width = max(map(len, sentences))
        for title, names in GROUPS.items():
            rows = [(name.ljust(width), sentences.pop(name)) for name in names if name in sentences]
            if rows:
                with formatter.section(title):
                    formatter.write_dl(rows)
        if sentences:
            with formatter.section("Commands"):
                formatter.write_dl([(name.ljust(width), text) for name, text in sentences.items()])


def _sentence(text: str) -> str:
    """Return the first sentence of a help text."""
    paragraph = " ".join(text.partition("\n\n")[0].split())
    return paragraph.partition(". ")[0].rstrip(".") + "."
