"""The network of a node: one outgoing connection per peer, on which everything for it is sent.

What is heard comes on the connections that the peers make (`listener`). A link that is lost is tried again at
once, then with growing pauses: so a killed process is known as refused within milliseconds. Knows nothing of
what messages mean, nor whom to suspect.
"""

import asyncio
import ipaddress
import logging
import random
import socket
from collections.abc import Mapping
from enum import Enum
from typing import Final, cast

from ringkeep.core import limits
from ringkeep.core.messages import Message
from ringkeep.core.types import Incarnation, NodeId
from ringkeep.errors import ProtocolError
from ringkeep.ports import NetworkEvents
from ringkeep.transport.listener import Listener
from ringkeep.transport.sockets import HANDSHAKE_S, Incarnations, tune
from ringkeep.wire.codec import Encoder
from ringkeep.wire.handshake import Identity, Opening, OpeningReader, Welcome, hello, judge, opening

CONNECT_S: Final = 1.0
FIRST_PAUSE_S: Final = 0.020  # after the second failure; the first is followed by a new attempt at once
LONGEST_PAUSE_S: Final = 0.500
STEADY_S: Final = 1.0  # a link that held so long begins anew with its pauses

log = logging.getLogger(__name__)


class PeerNetwork:
    """The Network port over TCP. Every method and every event is on the loop's thread."""

    def __init__(self, loop: asyncio.AbstractEventLoop, identity: Identity, sink: NetworkEvents) -> None:
        self.loop = loop
        self.identity = identity
        self.sink = sink
        self.incarnations = Incarnations()
        self.listener = Listener(loop, identity, sink, self.incarnations, self._met)
        self._links: dict[NodeId, _Link] = {}
        self._encoder = Encoder()

    async def listen(self, host: str, port: int) -> int:
        """Accept peers at this address; return the port. Raises OSError if it is taken."""
        return await self.listener.start(host, port)

    async def close(self) -> None:
        """Close every connection. No event follows."""
        self.set_peers({})
        await self.listener.close()

    def set_peers(self, peers: Mapping[NodeId, str]) -> None:
        """Keep a link to each of these nodes (id -> "HOST:PORT"), and to no other; never to this node itself.

        Leaving a peer out closes its link without an event. A new address is a new link: the old one is lost.
        """
        for peer in [peer for peer in self._links if peer not in peers]:
            self._links.pop(peer).stop()
        for peer, address in peers.items():
            old = self._links.get(peer)
            if peer == self.identity.node_id or (old is not None and old.address == address):
                continue
            new = self._links[peer] = _Link(self, peer, address)
            if old is not None:
                new.succeed(old)

    def send(self, peer: NodeId, messages: list[Message]) -> None:
        """Send in order, in one write. Dropped silently if there is no link; lost with the link."""
        link = self._links.get(peer)
        if link is None:
            return
        transport = link.transport
        if transport is None or transport.is_closing():
            return
        encoder = self._encoder
        if not encoder.holds:
            frames = encoder.encode(messages)
            if encoder.holds:  # for the other backups, until this turn of the loop is over
                self.loop.call_soon(encoder.forget)
        else:
            frames = encoder.encode(messages)
        if len(frames) == 1:
            transport.write(frames[0])
        else:
            transport.writelines(frames)

    def troubles(self) -> dict[NodeId, str]:
        """Say of every peer to which there is no link why the last attempt failed, and where, for people."""
        return {
            peer: f"{link.address}: {link.explained}"
            for peer, link in self._links.items()
            if link.transport is None and link.explained
        }

    def _met(self, peer: NodeId, incarnation: Incarnation) -> None:
        """A peer has called: so it lives, and an older life of it does not."""
        link = self._links.get(peer)
        if link is not None:
            link.peer_lives(incarnation)


class _Reported(Enum):
    NOTHING = 0
    UP = 1
    DOWN = 2
    REFUSED = 3


class _Link:
    """One peer at one address: a task that connects, waits for the loss, and connects again."""

    def __init__(self, network: PeerNetwork, peer: NodeId, address: str) -> None:
        self.network = network
        self.peer = peer
        self.address = address
        self.transport: asyncio.Transport | None = None  # while the link is up
        self._incarnation = Incarnation(0)
        self._connection: _Outgoing | None = None
        self._reported = _Reported.NOTHING
        self.explained = ""  # why it is down, until it is up
        self._failures = 0
        self._stopped = False
        self._up_since = 0.0
        self._called = asyncio.Event()
        self._task = network.loop.create_task(self._keep(), name=f"link to {address}")

    def stop(self) -> None:
        """Close for ever. No event follows."""
        self._stopped = True
        self.transport = None
        self._task.cancel()
        if self._connection is not None:
            self._connection.abort()

    def succeed(self, old: "_Link") -> None:
        """Take the place of the link to the peer's former address, which is lost."""
        old.stop()
        self._reported = old._reported
        self.network.loop.call_soon(self.down, False, f"it moved here from {old.address}")

    def peer_lives(self, incarnation: Incarnation) -> None:
        """It has called us: end a link to an older life, or a pause before the next attempt."""
        if self.transport is None:
            self._called.set()
        elif incarnation > self._incarnation and self._connection is not None:
            self._connection.abort()

    def up(self, transport: asyncio.Transport, answer: Welcome) -> None:
        """The handshake is complete."""
        if self._stopped:
            return
        self.transport = transport
        self._incarnation = Incarnation(answer.incarnation)
        self.network.incarnations.meet(self.peer, self._incarnation)
        self._reported = _Reported.UP
        self.explained = ""
        self._up_since = self.network.loop.time()
        log.info("link to %s (%s) is up: incarnation %d", answer.name, self.address, answer.incarnation)
        self.network.sink.peer_up(self.peer, self._incarnation)

    def down(self, refused: bool, reason: str) -> None:
        """The connection is lost, or the attempt failed. Says each change once."""
        if self._stopped:
            return
        if self.transport is not None and self.network.loop.time() - self._up_since >= STEADY_S:
            self._failures = 0
        self.transport = None
        if reason != self.explained:  # not one line per attempt
            self.explained = reason
            log.warning("link to %s (%s) is down: %s", self.peer, self.address, reason)
        if self._reported is _Reported.REFUSED or (self._reported is _Reported.DOWN and not refused):
            return
        self._reported = _Reported.REFUSED if refused else _Reported.DOWN
        self.network.sink.peer_down(self.peer, refused)

    async def _keep(self) -> None:
        while True:
            await self._attempt()
            await self._pause()

    async def _attempt(self) -> None:
        """Connect, and return when the connection is over or could not be made."""
        try:
            async with asyncio.timeout(CONNECT_S):
                self._connection = connection = await self._connect()
        except (ConnectionRefusedError, ConnectionResetError) as error:
            self.down(True, f"nobody listens there ({error})")
        except TimeoutError:
            self.down(False, f"no connection within {CONNECT_S:g} s")
        except (OSError, ValueError) as error:
            self.down(False, f"no connection: {error}")
        else:
            await connection.over
            self._connection = None

    async def _connect(self) -> "_Outgoing":
        """Connect to the first of the host's addresses that answers.

        Raises OSError: that the connection was refused only if all its addresses refuse.
        """
        host, colon, port = self.address.rpartition(":")
        if not colon:
            raise ValueError(f"{self.address!r} is not HOST:PORT")
        host = host.strip("[]")
        failed: list[OSError] = []
        for each in await self._resolve(host, int(port)):
            try:
                return await self._connect_to(each, int(port))
            except OSError as error:
                failed.append(error)
        others = [error for error in failed if not isinstance(error, ConnectionError)]
        raise (others + failed)[0] if failed else OSError(f"{host!r} has no address")

    async def _resolve(self, host: str, port: int) -> list[str]:
        try:
            ipaddress.ip_address(host)
        except ValueError:
            found = await self.network.loop.getaddrinfo(host, port, type=socket.SOCK_STREAM)
            return [str(sockaddr[0]) for *_, sockaddr in found]
        return [host]

    async def _connect_to(self, host: str, port: int) -> "_Outgoing":
        connection = _Outgoing(self)
        try:
            await self.network.loop.create_connection(lambda: connection, host, port)
        except BaseException:
            connection.abort()  # given up at the moment at which it was made
            raise
        return connection

    async def _pause(self) -> None:
        """Wait before the next attempt: not at all, then ever longer, unless the peer calls meanwhile."""
        failures = self._failures
        self._failures += 1
        if failures:
            pause = min(LONGEST_PAUSE_S, FIRST_PAUSE_S * 2 ** min(failures - 1, 10))
            try:
                async with asyncio.timeout(pause * random.uniform(0.75, 1.0)):
                    await self._called.wait()
            except TimeoutError:
                pass
        self._called.clear()


class _Outgoing(asyncio.Protocol):
    """One outgoing connection, from its making to its loss."""

    def __init__(self, link: _Link) -> None:
        self.over: asyncio.Future[None] = link.network.loop.create_future()
        self._link = link
        self._opening: OpeningReader | None = OpeningReader()
        self._transport: asyncio.Transport | None = None
        self._deadline: asyncio.TimerHandle | None = None
        self._aborted = False
        self._reason = ""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        link = self._link
        self._transport = cast(asyncio.Transport, transport)
        if self._aborted:
            self._transport.abort()
            return
        tune(transport)
        self._transport.set_write_buffer_limits(high=limits.LINK_BUFFER_BYTES)
        self._deadline = link.network.loop.call_later(HANDSHAKE_S, self._late)
        self._transport.write(opening(hello(link.network.identity, link.peer)))

    def data_received(self, data: bytes) -> None:
        if self._opening is None:
            self._fail("it speaks on the connection that only hears")
            return
        try:
            got = self._opening.feed(data)
        except ProtocolError as error:
            self._fail(str(error))
            return
        if got is not None:
            self._answered(got)

    def pause_writing(self) -> None:
        """The buffer is past its bound: the peer does not read. It gets a new connection instead."""
        self._fail(f"more than {limits.LINK_BUFFER_BYTES} bytes are unsent")

    def connection_lost(self, exc: Exception | None) -> None:
        self._end_deadline()
        self._link.down(False, self._reason or f"the connection is lost ({exc or 'closed by the peer'})")
        if not self.over.done():
            self.over.set_result(None)

    def abort(self) -> None:
        """Close at once; connection_lost follows if it was made."""
        self._aborted = True
        if self._transport is not None:
            self._transport.abort()

    def _answered(self, got: Opening) -> None:
        link = self._link
        identity, seen = link.network.identity, link.network.incarnations.highest(link.peer)
        refusal = judge(got, identity, link.peer, seen)
        if refusal is not None:
            self._fail(f"handshake refused ({refusal.code}): {refusal.detail}")
            return
        assert isinstance(got, Welcome), "everything else is refused"
        assert self._transport is not None, "data came on a connection"
        self._opening = None
        self._end_deadline()
        link.up(self._transport, got)

    def _late(self) -> None:
        self._fail(f"no answer to the handshake within {HANDSHAKE_S:g} s")

    def _fail(self, reason: str) -> None:
        if not self._reason:
            self._reason = reason
        self.abort()

    def _end_deadline(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None
