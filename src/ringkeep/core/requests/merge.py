"""Merges sorted parts of a listing that come from several sources, each read up to some key.

A key is listed once everything before it is known: that is up to the least position among the sources.
"""

from bisect import bisect_left
from collections.abc import Iterable
from math import isqrt
from operator import itemgetter
from typing import Final

from ringkeep.core.protocol import limits
from ringkeep.core.protocol.types import Millis

Row = tuple[bytes, int, Millis, bytes, bytes, bool]
"""Key, version, time to live (0: for ever), content type, value, and whether that is large, and left out."""

END: Final = b"\xff" * (limits.KEY_BYTES + 1)
"""The position of a source that has told everything: no key is so high."""


class Source:
    """What one source has told. `rows`: ascending. `position`: every key before it is told; END: all keys."""

    __slots__ = ("position", "rows")

    def __init__(self, position: bytes) -> None:
        self.position = position
        self.rows: list[Row] = []


def watermark(sources: Iterable[Source]) -> bytes:
    """Return the key before which everything is known; END if all is."""
    return min([each.position for each in sources], default=END)


def merged(sources: Iterable[Source]) -> tuple[list[Row], bytes]:
    """Return the rows before the watermark, in order, and the watermark."""
    sources = list(sources)
    until = watermark(sources)
    rows: list[Row] = []
    for each in sources:
        if each.rows and each.rows[-1][0] < until:
            rows += each.rows
        else:
            rows += each.rows[: bisect_left(each.rows, until, key=itemgetter(0))]
    rows.sort(key=itemgetter(0))
    return rows, until


def first_of(rows: list[Row], limit: int, most_bytes: int) -> int:
    """Return how many rows fill a page: `limit`, or so many that their values reach `most_bytes`; 0: these do
    not fill it.
    """
    size = 0
    for at, row in enumerate(rows[:limit]):
        size += len(row[4])
        if size >= most_bytes:
            return at + 1
    return limit if len(rows) >= limit else 0


def share_of(limit: int, sources: int) -> int:
    """Return how many rows to ask of each source, so that as a rule nobody must be asked twice: keys are
    spread evenly, so the source that has told least is some three deviations behind.
    """
    mean = limit // max(sources, 1) + 1
    return min(mean + 3 * isqrt(mean) + 8, limit)
