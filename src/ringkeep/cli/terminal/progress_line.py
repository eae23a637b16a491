"""One line at the bottom of a terminal that shows the progress of long work; nothing in a pipe."""

import shutil
import sys
from types import TracebackType
from typing import Final

_CLEAR: Final = "\r\x1b[K"


class ProgressLine:
    """The line. It is drawn on standard error, to keep it apart from the command's output."""

    def __init__(self) -> None:
        self.on_terminal = sys.stdout.isatty() and sys.stderr.isatty()
        self._shown = False

    def __enter__(self) -> "ProgressLine":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.clear()

    def show(self, text: str) -> None:
        """Redraw the line, cut to the terminal's width: a second line could not be erased."""
        if self.on_terminal:
            width = max(shutil.get_terminal_size().columns - 1, 20)
            sys.stderr.write(_CLEAR + (text if len(text) <= width else text[: width - 1] + "…"))
            sys.stderr.flush()
            self._shown = True

    def clear(self) -> None:
        """Erase the line. Harmless to repeat."""
        if self._shown:
            sys.stderr.write(_CLEAR)
            sys.stderr.flush()
            self._shown = False

    def say(self, text: str) -> None:
        """Print a line that stays, also in a pipe: something that the user should act on."""
        self.clear()
        print(f"ringkeep: {text}", file=sys.stderr, flush=True)
