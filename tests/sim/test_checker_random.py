"""The checker against histories that nobody chose: made by registers, damaged, and judged by a slow twin."""

import random
from dataclasses import replace
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.support.sim.histories import KEY, Load, get, made, put, untold, with_a_stale_read

from ringkeep.core.protocol.client_requests import PRESENT
from ringkeep.sim.histories import checker, linearize
from ringkeep.sim.histories.checker import Operation, Undecided, by_key, check, check_by_search
from ringkeep.sim.histories.history import UNTOLD

SEEDS = st.integers(0, 1 << 32)
NUMBERS = 5  # the highest version in a small history


def one_key(
    count: int, seed: int, clients: int = 4, unknown: float = 0.15, values: int = 0
) -> list[Operation]:
    load = Load(count, clients, 1, unknown=unknown, rejected=0.1, values=values, told=0.5, latency=6, pause=3)
    return made(load, seed)


def half_told(history: list[Operation], rng: random.Random) -> list[Operation]:
    """Some answers tell their version, some do not."""
    return [rng.choice(pair) for pair in zip(history, untold(history), strict=True)]


# --- what is right by construction ------------------------------------------------------------------------


@given(SEEDS, st.integers(0, 60), st.sampled_from([0, 0, 2]))
@settings(max_examples=300)
def test_what_registers_answered_is_accepted(seed: int, count: int, values: int) -> None:
    history = one_key(count, seed, values=values)
    assert check(history) is None
    assert check_by_search(by_key(history)) is None
    assert check(untold(history)) is None
    assert check(half_told(history, random.Random(seed))) is None


@given(SEEDS, st.integers(3, 30), st.sampled_from(["value", "swap", "absent", "rejected"]))
@settings(max_examples=300)
def test_one_wrong_answer_is_refused(seed: int, count: int, kind: str) -> None:
    """Mutations that no order can explain; each is put where it is wrong for certain."""
    history = one_key(count, seed, clients=1, unknown=0.0)
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
    assert check_by_search(by_key(history)) is not None
    if kind != "swap":
        assert check(untold(history)) is not None


# --- against a slow twin ----------------------------------------------------------------------------------


def holds(each: Operation, version: int) -> bool:
    """Whether a call does what it asks for, at a key of this version (0: absent)."""
    if each.kind == "delete" and not version:
        return False
    if each.expected is None:
        return True
    return bool(version) if each.expected == PRESENT else version == each.expected


def fits(each: Operation, value: bytes | None, version: int) -> bool:
    """Whether an answer is right, at a key of this value and version (0: absent)."""
    if each.kind == "get":
        return each.read == value and each.version in ((0, version) if each.outcome == "ok" else (version,))
    if each.outcome == "failed":
        return not holds(each, version) and each.version in (UNTOLD, version)
    return holds(each, version)


def explained(history: list[Operation]) -> bool:
    """The slow twin: every order that real time allows, every version for whoever was told none."""
    calls = [
        each
        for each in history
        if each.outcome != "rejected" and (each.kind, each.outcome) != ("get", "unknown")
    ]

    def go(left: list[Operation], value: bytes | None, version: int, last: int) -> bool:
        if all(each.outcome == "unknown" for each in left):
            return True
        closes = min(each.end for each in left if each.outcome != "unknown" and each.end is not None)
        for each in left:
            if each.start > closes or not fits(each, value, version):
                continue
            rest = [other for other in left if other is not each]
            if not each.writes:
                if go(rest, value, version, last):
                    return True
                continue
            told = each.version if each.outcome == "ok" else 0
            for its in [told] if told else range(last + 1, max(last, NUMBERS) + 2):
                if its > last and go(rest, each.value, its if each.value is not None else 0, its):
                    return True
        return False

    return go(calls, None, 0, 0)


def an_answer(draw: st.DrawFn, each: Operation) -> None:
    """Any answer that the file format allows."""
    kinds = {"get": "ok ok failed", "put": "ok ok unknown rejected", "cas": "ok ok failed failed unknown"}
    each.outcome = draw(st.sampled_from(kinds.get(each.kind, "ok failed unknown").split()))
    if each.kind == "delete" and each.expected == 0 and each.outcome == "ok":
        each.outcome = "failed"
    told = draw(st.sampled_from([True, True, True, False]))
    if each.outcome == "ok":
        each.version = draw(st.integers(1, NUMBERS)) if told else 0
        each.read = draw(st.sampled_from([b"a", b"b", b"c"])) if each.kind == "get" else None
    elif each.outcome == "failed" and each.expected is not None:
        each.version = draw(st.integers(0, NUMBERS)) if told else UNTOLD


@st.composite
def small_histories(draw: st.DrawFn, most: int = 6) -> list[Operation]:
    """Anything at all, of few values and versions, so that about half is wrong."""
    history = []
    for number in range(draw(st.integers(1, most))):
        kind = draw(st.sampled_from(["get", "get", "put", "put", "delete", "cas", "cas"]))
        start = draw(st.integers(0, 12))
        end = start + draw(st.integers(0, 5))
        value = draw(st.sampled_from([b"a", b"b", b"c"])) if kind in ("put", "cas") else None
        condition = st.sampled_from([0, 1, 2, 3, PRESENT])
        expected = draw(condition) if kind == "cas" else None
        if kind == "delete":
            expected = draw(st.one_of(st.none(), condition))
        each = Operation(number, kind, KEY, value, expected, start, end, "")
        an_answer(draw, each)
        history.append(each)
    return history


@given(small_histories())
@settings(max_examples=3_000)
def test_both_stages_agree_with_a_slow_twin(history: list[Operation]) -> None:
    truth = explained(history)
    assert (check(list(history)) is None) == truth
    assert (check_by_search(by_key(history)) is None) == truth


@given(small_histories())
@settings(max_examples=1_000)
def test_the_search_does_not_need_its_dive(history: list[Operation]) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(linearize.Search, "dive", lambda _: False)
        assert (check_by_search(by_key(history)) is None) == explained(history)


@given(small_histories(most=7))
@settings(max_examples=1_000)
def test_what_is_shown_is_a_contradiction_whatever_became_of_the_other_writes(
    history: list[Operation],
) -> None:
    violation = check_by_search(by_key(history))
    if violation is None:
        return
    shown = set(violation.operations)
    assert shown <= set(history)
    others = [
        replace(each, outcome="unknown", version=0) for each in history if each.writes and each not in shown
    ]
    assert not explained([*violation.operations, *others])


@given(SEEDS, st.integers(2, 25), st.randoms(use_true_random=False))
@settings(max_examples=500)
def test_the_stages_agree_on_damaged_histories(seed: int, count: int, rng: random.Random) -> None:
    history = half_told(one_key(count, seed), rng) if rng.random() < 0.3 else one_key(count, seed)
    for _ in range(rng.randint(1, 2)):
        victim, other = rng.choice(history), rng.choice(history)
        change = rng.randrange(3)
        if change == 0 and victim.version > 0 and other.version > 0 and victim.kind == other.kind:
            victim.version, other.version = other.version, victim.version
        elif change == 1 and victim.outcome == "ok" and victim.kind != "get":
            victim.outcome, victim.version = "unknown", 0
        elif change == 2 and victim.end is not None:
            length = victim.end - victim.start
            victim.start = other.start
            victim.end = other.start + length
    assert (check(list(history)) is None) == (check_by_search(by_key(history)) is None)


# --- large ------------------------------------------------------------------------------------------------

LARGE = {"1,000 keys alike": Load(100_000), "some keys hot": Load(100_000, skew=0.99)}


@pytest.fixture(scope="module", params=LARGE)
def large(request: pytest.FixtureRequest) -> list[Operation]:
    """100,000 operations of 32 clients, 4 % of unknown outcome, 3 % rejected."""
    history = made(LARGE[request.param], seed=1)
    assert len(history) == 100_000
    assert len({each.key for each in history}) > 900
    assert sum(each.outcome == "unknown" for each in history) > 3_000
    return history


def test_a_large_history_is_accepted(large: list[Operation]) -> None:
    assert check(large) is None
    assert check_by_search(by_key(large)) is None
    assert check(untold(large)) is None


def test_one_stale_read_is_found_in_a_large_history(large: list[Operation]) -> None:
    history, key = with_a_stale_read(large, 50_000)
    for violation in (check(history), check_by_search(by_key(history)), check(untold(history))):
        assert violation is not None
        assert violation.key == key
        assert len(violation.operations) < 10
        assert any(each.kind == "get" for each in violation.operations)


# --- undecided --------------------------------------------------------------------------------------------


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """A search that gives up at once."""
    for name in ("KEY_CONFIGURATIONS", "CONFIGURATIONS", "LEAST_CONFIGURATIONS"):
        monkeypatch.setattr(checker, name, 20)


@pytest.mark.usefixtures("impatient")
def test_a_search_that_gets_too_large_is_undecided() -> None:
    with pytest.raises(Undecided, match="key-0"):
        check(untold(made(Load(200, clients=8, keys=1), 1)))


@pytest.mark.usefixtures("impatient")
def test_a_violation_counts_more_than_what_is_undecided() -> None:
    """Also one that only a search finds, and after the key that was given up."""
    history = untold(made(Load(200, clients=8, keys=1), 1))
    stale = [replace(each, key=b"other") for each in (put(1, 2, b"a"), put(3, 4, b"b"), get(5, 6, b"a"))]
    violation = check([*history, *stale])
    assert violation is not None
    assert violation.key == b"other"
