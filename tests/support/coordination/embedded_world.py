"""The coordination contract's world within one process: what is kept is a file, written in threads.

The service ends with the process that all of its handles are in: of what a network or a server may do, only
the end of everything at once exists here.
"""

import asyncio
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from tests.support.coordination.world import MemoryWorld, Node
from tests.support.wait import until_async

from ringkeep.coordination.embedded import EmbeddedCoordination, EmbeddedService
from ringkeep.ports import Coordination
from ringkeep.storage import files


class EmbeddedWorld(MemoryWorld):
    """Several handles of one service, although a product's process has one."""

    service: EmbeddedService

    def __init__(self, directory: Path) -> None:
        super().__init__()
        self.path = directory / files.COORDINATION
        self.loop = asyncio.new_event_loop()
        self.defects: list[dict[str, Any]] = []
        self.loop.set_exception_handler(lambda _, context: self.defects.append(context))
        self.save: Callable[[bytes], None] = partial(files.write_atomically, self.path)
        self.start_service()

    def node(self, session_ms: int = 10_000) -> Node:
        node = Node(session_ms=session_ms)
        node.port = EmbeddedCoordination(self.service, node)
        _: Coordination = node.port
        node.port.start()
        return node

    def until(self, condition: Callable[[], bool], what: str) -> None:
        self.loop.run_until_complete(until_async(condition, what))
        assert not self.defects, self.defects

    def stop(self, node: Node) -> None:
        assert self.loop.run_until_complete(node.port.stop())

    def kill_service(self) -> None:
        """The process has ended: nothing that was not saved is left."""

    def start_service(self) -> None:
        kept = self.path.read_bytes() if self.path.exists() else None
        self.service = EmbeddedService(kept, lambda content: self.save(content), self.loop)

    def close(self) -> None:
        self.loop.close()
