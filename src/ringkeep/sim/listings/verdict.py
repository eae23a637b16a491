"""The verdict on what listings showed, with the committed log as the witness.

Each key of a page's range must have been what the page says of it, at some moment between the question and
the answer: so a key that was there throughout is shown once, and one that never was is not shown.
"""

from collections.abc import Iterable, Mapping

from ringkeep.core.cluster.slots import partition_of
from ringkeep.core.protocol.client_requests import Item
from ringkeep.core.protocol.record import tail_of
from ringkeep.core.protocol.types import PartitionId
from ringkeep.sim.checks.committed_log import CommittedLog
from ringkeep.sim.listings.key_states import KeyStates, State
from ringkeep.sim.listings.listers import Shown


def judge_listings(logs: Mapping[PartitionId, CommittedLog], pages: Iterable[Shown]) -> None:
    """Raise AssertionError unless the logs explain every page. `pages`: of those partitions that lost nothing
    for good."""
    states = {partition: KeyStates(log) for partition, log in logs.items()}
    for shown in pages:
        if shown.request.positions:
            _judge_positions(shown, states)
        elif shown.request.count:
            _judge_count(shown, states)
        else:
            _judge_page(shown, states)


def _judge_positions(shown: Shown, states: Mapping[PartitionId, KeyStates]) -> None:
    """Each is what the partition had reached, after the question was asked."""
    for partition, each in states.items():
        places, told = each.places(shown.start, shown.end), shown.page.positions[partition]
        known = each.index_at(places[0]), each.index_at(places[-1])
        assert known[0] <= told <= known[1], f"{shown}: {told} of partition {partition}, not in {known}"


def _judge_count(shown: Shown, states: Mapping[PartitionId, KeyStates]) -> None:
    """At least those keys are counted that were there throughout, at most those that were there at all."""
    least = most = 0
    for each in states.values():
        places = each.places(shown.start, shown.end)
        for key in _keys_of(shown, each, b""):
            there = [each.at(key, place) is not None for place in places]
            least += all(there)
            most += any(there)
    assert least <= shown.page.count <= most, f"{shown}: {shown.page.count}, not {least} to {most}"


def _judge_page(shown: Shown, states: Mapping[PartitionId, KeyStates]) -> None:
    """Every key that the page speaks of is shown as it was, or left out because it was not there."""
    request, page = shown.request, shown.page
    keys = [item.key for item in page.items]
    assert keys == sorted(set(keys)), f"{shown}: keys out of order: {keys}"
    assert len(keys) <= request.limit, f"{shown}: {len(keys)} keys"
    items = {item.key: item for item in page.items}
    for partition, each in states.items():
        places = each.places(shown.start, shown.end)
        for key in _keys_of(shown, each, page.next):
            item = items.pop(key, None) if partition_of(key, len(states)) == partition else None
            newest = request.until[partition] if request.until else None
            assert item is None or newest is None or item.version <= newest, f"{shown}: {item} after {newest}"
            fits = any(_fits(item, each.at(key, at), request.values, newest, each, at) for at in places)
            known = [each.at(key, place) for place in places]
            assert fits, f"{shown}: {key!r} is shown as {item}, and was {known}"
    assert not items, f"{shown}: shows what never was there: {items}"


def _keys_of(shown: Shown, states: KeyStates, until: bytes) -> list[bytes]:
    """Return the keys that a page speaks of."""
    begin, end = shown.request.begin, until or shown.request.end
    return [key for key in states.keys if begin <= key and (not end or key < end)]


def _fits(
    item: Item | None, state: State | None, values: bool, newest: int | None, states: KeyStates, place: int
) -> bool:
    """Return whether a page may say this of a key that is in this state at that place."""
    if item is None:
        return state is None or (newest is not None and state.version > newest)
    if state is None or item.version != state.version:
        return False
    if values and tail_of(item.content_type, item.value) != state.tail:
        return False
    if not state.deadline:
        return item.ttl_ms == 0
    return 1 <= item.ttl_ms <= max(state.deadline - states.log_times[place], 1)
