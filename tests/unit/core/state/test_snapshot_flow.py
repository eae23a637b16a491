"""How fast snapshots go: the sender's allowance, and what the receiver takes in ahead of its disk."""

from dataclasses import replace

import pytest

from ringkeep.core.protocol import limits
from ringkeep.core.protocol.bounds import IN_USE
from ringkeep.core.state.snapshot_flow import BURST_MS, StagingBudget, TokenBucket

# --- sending ---------------------------------------------------------------------------------------------


def test_without_a_limit_everything_is_allowed() -> None:
    allowance = TokenBucket()
    for now in range(0, 100, 10):
        assert allowance.allows(now, 0)
        allowance.spend(1 << 30, 0)


@pytest.mark.parametrize("chunk", [1, 700, 20_000])
def test_the_rate_holds_whatever_the_size_of_a_chunk(chunk: int) -> None:
    allowance, sent = TokenBucket(), 0
    for now in range(60_000):
        while allowance.allows(now, 1_000):
            allowance.spend(chunk, 1_000)
            sent += chunk
    assert 60_000 - 1_000 <= sent <= 60_000 + chunk


def test_who_had_nothing_to_send_catches_up_for_a_moment_only() -> None:
    allowance = TokenBucket()
    allowance.allows(0, 1_000)
    sent = 0
    while allowance.allows(3_600_000, 1_000):
        allowance.spend(10, 1_000)
        sent += 10
    assert sent == BURST_MS


def test_a_new_limit_forgets_what_was_sent_without_one() -> None:
    allowance = TokenBucket()
    assert allowance.allows(0, 0)
    allowance.spend(1 << 30, 0)
    assert not allowance.allows(0, 1_000)
    assert allowance.allows(1, 1_000)


# --- taking in -------------------------------------------------------------------------------------------


def test_what_is_not_synced_is_bounded_and_syncs_are_asked_for_in_pieces() -> None:
    budget = StagingBudget(IN_USE)
    asked = []
    while budget.has_room:
        asked.append(budget.add(limits.STAGING_SYNC_BYTES // 4))
    assert sum(asked) == limits.STAGING_UNSYNCED_BYTES
    assert [size for size in asked if size] == [limits.STAGING_SYNC_BYTES] * (len(asked) // 4)
    budget.on_durable(limits.STAGING_SYNC_BYTES)
    assert budget.has_room
    budget.add(limits.STAGING_SYNC_BYTES)
    assert not budget.has_room


def test_what_no_sync_was_asked_for_never_fills_the_budget_alone() -> None:
    """It would wait for a sync that nobody asks for."""
    budget = StagingBudget(replace(IN_USE, staging_sync_bytes=100, staging_unsynced_bytes=100))
    for _ in range(50):
        while budget.has_room:
            due = budget.add(33)
        assert due
        budget.on_durable(due)
