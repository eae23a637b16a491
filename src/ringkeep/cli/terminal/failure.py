"""The exception that ends a command: one line for people, one exit code for programs."""

from ringkeep.exit_codes import FAILED


class Failure(Exception):
    """Ends the command: `main` prints the message on standard error and exits with the code."""

    def __init__(self, message: str, exit_code: int = FAILED) -> None:
        super().__init__(message)
        self.exit_code = exit_code
