"""The followers of one partition that have read all of it: what is new is read once for all of them, and only
those whose prefix it has take notice.

So a change costs what it tells, however many others follow the partition.
"""

from collections.abc import Iterator
from typing import Protocol

from ringkeep.core.protocol.types import Index


class Prefixed(Protocol):
    """Somebody who is told the changes of the keys that begin with a prefix."""

    prefix: bytes


class Tail:
    """Its members have read up to `end`, whatever they have been told of that."""

    __slots__ = ("_groups", "_lengths", "end")

    def __init__(self, end: Index) -> None:
        self.end = end
        self._groups: dict[bytes, dict[Prefixed, None]] = {}
        self._lengths: dict[int, int] = {}  # of the prefixes: how many there are

    @property
    def empty(self) -> bool:
        """Whether nobody is here."""
        return not self._groups

    def members(self) -> Iterator[Prefixed]:
        """Return all of them; none may come or go meanwhile."""
        for group in self._groups.values():
            yield from group

    def add(self, follower: Prefixed) -> None:
        """Take in somebody who has read up to the end."""
        prefix = follower.prefix
        group = self._groups.get(prefix)
        if group is None:
            group = self._groups[prefix] = {}
            self._lengths[len(prefix)] = self._lengths.get(len(prefix), 0) + 1
        group[follower] = None

    def remove(self, follower: Prefixed) -> None:
        """Let somebody go who is here."""
        prefix = follower.prefix
        group = self._groups[prefix]
        del group[follower]
        if group:
            return
        del self._groups[prefix]
        left = self._lengths[len(prefix)] - 1
        if left:
            self._lengths[len(prefix)] = left
        else:
            del self._lengths[len(prefix)]

    def concerned(self, key: bytes, found: dict[Prefixed, None]) -> None:
        """Add to `found` whom a change of this key concerns."""
        for length in self._lengths:
            if length <= len(key):
                group = self._groups.get(key[:length])
                if group is not None:
                    found.update(group)
