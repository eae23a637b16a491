"""How fast snapshots go: the sender's allowance, and the places and bytes of the receiver."""

import pytest

from ringkeep.core.protocol import limits
from ringkeep.core.protocol.bounds import IN_USE
from ringkeep.core.replication.snapshot_flow import BURST_MS, Intake, TokenBucket, Urgency

WINDOW = limits.SNAPSHOT_WINDOW_BYTES
PLACES = limits.STAGINGS_AT_ONCE


class Taker:
    """A snapshot that goes on when it is told that it may, and there is room."""

    def __init__(self, intake: Intake, urgency: Urgency = Urgency.MOVE, held: bool = False) -> None:
        self.intake = intake
        self.urgency = urgency
        self.held = held
        self.went_on = 0
        intake.enter(self)

    @property
    def room(self) -> int:
        return self.intake.room(self)

    def go_on(self) -> None:
        self.went_on += bool(self.room)


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


def test_those_who_came_first_have_room_until_they_leave() -> None:
    intake = Intake(IN_USE)
    takers = [Taker(intake) for _ in range(PLACES + 2)]
    assert [taker.room for taker in takers] == [WINDOW] * PLACES + [0, 0]
    intake.leave(takers[1])
    assert [taker.room for taker in takers[2:]] == [WINDOW] * (PLACES - 1) + [0]
    intake.leave(takers[1])


def test_who_is_held_takes_nobodys_place() -> None:
    """Paused moves once filled all places, and a voter waited behind them for as long as that took."""
    intake = Intake(IN_USE)
    held = [Taker(intake, held=True) for _ in range(PLACES)]
    voter = Taker(intake, Urgency.VOTER)
    assert (voter.room, [taker.room for taker in held]) == (WINDOW, [0] * PLACES)
    for taker in held:
        taker.held = False
    assert [taker.room for taker in held] == [WINDOW] * (PLACES - 1) + [0]


def test_the_more_urgent_ones_come_first() -> None:
    intake = Intake(IN_USE)
    moves = [Taker(intake, Urgency.MOVE) for _ in range(PLACES)]
    voters = [Taker(intake, Urgency.VOTER) for _ in range(PLACES)]
    takeover = Taker(intake, Urgency.TAKEOVER)
    assert [taker.room for taker in moves] == [0] * PLACES
    assert [taker.room for taker in voters] == [WINDOW] * (PLACES - 1) + [0]
    assert takeover.room == WINDOW


def test_what_is_not_synced_holds_everybody_up_until_it_is() -> None:
    intake = Intake(IN_USE)
    one, other = Taker(intake), Taker(intake)
    marks = []
    while one.room:
        marks.append(intake.add(limits.STAGING_SYNC_BYTES // 4))
    assert other.room == 0
    asked = [mark for mark in marks if mark]
    assert len(asked) == limits.STAGING_UNSYNCED_BYTES // limits.STAGING_SYNC_BYTES
    intake.on_durable(asked[0])
    assert (one.room, other.room, one.went_on, other.went_on) == (WINDOW, WINDOW, 1, 1)
