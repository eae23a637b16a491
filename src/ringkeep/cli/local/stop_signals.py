"""Counts requests to stop: Ctrl-C, SIGTERM and a closed terminal, without raising an exception."""

import signal
import time
from collections.abc import Callable
from types import FrameType, TracebackType
from typing import Final

POLL_S: Final = 0.05


def _is_left_to_others(number: signal.Signals) -> bool:
    """Whether our parent (`nohup`) ignores SIGHUP, so that a closed terminal does not end us."""
    return number == signal.SIGHUP and signal.getsignal(number) is signal.SIG_IGN


class StopRequests:
    """Counts the requests to stop while it is entered. The first asks for a graceful stop, the second for an
    immediate one."""

    SIGNALS: Final = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)

    def __init__(self) -> None:
        self.count = 0
        self._before: list[tuple[signal.Signals, object]] = []

    def __enter__(self) -> "StopRequests":
        heard = [number for number in self.SIGNALS if not _is_left_to_others(number)]
        self._before = [(number, signal.signal(number, self._on_signal)) for number in heard]
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number, handler in self._before:
            signal.signal(number, handler)  # type: ignore[arg-type]  # it came from signal.signal itself

    def __bool__(self) -> bool:
        return self.count > 0

    def wait(self, until: Callable[[], bool], limit_s: float, at_count: int = 1) -> bool:
        """Wait until the condition holds, `at_count` requests came or the time is up; whether it holds."""
        deadline = time.monotonic() + limit_s
        while not until():
            if self.count >= at_count or time.monotonic() >= deadline:
                return False
            time.sleep(POLL_S)
        return True

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        self.count += 1
