"""The handshake, the first bytes of a connection: sender, receiver and version.

Caller: MAGIC, then a frame with Hello. Answer: MAGIC, then a frame with Welcome or Refusal; after a Refusal
the connection ends. The body is the frame format, a u8 kind, and a msgpack array; newer nodes may append
fields, which older ones skip. Knows nothing of sockets or time: the transport keeps the deadlines.
"""

from dataclasses import dataclass
from enum import StrEnum
from typing import Annotated, Final

import msgspec

from ringkeep.core.protocol.types import Incarnation, NodeId
from ringkeep.errors import ProtocolError
from ringkeep.wire.framing import FORMAT, FORMAT_BYTE, FrameReader, frame

MAGIC: Final = b"RINGKEEP"
PROTOCOL_LOW: Final = 1
PROTOCOL_HIGH: Final = 1
HANDSHAKE_BYTES: Final = 4_096  # longest body before the other side is known

_HELLO, _WELCOME, _REFUSAL = 1, 2, 3

_Text = Annotated[str, msgspec.Meta(max_length=255)]
_Number = Annotated[int, msgspec.Meta(ge=0, le=2**32 - 1)]


class Role(StrEnum):
    """Who calls. Clients are refused for now; the role is named from the first version on."""

    NODE = "node"
    CLIENT = "client"


class Code(StrEnum):
    """Why a handshake was refused."""

    CLUSTER = "cluster"
    CLUSTER_ID = "cluster-id"
    PROTOCOL = "protocol"
    ROLE = "role"
    WRONG_NODE = "wrong-node"
    SELF = "self"
    INCARNATION = "incarnation"
    OLDER = "older"
    MALFORMED = "malformed"


@dataclass(slots=True)
class PeerIdentity:
    """This process, as it names itself; read at each handshake. `cluster_id` is "" while forming."""

    cluster: str
    cluster_id: str
    node_id: NodeId
    incarnation: Incarnation
    name: str = ""
    software: str = ""
    protocol_low: int = PROTOCOL_LOW
    protocol_high: int = PROTOCOL_HIGH


class Hello(msgspec.Struct, array_like=True, frozen=True):
    """The caller's message. `expected` is the node id that it wants to reach.

    `link` counts the caller's links within its life; a link is one connection per `lane`.
    """

    cluster: _Text
    cluster_id: _Text
    protocol_low: _Number
    protocol_high: _Number
    role: _Text
    node_id: _Text
    incarnation: _Number
    name: _Text
    expected: _Text
    software: _Text
    link: _Number
    lane: _Number


class Welcome(msgspec.Struct, array_like=True, frozen=True):
    """The answer: the answering node, the chosen version, and the caller as it was understood."""

    cluster: _Text
    cluster_id: _Text
    protocol: _Number
    node_id: _Text
    incarnation: _Number
    name: _Text
    software: _Text
    caller_id: _Text
    caller_incarnation: _Number


class HandshakeRefusal(msgspec.Struct, array_like=True, frozen=True):
    """The reason of a refusal: a Code (a newer node may have others), and a sentence for people."""

    code: _Text
    detail: Annotated[str, msgspec.Meta(max_length=1_024)]


Opening = Hello | Welcome | HandshakeRefusal
_KINDS: Final[dict[int, type[Hello] | type[Welcome] | type[HandshakeRefusal]]] = {
    _HELLO: Hello,
    _WELCOME: Welcome,
    _REFUSAL: HandshakeRefusal,
}
_NUMBERS: Final = {made: number for number, made in _KINDS.items()}


def opening(message: Opening) -> bytes:
    """Return the message as the first bytes of a connection, magic included."""
    return MAGIC + frame(FORMAT_BYTE + bytes([_NUMBERS[type(message)]]) + msgspec.msgpack.encode(message))


class OpeningReader:
    """Collects the first bytes of a connection until its one message is complete; fails at the first wrong
    byte."""

    __slots__ = ("_magic", "_reader")

    def __init__(self) -> None:
        self._magic = MAGIC  # the part of it that is still expected
        self._reader = FrameReader(HANDSHAKE_BYTES)

    def feed(self, data: bytes) -> Opening | None:
        """Return the message once it is whole, else None.

        Raises ProtocolError on anything else, and on bytes after it: a caller sends nothing more before the
        answer.
        """
        if self._magic:
            count = min(len(self._magic), len(data))
            if data[:count] != self._magic[:count]:
                raise ProtocolError(f"not a Ringkeep node: the connection begins with {data[:16]!r}")
            self._magic = self._magic[count:]
            data = data[count:]
        bodies = self._reader.feed(data)
        if not bodies:
            return None
        if len(bodies) > 1 or self._reader.buffered_bytes:
            raise ProtocolError("bytes behind the first message of a handshake")
        return _read(bodies[0])


def _read(body: bytes) -> Opening:
    if body[0] != FORMAT or len(body) < 2 or body[1] not in _KINDS:
        raise ProtocolError(f"a handshake begins with {body[:2].hex()}")
    try:
        return msgspec.msgpack.decode(body[2:], type=_KINDS[body[1]])
    except (ValueError, msgspec.MsgspecError) as error:
        raise ProtocolError(f"malformed handshake: {error}") from error


def hello(identity: PeerIdentity, expected: NodeId, link: int = 1, lane: int = 0) -> Hello:
    """Return this node's Hello to the node that it expects at an address."""
    return Hello(
        cluster=identity.cluster,
        cluster_id=identity.cluster_id,
        protocol_low=identity.protocol_low,
        protocol_high=identity.protocol_high,
        role=Role.NODE,
        node_id=identity.node_id,
        incarnation=identity.incarnation,
        name=identity.name,
        expected=expected,
        software=identity.software,
        link=link,
        lane=lane,
    )


def answer(said: Hello, identity: PeerIdentity, seen: int) -> Welcome | HandshakeRefusal:
    """Return the answer to a Hello. `seen` is the highest incarnation seen of that node, 0 for none."""
    if said.role != Role.NODE:
        return HandshakeRefusal(
            Code.ROLE, f"role {said.role!r} is not served on this port yet; clients speak HTTP with this node"
        )
    protocol = min(said.protocol_high, identity.protocol_high)
    if protocol < max(said.protocol_low, identity.protocol_low):
        return HandshakeRefusal(
            Code.PROTOCOL,
            f"no common protocol version: {said.protocol_low} to {said.protocol_high} asked, "
            f"{identity.protocol_low} to {identity.protocol_high} spoken here",
        )
    refusal = _cluster(said.cluster, said.cluster_id, identity)
    if refusal is not None:
        return refusal
    if said.node_id == identity.node_id:
        return HandshakeRefusal(Code.SELF, f"node {identity.node_id} was called by its own id")
    if said.expected != identity.node_id:
        return HandshakeRefusal(
            Code.WRONG_NODE, f"node {said.expected!r} was called, {identity.node_id} answers here"
        )
    if not said.node_id or said.incarnation < max(1, seen):
        return HandshakeRefusal(
            Code.INCARNATION,
            f"node {said.node_id!r} calls as incarnation {said.incarnation}; {seen} was here",
        )
    return Welcome(
        cluster=identity.cluster,
        cluster_id=identity.cluster_id,
        protocol=protocol,
        node_id=identity.node_id,
        incarnation=identity.incarnation,
        name=identity.name,
        software=identity.software,
        caller_id=said.node_id,
        caller_incarnation=said.incarnation,
    )


def judge(got: Opening, identity: PeerIdentity, expected: NodeId, seen: int) -> HandshakeRefusal | None:
    """Check the answer to our Hello: return None if the link may be used, else why not."""
    if isinstance(got, HandshakeRefusal):
        return got
    if isinstance(got, Hello):
        return HandshakeRefusal(Code.MALFORMED, "a Hello came in answer to a Hello")
    if not identity.protocol_low <= got.protocol <= identity.protocol_high:
        return HandshakeRefusal(
            Code.PROTOCOL, f"protocol version {got.protocol} was chosen, which was not offered"
        )
    refusal = _cluster(got.cluster, got.cluster_id, identity)
    if refusal is not None:
        return refusal
    if got.node_id != expected:
        return HandshakeRefusal(Code.WRONG_NODE, f"node {expected} was called, {got.node_id!r} answers")
    if (got.caller_id, got.caller_incarnation) != (identity.node_id, identity.incarnation):
        return HandshakeRefusal(
            Code.MALFORMED, f"the answer is for {got.caller_id!r}, {got.caller_incarnation}"
        )
    if got.incarnation < max(1, seen):
        return HandshakeRefusal(Code.INCARNATION, f"incarnation {got.incarnation} answers; {seen} was here")
    return None


def _cluster(name: str, cluster_id: str, identity: PeerIdentity) -> HandshakeRefusal | None:
    if name != identity.cluster:
        return HandshakeRefusal(Code.CLUSTER, f"cluster {name!r} met cluster {identity.cluster!r}")
    if cluster_id and identity.cluster_id and cluster_id != identity.cluster_id:
        return HandshakeRefusal(
            Code.CLUSTER_ID, f"cluster id {cluster_id!r} met cluster id {identity.cluster_id!r}"
        )
    return None
