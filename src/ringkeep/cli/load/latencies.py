"""Counts latencies in buckets that are finer than a hundredth of what they hold, so that every percentile is
exact to that.

The buckets are those of HdrHistogram (G. Tene): linear within each power of two, 128 of them here. The
library of that name was not taken, since this is all that is needed of it.
"""

from typing import Final

_BITS: Final = 7  # 2**7 buckets for each power of two: 0.8 %
_LONGEST_US: Final = 1 << 36  # 19 hours


class Latencies:
    """Latencies in microseconds. `count`, `total_us` and `max_us` are exact."""

    __slots__ = ("_buckets", "count", "max_us", "total_us")

    def __init__(self) -> None:
        self._buckets = [0] * (_index(_LONGEST_US) + 1)
        self.count = 0
        self.total_us = 0
        self.max_us = 0

    def add(self, seconds: float) -> None:
        """Count one."""
        us = max(int(seconds * 1_000_000), 0)
        self._buckets[_index(min(us, _LONGEST_US))] += 1
        self.count += 1
        self.total_us += us
        if us > self.max_us:
            self.max_us = us

    def merge(self, other: "Latencies") -> None:
        """Count all of the other's too."""
        self._buckets = [a + b for a, b in zip(self._buckets, other._buckets, strict=True)]
        self.count += other.count
        self.total_us += other.total_us
        self.max_us = max(self.max_us, other.max_us)

    def percentile_us(self, percent: float) -> int:
        """Return what so many percent of them do not exceed; 0 of none."""
        wanted = max(1, -(-self.count * percent // 100))
        seen = 0
        for index, number in enumerate(self._buckets):
            seen += number
            if number and seen >= wanted:
                return min(_highest(index), self.max_us)
        return 0


def _index(us: int) -> int:
    shift = max(us.bit_length() - _BITS - 1, 0)
    return (shift << _BITS) + (us >> shift)


def _highest(index: int) -> int:
    """Return the longest latency that a bucket counts."""
    shift = max((index >> _BITS) - 1, 0)
    return (index - (shift << _BITS) + 1 << shift) - 1
