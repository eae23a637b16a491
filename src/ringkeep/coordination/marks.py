"""Reads and writes the marks in ZooKeeper: one persistent znode per node, with position and life of its
store.

Requests are carried out one at a time, in order; each ends with the present mark being given to the sink.
After a lost connection the caller repeats what was not answered.
"""

import asyncio
import contextlib
import logging
from collections import deque
from collections.abc import Callable
from typing import Any, Final

from kazoo.exceptions import BadVersionError, KazooException, NodeExistsError, NoNodeError

from ringkeep.admission import Mark
from ringkeep.coordination.codec import decode_mark, encode_mark
from ringkeep.coordination.link import Link
from ringkeep.core.protocol.types import NodeId
from ringkeep.errors import ProtocolError
from ringkeep.ports import NO_MARK, CoordinationEvents

_OTHERS: Final = (BadVersionError, NodeExistsError, NoNodeError)
"""How a compare-and-set fails when the znode is not what was expected."""

log = logging.getLogger("ringkeep.coordination")

MarkRequest = tuple[NodeId, int, Mark | None]
"""Whose mark; the version that it must replace, and the mark, or None to read it."""


class Marks:
    """The znodes `marks/<node id>` under `base`."""

    def __init__(
        self, link: Link, base: str, sink: CoordinationEvents, note: Callable[[KazooException | None], None]
    ) -> None:
        """`note` is called after each request with its error, or None."""
        self._link = link
        self._sink = sink
        self._note = note
        self._base = base
        self._requests: deque[MarkRequest] = deque()
        self._requested = asyncio.Event()

    def request(self, node: NodeId, expected: int = NO_MARK, mark: Mark | None = None) -> None:
        """Read a node's mark, or write it if the znode still has that version."""
        self._requests.append((node, expected, mark))
        self._requested.set()

    def forget(self) -> None:
        """Drop all requests: the connection is lost, and the callers repeat them."""
        self._requests.clear()

    async def keep_up(self) -> None:
        """Carry out requests, for as long as a connection lasts."""
        while True:
            while self._requests:
                node, expected, mark = self._requests.popleft()
                try:
                    version, stored = await self._carry_out(node, expected, mark)
                except KazooException as error:
                    self._note(error)
                else:
                    self._note(None)
                    self._sink.mark_read(version, stored)
            self._requested.clear()
            await self._requested.wait()

    async def leave(self, node: NodeId, expected: int, mark: Mark) -> bool:
        """Write the last mark of a life, over any earlier one of the same life; return whether it is
        stored."""
        with contextlib.suppress(KazooException):
            version, stored = await self._carry_out(node, expected, mark)
            if stored is not None and stored != mark and stored.life == mark.life:
                _, stored = await self._carry_out(node, version, mark)
            return stored == mark
        return False

    async def _carry_out(self, node: NodeId, expected: int, mark: Mark | None) -> tuple[int, Mark | None]:
        path = f"{self._base}/marks/{node}"
        if mark is not None:
            with contextlib.suppress(*_OTHERS):
                return await self._write(path, expected, encode_mark(mark)), mark
        return await self._read(path)

    async def _write(self, path: str, expected: int, content: bytes) -> int:
        """Return the znode's new version. Raises one of _OTHERS if it is not as expected."""
        if expected != NO_MARK:
            stat: Any = await self._link.request("set_async", path, content, expected)
            return int(stat.version)
        await self._link.create(path, content)
        return 0

    async def _read(self, path: str) -> tuple[int, Mark | None]:
        await self._link.request("sync_async", self._base)
        try:
            content, stat = await self._link.request("get_async", path)
        except NoNodeError:
            return NO_MARK, None
        try:
            return stat.version, decode_mark(content)
        except ProtocolError as error:
            log.warning("%s is overwritten: %s", path, error)
            return stat.version, None
