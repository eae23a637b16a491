"""One operation of a simulated client, over all its tries. Some writes carry an idempotency key: such a write
is repeated, through other nodes, until an answer is definite. Each kind of clients says what it asks, and
what an answer means to it.
"""

from functools import partial
from typing import Generic, TypeVar

from ringkeep.core.protocol.client_requests import Request, Result, Status
from ringkeep.core.protocol.types import Millis
from ringkeep.sim.world.machine import SimMachine
from ringkeep.sim.world.world import World

REJECTED = (Status.BUSY, Status.UNAVAILABLE, Status.NO_SPACE)
TIMEOUT_MS = 1_500
THINK_MS = 40
TRIES = 8
ANSWERED_MS = 2 * TIMEOUT_MS
"""A request is executed within this time, or never: its primary may have another clock."""
SLOWEST_CLOCK, FASTEST_CLOCK = 0.8, 1.2


class Attempt:
    """`name`: the idempotency key, b"" for none. `asked`: the number of the try that waits for an answer, 0
    for none. `unsure`: an earlier try may have been applied.
    """

    __slots__ = ("asked", "begun", "name", "tries", "unsure")

    def __init__(self, name: bytes, begun: Millis) -> None:
        self.begun = begun
        self.name = name
        self.tries = 0
        self.asked = 0
        self.unsure = False


Each = TypeVar("Each", bound=Attempt)


class Attempts(Generic[Each]):
    """Tries operations through random nodes. Times are event numbers, all distinct."""

    def __init__(self, world: World) -> None:
        self._world = world

    # --- what each kind of clients decides ------------------------------------------------------------

    def _request(self, attempt: Each, node: SimMachine) -> Request:
        """Return the request of a try through this node."""
        raise NotImplementedError

    def _heard(self, attempt: Each, node: SimMachine, result: Result, *, final: bool) -> None:
        """An answer came; `final`: it is the operation's."""
        raise NotImplementedError

    def _end(self, attempt: Each) -> None:
        """The operation is over: `_heard` its final answer before, or its outcome stays unknown."""
        raise NotImplementedError

    # --- trying ---------------------------------------------------------------------------------------

    def _try(self, attempt: Each, through: SimMachine | None = None) -> bool:
        """Submit the operation to some node; False if that node accepts none at present."""
        world = self._world
        node = through or world.random.choice(list(world.nodes.values()))
        request = self._request(attempt, node)
        request.idempotency = attempt.name
        request.done = partial(self._done, attempt, node)
        if not world.submit(node, request):
            return False
        attempt.tries += 1
        attempt.asked = attempt.tries
        look = partial(self._look, attempt, node, node.id, node.incarnation, attempt.tries)
        world.events.after(TIMEOUT_MS, look)
        return True

    def _look(self, attempt: Each, node: SimMachine, node_id: str, life: int, tries: int) -> None:
        """A coordinator that dies answers nothing: the client continues, and learns the outcome only by
        asking again."""
        if attempt.asked != tries:
            return
        if node.alive and node.id == node_id and node.incarnation == life:
            wait = partial(self._look, attempt, node, node_id, life, tries)
            self._world.events.after(TIMEOUT_MS, wait)
            return
        self._world.count("unanswered")
        attempt.asked = 0
        attempt.unsure = True
        self._again(attempt)

    def _done(self, attempt: Each, node: SimMachine, result: Result) -> None:
        assert attempt.asked == attempt.tries, "a request is answered once"
        attempt.asked = 0
        assert result.status != Status.KEY_REUSED, "the same request again is no other request"
        if result.status == Status.UNKNOWN or (result.status in REJECTED and attempt.unsure):
            attempt.unsure = True
            self._heard(attempt, node, result, final=False)
            self._again(attempt)
            return
        self._heard(attempt, node, result, final=True)
        self._end(attempt)

    def _again(self, attempt: Each) -> None:
        """Repeat a write under the same key. Without a key, or once the key may have been forgotten, its
        outcome stays unknown."""
        asked_for = self._world.events.now - attempt.begun + ANSWERED_MS
        forgotten = asked_for * FASTEST_CLOCK >= self._world.bounds.idempotency_window_ms
        if not attempt.name or attempt.tries >= TRIES or forgotten:
            self._end(attempt)
        elif not self._try(attempt):
            self._world.events.after(self._world.draw(1, THINK_MS), partial(self._again, attempt))

    def _stamp(self) -> int:
        self._world.events.count += 1
        return self._world.events.count
