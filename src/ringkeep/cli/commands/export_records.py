"""`ringkeep export`: the records of a range of keys go into a file or a pipe."""

import os
import signal
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ringkeep.cli.records.formats import format_of
from ringkeep.cli.terminal import options
from ringkeep.cli.terminal.failure import Failure
from ringkeep.cli.terminal.progress_line import ProgressLine
from ringkeep.cli.terminal.units import size
from ringkeep.exit_codes import INTERRUPTED, USAGE

if TYPE_CHECKING:
    from ringkeep.cli.records.exporting import Export, Sink


OutputFile = Annotated[str, typer.Argument(metavar="[FILE]", help="The file; `-`, or none: standard output.")]
Prefix = Annotated[str, typer.Option("--prefix", metavar="P", help="Only keys that begin with this.")]
Expires = Annotated[
    bool,
    typer.Option(
        "--expires",
        help="Say when a record's time ends, by this machine's clock, and not how much of it is left.",
    ),
]
Plain = Annotated[
    bool,
    typer.Option("--plain", help="Leave out the first and the last line, which are no records."),
]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace a file that exists.")]
Resume = Annotated[
    bool, typer.Option("--resume", help="Go on with an export to this file that was broken off.")
]
Verify = Annotated[bool, typer.Option("--verify", help="Read the file back, and check it.")]


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command(
        "export",
        epilog=options.examples(
            "ringkeep export backup.jsonl",
            "ringkeep export backup.jsonl --resume",
            "ringkeep export users.csv --prefix user/",
            "ringkeep export --prefix user/ --plain | jq -r .key",
            "ringkeep export | gzip > backup.jsonl.gz",
        ),
    )(export_records)


def export_records(
    file: OutputFile = "-",
    prefix: Prefix = "",
    after: options.After = None,
    before: options.Before = None,
    wanted_format: options.Format = None,
    expires: Expires = False,
    plain: Plain = False,
    overwrite: Overwrite = False,
    resume: Resume = False,
    verify: Verify = False,
    endpoint: options.Endpoint = None,
    timeout: options.Timeout = "30s",
) -> None:
    """Write the records of keys, in byte order, as JSON Lines or CSV.

    They go to FILE.part first: FILE is there once it is complete. An export of JSON Lines ends with a line
    that counts its records, and has the SHA-256 of all before it. --timeout is how long it may get no
    further. It is no snapshot: what is written meanwhile may be in it or not.

    Exit code 4: it could not begin, or broke. Then standard error says how to go on.
    """
    from ringkeep.cli.cluster import http_client
    from ringkeep.cli.cluster.cluster_poller import ClusterPoller
    from ringkeep.cli.cluster.key_ranges import key_range
    from ringkeep.cli.records.exporting import Export, Kept, Sink, cut_to_whole_records

    chosen = format_of(file, wanted_format)
    wanted = key_range(prefix, after, before)
    path = None if file == "-" else Path(file)
    if path is None and (resume or verify or overwrite):
        raise Failure("--resume, --verify and --overwrite are for a FILE", USAGE)
    part = None if path is None else _part_of(path, overwrite, resume)
    timeout_ms = http_client.timeout_ms_of(timeout)
    poller = ClusterPoller(http_client.endpoints_of(endpoint), timeout_ms)
    cluster = str(poller.cluster().get("cluster_id"))
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    kept = cut_to_whole_records(part, chosen) if part is not None and resume else Kept()
    stream = sys.stdout.buffer if part is None else part.open("ab" if resume else "wb")
    try:
        sink = Sink(stream)
        export = Export(
            sink, poller.endpoints, wanted,
            format_=chosen, expires=expires, plain=plain, cluster=cluster, timeout_ms=timeout_ms,
        )  # fmt: skip
        if part is not None:
            export.go_on(part, kept)
        _run(export, sink, part)
    finally:
        stream.flush()
        if part is not None:
            os.fsync(stream.fileno())
            stream.close()
    if path is None or part is None:
        return
    if verify:
        _check(part, chosen, export.count)
    part.replace(path)
    print(f"{export.count:,} records, {size(sink.size)}{', read back and correct' if verify else ''}: {path}")


def _run(export: "Export", sink: "Sink", part: Path | None) -> None:
    """Export. Raises Failure that says how far it came, and how to go on."""
    began, before = time.monotonic(), export.count
    with ProgressLine() as progress:

        def show() -> None:
            speed = (export.count - before) / max(time.monotonic() - began, 1e-3)
            progress.show(f"{export.count:,} records, {size(sink.size)}, {speed:,.0f}/s")

        try:
            export.run(show)
        except Failure as failure:
            raise Failure(f"{failure}; {_so_far(export, part)}", failure.exit_code) from None
        except KeyboardInterrupt:
            raise Failure(f"interrupted; {_so_far(export, part)}", INTERRUPTED) from None


def _so_far(export: "Export", part: Path | None) -> str:
    from ringkeep.cli.cluster.key_ranges import go_on_after

    written = f"{export.count:,} records were written"
    if part is not None:
        return f"{written} to {part}; go on with the same command and --resume"
    after = "" if export.last is None else f"; go on with the same command and {go_on_after(export.last)}"
    return written + after


def _part_of(path: Path, overwrite: bool, resume: bool) -> Path:
    """Return the file that is written first. Raises Failure if this would lose something."""
    part = path.with_name(path.name + ".part")
    if path.exists() and not overwrite:
        raise Failure(f"{path} exists; --overwrite replaces it once the export is complete", USAGE)
    if resume and not part.exists():
        raise Failure(f"there is nothing to go on with: {part} does not exist", USAGE)
    if part.exists() and not resume and not overwrite:
        raise Failure(
            f"an export to {path} was broken off ({part}); --resume goes on with it, --overwrite begins anew",
            USAGE,
        )
    return part


def _check(part: Path, chosen: str, count: int) -> None:
    from ringkeep.cli.records.exporting import check

    if wrong := check(part, chosen, count):
        raise Failure(f"{part} is not what was written: {wrong}")
