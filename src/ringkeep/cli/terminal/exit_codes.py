"""How a command ends that cannot do what it was asked: one line for people, one exit code for programs."""

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


class Failure(Exception):
    """Ends the command: `main` prints the message on standard error and exits with the code."""

    def __init__(self, message: str, exit_code: int = FAILED) -> None:
        super().__init__(message)
        self.exit_code = exit_code
