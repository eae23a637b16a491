"""How far an import has come, in a file beside its input: so that it goes on where it was broken off.

It names the place in the input up to which everything is done, and the batches beyond it that are done too,
since several are under way at a time. The digest up to the furthest of them says whether the input is still
what it was.
"""

import contextlib
import json
import os
import uuid
from pathlib import Path
from typing import Any

from ringkeep.cli.records.batch import Batch, Place
from ringkeep.cli.records.counts import Counts


class Checkpoint:
    """`settings`: what has to be the same when it goes on. `path`: None: it is kept nowhere. `begun`: last
    line that was given to a batch, by this import or before it was broken off: no later one is written."""

    def __init__(self, path: Path | None, settings: dict[str, Any]) -> None:
        self.path = path
        self.settings = settings
        self.id = uuid.uuid4().hex
        self.done = Place()
        self.furthest = Place()
        self.begun = 0
        self.counts = Counts()
        self._beyond: dict[int, Place] = {}  # batches that are done, by where they begin: their ends

    def finished(self, batch: Batch, counts: Counts) -> None:
        """Note that a batch is done."""
        self.counts.add(counts)
        self._beyond[batch.begin.offset] = batch.end
        while (end := self._beyond.pop(self.done.offset, None)) is not None:
            self.done = end
        if batch.end.offset > self.furthest.offset:
            self.furthest = batch.end

    def done_from(self, offset: int) -> Place | None:
        """Return up to where everything is done if a batch is that begins here; else None."""
        end = self._beyond.get(offset)
        while end is not None and end.offset in self._beyond:
            end = self._beyond[end.offset]
        return end

    def save(self) -> None:
        """Write it, as a whole or not at all."""
        if self.path is None:
            return
        said = {
            "import": self.id,
            "settings": self.settings,
            "done": _shown(self.done),
            "furthest": _shown(self.furthest),
            "begun": self.begun,
            "beyond": [[begin, _shown(end)] for begin, end in self._beyond.items()],
            "counts": self.counts.document(),
        }
        beside = self.path.with_name(self.path.name + ".new")
        beside.write_text(json.dumps(said))
        os.replace(beside, self.path)

    def remove(self) -> None:
        """The import is complete."""
        if self.path is not None:
            with contextlib.suppress(FileNotFoundError):
                self.path.unlink()

    @classmethod
    def load(cls, path: Path) -> "Checkpoint":
        """Read what `save` has written. Raises OSError, and ValueError if it is something else."""
        said = json.loads(path.read_text())
        try:
            found = cls(path, said["settings"])
            found.id = str(said["import"])
            found.done, found.furthest = Place(*said["done"]), Place(*said["furthest"])
            found.begun = int(said["begun"])
            found._beyond = {begin: Place(*end) for begin, end in said["beyond"]}
            found.counts = Counts.of(said["counts"])
        except (KeyError, TypeError) as error:
            raise ValueError(f"it lacks {error}") from None
        return found


def _shown(place: Place) -> list[int | str]:
    return [place.offset, place.line, place.digest]
