"""Options that several commands share, with one name, meaning and help text."""

import re
from pathlib import Path
from typing import Annotated

import typer

from ringkeep.cli.terminal.failure import Failure
from ringkeep.exit_codes import USAGE

Endpoint = Annotated[
    str | None,
    typer.Option(
        "--endpoint",
        metavar="URL[,URL]",
        help="Nodes to ask; the first that answers is used [default: RINGKEEP_ENDPOINTS or http://127.0.0.1:8000].",
    ),
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON for another program.")]
Timeout = Annotated[
    str, typer.Option("--timeout", metavar="TIME", help="Deadline, like 500ms or 5s, at most 30s.")
]
Key = Annotated[str, typer.Argument(metavar="KEY", help="The key, 1 to 1024 bytes.")]
Value = Annotated[
    str | None, typer.Argument(metavar="[VALUE]", help="The value; `-` or no argument: standard input.")
]
ValueFile = Annotated[Path | None, typer.Option("--file", metavar="FILE", help="Take the value from a file.")]
After = Annotated[
    str | None, typer.Option("--after", metavar="KEY", help="Only keys that come after this one.")
]
Before = Annotated[
    str | None, typer.Option("--before", metavar="KEY", help="Only keys that come before this one.")
]
IfVersion = Annotated[
    int | None,
    typer.Option("--if-version", metavar="V", min=1, help="Only if the key has this version."),
]
IfAbsent = Annotated[bool, typer.Option("--if-absent", help="Only if there is no such key.")]

Format = Annotated[
    str | None,
    typer.Option(
        "--format", metavar="jsonl|csv", help="The file's format [default: what its name tells, else jsonl]."
    ),
]


def span_s(text: str) -> float:
    """Read how long to wait, like "500ms", "30s", "10m" or "2h". Raises Failure."""
    match = re.fullmatch(r"([0-9]{1,6})(ms|s|m|h)", text)
    if match is None or not int(match[1]):
        raise Failure(f"--timeout: '{text}' is invalid; write it like 30s, 10m or 2h", USAGE)
    return int(match[1]) * {"ms": 0.001, "s": 1, "m": 60, "h": 3_600}[match[2]]


def examples(*lines: str) -> str:
    r"""Return an epilog that shows commands as they are typed (`\b` keeps the lines apart)."""
    return "\b\nExamples:\n" + "\n".join(f"  {line}" for line in lines)
