"""Messages to frames and back.

A body is the format byte and then messages, each a u8 type, a u32 payload length and the payload. The hot
types are written by hand (`hot`), the others as one msgpack array of their fields, strictly checked. Any
error in a body raises ProtocolError, and memory stays within a small multiple of the frame's bound.
"""

import struct
from collections.abc import Callable
from dataclasses import fields
from operator import attrgetter
from typing import Annotated, Any, Final, get_args, get_origin, get_type_hints

import msgspec

from ringkeep.core.protocol.hot_messages import (
    Acks,
    Append,
    Clocks,
    Commits,
    Confirm,
    Confirmed,
    Forward,
    Reply,
)
from ringkeep.core.protocol.messages import (
    Changes,
    Copies,
    Entries,
    Fetch,
    Follow,
    Heartbeat,
    Lost,
    MapPush,
    Message,
    Prepare,
    Promise,
    ReadMany,
    Records,
    Refuse,
    Relayed,
    Release,
    Report,
    Scan,
    Scanned,
    Sizes,
    SnapshotChunk,
    SnapshotOffer,
    SnapshotPull,
    StaleRead,
    Surplus,
)
from ringkeep.core.protocol.types import Epoch, Index, MapVersion, NodeId, PartitionId
from ringkeep.errors import ProtocolError
from ringkeep.wire import hot
from ringkeep.wire.framing import BODY_BYTES, FORMAT, FORMAT_BYTE, frame_of

_Writer = Callable[[Any], bytes]
_Reader = Callable[[bytes, int, int], Message]

_HEAD: Final = struct.Struct("!BI")
_pack_head = _HEAD.pack
_unpack_head = _HEAD.unpack_from

# --- cold messages: the fields in their order, as a msgpack array of exactly that length --------------

_COLD: Final[tuple[tuple[int, type], ...]] = (
    (8, StaleRead),
    (12, Scan),
    (13, Scanned),
    (14, ReadMany),
    (15, Records),
    (16, Prepare),
    (17, Promise),
    (18, Refuse),
    (19, Fetch),
    (20, Entries),
    (21, SnapshotOffer),
    (22, SnapshotPull),
    (23, SnapshotChunk),
    (24, Surplus),
    (25, Release),
    (26, Lost),
    (27, Follow),
    (28, Changes),
    (32, Heartbeat),
    (33, Report),
    (34, MapPush),
    (35, Sizes),
    (36, Relayed),
    (37, Copies),
)

_LISTED: Final = msgspec.Meta(max_length=65_536)  # checked before the list is made
_UNSIGNED: Final = Annotated[int, msgspec.Meta(ge=0)]
_CHECKED: Final[dict[Any, Any]] = {
    PartitionId: Annotated[int, msgspec.Meta(ge=0, le=0xFFFF)],
    Epoch: _UNSIGNED,
    Index: _UNSIGNED,
    MapVersion: _UNSIGNED,
    NodeId: Annotated[str, msgspec.Meta(max_length=64)],
}


def _checked(hint: Any) -> Any:
    """Return the type that a field's bytes are checked against: its annotation, with bounds."""
    parts = get_args(hint)
    if get_origin(hint) is list:
        return Annotated[list[_checked(parts[0])], _LISTED]  # type: ignore[misc]  # a type made at run time
    if get_origin(hint) is tuple:
        return tuple.__class_getitem__(tuple(_checked(part) for part in parts))
    return _CHECKED.get(hint, hint)


_pack_fields = msgspec.msgpack.Encoder().encode


def _cold_writer(number: int, fields_of: Callable[[Any], tuple[Any, ...]]) -> _Writer:
    def write(m: Any) -> bytes:
        payload = _pack_fields(fields_of(m))
        return _pack_head(number, len(payload)) + payload

    return write


def _cold_reader(made: type, unpack: Callable[[bytes], tuple[Any, ...]]) -> _Reader:
    def read(body: bytes, at: int, end: int) -> Message:
        message: Message = made(*unpack(body[at:end]))
        return message

    return read


def _unknown(body: bytes, at: int, end: int) -> Message:
    raise ProtocolError(f"message type {body[at - hot.HEAD_BYTES]} is not known")


def _tables() -> tuple[dict[type, _Writer], list[_Reader]]:
    writers: dict[type, _Writer] = {}
    readers: list[_Reader] = [_unknown] * 256
    by_hand: tuple[tuple[int, type, _Writer, _Reader], ...] = (
        (hot.APPEND, Append, hot.write_append, hot.read_append),
        (hot.ACKS, Acks, hot.write_acks, hot.read_acks),
        (hot.COMMITS, Commits, hot.write_commits, hot.read_commits),
        (hot.CONFIRM, Confirm, hot.write_confirm, hot.read_confirm),
        (hot.CONFIRMED, Confirmed, hot.write_confirmed, hot.read_confirmed),
        (hot.CLOCKS, Clocks, hot.write_clocks, hot.read_clocks),
        (hot.FORWARD, Forward, hot.write_forward, hot.read_forward),
        (hot.REPLY, Reply, hot.write_reply, hot.read_reply),
    )
    for number, made, write, read in by_hand:
        writers[made] = write
        readers[number] = read
    readers[hot.FORWARD_TTL], readers[hot.REPLY_TTL] = hot.read_forward_ttl, hot.read_reply_ttl
    rows = get_type_hints(SnapshotChunk)["rows"]
    assert get_origin(rows) is list, "messages keep their types: scripts/compile.py leaves them as they are"
    for number, made in _COLD:
        names = [field.name for field in fields(made)]
        hints = get_type_hints(made)
        assert len(names) >= 2, "attrgetter of one name would not give a tuple"
        assert readers[number] is _unknown, f"two messages have the type {number}"
        layout: Any = tuple.__class_getitem__(tuple(_checked(hints[name]) for name in names))
        writers[made] = _cold_writer(number, attrgetter(*names))
        readers[number] = _cold_reader(made, msgspec.msgpack.Decoder(layout).decode)
    return writers, readers


_WRITERS, _READERS = _tables()


class Encoder:
    """Encodes messages as frames, and remembers encoded Appends: a primary sends the same object to each
    backup.

    `forget` drops what is remembered; call it once per turn of the loop. `holds`: something is remembered.
    """

    __slots__ = ("_alone", "_appends", "remember")

    def __init__(self, remember: bool = True) -> None:
        self._appends: dict[Append, bytes] = {}  # by identity: Append does not compare
        self._alone: dict[Append, bytes] = {}  # whole frames of those that are too large for company
        self.remember = remember

    @property
    def holds(self) -> bool:
        return bool(self._appends)

    def forget(self) -> None:
        """Drop the remembered Appends."""
        self._appends.clear()
        self._alone.clear()

    def encode(self, messages: list[Message], body_bytes: int = BODY_BYTES) -> list[bytes]:
        """Return the messages, in order, as frames: one, or several where `body_bytes` would be passed.

        A single message may be longer, and must fit a frame: the core's limits guarantee that (asserted).
        """
        parts: list[bytes] = [FORMAT_BYTE]
        frames: list[bytes] = []
        size = 1
        appends = self._appends
        for message in messages:
            made = type(message)
            if made is Append and self.remember:
                part = appends.get(message)  # type: ignore[arg-type]  # mypy does not narrow by `made is`
                if part is None:
                    part = appends[message] = hot.write_append(message)  # type: ignore[arg-type,index]  # as above
            else:
                part = _WRITERS[made](message)
            size += len(part)
            if size > body_bytes:
                if len(parts) > 1:
                    frames.append(frame_of(parts))
                parts = [FORMAT_BYTE]
                size = 1 + len(part)
                if size > body_bytes:
                    frames.append(self._frame_alone(message, part))
                    size = 1
                    continue
            parts.append(part)
        if len(parts) > 1:
            frames.append(frame_of(parts))
        return frames

    def _frame_alone(self, message: Message, part: bytes) -> bytes:
        """Return the frame of one large message; an Append's is made once for all backups."""
        if type(message) is not Append or not self.remember:
            return frame_of([FORMAT_BYTE, part])
        found = self._alone.get(message)
        if found is None:
            found = self._alone[message] = frame_of([FORMAT_BYTE, part])
        return found


def encode(messages: list[Message]) -> list[bytes]:
    """Return the messages as frames, remembering nothing. See Encoder.encode."""
    return Encoder(remember=False).encode(messages)


def decode(body: bytes) -> list[Message]:
    """Return the messages of a frame's body. Raises ProtocolError, and nothing else, on any other bytes."""
    if not body or body[0] != FORMAT:
        raise ProtocolError(f"frame format {body[0] if body else 'missing'}; this node reads {FORMAT}")
    messages: list[Message] = []
    at, size = 1, len(body)
    try:
        while at < size:
            number, length = _unpack_head(body, at)
            at += 5
            end = at + length
            if end > size:
                raise ProtocolError(f"a message of type {number} ends {end - size} bytes behind its frame")
            messages.append(_READERS[number](body, at, end))
            at = end
    except (struct.error, ValueError, msgspec.MsgspecError) as error:
        raise ProtocolError(f"malformed message: {error}") from error
    return messages
