"""Records as CSV (RFC 4180): the first row names the columns, in any order."""

import base64
import binascii
import csv
import io
from collections.abc import Iterable, Iterator
from typing import Final

from ringkeep.cli.records.json_lines import LINE
from ringkeep.cli.records.record import BadHeader, BadLine, BadRecord, Record, record
from ringkeep.cli.records.source import LINE_BYTES, Source

COLUMNS: Final = (
    "key", "key_base64", "value", "value_base64", "content_type", "ttl", "expires", "version",
)  # fmt: skip
"""Those that an import knows. An export writes all of them but one of `ttl` and `expires`."""


class CsvReader:
    """Reads records. `problem` and `read` are as in JsonLinesReader; `header` is the first row's bytes.

    Raises BadHeader at its beginning.
    """

    problem = ""

    def __init__(self, source: Source, lenient: bool = False) -> None:
        csv.field_size_limit(LINE_BYTES)
        self.source = source
        self.read = 0
        self.header = b""
        self._lenient = lenient
        self._columns: list[str] = []
        self._rows = csv.reader(self._lines(), strict=True)

    def begin(self) -> None:
        """Read the first row."""
        try:
            self._columns = [each.strip() for each in next(self._rows, [])]
        except (csv.Error, BadRecord) as error:
            raise BadHeader(f"the first row should name the columns: {error}") from None
        self.header, self.source.raw = self.source.raw, b""
        known = [each for each in self._columns if each in COLUMNS]
        unknown = [each for each in self._columns if each not in COLUMNS]
        if not {"key", "key_base64"} & set(known) or not {"value", "value_base64"} & set(known):
            raise BadHeader(
                "the first row should name the columns, key and value (or key_base64, value_base64) among "
                f"them; it is {','.join(self._columns)[:80]!r}"
            )
        if unknown and not self._lenient:
            raise BadHeader(f"there is no column named {unknown[0][:40]!r}; known are {', '.join(COLUMNS)}")
        if len(set(known)) < len(known):
            raise BadHeader("a column is named twice")

    def __iter__(self) -> Iterator[Record | BadLine]:
        if not self._columns:
            self.begin()
        source = self.source
        while True:
            source.raw, line = b"", source.line + 1
            try:
                row = next(self._rows)
                if not row:
                    continue
                found: Record | BadLine = self._record(row)
                found.line, found.raw = line, source.raw
            except StopIteration:
                return
            except BadRecord as error:
                found = BadLine(line, str(error), error.counted, source.raw)
                if not source.raw:  # it was the lines that could not be read: that has ended the parser's
                    self._rows = csv.reader(self._lines(), strict=True)
            except csv.Error as error:
                found = BadLine(line, f"no row of CSV: {error}", "no row of CSV", source.raw)
            self.read += 1
            yield found

    def _lines(self) -> Iterator[str]:
        while line := self.source.readline():
            yield line.decode("utf-8", "surrogateescape")

    def _record(self, row: list[str]) -> Record:
        if len(row) != len(self._columns):
            raise BadRecord(
                f"{len(row)} cells, and the first row has {len(self._columns)}", "the number of cells"
            )
        cells = dict(zip(self._columns, row, strict=True))
        return record(
            _data(cells, "key") or None,
            _data(cells, "value"),
            cells.get("content_type", ""),
            _milliseconds(cells.get("ttl", "")),
            cells.get("expires") or None,
        )


def _data(cells: dict[str, str], name: str) -> bytes:
    text, coded = cells.get(name, ""), cells.get(f"{name}_base64", "")
    if text and coded:
        raise BadRecord(f"{name} and {name}_base64 contradict each other")
    try:
        return base64.b64decode(coded, validate=True) if coded else text.encode()
    except (binascii.Error, ValueError) as error:
        if isinstance(error, UnicodeEncodeError) and not coded:
            raise BadRecord(f"the {name} is not UTF-8; write it as {name}_base64") from None
        raise BadRecord(f"{name}_base64 is no base64") from None


def _milliseconds(text: str) -> int | None:
    if not text:
        return None
    if not (text.isascii() and text.isdecimal() and len(text) < 19):
        raise BadRecord(f"ttl: a number of milliseconds, not {text[:40]!r}", "ttl is no number")
    return int(text)


# --- writing --------------------------------------------------------------------------------------------


def header_row(expires: bool) -> bytes:
    """Return the first row of an export."""
    return _text([_written(expires)])


def rows_of(lines: Iterable[bytes], expires: bool) -> bytes:
    """Return the rows for lines of a listing."""
    columns = _written(expires)
    rows = []
    for line in lines:
        found = LINE.decode(line)
        cells = {
            "key": found.key,
            "key_base64": _coded(found.key_base64),
            "value": found.value,
            "value_base64": _coded(found.value_base64),
            "content_type": found.content_type,
            "ttl": found.ttl,
            "expires": found.expires,
            "version": found.version,
        }
        rows.append([cells[name] for name in columns])
    return _text(rows)


def _written(expires: bool) -> list[str]:
    return [each for each in COLUMNS if each != ("ttl" if expires else "expires")]


def _text(rows: Iterable[Iterable[object]]) -> bytes:
    text = io.StringIO(newline="")
    csv.writer(text).writerows(rows)
    return text.getvalue().encode()


def _coded(data: bytes | None) -> str | None:
    return None if data is None else base64.b64encode(data).decode()
