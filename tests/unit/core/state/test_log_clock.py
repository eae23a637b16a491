"""The log's clock: it runs while a majority confirms the primary, and never goes back."""

from tests.support.core.parts import P, a_context

from ringkeep.core.protocol.entry import NO_ORIGIN, Entry, EntryKind, encode
from ringkeep.core.protocol.types import Epoch, Index
from ringkeep.core.replication.replica import Replica
from ringkeep.core.state.log_clock import LogClock


def test_it_runs_with_time_as_far_as_its_primary_is_confirmed() -> None:
    clock = LogClock(now=100, ahead_ms=50)
    clock.start(100, time=7_000)
    assert [clock.read(now) for now in (100, 120, 150, 151, 900)] == [7_000, 7_020, 7_050, 7_050, 7_050]
    clock.confirmed_at = 880
    assert clock.read(900) == 7_800, "nobody else was primary meanwhile, so that time has passed"


def test_what_a_ttl_counts_from_includes_the_time_that_is_not_confirmed_yet() -> None:
    clock = LogClock(now=100, ahead_ms=50)
    clock.start(100, time=7_000)
    given = clock.unconfirmed(900) + 60
    clock.confirmed_at = 930
    assert clock.read(959) < given <= clock.read(960), "60 ms later, not sooner"


def test_it_does_not_go_back() -> None:
    clock = LogClock(now=100, ahead_ms=50)
    clock.start(100, time=7_000)
    clock.confirmed_at = 400
    assert clock.read(400) == 7_300
    clock.confirmed_at = 300
    assert clock.read(400) == 7_300
    assert clock.unconfirmed(410) == 7_310


def test_what_an_earlier_primary_told_is_void_once_a_later_one_has_begun() -> None:
    """The later one may have begun at an earlier time, and let records live from there."""
    replica = Replica(a_context(), P)
    replica.learn_clock(Epoch(5), 9_000)
    replica.learn_clock(Epoch(5), 8_000)
    assert replica.clock == 9_000
    replica.log.append(Epoch(6), encode(Entry(EntryKind.NOOP, Epoch(6), Index(1), 7_000, NO_ORIGIN, 0, 0)))
    assert replica.clock == 0
    replica.learn_clock(Epoch(6), 7_100)
    assert replica.clock == 7_100
