"""The clock of a partition's log, by which records expire. It runs with the monotonic clock of an ACTIVE
primary, also when nobody writes, and continues from where the primary before had come as far as that is
known.

No two clocks are compared: a record's deadline and the time at which it is due are times of this clock. It
stands still while there is no primary, so that a record may live longer than asked.
"""

from ringkeep.core.protocol.types import Millis


class LogClock:
    """One primary's clock. `confirmed_at`: when the last round began that a majority confirmed: so long
    nobody else was primary. `ahead_ms`: how far it runs past that.
    """

    __slots__ = ("_ahead_ms", "_at", "_time", "confirmed_at")

    def __init__(self, now: Millis, ahead_ms: Millis) -> None:
        self._ahead_ms = ahead_ms
        self._at = self.confirmed_at = now
        self._time: Millis = 0

    def start(self, now: Millis, time: Millis) -> None:
        """Continue from a log time."""
        self._at, self._time = now, time

    def read(self, now: Millis) -> Millis:
        """Return the log time by which what is due is judged."""
        until = min(now, self.confirmed_at + self._ahead_ms)
        if until > self._at:
            self._time += until - self._at
            self._at = until
        return self._time

    def unconfirmed(self, now: Millis) -> Millis:
        """Return the log time that it is if this node is still the primary: what a time to live counts from,
        because the clock may catch up at any moment.
        """
        return self.read(now) + max(now - self._at, 0)
