"""The outgoing side of a link: one connection per lane, opened, used and closed together.

There are several because heartbeats must not wait behind megabytes, neither in our buffers nor in the
kernels', and small messages should not either. A bundle is one attempt; `links` decides when there is
another, and what its end means.
"""

import asyncio
from collections.abc import Callable
from typing import Protocol, cast

from ringkeep.core.protocol import limits
from ringkeep.core.protocol.effects import Lane
from ringkeep.core.protocol.types import NodeId
from ringkeep.errors import ProtocolError
from ringkeep.transport.sockets import CONNECT_S, HANDSHAKE_S, Incarnations, tune
from ringkeep.wire.handshake import Opening, OpeningReader, PeerIdentity, Welcome, hello, judge, opening


class Home(Protocol):
    """What a bundle uses of its network."""

    loop: asyncio.AbstractEventLoop
    identity: PeerIdentity
    incarnations: Incarnations


class HandshakeFailed(Exception):
    """The connection was made, but the handshake failed, so the link may not be used."""


class Bundle:
    """The connections of one attempt to link to a peer.

    `over` is done, with the reason, as soon as one of them is lost: then all are. `jam` is called when much
    is unsent on the bulk lane, and again when it is not any more.
    """

    def __init__(self, home: Home, peer: NodeId, number: int, jam: Callable[[bool], None]) -> None:
        self.home = home
        self.peer = peer
        self.number = number
        self.jam = jam
        self.over: asyncio.Future[str] = home.loop.create_future()
        self._connections: list[_Outgoing] = []
        self._transports: list[asyncio.Transport] = []

    async def open(self, addresses: list[str], port: int) -> Welcome:
        """Connect to the first of the addresses that answers, and shake hands on each lane.

        Raises OSError, TimeoutError or HandshakeFailed, with nothing left open; ConnectionRefusedError only
        if all addresses refuse.
        """
        try:
            host, answer = await self._open_first(addresses, port)
            rest = [self._shake_hands(host, port, lane) for lane in Lane if lane is not Lane.PULSE]
            for other in await asyncio.gather(*rest):
                if other.incarnation != answer.incarnation:
                    raise HandshakeFailed("its lanes were answered by two of its lives")
        except HandshakeFailed as error:
            self.end(str(error))
            raise HandshakeFailed(self.over.result()) from None  # what ended the first of them
        except BaseException:
            self.end("given up")
            raise
        self._connections.sort(key=lambda connection: connection.lane)
        self._transports = [cast(asyncio.Transport, each.transport) for each in self._connections]
        return answer

    def send(self, lane: Lane, frames: list[bytes]) -> None:
        """Write to a lane. One with too much unsent ends the link: the peer does not read."""
        transport = self._transports[lane]
        if self.over.done() or transport.is_closing():
            return
        if len(frames) == 1:
            transport.write(frames[0])
        else:
            transport.writelines(frames)
        if lane is not Lane.PULSE and transport.get_write_buffer_size() > limits.LINK_BUFFER_BYTES:
            self.end(f"more than {limits.LINK_BUFFER_BYTES} bytes are unsent")

    def end(self, reason: str) -> None:
        """Close every connection at once."""
        if not self.over.done():
            self.over.set_result(reason)
        for connection in self._connections:
            connection.abort()

    async def _open_first(self, addresses: list[str], port: int) -> tuple[str, Welcome]:
        failed: list[OSError] = []
        for host in addresses:
            try:
                return host, await self._shake_hands(host, port, Lane.PULSE)
            except OSError as error:
                failed.append(error)
        others = [error for error in failed if not isinstance(error, ConnectionError)]
        raise (others + failed)[0] if failed else OSError("the host has no address")

    async def _shake_hands(self, host: str, port: int, lane: Lane) -> Welcome:
        connection = _Outgoing(self, lane)
        self._connections.append(connection)
        try:
            async with asyncio.timeout(CONNECT_S):
                await self.home.loop.create_connection(lambda: connection, host, port)
        except BaseException:
            connection.abort()  # the attempt was given up just as it was made
            self._connections.remove(connection)
            raise
        try:
            async with asyncio.timeout(HANDSHAKE_S):
                return await connection.welcome
        except TimeoutError:
            raise HandshakeFailed(f"no answer to the handshake within {HANDSHAKE_S:g} s") from None


class _Outgoing(asyncio.Protocol):
    """One outgoing connection, from opening to loss."""

    def __init__(self, bundle: Bundle, lane: Lane) -> None:
        self.lane = lane
        self.transport: asyncio.Transport | None = None
        self.welcome: asyncio.Future[Welcome] = bundle.home.loop.create_future()
        self._bundle = bundle
        self._opening: OpeningReader | None = OpeningReader()
        self._aborted = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)
        if self._aborted:
            self.transport.abort()
            return
        tune(transport)
        self.transport.set_write_buffer_limits(high=limits.LINK_JAM_BYTES, low=limits.LINK_JAM_BYTES // 4)
        bundle = self._bundle
        self.transport.write(opening(hello(bundle.home.identity, bundle.peer, bundle.number, int(self.lane))))

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
        if self.lane is Lane.BULK:
            self._bundle.jam(True)

    def resume_writing(self) -> None:
        if self.lane is Lane.BULK:
            self._bundle.jam(False)

    def connection_lost(self, exc: Exception | None) -> None:
        self._fail(f"the connection is lost ({exc or 'closed by the peer'})")

    def abort(self) -> None:
        """Close at once, whatever is on its way."""
        self._aborted = True
        self._give_up("given up")
        if self.transport is not None:
            self.transport.abort()

    def _answered(self, got: Opening) -> None:
        home, peer = self._bundle.home, self._bundle.peer
        refusal = judge(got, home.identity, peer, home.incarnations.highest(peer))
        if refusal is not None:
            self._fail(f"handshake refused ({refusal.code}): {refusal.detail}")
            return
        assert isinstance(got, Welcome), "everything else is refused"
        self._opening = None
        if not self.welcome.done():
            self.welcome.set_result(got)

    def _fail(self, reason: str) -> None:
        """This connection has failed, and with it the link."""
        if self._aborted:
            return
        self._give_up(reason)
        self._bundle.end(reason)

    def _give_up(self, reason: str) -> None:
        """Fail the wait for an answer."""
        if not self.welcome.done():
            self.welcome.set_exception(HandshakeFailed(reason))
            self.welcome.exception()  # retrieved, because perhaps nobody waits for it
