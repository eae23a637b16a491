"""One call over its attempts: whom it asks, when it asks again, and what the end means."""

import time
from collections.abc import Iterator

import pytest

from ringkeep.client import (
    Busy,
    Conflict,
    Indeterminate,
    Invalid,
    NotFound,
    Rejected,
    StoreError,
    Unavailable,
    Written,
    WrongType,
)
from ringkeep.client.calls import attempts as module
from ringkeep.client.calls.exchange import Failure, Pause, Request, Response, Send
from ringkeep.client.calls.nodes import Nodes
from ringkeep.client.calls.requests import Requests, Span
from ringkeep.client.codecs import RAW

GIVEN = ["http://a:1", "http://b:1", "http://c:1"]
NODE = {"ringkeep-node": "n1"}
DONE = Response(201, {"etag": '"7"', **NODE}, b"")
UNSENT, LOST = Failure("refused", sent=False), Failure("reset", sent=True)


def answer(status: int, outcome: str = "not-applied", **headers: str) -> Response:
    return Response(
        status, {**NODE, **headers}, b'{"outcome":"%b","detail":"it says why"}' % outcome.encode()
    )


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[float]]:
    now = [100.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    yield now


class Script:
    """Runs a put whose attempts are answered so, each after some seconds; the last answer is repeated."""

    def __init__(self, clock: list[float], *answers: Response | Failure, takes_s: float = 0.1) -> None:
        self.asked: list[str] = []
        self.sends: list[Send] = []
        self.waited = 0.0
        self.nodes = Nodes(list(GIVEN), follows=False)
        self._clock = clock
        self._answers = list(answers)
        self._takes_s = takes_s

    def run(self, timeout_s: float = 5.0, key: str = "k") -> Written:
        call = Requests(RAW).put(key, b"v", None, "", {}, "")
        steps = module.run(call, self.nodes, timeout_s)
        done: Response | Failure | None = None
        while True:
            try:
                action = steps.send(done)
            except StopIteration as end:
                written: Written = end.value
                return written
            done = None
            if isinstance(action, Pause):
                self.waited += action.seconds
                self._clock[0] += action.seconds
                continue
            self.asked.append(action.endpoint)
            self.sends.append(action)
            self._clock[0] += self._takes_s
            done = self._answers.pop(0) if len(self._answers) > 1 else self._answers[0]


def test_an_answer_ends_it(clock: list[float]) -> None:
    script = Script(clock, DONE)
    assert script.run() == Written(b"k", 7, created=True)
    assert len(script.asked) == 1 and script.waited == 0


def test_endpoints_that_do_not_answer_are_asked_one_after_the_other_at_once(clock: list[float]) -> None:
    script = Script(clock, UNSENT, LOST, DONE)
    script.run()
    assert sorted(script.asked) == GIVEN and script.waited == 0


def test_every_attempt_is_the_same_write(clock: list[float]) -> None:
    script = Script(clock, LOST, LOST, answer(503), answer(504, "unknown"), DONE)
    script.run()
    assert len({send.request.idempotency_key for send in script.sends}) == 1
    assert script.sends[0].request.idempotency_key


@pytest.mark.parametrize(
    ("answers", "error"),
    [
        ([UNSENT], Unavailable),
        ([answer(503)], Unavailable),
        ([answer(429)], Busy),
        ([answer(507)], Unavailable),
        ([LOST], Indeterminate),
        ([answer(504, "unknown")], Indeterminate),
        ([answer(500, "unknown")], Indeterminate),
        ([Response(502, {}, b"<html>a proxy's")], Indeterminate),
        ([Response(404, {}, b"default backend")], Indeterminate),
        ([Response(200, {"etag": '"7"'}, b"")], Indeterminate),
        ([answer(524)], Unavailable),
        ([LOST, answer(413)], Indeterminate),
        ([LOST, answer(503)], Indeterminate),
        ([answer(504, "unknown"), UNSENT], Indeterminate),
    ],
)
def test_what_the_deadline_means(
    clock: list[float], answers: list[Response | Failure], error: type[StoreError]
) -> None:
    script = Script(clock, *answers)
    with pytest.raises(error) as raised:
        script.run()
    assert type(raised.value) is error
    if script.asked.count(script.asked[0]) > 1:
        assert clock[0] == pytest.approx(105.0, abs=0.2), "all of the time was used, and no more"
    if isinstance(raised.value, Indeterminate):
        assert raised.value.idempotency_key == script.sends[0].request.idempotency_key


@pytest.mark.parametrize(
    ("status", "error"), [(404, NotFound), (412, Conflict), (409, WrongType), (422, Invalid)]
)
def test_a_definite_no_is_no_reason_to_ask_again(
    clock: list[float], status: int, error: type[Rejected]
) -> None:
    script = Script(clock, LOST, answer(status))
    with pytest.raises(error, match="it says why"):
        script.run()
    assert len(script.asked) == 2


@pytest.mark.parametrize("status", [400, 413, 422])
def test_a_wrong_request_is_refused_at_once(clock: list[float], status: int) -> None:
    with pytest.raises(Invalid, match="it says why"):
        Script(clock, answer(status)).run()
    assert clock[0] < 101


def test_an_answer_without_sense_leaves_open_what_was_written(clock: list[float]) -> None:
    with pytest.raises(Indeterminate):
        Script(clock, Response(200, dict(NODE), b"")).run()


def test_a_deletion_by_prefix_is_a_write(clock: list[float]) -> None:
    call = Requests(RAW).deletion(Span("p"), "until", 10)
    steps = module.run(call, Nodes(list(GIVEN), follows=False), 1.0)
    with pytest.raises(Indeterminate):
        action = next(steps)
        while True:
            clock[0] += 0.3
            action = steps.send(LOST if isinstance(action, Send) else None)


def test_a_long_wait_gets_an_attempt_of_its_length(clock: list[float]) -> None:
    steps = module.run(Requests(RAW).wait("k", 7, 60.0), Nodes(list(GIVEN), follows=False), 122.0)
    action = next(steps)
    assert isinstance(action, Send) and action.until - clock[0] > 60
    with pytest.raises(StopIteration) as end:
        steps.send(Response(304, dict(NODE), b""))
    assert end.value.value is False


def test_asking_for_the_map_leaves_time_for_the_call(clock: list[float]) -> None:
    steps = module.run(Requests(RAW).get("k", stale=False, at_least=None), Nodes(list(GIVEN)), 1.0)
    asked = [next(steps)]
    while len(asked) < 3 or "cluster" in asked[-1].request.path:  # type: ignore[union-attr]
        clock[0] += 0.3
        asked.append(steps.send(LOST))
    assert clock[0] < 101.0 and isinstance(asked[-1], Send)


def test_a_node_that_is_silent_does_not_use_up_the_deadline(clock: list[float]) -> None:
    script = Script(clock, LOST, DONE, takes_s=2.5)
    script.run()
    assert script.sends[0].until == 102.5
    assert script.asked[1] != script.asked[0]


def test_who_is_refused_waits_longer_each_time_and_as_long_as_it_is_told(clock: list[float]) -> None:
    script = Script(clock, *[answer(429, **{"retry-after": "1"})] * 6, DONE, takes_s=0.0)
    script.run()
    assert script.waited >= 0.02 + 0.04 + 0.08, "no less than a node asks for, as far as is allowed so far"


# --- nodes -------------------------------------------------------------------------------------------


def learned(nodes: Nodes, *names: str) -> None:
    members = ",".join(f'{{"name":"{name}","http":"{name}:1"}}' for name in names)
    parts = ",".join(f'{{"partition":{at},"primary":"{names[at % len(names)]}"}}' for at in range(4))
    nodes.learned(b'{"members":[%b]}' % members.encode(), b'{"partitions":[%b]}' % parts.encode())


def test_a_keys_primary_is_asked_and_learned_from_answers() -> None:
    nodes = Nodes(["http://proxy:1"])
    learned(nodes, "x", "y")
    first = nodes.candidates(b"k", 0)[0]
    other = {"http://x:1": "y", "http://y:1": "x"}[first]
    nodes.answered(first, b"k", Response(200, {"ringkeep-primary": other}, b""))
    assert nodes.candidates(b"k", 0)[0] == f"http://{other}:1"
    assert set(nodes.candidates(None, 0)) == {"http://proxy:1", "http://x:1", "http://y:1"}


def test_nodes_that_a_proxy_hides_are_left_out_once_they_were_tried() -> None:
    nodes = Nodes(["http://proxy:1"])
    learned(nodes, "x", "y")
    nodes.answered("http://proxy:1", None, Response(200, {}, b""))
    nodes.failed(nodes.candidates(b"k", 0)[0], 0)
    for at in range(20):
        assert nodes.candidates(b"%d" % at, 100) == ["http://proxy:1"]


def test_an_endpoint_that_failed_rests_and_comes_back() -> None:
    nodes = Nodes(list(GIVEN))
    nodes.failed(GIVEN[0], now=10)
    assert {nodes.candidates(None, 10)[-1] for _ in range(20)} == {GIVEN[0]}
    assert GIVEN[0] in {nodes.candidates(None, 20)[0] for _ in range(200)}


@pytest.mark.parametrize("said", [b"", b"<html>", b'{"members":[]}', b'{"partitions":[{"partition":3}]}'])
def test_what_is_no_map_changes_nothing(said: bytes) -> None:
    nodes = Nodes(list(GIVEN))
    nodes.learned(said, said)
    assert set(nodes.candidates(b"k", 0)) == set(GIVEN)


def test_the_map_is_asked_for_seldom_and_by_one() -> None:
    nodes = Nodes(list(GIVEN))
    assert [nodes.learns(now) for now in (1, 1, 3, 6.5, 7)] == [True, False, False, True, False]
    learned(nodes, "x")
    assert not nodes.learns(1_000), "it is known"
    nodes.failed("http://x:1", 1_000)
    assert nodes.learns(1_000)


def test_a_request_names_its_deadline_and_escapes_dots() -> None:
    call = Requests(RAW).get("../a b", stale=True, at_least=3)
    assert call.request.target(2_000) == "/v1/kv/%2E%2E%2Fa%20b?consistency=stale&at_least=3&timeout=2000ms"
    assert Request("GET", "/v1/cluster", timed=False).target(1) == "/v1/cluster"
