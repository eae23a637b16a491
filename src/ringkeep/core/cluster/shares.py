"""How much each node should carry: its share of the replicas and of the primaries, and the most it may have.

Pure functions of a ring: they know nothing of what is placed where.
Source: "Consistent Hashing with Bounded Loads" (Mirrokni, Thorup, Zadimoghaddam, 2016) for the bound.
"""

from bisect import bisect_left
from fractions import Fraction
from math import ceil, floor

from ringkeep.core.cluster.ring import Ring


def at_most(share: Fraction, partitions: int) -> int:
    """Return the most that a node with this share may have: 1.1 times the share, but never below it."""
    return min(partitions, max(ceil(share), floor(share * 11 / 10)))


def primary_shares(ring: Ring, partitions: int) -> list[Fraction]:
    """Return every node's share of the primaries: by weight, among those that lead (all, if none does).

    Any zones leave room for that.
    """
    all_lead = not any(node.leads for node in ring.nodes)
    weights = [node.weight if node.leads or all_lead else 0 for node in ring.nodes]
    return [Fraction(partitions * weight, sum(weights)) for weight in weights]


def replica_shares(ring: Ring, partitions: int, copies: int) -> list[Fraction]:
    """Return every node's share of the replicas: by weight, or nearest to it as the zones allow.

    There are `copies` of each partition, at most as many as nodes. The zones outrank balance: a node alone in
    its zone may have to hold all that the zone is owed. Shares by weight stand if the bounds made of them
    leave room for a placement with separate zones; what a zone or a node cannot use is trimmed all the same.
    """
    fairest = _shares_within_zones(ring, partitions, copies)
    total = sum(node.weight for node in ring.nodes)
    by_weight = [Fraction(partitions * copies * node.weight, total) for node in ring.nodes]
    room = [0] * ring.zone_count
    for zone, share in zip(ring.zones, by_weight, strict=True):
        room[zone] += at_most(share, partitions)
    # Of one partition a zone takes at most one replica if there are zones enough; if there are not, it takes
    # at least one, and so at most what is left when each of the others has one.
    most = partitions * max(1, copies - ring.zone_count + 1)
    least = 0 if copies <= ring.zone_count else partitions
    if min(room) >= least and sum(min(most, zone) for zone in room) >= partitions * copies:
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
        return [min(Fraction(1), node.weight * limit(level, edge[zone])) for node, zone in pairs]

    levels = [Fraction(0), *sorted({*edge, *(Fraction(1, node.weight) for node in ring.nodes)})]
    high = bisect_left(
        levels, Fraction(copies), 1, len(levels) - 1, key=lambda level: sum(shares(level), Fraction())
    )
    under, over = shares(levels[high - 1]), shares(levels[high])
    missing, grown = copies - sum(under, Fraction()), sum(over, Fraction()) - sum(under, Fraction())
    part = missing / grown if grown else Fraction(1)
    return [partitions * (low + (top - low) * part) for low, top in zip(under, over, strict=True)]
