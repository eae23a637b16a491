"""Several requests of one client at once, that are no atomic batch: those on one key run one after the other.

All are submitted in one go, the reads among them as one group, but for those on a key that an earlier one
names: they form a chain, in which each waits for the one before, so that it sees what that has done. Across
keys no order is promised. Knows requests and results only; the interfaces say what they mean.
"""

from collections import deque
from collections.abc import Callable, Sequence
from functools import partial
from hashlib import blake2b
from typing import Final

from ringkeep.core.protocol.client_requests import Kind, ReadGroup, Request, Result, Status

BREAKS: Final = frozenset({
    Status.BUSY, Status.UNAVAILABLE, Status.UNKNOWN, Status.NO_SPACE, Status.DEFECT,
})  # fmt: skip
"""After these the rest of a chain is not sent: it would overtake what may still be applied, or be applied
without what its client has put before it."""

NOT_SENT: Final = (
    "not sent, because an earlier operation of this batch on the key was not done, or may not be"
)
LATE: Final = "not sent, because those before it on the key took until the deadline"
NO_ROOM: Final = "the values read before it are all that one answer carries"
_NONE: Final = Result(Status.DEFECT)  # stands where there is no result yet


def _nothing(results: list[Result]) -> None:
    """Stands for `done` once it was called."""


class Chains:
    """One run of such requests. `start` is called once, and so is `done`, with their results in order.

    `submit`, `submit_reads` take a request, and call its `done` once, at once or later. `now_ms`: any clock.
    The requests' `timeout_ms` is that of all together. `room_bytes`: of values that reads may answer
    together; what is read beyond is TOO_LARGE, and not kept.
    """

    __slots__ = (
        "_deadline", "_done", "_next", "_now_ms", "_open", "_ready", "_requests", "_results", "_room",
        "_sending", "_submit", "_submit_reads",
    )  # fmt: skip

    def __init__(
        self,
        requests: Sequence[Request],
        submit: Callable[[Request], None],
        submit_reads: Callable[[ReadGroup], None],
        now_ms: Callable[[], int],
        room_bytes: int,
        done: Callable[[list[Result]], None],
    ) -> None:
        assert requests, "there is something to run"
        self._requests = requests
        self._submit = submit
        self._submit_reads = submit_reads
        self._now_ms = now_ms
        self._room = room_bytes
        self._done = done
        self._results = [_NONE] * len(requests)
        self._next: dict[int, int] = {}  # in each chain: the position after a position
        self._open = len(requests)
        self._deadline = 0
        self._ready: deque[int] = deque()  # positions that nothing stands before
        self._sending = False

    def start(self) -> None:
        """Submit the first request of each key."""
        self._deadline = self._now_ms() + self._requests[0].timeout_ms
        last: dict[bytes, int] = {}
        for position, request in enumerate(self._requests):
            before = last.get(request.key)
            if before is None:
                self._ready.append(position)
            else:
                self._next[before] = position
            last[request.key] = position
        self._send_reads()
        self._send()

    def _send_reads(self) -> None:
        """Submit the reads that are ready, together if there are several."""
        requests = self._requests
        reads = [position for position in self._ready if requests[position].kind is Kind.GET]
        if len(reads) < 2:
            return
        self._ready = deque(position for position in self._ready if requests[position].kind is not Kind.GET)
        keys = [requests[position].key for position in reads]
        self._submit_reads(ReadGroup(keys, requests[reads[0]].timeout_ms, partial(self._read, reads)))

    def _read(self, reads: list[int], results: list[Result]) -> None:
        for position, result in zip(reads, results, strict=True):
            self._answered(position, result)

    def _send(self) -> None:
        """Submit what is ready. What is answered at once makes more ready: without recursion."""
        if self._sending:
            return
        self._sending = True
        ready, requests = self._ready, self._requests
        while ready:
            position = ready.popleft()
            request = requests[position]
            request.done = partial(self._answered, position)
            self._submit(request)
        self._sending = False
        if not self._open:
            self._open = -1
            done, self._done, self._requests = self._done, _nothing, ()  # no cycle is left to the collector
            done(self._results)

    def _answered(self, position: int, result: Result) -> None:
        if result.value and self._requests[position].kind is Kind.GET:
            self._room -= len(result.value)
            if self._room < 0:
                self._room = 0
                result = Result(Status.TOO_LARGE, result.version, primary=result.primary, detail=NO_ROOM)
        self._results[position] = result
        self._open -= 1
        follower = self._next.get(position)
        if follower is not None:
            self._go_on(follower, result)
        if self._ready or not self._open:
            self._send()

    def _go_on(self, position: int, before: Result) -> None:
        """Make the next of a chain ready, or answer for all the rest of it."""
        detail = NOT_SENT
        if before.status not in BREAKS:
            left = self._deadline - self._now_ms()
            if left > 0:
                self._requests[position].timeout_ms = left
                self._ready.append(position)
                return
            detail = LATE
        rest: int | None = position
        while rest is not None:
            self._results[rest] = Result(Status.UNAVAILABLE, primary=before.primary, detail=detail)
            self._open -= 1
            rest = self._next.get(rest)


def name_all(requests: Sequence[Request], batch_key: bytes, fingerprint: bytes) -> None:
    """Let each write run under a client's key for all of them together, and under its position.

    So a retry of them all returns the first result of each that was done. `fingerprint`: of them all.
    """
    name = b"\0batch" + blake2b(batch_key, digest_size=16).digest()  # no client's own key begins so
    for position, request in enumerate(requests):
        if request.kind is not Kind.GET:
            request.idempotency = name + position.to_bytes(2, "big")
            request.fingerprint = fingerprint
