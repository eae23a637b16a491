"""The simulated network: connections that keep order, and lose what is in flight when they break. A link has
lanes, each with its own order. A cut is silent: what was sent into it is sent again after pauses that double,
as TCP does. So a link heals long after the network has, unless it is made again.
"""

from collections import deque
from collections.abc import Callable, Mapping
from functools import partial
from typing import Protocol

from ringkeep.core.protocol.effects import Lane
from ringkeep.core.protocol.messages import Message
from ringkeep.core.protocol.types import Incarnation, Millis, NodeId
from ringkeep.driver.turns import Driver
from ringkeep.sim.world.environment import Environment
from ringkeep.sim.world.events import Call
from ringkeep.wire.codec import decode, encode
from ringkeep.wire.framing import HEADER_BYTES

RECONNECT_MS = 30
JAM_FRAMES = 3
OUTLIVES_MS = 2_500  # in some worlds, what a process sent may arrive so long after its end
FIRST_REPEAT_MS = 200  # of TCP: the first retransmission


class Peer(Protocol):
    """A machine as the network knows it."""

    id: NodeId
    incarnation: Incarnation
    alive: bool
    driver: Driver

    def deliver(self, call: Call) -> None: ...


class _LaneQueue:
    """The frames in flight to a peer on one lane, each with time of arrival and connection."""

    __slots__ = ("delayed", "frames", "jammed", "repeat_ms")

    def __init__(self) -> None:
        self.jammed = False
        self.delayed = False  # once, after its sender has ended
        self.frames: deque[tuple[Millis, int, list[Message]]] = deque()
        self.repeat_ms: Millis = FIRST_REPEAT_MS


class SimNetwork:
    """The network port of one life of one node. `on_send`: called for each frame before it leaves. A
    connection is a number: frames of an older one are discarded.
    """

    def __init__(
        self,
        env: Environment,
        machines: Mapping[NodeId, Peer],
        node: Peer,
        on_send: Callable[[list[Message]], None],
    ) -> None:
        self._env = env
        self._machines = machines
        self._node = node
        self._on_send = on_send
        self._wanted: dict[NodeId, str] = {}
        self._up: dict[NodeId, int] = {}  # peer -> connection
        self._trying: set[NodeId] = set()
        self._told_refused: set[NodeId] = set()
        self._queues: dict[tuple[NodeId, Lane], _LaneQueue] = {}
        self._connections = 0
        self._me = node.id, node.incarnation
        self._reached: dict[NodeId, Incarnation] = {}  # which life of a peer the newest connection is to
        self.over = False

    # --- the port -------------------------------------------------------------------------------------

    def set_peers(self, peers: Mapping[NodeId, str]) -> None:
        self._wanted = dict(peers)
        for peer in [peer for peer in self._up if peer not in peers]:
            del self._up[peer]
        for peer in self._wanted:
            if peer not in self._up and peer not in self._trying:
                self._try(peer, 0)

    def send(self, peer: NodeId, lane: Lane, messages: list[Message]) -> None:
        env = self._env
        self._on_send(messages)
        if env.in_bytes:  # through the codec, as in production
            messages = [said for each in encode(messages) for said in decode(each[HEADER_BYTES:])]
        connection = self._up.get(peer)
        if connection is None:
            return
        when = env.events.now + env.delay()
        queue = self._queues.get((peer, lane))
        if queue is None:
            queue = self._queues[peer, lane] = _LaneQueue()
        queue.frames.append((when, connection, messages))
        if len(queue.frames) == 1:
            env.events.at(when, partial(self._arrive, peer, queue))
        if lane is Lane.BULK and len(queue.frames) > JAM_FRAMES and not queue.jammed:
            queue.jammed = True
            self._node.deliver(partial(self._tell_jam, peer, connection, True))

    def wants(self, peer: NodeId) -> bool:
        """Return whether a link to that peer is wanted."""
        return peer in self._wanted

    def renew(self, peer: NodeId) -> None:
        self.reset(peer)

    def _tell_jam(self, peer: NodeId, connection: int, jammed: bool) -> None:
        if self._up.get(peer) == connection:
            self._node.driver.jam(peer, jammed)

    # --- connections ----------------------------------------------------------------------------------

    def _arrive(self, peer: NodeId, queue: _LaneQueue) -> None:
        """Deliver the first frames in flight to a peer: a lane keeps order, so a delayed frame delays those
        behind it."""
        env, frames = self._env, queue.frames
        now, up = env.events.now, self._up.get(peer)
        if self.over and frames and not queue.delayed and self._is_read(peer):
            queue.delayed = True
            env.events.after(env.draw(0, OUTLIVES_MS), partial(self._arrive, peer, queue))
            return
        while frames:
            when, connection, messages = frames[0]
            if connection != up or (self.over and not self._is_read(peer)):
                frames.popleft()  # lost with its connection
                queue.repeat_ms = FIRST_REPEAT_MS
            elif when > now:
                env.events.at(when, partial(self._arrive, peer, queue))
                return
            elif env.blocked(self._me[0], peer):  # retransmitted after longer and longer pauses
                env.events.at(now + queue.repeat_ms, partial(self._arrive, peer, queue))
                queue.repeat_ms *= 2
                return
            else:
                frames.popleft()
                queue.repeat_ms = FIRST_REPEAT_MS
                target = self._machines.get(peer)
                if target is not None and target.alive:
                    if self.over:
                        env.count("sender_outlived")
                    target.deliver(partial(target.driver.received, *self._me, messages))
        if queue.jammed and up is not None and not self.over:
            queue.jammed = False
            self._node.deliver(partial(self._tell_jam, peer, up, False))

    def _is_read(self, peer: NodeId) -> bool:
        """Whether a peer still reads what an ended process had sent. In worlds where much arrives late it
        does, until the next process there has a connection to it.
        """
        target, (me, incarnation) = self._machines.get(peer), self._me
        if not self._env.stragglers or target is None or not target.alive:
            return False
        return self._reached[peer] == target.incarnation and self._env.linked[me, peer] == incarnation

    def _try(self, peer: NodeId, delay: int) -> None:
        self._trying.add(peer)
        self._env.events.after(delay + self._env.random.randint(1, 3), lambda: self._attempt(peer))

    def _attempt(self, peer: NodeId) -> None:
        self._trying.discard(peer)
        env = self._env
        if self.over or peer not in self._wanted or peer in self._up:
            return
        target = self._machines.get(peer)
        if target is None:  # another node answers at its address, which says nothing about the peer
            self._try(peer, RECONNECT_MS)
            return
        if env.blocked(self._node.id, peer) or env.blocked(peer, self._node.id):
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
        for name in [name for name in self._queues if name[0] == peer]:
            del self._queues[name]  # frames in flight are lost with the older connection
        incarnation = self._reached[peer] = target.incarnation
        env.linked[self._me[0], peer] = self._me[1]
        self._node.deliver(lambda: self._node.driver.peer_up(peer, incarnation))

    def reset(self, peer: NodeId) -> None:
        """Break the connection to a peer: frames in flight are lost, and a new one is made."""
        if self._up.pop(peer, None) is not None:
            self._node.deliver(lambda: self._node.driver.peer_down(peer, False))
            self._try(peer, 0)
