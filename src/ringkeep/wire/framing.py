"""Framing: splits a stream of bytes into checked bodies, and wraps bodies into frames.

A frame is a u32 length of the body, a u32 CRC-32C of the body, and the body; big-endian, as everything here.
The first byte of a body is the frame format. `codec` and `handshake` define what follows it.
"""

import struct
from typing import Final

from google_crc32c import extend as crc32c_extended
from google_crc32c import value as crc32c

from ringkeep.core.protocol import limits
from ringkeep.errors import ProtocolError

FORMAT: Final = 1
"""First byte of every body."""

HEADER: Final = struct.Struct("!II")
HEADER_BYTES: Final = HEADER.size
BODY_BYTES: Final = limits.FRAME_BYTES - HEADER_BYTES
"""Longest body: a frame with its header never passes FRAME_BYTES."""

FORMAT_BYTE: Final = bytes([FORMAT])

_JOINED_BYTES: Final = 64 * limits.KIB
"""Joining small parts first costs less than to go through them one by one."""

_pack_header = HEADER.pack
_unpack_header = HEADER.unpack_from


def frame(body: bytes) -> bytes:
    """Return the body as a frame. The body begins with the format byte."""
    assert 0 < len(body) <= BODY_BYTES, "a body fits a frame"
    return _pack_header(len(body), crc32c(body)) + body


def frame_of(parts: list[bytes]) -> bytes:
    """Return a body that is given in parts as a frame. Large parts are copied once."""
    size = sum(map(len, parts))
    if size <= _JOINED_BYTES:
        return frame(b"".join(parts))
    assert size <= BODY_BYTES, "a body fits a frame"
    checksum = 0
    for part in parts:
        checksum = crc32c_extended(checksum, part)
    return b"".join((_pack_header(size, checksum), *parts))


class FrameReader:
    """Cuts one connection's bytes into bodies. Holds at most one unfinished frame of `body_bytes`.

    After a ProtocolError the reader and its connection are unusable: frame boundaries are lost.
    """

    __slots__ = ("_body_bytes", "_need", "_rest")

    def __init__(self, body_bytes: int = BODY_BYTES) -> None:
        self._body_bytes = body_bytes
        self._rest = (
            bytearray()
        )  # the unfinished frame; grows in place, so that a large frame is not copied for each read
        self._need = HEADER_BYTES  # the bytes that `_rest` needs before anything can be cut from it

    @property
    def buffered_bytes(self) -> int:
        """Bytes of the unfinished frame."""
        return len(self._rest)

    def feed(self, data: bytes) -> list[bytes]:
        """Return the bodies that these bytes complete, in order, checked.

        Raises ProtocolError on a length out of bounds (before anything of that body is kept) and on a wrong
        checksum; bodies completed by the same call are lost then. Cost: linear, two copies at most.
        """
        rest = self._rest
        if not rest:
            return self._cut(data)
        rest += data
        if len(rest) < self._need:
            return []
        if self._need == HEADER_BYTES:
            self._need = HEADER_BYTES + self._length(rest, 0)
            if len(rest) < self._need:
                return []
        with memoryview(rest) as view:
            body, behind = bytes(view[HEADER_BYTES : self._need]), bytes(view[self._need :])
        if crc32c(body) != _unpack_header(rest)[1]:
            raise ProtocolError(f"checksum of a frame of {len(body)} bytes does not match")
        rest.clear()
        return [body, *self._cut(behind)]

    def _cut(self, data: bytes) -> list[bytes]:
        """Return the whole bodies in `data`; keep the rest, and set what it needs to become whole."""
        bodies: list[bytes] = []
        at, size, most = 0, len(data), self._body_bytes
        self._need = HEADER_BYTES
        while size - at >= HEADER_BYTES:
            length, checksum = _unpack_header(data, at)
            if not 0 < length <= most:
                self._length(data, at)
            end = at + HEADER_BYTES + length
            if end > size:
                self._need = HEADER_BYTES + length
                break
            body = data[at + HEADER_BYTES : end]
            if crc32c(body) != checksum:
                raise ProtocolError(f"checksum of a frame of {length} bytes does not match")
            bodies.append(body)
            at = end
        if at < size:
            self._rest += memoryview(data)[at:]
        return bodies

    def _length(self, data: bytes | bytearray, at: int) -> int:
        """Return the announced length of the body. Raises ProtocolError if it is out of bounds."""
        length: int = _unpack_header(data, at)[0]
        if not 0 < length <= self._body_bytes:
            raise ProtocolError(f"a frame announces {length} bytes; allowed are 1 to {self._body_bytes}")
        return length
