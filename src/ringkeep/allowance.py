"""Bounds how much input one turn of the loop takes, in bytes and in time.

Without a bound, a burst is read, executed, written and sent in one turn; heartbeats and small requests wait
for its end, and a node under load looks dead. Input beyond the bound waits in order for a later turn, and the
loop handles everything else in between.
"""

import asyncio
from collections import deque
from collections.abc import Callable
from typing import Final

TURN_BYTES: Final = 256 << 10
"""What one turn takes costs several times its reading: logs, disks and copies. With 2 MiB, small reads beside
four writers of 4 MiB took 75 ms instead of 56 (p50; p99 295 instead of 164), and no more was written."""
TURN_S: Final = 0.02


class TurnAllowance:
    """What one kind of input may still cost in this turn. All calls are on the loop's thread."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._open = False  # something was taken in this turn
        self._left = 0
        self._until = 0.0
        self._waiting: deque[Callable[[], None]] = deque()
        self._serving = False

    @property
    def spent(self) -> bool:
        """Whether nothing more is to be taken in this turn: others wait already, or it was enough."""
        if self._waiting and not self._serving:
            return True
        return self._open and (self._left <= 0 or self._loop.time() >= self._until)

    def spend(self, count: int) -> None:
        """Note that so many bytes were taken; what they cost otherwise is measured."""
        if not self._open:
            self._open = True
            self._left = TURN_BYTES
            self._until = self._loop.time() + TURN_S
            self._loop.call_soon(self._renew)
        self._left -= count

    def wait(self, go_on: Callable[[], None]) -> None:
        """Have `go_on` called once, in a later turn; if it then cannot finish, it waits again."""
        if not self._waiting and not self._open:
            self._loop.call_soon(self._renew)
        self._waiting.append(go_on)

    def _renew(self) -> None:
        """A new turn: call those that wait, as far as the allowance goes."""
        self._open = False
        self._serving = True
        try:
            for _ in range(len(self._waiting)):
                if self.spent:
                    break
                self._waiting.popleft()()
        finally:
            self._serving = False
            if self._waiting and not self._open:
                self._loop.call_soon(self._renew)
