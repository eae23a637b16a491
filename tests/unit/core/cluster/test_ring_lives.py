"""The lives of clusters: 3 to 200 nodes, zones and weights, nodes that join and leave in any order.

After every step: bounds, separate zones, little movement, and the same plan whoever makes it. What is allowed
is computed here anew, from what the design says, not by the code under test.
"""

import os
import subprocess
import sys
from collections import Counter, deque
from collections.abc import Sequence
from dataclasses import replace
from fractions import Fraction
from hashlib import blake2b
from math import ceil, floor
from pathlib import Path
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.support.core.placement import load_bounds
from tests.support.paths import ROOT

import ringkeep.core.cluster.ring
from ringkeep.core.cluster.placement import place, replan
from ringkeep.core.cluster.ring import RingNode, build_ring
from ringkeep.core.cluster.shares import replica_shares

Placement = list[tuple[str, ...]]
Bounds = dict[str, int]

# --- what the design allows --------------------------------------------------------------------------


def shares(nodes: Sequence[RingNode], total: int) -> dict[str, Fraction]:
    weight = sum(node.weight for node in nodes)
    return {node.id: Fraction(total * node.weight, weight) for node in nodes}


def by_weight(nodes: Sequence[RingNode], total: int, most: int) -> Bounds:
    """The bound as the design states it; nobody holds more than `most` in any case."""
    return {
        id: min(most, max(ceil(share), floor(share * 11 / 10))) for id, share in shares(nodes, total).items()
    }


def zones_allow(nodes: Sequence[RingNode], partitions: int, copies: int, bounds: Bounds) -> bool:
    """Whether a placement within these bounds exists that separates the zones.

    If there are zones enough, a zone takes at most one replica of a partition; if not, at least one of each,
    and so at most what the others leave. Laid out zone by zone, node by node, around a circle of partitions,
    any loads within these limits make a placement: so the limits are all there is to look at.
    """
    room: Counter[str] = Counter()
    for node in nodes:
        room[node.zone] += bounds[node.id]
    most = partitions * max(1, copies - len(room) + 1)
    least = 0 if copies <= len(room) else partitions
    return min(room.values()) >= least and sum(min(most, r) for r in room.values()) >= partitions * copies


def replica_bounds(nodes: Sequence[RingNode], partitions: int, copies: int) -> tuple[Bounds, bool]:
    """The most replicas that each node may hold, and whether that is the bound by weight.

    Where the zones forbid that one, they outrank balance: then it is what the code says is fairest.
    """
    bounds = by_weight(nodes, partitions * copies, most=partitions)
    if zones_allow(nodes, partitions, copies, bounds):
        return bounds, True
    return {id: full for id, (full, _) in load_bounds(nodes, partitions, copies).items()}, False


def held(placement: Placement) -> Counter[str]:
    return Counter(node for voters in placement for node in voters)


def received(before: Placement, after: Placement) -> Counter[str]:
    """How many replicas each node got that it did not have."""
    return Counter(node for old, new in zip(before, after, strict=True) for node in new if node not in old)


def alive(nodes: Sequence[RingNode]) -> list[RingNode]:
    return [node for node in nodes if node.weight]


def check(nodes: Sequence[RingNode], replication: int, placement: Placement) -> None:
    """Distinct nodes, in distinct zones while zones last, and nobody above a bound."""
    zone_of = {node.id: node.zone for node in alive(nodes)}
    copies = min(replication, len(zone_of))
    for voters in placement:
        assert len(voters) == len(set(voters)) == copies
        assert len({zone_of[node] for node in voters}) == min(copies, len(set(zone_of.values())))
    full, _ = replica_bounds(alive(nodes), len(placement), copies)
    for id, count in held(placement).items():
        assert count <= full[id], f"{id} holds {count} > {full[id]}"
    lead = by_weight(alive(nodes), len(placement), most=len(placement))
    for id, count in Counter(voters[0] for voters in placement).items():
        assert count <= lead[id], f"{id} leads {count} > {lead[id]}"


def demanded(nodes: Sequence[RingNode], replication: int, before: Placement) -> int:
    """How many replicas the bounds of the new membership take away from nodes that stay."""
    copies = min(replication, len(alive(nodes)))
    full, _ = replica_bounds(alive(nodes), len(before), copies)
    had = held(before)
    return sum(max(0, had[id] - bound) for id, bound in full.items())


# --- lives -------------------------------------------------------------------------------------------


class Life:
    """A cluster, its placement, and what happens to it."""

    def __init__(self, nodes: list[RingNode], partitions: int, replication: int) -> None:
        self.nodes = nodes
        self.replication = replication
        self.gone: list[RingNode] = []
        self.now = place(nodes, partitions, replication)
        self.before: Placement = []
        check(nodes, replication, self.now)

    def change(self, nodes: list[RingNode], random: Random) -> None:
        """Plan for other nodes, as two controllers would that know them in different orders."""
        self.before, self.nodes = self.now, nodes
        given = [tuple(voters) for voters in self.before]
        shuffled = random.sample(nodes, len(nodes))
        self.now = replan(nodes, len(given), self.replication, given)
        assert replan(shuffled, len(given), self.replication, given) == self.now, "any controller plans this"
        assert replan(shuffled, len(given), self.replication, self.now) == self.now, "and it is final"
        assert given == self.before, "what is present is only read"
        check(nodes, self.replication, self.now)

    def leave(self, number: int, random: Random) -> RingNode:
        node = self.nodes[number % len(self.nodes)]
        self.gone.append(node)
        self.change([other for other in self.nodes if other is not node], random)
        return node

    def moved(self) -> int:
        return received(self.before, self.now).total()

    def lost(self) -> int:
        """How many replicas were on nodes that are not there any more."""
        return sum(
            n for id, n in held(self.before).items() if id not in {node.id for node in alive(self.nodes)}
        )

    def grown(self) -> int:
        """How many replicas there are more, because there are more nodes than there were."""
        return max(0, held(self.now).total() - held(self.before).total())


def node_counts(smallest: int, largest: int) -> st.SearchStrategy[int]:
    """Any number between, and often one of the ends."""
    return st.integers(smallest, largest) | st.sampled_from([smallest, largest])


randoms = st.integers(0, 2**32 - 1).map(Random)
steps = st.lists(st.sampled_from(["join", "leave", "return", "weigh"]), min_size=1, max_size=8)
SIZES = [(3, 9, 30), (10, 60, 12), (61, 200, 6)]
"""Fewest and most nodes to begin with, and how many lives."""


@pytest.mark.parametrize(("smallest", "largest", "examples"), SIZES)
def test_equal_nodes_join_and_leave_in_any_order(smallest: int, largest: int, examples: int) -> None:
    @settings(max_examples=examples, derandomize=True)
    @given(node_counts(smallest, largest), st.booleans(), st.sampled_from([1, 2, 3, 3]), steps, randoms)
    def live(count: int, zoned: bool, replication: int, happens: list[str], random: Random) -> None:
        partitions = 64 if count < 64 else 256
        names = iter(range(1_000))

        def newcomer() -> RingNode:
            number = next(names)
            return RingNode(f"n{number}", f"z{number}" if zoned else "z", 1)

        life = Life([newcomer() for _ in range(count)], partitions, replication)
        for what in happens:
            if what in ("leave", "weigh") and len(life.nodes) > 3:
                life.leave(random.randrange(len(life.nodes)), random)
                assert life.moved() == life.lost(), "only what the leaver held"
                continue
            new = life.gone.pop() if what == "return" and life.gone else newcomer()
            life.change([*life.nodes, new], random)
            got = received(life.before, life.now)
            mean = Fraction(partitions * replication, len(life.nodes))
            assert floor(mean) <= got[new.id] <= Fraction(115, 100) * mean
            between = got.total() - got[new.id]
            assert between <= demanded(life.nodes, replication, life.before), "between two old nodes"

    live()


@pytest.mark.parametrize(("smallest", "largest", "examples"), SIZES)
def test_zones_and_weights_in_any_order(smallest: int, largest: int, examples: int) -> None:
    @settings(max_examples=2 * examples, derandomize=True)
    @given(
        node_counts(smallest, largest), st.sampled_from([1, 2, 3, 4, 7, 1_000]),
        st.sampled_from([[1], [1, 2], [1, 1, 1, 4], [0, 1, 3], [1, 10]]), st.sampled_from([1, 2, 3, 3, 5]),
        steps, randoms,
    )  # fmt: skip
    def live(
        count: int, zones: int, weights: list[int], replication: int, happens: list[str], random: Random
    ) -> None:
        names = iter(range(1_000))

        def newcomer() -> RingNode:
            return RingNode(f"n{next(names)}", f"z{random.randrange(zones)}", random.choice(weights))

        life = Life([RingNode("first", "z0", 1), *(newcomer() for _ in range(count - 1))], 64, replication)
        for what in happens:
            nodes = life.nodes
            if what == "leave" and len(nodes) > 3:
                # The first one stays: somebody has a weight.
                life.leave(random.randrange(1, len(nodes)), random)
            elif what == "return" and life.gone:
                life.change([*nodes, life.gone.pop()], random)
            elif what == "weigh":
                at = random.randrange(1, len(nodes))
                other = replace(nodes[at], weight=random.choice(weights))
                life.change([*nodes[:at], other, *nodes[at + 1 :]], random)
            else:
                life.change([*nodes, newcomer()], random)
            # Twice: a replica may have to go where another one makes room for it.
            assert life.moved() <= 2 * due(life)

    live()


def due(life: Life) -> int:
    """How many replicas there is a reason to move: lost, above a bound, wanted by nodes that have too little,
    or beside another one of their zone."""
    nodes, before = alive(life.nodes), life.before
    copies = min(life.replication, len(nodes))
    had, fair = held(before), shares(nodes, len(before) * copies)
    if not replica_bounds(nodes, len(before), copies)[1]:
        ring = build_ring(nodes)
        fair = dict(
            zip((node.id for node in ring.nodes), replica_shares(ring, len(before), copies), strict=True)
        )
    wanted = sum(max(0, floor(share) - had[id]) for id, share in fair.items() if had[id] < share / 2)
    zone_of = {node.id: node.zone for node in nodes}
    zones = len(set(zone_of.values()))
    beside = 0
    for voters in before:
        left = [zone_of[id] for id in voters if id in zone_of]
        beside += min(len(left), zones) - len(set(left))
    return life.lost() + life.grown() + demanded(life.nodes, copies, before) + wanted + beside


# --- against the least movement that there can be ---------------------------------------------------------


def least_moves(nodes: Sequence[RingNode], present: Placement, full: Bounds, copies: int) -> int | None:
    """The fewest replicas that must move to a placement within bounds and zones; None if there is none.

    A cheapest flow, unit by unit: from nodes through (zone, partition) to partitions; to keep costs nothing.
    """
    zones = sorted({node.zone for node in nodes})
    arcs: dict[object, dict[object, list[int]]] = {}  # tail, head: [room, cost]

    def arc(tail: object, head: object, room: int, cost: int = 0) -> None:
        arcs.setdefault(tail, {})[head] = [room, cost]
        arcs.setdefault(head, {})[tail] = [0, -cost]

    required = 1_000  # a reward for what there must be, beyond all costs
    for node in nodes:
        arc("source", node.id, full[node.id])
    for p, voters in enumerate(present):
        arc(p, "sink", copies)
        for node in nodes:
            arc(node.id, (node.zone, p), 1, 0 if node.id in voters else 1)
        for zone in zones:
            arc((zone, p), p, 1, 0 if copies <= len(zones) else -required)
            if copies > len(zones):
                arc((zone, p), ("more", p), copies - len(zones))
        if copies > len(zones):
            arc(("more", p), p, copies - len(zones))
    cost = flow = 0
    while (path := _cheapest_path(arcs)) is not None:
        for tail, head in path:
            cost += arcs[tail][head][1]
            arcs[tail][head][0] -= 1
            arcs[head][tail][0] += 1
        flow += 1
    if copies > len(zones):
        cost += required * len(zones) * len(present)
    return cost if flow == len(present) * copies and cost < required else None


def _cheapest_path(arcs: dict[object, dict[object, list[int]]]) -> list[tuple[object, object]] | None:
    """Bellman and Ford, with a queue: costs may be negative."""
    cost: dict[object, int] = {"source": 0}
    came_from: dict[object, object] = {}
    waiting: deque[object] = deque(["source"])
    while waiting:
        tail = waiting.popleft()
        for head, (room, price) in arcs[tail].items():
            if room and cost[tail] + price < cost.get(head, 1 << 60):
                cost[head], came_from[head] = cost[tail] + price, tail
                if head not in waiting:
                    waiting.append(head)
    if "sink" not in cost:
        return None
    path: list[tuple[object, object]] = []
    step: object = "sink"
    while step != "source":
        path.append((came_from[step], step))
        step = came_from[step]
    return path


@settings(max_examples=60, derandomize=True)
@given(
    st.integers(3, 8), st.sampled_from([1, 2, 3, 4, 1_000]),
    st.sampled_from([[1], [1, 2], [1, 1, 1, 4], [1, 3]]), st.sampled_from([8, 16]),
    st.sampled_from([1, 2, 3, 3]), steps, randoms,
)  # fmt: skip
def test_hardly_more_moves_than_must(
    count: int, zones: int, weights: list[int], partitions: int, replication: int, happens: list[str],
    random: Random,
) -> None:  # fmt: skip
    names = iter(range(1_000))

    def newcomer() -> RingNode:
        return RingNode(f"n{next(names)}", f"z{random.randrange(zones)}", random.choice(weights))

    life = Life([newcomer() for _ in range(count)], partitions, replication)
    for what in happens:
        leaves = what in ("leave", "weigh") and len(life.nodes) > 3
        if leaves:
            life.leave(random.randrange(len(life.nodes)), random)
        else:
            life.change([*life.nodes, newcomer()], random)
        copies = min(replication, len(life.nodes))
        full, meant = replica_bounds(life.nodes, partitions, copies)
        least = least_moves(life.nodes, life.before, full, copies)
        assert least is not None
        wanted = 0 if leaves else received(life.before, life.now)[life.nodes[-1].id]
        assert life.moved() <= least + wanted + 1  # the one: for the bound of the primaries, in tiny clusters
        if not meant:
            bounds = by_weight(life.nodes, partitions * copies, most=partitions)
            assert least_moves(life.nodes, life.before, bounds, copies) is None, "the zones forbid it"


# --- another process ---------------------------------------------------------------------------------


def a_long_life() -> str:
    """A digest of every plan of a life that depends on nothing but this text."""
    random = Random(11)
    nodes = [RingNode(f"n{i}", f"z{random.randrange(6)}", random.choice([1, 1, 2, 5])) for i in range(40)]
    present = place(nodes, 64, 3)
    plans = blake2b(repr(present).encode())
    for step in range(30):
        if random.random() < 0.5:
            nodes.append(RingNode(f"new{step}", f"z{random.randrange(7)}", random.choice([1, 1, 2, 5])))
        else:
            nodes.pop(random.randrange(len(nodes)))
        present = replan(nodes, 64, 3, present)
        plans.update(repr(present).encode())
    return plans.hexdigest()


def test_a_process_with_another_hash_seed_lives_the_same_life() -> None:
    source = f"{Path(ringkeep.core.cluster.ring.__file__).parents[2]}{os.pathsep}{ROOT}"
    outputs = [
        subprocess.run(
            [sys.executable, __file__],
            env={**os.environ, "PYTHONHASHSEED": seed, "PYTHONPATH": source},
            check=True, capture_output=True, text=True, timeout=60,
        ).stdout.strip()
        for seed in ("1", "4242")
    ]  # fmt: skip
    assert outputs == [a_long_life()] * 2


if __name__ == "__main__":
    print(a_long_life())
