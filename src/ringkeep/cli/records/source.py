"""The bytes of a file or a pipe as lines, with their numbers, offsets, and a digest of all that was read."""

import hashlib
from typing import BinaryIO, Final

from ringkeep.cli.records.record import BadRecord
from ringkeep.core.protocol.limits import VALUE_BYTES

LINE_BYTES: Final = 6 * VALUE_BYTES + (64 << 10)
"""The longest line: JSON may need six bytes for one of a value."""
_CHUNK: Final = 1 << 20
_BYTE_ORDER_MARK: Final = b"\xef\xbb\xbf"


class Changed(Exception):
    """The input is not the one that was read before."""


class Source:
    """Reads a stream line by line. `offset`: of the next byte; `line`: number of the last line read; `raw`:
    the lines read since it was last emptied."""

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream
        self._digest = hashlib.sha256()
        self._last = b""  # the last line, which is not in the digest yet
        self.offset = 0
        self.line = 0
        self.raw = b""

    def readline(self) -> bytes:
        """Return the next line with its end, b"" at the end of the input.

        Raises BadRecord for a line that is longer than any record; it is passed over.
        """
        self._digest.update(self._last)
        line = self._last = self._stream.readline(LINE_BYTES)
        first, self.offset = not self.offset, self.offset + len(line)
        if line:
            self.line += 1
            self.raw = self.raw + line if self.raw else line
        if len(line) == LINE_BYTES and not line.endswith(b"\n"):
            self._pass_over()
            self.raw = b""
            raise BadRecord(f"the line has more than {LINE_BYTES} bytes", "a line that is too long")
        return line.removeprefix(_BYTE_ORDER_MARK) if first else line

    def skip_to(self, offset: int, line: int) -> None:
        """Pass over what lies before an offset, which is the end of that line. Raises Changed if there is
        not so much."""
        self.digest()
        while self.offset < offset:
            chunk = self._stream.read(min(_CHUNK, offset - self.offset))
            if not chunk:
                raise Changed(f"it ends after {self.offset:,} bytes, and {offset:,} had been read")
            self._digest.update(chunk)
            self.offset += len(chunk)
        self.line = line

    def digest(self) -> str:
        """Return the SHA-256 of everything before `offset`."""
        self._digest.update(self._last)
        self._last = b""
        return self._digest.hexdigest()

    def digest_before_line(self) -> str:
        """Return the SHA-256 of everything before the last line. To be called before `digest`."""
        return self._digest.hexdigest()

    def _pass_over(self) -> None:
        self.digest()
        while chunk := self._stream.readline(_CHUNK):
            self._digest.update(chunk)
            self.offset += len(chunk)
            if chunk.endswith(b"\n"):
                return
