"""Checks that a primary was deposed for a reason: a majority of its voters lost it, or it reported so.

Suspicion decides only when something is tried, so a wrong one loses no data. But a cluster that deposes
primaries when ZooKeeper goes away, or because one node suspects them, has mass failovers and election storms.
The world knows which faults were real, and the suspicions that nodes act upon are compared with them.
"""

from typing import Final

from ringkeep.core.protocol import quorum
from ringkeep.core.protocol.cluster_map import ClusterMap, NodeState, Partition
from ringkeep.core.protocol.messages import Said
from ringkeep.core.protocol.types import Millis, NodeId
from ringkeep.sim.world.machine import SimMachine
from ringkeep.sim.world.world import World

LINGERS_MS: Final = 4_000
"""How long after its end a fault may still be seen, reported, and acted upon."""

HEALS_MS: Final = 2_000
"""How long after its end a fault must not cause suspicions any more."""


class FailoverReasons:
    """Compares the nodes' suspicions with the world's recent faults."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._named: dict[NodeId, Millis] = {}
        self._proposer: SimMachine | None = None

    def on_proposal(self, node: SimMachine) -> None:
        """A controller proposes a map: note what it has heard, in case that map deposes a primary."""
        if self._proposer is not None and self._proposer.name != node.name:
            self._world.count("controller_changed")
        self._proposer = node

    def on_map(self, before: ClusterMap | None, after: ClusterMap) -> None:
        """Nodes that the map names for the first time are contacted by the others only from now on."""
        for node in after.nodes:
            if before is None or before.node(node.id) is None:
                self._named[node.id] = self._world.events.now

    def unfounded(self, before: ClusterMap, after: ClusterMap) -> str:
        """Return which primary was deposed without a reason; "" if there was one for each."""
        for number, (old, new) in enumerate(zip(before.partitions, after.partitions, strict=True)):
            if new.epoch == old.epoch or new.base != old.base or self._was_said(number, old):
                continue
            node = after.node(old.primary)
            if node is None or node.state == NodeState.DEAD or node.incarnation != old.incarnation:
                continue
            machine = self._world.nodes.get(old.primary)
            if machine is not None and machine.lost:
                continue
            if old.learner is not None and self._lost(old.learner, old.primary):
                continue  # another primary can fill the newcomer
            lost = [v for v in old.replicas if v != old.primary and self._lost(v, old.primary)]
            if not quorum.won(old.voters, old.old_voters, lost):
                return f"partition {number}: epoch {old.epoch} was ended without a reason"
        return ""

    def _was_said(self, number: int, part: Partition) -> bool:
        """Return whether the primary asked for it, as the controller that proposed the map has heard."""
        if self._proposer is None or not self._proposer.alive:
            return True  # not known any more
        said = self._proposer.driver.node.controller.statements
        found = [said.get((number, what)) for what in (Said.FAILED, Said.HANDOVER)]
        return any(each is not None and each[0].epoch == part.epoch for each in found)

    def lingering(self) -> str:
        """Return which node suspects which, though nothing has been wrong between them for a while; "" if
        none does."""
        for node in self._world.nodes.values():
            if not node.alive or not node.driver.at_rest:
                continue
            for peer in node.driver.node.detector.suspected():
                other = self._world.nodes.get(peer)
                if other is None or not other.alive or not other.driver.serving or not node.driver.serving:
                    continue
                known = node.id in other.driver.node.detector.peers
                known = known and not self._is_new(node.id) and not self._is_new(peer)
                if known and not self._lost(node.id, peer, HEALS_MS) and node.network.wants(peer):
                    return f"{node.name} suspects {other.name}, and nothing is wrong between them"
        return ""

    def _is_new(self, node: NodeId) -> bool:
        return self._world.events.now - self._named.get(node, -HEALS_MS) < HEALS_MS

    def _lost(self, voter: NodeId, primary: NodeId, lingers_ms: Millis = LINGERS_MS) -> bool:
        world, since = self._world, self._world.events.now - lingers_ms
        if world.slow_until >= since or world.blocked(voter, primary) or world.blocked(primary, voter):
            return True
        if world.cut_until.get(frozenset((voter, primary)), since - 1) >= since:
            return True
        machines = world.nodes.get(voter), world.nodes.get(primary)
        return any(each is None or not each.alive or each.absent_until >= since for each in machines)
