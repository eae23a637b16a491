"""What streams of changes say: each change once, over all streams; and what is made of it."""

import math
import time

import pytest

from ringkeep.client import Bookmark, Change, HistoryLost, Invalid, Item
from ringkeep.client.calls.feed import Feed
from ringkeep.client.calls.holding import Holding, checked_ttl
from ringkeep.client.calls.local_copy import LocalCopy
from ringkeep.client.codecs import JSON, RAW


def put(key: str, version: int, value: str = "v") -> bytes:
    return b'{"event":"put","key":"%b","version":%d,"value":"%b"}\n' % (key.encode(), version, value.encode())


def bookmark(cursor: str, age: str = "5") -> bytes:
    return b'{"event":"bookmark","cursor":"%b","age":%b}\n' % (cursor.encode(), age.encode())


def versions(feed: Feed[bytes], data: bytes) -> list[int]:
    return [found.version for found in feed.take(data) if isinstance(found, Change)]


def test_bytes_come_as_they_like() -> None:
    feed = Feed(RAW, "", "", values=True)
    data = bookmark("A") + put("k", 1) + b'{"event":"delete","key_base64":"/w==","version":7}\n'
    found = [each for at in range(len(data)) for each in feed.take(data[at : at + 1])]
    assert found == [Bookmark("A", 0.005), Change("put", b"k", 1, b"v"), Change("delete", b"\xff", 7)]
    assert feed.cursor == "A"


def test_what_is_told_again_after_a_break_is_left_out() -> None:
    feed = Feed(RAW, "", "", values=True)
    feed.call()
    assert versions(feed, bookmark("A") + put("k", 1) + bookmark("B") + put("k", 2) + put("l", 3)) == [
        1,
        2,
        3,
    ]
    feed.call()
    assert feed.cursor == "B"
    again = bookmark("B") + put("k", 2) + put("k", 4)
    assert versions(feed, again) == [4]
    feed.call()
    assert versions(feed, bookmark("B") + put("l", 3) + put("k", 2) + put("k", 4) + put("l", 5)) == [5]


def test_a_bookmark_of_another_stream_does_not_make_it_forget() -> None:
    """Another node may be behind: its bookmarks may come before what was told already."""
    feed = Feed(RAW, "", "", values=True)
    feed.call()
    assert versions(feed, bookmark("A") + put("k", 9)) == [9]
    feed.call()
    assert versions(feed, bookmark("A") + put("l", 1) + bookmark("B") + put("k", 9) + put("k", 10)) == [1, 10]


def test_a_cut_line_and_a_newer_nodes_events_do_no_harm() -> None:
    feed = Feed(RAW, "", "", values=True)
    assert versions(feed, put("k", 1) + put("k", 2)[:-5]) == [1]
    feed.call()
    assert versions(feed, b'{"event":"rename","key":"k"}\n' + put("k", 2)) == [2]


def test_the_end_of_history_is_an_error() -> None:
    *_, last = Feed(RAW, "", "A", values=True).take(put("k", 1) + b'{"event":"gone","detail":"list again"}\n')
    assert isinstance(last, HistoryLost)


def test_a_value_that_the_codec_does_not_read() -> None:
    before, bad, after = Feed(JSON, "", "", values=True).take(
        put("a", 1, "1") + put("k", 2, "{") + put("l", 3, "2")
    )
    assert isinstance(bad, Invalid)
    assert [each.value for each in (before, after) if isinstance(each, Change)] == [1, 2]


# --- a local copy -------------------------------------------------------------------------------------


def test_a_copy_is_complete_at_a_bookmark_after_its_listing(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [100.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    copy: LocalCopy[bytes] = LocalCopy()
    copy.load([Item(b"k", 5, b"five"), Item(b"l", 1, b"one")])
    copy.listed()
    now[0] = 101.0
    for bookmark_ in (Bookmark("A", None), Bookmark("B", 1.5)):
        copy.mark(bookmark_)
        assert not copy.complete and copy.staleness == math.inf
    copy.mark(Bookmark("C", 0.5))
    now[0] = 103.0
    assert copy.complete and copy.staleness == 2.5


def test_a_copy_takes_no_older_state() -> None:
    copy: LocalCopy[bytes] = LocalCopy()
    copy.load([Item(b"k", 5, b"five")])
    assert not copy.apply(Change("put", b"k", 4, b"four"))
    assert copy.apply(Change("delete", b"l", 9))
    assert not copy.apply(Change("put", b"l", 8, b"was deleted")), "a listing may be newer than the feed"
    assert copy.apply(Change("touch", b"k", 6, ttl=3.0))
    assert {key: (found.value, found.version) for key, found in copy.records.items()} == {b"k": (b"five", 6)}


def test_a_copy_that_was_listed_again_tells_what_differs() -> None:
    before: LocalCopy[bytes] = LocalCopy()
    before.load([Item(b"gone", 3, b"x"), Item(b"new version", 4, b"old"), Item(b"same", 5, b"s")])
    after: LocalCopy[bytes] = LocalCopy()
    after.load([Item(b"came", 9, b"c", 2.0), Item(b"new version", 8, b"new"), Item(b"same", 5, b"s")])
    assert after.changes_since(before) == [
        Change("put", b"came", 9, b"c", 2.0),
        Change("put", b"new version", 8, b"new"),
        Change("delete", b"gone", 3),
    ]
    assert after.changes_since(after) == []


# --- locks ----------------------------------------------------------------------------------------------


def test_a_lock_is_held_from_when_it_was_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [100.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    holding = Holding(b"lock", 9.0)
    assert holding.left_s == 0
    now[0] = 104.0
    holding.taken(7, asked_at=100.0)
    assert (holding.token, holding.left_s, holding.renew_in_s) == (7, 5.0, 0.0)
    holding.renewed(8, asked_at=104.0)
    assert (holding.token, holding.version, holding.left_s, holding.renew_in_s) == (7, 8, 9.0, 3.0)
    holding.lost = True
    assert holding.left_s == 0


@pytest.mark.parametrize("ttl", [0, -1, 0.1, float("nan")])
def test_a_lock_that_cannot_be_renewed_in_time_is_refused(ttl: float) -> None:
    with pytest.raises(ValueError, match="at least"):
        checked_ttl(ttl)
