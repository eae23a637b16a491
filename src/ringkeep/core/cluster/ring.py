"""The ring: the circle of 2^64 tokens, and the order in which nodes are met on it.

A node owns 128 tokens (vnodes) per unit of weight, so that the load of a node that comes or goes is spread
over all the others. The ring says which nodes a partition prefers. How much a node should carry is decided in
`shares.py`, and what is placed where in `placement.py`.
Source: Dynamo (DeCandia et al., SOSP 2007), sections 4.2 and 6.2 (strategy 3: equal partitions).
"""

from bisect import bisect_left
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from hashlib import blake2b
from itertools import pairwise
from typing import Final

TOKEN_SPACE: Final = 1 << 64
VNODES_PER_WEIGHT: Final = 128


@dataclass(frozen=True, slots=True)
class RingNode:
    """What placement needs to know of a node.

    `zone` is its failure domain (a rack, a host): replicas of one partition are kept in different ones while
    there are enough. `weight` is its share of the load relative to the others; 0 means that it holds nothing.
    `leads`: whether it should be the primary of anything; a node that is being drained should not. `joins`:
    whether it is to be filled up to its whole share, being new, or heavier than it was.
    """

    id: str
    zone: str
    weight: int
    leads: bool = True
    joins: bool = False


@dataclass(frozen=True, slots=True)
class Ring:
    """The nodes with a weight, by id, and where they are. Made by `build_ring`; an immutable value.

    Everybody else names a node by its index in `nodes`. `tokens[i]` ascend; `zones[i]` numbers the zone of
    `nodes[i]`, from 0 to `zone_count - 1`.
    """

    nodes: tuple[RingNode, ...]
    tokens: tuple[tuple[int, ...], ...]
    zones: tuple[int, ...]
    zone_count: int


def build_ring(nodes: Iterable[RingNode]) -> Ring:
    """Return the ring of `nodes`; their order does not matter, their ids are distinct.

    Nodes of weight 0 are left out. Cost: that of `tokens_of` for nodes not met lately.
    """
    ordered = tuple(sorted((node for node in nodes if node.weight > 0), key=lambda node: node.id))
    assert all(a.id != b.id for a, b in pairwise(ordered)), "node ids are distinct"
    numbers = {zone: number for number, zone in enumerate(sorted({node.zone for node in ordered}))}
    return Ring(
        nodes=ordered,
        tokens=tuple(tokens_of(node.id, node.weight) for node in ordered),
        zones=tuple(numbers[node.zone] for node in ordered),
        zone_count=len(numbers),
    )


@lru_cache(maxsize=1024)
def tokens_of(node_id: str, weight: int) -> tuple[int, ...]:
    """Return the node's `128 * weight` tokens, ascending: each is a blake2b (8 bytes) of its id and number.

    A node's tokens depend on nothing else, so they stay where they are when other nodes come and go, and a
    heavier weight only adds tokens. Cost: one hash per token; recent results are kept.
    """
    name = node_id.encode()
    count = VNODES_PER_WEIGHT * weight
    # The number has a fixed width: "n1" number 1 and "n" number "11" cannot collide.
    digests = (blake2b(name + number.to_bytes(4, "big"), digest_size=8).digest() for number in range(count))
    return tuple(sorted(int.from_bytes(digest, "big") for digest in digests))


def position(partition: int, partitions: int) -> int:
    """Return the token at which `partition` of `partitions` sits: they divide the circle evenly."""
    return partition * TOKEN_SPACE // partitions


def distance(tokens: tuple[int, ...], at: int) -> int:
    """Return how far clockwise of token `at` the first of a node's tokens is; 0 if it is there."""
    k = bisect_left(tokens, at)
    return tokens[k] - at if k < len(tokens) else tokens[0] + TOKEN_SPACE - at


@lru_cache(maxsize=256)
def nearest(tokens: tuple[int, ...], partitions: int) -> tuple[int, ...]:
    """Return all partitions, those first that a node with these tokens is met soonest from.

    Cost: O(partitions log tokens); recent results are kept.
    """
    return tuple(sorted(range(partitions), key=lambda p: distance(tokens, position(p, partitions))))


def zones_first(ring: Ring, order: Iterable[int]) -> list[int]:
    """Return the nodes of `order` with the first of each zone in front, otherwise in the order given."""
    seen = bytearray(ring.zone_count)
    first: list[int] = []
    others: list[int] = []
    for node in order:
        zone = ring.zones[node]
        (others if seen[zone] else first).append(node)
        seen[zone] = 1
    return first + others


def preference_list(ring: Ring, at: int, among: Iterable[int]) -> list[int]:
    """Return the nodes `among` in the order in which they are met clockwise from token `at`, zones first.

    After one node of every zone come those that were passed over. Of equal tokens the lower id is met first.
    Cost: O(nodes log tokens). Source: Dynamo (SOSP 2007), section 4.2, with zones.
    """
    return zones_first(ring, sorted(among, key=lambda node: (distance(ring.tokens[node], at), node)))
