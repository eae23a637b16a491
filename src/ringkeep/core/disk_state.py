"""The state of a node's own disk, and its reports of it: how much room there is, and whether it answers.

What follows from it is decided where it matters: what is admitted in `execute.py`, what a backup takes in
`dispatch.py`, who leads in `handover.py`. Everybody tells it to everybody with each heartbeat.
"""

from collections.abc import Collection
from enum import IntEnum
from typing import Final, NamedTuple

from ringkeep.core.protocol import limits
from ringkeep.core.protocol.types import Millis, NodeId


class DiskState(IntEnum):
    """The state of a node's disk, from good to bad: each takes less than the one before."""

    FINE = 0
    SLOW = 1  # the store has refused writes for seconds: others lead, if they can
    SHORT = 2  # less room than the reserve: others lead, and of the clients' writes only deletes are taken
    SPENT = 3  # most of the reserve is gone, too: nothing is appended
    SILENT = 4  # it has not answered for seconds: failed, as far as leading and promising go


_KEPT: Final = 4
"""This part of the reserve is not touched by entries: what has been taken has yet to find its place."""

EASED: Final = 8
"""A bound that was crossed counts until there is this part more: the state does not flutter."""


_STEP_MS: Final = 5 * limits.TICK_MS
"""From one look to the next no more than this is counted: while the process itself stood still, an answer may
have come that it has not heard yet."""


class Questions(NamedTuple):
    """What the disk has been asked and has not answered: a number for each, that changes with every answer;
    -1 where it owes none. `look`: how much room there is."""

    sync: int
    write: int
    look: int


NOTHING_ASKED: Final = Questions(-1, -1, -1)


class OwnDisk:
    """What is known of the disk under this node."""

    __slots__ = (
        "_asked", "_looked_at", "_stalled_ms", "_waits_ms", "free", "reserve", "stalled", "state",
    )  # fmt: skip

    def __init__(self) -> None:
        self.state = DiskState.FINE
        self.stalled = False
        """Whether the store refuses writes just now."""
        self.free = self.reserve = 0
        self._looked_at: Millis = 0
        self._stalled_ms: Millis = 0
        self._asked = NOTHING_ASKED
        self._waits_ms: list[Millis] = [0] * len(NOTHING_ASKED)

    def note(self, now: Millis, stalled: bool, free: int, reserve: int, asked: Questions) -> str:
        """Take what is seen at a tick; return what the operator is to be told, "" if nothing has changed.

        `stalled`: the store refuses writes. `free`, `reserve`: bytes.
        """
        passed = min(now - self._looked_at, _STEP_MS)
        self._looked_at = now
        self.free, self.reserve = free, reserve
        self._stalled_ms = self._stalled_ms + passed if stalled and self.stalled else 0
        self.stalled = stalled
        self._waits_ms = [
            waited + passed if question == before and question >= 0 else 0
            for question, before, waited in zip(asked, self._asked, self._waits_ms, strict=True)
        ]
        self._asked = asked
        before, self.state = self.state, self._seen()
        return self._told() if self.state != before else ""

    def _seen(self) -> DiskState:
        if max(self._waits_ms) >= limits.DISK_ANSWERS_MS:
            return DiskState.SILENT
        if self._below(self.reserve // _KEPT, DiskState.SPENT):
            return DiskState.SPENT
        if self._below(self.reserve, DiskState.SHORT):
            return DiskState.SHORT
        if self._stalled_ms >= limits.DISK_ANSWERS_MS:
            return DiskState.SLOW
        return DiskState.FINE

    def _below(self, bound: int, state: DiskState) -> bool:
        crossed = state <= self.state < DiskState.SILENT
        return self.free < bound + (bound // EASED if crossed else 0)

    def _told(self) -> str:
        match self.state:
            case DiskState.SILENT:
                return (
                    f"the disk has not answered for {limits.DISK_ANSWERS_MS // 1000} s: until it does, this"
                    f" node leads nothing, promises nothing and takes nothing in; {self.room}"
                )
            case DiskState.SPENT:
                return f"{self.room}: no entries are taken until there is more; make room, or move replicas"
            case DiskState.SHORT:
                return f"{self.room}: others lead, if they have room; deletes are taken, other writes are not"
            case DiskState.SLOW:
                return "the store has refused writes for seconds, its disk does not keep up: others lead"
            case DiskState.FINE:
                return "the disk is well again"

    @property
    def pauses_writes(self) -> bool:
        """Whether the store refuses writes, but has not for long: what can wait does."""
        return self.stalled and self._stalled_ms < limits.STALL_WAIT_MS

    @property
    def holds(self) -> bool:
        """Whether requests wait for the disk, or for the store."""
        return self.pauses_writes or not self.answers

    @property
    def full(self) -> bool:
        """Whether there is less room than the reserve."""
        return self.state in (DiskState.SHORT, DiskState.SPENT)

    @property
    def nearly_full(self) -> bool:
        """Whether the reserve will be touched soon: what is kept only for convenience goes first."""
        return self.free < 2 * self.reserve

    @property
    def room(self) -> str:
        """Say how much room there is, for people."""
        return (
            f"{self.free >> 20} MiB are free where this node keeps its data, of a reserve of"
            f" {self.reserve >> 20} MiB"
        )

    @property
    def answers(self) -> bool:
        """Whether what is written will be synced in a bearable time, as far as is known."""
        return self.state != DiskState.SILENT

    @property
    def takes_entries(self) -> bool:
        """Whether entries of the log are taken: there is room for them, and they will be synced."""
        return self.state < DiskState.SPENT

    @property
    def takes_replicas(self) -> bool:
        """Whether there is room for a whole replica more."""
        return self.state == DiskState.FINE and not self.stalled


class Disks:
    """The disks of all nodes, each by its own node's word."""

    __slots__ = ("_me", "_others", "own")

    def __init__(self, me: NodeId) -> None:
        self._me = me
        self.own = OwnDisk()
        self._others: dict[NodeId, DiskState] = {}  # where they are not fine

    @property
    def all_fine(self) -> bool:
        """Whether no node has said anything else."""
        return not self.own.state and not self._others

    def note(self, peer: NodeId, state: int) -> None:
        """Take what another node says of its disk; remembered until it says something else."""
        if state:
            self._others[peer] = DiskState(min(state, DiskState.SILENT))
        else:
            self._others.pop(peer, None)

    def keep_only(self, peers: Collection[NodeId]) -> None:
        """Forget what all others have said."""
        self._others = {peer: state for peer, state in self._others.items() if peer in peers}

    def state_of(self, node: NodeId) -> DiskState:
        """Return the state of a node's disk; fine if it has said nothing."""
        return self.own.state if node == self._me else self._others.get(node, DiskState.FINE)

    def takes_entries(self, peer: NodeId) -> bool:
        """Tell whether another node takes entries, as far as its disk is concerned."""
        return self._others.get(peer, DiskState.FINE) < DiskState.SPENT
