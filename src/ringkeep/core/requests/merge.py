"""Merges sorted parts of a listing that come from several sources, each read up to some key.

A key is listed once everything before it is known: that is up to the least position among the sources.
"""

from bisect import bisect_left
from collections.abc import Iterable
from math import isqrt
from operator import itemgetter
from typing import Final, Generic, TypeVar

from ringkeep.core.protocol import limits

Row = TypeVar("Row", bound=tuple[object, ...])

END: Final = b"\xff" * (limits.KEY_BYTES + 1)
"""The position of a source that has told everything: no key is so high."""


class Source(Generic[Row]):
    """What one source has told. `rows` begin with their keys, ascending. `position`: every key before it is
    told; END: all keys.
    """

    __slots__ = ("position", "rows")

    def __init__(self, position: bytes) -> None:
        self.position = position
        self.rows: list[Row] = []


def watermark(sources: Iterable[Source[Row]]) -> bytes:
    """Return the key before which everything is known; END if all is."""
    return min((each.position for each in sources), default=END)


def merged(sources: Iterable[Source[Row]]) -> tuple[list[Row], bytes]:
    """Return the rows before the watermark, in order, and the watermark."""
    sources = list(sources)
    until = watermark(sources)
    rows: list[Row] = []
    for each in sources:
        rows += each.rows[: bisect_left(each.rows, until, key=itemgetter(0))]
    rows.sort(key=itemgetter(0))
    return rows, until


def share_of(limit: int, sources: int) -> int:
    """Return how many rows to ask of each source, so that as a rule nobody must be asked twice: keys are
    spread evenly, so the source that has told least is some three deviations behind.
    """
    mean = limit // max(sources, 1) + 1
    return min(mean + 3 * isqrt(mean) + 8, limit)
