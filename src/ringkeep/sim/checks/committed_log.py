"""The committed log of one partition: every entry by index, and when it was committed. A recovery after a
loss cuts the log at the end of the best remaining copy, and continues it far above.
"""

from dataclasses import dataclass, field

from ringkeep.core.protocol.types import Index, Millis


@dataclass(slots=True)
class CommittedLog:
    """`last`: the highest index that was committed. `base`: the log continues above it after a loss.
    `going_on`: a recovery is ordered, and its survivor has not continued yet. `gone`: entries that recoveries
    have cut off: other nodes may know them to be committed until they are refilled. `since`: of each entry,
    the number of an event before the turn that committed it. `until`: the number of one after that turn, and
    the time then.
    """

    entries: dict[int, bytes] = field(default_factory=dict)
    since: dict[int, int] = field(default_factory=dict)
    until: dict[int, tuple[int, Millis]] = field(default_factory=dict)
    last: int = 0
    base: Index = Index(0)
    going_on: bool = False
    gone: dict[int, bytes] = field(default_factory=dict)

    @property
    def next(self) -> int:
        """Return the index that is committed next."""
        return max(self.last, self.base) + 1

    def add(self, entry: bytes, since: int, until: tuple[int, Millis]) -> None:
        """Commit one more entry."""
        self.last = self.next
        self.entries[self.last] = entry
        self.since[self.last] = since
        self.until[self.last] = until

    def at(self, index: int) -> bytes | None:
        """Return the entry committed at an index, even if it was lost since."""
        return self.entries.get(index, self.gone.get(index))

    def cut(self, kept: int) -> int | None:
        """Cut off the entries after `kept`; return when the first of them was committed, None if there are
        none."""
        lost = [index for index in self.entries if index > kept]
        began = self.since[min(lost)] if lost else None
        for index in lost:
            self.gone[index] = self.entries.pop(index)
            del self.since[index], self.until[index]
        self.last = max(self.entries, default=0)
        return began
