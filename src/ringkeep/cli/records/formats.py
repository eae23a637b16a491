"""Which format a file has."""

from ringkeep.cli.terminal.failure import Failure
from ringkeep.exit_codes import USAGE

FORMATS = ("jsonl", "csv")


def format_of(name: str, wanted: str | None) -> str:
    """Return the format that was asked for, or else the one that the file's name tells; JSON Lines without
    any. Raises Failure."""
    if wanted is None:
        return "csv" if name.lower().endswith(".csv") else "jsonl"
    if wanted not in FORMATS:
        raise Failure(f"--format: '{wanted}' is none of {', '.join(FORMATS)}", USAGE)
    return wanted
