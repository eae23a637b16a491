"""`ringkeep import`: records of a file or a pipe go into the cluster."""

import contextlib
import os
import shlex
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, BinaryIO, Final

import typer

from ringkeep.cli.records.formats import format_of
from ringkeep.cli.terminal import options
from ringkeep.cli.terminal.failure import Failure
from ringkeep.cli.terminal.progress_line import ProgressLine
from ringkeep.cli.terminal.tables import show_json
from ringkeep.exit_codes import FAILED, INTERRUPTED, UNAVAILABLE, USAGE

if TYPE_CHECKING:
    from ringkeep.cli.records.checkpoint import Checkpoint
    from ringkeep.cli.records.counts import Counts
    from ringkeep.cli.records.importing import Import, Reader
    from ringkeep.cli.records.writing import Failed

_SHOWN: Final = 20
"""So many failures are told in full; of the others, how many."""


InputFile = Annotated[str, typer.Argument(metavar="FILE", help="The file; `-`: standard input.")]
Overwrite = Annotated[
    bool,
    typer.Option("--overwrite/--if-absent", help="Replace the value of keys that exist, or leave them."),
]
Resume = Annotated[
    bool, typer.Option("--resume", help="Go on with an import of this file that was broken off.")
]
Restart = Annotated[bool, typer.Option("--restart", help="Begin anew with one that was broken off.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Read and check every record, and write nothing.")]
Verify = Annotated[bool, typer.Option("--verify", help="Read every key back, and compare it.")]
Rejected = Annotated[
    Path | None,
    typer.Option(
        "--rejected",
        metavar="FILE",
        help="Write what fails to this file, as it stands, to be corrected and imported.",
    ),
]
IgnoreUnknown = Annotated[
    bool,
    typer.Option("--ignore-unknown", help="Pass over members and columns that mean nothing to Ringkeep."),
]
MaxFailed = Annotated[
    int, typer.Option("--max-failed", metavar="N", min=0, help="Stop after so many failures; 0: never.")
]
Rate = Annotated[
    float | None, typer.Option("--rate", metavar="N", min=1, help="At most so many records each second.")
]
Batch = Annotated[
    int,
    typer.Option("--batch", metavar="N", min=1, max=1_024, help="Records in one batch.", show_default=True),
]
InFlight = Annotated[
    int,
    typer.Option("--in-flight", metavar="N", min=1, max=64, help="Batches under way.", show_default=True),
]


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command(
        "import",
        epilog=options.examples(
            "ringkeep import users.csv",
            "ringkeep import backup.jsonl --if-absent --verify",
            "ringkeep import backup.jsonl --resume",
            "ringkeep import users.csv --dry-run",
            "ringkeep export --endpoint http://old:8000 | ringkeep import - --endpoint http://new:8000",
        ),
    )(import_records)


def import_records(
    file: InputFile,
    wanted_format: options.Format = None,
    overwrite: Overwrite = True,
    resume: Resume = False,
    restart: Restart = False,
    dry_run: DryRun = False,
    verify: Verify = False,
    rejected: Rejected = None,
    ignore_unknown: IgnoreUnknown = False,
    max_failed: MaxFailed = 0,
    rate: Rate = None,
    batch: Batch = 1_000,
    in_flight: InFlight = 4,
    endpoint: options.Endpoint = None,
    timeout: options.Timeout = "30s",
    as_json: options.Json = False,
) -> None:
    """Store the records of a file: JSON Lines or CSV.

    A record that is wrong is told with its line, and the others are stored. --timeout is how long the cluster
    may be unable to serve a batch; then, or when it is interrupted, the import stops, and says where. What is
    done is kept in FILE.import until the import is complete. docs/tools.md describes the formats.

    Exit code 0: all records were stored, or skipped as asked. 1: some failed. 4: the cluster did not serve.
    """
    from ringkeep.cli.cluster import http_client
    from ringkeep.cli.cluster.cluster_poller import ClusterPoller
    from ringkeep.cli.records.importing import Import, Pace
    from ringkeep.cli.records.writing import Writer
    from ringkeep.client import Client

    chosen = format_of(file, wanted_format)
    endpoints, timeout_ms = http_client.endpoints_of(endpoint), http_client.timeout_ms_of(timeout)
    cluster = "" if dry_run else str(ClusterPoller(endpoints, timeout_ms).cluster().get("cluster_id"))
    settings = {"format": chosen, "overwrite": overwrite, "cluster": cluster}
    checkpoint = _checkpoint(file, settings, resume, restart, dry_run)
    began = time.monotonic()
    with (
        _opened(file) as stream,
        _Report(rejected, resume) as report,
        ProgressLine() as progress,
        Client([f"http://{each}" for each in endpoints]) as client,
    ):
        reader = _reader(stream, chosen, ignore_unknown)
        _go_to(reader, checkpoint, file)
        report.begin(reader, progress)
        writer = Writer(
            client, checkpoint.id,
            if_absent=not overwrite, verify=verify, dry_run=dry_run, timeout_s=timeout_ms / 1_000,
        )  # fmt: skip
        pace, show = Pace(batch, in_flight, rate, max_failed), _progress(progress, reader, checkpoint, file)
        _run(Import(reader, writer, checkpoint, pace, report.failed, show), checkpoint, file)
        progress.clear()
        report.more()
    checkpoint.remove()
    _finish(checkpoint.counts, reader.problem, time.monotonic() - began, dry_run, verify, as_json)


def _progress(
    progress: ProgressLine, reader: "Reader", checkpoint: "Checkpoint", file: str
) -> Callable[[], None]:
    """Return what shows how far the import is."""
    began, before = time.monotonic(), checkpoint.counts.read
    total = Path(file).stat().st_size if file != "-" else 0

    def show() -> None:
        share = f" ({reader.source.offset / total:.0%})" if total else ""
        speed = (checkpoint.counts.read - before) / max(time.monotonic() - began, 1e-3)
        progress.show(f"{checkpoint.counts.read:,} records{share}, {speed:,.0f}/s")

    return show


def _run(importing: "Import", checkpoint: "Checkpoint", file: str) -> None:
    """Import. Raises Failure that says what was done, and how to go on."""
    from ringkeep.cli.records.importing import Broken
    from ringkeep.cli.records.record import BadHeader

    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        importing.run()
    except BadHeader as error:
        checkpoint.remove()
        raise Failure(f"{file}: {error}; nothing was written") from None
    except Broken as broken:
        code = UNAVAILABLE if broken.unavailable else FAILED
        code = INTERRUPTED if str(broken) == "interrupted" else code
        raise Failure(f"{broken}; {_so_far(file, checkpoint)}", code) from None


def _finish(
    counts: "Counts", problem: str, took_s: float, dry_run: bool, verify: bool, as_json: bool
) -> None:
    """Print the summary. Raises Failure or Exit if it is none of a success."""
    fine = not counts.failed and not counts.differ and not problem
    if as_json:
        status = {"status": "Success" if fine else "Failed", "seconds": round(took_s, 3)}
        show_json({**status, **counts.document(), **({"error": problem} if problem else {})})
    else:
        print(_summary(counts, dry_run, verify))
    if problem:
        raise Failure(f"{problem}; what was read of it is stored")
    if not fine:
        raise typer.Exit(FAILED)


def _summary(counts: "Counts", dry_run: bool, verify: bool) -> str:
    lines = [f"{counts.read:,} records read, {counts.written:,} {'correct' if dry_run else 'written'}"]
    if verify:
        lines.append(f"{counts.verified:,} keys read back, {counts.differ:,} of them differ")
    lines += [f"{number:,} skipped: {reason}" for reason, number in counts.skipped.most_common()]
    lines += [f"{number:,} failed: {reason}" for reason, number in counts.failed.most_common(_SHOWN)]
    return "\n".join(lines)


def _so_far(file: str, checkpoint: "Checkpoint") -> str:
    """Return what was done before it broke, and how to go on."""
    line = checkpoint.done.line
    parts = [f"{checkpoint.counts.written:,} records were written"]
    parts.append(f"everything up to line {line:,} is done" if line else "no line is done for sure")
    if checkpoint.begun > line:
        parts.append(f"of the lines to {checkpoint.begun:,} some may be written, and no later one")
    if checkpoint.path is not None:
        parts.append(
            f"go on with the same command and --resume (ringkeep import {shlex.quote(file)} --resume)"
        )
    else:
        parts.append(f"go on with what follows line {line:,}")
    return "; ".join(parts)


# --- input and checkpoint -------------------------------------------------------------------------------


def _opened(file: str) -> contextlib.AbstractContextManager[BinaryIO]:
    if file == "-":
        return contextlib.nullcontext(sys.stdin.buffer)
    try:
        return open(file, "rb", buffering=1 << 20)
    except OSError as error:
        raise Failure(f"{file}: {error.strerror or error}", USAGE) from None


def _reader(stream: BinaryIO, chosen: str, lenient: bool) -> "Reader":
    from ringkeep.cli.records.csv_rows import CsvReader
    from ringkeep.cli.records.json_lines import JsonLinesReader
    from ringkeep.cli.records.source import Source

    return (CsvReader if chosen == "csv" else JsonLinesReader)(Source(stream), lenient)


def _checkpoint(
    file: str, settings: dict[str, object], resume: bool, restart: bool, dry_run: bool
) -> "Checkpoint":
    """Return the checkpoint to begin with, or to go on from. Raises Failure."""
    from ringkeep.cli.records.checkpoint import Checkpoint

    if resume and (restart or dry_run or file == "-"):
        raise Failure("--resume goes on with an import of a file, and not with --restart or --dry-run", USAGE)
    if dry_run or not Path(file).is_file() or not os.access(file, os.R_OK):
        return Checkpoint(None, settings)  # a pipe cannot be read again, and some files not even once
    path = Path(f"{file}.import")
    if not path.exists() or restart:
        if resume:
            raise Failure(f"there is nothing to go on with: no import of {file} was broken off", USAGE)
        fresh = Checkpoint(path, settings)
        try:
            fresh.save()
        except OSError as error:
            raise Failure(
                f"{path}, which would hold how far the import is, cannot be written: {error.strerror}; "
                f"import from a pipe instead (ringkeep import - < {shlex.quote(file)})"
            ) from None
        return fresh
    if not resume:
        raise Failure(
            f"an import of {file} was broken off; --resume goes on with it, --restart begins anew", USAGE
        )
    try:
        found = Checkpoint.load(path)
    except ValueError as error:
        raise Failure(f"{path} is no checkpoint: {error}; --restart begins anew") from None
    differs = [name for name, value in settings.items() if found.settings.get(name) != value]
    if differs:
        raise Failure(f"it was begun with another {differs[0]} ({path}); --restart begins anew", USAGE)
    return found


def _go_to(reader: "Reader", checkpoint: "Checkpoint", file: str) -> None:
    """Go on behind what is done. Raises Failure if the file is not what it was, as far as it was read."""
    from ringkeep.cli.records.source import Changed, Source

    if not checkpoint.furthest.offset:
        return
    try:
        with _opened(file) as stream:
            source = Source(stream)
            source.skip_to(checkpoint.furthest.offset, checkpoint.furthest.line)
            if source.digest() != checkpoint.furthest.digest:
                raise Changed(f"its first {checkpoint.furthest.line:,} lines are others")
        if checkpoint.done.offset:
            reader.begin()
            reader.source.skip_to(checkpoint.done.offset, checkpoint.done.line)
        reader.read = checkpoint.counts.read
    except Changed as error:
        raise Failure(
            f"{file} has changed since the import was broken off: {error}; --restart begins anew"
        ) from None


class _Report:
    """Tells of records that fail: the first ones in full, all of them in a file if there is one."""

    def __init__(self, path: Path | None, goes_on: bool) -> None:
        self._path = path
        self._goes_on = goes_on
        self._file: BinaryIO | None = None
        self._told = 0
        self._reader: Reader | None = None
        self._progress: ProgressLine | None = None

    def __enter__(self) -> "_Report":
        if self._path is not None:
            self._file = open(self._path, "ab" if self._goes_on else "wb")  # closed at its end
        return self

    def __exit__(self, *_: object) -> None:
        if self._file is not None:
            self._file.close()

    def begin(self, reader: "Reader", progress: ProgressLine) -> None:
        self._reader, self._progress = reader, progress

    def failed(self, failed: "Failed") -> None:
        """Tell of one."""
        assert self._progress is not None and self._reader is not None, "it has begun"
        if self._told < _SHOWN:
            self._progress.say(f"line {failed.line:,}: {failed.reason}")
        self._told += 1
        if self._file is not None:
            if not self._file.tell():
                self._file.write(self._reader.header)
            self._file.write(failed.raw if failed.raw.endswith(b"\n") else failed.raw + b"\n")
            self._file.flush()

    def more(self) -> None:
        """Say how many were not told."""
        if self._told > _SHOWN:
            print(f"ringkeep: and {self._told - _SHOWN:,} more", file=sys.stderr)
