"""Judges one pass over a listing: every key of the stock once, in order, and none that never existed. Pure.

It walks along the stock, so a key costs one comparison as long as all is well. Keys that come and go
meanwhile may be listed or not, once and in their place.
"""

from bisect import bisect_left
from collections.abc import Iterable, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from typing import Final

HEAD: Final = b'{"key":"'
END: Final = b'{"end":'
KEPT: Final = 5  # examples


@dataclass(slots=True)
class Faults:
    """What is wrong with listings, counted; some examples in words."""

    missing: int = 0
    twice: int = 0
    disordered: int = 0
    strange: int = 0
    examples: list[str] = field(default_factory=list)

    @property
    def none(self) -> bool:
        return not (self.missing or self.twice or self.disordered or self.strange)

    def note(self, what: str) -> None:
        if len(self.examples) < KEPT:
            self.examples.append(what)

    def add(self, other: "Faults") -> None:
        self.missing += other.missing
        self.twice += other.twice
        self.disordered += other.disordered
        self.strange += other.strange
        for what in other.examples:
            self.note(what)


def key_of(line: bytes) -> bytes:
    """Return the key of a line of a stream. Raises ValueError for a line of another form."""
    if not line.startswith(HEAD):
        raise ValueError(f"a line of another form: {line[:100]!r}")
    return line[len(HEAD) : line.index(b'"', len(HEAD))]


class Judge:
    """Of one pass. `stock`: all that must be listed, in order. `passing`: what may be listed as well."""

    def __init__(self, stock: Sequence[bytes], passing: AbstractSet[bytes] = frozenset()) -> None:
        self.faults = Faults()
        self.last = b""
        self.told = 0
        self._stock, self._passing = stock, passing
        self._next = 0  # the place in the stock of what should come now
        self._missed: set[bytes] = set()
        self._passed: set[bytes] = set()

    def take(self, keys: Iterable[bytes]) -> None:
        """Judge the keys that come next."""
        stock, size = self._stock, len(self._stock)
        for key in keys:
            self.told += 1
            if self._next < size and key == stock[self._next]:
                self._next += 1
                self.last = key
            else:
                self._look(key)

    def end(self) -> Faults:
        """The listing says that it is complete: what was not told is missing. Return all faults."""
        self._miss(len(self._stock))
        return self.faults

    def _look(self, key: bytes) -> None:
        """Judge a key that is not the next of the stock."""
        faults, stock = self.faults, self._stock
        at = bisect_left(stock, key)
        stocked = at < len(stock) and stock[at] == key
        if not stocked and key not in self._passing:
            faults.strange += 1
            faults.note(f"{key!r} never existed")
        elif key > self.last:
            self._miss(at)
            if stocked:
                self._next = at + 1
            else:
                self._passed.add(key)
        else:
            told = key not in self._missed if stocked else key in self._passed
            faults.twice += told
            faults.disordered += key != self.last
            faults.note(f"{key!r} {'again ' if told else ''}after {self.last!r}")
            return
        self.last = max(self.last, key)

    def _miss(self, until: int) -> None:
        missed = self._stock[self._next : until]
        if missed:
            self.faults.missing += len(missed)
            self.faults.note(f"{len(missed)} missing from {missed[0]!r} on")
            self._missed.update(missed)
        self._next = max(self._next, until)
