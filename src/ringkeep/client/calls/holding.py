"""A lock as a key with a time to live: what both clients decide alike, without waiting for anything.

The holder renews the key before its time is over. Whoever finds it gone, or another's, has lost the lock. By
its own clock a holder gives up a little early: its key cannot expire before that, as it was renewed later.
"""

import secrets
import time
from dataclasses import dataclass, field
from typing import Final

from ringkeep.client.errors import Unavailable
from ringkeep.client.observing import LOG

RENEWED: Final = 3
"""A lock is renewed so many times within its ttl: two renewals may fail."""
LEAST_TTL_S: Final = 0.5


class LockLost(Unavailable):
    """The lock is not held any more, or that is not sure: its time is over, or somebody else has it."""


@dataclass(slots=True)
class Holding:
    """A lock that was taken. `token`: greater than that of every earlier holder; hand it to what the lock
    protects, and let that refuse smaller ones (a fencing token)."""

    name: bytes
    ttl_s: float
    owner: bytes = field(default_factory=lambda: secrets.token_hex(16).encode())
    token: int = 0
    version: int = 0
    lost: bool = False
    _until: float = 0.0

    def taken(self, version: int, asked_at: float) -> None:
        """The key is there, written for a request that was made at `asked_at`, by the monotonic clock."""
        self.token = self.version = version
        self.lost = False
        self._until = asked_at + self.ttl_s

    def renewed(self, version: int, asked_at: float) -> None:
        """Its time begins anew."""
        self.version = version
        self._until = asked_at + self.ttl_s

    def lose(self) -> None:
        """It is somebody else's, or its time is over before it was given back."""
        self.lost = True
        LOG.warning("the lock %r is lost", self.name)

    @property
    def left_s(self) -> float:
        """How long it is held at least, without another renewal; 0 once it is lost."""
        return 0.0 if self.lost else max(self._until - time.monotonic(), 0.0)

    @property
    def renew_in_s(self) -> float:
        """When to renew it."""
        return max(self.left_s - self.ttl_s * (RENEWED - 1) / RENEWED, 0.0)


def checked_ttl(ttl: float) -> float:
    """Return a lock's ttl. Raises ValueError if it is too short for renewals."""
    if not ttl >= LEAST_TTL_S:
        raise ValueError(
            f"a lock has a ttl of at least {LEAST_TTL_S:g} s, not {ttl!r}: it must be renewed in time"
        )
    return ttl
