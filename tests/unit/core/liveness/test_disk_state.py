"""What a node knows of its disk, and what it takes and leads meanwhile."""

import pytest
from tests.support.core.parts import (
    A,
    B,
    C,
    Host,
    P,
    a_beat,
    a_part,
    a_promise,
    a_request,
    an_ack,
    map_of,
    some_entries,
    to,
)

from ringkeep.core.disk_state import NOTHING_ASKED, DiskState, OwnDisk, Questions
from ringkeep.core.protocol import limits
from ringkeep.core.protocol.client_requests import Kind, Status
from ringkeep.core.protocol.hot_messages import Acks, Append, Reply
from ringkeep.core.protocol.messages import Prepare, Promise, Refuse
from ringkeep.core.protocol.types import Epoch, Index

RESERVE = 64 << 20
FREE = {DiskState.FINE: RESERVE, DiskState.SHORT: RESERVE - 1, DiskState.SPENT: RESERVE // 4 - 1}
ASKED = Questions(sync=7, write=-1, look=-1)


def tick(
    disk: OwnDisk, now: int, free: int = RESERVE, asked: Questions = NOTHING_ASKED, stalled: bool = False
) -> str:
    return disk.note(now, stalled, free, RESERVE, asked)


def state(disk: OwnDisk) -> DiskState:
    """Return it; a call, since it changes in between, of which a type checker knows nothing."""
    return disk.state


def wait(disk: OwnDisk, since: int, asked: Questions, ms: int, stalled: bool = False) -> int:
    """Tick for so long."""
    for now in range(since, since + ms + 1, limits.TICK_MS):
        tick(disk, now, asked=asked, stalled=stalled)
    return now


# --- the states ------------------------------------------------------------------------------------------


def test_less_room_is_told_once_and_a_little_more_is_no_end_of_it() -> None:
    disk = OwnDisk()
    assert tick(disk, 0) == ""
    assert "others lead" in tick(disk, 20, RESERVE - 1)
    assert (state(disk), disk.takes_entries, disk.takes_replicas) == (DiskState.SHORT, True, False)
    assert tick(disk, 40, RESERVE) == "" and state(disk) == DiskState.SHORT, "an eighth more than the reserve"
    assert "no entries" in tick(disk, 60, RESERVE // 4 - 1)
    assert (state(disk), disk.takes_entries) == (DiskState.SPENT, False)
    tick(disk, 80, RESERVE // 4)
    assert state(disk) == DiskState.SPENT
    tick(disk, 100, RESERVE // 4 * 9 // 8)
    assert state(disk) == DiskState.SHORT
    assert "well again" in tick(disk, 120, RESERVE * 9 // 8) and state(disk) == DiskState.FINE


@pytest.mark.parametrize(
    "asked", [ASKED, Questions(-1, 7, -1), Questions(-1, -1, 7)], ids=["sync", "write", "look"]
)
def test_a_question_without_an_answer_is_silence(asked: Questions) -> None:
    disk = OwnDisk()
    now = wait(disk, 0, asked, limits.DISK_ANSWERS_MS - limits.TICK_MS)
    assert disk.answers
    now = wait(disk, now, asked, 2 * limits.TICK_MS)
    assert not disk.answers and state(disk) == DiskState.SILENT
    tick(disk, now + limits.TICK_MS, asked=Questions(*(each + (each >= 0) for each in asked)))
    assert disk.answers, "another question: the one before was answered"


def test_a_slow_disk_that_goes_on_answering_is_not_silent() -> None:
    disk, now = OwnDisk(), 0
    for number in range(10):
        now = wait(disk, now, Questions(number, -1, -1), limits.DISK_ANSWERS_MS - limits.TICK_MS)
        assert disk.answers


def test_a_process_that_stood_still_does_not_blame_its_disk() -> None:
    disk = OwnDisk()
    tick(disk, 0, asked=ASKED)
    tick(disk, 20, asked=ASKED)
    tick(disk, 60_000, asked=ASKED)
    assert disk.answers


def test_a_store_that_refuses_writes_for_seconds_is_slow() -> None:
    disk = OwnDisk()
    wait(disk, 0, NOTHING_ASKED, limits.DISK_ANSWERS_MS // 2, stalled=True)
    assert disk.stalled and state(disk) == DiskState.FINE
    wait(disk, limits.DISK_ANSWERS_MS // 2, NOTHING_ASKED, limits.DISK_ANSWERS_MS, stalled=True)
    assert state(disk) == DiskState.SLOW


# --- what is admitted ------------------------------------------------------------------------------------


def primary() -> Host:
    host = Host(A)
    host.take(map_of(a_part(A), 1))
    host.sync()
    host.hear(B, a_promise())
    host.sync()
    host.hear(B, an_ack(1))
    assert host.primary.may_execute
    return host


def answers(host: Host, kind: Kind, counter: int) -> list[int]:
    """Ask for a write; return how it was refused, [] if it was appended."""
    return [reply.status for reply in to(B, Reply, host.hear(B, a_request(kind, counter)))]


def with_disks(host: Host, own: DiskState, of_b: DiskState, of_c: DiskState) -> Host:
    tick(host.node.context.disks.own, 0, FREE[own])
    for peer, state in ((B, of_b), (C, of_c)):
        host.hear(peer, a_beat(disk=state))
    return host


FINE, SHORT, SPENT, SILENT = DiskState.FINE, DiskState.SHORT, DiskState.SPENT, DiskState.SILENT


@pytest.mark.parametrize(
    ("own", "of_b", "of_c", "put", "delete"),
    [
        (FINE, FINE, SHORT, None, None),
        (FINE, FINE, SILENT, None, None),
        (SHORT, FINE, FINE, None, None),
        (SHORT, SHORT, FINE, Status.NO_SPACE, None),
        (FINE, SPENT, SHORT, Status.NO_SPACE, None),
        (FINE, SPENT, SPENT, Status.NO_SPACE, Status.NO_SPACE),
        (SPENT, FINE, FINE, Status.NO_SPACE, Status.NO_SPACE),
        (FINE, SILENT, SILENT, Status.UNAVAILABLE, Status.UNAVAILABLE),
        (FINE, SILENT, SHORT, Status.NO_SPACE, None),
    ],
)
def test_a_write_needs_room_with_a_majority_and_a_delete_a_part_of_the_reserve(
    own: DiskState, of_b: DiskState, of_c: DiskState, put: Status | None, delete: Status | None
) -> None:
    host = with_disks(primary(), own, of_b, of_c)
    assert answers(host, Kind.PUT, 1) == ([] if put is None else [put])
    if put is not None:  # else there is something to delete, which is not committed
        host = with_disks(primary(), FINE, FINE, FINE)
        assert answers(host, Kind.PUT, 1) == []
        with_disks(host, own, of_b, of_c)
    assert answers(host, Kind.DELETE, 2) == ([] if delete is None else [delete])


# --- what is taken in, and sent --------------------------------------------------------------------------


def backup() -> Host:
    host = Host(A)
    host.take(map_of(a_part(B), 1))
    host.hear(B, Prepare(P, Epoch(3)))
    assert to(B, Promise, host.sync())
    return host


def appended(host: Host, first: int) -> bool:
    """Send one entry; tell whether it is acknowledged."""
    before = Epoch(3 if first > 1 else 0)
    left = host.hear(
        B, Append(P, Epoch(3), before, Index(first - 1), Index(0), some_entries(3, first, first))
    )
    return bool(to(B, Acks, left + host.sync()))


def test_a_backup_without_room_takes_nothing_and_goes_on_once_it_has_some() -> None:
    host = backup()
    disk = host.node.context.disks.own
    tick(disk, 0, FREE[SHORT])
    assert appended(host, 1), "it lives on the reserve"
    tick(disk, 20, FREE[SPENT])
    assert not appended(host, 2) and host.replica.log.last_index == 1
    host.hear(B, Prepare(P, Epoch(3)))
    assert to(B, Promise, host.sync()), "it votes as ever"
    tick(disk, 40, 2 * RESERVE)
    assert appended(host, 2)


def test_a_disk_that_does_not_answer_promises_nothing_and_nothing_waits_for_it() -> None:
    host = backup()
    disk = host.node.context.disks.own
    wait(disk, 0, ASKED, limits.DISK_ANSWERS_MS + limits.TICK_MS)
    assert not host.node.ready
    for epoch in range(4, 100):
        host.hear(B, Prepare(P, Epoch(epoch)))
        assert not appended(host, 1)
    assert host.sync() == [], "nothing has piled up"
    tick(disk, limits.MAX_TIMEOUT_MS)
    assert appended(host, 1)


def test_nothing_is_sent_to_a_disk_without_room_until_it_says_that_it_has_some() -> None:
    host = primary()
    host.hear(C, a_promise())
    host.hear(B, a_beat(disk=SPENT))
    left = host.hear(B, a_request(Kind.PUT, 1))
    assert to(C, Append, left) and not to(B, Append, left)
    for _ in range(10):
        left = host.tick(limits.RESEND_MS + limits.LOOK_AFTER_MS)
        assert not to(B, Append, left) + to(B, Prepare, left), "nor is it asked again and again"
    host.hear(B, a_beat(disk=FINE))
    host.tick(limits.RESEND_MS + limits.LOOK_AFTER_MS)
    (append,) = to(B, Append, host.hear(B, a_promise(last=1)))
    assert (append.prev_index, len(append.entries)) == (1, 1)


def test_what_was_not_taken_is_asked_for_once_it_would_be() -> None:
    """The primary may not know that it is lost: an empty Append, which tells where logs are equal, too."""
    host = backup()
    disk = host.node.context.disks.own
    tick(disk, 0, FREE[SPENT])
    host.hear(B, Append(P, Epoch(3), Epoch(0), Index(0), Index(0), []))
    assert not to(B, Refuse, host.tick(limits.LOOK_AFTER_MS))
    tick(disk, 20, 2 * RESERVE)
    assert to(B, Refuse, host.tick(limits.LOOK_AFTER_MS)) == [Refuse(P, Epoch(3), Epoch(3))]
    assert not to(B, Refuse, host.tick(limits.LOOK_AFTER_MS)), "once"


def test_a_new_primary_comes_back_to_a_backup_that_took_nothing() -> None:
    host = Host(A)
    host.take(map_of(a_part(A), 1))
    host.sync()
    host.hear(B, a_beat(disk=SPENT))
    host.hear(B, a_promise())
    host.hear(C, a_promise())
    host.sync()
    host.hear(C, an_ack(1))
    assert host.primary.may_execute
    host.hear(B, a_beat(disk=FINE))
    assert to(B, Prepare, host.tick(limits.RESEND_MS + limits.LOOK_AFTER_MS)), "it has not heard of the entry"


def test_what_a_second_promise_tells_is_not_waited_for() -> None:
    """Its acknowledgement is no news then: it stayed counted, until nothing more was sent to that peer."""
    host = primary()
    host.hear(C, a_promise())
    host.hear(B, a_request(Kind.PUT, 1))
    host.hear(C, a_promise(last=2))
    host.hear(C, an_ack(2))
    assert host.node.budget.in_flight[C] == 0
