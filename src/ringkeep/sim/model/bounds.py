"""The bounds of an exploration: what may happen, and how often."""

from dataclasses import dataclass, fields
from typing import Final


@dataclass(frozen=True, slots=True)
class ModelBounds:
    """Everything within these bounds is explored, in every order.

    `voters`: replicas of the one partition. `spare`: nodes beyond them, that may become replicas. `epochs`:
    primaryships, the first included. `steps`: changes of the replicas in the map. `puts`: different writes.
    `again`: copies of them beyond the first. `reads`: confirmed reads. `crashes`: ends of a process, each
    followed by its restart. `cuts`: breaks of a connection, each followed by a new one. `commits`: whether a
    primary may send a commit index by itself, and `applies` whether a backup may apply, as their ticks do.
    `split`: whether a message carries one log entry at most. `fresh`: whether the first primary's takeover is
    explored too; otherwise it is ACTIVE at the start.
    """

    voters: int = 3
    spare: int = 0
    epochs: int = 1
    steps: int = 0
    puts: int = 0
    again: int = 0
    reads: int = 0
    crashes: int = 0
    cuts: int = 0
    commits: bool = False
    applies: bool = False
    split: bool = False
    fresh: bool = False

    @property
    def nodes(self) -> int:
        return self.voters + self.spare

    def spell(self) -> str:
        """Return the bounds as command-line options, those at their default left out."""
        said = []
        for field in fields(self):
            value = getattr(self, field.name)
            if value != field.default:
                said.append(f"--{field.name}" + ("" if value is True else f" {value}"))
        return " ".join(said) or "(nothing happens)"


CONFIGURATIONS: Final = {
    "epochs": ModelBounds(epochs=3, puts=1),
    "entries": ModelBounds(epochs=2, puts=3, split=True),
    "restart": ModelBounds(epochs=2, puts=1, crashes=2),
    "links": ModelBounds(epochs=2, puts=1, cuts=1, commits=True),
    "reads": ModelBounds(epochs=2, puts=1, reads=1, applies=True),
    "retries": ModelBounds(epochs=2, puts=1, again=1, crashes=1),
    "start": ModelBounds(epochs=2, crashes=1, fresh=True),
    "joint": ModelBounds(spare=1, epochs=2, steps=2),
    "replace": ModelBounds(voters=2, spare=1, epochs=2, steps=3),
}
"""What `make model` explores completely; together it takes a few minutes."""
