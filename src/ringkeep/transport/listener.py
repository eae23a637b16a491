"""Incoming connections: a handshake, then frames, which are passed on as messages.

A peer has one link at a time, with one connection per lane. The first connection of a newer link replaces the
older link, of which nothing is delivered any more. Connections that have not identified themselves are
bounded: at most `Room.openings`, each for at most OPENING_S seconds, and a new one closes the oldest.
Malformed bytes end their connection, with a log line, and have no other effect.
"""

import asyncio
import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import cast

from ringkeep.allowance import TurnAllowance
from ringkeep.core.protocol.effects import Lane
from ringkeep.core.protocol.messages import Message
from ringkeep.core.protocol.types import Incarnation, NodeId
from ringkeep.errors import ProtocolError
from ringkeep.ports import NetworkEvents
from ringkeep.process import addresses_here
from ringkeep.transport.sockets import OPENING_S, Complaints, Incarnations, tune
from ringkeep.wire.codec import decode
from ringkeep.wire.framing import FrameReader
from ringkeep.wire.handshake import (
    Code,
    HandshakeRefusal,
    Hello,
    OpeningReader,
    PeerIdentity,
    answer,
    opening,
)

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Room:
    """How many connections there may be: `openings` whose handshake is not complete, the links of `peers`
    nodes, and `burst` that come at once, before those beyond the bounds are closed."""

    openings: int = 256
    peers: int = 4_096
    burst: int = 1_024


class Listener:
    """The node's peer port. `met` is called for each peer whose handshake is complete."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        identity: PeerIdentity,
        sink: NetworkEvents,
        incarnations: Incarnations,
        met: Callable[[NodeId, Incarnation], None],
        room: "Room",
    ) -> None:
        self.loop = loop
        self.identity = identity
        self.sink = sink
        self.incarnations = incarnations
        self.complaints = Complaints(loop, log)
        self.allowance = TurnAllowance(loop)
        self.met = met
        self.room = room
        self._server: asyncio.Server | None = None
        self._opening: dict[_Incoming, None] = {}  # oldest first
        self._peers: dict[NodeId, _IncomingLink] = {}

    async def start(self, host: str, port: int) -> int:
        """Accept connections; return the port (the system's choice for 0). Raises OSError if it is taken."""
        hosts = addresses_here(host)
        self._server = await self.loop.create_server(
            lambda: _Incoming(self), hosts, port, backlog=self.room.burst
        )
        return int(self._server.sockets[0].getsockname()[1])

    async def close(self) -> None:
        """Stop accepting, and close every connection without delivering what is unread."""
        server, self._server = self._server, None
        if server is not None:
            server.close()
        for connection in list(self._opening):
            connection.discard()
        for link in list(self._peers.values()):
            link.discard()
        if server is not None:
            await server.wait_closed()

    @property
    def openings(self) -> int:
        """The number of connections that have not identified themselves."""
        return len(self._opening)

    def accepted(self, connection: "_Incoming") -> None:
        """Add an unidentified connection; close the oldest one if there are too many."""
        self._opening[connection] = None
        most = self.room.openings
        if len(self._opening) > most:
            self.complaints.say(f"more than {most} connections without a handshake: the oldest is closed")
            next(iter(self._opening)).discard()

    def greeted(self, connection: "_Incoming", said: Hello) -> HandshakeRefusal | None:
        """Accept the connection as a lane of its peer's only link, or return why not."""
        node, name = NodeId(said.node_id), (said.incarnation, said.link)
        link = self._peers.get(node)
        if link is None and len(self._peers) >= self.room.peers:
            return HandshakeRefusal("full", f"{self.room.peers} nodes are connected")
        if link is not None and name < link.name:
            return HandshakeRefusal(
                Code.OLDER, f"link {said.link} is over: {link.name[1]} has taken its place"
            )
        del self._opening[connection]
        if link is not None and name > link.name:
            link.discard()
            link = None
        if link is None:
            link = self._peers[node] = _IncomingLink(name)
        replaced = link.lanes.pop(said.lane, None)
        if replaced is not None:
            replaced.discard()
        link.lanes[said.lane] = connection
        self._peers[node] = link
        self.incarnations.meet(node, Incarnation(said.incarnation))
        return None

    def ended(self, connection: "_Incoming") -> None:
        """Forget a connection that is over."""
        self._opening.pop(connection, None)
        link = self._peers.get(connection.peer)
        if link is not None and link.lanes.get(connection.lane) is connection:
            del link.lanes[connection.lane]
            if not link.lanes:
                del self._peers[connection.peer]


class _IncomingLink:
    """The connections of a peer's newest link. `name`: its incarnation, and the link's number within it."""

    def __init__(self, name: tuple[int, int]) -> None:
        self.name = name
        self.lanes: dict[int, _Incoming] = {}

    def discard(self) -> None:
        """Close all connections at once, and deliver nothing more."""
        for connection in list(self.lanes.values()):
            connection.discard()


class _Incoming(asyncio.Protocol):
    """One accepted connection.

    A Protocol, not a BufferedProtocol: its bytes are cut without another copy. Small frames, which are nearly
    all, cost 15 % more with a BufferedProtocol (measured).
    """

    def __init__(self, listener: Listener) -> None:
        self.peer = NodeId("")
        self._name = "a stranger"  # for people
        self.lane = Lane.PULSE
        self._listener = listener
        self._incarnation = Incarnation(0)
        self._opening: OpeningReader | None = OpeningReader()
        self._feed = FrameReader().feed
        self._received = listener.sink.received
        self._over = False
        self._unread = b""  # for a later turn
        self._transport: asyncio.Transport | None = None
        self._deadline: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._deadline = self._listener.loop.call_later(OPENING_S, self._late)
        self._listener.accepted(self)

    def data_received(self, data: bytes) -> None:
        if self._over:
            return  # replaced: what it still sends is dropped
        try:
            if self._opening is not None:
                said = self._opening.feed(data)
                if said is not None:
                    self._greet(said)
                return
            allowance = self._listener.allowance
            if self.lane is not Lane.PULSE:
                if self._unread or allowance.spent:
                    self._hold(data)
                    return
                allowance.spend(len(data))
            bodies = self._feed(data)
            if not bodies:
                self._listener.sink.sign_of_life(self.peer)
                return
            if self.lane is Lane.BULK:
                allowance.spend(sum(map(len, bodies)))
            messages: list[Message] = decode(bodies[0])
            for body in bodies[1:]:
                messages += decode(body)
        except ProtocolError as error:
            self._complain(str(error))
            self.discard()
            return
        self._received(self.peer, self._incarnation, messages)

    def connection_lost(self, exc: Exception | None) -> None:
        self._end()

    def _hold(self, data: bytes) -> None:
        """This turn has read enough: continue in a later one. The bytes still count as a sign of life."""
        self._listener.sink.sign_of_life(self.peer)
        if not self._unread:
            assert self._transport is not None, "data came on a connection"
            self._transport.pause_reading()
            self._listener.allowance.wait(self._go_on)
        self._unread += data

    def _go_on(self) -> None:
        data, self._unread = self._unread, b""
        if self._over or self._transport is None or self._transport.is_closing():
            return
        self._transport.resume_reading()
        self.data_received(data)

    def discard(self) -> None:
        """Close at once, and deliver nothing more."""
        self._end()
        if self._transport is not None:
            self._transport.abort()

    def _end(self) -> None:
        self._over = True
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None
        self._listener.ended(self)

    def _greet(self, said: object) -> None:
        """Answer a Hello. Raises ProtocolError if it is none."""
        if not isinstance(said, Hello):
            raise ProtocolError("a connection begins with an answer")
        if said.lane not in tuple(Lane):
            raise ProtocolError(f"there is no lane {said.lane}")
        listener = self._listener
        seen = listener.incarnations.highest(NodeId(said.node_id))
        reply = answer(said, listener.identity, seen)
        if not isinstance(reply, HandshakeRefusal):
            reply = listener.greeted(self, said) or reply
        assert self._transport is not None, "data came on a connection"
        if isinstance(reply, HandshakeRefusal):
            self._complain(f"handshake refused ({reply.code}): {reply.detail}")
            self._transport.write(opening(reply))
            self._end()
            self._transport.close()
            return
        assert self._deadline is not None, "the deadline runs until the handshake is complete"
        self._deadline.cancel()
        self._deadline = None
        self._opening = None
        self.peer, self._incarnation = NodeId(said.node_id), Incarnation(said.incarnation)
        self._name = f"node {said.name}"
        self.lane = Lane(said.lane)
        tune(self._transport)
        self._transport.write(opening(reply))
        listener.met(self.peer, self._incarnation)

    def _late(self) -> None:
        self._deadline = None
        self._complain(f"no handshake within {OPENING_S:g} s")
        self.discard()

    def _complain(self, text: str) -> None:
        address = self._transport.get_extra_info("peername") if self._transport is not None else None
        self._listener.complaints.say(f"connection of {self._name} at {address} is closed: {text}")
