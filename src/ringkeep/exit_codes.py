"""With which code a process of Ringkeep ends: for the scripts and service managers that started it."""

from typing import Final

OK: Final = 0
FAILED: Final = 1
USAGE: Final = 2
NOT_FOUND: Final = 3
UNAVAILABLE: Final = 4
CLUSTER_DEGRADED: Final = 5
CLUSTER_UNAVAILABLE: Final = 6
REFUSED: Final = 78
INTERRUPTED: Final = 130
