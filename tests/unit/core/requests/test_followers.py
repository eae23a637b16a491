"""What a node tells those who follow its replicas: how those that have read all wait together."""

from collections.abc import Callable
from itertools import pairwise

import pytest
from tests.support.core.group import Group, Speaking, a_put
from tests.support.core.parts import A, B, C, P, bound

from ringkeep.core.protocol import limits
from ringkeep.core.protocol.feed import NOW, Refusal
from ringkeep.core.protocol.messages import Changes, Follow, Message
from ringkeep.core.protocol.types import Index, NodeId
from ringkeep.core.requests.tails import Prefixed, Tail

Marks = list[tuple[int, int]]


class Telling(Speaking):
    """A node that is followed: what it tells is kept, and goes no further."""

    def __init__(self, me: NodeId) -> None:
        self.told: list[Changes] = []
        super().__init__(me)

    def turn(self, *events: Callable[[], object]) -> list[tuple[NodeId, Message]]:
        left = super().turn(*events)
        self.told += [message for _, message in left if isinstance(message, Changes)]
        return [each for each in left if not isinstance(each[1], Changes)]


class Followed(Group):
    """A replica at A is followed by readers at B."""

    kind = Telling

    @property
    def host(self) -> Telling:
        found = self.hosts[A]
        assert isinstance(found, Telling)
        return found

    def follow(self, tag: int, prefix: bytes, after: int = NOW, credit: int = 1 << 20) -> None:
        """A reader at B asks."""
        asked = Follow(tag, prefix, True, credit, [P, after], [])
        self.settle(self.host, self.host.hear(B, asked))

    def heard(self) -> tuple[dict[int, list[bytes]], dict[int, Marks], dict[int, list[int]]]:
        """By reader, since it was asked last: the keys, from where to where, and the refusals."""
        for _ in range(20):  # as many as follow at once
            self.settle(self.host, self.host.turn())
        keys: dict[int, list[bytes]] = {}
        marks: dict[int, Marks] = {}
        refused: dict[int, list[int]] = {}
        for each in self.host.told:
            keys.setdefault(each.tag, []).extend(event[3] for event in each.events)
            for at in range(0, len(each.marks), 3):
                marks.setdefault(each.tag, []).append((each.marks[at + 1], each.marks[at + 2]))
            refused.setdefault(each.tag, []).extend(each.refused)
        self.host.told.clear()
        return keys, marks, refused


@pytest.fixture
def group() -> Followed:
    made = Followed(A, B, C)
    for tag, prefix in ((1, b"a"), (2, b"b"), (3, b"a"), (4, b"")):
        made.follow(tag, prefix)
    made.tick(limits.POSITIONS_MS)
    made.heard()
    return made


def test_a_change_concerns_those_whose_prefix_it_has(group: Followed) -> None:
    before = group.host.replica.applied
    group.ask(a_put(b"a1"), after_ms=0)
    keys, marks, _ = group.heard()
    assert keys == {1: [b"a1"], 3: [b"a1"], 4: [b"a1"]}, "the one with another prefix hears nothing"
    assert marks == {tag: [(before, before + 1)] for tag in (1, 3, 4)}


def test_all_hear_from_time_to_time_how_far_everything_is(group: Followed) -> None:
    before = group.host.replica.applied
    group.ask(a_put(b"a1"), a_put(b"a2"), after_ms=0)
    group.heard()
    group.tick(limits.POSITIONS_MS)
    keys, marks, _ = group.heard()
    assert not any(keys.values())
    assert marks == {2: [(before, before + 2)]}, "the others know it from what they were told"
    group.ask(a_put(b"b1"), after_ms=0)
    assert group.heard()[0] == {2: [b"b1"], 4: [b"b1"]}


def test_one_that_comes_from_further_back_catches_up(group: Followed) -> None:
    before = group.host.replica.applied
    group.ask(*[a_put(b"a%d" % number) for number in range(5)])
    group.heard()
    group.follow(5, b"a", after=before + 2)
    assert group.heard()[0] == {5: [b"a2", b"a3", b"a4"]}
    group.ask(a_put(b"a5"), after_ms=0)
    assert group.heard()[0] == {tag: [b"a5"] for tag in (1, 3, 4, 5)}


def test_one_without_credit_is_told_when_it_gives_some(group: Followed) -> None:
    group.follow(5, b"a", credit=0)
    group.ask(a_put(b"a1"), a_put(b"b1"), a_put(b"a2"))
    assert not group.heard()[0].get(5)
    group.settle(group.host, group.host.hear(B, Follow(5, b"a", True, 1 << 20, [], [])))
    assert group.heard()[0][5] == [b"a1", b"a2"]


def test_news_of_more_entries_than_a_turn_reads_hold_up_nobody(group: Followed) -> None:
    bound(group.host.node.context, feed_turn_rows=1)
    before = group.host.replica.applied
    group.ask(
        *[a_put(b"a%d" % number) for number in range(4)], *[a_put(b"b%d" % number) for number in range(4)]
    )
    keys, marks, _ = group.heard()
    assert keys[1] == keys[3] == [b"a0", b"a1", b"a2", b"a3"] and keys[2] == [b"b0", b"b1", b"b2", b"b3"]
    group.tick(limits.POSITIONS_MS)
    later = group.heard()[1]
    for tag in (1, 2, 3, 4):
        steps = marks[tag] + later.get(tag, [])
        assert steps[0][0] == before and steps[-1][1] == before + 8
        assert all(end == begin for (_, end), (begin, _) in pairwise(steps)), "no gap"


def test_all_that_wait_are_refused_where_the_replica_goes(group: Followed) -> None:
    group.host.turn(group.host.replica.delete, lambda: group.host.node.replicas.pop(P))
    assert group.heard()[2] == {tag: [P, Refusal.NOT_HERE] for tag in (1, 2, 3, 4)}


class Reader:
    def __init__(self, prefix: bytes) -> None:
        self.prefix = prefix


def test_a_tail_knows_whom_a_key_concerns() -> None:
    tail = Tail(Index(0))
    readers = {prefix: Reader(prefix) for prefix in (b"", b"a", b"ab", b"b")}
    for reader in readers.values():
        tail.add(reader)

    def concerned(key: bytes) -> list[bytes]:
        found: dict[Prefixed, None] = {}
        tail.concerned(key, found)
        return [reader.prefix for reader in found]

    assert concerned(b"abc") == [b"", b"a", b"ab"] and concerned(b"a") == [b"", b"a"]
    tail.remove(readers[b"a"])
    assert concerned(b"abc") == [b"", b"ab"]
    for prefix in (b"", b"ab", b"b"):
        assert not tail.empty
        tail.remove(readers[prefix])
    assert tail.empty and concerned(b"abc") == []
