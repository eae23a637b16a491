"""How snapshots flow: how much a node sends per second, how much it accepts ahead of its disk, and the
checksum of rows.

Knows no messages. Time comes in as milliseconds, so that a run can be repeated.
"""

from enum import IntEnum
from itertools import chain
from typing import Final

from google_crc32c import extend as crc32c_extend

from ringkeep.core.protocol import limits
from ringkeep.core.protocol.bounds import Bounds
from ringkeep.core.protocol.types import Millis


class Urgency(IntEnum):
    """Why a replica is sent a snapshot; lower values go first, and never wait for higher ones."""

    TAKEOVER = 0  # its partition is not served until then
    VOTER = 1  # its partition is short of a copy until then
    MOVE = 2  # for a learner: there are enough copies without it


class Pace:
    """How fast moves go, as operators set it. 0 bytes a second: without a limit."""

    __slots__ = ("bytes_per_s", "paused")

    def __init__(self) -> None:
        self.bytes_per_s = 0
        self.paused = False


BURST_MS: Final = 2 * limits.TICK_MS
"""How much unused time a sender may make up for, at most: clients wait behind a burst."""


class TokenBucket:
    """A token bucket: whether bytes may be sent at present, under a rate in bytes per second. A chunk may
    overdraw it; then nothing is sent until the debt is paid. So the rate holds on average whatever the size
    of a chunk.
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


class StagingBudget:
    """Bounds the bytes of all snapshots that a node has accepted and that are not durable yet."""

    __slots__ = ("_bounds", "_unasked", "_unsynced")

    def __init__(self, bounds: Bounds) -> None:
        self._bounds = bounds
        self._unsynced = 0  # bytes
        self._unasked = 0  # of these, the bytes for which no sync was requested

    @property
    def has_room(self) -> bool:
        """Whether more may be requested."""
        return self._unsynced < self._bounds.staging_unsynced_bytes

    def add(self, size: int) -> int:
        """Count what was staged. Return for how many bytes a sync is due, 0 if none is."""
        self._unsynced += size
        self._unasked += size
        if self._unasked < self._bounds.staging_sync_bytes:
            return 0
        due, self._unasked = self._unasked, 0
        return due

    def on_durable(self, size: int) -> None:
        """Note that so many bytes are on disk."""
        self._unsynced -= size


def running_checksum(rows: list[tuple[bytes, bytes]], checksum: int) -> tuple[int, int]:
    """Return the CRC-32C of all rows so far, and the size of these.

    The rows are joined first: one call per row would cost more than everything else that is done with it.
    """
    packed = b"".join(chain.from_iterable(rows))
    return crc32c_extend(checksum, packed), len(packed)
