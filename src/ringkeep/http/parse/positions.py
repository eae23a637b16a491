"""Positions as text: the version that each partition had reached, as clients hold it and give it back.

Opaque to clients: base64url of a format byte, a digest, and one varint for each partition. The digest covers
the cluster's id, so what another cluster gave, or somebody changed, is refused.
"""

from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Iterable
from hashlib import blake2b
from typing import Final

from ringkeep.http.parse.target import MAX_VERSION
from ringkeep.http.problems import bad

_FORMAT: Final = b"\x01"
_DIGEST_BYTES: Final = 6


def encode_positions(cluster_id: str, positions: Iterable[int]) -> str:
    """Return the text."""
    numbers = bytearray()
    for position in positions:
        while position > 0x7F:
            numbers.append(0x80 | position & 0x7F)
            position >>= 7
        numbers.append(position)
    whole = _FORMAT + _digest(cluster_id, bytes(numbers)) + numbers
    return urlsafe_b64encode(whole).decode().rstrip("=")


def decode_positions(cluster_id: str, name: str, raw: bytes) -> tuple[int, ...]:
    """Return the positions. Raises Problem (400), which names where the text stood."""
    try:
        if len(raw) % 4 == 1:
            raise ValueError
        whole = urlsafe_b64decode(raw + b"=" * (-len(raw) % 4))
    except ValueError:
        whole = b""
    numbers = whole[1 + _DIGEST_BYTES :]
    if whole[:1] != _FORMAT or whole[1 : 1 + _DIGEST_BYTES] != _digest(cluster_id, numbers):
        raise bad(f"{name} is none that this cluster has given: send it as it was answered.")
    positions: list[int] = []
    position = shift = 0
    for byte in numbers:
        position |= (byte & 0x7F) << shift
        shift += 7
        if byte < 0x80:
            positions.append(position)
            position = shift = 0
    assert not shift and all(each <= MAX_VERSION for each in positions), "the digest holds"
    return tuple(positions)


def _digest(cluster_id: str, numbers: bytes) -> bytes:
    return blake2b(cluster_id.encode() + _FORMAT + numbers, digest_size=_DIGEST_BYTES).digest()
