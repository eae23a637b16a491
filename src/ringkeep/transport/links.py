"""The network of a node: one link per peer, on which everything for it is sent.

Peers send on the connections that they make (`listener`). A lost link is tried again at once, then with
growing pauses, so a killed process is known as refused within milliseconds. An attempt without an answer is
given up soon, because the next one may succeed: a network that drops packets heals without a signal. Knows
nothing of what messages mean, nor of suspicion.
"""

import asyncio
import ipaddress
import logging
import random
import socket
from collections.abc import Mapping
from enum import Enum
from typing import Final

from ringkeep.core.protocol import limits
from ringkeep.core.protocol.effects import Lane
from ringkeep.core.protocol.messages import Message
from ringkeep.core.protocol.types import Incarnation, NodeId
from ringkeep.ports import NetworkEvents
from ringkeep.transport.listener import Listener, Room
from ringkeep.transport.outgoing import Bundle, HandshakeFailed
from ringkeep.transport.sockets import CONNECT_S, Incarnations
from ringkeep.wire.codec import Encoder
from ringkeep.wire.framing import BODY_BYTES
from ringkeep.wire.handshake import PeerIdentity, Welcome

FIRST_PAUSE_S: Final = 0.020  # after the second failure; the first is followed by a new attempt at once
LONGEST_PAUSE_S: Final = 0.250
STEADY_S: Final = 1.0  # a link that lasted so long starts with short pauses again

log = logging.getLogger(__name__)


class PeerNetwork:
    """The Network port over TCP. Every method and every event is on the loop's thread."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        identity: PeerIdentity,
        sink: NetworkEvents,
        room: Room | None = None,
    ) -> None:
        self.loop = loop
        self.identity = identity
        self.sink = sink
        self.incarnations = Incarnations()
        self.listener = Listener(loop, identity, sink, self.incarnations, self._met, room or Room())
        self.links_made = 0  # attempts included: each has its own number
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

    def send(self, peer: NodeId, lane: Lane, messages: list[Message]) -> None:
        """Send in order, within the lane. Dropped silently if there is no link; lost with the link."""
        link = self._links.get(peer)
        bundle = link.bundle if link is not None else None
        if bundle is None:
            return
        encoder = self._encoder
        remembers = encoder.holds
        most = limits.BULK_FRAME_BYTES if lane is Lane.BULK else BODY_BYTES
        frames = encoder.encode(messages, most)
        if encoder.holds and not remembers:  # for the other backups, until this turn of the loop is over
            self.loop.call_soon(encoder.forget)
        bundle.send(lane, frames)

    def renew(self, peer: NodeId) -> None:
        """Close the link to a peer, if it is up, and make it again at once."""
        link = self._links.get(peer)
        if link is not None:
            link.renew()

    def troubles(self) -> dict[NodeId, str]:
        """Return, for each peer without a link, why the last attempt failed, and where; for people."""
        return {
            peer: f"{link.address}: {link.explained}"
            for peer, link in self._links.items()
            if link.bundle is None and link.explained
        }

    def _met(self, peer: NodeId, incarnation: Incarnation) -> None:
        """A peer has connected: this life of it is alive, and older ones are not."""
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
        self.bundle: Bundle | None = None  # while the link is up
        self._incarnation = Incarnation(0)
        self._shown = address  # for people: with the name, once it is known
        self._reported = _Reported.NOTHING
        self.explained = ""  # why it is down, until it is up
        self._failures = 0
        self._stopped = False
        self._called = asyncio.Event()
        self._task = network.loop.create_task(self._keep(), name=f"link to {address}")

    def stop(self) -> None:
        """Close for ever. No event follows."""
        self._stopped = True
        self._end("not wanted any more")
        self._task.cancel()

    def succeed(self, old: "_Link") -> None:
        """Take the place of the link to the peer's former address, which is lost."""
        old.stop()
        self._reported = old._reported
        self.network.loop.call_soon(self._down, False, f"it moved here from {old.address}")

    def peer_lives(self, incarnation: Incarnation) -> None:
        """The peer has connected to us: end a link to an older life, or a pause before the next attempt."""
        if self.bundle is None:
            self._called.set()
        elif incarnation > self._incarnation:
            self._end("a newer life of the peer has called")

    def renew(self) -> None:
        """Close the link if it is up, and make it again at once. Otherwise it is being made already."""
        self._failures = 0
        self._end("the peer is suspected: the link is made anew")

    def _end(self, reason: str) -> None:
        """End the link, if it is up; `_keep` does the rest."""
        bundle, self.bundle = self.bundle, None
        if bundle is not None:
            bundle.end(reason)

    def _up(self, bundle: Bundle, answer: Welcome) -> None:
        """The handshakes are complete."""
        self.bundle = bundle
        self._incarnation = Incarnation(answer.incarnation)
        self.network.incarnations.meet(self.peer, self._incarnation)
        self._reported = _Reported.UP
        self.explained = ""
        self._shown = f"{answer.name} ({self.address})"
        log.info("link to %s is up: incarnation %d", self._shown, answer.incarnation)
        self.network.sink.peer_up(self.peer, self._incarnation)

    def _down(self, refused: bool, reason: str) -> None:
        """The link is lost, or the attempt failed. Reports each change once."""
        if self._stopped:
            return
        self.bundle = None
        if reason != self.explained:  # so that not every attempt logs a line
            self.explained = reason
            log.warning("link to %s is down: %s", self._shown, reason)
        if self._reported is _Reported.REFUSED or (self._reported is _Reported.DOWN and not refused):
            return
        self._reported = _Reported.REFUSED if refused else _Reported.DOWN
        self.network.sink.peer_down(self.peer, refused)

    def _jam(self, bundle: Bundle, jammed: bool) -> None:
        """Report it in a turn of its own, because this may be called from within a call."""
        self.network.loop.call_soon(self._tell_jam, bundle, jammed)

    def _tell_jam(self, bundle: Bundle, jammed: bool) -> None:
        if self.bundle is bundle:
            self.network.sink.jam(self.peer, jammed)

    async def _keep(self) -> None:
        while True:
            await self._attempt()
            await self._pause()

    async def _attempt(self) -> None:
        """Connect, and return when the link is over or could not be made."""
        network = self.network
        network.links_made += 1
        bundle = Bundle(network, self.peer, network.links_made, lambda jammed: self._jam(bundle, jammed))
        try:
            answer = await bundle.open(*await self._resolve())
        except (ConnectionRefusedError, ConnectionResetError) as error:
            self._down(True, f"nobody listens there ({error})")
        except TimeoutError:
            self._down(False, f"no connection within {CONNECT_S:g} s")
        except HandshakeFailed as error:
            self._down(False, str(error))
        except (OSError, ValueError) as error:
            self._down(False, f"no connection: {error}")
        else:
            await self._serve(bundle, answer)

    async def _serve(self, bundle: Bundle, answer: Welcome) -> None:
        """Be up until the link is over."""
        began = self.network.loop.time()
        if not bundle.over.done():
            self._up(bundle, answer)
        try:
            reason = await bundle.over
        finally:
            bundle.end("not wanted any more")  # if this task was cancelled
        if self.network.loop.time() - began >= STEADY_S:
            self._failures = 0
        self._down(False, reason)

    async def _resolve(self) -> tuple[list[str], int]:
        """Return the addresses that the host's name stands for, and the port. Raises OSError, ValueError."""
        host, colon, port = self.address.rpartition(":")
        if not colon:
            raise ValueError(f"{self.address!r} is not HOST:PORT")
        host = host.strip("[]")
        try:
            ipaddress.ip_address(host)
        except ValueError:
            found = await self.network.loop.getaddrinfo(host, int(port), type=socket.SOCK_STREAM)
            return [str(sockaddr[0]) for *_, sockaddr in found], int(port)
        return [host], int(port)

    async def _pause(self) -> None:
        """Wait before the next attempt: not at all, then longer and longer, unless the peer connects
        meanwhile."""
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
