"""How long the disk itself takes, measured beside a test: whatever syncs waits while its disk stalls."""

import os
import threading
import time
from pathlib import Path
from types import TracebackType

PAUSE_S = 0.02
STALL_S = 0.05  # an ordinary sync takes a tenth of it, also beside others


class DiskProbe:
    """Syncs a small file again and again, and notes when that took long. Use as a context."""

    def __init__(self, directory: Path) -> None:
        self._path = directory / "probe"
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._stalls: list[tuple[float, float]] = []

    def __enter__(self) -> "DiskProbe":
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._over.set()
        self._thread.join(60)

    def stalled_s(self, began: float, seconds: float) -> float:
        """Return for how much of this time, by the monotonic clock, the disk stood still."""
        end = began + seconds
        return sum(max(0.0, min(until, end) - max(since, began)) for since, until in self._stalls)

    @property
    def longest_s(self) -> float:
        return max((until - since for since, until in self._stalls), default=0.0)

    def _run(self) -> None:
        with self._path.open("wb") as opened:
            while not self._over.wait(PAUSE_S):
                since = time.monotonic()
                opened.write(b"probe" * 800)
                opened.flush()
                os.fdatasync(opened.fileno())
                if time.monotonic() - since > STALL_S:
                    self._stalls.append((since, time.monotonic()))
