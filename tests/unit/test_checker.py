"""The checker is checked: by histories that people can judge, random ones, and a slow twin without tricks."""

import random
import time
from dataclasses import replace
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ringkeep.core.requests import PRESENT
from ringkeep.sim.checker import Operation, check

KEY = b"k"


def op(
    start: int,
    end: int | None,
    kind: str,
    value: bytes | None = None,
    *,
    version: int = 0,
    read: bytes | None = None,
    expected: int | None = None,
    outcome: str = "",
) -> Operation:
    """An operation whose outcome follows from what was answered, unless it is said."""
    if not outcome:
        found = version > 0 or (kind == "put" and end is not None)
        outcome = "unknown" if end is None else "ok" if found else "failed"
    return Operation(start, kind, KEY, value, expected, start, end, outcome, version, read)


def put(start: int, end: int | None, value: bytes, version: int = 0, outcome: str = "") -> Operation:
    return op(start, end, "put", value, version=version, outcome=outcome)


def cas(
    start: int, end: int | None, value: bytes, expected: int, version: int, outcome: str = ""
) -> Operation:
    return op(start, end, "cas", value, version=version, expected=expected, outcome=outcome)


def get(start: int, end: int, read: bytes | None = None, version: int = 0) -> Operation:
    return op(start, end, "get", version=version, read=read)


def delete(start: int, end: int | None, version: int = 0, outcome: str = "") -> Operation:
    return op(start, end, "delete", version=version, outcome=outcome)


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
    "only if present": [put(1, 2, b"a", 1), op(3, 4, "cas", b"b", version=2, expected=PRESENT)],
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
}


@pytest.mark.parametrize("name", GOOD)
def test_a_good_history_is_accepted(name: str) -> None:
    assert check(GOOD[name]) is None
    assert check(GOOD[name], search=True) is None


@pytest.mark.parametrize("name", BAD)
def test_a_bad_history_is_refused(name: str) -> None:
    violation = check(BAD[name])
    assert violation is not None
    assert violation.key == KEY
    assert violation.operations
    assert check(BAD[name], search=True) is not None


def test_keys_are_judged_apart() -> None:
    other = [replace(each, key=b"other") for each in BAD["stale read"]]
    violation = check([*GOOD["deleted and written anew"], *other])
    assert violation is not None
    assert violation.key == b"other"


def test_a_violation_can_be_read() -> None:
    text = str(check(BAD["stale read"]))
    assert "client 5: get -> ok, version 1, b'a'" in text
    assert "client 3: put b'b' -> ok, version 2" in text
    assert "client 1: put b'a'" in text


# --- random histories ------------------------------------------------------------------------------------


def linearizable(seed: int, count: int, clients: int = 4, unknowns: float = 0.15) -> list[Operation]:
    """A history made from a sequential run: each operation takes effect at a moment between start and end."""
    rng = random.Random(seed)
    free = [0] * clients  # from when each client may call again
    calls = []
    for number in range(count):
        client = rng.randrange(clients)
        start = free[client] + rng.randint(1, 4)
        moment = start + rng.randint(0, 6)
        end = moment + rng.randint(0, 6)
        free[client] = end + 1
        calls.append((moment, rng.random(), client, start, end, number))
    value, version, latest, history = None, 0, 0, []
    for _, _, client, start, end, number in sorted(calls):
        latest += rng.choice((1, 1, 1, 5))  # the log holds other keys too
        kind = rng.choice(("get", "get", "put", "put", "cas", "delete"))
        written = b"%d" % number if kind in ("put", "cas") else None
        expected = rng.choice((version, version, 0, max(latest - 3, 1))) if kind == "cas" else None
        each = Operation(client, kind, KEY, written, expected, start, end, "failed", version, None)
        history.append(each)
        if rng.random() < 0.1:
            each.outcome, each.version = "rejected", 0
            continue
        if kind == "get":
            if value is not None:
                each.outcome, each.read = "ok", value
        elif (
            kind == "put"
            or (kind == "cas" and expected == version)
            or (kind == "delete" and value is not None)
        ):
            each.outcome = "ok"
            each.version = latest
            value, version = written, latest if written is not None else 0
            if kind == "delete" and rng.random() < 0.5:
                each.version = 0  # as an interface does that does not tell
        if kind != "get" and rng.random() < unknowns:
            each.outcome, each.version = "unknown", 0
            each.end = rng.choice((None, each.end))
    return history


@given(st.integers(0, 1 << 32), st.integers(0, 60))
@settings(max_examples=300, deadline=None)
def test_what_was_sequential_is_accepted(seed: int, count: int) -> None:
    history = linearizable(seed, count)
    assert check(history) is None
    assert check(history, search=True) is None


@given(st.integers(0, 1 << 32), st.integers(3, 30), st.sampled_from(["value", "swap", "absent", "rejected"]))
@settings(max_examples=300, deadline=None)
def test_one_wrong_answer_is_refused(seed: int, count: int, kind: str) -> None:
    """Mutations that no order can explain; each is put where it is wrong for certain."""
    history = sorted(linearizable(seed, count, clients=1, unknowns=0.0), key=lambda each: each.start)
    reads = [each for each in history if each.kind == "get" and each.outcome == "ok"]
    writes = [each for each in history if each.kind == "put" and each.outcome == "ok"]
    if kind == "value" and reads:
        reads[seed % len(reads)].read = b"never written"
    elif kind == "swap" and len(writes) > 1:
        first, second = list(pairwise(writes))[seed % (len(writes) - 1)]
        first.version, second.version = second.version, first.version
    elif kind == "absent" and reads:
        read = reads[seed % len(reads)]
        read.outcome, read.version, read.read = "failed", 0, None
    elif kind == "rejected" and any(each.version in {w.version for w in writes} for each in reads):
        read = next(each for each in reads if each.version in {w.version for w in writes})
        write = next(each for each in writes if each.version == read.version)
        write.outcome, write.version = "rejected", 0
    else:
        return
    assert check(history) is not None
    assert check(history, search=True) is not None


def explained(history: list[Operation], top: int = 9) -> bool:
    """The slow twin: every order that real time allows, every version for whoever was told none."""
    calls = [
        each
        for each in history
        if each.outcome != "rejected" and (each.kind, each.outcome) != ("get", "unknown")
    ]

    def fits(each: Operation, value: bytes | None, version: int) -> bool:
        held = value is not None if each.kind == "delete" else True
        if each.expected is not None:
            held = each.expected == (version if value is not None else 0)
        if each.kind == "get":
            return (each.read, each.version) == (value, version if value is not None else 0)
        if each.outcome == "failed":
            return not held and each.version == (version if value is not None else 0)
        return held

    def go(left: list[Operation], value: bytes | None, version: int) -> bool:
        if all(each.outcome == "unknown" for each in left):
            return True
        closes = min(each.end for each in left if each.outcome != "unknown" and each.end is not None)
        for each in left:
            if each.start > closes or not fits(each, value, version):
                continue
            rest = [other for other in left if other is not each]
            if each.kind == "get" or each.outcome == "failed":
                if go(rest, value, version):
                    return True
                continue
            for its in [each.version] if each.version else range(version + 1, top + 1):
                if its > version and go(rest, each.value, its):
                    return True
        return False

    return go(calls, None, 0)


@st.composite
def small_histories(draw: st.DrawFn) -> list[Operation]:
    """Anything at all, of few values and versions, so that about half is wrong."""
    history = []
    for number in range(draw(st.integers(1, 6))):
        kind = draw(st.sampled_from(["get", "get", "put", "put", "delete", "cas"]))
        start = draw(st.integers(0, 12))
        end = start + draw(st.integers(0, 5))
        value = draw(st.sampled_from([b"a", b"b", b"c"])) if kind in ("put", "cas") else None
        expected = draw(st.integers(0, 3)) if kind == "cas" else None
        outcomes = {"get": "ok ok failed", "put": "ok ok unknown rejected"}
        outcome = draw(st.sampled_from(outcomes.get(kind, "ok failed unknown").split()))
        version = draw(st.integers(1, 5)) if outcome == "ok" else 0
        if outcome == "failed" and kind == "cas":
            version = draw(st.integers(0, 5))
        if kind == "delete" and outcome == "ok" and draw(st.booleans()):
            version = 0
        read = draw(st.sampled_from([b"a", b"b", b"c"])) if kind == "get" and outcome == "ok" else None
        history.append(Operation(number, kind, KEY, value, expected, start, end, outcome, version, read))
    return history


@given(small_histories())
@settings(max_examples=1_500, deadline=None)
def test_both_stages_agree_with_a_slow_twin(history: list[Operation]) -> None:
    truth = explained(history)
    assert (check(list(history)) is None) == truth
    assert (check(list(history), search=True) is None) == truth


@given(st.integers(0, 1 << 32), st.integers(2, 25), st.randoms(use_true_random=False))
@settings(max_examples=500, deadline=None)
def test_the_stages_agree_on_damaged_histories(seed: int, count: int, rng: random.Random) -> None:
    history = linearizable(seed, count)
    for _ in range(rng.randint(1, 2)):
        victim, other = rng.choice(history), rng.choice(history)
        change = rng.randrange(3)
        if change == 0 and victim.version and other.version and victim.kind == other.kind:
            victim.version, other.version = other.version, victim.version
        elif change == 1 and victim.outcome == "ok" and victim.kind != "get":
            victim.outcome, victim.version = "unknown", 0
        elif change == 2 and victim.end is not None:
            length = victim.end - victim.start
            victim.start = other.start
            victim.end = other.start + length
    assert (check(list(history)) is None) == (check(list(history), search=True) is None)


def test_large_histories_are_cheap() -> None:
    """The bound is generous: what it must notice is a cost that grows with the square."""
    history = []
    for number in range(500):
        for each in linearizable(number, 100):
            each.key = b"%d" % number
            history.append(each)
    history += [replace(each, key=b"hot") for each in linearizable(9_999, 20_000, clients=16, unknowns=0.01)]
    began = time.process_time()
    assert check(history) is None
    assert time.process_time() - began < 60
