"""Rows that are kept for some log time: in a space of their own, ordered by time, they name other rows.

A few of those that are too old are forgotten whenever a new one is added, so no apply has much to do at once.
"""

import struct
from collections import deque
from typing import Final

from ringkeep.core.context import Context
from ringkeep.core.protocol.effects import Family
from ringkeep.core.protocol.types import Index, Millis

_KEY: Final = struct.Struct("!QQ")
KEY_BYTES: Final = _KEY.size
FORGET_AT_ONCE: Final = 4


class TimedRows:
    """The rows of one space by log time. `prefix`: of the space."""

    __slots__ = ("_context", "_forgotten", "_new", "_prefix", "_turn", "_written")

    def __init__(self, context: Context, prefix: bytes) -> None:
        self._context = context
        self._prefix = prefix
        self._forgotten = prefix  # where the next scan begins: deleted rows may still be in the store
        self._new: deque[tuple[bytes, bytes]] = deque()  # not written yet
        self._written: deque[tuple[bytes, bytes]] = deque()  # written until the turn `_turn`
        self._turn = context.turn

    def add(self, log_time: Millis, index: Index, what: bytes) -> bytes:
        """Note a row, which the caller puts; return its key. Not earlier than those added before."""
        key = self._prefix + _KEY.pack(log_time, index)
        self._new.append((key, what))
        return key

    def take_old(self, horizon: Millis) -> list[tuple[bytes, bytes]]:
        """Return the first few rows of before `horizon`, which the caller deletes: the store's, then those
        not written yet. Replicas that write at different times must forget the same rows.
        """
        end = self._prefix + _KEY.pack(horizon, 0)
        if self._forgotten >= end:
            return []
        old = self._context.reader.scan(Family.DATA, self._forgotten, end, FORGET_AT_ONCE)
        if self._turn != self._context.turn:
            self._written.clear()
        for rows in (self._written, self._new):
            while len(old) < FORGET_AT_ONCE and rows and rows[0][0] < end:
                old.append(rows.popleft())
        if old:
            self._forgotten = old[-1][0] + b"\0"
        return old

    def wrote_down(self) -> None:
        """Everything added is in this turn's batch, and in the store after it."""
        if self._turn != self._context.turn:
            self._turn = self._context.turn
            self._written.clear()
        self._written += self._new
        self._new.clear()
