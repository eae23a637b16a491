"""What was committed of one partition: every entry by its index, and when it was.

A recovery after a loss cuts the log where the best copy that was left ends, and lets it go on far above.
"""

from dataclasses import dataclass, field

from ringkeep.core.protocol.types import Index


@dataclass(slots=True)
class CommittedLog:
    """`last`: the highest index that was committed. `base`: above which it goes on, or went on, after a loss.

    `going_on`: a recovery is ordered, and its survivor has not gone on yet. `gone`: what recoveries have cut
    off: others may know it to be committed until they are filled anew.
    """

    entries: dict[int, bytes] = field(default_factory=dict)
    since: dict[int, int] = field(default_factory=dict)  # the number of the event in which each was committed
    last: int = 0
    base: Index = Index(0)
    going_on: bool = False
    gone: dict[int, bytes] = field(default_factory=dict)

    @property
    def next(self) -> int:
        """Return the index that is committed next."""
        return max(self.last, self.base) + 1

    def add(self, entry: bytes, now: int) -> None:
        """Commit one more entry."""
        self.last = self.next
        self.entries[self.last] = entry
        self.since[self.last] = now

    def at(self, index: int) -> bytes | None:
        """Return what was committed at an index, though it may be lost since."""
        return self.entries.get(index, self.gone.get(index))

    def cut(self, kept: int) -> int | None:
        """Cut off what comes after `kept`; return when the first of it was committed, None if nothing was."""
        lost = [index for index in self.entries if index > kept]
        began = self.since[min(lost)] if lost else None
        for index in lost:
            self.gone[index] = self.entries.pop(index)
            del self.since[index]
        self.last = max(self.entries, default=0)
        return began
