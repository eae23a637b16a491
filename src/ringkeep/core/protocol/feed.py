"""What readers of changes ask for, and what they are told.

A feed tells every committed change of the keys with a prefix: per key in version order, none left out, from a
position in each partition on. It knows nothing of HTTP.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import Final, NamedTuple

from ringkeep.core.protocol.types import Index, Millis, PartitionId

NOW: Final = Index(-1)
"""As a position: after everything that was acknowledged before the feed began."""

EVENT_BYTES: Final = 32
"""What an event counts for beside its key, content type and value."""


class EventKind(IntEnum):
    """What has happened to a key."""

    PUT = 1  # it has this content type and value from now on
    DELETE = 2
    TOUCH = 3  # it has another version and deadline, and its value still
    EXPIRE = 4  # its deadline was reached


class Refusal(IntEnum):
    """Why a node does not tell a partition's changes."""

    CUT = 1  # the log does not reach back to that position here
    NOT_HERE = 2  # no replica, none that may be read, or no confirmed primary: ask elsewhere, or later


class Event(NamedTuple):
    """One change of one key. `version`: the key's version from now on, or the one at which it was removed:
    rising for each key. `ttl_ms`: how long it was to live at that moment, 0 for ever. `content_type` and
    `value` are empty unless it is a PUT and they were wanted.
    """

    partition: PartitionId
    version: Index
    kind: int
    key: bytes
    content_type: bytes
    value: bytes
    ttl_ms: Millis


def size_of(event: "Event | Told") -> int:
    """Return what an event counts for, in bytes."""
    return EVENT_BYTES + len(event[3]) + len(event[4]) + len(event[5])


Told = tuple[PartitionId, Index, int, bytes, bytes, bytes, Millis]
"""An event as it stands in a message."""


@dataclass(slots=True, eq=False)
class FeedRequest:
    """Ask for the changes of all keys that begin with `prefix`; `values`: with content types and values.

    `positions`: by partition, after which entry the feed begins, or NOW; a bookmark's positions continue what
    it covered. Only these partitions are read; None: all of them, from NOW on.

    Called from the loop, after the turn that brought it, never at the same time as each other:
    `on_events`: with the next events, at least one. Those of one entry come together.
    `on_bookmark`: with (positions, age_ms): every event up to there has been told; a feed that begins there
    again misses nothing. The first comes once all positions are known, and then one each second if they have
    changed, or each ten seconds. Everything committed `age_ms` ago is covered; -1: that is not known yet.
    `on_gone`: with partitions of which no replica has what follows the feed's position: the feed has ended.

    Events are told only for what the reader has granted with `Feeds.pull`: EVENT_BYTES for each, its key, its
    content type and its value. It may be exceeded by one message of each node, some 256 KiB, or one entry.
    Bookmarks cost nothing.
    """

    prefix: bytes = b""
    values: bool = True
    positions: Mapping[PartitionId, Index] | None = None
    on_events: Callable[[Sequence[Event]], None] = lambda events: None
    on_bookmark: Callable[[Mapping[PartitionId, Index], Millis], None] = lambda positions, age_ms: None
    on_gone: Callable[[Sequence[PartitionId]], None] = lambda partitions: None
