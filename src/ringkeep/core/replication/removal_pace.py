"""How fast a node removes what is due, over all the partitions that it leads: a little in each tick, in turn.

Nobody sees a record after its time, removed or not. So removals can wait, and clients need not: a million
records with one deadline are removed within minutes. The longer the first of them has waited, the
more are removed in a tick, so that removals keep up with whatever is written.
"""

from typing import Final, Protocol

from ringkeep.core.protocol.bounds import Bounds
from ringkeep.core.protocol.types import Millis

LATE_MS: Final[Millis] = 120_000  # for each such time that they are late, as many more are removed in a tick
MOST_TIMES: Final = 8  # but at most so many times as many
LEAST: Final = 8  # fewer count as so many: an entry costs something of its own


class Removing(Protocol):
    """A partition in which something may be due."""

    def remove_some(self, most: int) -> int:
        """Append a removal of so many records at most; return how many."""


class RemovalPace:
    """Gives turns to partitions that have asked for one, first come, first served."""

    __slots__ = ("_late_ms", "_waiting")

    def __init__(self) -> None:
        self._waiting: dict[Removing, None] = {}
        self._late_ms: Millis = 0  # how late the records were that were removed in the last tick

    def ask(self, partition: Removing) -> None:
        """Give this partition a turn. Harmless to repeat."""
        self._waiting[partition] = None

    def note_late(self, late_ms: Millis) -> None:
        """Records are removed so long after their time."""
        self._late_ms = max(self._late_ms, late_ms)

    def on_tick(self, bounds: Bounds) -> None:
        """Let partitions remove what may be removed in one tick."""
        if not self._waiting:
            return
        times = min(1 + self._late_ms // LATE_MS, MOST_TIMES)
        self._late_ms = 0
        left = bounds.expired_in_tick * times
        for partition in list(self._waiting):
            if left <= 0:
                return
            del self._waiting[partition]
            removed = partition.remove_some(left)
            left -= max(removed, LEAST) if removed else 1
