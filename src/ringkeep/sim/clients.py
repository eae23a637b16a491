"""Simulated clients: each runs one operation after the other and records the answers. Some writes carry an
idempotency key. Such a write is repeated, through other nodes, until an answer is definite, and is one
operation in the history: its result must be as if it had been sent once.
"""

from functools import partial
from hashlib import blake2b

from ringkeep.core.protocol.client_requests import ABSENT, ANY, PRESENT, Kind, Request, Result, Status
from ringkeep.core.protocol.types import Millis
from ringkeep.sim.histories.history import Operation
from ringkeep.sim.world.machine import SimMachine
from ringkeep.sim.world.world import World

_KINDS = ("get", "get", "get", "put", "put", "put", "delete", "delete if", "cas", "cas")
_DEFINITE_NO = (Status.NOT_FOUND, Status.CONDITION_FAILED)
_REJECTED = (Status.BUSY, Status.UNAVAILABLE, Status.NO_SPACE)
TIMEOUT_MS = 1_500
THINK_MS = 40
KEYED = 0.3
"""The share of writes that carry an idempotency key."""
TRIES = 8
ANSWERED_MS = 2 * TIMEOUT_MS
"""A request is executed within this time, or never: its primary may have another clock."""
FASTEST_CLOCK = 1.2
EXTRA = 99
"""The client of operations that no simulated client started."""


class _Attempt:
    """One operation of one client, over all its tries."""

    __slots__ = ("asked", "begun", "client", "key", "operation", "tries", "unsure")

    def __init__(self, client: int, operation: Operation, key: bytes, begun: Millis) -> None:
        self.begun = begun
        self.client = client
        self.operation = operation
        self.key = key
        self.tries = 0
        self.asked = 0  # the number of the try that waits for an answer, 0 for none
        self.unsure = False  # an earlier try may have been applied


class Clients:
    """All clients of one world, and the history that they saw, by start.

    Times in it are event numbers, all distinct.
    """

    def __init__(
        self, world: World, count: int, operations: int, keys: int, history: list[Operation]
    ) -> None:
        self._world = world
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

    def _try(self, call: _Attempt, through: SimMachine | None = None) -> bool:
        """Submit the operation to some node; False if that node accepts none at present."""
        world, operation = self._world, call.operation
        node = through or world.random.choice(list(world.nodes.values()))
        condition = ANY if operation.expected is None else operation.expected or ABSENT
        kind = {"get": Kind.GET, "delete": Kind.DELETE}.get(operation.kind, Kind.PUT)
        request = Request(kind, operation.key, operation.value or b"", b"", condition, timeout_ms=TIMEOUT_MS)
        if call.key:
            request.idempotency = call.key
            said = f"{kind} {operation.value!r} {condition}".encode()
            request.fingerprint = blake2b(said, digest_size=16).digest()
        request.done = partial(self._done, call, node)
        if not world.submit(node, request):
            return False
        call.tries += 1
        call.asked = call.tries
        world.events.after(TIMEOUT_MS, partial(self._look, call, node, node.id, node.incarnation, call.tries))
        return True

    def _look(self, call: _Attempt, node: SimMachine, node_id: str, life: int, tries: int) -> None:
        """A coordinator that dies answers nothing: the client continues, and learns the outcome only by
        asking again."""
        if call.asked != tries:
            return
        if node.alive and node.id == node_id and node.incarnation == life:
            wait = partial(self._look, call, node, node_id, life, tries)
            self._world.events.after(TIMEOUT_MS, wait)
            return
        self._world.count("unanswered")
        call.asked = 0
        call.unsure = True
        self._again(call)

    def _done(self, call: _Attempt, node: SimMachine, result: Result) -> None:
        operation, status = call.operation, result.status
        assert call.asked == call.tries, "a request is answered once"
        call.asked = 0
        assert status != Status.KEY_REUSED, "the same request again is no other request"
        operation.version = result.version
        if status == Status.UNKNOWN or (status in _REJECTED and call.unsure):
            call.unsure = True
            self._world.log(node, f"{operation} on {operation.key!r}")
            self._again(call)
            return
        operation.end = self._stamp()
        if status in _DEFINITE_NO:
            operation.outcome = "failed"
        elif status in _REJECTED:
            operation.outcome = "rejected"
        else:
            wrote = (Status.FOUND, Status.CREATED, Status.REPLACED, Status.DELETED)
            assert status in wrote, f"status {status!r}"
            operation.outcome = "ok"
            if status == Status.FOUND:
                operation.read = result.value
            if call.unsure:
                self._world.count("retry_answered")
        self._world.log(node, f"{operation} on {operation.key!r}")
        if operation.outcome != "rejected" and result.version:
            self._versions[operation.key] = result.version
        self._end(call)

    def _again(self, call: _Attempt) -> None:
        """Repeat a write under the same key. Without a key, or once the key may have been forgotten, its
        outcome stays unknown."""
        call.operation.version = 0
        asked_for = self._world.events.now - call.begun + ANSWERED_MS
        forgotten = asked_for * FASTEST_CLOCK >= self._world.bounds.idempotency_window_ms
        if not call.key or call.tries >= TRIES or forgotten:
            self._end(call)
        elif not self._try(call):
            self._world.events.after(self._world.draw(1, THINK_MS), partial(self._again, call))

    def _end(self, call: _Attempt) -> None:
        self._world.count(f"outcome_{call.operation.outcome}")
        self._busy -= 1
        if call.client != EXTRA:
            self._pause(call.client)

    def _pause(self, client: int) -> None:
        self._world.events.after(self._world.draw(0, THINK_MS), partial(self._next, client))

    def _stamp(self) -> Millis:
        self._world.events.count += 1
        return self._world.events.count
