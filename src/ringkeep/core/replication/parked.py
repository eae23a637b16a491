"""Requests that wait at a primary which cannot execute them yet.

Bounded in number, and in bytes over all partitions of the node.
"""

from ringkeep.core.context import Context
from ringkeep.core.protocol.types import COPY_BITS, Life, Millis
from ringkeep.core.replication.budget import Budget
from ringkeep.core.replication.pending import Call


def _name(call: Call) -> tuple[Life, int]:
    """Return a name that all copies of one request share."""
    return call.caller, call.message.tag >> COPY_BITS


class Parked:
    """One primary's waiting room, in order of arrival."""

    __slots__ = ("_budget", "_calls", "_context")

    def __init__(self, context: Context, budget: Budget) -> None:
        self._context = context
        self._budget = budget
        self._calls: dict[tuple[Life, int], Call] = {}

    def __bool__(self) -> bool:
        return bool(self._calls)

    def add(self, call: Call) -> bool:
        """Add a request if there is room; return whether it waits. A newer copy replaces an older one, even
        when there is no room."""
        context, bounds, name = self._context, self._context.bounds, _name(call)
        if name not in self._calls:
            if len(self._calls) >= bounds.parked_requests or self._budget.parked_bytes >= bounds.parked_bytes:
                return False
            self._budget.parked_bytes += len(call.message.value)
        else:
            context.count("parked_copy_replaced")
        self._calls[name] = call  # copies differ only in their number and deadline
        return True

    def take_out(self, call: Call) -> None:
        """Remove the copies of this request."""
        self._forget(_name(call))

    def take_all(self) -> list[Call]:
        """Remove and return all waiting requests."""
        return self._take(list(self._calls))

    def take_late(self, now: Millis) -> list[Call]:
        """Remove and return the requests whose deadline has passed."""
        return self._take([name for name, call in self._calls.items() if now >= call.deadline])

    def _take(self, names: list[tuple[Life, int]]) -> list[Call]:
        calls = [self._calls[name] for name in names]
        for name in names:
            self._forget(name)
        return calls

    def _forget(self, name: tuple[Life, int]) -> None:
        call = self._calls.pop(name, None)
        if call is not None:
            self._budget.parked_bytes -= len(call.message.value)
