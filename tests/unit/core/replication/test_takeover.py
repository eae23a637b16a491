"""Taking over while replicas change: whose promises are needed, and whose log is adopted."""

import pytest
from tests.support.core.parts import (
    NODES,
    A,
    B,
    C,
    D,
    Host,
    P,
    a_part,
    a_promise,
    map_of,
    some_entries,
    to,
)

from ringkeep.core.protocol.messages import Entries, Fetch, Prepare
from ringkeep.core.protocol.types import Epoch, Index
from ringkeep.core.replication.primary import Phase

STABLE, JOINT, LEARNER = a_part(A), a_part(A, (A, B, D), old_voters=(A, B, C)), a_part(A, learner=D)


@pytest.mark.parametrize(
    ("promised_by", "won"), [("c", False), ("d", False), ("e", False), ("b", True), ("cd", True)]
)
def test_taking_over_needs_promises_of_both_majorities(promised_by: str, won: bool) -> None:
    host = Host(A)
    host.take(map_of(JOINT, 8))
    host.sync()
    for name in promised_by:
        host.hear(NODES[name], a_promise())
    assert (host.phase() == Phase.STARTING) == won


def test_the_own_promise_is_no_exception() -> None:
    host = Host(A)
    host.take(map_of(JOINT, 8))
    for node in (B, C, D):
        host.hear(node, a_promise())
    assert host.phase() == Phase.PREPARING, "not durable yet"
    host.sync()
    assert host.phase() == Phase.STARTING


def fetching() -> Host:
    """a takes over under epoch 4 while joint: d, the newcomer, has the greatest log, b a shorter one."""
    host = Host(A)
    host.take(map_of(a_part(A, JOINT.voters, old_voters=JOINT.old_voters, epoch=Epoch(4)), 8))
    host.sync()
    host.hear(D, a_promise(9, epoch=4, last_epoch=3))
    sent = host.hear(B, a_promise(5, epoch=4, last_epoch=2))
    assert sent == [(D, Fetch(P, Epoch(4), Index(0)))]
    return host


def test_when_the_holder_of_the_log_is_rolled_back_the_greatest_of_the_others_is_adopted() -> None:
    host = fetching()
    host.hear(D, Entries(P, Epoch(4), Epoch(0), Index(0), some_entries(1, 1, 3)))
    assert host.replica.log.last_index == 3, "a part of it is here"
    back = host.take(map_of(a_part(A, epoch=Epoch(4)), 9))
    assert back == [(B, Fetch(P, Epoch(4), Index(0)))], "from the start: what equals b's log is not known"
    late = Entries(P, Epoch(4), Epoch(0), Index(0), some_entries(3, 1, 9))
    assert host.hear(D, late) == []
    assert host.replica.log.last_index == 3
    host.hear(B, Entries(P, Epoch(4), Epoch(0), Index(0), some_entries(2, 1, 5)))
    assert host.phase() == Phase.STARTING
    log = host.replica.log
    assert [log.epoch_at(Index(index)) for index in range(1, log.last_index + 1)] == [2] * 5 + [4]


def test_when_nobody_else_has_more_the_own_log_is_taken_after_a_rollback() -> None:
    host = fetching()
    host.hear(D, Entries(P, Epoch(4), Epoch(0), Index(0), some_entries(3, 1, 3)))
    host.take(map_of(a_part(A, epoch=Epoch(4)), 9))
    assert (host.phase(), host.replica.log.last_index) == (Phase.STARTING, 4), "(3, 3) is above (2, 5)"


def test_a_rollback_that_leaves_a_majority_of_promises_is_enough() -> None:
    host = Host(A)
    host.take(map_of(JOINT, 8))
    host.sync()
    host.hear(C, a_promise())
    assert host.phase() == Phase.PREPARING
    host.take(map_of(STABLE, 9))
    assert host.phase() == Phase.STARTING


def test_a_failover_that_meets_a_learner_asks_it_too() -> None:
    host = Host(A)
    assert to(D, Prepare, host.take(map_of(LEARNER, 7))) == [Prepare(P, Epoch(3))]


def test_a_learners_promise_never_counts() -> None:
    host = Host(A)
    host.take(map_of(LEARNER, 7))
    host.sync()
    host.hear(D, a_promise())
    assert host.phase() == Phase.PREPARING
    host.hear(C, a_promise())
    assert host.phase() == Phase.STARTING


def test_a_late_promise_of_who_was_removed_makes_no_majority() -> None:
    host = Host(A)
    host.take(map_of(JOINT, 8))
    host.sync()
    host.hear(D, a_promise())
    host.take(map_of(STABLE, 9))
    host.hear(D, a_promise())
    assert host.phase() == Phase.PREPARING
    host.hear(C, a_promise())
    assert host.phase() == Phase.STARTING
