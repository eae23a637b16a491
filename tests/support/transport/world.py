"""What the network's tests share: nodes with real networks in one event loop, connections made by hand."""

import asyncio
import contextlib
import inspect
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from typing import Any

import pytest
import uvloop
from tests.support.wait import PATIENCE_S, until_async

from ringkeep.core.protocol.effects import Lane
from ringkeep.core.protocol.hot_messages import Acks
from ringkeep.core.protocol.messages import Message
from ringkeep.core.protocol.types import Incarnation, NodeId
from ringkeep.transport.links import PeerNetwork
from ringkeep.wire.handshake import Hello, Opening, OpeningReader, PeerIdentity, Welcome, hello, opening

A, B, C = (NodeId(letter * 32) for letter in "abc")


@dataclass
class Recorder:
    """What one node's network gave back, in order."""

    links: list[tuple[Any, ...]] = field(default_factory=list)
    jams: list[bool] = field(default_factory=list)
    parts: int = 0  # how often something came that made no whole message
    heard: list[tuple[NodeId, int, Message]] = field(default_factory=list)

    def peer_up(self, peer: NodeId, incarnation: Incarnation) -> None:
        self.links.append(("up", peer, incarnation))

    def peer_down(self, peer: NodeId, refused: bool) -> None:
        self.links.append(("refused" if refused else "down", peer))

    def jam(self, peer: NodeId, jammed: bool) -> None:
        self.jams.append(jammed)

    def sign_of_life(self, peer: NodeId) -> None:
        self.parts += 1

    def received(self, peer: NodeId, incarnation: Incarnation, messages: list[Message]) -> None:
        self.heard += [(peer, incarnation, message) for message in messages]

    def numbers(self) -> list[int]:
        """The first number of each message heard (see `note`)."""
        return [message.items[0] for _, _, message in self.heard if isinstance(message, Acks)]


def note(number: int) -> Message:
    return Acks([number, 0, 0])


@dataclass
class Node:
    identity: PeerIdentity
    network: PeerNetwork
    events: Recorder
    port: int

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"

    @property
    def id(self) -> NodeId:
        return self.identity.node_id

    def meet(self, *others: "Node") -> None:
        self.network.set_peers({other.id: other.address for other in others})

    def send(self, other: "Node", *messages: Message, lane: Lane = Lane.MAIN) -> None:
        self.network.send(other.id, lane, list(messages))


class World:
    """Nodes in one event loop, closed at the end."""

    def __init__(self) -> None:
        self.nodes: list[Node] = []

    async def start(
        self,
        node: NodeId,
        incarnation: int = 1,
        *,
        cluster: str = "test",
        cluster_id: str = "",
        port: int = 0,
    ) -> Node:
        identity = PeerIdentity(cluster, cluster_id, node, Incarnation(incarnation), f"node-{node[0]}")
        events = Recorder()
        network = PeerNetwork(asyncio.get_running_loop(), identity, events)
        made = Node(identity, network, events, await network.listen("127.0.0.1", port))
        self.nodes.append(made)
        return made

    async def pair(self) -> tuple[Node, Node]:
        """Two nodes whose links to each other are up."""
        a, b = await self.start(A), await self.start(B)
        a.meet(b)
        b.meet(a)
        await self.until(lambda: bool(a.events.links and b.events.links), "both links")
        return a, b

    async def until(self, condition: Callable[[], bool], what: str, limit_s: float = PATIENCE_S) -> None:
        def what_and_links() -> str:
            links = {node.id[0]: node.events.links for node in self.nodes}
            return f"{what}; links: {links}"

        await until_async(condition, what_and_links, limit_s)

    async def close(self) -> None:
        for node in self.nodes:
            await node.network.close()


def on_both_loops(scenario: Callable[..., Coroutine[Any, Any, None]]) -> Callable[..., None]:
    """Make a test of a scenario: it gets a World, in a new loop of either kind.

    Fails also on whatever the loop's own exception handler was told.
    """

    def play(loop: str, **parameters: Any) -> None:
        unhandled: list[dict[str, Any]] = []

        async def main() -> None:
            asyncio.get_running_loop().set_exception_handler(lambda _, context: unhandled.append(context))
            world = World()
            try:
                await scenario(world, **parameters)
            finally:
                await world.close()

        with asyncio.Runner(loop_factory=uvloop.new_event_loop if loop == "uvloop" else None) as runner:
            runner.run(main())
        assert not unhandled

    play.__name__, play.__doc__, play.__module__ = scenario.__name__, scenario.__doc__, scenario.__module__
    own = [each for name, each in inspect.signature(scenario).parameters.items() if name != "world"]
    loop = inspect.Parameter("loop", inspect.Parameter.POSITIONAL_OR_KEYWORD)
    play.__signature__ = inspect.Signature([loop, *own])  # type: ignore[attr-defined]  # what pytest looks at
    both: Callable[..., None] = pytest.mark.parametrize("loop", ["uvloop", "asyncio"])(play)
    return both


class Raw:
    """A connection made by hand."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    @classmethod
    async def to(cls, node: Node) -> "Raw":
        return cls(*await asyncio.open_connection("127.0.0.1", node.port))

    @classmethod
    async def as_peer(
        cls, node: Node, peer: NodeId = B, incarnation: int = 1, link: int = 1, lane: Lane = Lane.MAIN
    ) -> "Raw":
        """Connect and shake hands."""
        raw = await cls.to(node)
        raw.writer.write(opening(said(node, peer, incarnation, link, lane)))
        assert isinstance(await raw.answer(), Welcome)
        return raw

    async def answer(self) -> Opening:
        reader = OpeningReader()
        async with asyncio.timeout(5):
            while True:
                data = await self.reader.read(4_096)
                assert data, "closed without an answer"
                got = reader.feed(data)
                if got is not None:
                    return got

    async def closed(self) -> None:
        """Wait until the other side ends the connection."""
        with contextlib.suppress(ConnectionError):
            async with asyncio.timeout(5):
                while await self.reader.read(65_536):
                    pass
        self.writer.close()


def said(node: Node, peer: NodeId = B, incarnation: int = 1, link: int = 1, lane: Lane = Lane.MAIN) -> Hello:
    return hello(PeerIdentity("test", "", peer, Incarnation(incarnation)), node.id, link, lane)
