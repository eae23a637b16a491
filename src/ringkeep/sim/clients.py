"""Simulated clients: each runs one operation after the other and records what it was told."""

from typing import TYPE_CHECKING

from ringkeep.core.requests import ABSENT, ANY, Kind, Request, Result, Status
from ringkeep.core.types import Millis
from ringkeep.sim.checker import Operation

if TYPE_CHECKING:
    from ringkeep.sim.world import World

_KINDS = ("get", "get", "get", "put", "put", "put", "delete", "cas", "cas")
_DEFINITE_NO = (Status.NOT_FOUND, Status.CONDITION_FAILED)
_REJECTED = (Status.BUSY, Status.UNAVAILABLE, Status.NO_SPACE)
TIMEOUT_MS = 1_500
THINK_MS = 60


class Clients:
    """All clients of one world, and the history that they saw.

    Times in it are event numbers, all distinct.
    """

    def __init__(self, world: "World", count: int, operations: int, keys: int) -> None:
        self._world = world
        self._left = operations
        self._busy = 0
        self._value = 0
        self._keys = [f"k{number}".encode() for number in range(keys)]
        self._versions: dict[bytes, int] = {}
        self.history: list[Operation] = []
        for client in range(count):
            world.events.after(world.random.randint(0, THINK_MS), lambda client=client: self._next(client))  # type: ignore[misc]

    @property
    def finished(self) -> bool:
        """Whether every operation was started and has ended, or its coordinator has died."""
        return self._left <= 0 and self._busy == 0

    def _next(self, client: int) -> None:
        world = self._world
        if self._left <= 0:
            return
        random = world.random
        node = random.choice(list(world.nodes.values()))
        key = random.choice(self._keys)
        kind = random.choice(_KINDS)
        value: bytes | None = None
        expected: int | None = None
        if kind in ("put", "cas"):
            self._value += 1
            value = b"v%d" % self._value
        if kind == "cas":
            expected = 0 if random.random() < 0.3 else self._versions.get(key, 0)
        condition = ANY if expected is None else expected or ABSENT
        request_kind = Kind.GET if kind == "get" else Kind.DELETE if kind == "delete" else Kind.PUT
        operation = Operation(client, kind, key, value, expected, self._stamp(), None, "unknown")
        request = Request(request_kind, key, value or b"", b"", condition, timeout_ms=TIMEOUT_MS)
        life = node.incarnation

        def done(result: Result) -> None:
            operation.end = self._stamp()
            self._note(operation, result)
            world.log(node, str(operation))
            self._busy -= 1
            self._pause(client)

        request.done = done
        if not world.submit(node, request):
            self._pause(client)
            return
        self._left -= 1
        self._busy += 1
        self.history.append(operation)
        self._watch(client, operation, node.id, life)

    def _watch(self, client: int, operation: Operation, node_id: str, life: int) -> None:
        """A coordinator that dies answers nothing: the client goes on, and never learns."""

        def look() -> None:
            if operation.end is not None:
                return
            node = self._world.nodes[node_id]  # type: ignore[index]
            if node.alive and node.incarnation == life:
                self._world.events.after(TIMEOUT_MS, look)
                return
            self._busy -= 1
            self._world.count("unanswered")
            self._pause(client)

        self._world.events.after(TIMEOUT_MS, look)

    def _pause(self, client: int) -> None:
        self._world.events.after(self._world.random.randint(0, THINK_MS), lambda: self._next(client))

    def _stamp(self) -> Millis:
        self._world.events.count += 1
        return self._world.events.count

    def _note(self, operation: Operation, result: Result) -> None:
        status = result.status
        operation.version = result.version
        if status in _DEFINITE_NO:
            operation.outcome = "failed"
        elif status in _REJECTED:
            operation.outcome = "rejected"
        elif status == Status.UNKNOWN:
            operation.outcome = "unknown"
        else:
            assert status in (Status.FOUND, Status.CREATED, Status.REPLACED, Status.DELETED), (
                f"status {status!r}"
            )
            operation.outcome = "ok"
            if status == Status.FOUND:
                operation.read = result.value
        self._world.count(f"outcome_{operation.outcome}")
        if operation.outcome != "rejected" and result.version:
            self._versions[operation.key] = result.version
