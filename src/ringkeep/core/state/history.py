"""The log rows of one replica that are kept below its window, for readers of changes: where they begin, and
how large they are.

The rows stay in the store where they were written; nothing of them is in memory but a few steps, at which
the oldest rows can be cut off without reading any. Knows nothing of the store: `replica.py` deletes.
"""

from collections.abc import Collection
from typing import Final

from ringkeep.core.protocol.rows import KeptHistory, Step
from ringkeep.core.protocol.types import Index

STEPS: Final = 16
"""How many steps there are at most: so the oldest sixteenth or so is cut at once."""

SKIPPED: Final = 64
"""How many entries that changed nothing are remembered at most."""


class History:
    """Entries after `begin` can be told. `size`: bytes of those below the window.

    Entries that apply skipped, because their requests had taken effect before, stand in the log like
    others: those of them after `begin` are in `skipped`.
    """

    __slots__ = ("_steps", "begin", "size", "skipped")

    def __init__(self, kept: KeptHistory) -> None:
        self.begin = kept.begin
        self._steps: list[Step] = list(kept.steps)  # (the last index of a step, its bytes), ascending
        self.size = sum(size for _, size in self._steps)
        self.skipped: set[Index] = set(kept.skipped)

    @property
    def kept(self) -> KeptHistory:
        """What the replica's row says of it."""
        return KeptHistory(self.begin, tuple(self._steps), tuple(sorted(self.skipped)))

    def grow(self, end: Index, size: int) -> None:
        """Rows up to `end`, of so many bytes, have left the window."""
        if not size:
            return
        self._steps.append((end, size))
        self.size += size
        if len(self._steps) > STEPS:
            steps = self._steps
            at = min(range(len(steps) - 1), key=lambda at: steps[at][1] + steps[at + 1][1])
            steps[at : at + 2] = [(steps[at + 1][0], steps[at][1] + steps[at + 1][1])]

    def skip(self, indices: Collection[Index]) -> None:
        """These entries changed nothing. Too many of them are not remembered: what can be told begins
        later."""
        self.skipped.update(indices)
        if len(self.skipped) > SKIPPED:
            self.cut_to(sorted(self.skipped)[-SKIPPED - 1])

    def excess(self, most: int) -> Index:
        """Return up to where the oldest steps are to be cut, so that at most so many bytes are left."""
        end, left = self.begin, self.size
        for last, size in self._steps:
            if left <= most:
                break
            end, left = last, left - size
        return end

    def cut_to(self, begin: Index) -> None:
        """Only what follows can be told from now on."""
        assert begin >= self.begin, "what is cut is gone"
        self.begin = begin
        self._steps = [step for step in self._steps if step[0] > begin]
        self.size = sum(size for _, size in self._steps)
        self.skipped = {index for index in self.skipped if index > begin}
