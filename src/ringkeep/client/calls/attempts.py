"""One call over all its attempts: whom to ask, how long to wait, when to ask again, and what the end means.

A generator without clocks of its own but the monotonic one, which the blocking and the asynchronous client
run alike. A write carries the same Idempotency-Key in every attempt, so that one that was applied without an
answer is answered, and not applied again.
"""

import random
import time
from typing import Final, TypeVar

import msgspec

from ringkeep.client.calls.exchange import Call, Failure, Pause, Request, Response, Send, Steps
from ringkeep.client.calls.nodes import Nodes
from ringkeep.client.errors import Busy, Indeterminate, Rejected, StoreError, Unavailable
from ringkeep.client.observing import LOG, Observer, Told

T = TypeVar("T")

CONNECT_S: Final = 1.0
PROBE_CONNECT_S: Final = 0.25
"""How long a connection may take to be made; shorter to a learned address that has never worked."""
LEARN_S: Final = 1.0
LONGEST_S: Final = 30.0  # what a node takes
LEAST_SHARE_S: Final = 0.5
"""One attempt takes half of what is left, and this at least: a node that is stopped answers nothing."""
LEAST_S: Final = (
    0.01  # of what is left to a part of a call: it ends with an answer, not with a wrong argument
)
FIRST_PAUSE_S: Final = 0.02
LONGEST_PAUSE_S: Final = 1.0

_BUSY: Final = 429
_NODE: Final = (
    "ringkeep-node"  # every answer of a node has this header; others are a proxy's, or a stranger's
)
_ELSEWHERE: Final = frozenset({408, _BUSY})
"""Refusals of one node, of a request that another one, or the same later, may take."""
_DECIDED: Final = frozenset({404, 409, 410, 412, 422})
"""What is answered to a repeated write by what became of it at first, and not by a node for itself."""


class _Problem(msgspec.Struct):
    title: str = ""
    detail: str = ""
    outcome: str = ""


_PROBLEM: Final = msgspec.json.Decoder(_Problem)


def detail_of(response: Response) -> str:
    """Return what an answer says for people."""
    problem = problem_of(response)
    return problem.detail or problem.title or f"HTTP {response.status}"


def problem_of(response: Response) -> _Problem:
    """Return the body of an error; an empty one for what is none of the store's."""
    try:
        return _PROBLEM.decode(response.body)
    except ValueError:  # msgspec's errors are some
        return _Problem()


def run(call: Call[T], nodes: Nodes, timeout_s: float, observer: Observer | None = None) -> Steps[T]:
    """Ask until there is a definite answer, or for `timeout_s`; return what it means.

    Raises what `call.read` does; Busy or Unavailable, and Indeterminate for a write that may have been
    applied.
    """
    attempts = _Attempts(call.request, nodes, timeout_s)
    if observer is None:
        return (yield from attempts.run(call))
    told = attempts.told = Told(observer, call.request.name, call.request.operations)
    try:
        result = yield from attempts.run(call)
    except BaseException as error:  # also that of a generator that is closed: its call was abandoned
        told.end(attempts.status, error)
        raise
    told.end(attempts.status)
    return result


class _Attempts:
    def __init__(self, request: Request, nodes: Nodes, timeout_s: float) -> None:
        self._request = request
        self._nodes = nodes
        self._deadline = time.monotonic() + timeout_s
        self._timeout_s = timeout_s
        self._unknown = False  # whether an attempt may have been applied
        self._last: Response | Failure | None = None
        self._pauses = 0
        self._order: list[str] = []
        self.told: Told | None = None

    @property
    def status(self) -> int:
        """Of the last answer; 0 if there was none."""
        return self._last.status if isinstance(self._last, Response) else 0

    def run(self, call: Call[T]) -> Steps[T]:
        if self._nodes.learns(time.monotonic()):
            yield from self._learn()
        while True:
            now = time.monotonic()
            if now >= self._deadline:
                raise self._gave_up()
            if not self._order:
                self._order = self._nodes.candidates(self._request.key, now)
            endpoint = self._order.pop(0)
            if self.told is not None:
                self.told.attempt(endpoint)
            answer = yield self._send(endpoint, now)
            assert answer is not None, "an answer, or why there is none"
            self._last = answer
            if isinstance(answer, Failure):
                self._unknown = self._unknown or answer.sent
                self._say(answer.reason)
                self._nodes.failed(endpoint, time.monotonic())
                if not self._order:
                    yield from self._pause(0.0)
                continue
            self._nodes.answered(endpoint, self._request.key, answer)
            if _is_final(answer):
                undecided = answer.status >= 400 and answer.status not in _DECIDED
                if undecided and self._unknown and self._request.is_write:
                    raise self._gave_up()
                return self._read(call, answer)
            self._unknown = self._unknown or _may_apply(answer)
            self._say(f"{endpoint} answered {answer.status}")
            yield from self._pause(_asked_to_wait(answer))

    def _say(self, reason: str) -> None:
        """An attempt came to nothing."""
        LOG.info("%s: %s", self._request.name, reason)
        if self.told is not None:
            self.told.failed(reason)

    def _read(self, call: Call[T], answer: Response) -> T:
        """Return what an answer means. One that cannot be understood leaves open what it was for."""
        try:
            return call.read(answer)
        except (ValueError, RecursionError) as error:
            what = f"an answer that no node of this version gives: HTTP {answer.status}, {error}"
            if self._request.is_write:
                key = self._request.idempotency_key
                raise Indeterminate(what, status=answer.status, idempotency_key=key) from error
            raise Unavailable(what, status=answer.status) from error

    def _send(self, endpoint: str, now: float) -> Send:
        left = self._deadline - now
        share = min(max(left / 2, LEAST_SHARE_S), left, LONGEST_S)
        if self._request.waits_s:
            share = min(left, self._request.waits_s + LEAST_SHARE_S)
        connect = CONNECT_S if self._nodes.connects(endpoint) else PROBE_CONNECT_S
        return Send(endpoint, self._request, now + share, min(connect, share))

    def _pause(self, asked_s: float) -> Steps[None]:
        """Wait a while, longer each time."""
        pause = max(jitter(self._pauses), min(asked_s, longest_pause(self._pauses)))
        self._pauses += 1
        yield Pause(min(pause, max(self._deadline - time.monotonic(), 0.0)))

    def _learn(self) -> Steps[None]:
        """Ask one node for the map: it is of use, and not necessary."""
        now = time.monotonic()
        until = now + min(LEARN_S, (self._deadline - now) / 4)
        for endpoint in self._nodes.candidates(None, time.monotonic())[:2]:
            bodies: list[bytes] = []
            for path in ("/v1/cluster", "/v1/cluster/partitions"):
                if time.monotonic() >= until:
                    return
                answer = yield Send(endpoint, Request("GET", path, timed=False), until, LEARN_S / 2)
                if isinstance(answer, Response) and answer.status == 200:
                    bodies.append(answer.body)
                elif isinstance(answer, Failure):
                    self._nodes.failed(endpoint, time.monotonic())
                    break
            if len(bodies) == 2:
                self._nodes.learned(*bodies)
                return

    def _gave_up(self) -> StoreError:
        last = self._last
        reason = (
            "nothing was sent"
            if last is None
            else last.reason
            if isinstance(last, Failure)
            else detail_of(last)
        )
        status = self.status
        within = f"no definite answer within {self._timeout_s:g} s; the last attempt: {reason}"
        if self._unknown and self._request.is_write:
            key = self._request.idempotency_key
            return Indeterminate(
                f"the write may have been applied: {within}", status=status, idempotency_key=key
            )
        refused: type[Rejected] = Busy if status == _BUSY else Unavailable
        return refused(f"not applied: {within}" if self._request.is_write else within, status=status)


def longest_pause(number: int) -> float:
    """Return how long the pause before a repetition may be: `number` counts those before."""
    return float(min(FIRST_PAUSE_S * 2 ** min(number, 10), LONGEST_PAUSE_S))


def jitter(number: int) -> float:
    """Return how long to wait before a repetition: anything up to the longest, so that many who were refused
    do not return at once.

    Source: Exponential Backoff And Jitter (M. Brooker, AWS Architecture Blog, 2015), "full jitter".
    """
    return random.uniform(0.0, longest_pause(number))


def _is_final(response: Response) -> bool:
    """Return whether a node has decided, so that there is no reason to ask again."""
    return _NODE in response.headers and response.status < 500 and response.status not in _ELSEWHERE


def _may_apply(response: Response) -> bool:
    """Return whether the write may be applied nevertheless: no, if the store says so."""
    return _NODE not in response.headers or problem_of(response).outcome != "not-applied"


def _asked_to_wait(response: Response) -> float:
    seconds = response.headers.get("retry-after", "")
    return float(seconds) if seconds.isdecimal() and len(seconds) < 4 else 0.0
