"""Several calls in one request that is no atomic batch, as `ringkeep.chains` runs them: those on one key one
after the other.
"""

from collections.abc import Callable, Sequence

from ringkeep.chains import BREAKS, Chains
from ringkeep.core.protocol.client_requests import ReadGroup, Request, Result, Status
from ringkeep.core.protocol.types import origin_of
from ringkeep.sim.operations.calls import Call
from ringkeep.sim.world.machine import SimMachine
from ringkeep.sim.world.world import World

ROOM_BYTES = 1 << 30


class Chained:
    """One such request. Each call has its own times: from when it was submitted to when it was answered. In
    the order of their client a call begins where the one before it on its key has ended.

    `heard` is called with each call that was answered, `over` once all were.
    """

    def __init__(
        self, world: World, node: SimMachine, asked: Sequence[tuple[Call, Request]],
        heard: Callable[[Call, Result], None], over: Callable[[], None],
    ) -> None:  # fmt: skip
        self._world = world
        self._node = node
        self._asked = asked
        self._origin = origin_of(node.id, node.incarnation)
        self._heard = heard
        chains = Chains(
            [request for _, request in asked], self._submit, self._submit_reads,
            lambda: world.events.now, ROOM_BYTES, lambda _: over(),
        )  # fmt: skip
        chains.start()

    def _submit(self, request: Request) -> None:
        call = next(call for call, each in self._asked if each is request)
        self._begin(call)
        call.tries.append((self._origin, request))
        then = request.done

        def done(result: Result) -> None:
            self._end(call, result)
            then(result)

        request.done = done
        self._node.driver.submit(request)

    def _submit_reads(self, group: ReadGroup) -> None:
        """The first of each of these keys are read together."""
        calls = [next(call for call, _ in self._asked if call.key == key) for key in group.keys]
        for call in calls:
            self._begin(call)
        then = group.done

        def done(results: list[Result]) -> None:
            for call, result in zip(calls, results, strict=True):
                self._end(call, result)
            then(results)

        self._node.driver.submit_reads(ReadGroup(group.keys, group.timeout_ms, done))

    def _begin(self, call: Call) -> None:
        world, earlier = self._world, None
        for each, _ in self._asked:
            if each is call:
                break
            earlier = each if each.key == call.key else earlier
        world.events.count += 1
        call.start, call.start_ms = world.events.count, world.events.now
        if earlier is not None:
            call.follows = earlier

    def _end(self, call: Call, result: Result) -> None:
        world = self._world
        world.events.count += 1
        call.end, call.end_ms = world.events.count, world.events.now
        if result.status != Status.UNKNOWN:
            call.result = result
        self._heard(call, result)
        world.log(self._node, f"in a chain: {call}")


def in_order(calls: Sequence[Call]) -> None:
    """Let each call of a chain begin where the one before it ended. Raise AssertionError if that one may
    still be carried out, or was not done.
    """
    for call in calls:
        before = call.follows
        if before is not None:
            done = before.result is not None and before.result.status not in BREAKS
            assert done, f"chain: {call} was sent after {before}"
            call.start = max(call.start, before.end)
