"""The ring: the circle of 2^64 tokens, the order in which a walk meets the nodes, and every node's share.

A node owns 128 tokens (vnodes) per unit of weight, so that the load of a node that comes or goes is spread
over all the others. The ring says which nodes a partition prefers and how much a node should carry; it knows
nothing of what is placed where, or of what moves: that is `placement`.
Sources: Dynamo (DeCandia et al., SOSP 2007), sections 4.2 and 6.2 (strategy 3: equal partitions); "Consistent
Hashing with Bounded Loads" (Mirrokni, Thorup, Zadimoghaddam, 2016) for the bounds.
"""

from bisect import bisect_left
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache
from hashlib import blake2b
from itertools import pairwise
from math import ceil, floor
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
    """The tokens of all nodes in clockwise order. Made by `build_ring`; an immutable value.

    `nodes` are those with a weight, by id. `tokens` ascend, and `owners[k]` is the index in `nodes` of the
    owner of `tokens[k]`; `own[i]` are the tokens of `nodes[i]` alone. `zones[i]` numbers the zone of
    `nodes[i]`, from 0 to `zone_count - 1`.
    """

    nodes: tuple[RingNode, ...]
    tokens: tuple[int, ...]
    owners: tuple[int, ...]
    own: tuple[tuple[int, ...], ...]
    zones: tuple[int, ...]
    zone_count: int


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


def build_ring(nodes: Sequence[RingNode]) -> Ring:
    """Return the ring of `nodes`; their order does not matter, their ids are distinct.

    Nodes of weight 0 are left out. Cost: O(V log V) for V = 128 * total weight vnodes (about 50 ms for 200
    nodes); the rings of recent memberships are kept, and shared, since they never change.
    """
    return _build(tuple(sorted((node for node in nodes if node.weight > 0), key=lambda node: node.id)))


@lru_cache(maxsize=16)
def _build(nodes: tuple[RingNode, ...]) -> Ring:
    assert all(a.id != b.id for a, b in pairwise(nodes)), "node ids are distinct"
    # Two nodes with an equal token are met in the order of their ids: any process builds the same ring.
    own = tuple(tokens_of(node.id, node.weight) for node in nodes)
    vnodes = sorted((token, i) for i, tokens in enumerate(own) for token in tokens)
    numbers = {zone: number for number, zone in enumerate(sorted({node.zone for node in nodes}))}
    return Ring(
        nodes=nodes,
        tokens=tuple(token for token, _ in vnodes),
        owners=tuple(owner for _, owner in vnodes),
        own=own,
        zones=tuple(numbers[node.zone] for node in nodes),
        zone_count=len(numbers),
    )


def position(partition: int, partitions: int) -> int:
    """Return the token at which `partition` of `partitions` sits: they divide the circle evenly."""
    return partition * TOKEN_SPACE // partitions


def distance(ring: Ring, at: int, node: int) -> int:
    """Return how far clockwise of token `at` the first token of `ring.nodes[node]` is; 0 if it is there.

    Sorting nodes by (distance, index) gives the order in which a walk meets them. Cost: O(log vnodes).
    """
    return _ahead(ring.own[node], at)


def _ahead(tokens: tuple[int, ...], at: int) -> int:
    k = bisect_left(tokens, at)
    return tokens[k] - at if k < len(tokens) else tokens[0] + TOKEN_SPACE - at


@lru_cache(maxsize=256)
def nearest(tokens: tuple[int, ...], partitions: int) -> tuple[int, ...]:
    """Return all partitions, those first that a node with these tokens is met soonest from.

    Cost: O(partitions log vnodes); recent results are kept.
    """
    return tuple(sorted(range(partitions), key=lambda p: _ahead(tokens, position(p, partitions))))


def walk(ring: Ring, at: int) -> Iterator[int]:
    """Yield the indices of all nodes, each once, in the order in which they are met clockwise from `at`.

    Cost: O(log vnodes) to begin, then O(1) per vnode passed; all N nodes lie within about N log N vnodes.
    """
    tokens, owners = ring.tokens, ring.owners
    met = bytearray(len(ring.nodes))
    left = len(ring.nodes)
    start = bisect_left(tokens, at)
    for k in range(start - len(tokens), start):  # a negative index is the part of the circle after `at`
        owner = owners[k]
        if not met[owner]:
            met[owner] = 1
            yield owner
            left -= 1
            if not left:
                return


def zones_first(ring: Ring, order: Sequence[int]) -> list[int]:
    """Return the nodes of `order` with the first of each zone in front, otherwise in the order given."""
    seen = bytearray(ring.zone_count)
    first: list[int] = []
    others: list[int] = []
    for node in order:
        zone = ring.zones[node]
        (others if seen[zone] else first).append(node)
        seen[zone] = 1
    return first + others


def preference_list(ring: Ring, at: int, count: int) -> tuple[str, ...]:
    """Return the ids of the first `count` nodes clockwise from token `at`, one per zone while zones last.

    After one node of every zone come the nodes that were passed over, then those met further on. Fewer than
    `count` are returned only if the ring has fewer nodes.
    Cost: O(log vnodes + vnodes passed). Source: Dynamo (SOSP 2007), section 4.2, with zones.
    """
    met: list[int] = []
    zones: set[int] = set()  # only counted and asked, never iterated
    for node in walk(ring, at):
        met.append(node)
        zones.add(ring.zones[node])
        # Enough zones for the list, or all of them and enough nodes: nothing further on can change it.
        if len(zones) >= count or (len(zones) == ring.zone_count and len(met) >= count):
            break
    return tuple(ring.nodes[node].id for node in zones_first(ring, met)[:count])


def load_bounds(nodes: Sequence[RingNode], partitions: int, replication: int) -> dict[str, tuple[int, int]]:
    """Return for each node with a weight the most replicas that it may hold and the most it may lead.

    Of a node's share (its weight's part of all) both are `max(ceil(share), floor(1.1 * share))`. The zones
    outrank balance: where they make that impossible for replicas (a node alone in its zone must hold all that
    the zone is owed), every share is the fairest that the zones allow. Cost: O(nodes log nodes).
    Source: "Consistent Hashing with Bounded Loads" (Mirrokni et al., 2016).
    """
    ring = build_ring(nodes)
    shares = replica_shares(ring, partitions, replication)
    full = [min(partitions, full_load(share)) for share in shares]
    lead = [full_load(share) for share in primary_shares(ring, partitions)]
    return {node.id: (full[i], lead[i]) for i, node in enumerate(ring.nodes)}


def full_load(share: Fraction) -> int:
    """Return the load at which a node with this share is full: 1.1 times the share, but never below it."""
    return max(ceil(share), floor(share * 11 / 10))


def primary_shares(ring: Ring, partitions: int) -> list[Fraction]:
    """Return every node's share of the primaries: by weight, among those that lead (all, if none does).

    Any zones leave room for that.
    """
    all_lead = not any(node.leads for node in ring.nodes)
    weights = [node.weight if node.leads or all_lead else 0 for node in ring.nodes]
    return [Fraction(partitions * weight, sum(weights)) for weight in weights]


def replica_shares(ring: Ring, partitions: int, replication: int) -> list[Fraction]:
    """Return every node's share of the replicas: by weight, or nearest to it as the zones allow.

    A share is at most one replica of each partition. Shares by weight stand if the bounds made of them leave
    room for a placement with separate zones; what a zone or a node cannot use is trimmed all the same.
    """
    copies = min(replication, len(ring.nodes))
    fairest = _shares_within_zones(ring, partitions, copies)
    total = sum(node.weight for node in ring.nodes)
    by_weight = [Fraction(partitions * copies * node.weight, total) for node in ring.nodes]
    room = [0] * ring.zone_count
    for zone, share in zip(ring.zones, by_weight, strict=True):
        room[zone] += min(partitions, full_load(share))
    # Of one partition a zone takes at most one replica if there are zones enough; if there are not, it takes
    # at least one, and so at most what is left when each of the others has one.
    most = partitions * max(1, copies - ring.zone_count + 1)
    least = 0 if copies <= ring.zone_count else partitions
    if min(room, default=0) >= least and sum(min(most, zone) for zone in room) >= partitions * copies:
        return [min(pair) for pair in zip(by_weight, fairest, strict=True)]
    return fairest


def _shares_within_zones(ring: Ring, partitions: int, copies: int) -> list[Fraction]:
    """Return the shares proportional to weight, as far as zones and distinct nodes allow, that sum to all.

    Counted per partition: a node takes at most 1; a zone takes at most 1 if there are zones enough for all
    copies, else at least 1. The sum grows with the level (share per unit of weight), linearly between the
    levels at which one of these limits begins or ends to matter: find the interval and interpolate, exactly.
    """
    pairs = list(zip(ring.nodes, ring.zones, strict=True))
    zone_weight = [0] * ring.zone_count
    for node, zone in pairs:
        zone_weight[zone] += node.weight
    edge = [Fraction(1, weight) for weight in zone_weight]  # the level at which the zone takes exactly 1
    limit = min if copies <= ring.zone_count else max

    def shares(level: Fraction) -> list[Fraction]:
        return [min(Fraction(1), node.weight * limit(level, edge[z])) for node, z in pairs]

    levels = [Fraction(0), *sorted({*edge, *(Fraction(1, node.weight) for node in ring.nodes)})]
    low, high = 0, len(levels) - 1
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if sum(shares(levels[middle])) >= copies else (middle, high)
    under, over = sum(shares(levels[low])), sum(shares(levels[high]))
    part = Fraction(copies - under, over - under) if over > under else Fraction(1)
    return [share * partitions for share in shares(levels[low] + (levels[high] - levels[low]) * part)]
