"""Cursors: the version that each partition had reached, as clients hold it and give it back.

Their form is `core/protocol/cursor`; here is what is said about one that is none.
"""

from collections.abc import Iterable
from typing import Final

from ringkeep.core.protocol.cursor import BadCursor, decode_cursor, encode_cursor
from ringkeep.core.protocol.types import Index, PartitionId
from ringkeep.http.problems import bad

CURSOR_BYTES: Final = 6 * 1024
"""Longer cursors are given by header field or body: not all that stands between carries such a URL."""


def cursor_of(cluster_id: str, positions: Iterable[int]) -> str:
    """Return the cursor of positions in all partitions, in the order of these."""
    return encode_cursor(
        cluster_id, {PartitionId(number): Index(each) for number, each in enumerate(positions)}
    )


def positions_of(cluster_id: str, partitions: int, name: str, raw: bytes) -> tuple[Index, ...]:
    """Return the positions in all partitions. Raises Problem (400), which names where the cursor stood."""
    try:
        found = decode_cursor(cluster_id, raw.decode("ascii", "replace"), partitions)
    except BadCursor as error:
        raise bad(f"{name} is refused: {error}. Send it as it was answered.") from None
    return tuple(found[PartitionId(number)] for number in range(partitions))
