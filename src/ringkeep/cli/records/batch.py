"""A stretch of the input that is written together, and how the input is divided into such."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Final

from ringkeep.cli.records.record import BadLine, Record
from ringkeep.cli.records.source import Source

BATCH: Final = 1_000
BATCH_BYTES: Final = 1 << 20
ALONE_BYTES: Final = 256 << 10
"""A longer value is written by a request of its own: in a batch it might be more than one holds."""


@dataclass(frozen=True, slots=True)
class Place:
    """The end of a line of the input: the offset behind it, its number, and the digest of all up to it."""

    offset: int = 0
    line: int = 0
    digest: str = ""


@dataclass(slots=True)
class Batch:
    """From `begin` to `end`. Records of one key stand in their order."""

    begin: Place
    end: Place
    records: list[Record] = field(default_factory=list)
    bad: list[BadLine] = field(default_factory=list)
    size: int = 0

    @property
    def keys(self) -> set[bytes]:
        """Return the keys that it writes."""
        return {each.key for each in self.records}

    def holds(self, size: int, most: int) -> bool:
        """Whether another record has room in it."""
        if not self.records:
            return True
        alone = size > ALONE_BYTES or (self.size > ALONE_BYTES and len(self.records) == 1)
        return not alone and self.size + size <= BATCH_BYTES and len(self.records) < most


def batches(
    items: Iterable[Record | BadLine], source: Source, most: int, skips: Callable[[int], bool]
) -> Iterator[Batch]:
    """Divide the input, from where it stands, into batches of at most so many records.

    `skips` is asked at the end of each line, with its offset, whether what follows is done already; if so it
    passes over that. A batch ends there.
    """
    skips(source.offset)
    begin = Place(source.offset, source.line)
    batch = Batch(begin, begin)
    for item in items:
        end = Place(source.offset, source.line, source.digest())
        size = len(item.key) + len(item.value) if isinstance(item, Record) else 0
        if isinstance(item, Record) and not batch.holds(size, most):
            yield batch
            batch = Batch(batch.end, batch.end)
        if isinstance(item, Record):
            batch.records.append(item)
            batch.size += size
        else:
            batch.bad.append(item)
        batch.end = end
        if skips(source.offset):
            yield batch
            begin = Place(source.offset, source.line)
            batch = Batch(begin, begin)
        elif len(batch.bad) >= most:
            yield batch
            batch = Batch(batch.end, batch.end)
    if batch.records or batch.bad:
        yield batch
