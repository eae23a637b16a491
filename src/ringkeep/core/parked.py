"""Requests that wait at a primary which cannot execute them yet.

Bounded in number, and over a node in bytes.
"""

from ringkeep.core import limits
from ringkeep.core.context import Context
from ringkeep.core.execute import Call
from ringkeep.core.types import Life, Millis

_COPY_BITS = 16  # of a tag: the copy's number


class Parked:
    """One primary's waiting room, in order of arrival."""

    __slots__ = ("_calls", "_context")

    def __init__(self, context: Context) -> None:
        self._context = context
        self._calls: dict[tuple[Life, int], Call] = {}

    def __bool__(self) -> bool:
        return bool(self._calls)

    @property
    def full(self) -> bool:
        """Whether nobody else may wait."""
        return len(self._calls) >= limits.PARKED_REQUESTS or self._context.parked_bytes >= limits.PARKED_BYTES

    def add(self, call: Call) -> None:
        """Let a request wait; a newer copy of it takes an older one's place."""
        name = call.caller, call.message.tag >> _COPY_BITS
        self._forget(name)
        self._calls[name] = call
        self._context.parked_bytes += len(call.message.value)

    def take_all(self) -> list[Call]:
        """Let everybody go on."""
        return self._take(list(self._calls))

    def take_late(self, now: Millis) -> list[Call]:
        """Let those go whose deadline has passed."""
        return self._take([name for name, call in self._calls.items() if now >= call.deadline])

    def _take(self, names: list[tuple[Life, int]]) -> list[Call]:
        calls = [self._calls[name] for name in names]
        for name in names:
            self._forget(name)
        return calls

    def _forget(self, name: tuple[Life, int]) -> None:
        call = self._calls.pop(name, None)
        if call is not None:
            self._context.parked_bytes -= len(call.message.value)
