"""One store refuses writes for seconds, in a healthy cluster, and then is well again: so long that its node
drops what arrives, but often too short for others to take over. No request of a patient client may be lost.
"""

from functools import partial
from typing import Final

from ringkeep.core.cluster.slots import partition_of
from ringkeep.core.protocol import limits
from ringkeep.core.protocol.client_requests import Kind, Request, Result, Status
from ringkeep.core.protocol.types import Millis
from ringkeep.driver.turns import STALL_RETRY_MS
from ringkeep.sim.world.world import World

STALLED_MS: Final = (limits.DISK_ANSWERS_MS // 2, 2 * limits.DISK_ANSWERS_MS)
"""For how long writes are refused: some nodes never drop anything, some drop for seconds."""
ASK_EVERY_MS: Final[Millis] = 40
PATIENCE_MS: Final[Millis] = 60_000
ANSWERED_MS: Final[Millis] = 8_000
"""Within this time after the stall everything is answered: others lead by then, or the node itself again."""


class LastingStall:
    """A stall of one node's store, and requests through all nodes meanwhile."""

    def __init__(self, world: World) -> None:
        self._world = world
        assert world.map is not None
        self._node = world.random.choice([world.nodes[part.primary] for part in world.map.partitions])
        self._keys = [self._key_of(number) for number in range(world.partitions)]
        self._open: dict[int, str] = {}
        self._asked = 0
        self._until: Millis = 0

    def run(self) -> None:
        """Stall the store, ask meanwhile, and check that every request is answered."""
        world, node = self._world, self._node
        stalled = world.random.randint(*STALLED_MS)
        world.log(node, f"has a store that refuses writes for {stalled} ms")
        world.count("lasting_stall")
        node.engine.stall_next(stalled // STALL_RETRY_MS, shown=world.random.random() < 0.5)
        self._until = world.events.now + stalled
        self._ask()
        answered = world.events.run_until(self._answered, self._until + ANSWERED_MS)
        assert answered, f"after the stall of a store these requests are lost: {list(self._open.values())}"

    def _key_of(self, partition: int) -> bytes:
        keys = (b"trial %d" % number for number in range(10_000))
        return next(key for key in keys if partition_of(key, self._world.partitions) == partition)

    def _ask(self) -> None:
        """Read or write a key of some partition, through some node, repeatedly."""
        world = self._world
        if world.events.now >= self._until:
            return
        node, key = world.some_machine(), world.random.choice(self._keys)
        kind = world.random.choice((Kind.GET, Kind.PUT))
        self._asked += 1
        request = Request(
            kind, key, b"trial", timeout_ms=PATIENCE_MS, done=partial(self._on_answer, self._asked)
        )
        if world.submit(node, request):
            self._open[self._asked] = f"{kind.name} {key!r} through {node.name} at {world.events.now}"
        world.events.after(ASK_EVERY_MS, self._ask)

    def _on_answer(self, number: int, result: Result) -> None:
        asked = self._open.pop(number)
        unclear = result.status in (Status.UNKNOWN, Status.UNAVAILABLE)
        assert not unclear, f"{asked}: {result.status.name} {result.detail}"

    def _answered(self) -> bool:
        return self._world.events.now >= self._until and not self._open
