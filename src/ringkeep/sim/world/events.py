"""Simulated time: a heap of events, run in order, with nothing random of its own."""

from collections.abc import Callable
from heapq import heappop, heappush

from ringkeep.core.protocol.types import Millis

Call = Callable[[], None]


class Events:
    """The future events, by time. Two events of one moment run in the order in which they were added,
    except that `last` ones run after all others of their moment: they end a turn of an event loop."""

    def __init__(self) -> None:
        self.now: Millis = 0
        self.count = 0
        self._heap: list[tuple[Millis, int, int, Call]] = []

    def at(self, when: Millis, call: Call, last: bool = False) -> None:
        """Run `call` at that moment, or now if it is past."""
        self.count += 1
        heappush(self._heap, (max(when, self.now), int(last), self.count, call))

    def after(self, delay: Millis, call: Call) -> None:
        """Run `call` so many milliseconds from now."""
        self.at(self.now + delay, call)

    def step(self) -> bool:
        """Run the next event; False when there is none."""
        if not self._heap:
            return False
        self.now, _, _, call = heappop(self._heap)
        call()
        return True

    def run_until(self, done: Callable[[], bool], deadline: Millis) -> bool:
        """Run events until `done`, or until the deadline; tell which of the two it was."""
        while not done():
            if self.now >= deadline or not self.step():
                return done()
        return True
