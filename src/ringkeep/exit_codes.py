"""The exit codes of Ringkeep's processes, for scripts and service managers."""

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
