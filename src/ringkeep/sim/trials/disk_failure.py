"""One disk stops answering, or has no more room, in a healthy cluster: other nodes must lead and serve.
Primaries on that node must be replaced in a bounded time, without help, and writes must succeed meanwhile.
Among other faults there would be no such bound.
"""

from functools import partial
from typing import Final

from ringkeep.core.cluster.slots import partition_of
from ringkeep.core.protocol.client_requests import Kind, Request, Result, Status
from ringkeep.core.protocol.types import Millis
from ringkeep.sim.world.machine import NO_ROOM, PLENTY, SHORT_OF_ROOM, SimMachine
from ringkeep.sim.world.world import World

REPLACED_MS: Final[Millis] = 8_000
"""Within this time others must lead: three seconds until it is noticed, the rest for slow clocks and the
map."""
WRITE_EVERY_MS: Final[Millis] = 100
_ANSWERED: Final = (Status.CREATED, Status.REPLACED)


class DiskFailure:
    """One node's disk failure, and the partitions that the node led."""

    def __init__(self, world: World) -> None:
        self._world = world
        assert world.map is not None
        self._node = world.random.choice([world.nodes[part.primary] for part in world.map.partitions])
        self._led = [n for n, p in enumerate(world.map.partitions) if p.primary == self._node.id]
        self._keys = {n: self._key_of(n) for n in self._led}
        self._served: set[int] = set()  # partitions where another primary has answered a write
        self._over = False

    def run(self) -> None:
        """Break the disk, check that others lead and serve, and repair it."""
        world, node = self._world, self._node
        kind = world.random.choice(("hangs", "is short", "is full"))
        world.log(node, f"has a disk that {kind}")
        world.count(f"disk_{kind.replace(' ', '_')}")
        if kind == "hangs":
            node.hangs = True
        else:
            node.free = SHORT_OF_ROOM if kind == "is short" else NO_ROOM
        self._write()
        replaced = world.events.run_until(self._replaced, world.events.now + REPLACED_MS)
        assert replaced, f"{node.name} has a disk that {kind}, and still leads what others could"
        self._over = True
        node.hangs, node.free = False, PLENTY

    def _key_of(self, partition: int) -> bytes:
        keys = (b"trial %d" % number for number in range(10_000))
        return next(key for key in keys if partition_of(key, self._world.partitions) == partition)

    def _other(self) -> SimMachine:
        return self._world.random.choice([n for n in self._world.nodes.values() if n is not self._node])

    def _write(self) -> None:
        """Write to each of the partitions, through other nodes, repeatedly."""
        if self._over:
            return
        for number, key in self._keys.items():
            self._world.submit(
                self._other(), Request(Kind.PUT, key, b"trial", done=partial(self._on_answer, number))
            )
        self._world.events.after(WRITE_EVERY_MS, self._write)

    def _on_answer(self, number: int, result: Result) -> None:
        cluster_map = self._world.map
        if (
            result.status in _ANSWERED
            and cluster_map is not None
            and cluster_map.partitions[number].primary != self._node.id
        ):
            self._served.add(number)

    def _replaced(self) -> bool:
        return self._served.issuperset(self._led)
