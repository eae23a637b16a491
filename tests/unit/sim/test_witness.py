"""What the witness of operations and expiry accepts, and what it does not."""

import re
from collections.abc import Callable
from typing import Any

import pytest

from ringkeep.core.protocol.change import Change, ChangeKind
from ringkeep.core.protocol.client_requests import Kind, Request, Result, Status
from ringkeep.core.protocol.entry import NO_ORIGIN, Entry, EntryKind, encode
from ringkeep.core.protocol.types import Epoch, Index
from ringkeep.core.state.operations import pack_numbers
from ringkeep.sim.checks.committed_log import CommittedLog
from ringkeep.sim.operations.calls import Call
from ringkeep.sim.operations.witness import Witness

KEY = b"k"
ORIGIN = b"o" * 20


class Story:
    """A partition's log and calls: event numbers are ten for each step, times a hundred milliseconds."""

    def __init__(self) -> None:
        self.log = CommittedLog()
        self.calls: list[Call] = []

    def entry(
        self, at: int, time: int, change: Change | None, counter: int, status: int, result: bytes
    ) -> int:
        index = Index(self.log.last + 1)
        origin = ORIGIN if counter else NO_ORIGIN
        changes = [change] if change is not None else []
        entry = Entry(
            EntryKind.CHANGES, Epoch(1), index, time, origin, counter, 0, KEY, status, changes=changes,
            result=result,
        )  # fmt: skip
        self.log.add(encode(entry), at * 10, (at * 10 + 1, at * 100))
        return index

    def call(self, start: int, end: int, kind: Kind, result: Result | None, **asked: Any) -> Call:
        request = Request(kind, KEY)
        request.counter = len(self.calls) + 1 if kind != Kind.GET else 0
        call = Call(
            0, kind, KEY, asked.get("value", b""), b"", 0, asked.get("ttl_ms", 0), asked.get("stale", False),
            0, b"", start * 10, start * 100, end * 10 + 5, end * 100, result, [(ORIGIN, request)],
        )  # fmt: skip
        self.calls.append(call)
        return call

    def judge(self) -> None:
        Witness("it", self.log, self.calls).judge()


def a_story() -> Story:
    """5 is added with 200 ms to live, in steps 1 to 3; the record is read, and removed at step 6."""
    story = Story()
    story.call(1, 3, Kind.ADD, Result(Status.CREATED, 1, b"5"), value=pack_numbers(5, 0), ttl_ms=200)
    story.entry(2, 100, Change(ChangeKind.PUT, KEY, b"\0" + b"5", 310), 1, Status.CREATED, b"\0" + b"5")
    story.call(4, 4, Kind.GET, Result(Status.FOUND, 1, b"5", ttl_ms=100))
    removal = Change(ChangeKind.EXPIRE, KEY, replaced_deadline=310, version=Index(1))
    story.entry(6, 310, removal, 0, 0, b"")
    story.call(7, 7, Kind.GET, Result(Status.NOT_FOUND))
    return story


def test_a_record_that_lives_and_is_removed() -> None:
    a_story().judge()


def early(story: Story) -> None:
    story.log.until[2] = (61, 200)


def absence_told_early(story: Story) -> None:
    story.calls[1].result = Result(Status.NOT_FOUND)


def seen_again(story: Story) -> None:
    story.call(8, 8, Kind.GET, Result(Status.FOUND, 1, b"5", ttl_ms=100))


def seen_again_meanwhile(story: Story) -> None:
    """Two reads, one after the other, while the removal is being committed."""
    story.call(5, 6, Kind.GET, Result(Status.NOT_FOUND))
    story.calls[-1].end = 65
    story.call(7, 7, Kind.GET, Result(Status.FOUND, 1, b"5", ttl_ms=100))
    story.calls[-1].start, story.log.until[2] = 66, (67, 600)


def another_result(story: Story) -> None:
    story.calls[0].result = Result(Status.CREATED, 1, b"")


def told_and_not_done(story: Story) -> None:
    story.call(8, 8, Kind.DELETE, Result(Status.DELETED, 3))


def done_and_not_told(story: Story) -> None:
    story.calls[0].result = Result(Status.UNAVAILABLE)


def time_goes_back(story: Story) -> None:
    story.call(8, 9, Kind.DELETE, None)
    story.entry(8, 300, Change(ChangeKind.DELETE, KEY), 4, Status.DELETED, b"")


def not_removed_first(story: Story) -> None:
    del story.log.entries[2], story.calls[2]
    story.call(6, 9, Kind.APPEND, None, value=b"7")
    story.log.last = 1
    story.entry(7, 310, Change(ChangeKind.PUT, KEY, b"\0" + b"57", 310), 3, Status.REPLACED, b"\0" + b"57")


def too_much_time_left(story: Story) -> None:
    story.calls[1].result = Result(Status.FOUND, 1, b"5", ttl_ms=211)


def no_time_left_so_soon(story: Story) -> None:
    story.calls[1].result = Result(Status.FOUND, 1, b"5")


def stale_absence_too_early(story: Story) -> None:
    story.call(4, 4, Kind.GET, Result(Status.NOT_FOUND, age_ms=100), stale=True)
    story.calls[-1].start_ms = 600


def nobody_asked(story: Story) -> None:
    story.entry(8, 320, Change(ChangeKind.DELETE, KEY), 9, Status.DELETED, b"")


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (early, "removes b'k' after 100 ms"),
        (absence_told_early, "no place"),
        (seen_again, "no place"),
        (seen_again_meanwhile, "no place"),
        (another_result, "was answered"),
        (told_and_not_done, "no entry of"),
        (done_and_not_told, "was answered UNAVAILABLE"),
        (time_goes_back, "log time 300 after 310"),
        (not_removed_first, "still saw"),
        (too_much_time_left, "no place"),
        (no_time_left_so_soon, "no place"),
        (stale_absence_too_early, "no place"),
        (nobody_asked, "nobody asked"),
    ],
)
def test_what_does_not_agree_with_the_log_is_noticed(change: Callable[[Story], None], says: str) -> None:
    story = a_story()
    change(story)
    with pytest.raises(AssertionError, match=re.escape(says)):
        story.judge()
