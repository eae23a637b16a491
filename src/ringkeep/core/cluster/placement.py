"""The placement plan: which nodes hold each partition, and which of them should lead it.

One rule, for replicas and then for primaries: what is in place stays; what is missing goes to the first node
of the preference list that is below its share; a node with far too little is filled up by the fullest ones; a
node with too much hands over what it must, through others if need be. All of it is a pure function of its
arguments, with iteration in the order of ids and partitions: any controller computes the same plan, and
planning a plan again changes nothing. The module knows nothing of epochs, of who is alive, or of how a
replica is moved.

Sources: "Consistent Hashing with Bounded Loads" (Mirrokni, Thorup, Zadimoghaddam, 2016) for passing over a
full node; shortest augmenting paths (Ford and Fulkerson) for the way from a full node to one with room.
"""

from collections.abc import Callable, Iterable, Sequence, Set
from fractions import Fraction
from itertools import product
from math import ceil, floor
from operator import itemgetter

from ringkeep.core.cluster.ring import (
    Ring,
    RingNode,
    build_ring,
    nearest,
    position,
    preference_list,
    zones_first,
)
from ringkeep.core.cluster.shares import at_most, primary_shares, replica_shares


def place(nodes: Sequence[RingNode], partitions: int, replication: int) -> list[tuple[str, ...]]:
    """Return a fresh placement: result[p] is the ids of p's voters, the preferred primary first.

    Every partition gets `min(replication, nodes with a weight)` distinct nodes, in as many zones as possible.
    No node holds or leads more than 1.1 times its share (`shares.at_most`).
    Cost: O(partitions * nodes); 4,096 partitions on 200 nodes take a fraction of a second.
    """
    return replan(nodes, partitions, replication, [()] * partitions)


def replan(
    nodes: Sequence[RingNode], partitions: int, replication: int, present: Sequence[tuple[str, ...]]
) -> list[tuple[str, ...]]:
    """Return the target placement for `nodes`, moving as little as possible of the `present` one.

    `present[p]` is the ids of p's voters, the preferred primary first; it may be empty or name nodes that are
    gone. A replica moves only when its node is gone, when a zone or a bound demands it, or when it goes to a
    node that joins, or has less than half of its share: that is filled up to its share by the fullest nodes.
    A present primary stays preferred by the same rules, though a node is given
    primaries below 0.9 of its share, and relieved of all if it does not lead; a change of order alone moves
    no data. The other voters follow in the order of the preference list: so they succeed the primary. The
    result has the shape of `place`'s, and `replan` of it is itself.
    Cost: O(partitions * voters); besides, for each replica moved, O(nodes) operations on sets, and O(nodes^2)
    where it takes a way through other nodes.
    """
    assert len(present) == partitions, "one tuple of voters per partition"
    ring = build_ring(nodes)
    if not ring.nodes:
        return [()] * partitions
    index = {node.id: i for i, node in enumerate(ring.nodes)}
    found = [[index[id] for id in dict.fromkeys(voters) if id in index] for voters in present]
    replicas = _Replicas(ring, found, min(replication, len(ring.nodes)))
    primaries = _Primaries(replicas)
    swapped = primaries.swap()
    target = []
    for p, voters in enumerate(_by_partition(replicas.sets, partitions)):
        order = preference_list(ring, position(p, partitions), voters)
        order.sort(key=lambda node: not primaries.sets[node] >> p & 1)
        target.append(tuple(ring.nodes[node].id for node in order))
    # Swaps are rare, and may have made room for other moves.
    return replan(nodes, partitions, replication, target) if swapped else target


def _by_node(voters: Iterable[Sequence[int]], nodes: int) -> list[int]:
    """Return for each node the set of its partitions, as an integer: bit p for partition p."""
    sets = [0] * nodes
    for p, found in enumerate(voters):
        for node in found:
            sets[node] |= 1 << p
    return sets


def _by_partition(sets: Sequence[int], partitions: int) -> list[list[int]]:
    """Return for each partition the nodes whose sets it is in."""
    found: list[list[int]] = [[] for _ in range(partitions)]
    for node, rest in enumerate(sets):
        while rest:
            p = rest.bit_length() - 1
            found[p].append(node)
            rest ^= 1 << p
    return found


class _Loads:
    """Which partitions each node has, as replicas or as primaries, against its share and its bound.

    What one node could give to another is a few operations on the nodes' sets, each a single integer.
    """

    detours = True
    """Whether a node is filled through others where nobody can give it anything directly."""

    def __init__(self, ring: Ring, partitions: int, shares: list[Fraction], was: list[int]) -> None:
        self.ring = ring
        self.partitions = partitions
        self.nodes = range(len(shares))
        self.was = was  # the sets as they were before planning
        self.sets = [0] * len(shares)
        self.loads = [0] * len(shares)  # how many partitions each set has: counted once, asked for very often
        self.unit = [float(share) or 1e-9 for share in shares]
        self.fair = [floor(share) for share in shares]
        self.full = [at_most(share, partitions) for share in shares]
        self.low = self.fair  # a node below it is filled up to its share

    def offers(self, giver: int, taker: int) -> int:
        """Return the set of partitions that `giver` could hand to `taker` without breaking a rule."""
        raise NotImplementedError

    def give(self, node: int, p: int) -> None:
        """Add p, which the node has not, to its partitions."""
        self.sets[node] |= 1 << p
        self.loads[node] += 1

    def pressure(self, node: int) -> tuple[bool, float]:
        """Return a key that sorts nodes by how full they are; those at their bound are the fullest."""
        load = self.loads[node]
        return load >= self.full[node], load / self.unit[node]

    def choose(self, order: Sequence[int]) -> int:
        """Return the first node below its share, or else the least full one.

        To stop at the share and not at the bound leaves the room between the two for later: the bound that
        shrinks with every join then demands next to no moves.
        """
        for node in order:
            if self.loads[node] < self.fair[node]:
                return node
        return min(order, key=self.pressure)

    def settle(self) -> None:
        """Hand over until no node has too little or too much, wherever the rules allow it."""
        while self._fill_up() or self._relieve():
            pass  # either may make room for the other

    def _fill_up(self) -> bool:
        """Fill the nodes that have too little up to their share, from the fullest; True if any got some."""
        moved = False
        for taker in [node for node in self.nodes if self.loads[node] < self.low[node]]:
            while self.loads[taker] < self.fair[taker]:
                above = [node for node in self.nodes if self.loads[node] > self.fair[node]]
                above.sort(key=self.pressure, reverse=True)
                if not self._pass_on(above, {taker}, self.detours):
                    break
                moved = True
        return moved

    def _relieve(self) -> bool:
        """Bring nodes above their bound back to it, where others can take it; True if any gave some."""
        moved = False
        for giver in self.nodes:
            while self.loads[giver] > self.full[giver]:
                room = {node for node in self.nodes if self.loads[node] < self.full[node]}
                if not self._pass_on([giver], room, detours=True):
                    break
                moved = True
        return moved

    def _pass_on(self, givers: Sequence[int], room: Set[int], detours: bool) -> bool:
        """Hand over one partition along each step of a shortest way from `givers` to `room`; False if none.

        New nodes are reached first, then the least full ones. Nearly always one step is enough: the nodes in
        between are put in order only when it is not.
        """
        takers = sorted(room, key=lambda n: (self.was[n] != 0, self.pressure(n), n))
        for giver in givers:
            for taker in takers:
                if offer := self.offers(giver, taker):
                    self.hand_over(giver, taker, offer)
                    return True
        return detours and self._pass_through(givers, room)

    def _pass_through(self, givers: Sequence[int], room: Set[int]) -> bool:
        """Do what `_pass_on` does by way of other nodes."""
        order = sorted(self.nodes, key=lambda n: (n not in room, self.was[n] != 0, self.pressure(n)))
        came_from = dict.fromkeys(givers, -1)
        reached = list(givers)
        for giver in reached:  # grows while it is walked: breadth first
            for taker in order:
                if taker in came_from or not self.offers(giver, taker):
                    continue
                came_from[taker] = giver
                if taker in room:
                    # The last step goes first. If one step could spoil another of the same partition, a
                    # shorter way would have skipped both.
                    while (before := came_from[taker]) >= 0:
                        self.hand_over(before, taker, self.offers(before, taker))
                        taker = before
                    return True
                reached.append(taker)
        return False

    def hand_over(self, giver: int, taker: int, choice: int) -> int:
        """Hand over one partition of the set `choice`, and return it: the cheapest, then the nearest.

        It costs nothing to return what the taker had before planning, or to pass on what the giver had not.
        """
        choice = choice & self.was[taker] or choice & ~self.was[giver] or choice
        p = next(p for p in nearest(self.ring.tokens[taker], self.partitions) if choice >> p & 1)
        self.sets[giver] ^= 1 << p
        self.loads[giver] -= 1
        self.give(taker, p)
        return p


class _Replicas(_Loads):
    """Who holds which partition: distinct nodes, in as many zones as possible."""

    detours = False  # nodes that stay exchange nothing for the sake of one that joins

    def __init__(self, ring: Ring, found: Sequence[Sequence[int]], copies: int) -> None:
        partitions = len(found)
        shares = replica_shares(ring, partitions, copies)
        super().__init__(ring, partitions, shares, _by_node(found, len(shares)))
        # A node somewhat below its share is no reason to move data: only new and newly heavy ones are filled.
        # They say that they are, so that a plan goes on to its end when it is made anew halfway.
        half = [ceil(share / 2) for share in shares]
        self.low = [f if node.joins else h for node, f, h in zip(ring.nodes, self.fair, half, strict=True)]
        self.copies = copies
        self.led = _by_node([voters[:1] for voters in found], len(shares))  # before planning
        kept: list[list[int]] = [[] for _ in found]
        for p, voters in enumerate(found):
            if len(voters) == copies == len({ring.zones[node] for node in voters}):
                for node in voters:  # as nearly all are: nothing is to be chosen
                    self.give(node, p)
                kept[p] = list(voters)
            else:
                self._fill(p, kept[p], zones_first(ring, voters), itemgetter(0))
        for p, voters in enumerate(kept):
            if len(voters) < copies:
                self._fill(p, voters, preference_list(ring, position(p, partitions), self.nodes), self.choose)
        self.members: list[list[int]] = [[] for _ in range(ring.zone_count)]
        for node, zone in enumerate(ring.zones):
            self.members[zone].append(node)
        self.once = [0] * ring.zone_count
        self.twice = [0] * ring.zone_count
        for zone in range(ring.zone_count):
            self._count_zone(zone)
        self.settle()

    def _fill(
        self, p: int, voters: list[int], order: Sequence[int], choose: Callable[[Sequence[int]], int]
    ) -> None:
        """Add to p's voters nodes of `order`, until there are enough, and keep a place for every zone."""
        zones = self.ring.zones
        while len(voters) < self.copies:
            there = {zones[node] for node in voters}  # only counted and asked, never iterated
            spare = len(voters) - len(there) < self.copies - self.ring.zone_count
            fitting = [n for n in order if n not in voters and (spare or zones[n] not in there)]
            if not fitting:
                return
            voters.append(choose(fitting))
            self.give(voters[-1], p)

    def _count_zone(self, zone: int) -> None:
        """Note which partitions have a voter in the zone, and which have more than one."""
        once = twice = 0
        for node in self.members[zone]:
            twice |= once & self.sets[node]
            once |= self.sets[node]
        self.once[zone], self.twice[zone] = once, twice

    def offers(self, giver: int, taker: int) -> int:
        movable = self.sets[giver] & ~self.sets[taker]
        here, there = self.ring.zones[giver], self.ring.zones[taker]
        return movable if here == there else movable & (self.twice[here] | ~self.once[there])

    def hand_over(self, giver: int, taker: int, choice: int) -> int:
        # What a node leads goes last: another would have to lead it first.
        p = super().hand_over(giver, taker, choice & ~self.led[giver] or choice)
        for zone in (self.ring.zones[giver], self.ring.zones[taker]):
            self._count_zone(zone)
        return p


class _Primaries(_Loads):
    """Which voter leads each partition."""

    def __init__(self, replicas: _Replicas) -> None:
        ring, partitions = replicas.ring, replicas.partitions
        shares = primary_shares(ring, partitions)
        super().__init__(ring, partitions, shares, replicas.led)
        # To hand over leadership is cheap, and primaries do most of the work: they are kept more even.
        self.low = [ceil(share * 9 / 10) for share in shares]
        self.replicas = replicas
        self.sets = [led & held for led, held in zip(replicas.led, replicas.sets, strict=True)]
        self.loads = [found.bit_count() for found in self.sets]
        leading = _by_partition(self.sets, partitions)
        for p, voters in enumerate(_by_partition(replicas.sets, partitions)):
            if not leading[p]:
                self.give(self.choose(preference_list(ring, position(p, partitions), voters)), p)
        self.settle()

    def offers(self, giver: int, taker: int) -> int:
        return self.sets[giver] & self.replicas.sets[taker]

    def swap(self) -> bool:
        """Bring nodes above their bound back to it where order alone cannot; True if replicas had to move.

        A node with room becomes a voter of what such a node leads, and gives up another replica for it.
        To drain a node moves no data: then primaries are as even as the order allows.
        """
        replicas, swapped = self.replicas, False
        leaders = (
            [n for n in self.nodes if self.loads[n] > self.full[n]]
            if all(n.leads for n in self.ring.nodes)
            else []
        )
        for leader, taker, giver in product(leaders, self.nodes, self.nodes):
            there = replicas.offers(giver, taker) & self.sets[leader]
            back = replicas.offers(taker, giver) & ~self.sets[taker]
            due = self.loads[leader] > self.full[leader] and self.loads[taker] < self.full[taker]
            if due and there and (back or replicas.loads[taker] < replicas.full[taker]):
                p = replicas.hand_over(giver, taker, there)
                if back:
                    replicas.hand_over(taker, giver, back)
                self.hand_over(leader, taker, 1 << p)
                swapped = True
        return swapped
