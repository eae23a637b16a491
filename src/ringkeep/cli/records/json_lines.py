"""Records as JSON Lines: an object on each line, in the form of a listing (docs/http.md, docs/tools.md).

An export begins with a line that says so, and ends with one that counts and digests what lies before it; so
one that was cut off is noticed, also at the end of a pipe.
"""

import json
import time
from collections.abc import Iterable, Iterator
from typing import Any, Final

import msgspec

from ringkeep.cli.cluster.key_ranges import KeyRange
from ringkeep.cli.cluster.key_requests import shown
from ringkeep.cli.records.record import BadHeader, BadLine, BadRecord, Record, moment_text, record
from ringkeep.cli.records.source import Source

FORMAT: Final = 1


class Line(msgspec.Struct, forbid_unknown_fields=True, omit_defaults=True):
    """A record as it stands in a line. `version`: of the exported key; an import pays no attention to it."""

    key: str | None = None
    key_base64: bytes | None = None
    version: int | None = None
    ttl: int | None = None
    expires: str | None = None
    value: str | None = None
    value_base64: bytes | None = None
    content_type: str | None = None

    def record(self) -> Record:
        """Return it, checked. Raises BadRecord."""
        return record(
            _one("key", self.key, self.key_base64),
            _one("value", self.value, self.value_base64),
            self.content_type or "",
            self.ttl,
            self.expires,
        )


class LenientLine(Line, forbid_unknown_fields=False):
    """The same, beside members that have no meaning here."""


class _Begin(msgspec.Struct):
    export: int


class _End(msgspec.Struct, forbid_unknown_fields=True):
    end: bool
    count: int
    sha256: str


_BEGIN: Final = msgspec.json.Decoder(_Begin)
_END: Final = msgspec.json.Decoder(_End)
LINE: Final = msgspec.json.Decoder(Line)


class JsonLinesReader:
    """Reads records. `problem`: at the end, what is wrong with the file as a whole; "" for nothing.
    `read`: how many lines were records, or should have been. Raises BadHeader for another format."""

    header: bytes = b""

    def __init__(self, source: Source, lenient: bool = False) -> None:
        self.source = source
        self.problem = ""
        self.read = 0
        self.announced = False
        self.resumed_at: dict[str, str] = {}
        self._decoder = msgspec.json.Decoder(LenientLine if lenient else Line)

    def begin(self) -> None:
        """Read what stands before the records. To be called only in order to go on further down."""
        self._announces(self.source.readline())

    def __iter__(self) -> Iterator[Record | BadLine]:
        source = self.source
        ended = False
        while True:
            source.raw = b""
            before = source.offset
            try:
                line = source.readline()
                if not line:
                    break
                if not line.strip() or (before == 0 and self._announces(line)):
                    continue
                if ended:
                    raise BadRecord("a record behind the last line of an export")
                found: Record | BadLine = self._decoder.decode(line).record()
                found.line, found.raw = source.line, line
            except (BadRecord, msgspec.DecodeError, UnicodeDecodeError) as error:
                if end := self._ends(source.raw):
                    ended = True
                    self._check(end, source.digest_before_line())
                    continue
                found = _bad(source, error)
            self.read += 1
            yield found
        if self.announced and not ended:
            self.problem = "this export is not complete: its last line is missing"

    def _announces(self, line: bytes) -> bool:
        try:
            begin = _BEGIN.decode(line)
        except (msgspec.DecodeError, UnicodeDecodeError):
            return False
        self.announced = True
        if begin.export != FORMAT:
            raise BadHeader(f"the export has the format {begin.export}, and this version reads {FORMAT}")
        return True

    def _ends(self, line: bytes) -> _End | None:
        try:
            return _END.decode(line)
        except (msgspec.DecodeError, UnicodeDecodeError):
            return None

    def _check(self, end: _End, digest: str) -> None:
        if not self.announced:
            return  # a part of an export: nobody knows what it should be
        if end.count != self.read:
            self.problem = f"the export had {end.count:,} records, and {self.read:,} are here"
        elif end.sha256 != digest:
            self.problem = "the export was changed since it was made: its digest is another"


def _one(name: str, text: str | None, data: bytes | None) -> bytes | None:
    if text is None:
        return data
    if data is not None:
        raise BadRecord(f"{name} and {name}_base64 contradict each other")
    return text.encode()


def _bad(source: Source, error: Exception) -> BadLine:
    reason = str(error)
    if isinstance(error, msgspec.ValidationError):
        reason = reason.replace("Object contains unknown field", "there is no member named")
        return BadLine(source.line, reason, reason, source.raw)
    if isinstance(error, BadRecord):
        return BadLine(source.line, reason, error.counted, source.raw)
    return BadLine(source.line, f"no JSON object in UTF-8: {reason}", "no JSON object in UTF-8", source.raw)


# --- writing --------------------------------------------------------------------------------------------


def begin_line(wanted: KeyRange, cluster: str, expires: bool) -> bytes:
    """Return the first line of an export: what it is of."""
    said: dict[str, Any] = {"export": FORMAT, "cluster": cluster}
    bounds = {"prefix": wanted.prefix or None, "after": wanted.after, "before": wanted.before}
    for name, bound in bounds.items():
        if bound is not None:
            said |= shown(name, bound)
    return json.dumps(said | ({"expires": True} if expires else {})).encode() + b"\n"


def end_line(count: int, digest: str) -> bytes:
    """Return the last line of an export: how many records, and the SHA-256 of all bytes before it."""
    return json.dumps({"end": True, "count": count, "sha256": digest}).encode() + b"\n"


def key_of(line: bytes) -> bytes:
    """Return the key in a line that a node, or an export, has."""
    found = LINE.decode(line)
    return found.key.encode() if found.key is not None else found.key_base64 or b""


def with_moments(lines: Iterable[bytes]) -> Iterator[bytes]:
    """Replace what is left of a record's time by the moment at which it ends."""
    now_ms = time.time_ns() // 1_000_000
    for line in lines:
        found = LINE.decode(line)
        if (ttl := found.ttl) is not None:
            found.ttl, found.expires = None, moment_text(now_ms + ttl)
            line = msgspec.json.encode(found)
        yield line
