"""Waiting for a condition. Every test waits with this, so that a failure says what for and how long."""

import asyncio
import time
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from typing import Any

PATIENCE_S = 30.0  # for what takes a second on an idle machine
PAUSE_S = 0.01

What = Callable[[], str] | str
"""What is waited for. A function is asked at the end of the time, and can say what there is instead."""


def until(condition: Callable[[], Any], what: What, limit_s: float = PATIENCE_S) -> Any:
    """Return the first true value of the condition; fail with what was waited for."""
    for found in _looks(condition, what, limit_s):
        if found:
            return found
        time.sleep(PAUSE_S)


async def until_async(condition: Callable[[], Any], what: What, limit_s: float = PATIENCE_S) -> Any:
    """As `until`, while the event loop runs."""
    for found in _looks(condition, what, limit_s):
        if found:
            return found
        await asyncio.sleep(PAUSE_S / 10)


def until_each(
    names: Iterable[str],
    condition: Callable[[str], Any],
    what: Callable[[str], str],
    limit_s: float = PATIENCE_S,
) -> None:
    """Wait for a condition on each of these in turn; `what` says it, given the name."""
    for name in names:
        until(partial(condition, name), partial(what, name), limit_s)


def _looks(condition: Callable[[], Any], what: What, limit_s: float) -> Iterator[Any]:
    """What the condition says, again and again. Fails at the end of the time, after a last look."""
    deadline = time.monotonic() + limit_s
    while True:
        late = time.monotonic() > deadline  # before the look: one that took long may still have found it
        yield condition()
        if late:
            raise AssertionError(f"waited {limit_s:g} s for: {what if isinstance(what, str) else what()}")
