"""One record of a file: a key with what is stored under it, checked as a node would check it.

So a record that no node takes is refused here, with its line, and cannot spoil the batch it would be in.
"""

import re
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

from ringkeep.core.protocol.limits import CONTENT_TYPE_BYTES, KEY_BYTES, MAX_TTL_MS, VALUE_BYTES

_CONTENT_TYPE: Final = re.compile(rf"[\x20-\x7e]{{0,{CONTENT_TYPE_BYTES}}}")


class BadRecord(ValueError):
    """This is no record. The text says why; `counted` is the same for all records with this mistake."""

    def __init__(self, text: str, counted: str = "") -> None:
        super().__init__(text)
        self.counted = counted or text


class BadHeader(Exception):
    """What stands before the records says that this cannot be read."""


@dataclass(slots=True)
class Record:
    """`ttl_ms`: milliseconds to live from when it is written; `expires_ms`: the end of its life, in
    milliseconds since 1970. At most one of them; neither: for ever. `line`: where it begins, from 1; `raw`:
    its bytes in the file."""

    key: bytes
    value: bytes
    content_type: str = ""
    ttl_ms: int | None = None
    expires_ms: int | None = None
    line: int = 0
    raw: bytes = b""

    def left_ms(self) -> int | None:
        """Return how long it has to live from now on; None: for ever; 0 or less: its time is over."""
        if self.expires_ms is None:
            return self.ttl_ms
        return self.expires_ms - time.time_ns() // 1_000_000


@dataclass(slots=True)
class BadLine:
    """What stands in the place of a record and is none."""

    line: int
    reason: str
    counted: str
    raw: bytes


def record(
    key: bytes | None, value: bytes | None, content_type: str, ttl_ms: int | None, expires: str | None
) -> Record:
    """Return a checked record. Raises BadRecord."""
    if key is None:
        raise BadRecord("there is no key")
    if not 1 <= len(key) <= KEY_BYTES:
        raise BadRecord(f"a key has 1 to {KEY_BYTES} bytes, this one has {len(key)}", "the key's length")
    if value is None:
        raise BadRecord("there is no value")
    if len(value) > VALUE_BYTES:
        raise BadRecord(f"a value has at most {VALUE_BYTES} bytes, this one has {len(value)}", "a long value")
    if content_type and not _CONTENT_TYPE.fullmatch(content_type):
        raise BadRecord(f"content_type: up to {CONTENT_TYPE_BYTES} printable ASCII characters")
    if ttl_ms is not None and not 1 <= ttl_ms <= MAX_TTL_MS:
        raise BadRecord(f"ttl: 1 to {MAX_TTL_MS} milliseconds, not {ttl_ms}", "ttl out of range")
    if expires is None:
        return Record(key, value, content_type, ttl_ms)
    if ttl_ms is not None:
        raise BadRecord("ttl and expires contradict each other")
    return Record(key, value, content_type, None, moment_ms(expires))


def moment_ms(text: str) -> int:
    """Read a time like 2030-01-31T12:00:00Z; return milliseconds since 1970. Raises BadRecord."""
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise BadRecord(
            f"expires: write it like 2030-01-31T12:00:00Z, not {text[:40]!r}", "expires"
        ) from None
    if moment.tzinfo is None:
        raise BadRecord(f"expires: {text!r} names no time zone (Z, +01:00)", "expires without a time zone")
    return round(moment.timestamp() * 1_000)


def moment_text(milliseconds: int) -> str:
    """Return a time as `moment_ms` reads it."""
    whole, rest = divmod(milliseconds, 1_000)
    return f"{datetime.fromtimestamp(whole, UTC):%Y-%m-%dT%H:%M:%S}.{rest:03d}Z"
