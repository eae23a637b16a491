"""Options that several commands share, so that they read and mean the same everywhere."""

from typing import Annotated

import typer

Endpoint = Annotated[
    str | None,
    typer.Option(
        "--endpoint",
        metavar="URL[,URL]",
        help="Nodes to ask, the first that answers serves [default: RINGKEEP_ENDPOINTS or http://127.0.0.1:8000].",
    ),
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON for another program.")]
Timeout = Annotated[
    str, typer.Option("--timeout", metavar="TIME", help="Deadline, like 500ms or 5s, at most 30s.")
]
Key = Annotated[str, typer.Argument(metavar="KEY", help="The key, 1 to 1024 bytes.")]


def examples(*lines: str) -> str:
    r"""Return an epilog that shows commands as they are typed (`\b` keeps the lines apart)."""
    return "\b\nExamples:\n" + "\n".join(f"  {line}" for line in lines)
