"""Simulated clients: each runs one operation after the other and records the answers. A write with an
idempotency key, over all its tries, is one operation in the history: its result must be as if it had been
sent once.
"""

from functools import partial
from hashlib import blake2b

from ringkeep.core.protocol.client_requests import ABSENT, ANY, PRESENT, Kind, Request, Result, Status
from ringkeep.core.protocol.types import Millis
from ringkeep.sim.attempts import REJECTED, THINK_MS, TIMEOUT_MS, Attempt, Attempts
from ringkeep.sim.histories.history import Operation
from ringkeep.sim.world.machine import SimMachine
from ringkeep.sim.world.world import World

_KINDS = ("get", "get", "get", "put", "put", "put", "delete", "delete if", "cas", "cas")
_DEFINITE_NO = (Status.NOT_FOUND, Status.CONDITION_FAILED)
KEYED = 0.3
"""The share of writes that carry an idempotency key."""
EXTRA = 99
"""The client of operations that no simulated client started."""


class _Attempt(Attempt):
    """One operation of one client."""

    __slots__ = ("client", "operation")

    def __init__(self, client: int, operation: Operation, name: bytes, begun: Millis) -> None:
        super().__init__(name, begun)
        self.client = client
        self.operation = operation


class Clients(Attempts[_Attempt]):
    """All clients of one world, and the history that they saw, by start.

    Times in it are event numbers, all distinct.
    """

    def __init__(
        self, world: World, count: int, operations: int, keys: int, history: list[Operation]
    ) -> None:
        super().__init__(world)
        self._left = operations
        self._busy = 0
        self._value = 0
        self.keys = [f"k{number}".encode() for number in range(keys)]
        self._versions: dict[bytes, int] = {}
        self.history = history
        for client in range(count):
            world.events.after(world.draw(0, THINK_MS), partial(self._next, client))

    @property
    def finished(self) -> bool:
        """Whether every operation was started and has ended, or its coordinator has died."""
        return self._left <= 0 and self._busy == 0

    def stop(self) -> None:
        """Start no further operation."""
        self._left = 0

    def ask(self, node: SimMachine, kind: str, key: bytes) -> None:
        """Read or write this key through this node now, in addition to the clients' operations."""
        value = self._new_value() if kind == "put" else None
        operation = Operation(EXTRA, kind, key, value, None, self._stamp(), None, "unknown")
        if self._try(_Attempt(EXTRA, operation, b"", self._world.events.now), node):
            self._busy += 1
            self.history.append(operation)

    def _new_value(self) -> bytes:
        self._value += 1
        return b"v%d" % self._value

    def _next(self, client: int) -> None:
        if self._left <= 0:
            return
        random = self._world.random
        key = random.choice(self.keys)
        kind = random.choice(_KINDS)
        value: bytes | None = None
        expected: int | None = None
        if kind in ("put", "cas"):
            value = self._new_value()
        if kind in ("cas", "delete if"):
            known = self._versions.get(key, 0)
            expected = random.choice((known, known, PRESENT) if kind == "delete if" else (0, known, known))
            kind = "delete" if kind == "delete if" else kind
        if expected == 0 and kind == "delete":
            expected = None
        operation = Operation(client, kind, key, value, expected, self._stamp(), None, "unknown")
        keyed = kind != "get" and random.random() < KEYED
        name = b"key-%d" % operation.start if keyed else b""
        call = _Attempt(client, operation, name, self._world.events.now)
        if not self._try(call):
            self._pause(client)
            return
        self._left -= 1
        self._busy += 1
        self.history.append(operation)

    def _request(self, attempt: _Attempt, node: SimMachine) -> Request:
        operation = attempt.operation
        condition = ANY if operation.expected is None else operation.expected or ABSENT
        kind = {"get": Kind.GET, "delete": Kind.DELETE}.get(operation.kind, Kind.PUT)
        request = Request(kind, operation.key, operation.value or b"", b"", condition, timeout_ms=TIMEOUT_MS)
        if attempt.name:
            said = f"{kind} {operation.value!r} {condition}".encode()
            request.fingerprint = blake2b(said, digest_size=16).digest()
        return request

    def _heard(self, attempt: _Attempt, node: SimMachine, result: Result, *, final: bool) -> None:
        operation, status = attempt.operation, result.status
        operation.version = result.version
        if final:
            operation.end = self._stamp()
            if status in _DEFINITE_NO:
                operation.outcome = "failed"
            elif status in REJECTED:
                operation.outcome = "rejected"
            else:
                wrote = (Status.FOUND, Status.CREATED, Status.REPLACED, Status.DELETED)
                assert status in wrote, f"status {status!r}"
                operation.outcome = "ok"
                if status == Status.FOUND:
                    operation.read = result.value
                if attempt.unsure:
                    self._world.count("retry_answered")
        self._world.log(node, f"{operation} on {operation.key!r}")
        if final and operation.outcome != "rejected" and result.version:
            self._versions[operation.key] = result.version

    def _again(self, attempt: _Attempt) -> None:
        attempt.operation.version = 0
        super()._again(attempt)

    def _end(self, attempt: _Attempt) -> None:
        self._world.count(f"outcome_{attempt.operation.outcome}")
        self._busy -= 1
        if attempt.client != EXTRA:
            self._pause(attempt.client)

    def _pause(self, client: int) -> None:
        self._world.events.after(self._world.draw(0, THINK_MS), partial(self._next, client))
