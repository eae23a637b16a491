"""A feed's positions as a text: what a reader keeps, and comes back with.

Opaque to readers, who must not compare or change it. The layout is in `docs/protocol.md`: a format byte, two
checksums, and a number for each partition, in base64 with the letters of URLs. Some four letters for each
partition.
"""

import binascii
from base64 import b64decode, urlsafe_b64encode
from collections.abc import Mapping
from struct import Struct
from typing import Final
from zlib import crc32

from ringkeep.core.protocol.types import Index, PartitionId

FORMAT: Final = 1
_HEAD: Final = Struct("!BIIH")  # format, CRC-32 of the cluster's id, CRC-32 of what follows, partitions
_MOST: Final = 16_384 * 10 * 4 // 3
_NUMBER_BITS: Final = 64


class BadCursor(ValueError):
    """The text is no cursor, or one of another cluster; its message says which."""


def encode_cursor(cluster_id: str, positions: Mapping[PartitionId, Index]) -> str:
    """Return the text of positions in all partitions of a cluster: 0 to Q - 1, none of them NOW."""
    numbers = bytearray()
    before = 0
    for number in range(len(positions)):
        position = positions[PartitionId(number)]
        assert position >= 0, "a bookmark knows all positions"
        _put(numbers, (position - before) * 2 if position >= before else (before - position) * 2 - 1)
        before = position
    head = _HEAD.pack(FORMAT, crc32(cluster_id.encode()), crc32(numbers), len(positions))
    return urlsafe_b64encode(head + numbers).decode().rstrip("=")


def decode_cursor(cluster_id: str, text: str, partitions: int) -> dict[PartitionId, Index]:
    """Return the positions of a text that `encode_cursor` made. Raises BadCursor for any other."""
    if len(text) > _MOST:
        raise BadCursor("this is no cursor: it is too long")
    try:
        data = b64decode(text + "=" * (-len(text) % 4), b"-_", validate=True)
    except (binascii.Error, ValueError) as error:
        raise BadCursor("this is no cursor") from error
    if len(data) < _HEAD.size:
        raise BadCursor("this is no cursor: it is cut short")
    form, cluster, checksum, count = _HEAD.unpack_from(data)
    numbers = data[_HEAD.size :]
    if form != FORMAT:
        raise BadCursor(f"a cursor of format {form}: of a newer version, or no cursor at all")
    if crc32(numbers) != checksum:
        raise BadCursor("this is no cursor: it was changed or cut short")
    if cluster != crc32(cluster_id.encode()) or count != partitions:
        raise BadCursor("the cursor is of another cluster")
    positions: dict[PartitionId, Index] = {}
    at, position = 0, 0
    for number in range(count):
        step, at = _take(numbers, at)
        position += step // 2 if step % 2 == 0 else -(step + 1) // 2
        if not 0 <= position < 1 << _NUMBER_BITS:
            raise BadCursor("this is no cursor: a position is out of range")
        positions[PartitionId(number)] = Index(position)
    if at != len(numbers):
        raise BadCursor("this is no cursor: it is too long")
    return positions


def _put(numbers: bytearray, number: int) -> None:
    """Add a number, seven bits in a byte, the lowest first; all but the last have the highest bit set."""
    while number >= 0x80:
        numbers.append(number & 0x7F | 0x80)
        number >>= 7
    numbers.append(number)


def _take(numbers: bytes, at: int) -> tuple[int, int]:
    """Return (number, where it ends)."""
    number = shift = 0
    while at < len(numbers) and shift <= _NUMBER_BITS:
        byte = numbers[at]
        at += 1
        number |= (byte & 0x7F) << shift
        if byte < 0x80:
            return number, at
        shift += 7
    raise BadCursor("this is no cursor: a number is cut short")
