"""What a primary says of a request that it does not run: no copy of it may run any more, or it is not said.

A coordinator takes a refusal for the word on every copy that it sent before under that epoch.
"""

from dataclasses import replace

import pytest
from tests.support.core.parts import A, B, C, Host, P, a_part, a_promise, a_request, an_ack, bound, map_of, to

from ringkeep.core.disk_state import NOTHING_ASKED
from ringkeep.core.protocol import limits
from ringkeep.core.protocol.client_requests import Kind, Status
from ringkeep.core.protocol.entry import Entry, EntryKind, encode
from ringkeep.core.protocol.hot_messages import Append, Forward, Reply
from ringkeep.core.protocol.types import Epoch, Index, Millis
from ringkeep.core.replication.primary import Phase

FULL = ({"parked_requests": 1}, {"parked_bytes": 1})
UNTIL_SOON = Millis(limits.LOOK_AFTER_MS)


def a_copy(number: int, counter: int = 1, remaining_ms: int = 5_000) -> Forward:
    """Copy of a write of b's client; all copies of one request have its counter."""
    write = a_request(Kind.PUT, counter)
    return replace(write, tag=counter << 16 | number, value=b"v", remaining_ms=Millis(remaining_ms))


def preparing() -> Host:
    """Node a, whom the map has just made the primary."""
    host = Host(A)
    host.take(map_of(a_part(A), 7))
    host.sync()
    return host


def become_active(host: Host) -> list[Reply]:
    """Let the majority be there; return what is answered to b in the end."""
    host.hear(B, a_promise())
    host.hear(C, a_promise())
    host.sync()
    return to(B, Reply, host.hear(B, an_ack(1)))


def active() -> Host:
    host = preparing()
    become_active(host)
    assert host.phase() == Phase.ACTIVE
    return host


def waits(state: str) -> Host:
    """A primary at which requests wait, for one reason or another."""
    host = preparing() if state == "preparing" else active()
    host.primary.paused = state == "paused"
    return host


@pytest.mark.parametrize("full", FULL)
@pytest.mark.parametrize("state", ["preparing", "paused"])
def test_a_full_room_takes_a_newer_copy_in_the_place_of_the_older(state: str, full: dict[str, int]) -> None:
    host = waits(state)
    bound(host.node.context, **full)
    assert to(B, Reply, host.hear(B, a_copy(1))) == []
    assert to(B, Reply, host.hear(B, a_copy(2))) == [], "the first may run: it is not said that none does"
    (busy,) = to(B, Reply, host.hear(B, a_copy(1, counter=2)))
    assert busy.status == Status.BUSY, "there is no room for another request"
    if state == "preparing":
        become_active(host)
    else:
        host.tick(UNTIL_SOON)
    assert [call.message.tag & 0xFFFF for call in host.primary.pending.calls[Index(2)]] == [2], "it runs once"
    host.sync()
    (reply,) = to(B, Reply, host.hear(B, an_ack(2)))
    assert (reply.tag, reply.status) == (a_copy(2).tag, Status.CREATED)
    assert host.node.budget.parked_bytes == 0


def test_what_is_refused_waits_no_more() -> None:
    """Whatever the reason is: here the disk is full, and an older copy was left behind in the room."""
    host = active()
    host.primary.paused = True
    host.hear(B, a_copy(1))
    host.primary.paused = False
    host.node.context.disks.own.note(0, stalled=False, free=0, reserve=1 << 20, asked=NOTHING_ASKED)
    (reply,) = to(B, Reply, host.hear(B, a_copy(2)))
    assert reply.status == Status.NO_SPACE
    host.node.context.disks.own.note(0, stalled=False, free=2 << 20, reserve=1 << 20, asked=NOTHING_ASKED)
    host.tick(UNTIL_SOON)
    assert host.replica.log.last_index == 1, "the older one does not run after that"


def test_a_request_that_waited_too_long_is_told_that_its_older_copy_was_applied() -> None:
    """The older copy stands in the log of the epoch before, which the primary adopts while it is paused."""
    older = a_copy(1)
    stored = Entry(
        EntryKind.PUT, Epoch(3), Index(1), Millis(0), older.origin, older.counter, older.low, older.key,
        Status.CREATED,
    )  # fmt: skip
    host = Host(A)
    host.take(map_of(a_part(C), 7))
    host.hear(C, Append(P, Epoch(3), Epoch(0), Index(0), Index(0), [encode(stored)]))
    host.take(map_of(a_part(A, epoch=Epoch(4)), 8))
    host.sync()
    host.primary.paused = True
    assert to(B, Reply, host.hear(B, replace(a_copy(2, remaining_ms=100), epoch=Epoch(4)))) == []
    host.hear(B, a_promise(1, epoch=4))
    host.sync()
    host.hear(B, an_ack(2, epoch=4))
    assert (host.phase(), host.replica.applied) == (Phase.ACTIVE, 2)
    host.node.context.now += 100
    (reply,) = to(B, Reply, host.turn(host.primary.on_tick))
    assert (reply.tag, reply.status, reply.version) == (a_copy(2).tag, Status.CREATED, 1)
