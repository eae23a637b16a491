"""Removals of what is due take turns, and a little of each tick: clients must not feel a million of them."""

from dataclasses import replace
from itertools import pairwise

from tests.support.core.group import Group
from tests.support.core.parts import A, B, C, bound

from ringkeep.core.protocol.bounds import IN_USE
from ringkeep.core.protocol.client_requests import Kind, Request
from ringkeep.core.protocol.limits import TICK_MS
from ringkeep.core.replication.removal_pace import LATE_MS, LEAST, MOST_TIMES, RemovalPace

BOUNDS = replace(IN_USE, expired_in_tick=64)


class Partition:
    """One with so many records that are due, `late_ms` ago."""

    def __init__(self, pace: RemovalPace, due: int, late_ms: int = 0) -> None:
        self._pace = pace
        self.due = due
        self.late_ms = late_ms
        pace.ask(self)

    def remove_some(self, most: int) -> int:
        removed = min(most, self.due)
        self.due -= removed
        if removed:
            self._pace.note_late(self.late_ms)
            self._pace.ask(self)
        return removed


def test_partitions_take_turns_and_share_what_a_tick_may_remove() -> None:
    pace = RemovalPace()
    parts = [Partition(pace, 1_000) for _ in range(3)]
    pace.on_tick(BOUNDS)
    assert [part.due for part in parts] == [936, 1_000, 1_000]
    pace.on_tick(BOUNDS)
    pace.on_tick(BOUNDS)
    assert [part.due for part in parts] == [936, 936, 936]


def test_entries_of_few_removals_are_bounded_too() -> None:
    pace = RemovalPace()
    parts = [Partition(pace, 1) for _ in range(100)]
    pace.on_tick(BOUNDS)
    assert sum(not part.due for part in parts) == 64 // LEAST


def test_partitions_in_which_nothing_is_due_cost_little() -> None:
    pace = RemovalPace()
    for _ in range(60):
        Partition(pace, 0)
    last = Partition(pace, 4)
    pace.on_tick(BOUNDS)
    assert last.due == 0


def test_the_later_they_are_the_more_are_removed() -> None:
    pace = RemovalPace()
    part = Partition(pace, 1 << 30)
    removed = []
    for times in (0, 1, 3, 1_000, 0):
        part.late_ms = times * LATE_MS
        pace.on_tick(BOUNDS)  # with this it is known how late they are
        before = part.due
        pace.on_tick(BOUNDS)
        removed.append(before - part.due)
    assert removed == [64, 128, 256, 64 * MOST_TIMES, 64]


def test_a_node_removes_a_little_in_each_tick_until_nothing_is_left() -> None:
    group, brief = Group(A, B, C), 1_000
    for host in group.hosts.values():
        bound(host.node.context, expired_in_tick=LEAST)
    group.ask(*[Request(Kind.PUT, b"k%03d" % n, b"v", ttl_ms=brief) for n in range(100)])
    group.tick(brief)
    counters = group.hosts[A].node.context.counters
    seen = [counters.get("expired", 0)]
    while len(seen) < 100 and seen[-1] < 100:
        group.tick(TICK_MS)
        seen.append(counters.get("expired", 0))
    assert seen[-1] == 100
    assert max(after - before for before, after in pairwise(seen)) == LEAST
    for host in group.hosts.values():
        group.tick(100)
        assert host.replica.state.record(b"k000") is None
