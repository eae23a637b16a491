"""The simulated network: connections that keep order, and lose what is under way when they break."""

from collections.abc import Mapping
from typing import TYPE_CHECKING

from ringkeep.core.messages import Message
from ringkeep.core.types import NodeId

if TYPE_CHECKING:
    from ringkeep.sim.world import SimNode, World

NodePair = tuple[NodeId, NodeId]
RECONNECT_MS = 30


class SimNetwork:
    """The network port of one life of one node.

    A connection is a number: what carries an old one is discarded.
    """

    def __init__(self, world: "World", node: "SimNode") -> None:
        self._world = world
        self._node = node
        self._wanted: dict[NodeId, str] = {}
        self._up: dict[NodeId, int] = {}  # peer -> connection
        self._trying: set[NodeId] = set()
        self._told_refused: set[NodeId] = set()
        self._last: dict[NodeId, int] = {}  # when the newest frame for a peer arrives: order is kept
        self._connections = 0
        self.over = False

    # --- the port -------------------------------------------------------------------------------------

    def set_peers(self, peers: Mapping[NodeId, str]) -> None:
        self._wanted = dict(peers)
        for peer in [peer for peer in self._up if peer not in peers]:
            del self._up[peer]
        for peer in self._wanted:
            if peer not in self._up and peer not in self._trying:
                self._try(peer, 0)

    def send(self, peer: NodeId, messages: list[Message]) -> None:
        connection = self._up.get(peer)
        if connection is None:
            return
        world = self._world
        when = max(self._last.get(peer, 0), world.events.now + world.delay(self._node.id, peer))
        self._last[peer] = when
        world.events.at(when, lambda: self._arrive(peer, connection, messages))

    # --- connections ----------------------------------------------------------------------------------

    def _arrive(self, peer: NodeId, connection: int, messages: list[Message]) -> None:
        world = self._world
        if self.over or self._up.get(peer) != connection:
            return  # lost with its connection
        if world.blocked(self._node.id, peer):
            held = world.events.now + RECONNECT_MS  # sent again by the transport, until it gives up
            world.events.at(held, lambda: self._arrive(peer, connection, messages))
            return
        target = world.nodes[peer]
        if target.alive:
            me, incarnation = self._node.id, self._node.incarnation
            target.deliver(lambda: target.driver.received(me, incarnation, messages))

    def _try(self, peer: NodeId, delay: int) -> None:
        self._trying.add(peer)
        self._world.events.after(delay + self._world.random.randint(1, 3), lambda: self._attempt(peer))

    def _attempt(self, peer: NodeId) -> None:
        self._trying.discard(peer)
        world = self._world
        if self.over or peer not in self._wanted or peer in self._up:
            return
        target = world.nodes[peer]
        if world.blocked(self._node.id, peer) or world.blocked(peer, self._node.id):
            self._try(peer, RECONNECT_MS)
            return
        if not target.alive:
            if peer not in self._told_refused:
                self._told_refused.add(peer)
                self._node.deliver(lambda: self._node.driver.peer_down(peer, True))
            self._try(peer, RECONNECT_MS)
            return
        self._told_refused.discard(peer)
        self._connections += 1
        self._up[peer] = self._connections
        incarnation = target.incarnation
        self._node.deliver(lambda: self._node.driver.peer_up(peer, incarnation))

    def reset(self, peer: NodeId) -> None:
        """Break the connection to a peer: frames under way are lost, and a new one is made."""
        if self._up.pop(peer, None) is not None:
            self._node.deliver(lambda: self._node.driver.peer_down(peer, False))
            self._try(peer, 0)
