"""Chains of requests: order on each key, what a failure ends, deadlines, names of retries, and room."""

import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from ringkeep import chains
from ringkeep.chains import BREAKS, LATE, NO_ROOM, NOT_SENT, Chains, name_all
from ringkeep.core.protocol.client_requests import Kind, ReadGroup, Request, Result, Status
from ringkeep.core.protocol.limits import IDEMPOTENCY_KEY_BYTES


class Run:
    """Chains over a node that answers when it is told to."""

    def __init__(self, keys: list[bytes], kind: Kind = Kind.PUT, room: int = 1_000) -> None:
        self.now = 0
        self.groups: list[ReadGroup] = []
        self.sent: list[Request] = []
        self.results: list[Result] | None = None
        self.requests = [Request(kind, key, timeout_ms=1_000) for key in keys]
        self.chains = Chains(
            self.requests, self.sent.append, self._together, lambda: self.now, room, self._done
        )  # fmt: skip

    def _together(self, group: ReadGroup) -> None:
        self.groups.append(group)

    def _done(self, results: list[Result]) -> None:
        assert self.results is None, "done once"
        self.results = results

    @property
    def positions(self) -> list[int]:
        """The positions of what was sent so far."""
        return [self.requests.index(request) for request in self.sent]

    def answer(self, position: int, status: Status, value: bytes = b"") -> None:
        self.requests[position].done(Result(status, position + 1, value))

    def statuses(self) -> list[Status]:
        assert self.results is not None
        return [result.status for result in self.results]


def test_all_but_those_on_one_key_are_sent_at_once() -> None:
    run = Run([b"a", b"b", b"a", b"c", b"a", b"b"])
    run.chains.start()
    assert run.positions == [0, 1, 3]
    run.answer(1, Status.CREATED)
    assert run.positions == [0, 1, 3, 5]
    run.answer(0, Status.CREATED)
    assert run.positions == [0, 1, 3, 5, 2]
    for position in (3, 2, 5):
        run.answer(position, Status.REPLACED)
    assert run.positions == [0, 1, 3, 5, 2, 4] and run.results is None
    run.answer(4, Status.CONDITION_FAILED)
    assert run.results is not None
    assert [result.version for result in run.results] == [1, 2, 3, 4, 5, 6]
    assert run.statuses()[4] is Status.CONDITION_FAILED


def test_a_definite_failure_does_not_end_a_chain() -> None:
    for status in set(Status) - BREAKS:
        run = Run([b"a", b"a"])
        run.chains.start()
        run.answer(0, status)
        assert run.positions == [0, 1], status


def test_after_a_failure_that_may_pass_the_rest_is_not_sent() -> None:
    assert {Status.BUSY, Status.UNAVAILABLE, Status.UNKNOWN, Status.NO_SPACE} <= BREAKS
    for status in BREAKS:
        run = Run([b"a", b"b", b"a", b"a"])
        run.chains.start()
        run.answer(0, status)
        assert run.positions == [0, 1] and run.results is None
        run.answer(1, Status.CREATED)
        assert run.statuses() == [status, Status.CREATED, Status.UNAVAILABLE, Status.UNAVAILABLE]
        assert run.results is not None
        assert {result.detail for result in run.results[2:]} == {NOT_SENT}


def test_the_deadline_is_that_of_the_batch() -> None:
    run = Run([b"a"] * 4)
    run.chains.start()
    assert run.sent[-1].timeout_ms == 1_000
    run.now = 400
    run.answer(0, Status.CREATED)
    assert run.sent[-1].timeout_ms == 600
    run.now = 1_000
    run.answer(1, Status.REPLACED)
    assert run.positions == [0, 1] and run.results is not None
    assert [result.detail for result in run.results] == ["", "", LATE, LATE]


def test_reads_beyond_the_room_are_too_large() -> None:
    run = Run([b"a", b"b", b"c", b"d"], Kind.GET, room=10)
    run.chains.start()
    (group,) = run.groups
    group.done([Result(Status.FOUND, 1, value) for value in (b"12345", b"123456", b"1", b"")])
    assert run.statuses() == [Status.FOUND, Status.TOO_LARGE, Status.TOO_LARGE, Status.FOUND]
    assert run.results is not None
    assert run.results[2].value == b"" and run.results[2].detail == NO_ROOM
    swaps = Run([b"a"], Kind.SWAP, room=1)
    swaps.chains.start()
    swaps.answer(0, Status.REPLACED, b"12345")  # nowhere else any more
    assert swaps.results is not None and swaps.results[0].value == b"12345"


def test_a_long_chain_of_answers_at_once() -> None:
    results: list[list[Result]] = []
    requests = [Request(Kind.PUT, b"k") for _ in range(5_000)]
    order: list[Request] = []

    def submit(request: Request) -> None:
        order.append(request)
        request.done(Result(Status.REPLACED, len(order)))

    Chains(requests, submit, lambda group: None, lambda: 0, 0, results.append).start()
    assert order == requests
    assert [result.version for result in results[0]] == list(range(1, 5_001))


def test_reads_are_asked_for_together_and_chained_as_others() -> None:
    run = Run([b"a", b"b", b"a", b"c"], Kind.GET)
    run.requests[3].kind = Kind.PUT
    run.chains.start()
    (group,) = run.groups
    assert (group.keys, group.timeout_ms, run.positions) == ([b"a", b"b"], 1_000, [3])
    run.answer(3, Status.CREATED)
    group.done([Result(Status.NOT_FOUND), Result(Status.FOUND, 9, b"v")])
    assert run.positions == [3, 2], "another read of a key sees nothing older"
    run.answer(2, Status.FOUND, b"v")
    assert run.statuses() == [Status.NOT_FOUND, Status.FOUND, Status.FOUND, Status.CREATED]
    alone = Run([b"a", b"a"], Kind.GET)
    alone.chains.start()
    assert alone.positions == [0] and not alone.groups


def test_names_differ_by_batch_and_position() -> None:
    requests = [Request(kind, b"k") for kind in (Kind.PUT, Kind.GET, Kind.ADD)]
    name_all(requests, b"x" * IDEMPOTENCY_KEY_BYTES, b"print")
    first, read, last = (request.idempotency for request in requests)
    assert not read and requests[1].fingerprint == b""
    assert first != last and max(map(len, (first, last))) <= IDEMPOTENCY_KEY_BYTES
    assert not (first + last).isascii() or b"\0" in first  # no key that a client may send
    assert requests[0].fingerprint == requests[2].fingerprint == b"print"
    again = [Request(Kind.PUT, b"k")]
    name_all(again, b"y", b"print")
    assert again[0].idempotency != first


KEYS = st.lists(st.sampled_from([b"a", b"b", b"c"]), min_size=1, max_size=12)


@settings(max_examples=200, deadline=None)
@given(st.data(), KEYS)
def test_nothing_overtakes_on_a_key(data: st.DataObject, keys: list[bytes]) -> None:
    nothing_overtakes(data, keys)


@pytest.mark.parametrize("mutant", ["all at once", "on after unknown", "the rest left open"])
def test_the_check_notices_what_overtakes(mutant: str, monkeypatch: pytest.MonkeyPatch) -> None:
    if mutant == "all at once":
        monkeypatch.setattr(chains.Chains, "_go_on", lambda self, position, before: None)
        start = chains.Chains.start

        def mutated(self: Chains) -> None:
            self._ready.extend(range(len(self._requests)))
            start(self)

        monkeypatch.setattr(chains.Chains, "start", mutated)
    elif mutant == "on after unknown":
        monkeypatch.setattr(chains, "BREAKS", BREAKS - {Status.UNKNOWN})
    else:
        monkeypatch.setattr(chains.Chains, "_go_on", lambda self, position, before: None)

    @settings(max_examples=200, deadline=None, database=None, phases=[Phase.generate])
    @given(st.data(), KEYS)
    def check(data: st.DataObject, keys: list[bytes]) -> None:
        nothing_overtakes(data, keys)

    with pytest.raises(AssertionError):
        check()


def nothing_overtakes(data: st.DataObject, keys: list[bytes]) -> None:
    """Answer requests in any order, and assert what chains promise."""
    run = Run(keys)
    run.chains.start()
    open_ones: list[int] = []
    seen = 0
    broken: set[bytes] = set()
    answered: dict[int, Status] = {}
    while True:
        for position in run.positions[seen:]:
            before = [each for each in range(position) if keys[each] == keys[position]]
            assert all(each in answered for each in before), "it waits for all before it"
            assert keys[position] not in broken
            open_ones.append(position)
        seen = len(run.sent)
        if not open_ones:
            break
        position = open_ones.pop(data.draw(st.integers(0, len(open_ones) - 1)))
        status = data.draw(st.sampled_from([Status.CREATED, Status.NOT_FOUND, Status.BUSY, Status.UNKNOWN]))
        answered[position] = status
        if status in BREAKS:
            broken.add(keys[position])
        run.answer(position, status)
    assert run.results is not None
    for position, result in enumerate(run.results):
        expected = answered.get(position, Status.UNAVAILABLE)
        assert result.status is expected
