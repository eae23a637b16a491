"""How snapshots flow: what a node sends in a second, what it takes in at one time, and how rows are summed.

Knows no messages. Time comes in as milliseconds, so that a run can be repeated.
"""

from enum import IntEnum
from itertools import chain
from typing import Final, Protocol

from google_crc32c import extend as crc32c_extend

from ringkeep.core.protocol import limits
from ringkeep.core.protocol.bounds import Bounds
from ringkeep.core.protocol.types import Millis


class Urgency(IntEnum):
    """Why a replica is sent a snapshot: the lower, the sooner. Nothing waits for what is less urgent."""

    TAKEOVER = 0  # its partition serves nobody until then
    VOTER = 1  # its partition is short of a copy until then
    MOVE = 2  # it learns: there are enough copies without it


class Pace:
    """How fast moves go, as operators set it. 0 bytes a second: without a limit."""

    __slots__ = ("bytes_per_s", "paused")

    def __init__(self) -> None:
        self.bytes_per_s = 0
        self.paused = False


BURST_MS: Final = 2 * limits.TICK_MS
"""A sender that had nothing to send may catch up for so long, and no longer: clients wait behind a burst."""


class TokenBucket:
    """A token bucket: how many bytes may be sent just now, when so many may be in a second.

    The last chunk may overdraw it; then nothing goes until the debt is paid. So the rate holds on average
    however large a chunk is.
    """

    __slots__ = ("_at", "_left")

    def __init__(self) -> None:
        self._left = 0  # in thousandths of a byte
        self._at: Millis = 0

    def allows(self, now: Millis, bytes_per_s: int) -> bool:
        """Tell whether something may be sent. 0 bytes a second: there is no limit."""
        if not bytes_per_s:
            self._left, self._at = 0, now
            return True
        self._left = min(self._left + (now - self._at) * bytes_per_s, BURST_MS * bytes_per_s)
        self._at = now
        return self._left > 0

    def spend(self, size: int, bytes_per_s: int) -> None:
        """Note that so many bytes were sent."""
        if bytes_per_s:
            self._left -= size * 1000


class Taker(Protocol):
    """One snapshot on its way in. `held`: its holder sends nothing, since moves are paused."""

    @property
    def urgency(self) -> Urgency: ...

    @property
    def held(self) -> bool: ...

    def go_on(self) -> None:
        """There may be room again for one that was told to wait."""


class Intake:
    """What one node takes in, over all snapshots that it is sent: no more than its disk keeps up with."""

    __slots__ = ("_asked", "_bounds", "_staged", "_synced", "_takers")

    def __init__(self, bounds: Bounds) -> None:
        self._bounds = bounds
        self._takers: dict[Taker, None] = {}  # in the order in which they came
        self._staged = 0  # bytes, since the start
        self._asked = 0  # of these, up to where a sync was asked for
        self._synced = 0

    def enter(self, taker: Taker) -> None:
        """A snapshot was offered, and is wanted."""
        self._takers[taker] = None

    def leave(self, taker: Taker) -> None:
        """It is switched to, or given up. Whoever waited for its place is told at the next tick."""
        self._takers.pop(taker, None)

    def room(self, taker: Taker) -> int:
        """Return how many bytes of this snapshot may be on their way; 0: wait."""
        bounds = self._bounds
        if taker.held or self._staged - self._synced >= bounds.staging_unsynced_bytes:
            return 0
        return bounds.snapshot_window_bytes if self._before(taker) < bounds.stagings_at_once else 0

    def _before(self, taker: Taker) -> int:
        """Count those that come first: the more urgent ones, and those that have waited for longer."""
        first, urgency, passed = 0, taker.urgency, False
        for other in self._takers:
            if other is taker:
                passed = True
            elif not other.held:
                first += other.urgency < urgency or (other.urgency == urgency and not passed)
        return first

    def add(self, size: int) -> int:
        """Count what was staged. Return a mark for `on_durable` if a sync is due, else 0."""
        self._staged += size
        if self._staged - self._asked < self._bounds.staging_sync_bytes:
            return 0
        self._asked = self._staged
        return self._asked

    def on_durable(self, mark: int) -> None:
        """What was staged up to this mark is on disk."""
        self._synced = mark
        for taker in list(self._takers):
            taker.go_on()


def running_checksum(rows: list[tuple[bytes, bytes]], checksum: int) -> tuple[int, int]:
    """Return the CRC-32C of all rows so far, and the size of these.

    Over one piece: call by call it would cost more than the rest of what is done with a row.
    """
    packed = b"".join(chain.from_iterable(rows))
    return crc32c_extend(checksum, packed), len(packed)
