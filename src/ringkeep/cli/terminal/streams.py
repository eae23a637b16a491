"""Makes the standard streams usable: closed ones, full ones, and encodings that lack characters we print.

Knows nothing of commands. `prepare` is called first in a process, before any file is opened.
"""

import codecs
import os
import sys
from typing import Final, TextIO

_PLAIN: Final = {
    "–": "-",
    "—": "-",
    "…": "...",
    "×": "x",
    "≥": ">=",
    "≤": "<=",
    "→": "->",
    "“": '"',
    "”": '"',
}
_HANDLER: Final = "ringkeep-plain"


def prepare() -> None:
    """Make the three streams usable. Harmless to repeat.

    A closed descriptor is taken, so that no file of ours gets its number: a stray read or write would reach
    our data. The device behind it refuses reads (standard input) or writes (standard output), so that a
    command notices that its result is lost; messages on standard error are dropped.
    """
    codecs.register_error(_HANDLER, _in_plain_characters)
    for number, flags in ((0, os.O_WRONLY), (1, os.O_RDONLY), (2, os.O_WRONLY)):
        if not _is_open(number):
            taken = os.open(os.devnull, flags)
            if taken != number:
                os.dup2(taken, number, inheritable=False)
                os.close(taken)
    # Python has no stream where the descriptor was closed when it started.
    if sys.stdin is None:
        sys.stdin = open(0, closefd=False)  # noqa: SIM115  # it lives as long as the process
    if sys.stdout is None:
        sys.stdout = open(1, "w", closefd=False)  # noqa: SIM115
    if sys.stderr is None:
        sys.stderr = open(2, "w", closefd=False)  # noqa: SIM115
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):  # tests put other streams there
            stream.reconfigure(errors=_HANDLER)


def flush_output() -> None:
    """Write out what the command has printed. Raises OSError if that fails.

    Then the output is dropped: Python would try again at exit, and print an error.
    """
    try:
        sys.stdout.flush()
    except OSError as error:
        with open(os.devnull, "wb") as nowhere:
            os.dup2(nowhere.fileno(), sys.stdout.fileno())
        raise type(error)(error.errno, error.strerror, "standard output") from None


def is_unicode(stream: TextIO) -> bool:
    """Whether every character can be written there."""
    return (stream.encoding or "").lower().replace("-", "").startswith("utf")


def _is_open(number: int) -> bool:
    try:
        os.fstat(number)
    except OSError:
        return False
    return True


def _in_plain_characters(error: UnicodeError) -> tuple[str, int]:
    """Replace characters that the encoding lacks by ASCII ones: a codec's error handler."""
    assert isinstance(error, UnicodeEncodeError), "only output has this handler"
    lacking = error.object[error.start : error.end]
    return "".join(_PLAIN.get(character, "?") for character in lacking), error.end
