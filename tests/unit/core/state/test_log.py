"""Votes and the log window: the arithmetic that everything durable rests on."""

import pytest
from tests.support.core.parts import A, B, C, D, E

from ringkeep.core.protocol import quorum
from ringkeep.core.protocol.entry import NO_ORIGIN, Entry, EntryKind, encode
from ringkeep.core.protocol.types import Epoch, Index
from ringkeep.core.state.log import Log


def entry(epoch: int, index: int, log_time: int = 0) -> bytes:
    return encode(Entry(EntryKind.NOOP, Epoch(epoch), Index(index), log_time, NO_ORIGIN, 0, 0))


def a_log(*epochs: int, floor: tuple[int, int] = (0, 0)) -> Log:
    """A log whose entries after the floor have these epochs."""
    start = floor[1] + 1
    entries = [entry(epoch, start + at, 10 * (start + at)) for at, epoch in enumerate(epochs)]
    return Log(Epoch(floor[0]), Index(floor[1]), 10 * floor[1], entries)


@pytest.mark.parametrize(
    ("voters", "yes", "won"),
    [((A,), (A,), True), ((A, B), (A,), False), ((A, B, C), (B, C), True), ((A, B, C), (C, D, E), False)],
)
def test_a_majority_is_of_the_voters_alone(voters: tuple, yes: tuple, won: bool) -> None:  # type: ignore[type-arg]  # of ids
    assert quorum.won(voters, (), yes) is won
    assert quorum.lost(voters, (), [node for node in voters if node not in yes]) is not won


def test_while_joint_both_majorities_are_needed() -> None:
    old, new = (A, B, C), (C, D, E)
    assert not quorum.won(new, old, (C, D, E))
    assert not quorum.won(new, old, (A, B, C))
    assert quorum.won(new, old, (A, C, D))
    assert quorum.lost(new, old, (A, B))
    assert not quorum.lost(new, old, (A, D))


def test_committed_is_what_a_majority_holds() -> None:
    held = {A: Index(9), B: Index(4), D: Index(7), E: Index(7)}
    assert quorum.committed((A, B, C), (), held) == 4
    assert quorum.committed((A, B), (), held) == 4, "of two voters both are needed"
    assert quorum.committed((A, D, E), (), held) == 7
    assert quorum.committed((A, D, E), (A, B, C), held) == 4, "the slower of two majorities decides"
    assert quorum.committed((B, C, D), (), {D: Index(7)}) == 0, "who was not heard holds nothing"


def test_a_log_matches_by_epoch_and_index() -> None:
    log = a_log(1, 1, 2, floor=(1, 10))
    assert log.matches(Epoch(2), Index(13))
    assert not log.matches(Epoch(1), Index(13))
    assert not log.matches(Epoch(2), Index(14)), "what is not here does not match"
    assert log.matches(Epoch(9), Index(10)), "at the floor and below it, all is committed"
    assert log.matches(Epoch(9), Index(3))


def test_cutting_leaves_what_was_before() -> None:
    log = a_log(1, 1, 2, 2)
    whole = log.entry_bytes
    log.cut_after(Index(2))
    assert (log.last_epoch, log.last_index, log.last_time) == (1, 2, 20)
    assert log.entry_bytes == whole // 2
    log.append(Epoch(3), entry(3, 3))
    assert log.matches(Epoch(3), Index(3))
    log.cut_after(Index(0))
    assert (log.last_epoch, log.last_index, log.entry_bytes) == (0, 0, 0)


def test_the_floor_is_remembered_and_nothing_below_it_is_given_out() -> None:
    log = a_log(1, 2, 2, 3)
    log.raise_floor(Index(2))
    assert (log.floor_epoch, log.floor_index, log.floor_time) == (2, 2, 20)
    assert log.epoch_at(Index(2)) == 2
    assert [log.time_at(Index(i)) for i in (2, 3, 4)] == [20, 30, 40]
    assert log.slice(Index(2), 9, 1 << 20) == [entry(2, 3, 30), entry(3, 4, 40)]
    assert log.entry_bytes == sum(map(len, log.slice(Index(2), 9, 1 << 20)))
    with pytest.raises(AssertionError):
        log.slice(Index(1), 9, 1 << 20)
    log.raise_floor(Index(4))
    assert (log.last_epoch, log.last_index, log.last_time) == (3, 4, 40), "an empty window knows its end"


def test_a_slice_is_bounded_and_never_empty() -> None:
    log = a_log(1, 1, 1, 1)
    size = len(entry(1, 1))
    assert len(log.slice(Index(0), 3, 1 << 20)) == 3
    assert len(log.slice(Index(0), 9, 2 * size)) == 3, "the entry that passes the bound is the last"
    assert len(log.slice(Index(0), 9, 0)) == 1
    assert log.slice(Index(4), 9, 1 << 20) == []


def test_epochs_never_go_down_along_a_log() -> None:
    log = a_log(2)
    with pytest.raises(AssertionError, match="epochs never go down"):
        log.append(Epoch(1), entry(1, 2))
