"""An export: reads a listing through whichever node answers, and writes its records.

A stream that breaks, since its node has died, is continued behind the last key through another one. The file
itself says how far an export came that was broken off: it goes on behind the last whole record in it.
"""

import contextlib
import hashlib
import os
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import BinaryIO, Final

from ringkeep.cli.cluster.key_ranges import KeyRange
from ringkeep.cli.cluster.key_stream import KeyStream
from ringkeep.cli.records import csv_rows, json_lines
from ringkeep.cli.records.csv_rows import CsvReader
from ringkeep.cli.records.record import BadHeader, BadLine, Record
from ringkeep.cli.records.source import Source
from ringkeep.cli.terminal.failure import Failure
from ringkeep.exit_codes import UNAVAILABLE, USAGE

AGAIN_S: Final = 0.1


class Sink:
    """Where an export is written. Counts and digests what was."""

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream
        self._digest = hashlib.sha256()
        self.size = 0

    def write(self, data: bytes) -> None:
        """Write some bytes."""
        self._stream.write(data)
        self.note(data)

    def note(self, data: bytes) -> None:
        """Count what stands in the file already."""
        self._digest.update(data)
        self.size += len(data)

    def flush(self) -> None:
        """Hand everything to the system."""
        self._stream.flush()

    def digest(self) -> str:
        """Return the SHA-256 of everything."""
        return self._digest.hexdigest()


@dataclass(frozen=True, slots=True)
class Kept:
    """What an export that was broken off has written: `count` records, the last one's key, the first line."""

    count: int = 0
    last: bytes | None = None
    head: bytes = b""


class Export:
    """One export. `count`: of records written; `last`: the key of the last one.

    `plain`: records alone, without the lines that begin and end an export in JSON Lines. `timeout_ms`: how
    long it may get no further.
    """

    def __init__(
        self,
        sink: Sink,
        endpoints: list[str],
        wanted: KeyRange,
        *,
        format_: str = "jsonl",
        expires: bool = False,
        plain: bool = False,
        cluster: str = "",
        timeout_ms: int = 30_000,
    ) -> None:
        self._sink = sink
        self._endpoints = endpoints
        self._range = wanted
        self._is_csv = format_ == "csv"
        self._expires = expires
        self._plain = plain
        self._cluster = cluster
        self._timeout_ms = timeout_ms
        self.count = 0
        self.last: bytes | None = None

    def go_on(self, path: Path, kept: Kept) -> None:
        """Go on with what one has written that was broken off. Raises Failure if that was another export."""
        head = self._head()
        if kept.count and head and kept.head != head:
            raise Failure(
                f"{path} was begun with other options, or from another cluster; --overwrite begins anew",
                USAGE,
            )
        with path.open("rb") as stream:
            while piece := stream.read(1 << 20):
                self._sink.note(piece)
        self.count, self.last = kept.count, kept.last

    def run(self, on_progress: Callable[[], None]) -> None:
        """Write all of it. Raises Failure (4) once no node has continued the listing for the timeout."""
        if not self._sink.size:
            self._sink.write(self._head())
        give_up_at = time.monotonic() + self._timeout_ms / 1_000
        while True:
            before = self.count
            try:
                self._read_on(on_progress)
            except Failure as failure:
                if failure.exit_code != UNAVAILABLE:
                    raise
                if self.count > before:
                    give_up_at = time.monotonic() + self._timeout_ms / 1_000
                if time.monotonic() >= give_up_at:
                    raise
                time.sleep(AGAIN_S)
            else:
                break
        if not self._is_csv and not self._plain:
            self._sink.write(json_lines.end_line(self.count, self._sink.digest()))
        self._sink.flush()

    def _head(self) -> bytes:
        """Return what stands before the records."""
        if self._is_csv:
            return csv_rows.header_row(self._expires)
        return b"" if self._plain else json_lines.begin_line(self._range, self._cluster, self._expires)

    def _read_on(self, on_progress: Callable[[], None]) -> None:
        left = self._range if self.last is None else replace(self._range, after=self.last)
        stream = KeyStream(self._endpoints, left.target(values="true"), self._timeout_ms)
        try:
            for lines in stream.parts():
                self._sink.write(self._written(lines))
                self.count += len(lines)
                self.last = json_lines.key_of(lines[-1])
                on_progress()
        finally:
            stream.close()
            self._endpoints = [*self._endpoints[1:], self._endpoints[0]]  # another one, if it broke

    def _written(self, lines: list[bytes]) -> bytes:
        timed = json_lines.with_moments(lines) if self._expires else lines
        if self._is_csv:
            return csv_rows.rows_of(timed, self._expires)
        return b"\n".join(timed) + b"\n"


# --- a file that holds a part of an export --------------------------------------------------------------


def cut_to_whole_records(path: Path, format_: str) -> Kept:
    """Cut what is no whole record off the end of an export that was broken off, and return what is left.
    Raises Failure if it is no export."""
    kept, end = Kept(), 0
    with path.open("rb") as stream:
        head = stream.readline()
        stream.seek(0)
        source = Source(stream)
        reader = CsvReader(source) if format_ == "csv" else json_lines.JsonLinesReader(source)
        with contextlib.suppress(BadHeader):
            for item in reader:
                if isinstance(item, BadLine) or not item.raw.endswith(b"\n"):
                    break
                kept, end = Kept(kept.count + 1, item.key, head), source.offset
        if stream.read(1):
            raise Failure(
                f"{path} is no export that was broken off: line {source.line:,} is no record of one"
            )
    os.truncate(path, end)  # without a record, what stands before the records goes too
    return kept


def check(path: Path, format_: str, count: int) -> str:
    """Read an export back; return what is wrong with it, "" for nothing."""
    with path.open("rb", buffering=1 << 20) as stream:
        source = Source(stream)
        reader = CsvReader(source) if format_ == "csv" else json_lines.JsonLinesReader(source)
        found, last = 0, b""
        for item in reader:
            if not isinstance(item, Record):
                return f"line {item.line:,}: {item.reason}"
            if found and item.key <= last:
                return f"line {item.line:,}: the keys are not in order"
            found, last = found + 1, item.key
    if not reader.problem and found != count:
        return f"{found:,} records are in it, and {count:,} were written"
    return reader.problem
