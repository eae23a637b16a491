"""Requests that are appended and not applied yet."""

from ringkeep.core.protocol.client_requests import Kind
from ringkeep.core.protocol.entry import Entry, EntryKind
from ringkeep.core.protocol.hot_messages import Forward
from ringkeep.core.protocol.types import Epoch, Incarnation, Index, NodeId, PartitionId
from ringkeep.core.replication.pending import Call, Pending

NODE, OTHER = b"n" * 16, b"m" * 16
FIRST, SECOND = NODE + bytes([0, 0, 0, 1]), NODE + bytes([0, 0, 0, 2])


def append(pending: Pending, index: int, origin: bytes, counter: int, low: int) -> Entry:
    entry = Entry(EntryKind.PUT, Epoch(1), Index(index), 0, origin, counter, low, b"k", 2)
    message = Forward(1, PartitionId(0), Epoch(1), 100, Kind.PUT, 0, origin, counter, low, b"k")
    pending.add(entry, Call((NodeId("aa"), Incarnation(1)), message, 100))
    return entry


def test_what_its_coordinator_has_finished_with_is_outdated_as_soon_as_that_is_appended() -> None:
    """Applied after the other it changes nothing, and what comes behind it must not count on it."""
    pending = Pending()
    assert not pending.outdates(FIRST, 11)
    entry = append(pending, 1, FIRST, 16, low=12)
    assert pending.outdates(FIRST, 11) and not pending.outdates(FIRST, 12)
    append(pending, 2, FIRST, 13, low=12)
    pending.applied(entry)
    assert pending.outdates(FIRST, 11) and not pending.outdates(FIRST, 14)
    assert not pending.outdates(OTHER + FIRST[16:], 1)


def test_an_earlier_life_of_a_coordinator_is_outdated() -> None:
    pending = Pending()
    append(pending, 1, SECOND, 1, low=1)
    assert pending.outdates(FIRST, 99) and not pending.outdates(SECOND, 1)
    append(pending, 2, SECOND, 5, low=1)
    assert not pending.outdates(SECOND, 2)
