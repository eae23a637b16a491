"""Checks that bytes counted as in flight to a peer are in flight. The bytes sent to a peer and not
acknowledged are bounded. So bytes that stay counted reduce the room, and with a low bound nothing more is
ever sent.
"""

from typing import Final

from ringkeep.core.protocol.types import Millis, NodeId
from ringkeep.sim.world.machine import PLENTY, SimMachine
from ringkeep.sim.world.world import World

LASTS_MS: Final = 1_000
"""Without faults, repeated entries are acknowledged within this time, or the link breaks."""
USUAL_FSYNC_MS: Final = 25


class BytesInFlight:
    """Called periodically; remembers suspicious counts, and since when they last."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._since: dict[tuple[NodeId, int, NodeId, int], Millis] = {}  # by the lives of both

    def left_over(self) -> str:
        """Return what still counts as in flight after everything sent is acknowledged; "" if nothing does."""
        now, before = self._world.events.now, self._since
        self._since = {}
        for node in self._world.nodes.values():
            if not _is_well(node, now):
                continue
            for peer, size in node.driver.node.budget.in_flight.items():
                other = self._world.nodes.get(peer)
                if not size or other is None or not _is_well(other, now) or not self._reach(node, other):
                    continue
                if not _all_acknowledged(node, peer):
                    continue
                name = node.id, node.births, peer, other.births
                since = self._since[name] = before.get(name, now)
                if now - since >= LASTS_MS:
                    return f"{node.name} counts {size} bytes in flight to {other.name}, which has all of them"
        return ""

    def _reach(self, one: SimMachine, other: SimMachine) -> bool:
        world = self._world
        return not world.blocked(one.id, other.id) and not world.blocked(other.id, one.id)


def _is_well(node: SimMachine, now: Millis) -> bool:
    quick = node.fsync_ms[1] <= USUAL_FSYNC_MS and not node.hangs and node.free == PLENTY
    return node.alive and node.paused_until <= now and quick and not node.lost


def _all_acknowledged(node: SimMachine, peer: NodeId) -> bool:
    """Return whether the peer holds everything sent to it, in every partition that this node leads."""
    for primary in node.driver.node.primaries.values():
        progress = primary.progress
        if progress.match.get(peer, 0) + 1 < progress.next.get(peer, 0):
            return False
    return True
