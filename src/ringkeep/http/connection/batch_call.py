"""`POST /v1/batch`: from the operations of its body to requests of the service, from results to an answer.

An atomic batch is one request. Any other is a request for each operation, of which those on one key run one
after the other. Knows nothing of connections: the request's `done` is told when there is an answer.
"""

import logging
import time
from collections.abc import Callable, Sequence
from typing import Any, Final

from ringkeep.chains import NO_ROOM, Chains, name_all
from ringkeep.core.protocol.batch import CHECK, READ_ANEW, Outcome, Step, decode_outcomes, encode_steps
from ringkeep.core.protocol.client_requests import WROTE, Kind, Request, Result, Status
from ringkeep.http import problems
from ringkeep.http.connection.failures import failure
from ringkeep.http.connection.operation_answer import operation_members
from ringkeep.http.limits import BATCH_VALUES_BYTES
from ringkeep.http.parse.batch_body import Batch
from ringkeep.http.parse.json_members import put_member
from ringkeep.http.problems import DEFECT, NOT_FOUND, TOO_LARGE, UNKNOWN, Problem
from ringkeep.http.service import Service

log = logging.getLogger("ringkeep.http")

_CODES: Final = {Status.CREATED: 201, Status.REPLACED: 200, Status.FOUND: 200}
_TEXTS: Final = {
    Status.CONDITION_FAILED: (
        "A condition of the batch does not hold, see 'failed'. Nothing of it was applied; read the keys and "
        "decide again."
    ),
    Status.WRONG_TYPE: (
        "An operation of the batch needs a decimal integer of 64 bits, see 'failed'. Nothing of the batch "
        "was applied; read the key, or replace its value."
    ),
    Status.TOO_LARGE: (
        "With the operation that 'failed' names the batch reads, makes or answers more than one may. Nothing "
        "of it was applied; send smaller batches, or without an Idempotency-Key if it swaps or takes large "
        "values."
    ),
}
_NO_ROOM_TEXT: Final = f"The value was read, but {NO_ROOM}. Read it alone, or in another batch."


class BatchCall:
    """One batch. `start` is called once; `request.done` then tells that `answer` or `refusal` is there.

    `request`: made from the head of the HTTP request, with the client's key for the whole batch.
    """

    __slots__ = ("_batch", "_done", "_ends_ms", "_replayed", "_request", "_results", "_service", "size")

    def __init__(self, batch: Batch, request: Request, service: Service) -> None:
        self._batch = batch
        self._request = request
        self._service = service
        self._done = request.done
        self._results: list[Result] = []
        self._replayed: Sequence[int] = ()  # positions of reads that a retry has read anew
        self._ends_ms = 0
        self.size = len(batch.steps) + len(batch.conditions)
        """As how many requests it counts."""
        if batch.atomic or request.idempotency:
            steps = [*batch.conditions, *batch.steps]
            request.key, request.value = steps[0].key, encode_steps(steps, batch.goes_on)

    @property
    def name(self) -> bytes:
        """What the batch is, for the digest of its request."""
        return b"batch" if self._batch.atomic else b"operations"

    def start(self) -> None:
        """Submit it."""
        request = self._request
        self._ends_ms = _now_ms() + request.timeout_ms
        if self._batch.atomic:
            request.done = self._decided
            self._service.submit(request)
            return
        requests = [
            Request(
                Kind(each.kind), each.key, each.value, each.content_type, each.condition,
                timeout_ms=request.timeout_ms, ttl_ms=each.ttl_ms,
            )
            for each in self._batch.steps
        ]  # fmt: skip
        if request.idempotency:
            name_all(requests, request.idempotency, request.fingerprint)
        self._run(requests, self._finished)

    def _finished(self, results: list[Result]) -> None:
        self._results = results
        self._done(Result(Status.DONE))

    def _decided(self, result: Result) -> None:
        """An atomic batch has its result. What its reads have found is not kept for retries: read it anew."""
        steps = self._batch.steps
        if result.status is Status.UNKNOWN and all(each.kind == Kind.GET for each in steps):
            result = Result(Status.UNAVAILABLE, primary=result.primary, detail=result.detail)
        if result.status is not Status.DONE:
            self._done(result)
            return
        try:
            outcomes = decode_outcomes(result.value)[len(self._batch.conditions) :]
            assert len(outcomes) == len(steps), "each step has an outcome"
        except Exception:
            log.exception("the outcomes of a batch cannot be read")
            self._done(Result(Status.DEFECT, detail="The outcomes of the batch cannot be read."))
            return
        self._results = [_result_of(each) for each in outcomes]
        anew = [position for position, each in enumerate(outcomes) if each.status == READ_ANEW]
        if not anew:
            self._done(result)
            return
        left = max(self._ends_ms - _now_ms(), 1)
        reads = [Request(Kind.GET, steps[position].key, timeout_ms=left) for position in anew]

        def read(found: list[Result]) -> None:
            self._replayed = anew
            for position, each in zip(anew, found, strict=True):
                self._results[position] = each
            self._done(result)

        self._run(reads, read)

    def _run(self, requests: list[Request], done: Callable[[list[Result]], None]) -> None:
        service = self._service
        Chains(requests, service.submit, service.submit_reads, _now_ms, BATCH_VALUES_BYTES, done).start()

    def answer(self, result: Result) -> dict[str, Any]:
        """Return the members of the answer of a batch that was not refused."""
        batch = self._batch
        named = bool(self._request.idempotency) or batch.atomic
        members = [_members(step, each, named) for step, each in zip(batch.steps, self._results, strict=True)]
        for position in self._replayed:
            members[position]["replayed"] = True
        answer: dict[str, Any] = {"results": members}
        if batch.atomic:
            answer["version"] = result.version if any(each.status in WROTE for each in self._results) else 0
        return answer

    def refusal(self, result: Result) -> Problem:
        """Return the problem of an atomic batch that was undone; it names the step that failed."""
        batch = self._batch
        outcomes = decode_outcomes(result.value)
        position = len(outcomes) - 1
        failed: dict[str, Any] = {}
        if position < len(batch.conditions):
            failed["condition"], step = position, batch.conditions[position]
        else:
            position -= len(batch.conditions)
            failed["position"], step = position, batch.steps[position]
        put_member(failed, "key", step.key)
        failed["version"] = outcomes[-1].version
        problem = failure(Kind.BATCH, False, result)
        return Problem(problem.kind, _TEXTS[result.status], extra={"failed": [failed]})


def _now_ms() -> int:
    return time.monotonic_ns() // 1_000_000


def _result_of(outcome: Outcome) -> Result:
    status = Status(outcome.status) if outcome.status != READ_ANEW else Status.DONE  # is replaced
    return Result(status, outcome.version, outcome.value, outcome.content_type, ttl_ms=outcome.ttl_ms)


def _members(step: Step, result: Result, idempotent: bool) -> dict[str, Any]:
    """Return what the answer says of one operation."""
    status, kind = result.status, step.kind
    assert kind != CHECK, "conditions have no result"
    if status is Status.FOUND:
        members: dict[str, Any] = {"status": 200, "version": result.version}
        put_member(members, "value", result.value)
        if result.content_type:
            members["content_type"] = result.content_type.decode("latin-1")
        if result.ttl_ms:
            members["ttl"] = result.ttl_ms
        return members
    if status is Status.DELETED and kind == Kind.DELETE:
        return {"status": 204, "version": result.version}
    if status is Status.DELETED or status in _CODES:
        members = {"status": _CODES.get(status, 200), "version": result.version}
        if kind != Kind.PUT:
            members |= operation_members(kind, result)
        return members
    problem = _problem(kind, result, idempotent)
    members = {"status": problem.kind.status, "outcome": problem.outcome, "detail": problem.detail}
    if result.version:
        members["version"] = result.version
    return members


def _problem(kind: int, result: Result, idempotent: bool) -> Problem:
    status = result.status
    if status is Status.NOT_FOUND:
        return Problem(NOT_FOUND, "There is no such key. Nothing was changed.")
    if status is Status.DEFECT:
        outcome = problems.NOT_APPLIED if kind == Kind.GET else UNKNOWN
        return Problem(DEFECT, result.detail or "The node met an internal error.", outcome)
    if status is Status.TOO_LARGE and kind == Kind.GET:
        return Problem(TOO_LARGE, _NO_ROOM_TEXT)
    return failure(kind, idempotent, result)
