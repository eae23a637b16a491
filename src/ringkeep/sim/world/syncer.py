"""The disk's sync, simulated: group commit with one flush at a time, taking a while."""

from collections.abc import Callable
from functools import partial
from typing import Protocol

from ringkeep.core.protocol.types import Millis
from ringkeep.driver.turns import Driver
from ringkeep.errors import StorageError
from ringkeep.sim.world.environment import Environment
from ringkeep.sim.world.events import Call
from ringkeep.storage.memory import MemoryEngine

LOOK_AGAIN_MS = 50  # whether a disk that hangs answers again


class DiskHost(Protocol):
    """A machine as its disk's sync knows it. `births`: the number of its process."""

    alive: bool
    births: int
    driver: Driver
    fsync_ms: tuple[Millis, Millis]
    hangs: bool

    def deliver(self, call: Call) -> None: ...


class SimSyncer:
    """The syncer port of one life of one node. `on_durable`: told before the driver."""

    def __init__(
        self, env: Environment, node: DiskHost, engine: MemoryEngine, on_durable: Callable[[int], None]
    ) -> None:
        self._env = env
        self._node = node
        self._engine = engine
        self._on_durable = on_durable
        self._life = node.births
        self._asked = 0
        self._busy = False

    def request(self, ticket: int) -> None:
        self._asked = ticket
        if not self._busy:
            self._flush()

    def _flush(self) -> None:
        self._busy = True
        covered = self._engine.written
        delay = self._env.draw(*self._node.fsync_ms)
        self._env.events.after(delay, lambda: self._done(covered))

    def _done(self, covered: int) -> None:
        node = self._node
        if not node.alive or node.births != self._life:
            return
        if node.hangs:
            self._env.events.after(LOOK_AGAIN_MS, lambda: self._done(covered))
            return
        try:
            self._engine.make_durable(covered)
        except StorageError as error:
            node.deliver(partial(node.driver.disk_failed, error))
            return
        self._busy = False
        self._on_durable(covered)
        node.deliver(lambda: node.driver.synced(covered))
        if self._asked > covered:
            self._flush()
