"""How much room there is where a node's data is, looked at by a thread: a file system may not answer.

While there is less than the reserve, room is made now and then. Knows nothing of what follows for the node.
"""

import os
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Final

from ringkeep.errors import StorageError, of_directory

LOOK_S: Final = 0.1
LOOK_AGAIN_S: Final = 0.005  # while there is less than the reserve: somebody may be filling the disk
MAKE_ROOM_S: Final = 5.0
CLOSE_S: Final = 1.0

_LAST: Final = 16
"""With less than this part of the reserve nothing is written: what RocksDB has begun by itself needs it."""


class RoomWatch:
    """Looks until it is closed. `seen`: bytes free, and the number of the look that has shown it."""

    def __init__(self, directory: Path, reserve: int, make_room: Callable[[], None]) -> None:
        """Look once, here and now. `make_room` is called in a thread of its own. Raises StorageError."""
        self._directory = directory
        self._reserve = reserve
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
        """Tell whether nothing may be written any more. Cost: 0.1 µs."""
        return self.seen[0] < self._reserve // _LAST

    def close(self) -> None:
        """Look no more. Waits for what runs, but not for a disk that does not answer."""
        self._over.set()
        for thread in (self._thread, self._maker):
            if thread is not None:
                thread.join(CLOSE_S)

    def _free(self) -> int:
        found = os.statvfs(self._directory)
        return found.f_bavail * found.f_frsize

    def _run(self) -> None:
        while not self._over.wait(LOOK_S if self.seen[0] >= self._reserve else LOOK_AGAIN_S):
            with suppress(OSError):  # no look: the number stays, and says so
                self.seen = self._free(), self.seen[1] + 1
            rested = time.monotonic() - self._made_at >= MAKE_ROOM_S
            if self.seen[0] < self._reserve and rested and not self._making and not self.used_up():
                self._made_at = time.monotonic()
                self._maker = threading.Thread(target=self._make, name="ringkeep-making-room", daemon=True)
                self._maker.start()

    @property
    def _making(self) -> bool:
        return self._maker is not None and self._maker.is_alive()

    def _make(self) -> None:
        with suppress(StorageError):  # the store has noted it, and the node hears of it at the next tick
            self._make_room()
