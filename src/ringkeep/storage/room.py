"""Watches the free disk space of a node's data, in a thread of its own: a file system may not answer.

While there is not clearly more than the reserve, the store is asked now and then to free some. Knows nothing
of what follows for the node.
"""

import os
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Final

from ringkeep.core.disk_state import EASED
from ringkeep.errors import StorageError, of_directory

LOOK_S: Final = 0.1
LOOK_AGAIN_S: Final = 0.005  # while there is less than the reserve: somebody may be filling the disk
MAKE_ROOM_S: Final = 5.0
CLOSE_S: Final = 1.0

_LAST: Final = 16
"""With less than 1/16 of the reserve nothing is written: RocksDB's background work needs that space."""


class RoomWatch:
    """Measures until it is closed. `seen`: free bytes, and the number of the measurement."""

    def __init__(self, directory: Path, reserve: int, make_room: Callable[[], None]) -> None:
        """Measure once at once. `make_room` is called in a thread of its own. Raises StorageError."""
        self._directory = directory
        self._reserve = reserve
        self._enough = reserve + reserve // EASED  # less than this may still count as less than the reserve
        self._make_room = make_room
        self._over = threading.Event()
        self._maker: threading.Thread | None = None
        self._made_at = -MAKE_ROOM_S
        try:
            self.seen = self._free(), 1
        except OSError as error:
            raise of_directory(directory, error) from error
        self._thread = threading.Thread(target=self._run, name="ringkeep-room", daemon=True)
        self._thread.start()

    def used_up(self) -> bool:
        """Whether nothing may be written any more. Cost: 0.1 µs."""
        return self.seen[0] < self._reserve // _LAST

    def close(self) -> None:
        """Stop. Waits for running threads, but at most CLOSE_S for each: the disk may not answer."""
        self._over.set()
        for thread in (self._thread, self._maker):
            if thread is not None:
                thread.join(CLOSE_S)

    def _free(self) -> int:
        disk = os.statvfs(self._directory)
        return disk.f_bavail * disk.f_frsize

    def _run(self) -> None:
        while not self._over.wait(LOOK_S if self.seen[0] >= self._enough else LOOK_AGAIN_S):
            with suppress(OSError):  # the number of the measurement stays the same, which shows the failure
                self.seen = self._free(), self.seen[1] + 1
            rested = time.monotonic() - self._made_at >= MAKE_ROOM_S
            if self.seen[0] < self._enough and rested and not self._making and not self.used_up():
                self._made_at = time.monotonic()
                self._maker = threading.Thread(target=self._make, name="ringkeep-making-room", daemon=True)
                self._maker.start()

    @property
    def _making(self) -> bool:
        return self._maker is not None and self._maker.is_alive()

    def _make(self) -> None:
        with suppress(StorageError):  # the store has recorded it, and raises it at the next tick
            self._make_room()
