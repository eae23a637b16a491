"""From a key to its slot, and from a slot to its partition.

This is the slot function of Redis Cluster, on purpose: its clients can compute our slots. The module knows
nothing of nodes: which node holds a partition is the cluster map's business.
"""

from binascii import crc_hqx
from collections.abc import Iterable
from typing import Final

SLOTS: Final = 16_384
FEWEST: Final = 64
MOST: Final = 4_096
_EACH: Final = 16  # partitions for each node that is expected: what divides evenly enough, also when it grows


def default_partitions(expect: int) -> int:
    """Return how many partitions a cluster of `expect` nodes gets that was not told: a power of two.

    At least 16 for each node, so that no node leads more than 7 % above its share; not many more, since
    requests of one partition share messages and rows, and those of different ones do not. A cluster that
    grows to three times as many nodes still has 5 for each.
    """
    partitions = FEWEST
    while partitions < min(_EACH * expect, MOST):
        partitions *= 2
    return partitions


def slot_of(key: bytes) -> int:
    """Return the slot of `key`, from 0 to 16,383: its CRC16 (XMODEM) modulo 16,384.

    A hash tag makes related keys share a slot: if something stands between the first `{` and the first `}`
    after it, only that is hashed. `{user1}.name` and `{user1}.mail` meet; `{}x` and `{{x` are hashed whole.
    Cost: O(len(key)), well under a microsecond for a usual key. Source: Redis Cluster specification.
    """
    start = key.find(b"{")
    if start >= 0:
        end = key.find(b"}", start + 1)
        if end > start + 1:  # not missing (-1), and not an empty tag
            key = key[start + 1 : end]
    return crc_hqx(key, 0) % SLOTS


def partition_of(key: bytes, partitions: int) -> int:
    """Return the partition of `key`, from 0 to `partitions - 1`: each holds one contiguous range of slots.

    `partitions` is a power of two, at most 16,384, and fixed when the cluster is formed: a partition never
    splits or merges. Cost: as `slot_of`.
    """
    return slot_of(key) * partitions // SLOTS


def ranges(partitions: Iterable[int]) -> list[str]:
    """Return partitions as people read them, with runs written as "3-7"."""
    runs: list[list[int]] = []
    for number in sorted(partitions):
        if runs and number == runs[-1][1] + 1:
            runs[-1][1] = number
        else:
            runs.append([number, number])
    return [str(first) if first == last else f"{first}-{last}" for first, last in runs]
