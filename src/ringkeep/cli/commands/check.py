"""`ringkeep check`: whether a recorded history of clients is linearizable."""

import os
import shutil
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated, Any, BinaryIO, Final

import typer

from ringkeep.cli.terminal import options
from ringkeep.cli.terminal.failure import Failure
from ringkeep.cli.terminal.tables import show_json
from ringkeep.exit_codes import FAILED, OK, USAGE

if TYPE_CHECKING:
    from ringkeep.sim.histories.checker import Violation
    from ringkeep.sim.histories.history import Operation

UNDECIDED: Final = 4
LEAST_WIDTH: Final = 80
MOST_WIDTH: Final = 120


def register(app: typer.Typer) -> None:
    """Add this command."""
    app.command(
        epilog=options.examples(
            "ringkeep check history.jsonl",
            "ringkeep check history.jsonl --key hello",
            "zcat history.jsonl.gz | ringkeep check -",
        )
    )(check)


def check(
    history: Annotated[
        str, typer.Argument(metavar="HISTORY.jsonl", help="One operation per line; - is standard input.")
    ],
    key: Annotated[
        str | None, typer.Option(metavar="K", help="Check the operations of this key only.")
    ] = None,
    as_json: options.Json = False,
) -> None:
    """Check that a recorded history of clients is linearizable, key by key.

    Exit code 0: it is. 1: it is not; the operations that contradict each other are printed. 2: the file
    cannot be read or is not a history. 4: undecided. The format is described in docs/histories.md.
    """
    from ringkeep.sim.histories import checker

    operations = _read(history, key)
    begin = time.monotonic()
    violation: Violation | None = None
    undecided = ""
    try:
        violation = checker.check(operations)
    except checker.Undecided as given_up:
        undecided = str(given_up)
    seconds = time.monotonic() - begin
    exit_code = FAILED if violation is not None else UNDECIDED if undecided else OK
    if as_json:
        show_json(_report(operations, seconds, violation, undecided))
    else:
        _show(operations, seconds, violation, undecided)
    raise typer.Exit(exit_code)


def _read(name: str, key: str | None) -> "list[Operation]":
    from ringkeep.sim.histories.history import Malformed, read_history

    shown = "standard input" if name == "-" else name
    wanted = None if key is None else os.fsencode(key)
    try:
        with _opened(name) as file:
            operations = [each for each in read_history(file, shown) if wanted in (None, each.key)]
    except Malformed as error:
        raise Failure(str(error), USAGE) from None
    except OSError as error:
        raise Failure(f"{shown}: {error.strerror or error}", USAGE) from None
    if key is not None and not operations:
        raise Failure(f"{shown}: no operation on key {key}", USAGE)
    return operations


@contextmanager
def _opened(name: str) -> Iterator[BinaryIO]:
    if name == "-":
        yield sys.stdin.buffer
        return
    with open(name, "rb") as file:
        yield file


def _show(
    operations: "list[Operation]", seconds: float, violation: "Violation | None", undecided: str
) -> None:
    from ringkeep.sim.histories.history import short
    from ringkeep.sim.histories.timeline import draw

    outcomes = Counter(each.outcome for each in operations)
    keys = len({each.key for each in operations})
    verdict = "NOT LINEARIZABLE" if violation is not None else "UNDECIDED" if undecided else "linearizable"
    print(f"{_counted(len(operations), 'operation')} on {_counted(keys, 'key')}: {verdict}")
    print(f"{outcomes['unknown']:,} of unknown outcome, {outcomes['rejected']:,} rejected; {seconds:.1f} s")
    if undecided:
        print(f"\n{undecided}")
    if violation is not None:
        print(f"\nkey {short(violation.key)}: {violation.reason}\n")
        width = min(max(shutil.get_terminal_size((100, 24)).columns, LEAST_WIDTH), MOST_WIDTH)
        print("\n".join(f"  {line}" for line in draw(violation.operations, width - 2)))


def _counted(count: int, name: str) -> str:
    return f"{count:,} {name}{'' if count == 1 else 's'}"


def _report(
    operations: "list[Operation]", seconds: float, violation: "Violation | None", undecided: str
) -> dict[str, Any]:
    from ringkeep.sim.histories.history import as_object, fields

    outcomes = Counter(each.outcome for each in operations)
    report: dict[str, Any] = {
        "verdict": "violation" if violation is not None else "undecided" if undecided else "linearizable",
        "operations": len(operations),
        "keys": len({each.key for each in operations}),
        "outcomes": {name: outcomes[name] for name in ("ok", "failed", "rejected", "unknown")},
        "seconds": round(seconds, 3),
    }
    if undecided:
        report["reason"] = undecided
    if violation is not None:
        report["reason"] = violation.reason
        report |= fields("key", violation.key)
        report["contradiction"] = [{"line": each.line} | as_object(each) for each in violation.operations]
    return report
