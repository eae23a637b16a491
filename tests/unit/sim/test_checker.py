"""The checker is checked: by histories that people can judge. Random ones are in test_checker_random.py."""

from dataclasses import replace

import pytest
from tests.support.sim.histories import KEY, cas, delete, get, op, put, untold

from ringkeep.core.protocol.client_requests import PRESENT
from ringkeep.sim.histories.checker import by_key, check, check_by_search
from ringkeep.sim.histories.history import UNTOLD
from ringkeep.sim.histories.timeline import SHOWN, draw

GOOD = {
    "nothing": [],
    "write then read": [put(1, 2, b"a", 7), get(3, 4, b"a", 7)],
    "a read during a write may see it or not": [put(1, 9, b"a", 7), get(2, 3), get(4, 5, b"a", 7)],
    "concurrent writes in either order": [put(1, 9, b"a", 8), put(2, 8, b"b", 7), get(10, 11, b"a", 8)],
    "deleted and written anew": [
        put(1, 2, b"a", 1),
        delete(3, 4, 2),
        get(5, 6),
        delete(7, 8),
        cas(9, 10, b"b", 0, 3),
        get(11, 12, b"b", 3),
    ],
    "a chain of conditions": [cas(1, 2, b"a", 0, 1), cas(3, 4, b"b", 1, 5), cas(5, 6, b"c", 5, 6)],
    "a refused condition tells the version": [
        put(1, 2, b"a", 1),
        cas(3, 4, b"b", 9, 1, "failed"),
        get(5, 6, b"a", 1),
    ],
    "a refused condition on nothing": [cas(1, 2, b"b", 9, 0, "failed"), get(3, 4)],
    "an unknown write that was applied late": [put(1, None, b"a"), get(2, 3), get(90, 91, b"a", 4)],
    "an unknown write that never was": [put(1, None, b"a"), get(2, 3), get(90, 91)],
    "answered as unknown, applied later": [put(1, 2, b"a", outcome="unknown"), get(3, 4), get(5, 6, b"a", 1)],
    "an unknown delete explains an absence": [
        put(1, 2, b"a", 1),
        delete(3, None),
        get(4, 5, b"a", 1),
        get(6, 7),
    ],
    "an unknown delete makes room for a creation": [
        put(1, 2, b"a", 1),
        delete(3, None),
        cas(4, 5, b"b", 0, 3),
    ],
    "an unseen write was what a delete deleted": [put(1, None, b"a"), delete(2, 3, 2)],
    "an unseen write is what refused a condition": [put(1, None, b"a"), cas(2, 3, b"b", 0, 4, "failed")],
    "a delete that does not tell its version": [put(1, 2, b"a", 1), delete(3, 4, outcome="ok"), get(5, 6)],
    "one value twice, by writes without versions": [
        put(1, None, b"a"),
        put(2, None, b"a"),
        get(3, 4, b"a", 3),
        delete(5, 6, 4),
        get(7, 8, b"a", 5),
    ],
    "a rejected write, not seen": [put(1, 2, b"a", outcome="rejected"), get(3, 4)],
    "only if present": [put(1, 2, b"a", 1), cas(3, 4, b"b", PRESENT, 2)],
    "a delete of one version": [put(1, 2, b"a", 1), delete(3, 4, 2, expected=1), get(5, 6)],
    "a delete of another version is refused": [
        put(1, 2, b"a", 1),
        delete(3, 4, 1, "failed", expected=9),
        get(5, 6, b"a", 1),
    ],
    "a delete of what is absent, if it is absent": [delete(1, 2, 0, "failed", expected=0)],
    "an unknown delete of one version": [
        put(1, 2, b"a", 1),
        delete(3, None, expected=1),
        get(4, 5),
        cas(6, 7, b"b", 0, 3),
    ],
    "two values alike, of which one was rejected": [
        put(1, 2, b"a", outcome="rejected"),
        put(3, None, b"a"),
        get(4, 5, b"a", 7),
    ],
    "a read that tells no version": [
        put(1, 2, b"a", 1),
        put(3, 9, b"b", 2),
        get(4, 5, b"a"),
        get(6, 7, b"b"),
    ],
    "a refusal that tells nothing": [put(1, 2, b"a", 1), cas(3, 4, b"b", 9, UNTOLD, "failed")],
    "a refusal between two versions": [
        put(1, 20, b"a", 1),
        cas(2, 3, b"b", 1, UNTOLD, "failed"),
        get(4, 5, b"a", 1),
    ],
    "one value over and over": [
        put(1, 2, b"a", 1),
        put(3, 4, b"b", 2),
        put(5, 6, b"a", 3),
        get(7, 8, b"a"),
        get(9, 10, b"a", 3),
    ],
    "two unknown writes, one after the other": [
        put(1, 2, b"a", 1),
        delete(3, None),
        cas(4, None, b"b", 0, 0),
        cas(5, None, b"b", 0, 0),
        get(6, 7, b"b"),
    ],
    "an unknown write that has to wait for its turn": [
        put(2, None, b"b"),
        put(3, None, b"a"),
        cas(3, None, b"a", 3, 0),
        get(2, 5, b"a", 4),
        get(2, 6, b"a", 5),
    ],
    "an unknown write, and a condition on what it wrote": [put(1, None, b"a"), cas(2, 3, b"b", 5, 6)],
}

BAD = {
    "stale read": [put(1, 2, b"a", 1), put(3, 4, b"b", 2), get(5, 6, b"a", 1)],
    "reads go back": [put(1, 2, b"a", 1), put(3, 20, b"b", 2), get(5, 6, b"b", 2), get(7, 8, b"a", 1)],
    "lost write": [put(1, 2, b"a", 1), get(3, 4)],
    "lost update": [put(1, 2, b"a", 1), cas(3, 9, b"b", 1, 2), cas(4, 8, b"c", 1, 3)],
    "cas twice on one version": [cas(1, 2, b"a", 0, 1), cas(3, 4, b"b", 1, 2), cas(5, 6, b"c", 1, 3)],
    "created twice": [cas(1, 9, b"a", 0, 1), cas(2, 8, b"b", 0, 2)],
    "resurrected delete": [put(1, 2, b"a", 1), delete(3, 4, 2), get(5, 6), get(7, 8, b"a", 1)],
    "deleted twice": [put(1, 2, b"a", 1), delete(3, 4, 2), delete(5, 6, 3)],
    "a deleted value under the delete's version": [put(1, 2, b"a", 1), delete(3, 4, 2), get(5, 6, b"a", 2)],
    "resurrected delete that told no version": [
        put(1, 2, b"a", 1),
        delete(3, 4, outcome="ok"),
        get(5, 6, b"a", 1),
    ],
    "a rejected write that shows up": [put(1, 2, b"a", outcome="rejected"), get(3, 4, b"a", 1)],
    "a value from nowhere": [get(1, 2, b"x", 1)],
    "read of the future": [get(1, 2, b"a", 1), put(3, 4, b"a", 1)],
    "read of an unknown write's future": [get(1, 2, b"a", 1), put(3, None, b"a")],
    "unknown, seen and then unseen": [put(1, None, b"a"), get(2, 3, b"a", 1), get(4, 5)],
    "unknown, seen, then the one before": [
        put(1, 2, b"o", 1),
        put(3, None, b"a"),
        get(4, 5, b"a", 2),
        get(6, 7, b"o", 1),
    ],
    "unknown, applied twice": [
        put(1, None, b"a"),
        get(2, 3, b"a", 1),
        put(4, 5, b"b", 2),
        get(6, 7, b"a", 3),
    ],
    "one unknown delete cannot delete twice": [
        put(1, 2, b"a", 1),
        delete(3, None),
        get(4, 5),
        put(6, 7, b"b", 3),
        get(8, 9),
    ],
    "an unknown delete that has not begun": [put(1, 2, b"a", 1), get(3, 4), delete(5, None)],
    "versions against real time": [put(1, 2, b"a", 5), put(3, 4, b"b", 4)],
    "one version, two writes": [put(1, 9, b"a", 5), put(2, 8, b"b", 5)],
    "one version, two values": [
        put(1, None, b"a"),
        put(2, None, b"b"),
        get(3, 4, b"a", 5),
        get(5, 6, b"b", 5),
    ],
    "another value than was written": [put(1, 2, b"a", 5), get(3, 4, b"b", 5)],
    "the condition held and was refused": [put(1, 2, b"a", 5), cas(3, 4, b"b", 5, 5, "failed")],
    "a condition on what was never there": [put(1, 2, b"a", 5), cas(3, 4, b"b", 4, 6)],
    "refused because of a later version": [cas(1, 2, b"b", 3, 7, "failed"), put(3, 4, b"a", 7)],
    "no version is left between": [put(1, 2, b"a", 5), delete(3, None), get(4, 5), put(6, 7, b"b", 6)],
    "absent between two versions": [put(1, 2, b"a", 1), put(3, 4, b"b", 2), get(5, 6), get(7, 8, b"b", 2)],
    "resurrected delete, seen by a condition": [
        put(1, 2, b"a", 1),
        delete(3, 4, 2),
        cas(5, 6, b"b", 9, 1, "failed"),
    ],
    "resurrected delete, seen by a delete": [
        put(1, 2, b"a", 1),
        delete(3, 4, 2),
        delete(5, 6, 3, expected=1),
    ],
    "a rejected cas that shows up": [
        put(1, 2, b"a", 1),
        cas(3, 4, b"b", 1, 0, "rejected"),
        get(5, 6, b"b", 2),
    ],
    "a rejected delete that was done": [put(1, 2, b"a", 1), delete(3, 4, outcome="rejected"), get(5, 6)],
    "two values alike, both rejected": [
        put(1, 2, b"a", outcome="rejected"),
        put(3, 4, b"a", outcome="rejected"),
        get(5, 6, b"a", 7),
    ],
    "cas against the wrong version": [put(1, 2, b"a", 5), put(3, 4, b"b", 6), cas(5, 6, b"c", 5, 7)],
    "cas if present, and nothing was": [put(1, 2, b"a", 1), delete(3, 4, 2), cas(5, 6, b"b", PRESENT, 3)],
    "cas if absent, and something was": [put(1, 2, b"a", 1), cas(3, 4, b"b", 0, 2)],
    "delete of the wrong version": [put(1, 2, b"a", 1), put(3, 4, b"b", 2), delete(5, 6, 3, expected=1)],
    "delete of what is absent was ok": [delete(1, 2, 1, "ok", expected=0)],
    "refused if present, and it was": [put(1, 2, b"a", 1), cas(3, 4, b"b", PRESENT, 0, "failed")],
    "refused if absent, and it was": [cas(1, 2, b"b", 0, 0, "failed")],
    "delete refused, and the condition held": [put(1, 2, b"a", 1), delete(3, 4, 1, "failed", expected=1)],
    "a failed cas whose condition held all along": [
        put(1, 2, b"a", 5),
        get(3, 4, b"a", 5),
        cas(5, 8, b"b", 5, UNTOLD, "failed"),
        get(6, 7, b"a", 5),
        get(9, 10, b"a", 5),
    ],
    "a failed cas, and nothing was there all along": [get(1, 2), cas(3, 4, b"a", 0, UNTOLD, "failed")],
    "a failed delete, and it was there all along": [
        put(1, 2, b"a", 1),
        delete(3, 4, UNTOLD, "failed", expected=PRESENT),
    ],
    "no version is left by two refusals": [
        put(1, 2, b"a", 1),
        put(3, 12, b"b"),
        cas(4, 5, b"c", 2, UNTOLD, "failed"),
        cas(6, 7, b"c", 3, UNTOLD, "failed"),
        get(8, 9, b"b"),
        put(13, 14, b"d", 4),
        get(2, 3, b"b"),
    ],
    "a version that a refusal has ruled out": [
        put(1, 2, b"a"),
        cas(3, 4, b"b", 5, UNTOLD, "failed"),
        get(5, 6, b"a", 5),
    ],
    "a condition that a refusal has ruled out": [
        put(1, 2, b"a"),
        cas(3, 4, b"b", 5, UNTOLD, "failed"),
        cas(5, 6, b"c", 5, 6),
    ],
    "read of the future, without a version": [get(1, 2, b"a"), put(3, 4, b"a", 1)],
    "version going back": [
        put(1, 2, b"a", 5),
        get(3, 4, b"a", 5),
        put(5, 20, b"b", 4),
        get(6, 7, b"b", 4),
    ],
    "stale read, without a version": [put(1, 2, b"a", 1), put(3, 4, b"b", 2), get(5, 6, b"a")],
    "two values were read twice over": [
        put(1, 9, b"a"),
        put(2, 8, b"b"),
        get(10, 11, b"a"),
        get(12, 13, b"b"),
    ],
    "a value that was overwritten is read again": [
        put(1, 2, b"a", 1),
        put(3, None, b"b"),
        get(4, 5, b"b"),
        get(6, 7, b"a"),
    ],
}
"""By the name of what went wrong."""

VERSIONS_TELL = {
    "a version that a refusal has ruled out",
    "versions against real time",
    "one version, two writes",
    "a condition on what was never there",
    "refused because of a later version",
    "no version is left between",
    "one version, two values",
    "resurrected delete, seen by a condition",
    "cas against the wrong version",
    "delete refused, and the condition held",
    "a failed cas whose condition held all along",
    "no version is left by two refusals",
    "the condition held and was refused",
    "version going back",
}
"""Without the versions of the answers, nothing is wrong with these."""


@pytest.mark.parametrize("name", GOOD)
def test_a_good_history_is_accepted(name: str) -> None:
    assert check(GOOD[name]) is None
    assert check_by_search(by_key(GOOD[name])) is None
    assert check(untold(GOOD[name])) is None


@pytest.mark.parametrize("search", [False, True], ids=["versions", "search"])
@pytest.mark.parametrize("name", BAD)
def test_a_bad_history_is_refused(name: str, search: bool) -> None:
    violation = check_by_search(by_key(BAD[name])) if search else check(BAD[name])
    assert violation is not None
    assert violation.key == KEY
    assert violation.operations
    assert set(violation.operations) <= set(BAD[name])


@pytest.mark.parametrize("name", BAD)
def test_a_bad_history_is_refused_without_versions(name: str) -> None:
    assert (check(untold(BAD[name])) is None) == (name in VERSIONS_TELL)


def test_keys_are_judged_apart() -> None:
    other = [replace(each, key=b"other") for each in BAD["stale read"]]
    violation = check([*GOOD["deleted and written anew"], *other])
    assert violation is not None
    assert violation.key == b"other"


# --- what people see --------------------------------------------------------------------------------------


def test_only_what_contradicts_each_other_is_shown() -> None:
    before = [put(time, time + 1, b"old %d" % time) for time in range(10, 90, 4)]
    reads = [get(time + 2, time + 3, b"old %d" % time) for time in range(10, 90, 4)]
    stale = [
        put(100, 101, b"a"),
        get(102, 103, b"a"),
        put(104, 105, b"b"),
        get(106, 107, b"a"),
        get(108, 109),
    ]
    violation = check([*before, *reads, *stale])
    assert violation is not None
    assert violation.operations == (stale[0], stale[2], stale[3])


def test_a_write_is_shown_that_explains_all_but_one() -> None:
    history = BAD["one unknown delete cannot delete twice"]
    violation = check([*history, put(100, None, b"late"), get(200, 201, b"late", 9)])
    assert violation is not None
    assert violation.operations == tuple(history)


def test_the_rejected_write_is_shown_that_was_seen() -> None:
    history = BAD["a rejected write that shows up"]
    for violation in (check(history), check_by_search(by_key(history))):
        assert violation is not None
        assert violation.operations == tuple(history)


TIME_LINE = """\
key "k": version 1 after version 2 (stale, lost, or from the future)
start  client  operation  time →                           answer
    1       1  put "o"    ├────┤                           ok, version 1
    3       3  put "a"              ├╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌  unknown
    4       4  get                       ├────┤            "a", version 2
    6       6  get                                 ├────┤  "o", version 1
╌ may take effect at any time after its start"""


def test_a_violation_can_be_read() -> None:
    assert str(check(BAD["unknown, seen, then the one before"])) == TIME_LINE


def test_a_time_line_fits() -> None:
    """Long keys and values are cut, many operations are counted, and the lines stay in their width."""
    value = "naïve ☃ ".encode() * 9
    history = [op(n, n + 40, "put", value + b"%d" % n, version=n, outcome="ok") for n in range(1, 41)]
    history += [op(60, 61, "cas", b"\xff" * 99, expected=1 << 61, version=1 << 60, outcome="failed")]
    for width in (80, 100, 110):
        lines = draw(history[-30:], width)
        assert max(map(len, lines)) <= width
        assert len(lines) == 1 + SHOWN + 1
        assert lines[-1] == "and 6 more"
        assert sum("├" in line for line in lines) == SHOWN
