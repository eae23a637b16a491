"""The simulated network: connections that keep order, and lose what is under way when they break."""

from collections import deque
from collections.abc import Mapping
from functools import partial
from typing import TYPE_CHECKING

from ringkeep.core.messages import Message
from ringkeep.core.types import Millis, NodeId
from ringkeep.wire.codec import decode, encode
from ringkeep.wire.framing import HEADER_BYTES

if TYPE_CHECKING:
    from ringkeep.sim.machine import SimNode
    from ringkeep.sim.world import World

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
        self._lines: dict[NodeId, deque[tuple[Millis, int, list[Message]]]] = {}  # under way to each peer
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
        world = self._world
        world.invariants.on_send(self._node, messages)
        world.traps.on_send(self._node, messages)
        if world.in_bytes:  # as production does it: what is said is what can be written down and read again
            messages = [said for each in encode(messages) for said in decode(each[HEADER_BYTES:])]
        connection = self._up.get(peer)
        if connection is None:
            return
        when = world.events.now + world.delay(self._node.id, peer)
        line = self._lines.get(peer)
        if line is None:
            line = self._lines[peer] = deque()
        line.append((when, connection, messages))
        if len(line) == 1:
            world.events.at(when, partial(self._arrive, peer))

    # --- connections ----------------------------------------------------------------------------------

    def _arrive(self, peer: NodeId) -> None:
        """Deliver the first frames under way to a peer: one connection keeps order, whatever holds a frame
        up."""
        world, line = self._world, self._lines[peer]
        now, up = world.events.now, self._up.get(peer)
        while line:
            when, connection, messages = line[0]
            if self.over or connection != up:
                line.popleft()  # lost with its connection
            elif when > now:
                world.events.at(when, partial(self._arrive, peer))
                return
            elif world.blocked(self._node.id, peer):  # sent again by the transport, until it gives up
                world.events.at(now + RECONNECT_MS, partial(self._arrive, peer))
                return
            else:
                line.popleft()
                target = world.nodes.get(peer)
                if target is not None and target.alive:
                    me, incarnation = self._node.id, self._node.incarnation
                    target.deliver(partial(target.driver.received, me, incarnation, messages))

    def _try(self, peer: NodeId, delay: int) -> None:
        self._trying.add(peer)
        self._world.events.after(delay + self._world.random.randint(1, 3), lambda: self._attempt(peer))

    def _attempt(self, peer: NodeId) -> None:
        self._trying.discard(peer)
        world = self._world
        if self.over or peer not in self._wanted or peer in self._up:
            return
        target = world.nodes.get(peer)
        if target is None:  # another node answers at its address, which is no sign of anything
            self._try(peer, RECONNECT_MS)
            return
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
