"""Ring and placement: what must hold for any membership, and what may move when it changes."""

import hashlib
import os
import subprocess
import sys
from collections import Counter, deque
from fractions import Fraction
from itertools import chain
from math import ceil, floor
from pathlib import Path

import pytest
import uhashring
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.support.core.placement import load_bounds, preferred

import ringkeep.core.cluster.ring
from ringkeep.core.cluster.placement import place, replan
from ringkeep.core.cluster.ring import (
    TOKEN_SPACE,
    RingNode,
    build_ring,
    position,
)

Placement = list[tuple[str, ...]]

many = settings(max_examples=60, derandomize=True)
few = settings(max_examples=25, derandomize=True)


def equal_nodes(count: int, zones: int | None = None) -> list[RingNode]:
    """Nodes n0, n1 … of weight 1, each in a zone of its own or dealt out over `zones`."""
    return [RingNode(f"n{i}", f"z{i % (zones or count)}", 1) for i in range(count)]


@st.composite
def clusters(draw: st.DrawFn, smallest: int = 3, largest: int = 50) -> list[RingNode]:
    count = draw(st.integers(smallest, largest))
    zones = draw(st.sampled_from([1, 2, 3, 4, count]))
    weights = draw(st.sampled_from([[1], [1, 2], [1, 1, 1, 4], [0, 1, 3], [1, 10]]))
    return [
        RingNode(f"node-{i}", f"z{draw(st.integers(0, zones - 1))}", draw(st.sampled_from(weights)))
        for i in draw(st.lists(st.integers(0, 999), min_size=count, max_size=count, unique=True))
    ]


partition_counts = st.sampled_from([16, 64, 128, 256])
replications = st.sampled_from([1, 2, 3, 3, 5])


def held(placement: Placement) -> Counter[str]:
    return Counter(node for voters in placement for node in voters)


def led(placement: Placement) -> Counter[str]:
    return Counter(voters[0] for voters in placement if voters)


def moves(before: Placement, after: Placement) -> Counter[str]:
    """How many replicas each node receives that it did not have."""
    return Counter(node for old, new in zip(before, after, strict=True) for node in new if node not in old)


def check(nodes: list[RingNode], replication: int, placement: Placement) -> None:
    """Coverage, distinctness, zone separation, and both bounds."""
    zone_of = {node.id: node.zone for node in nodes if node.weight}
    copies = min(replication, len(zone_of))
    zones = min(copies, len(set(zone_of.values())))
    for voters in placement:
        assert len(voters) == len(set(voters)) == copies
        assert len({zone_of[node] for node in voters}) == zones
    replicas, primaries = held(placement), led(placement)
    for node, (full, lead) in load_bounds(nodes, len(placement), replication).items():
        assert replicas[node] <= full, f"{node} holds {replicas[node]} > {full}"
        assert primaries[node] <= lead, f"{node} leads {primaries[node]} > {lead}"


def naive_bounds(nodes: list[RingNode], total: int) -> dict[str, int]:
    """The bound by weight alone, as the design states it."""
    weight = sum(node.weight for node in nodes)
    means = {node.id: Fraction(total * node.weight, weight) for node in nodes}
    return {id: max(ceil(mean), floor(Fraction(11, 10) * mean)) for id, mean in means.items()}


# --- the ring ---


def naive_preference_list(nodes: list[RingNode], at: int, count: int) -> tuple[str, ...]:
    """Sort every token by its distance from `at`; take nodes in one pass for zones and one for the rest."""
    tokens = []
    for node in nodes:
        for number in range(128 * node.weight):
            digest = hashlib.blake2b(node.id.encode() + number.to_bytes(4, "big"), digest_size=8).digest()
            tokens.append(((int.from_bytes(digest, "big") - at) % TOKEN_SPACE, node.id, node))
    met = list({node.id: node for _, _, node in sorted(tokens, key=lambda token: token[:2])}.values())
    chosen: list[RingNode] = []
    for node in met:
        if node.zone not in [other.zone for other in chosen]:
            chosen.append(node)
    chosen += [node for node in met if node not in chosen]
    return tuple(node.id for node in chosen[:count])


@few
@given(clusters(largest=20), st.integers(0, TOKEN_SPACE - 1), st.integers(0, 8))
def test_preference_list_agrees_with_a_naive_one(nodes: list[RingNode], at: int, count: int) -> None:
    ring = build_ring(nodes)
    places = [
        at,
        0,
        TOKEN_SPACE - 1,
        *(tokens[0] for tokens in ring.tokens),
        *(tokens[-1] for tokens in ring.tokens),
    ]  # also exactly on a token
    for token in places:
        assert preferred(ring, token, count) == naive_preference_list(nodes, token, count)


def test_the_plain_ring_is_that_of_another_library() -> None:
    nodes = equal_nodes(7)

    def token_of(key: str) -> int:
        if key.startswith("at:"):
            return int(key[3:])
        node, number = key.rsplit("-", 1)
        digest = hashlib.blake2b(node.encode() + int(number).to_bytes(4, "big"), digest_size=8).digest()
        return int.from_bytes(digest, "big")

    other = uhashring.HashRing([node.id for node in nodes], vnodes=128, hash_fn=token_of)
    ring = build_ring(nodes)
    assert sorted(token for token, _ in other.get_points()) == sorted(chain(*ring.tokens))
    for partition in range(256):
        at = position(partition, 256)
        walk = tuple(point["nodename"] for point in other.range(f"at:{at}", 3, unique=True))
        assert preferred(ring, at, 3) == walk


def test_preference_list_prefers_zones_and_then_goes_back_for_the_rest() -> None:
    nodes = [RingNode("a", "east", 1), RingNode("b", "east", 1), RingNode("c", "west", 1)]
    ring = build_ring(nodes)
    for partition in range(64):
        first, second, third = preferred(ring, position(partition, 64), 3)
        assert {first, second} != {"a", "b"}
        assert {first, second, third} == {"a", "b", "c"}


def test_a_heavier_node_keeps_its_tokens() -> None:
    light, heavy = (build_ring([RingNode("a", "z", weight)]).tokens[0] for weight in (1, 3))
    assert len(light) == 128
    assert len(heavy) == 384
    assert set(light) < set(heavy)


# --- placement ---


def test_five_equal_nodes_stay_within_a_tenth_of_the_mean() -> None:
    for nodes in equal_nodes(5), equal_nodes(5, zones=1):
        placement = place(nodes, 256, 3)
        assert max(held(placement).values()) <= 1.1 * 256 * 3 / 5
        assert max(led(placement).values()) <= 1.1 * 256 / 5


@many
@given(clusters(), partition_counts, replications)
def test_place_covers_separates_and_balances(
    nodes: list[RingNode], partitions: int, replication: int
) -> None:
    placement = place(nodes, partitions, replication)
    assert len(placement) == partitions
    check(nodes, replication, placement)
    assert place(nodes[::-1], partitions, replication) == placement
    assert replan(nodes, partitions, replication, placement) == placement


@few
@given(st.integers(3, 50), partition_counts, replications, st.booleans())
def test_equal_nodes_meet_the_bound_of_the_design(
    count: int, partitions: int, replication: int, zoned: bool
) -> None:
    nodes = equal_nodes(count, None if zoned else 1)
    placement = place(nodes, partitions, replication)
    replicas, primaries = held(placement), led(placement)
    by_weight = naive_bounds(nodes, partitions * min(replication, count))
    for node, bound in naive_bounds(nodes, partitions).items():
        assert replicas[node] <= by_weight[node]
        assert primaries[node] <= bound


def zones_allow(nodes: list[RingNode], partitions: int, replication: int, bounds: dict[str, int]) -> bool:
    """Whether separate zones and these bounds allow any placement at all: a maximum flow, unit by unit."""
    room: dict[tuple[object, object], int] = {}
    beside: dict[object, list[object]] = {}

    def arc(tail: object, head: object, capacity: int) -> None:
        room[tail, head] = room.get((tail, head), 0) + capacity
        room.setdefault((head, tail), 0)
        beside.setdefault(tail, []).append(head)
        beside.setdefault(head, []).append(tail)

    for p in range(partitions):
        for zone in sorted({node.zone for node in nodes}):
            arc((zone, p), p, 1)
        for node in nodes:
            arc(node.id, (node.zone, p), 1)
        arc(p, "sink", replication)
    for node in nodes:
        arc("source", node.id, bounds[node.id])
    for _ in range(partitions * replication):
        came_from: dict[object, object] = {"source": None}
        waiting: deque[object] = deque(["source"])
        while waiting and "sink" not in came_from:
            tail = waiting.popleft()
            for head in beside[tail]:
                if head not in came_from and room[tail, head]:
                    came_from[head] = tail
                    waiting.append(head)
        if "sink" not in came_from:
            return False
        step: object = "sink"
        while step != "source":
            room[came_from[step], step] -= 1
            room[step, came_from[step]] += 1
            step = came_from[step]
    return True


@many
@given(clusters(largest=7), st.sampled_from([4, 8]), st.sampled_from([1, 2, 3]))
def test_the_bound_by_weight_holds_whenever_zones_allow_it(
    nodes: list[RingNode], partitions: int, replication: int
) -> None:
    nodes = [node for node in nodes if node.weight]
    if replication > len({node.zone for node in nodes}):
        return  # this flow knows only "at most one per zone"
    bounds = naive_bounds(nodes, partitions * replication)
    if zones_allow(nodes, partitions, replication, bounds):
        replicas = held(place(nodes, partitions, replication))
        assert all(replicas[node] <= bound for node, bound in bounds.items())


def test_zones_outrank_balance() -> None:
    nodes = [RingNode("alone", "a", 1), *(RingNode(f"b{i}", "b", 1) for i in range(4))]
    replicas = held(place(nodes, 64, 2))
    assert replicas["alone"] == 64  # one of each partition, far above its share
    assert max(replicas[f"b{i}"] for i in range(4)) <= 17


def test_weight_zero_gets_nothing_and_few_nodes_give_few_replicas() -> None:
    nodes = [RingNode("a", "z", 1), RingNode("b", "z", 0), RingNode("c", "y", 2)]
    assert {frozenset(voters) for voters in place(nodes, 32, 3)} == {frozenset({"a", "c"})}
    assert place(nodes[1:2], 4, 3) == [(), (), (), ()]
    assert place([], 2, 3) == [(), ()]


def bounds_by_zone(weights: dict[str, list[int]], partitions: int, replication: int) -> dict[str, int]:
    """The replica bound of the first node of each zone."""
    nodes = [RingNode(f"{zone}{i}", zone, w) for zone, ws in weights.items() for i, w in enumerate(ws)]
    check(nodes, replication, place(nodes, partitions, replication))
    bounds = load_bounds(nodes, partitions, replication)
    return {zone: bounds[f"{zone}0"][0] for zone in weights}


def test_bounds_where_zones_forbid_shares_by_weight() -> None:
    # a's share by weight is 286 of 400, but a zone takes one replica of each of 200 partitions at most.
    assert bounds_by_zone({"a": [5, 5], "b": [1, 1], "c": [1, 1]}, 200, 2) == {"a": 110, "b": 55, "c": 55}
    # Four replicas in three zones: a, with a share by weight of 89, must hold one of every partition.
    assert bounds_by_zone({"a": [1], "b": [2, 2], "c": [2, 2]}, 200, 4) == {"a": 200, "b": 165, "c": 165}
    # c is a little too heavy to use its share, but the bounds by weight leave the others room enough.
    assert bounds_by_zone({"a": [1] * 10, "b": [1] * 10, "c": [1] * 11}, 256, 3) == {
        "a": 27,
        "b": 27,
        "c": 25,
    }


def test_primaries_keep_their_bound_where_order_alone_cannot() -> None:
    # Each of seven nodes may lead one partition, but too many lie on the same few nodes: a replica must move.
    nodes = [RingNode(f"n{i}", zone, 1) for i, zone in enumerate("caabaaa")]
    present = [tuple(f"n{i}" for i in pair) for pair in ["52", "10", "01", "21", "36", "10", "10"]]
    target = replan(nodes, 7, 2, present)
    check(nodes, 2, target)
    assert set(led(target).values()) == {1}
    assert replan(nodes, 7, 2, target) == target


# --- movement ---


@few
@given(st.integers(3, 49), partition_counts, st.sampled_from([1, 2, 3]), st.sampled_from([None, 1]))
def test_joining_moves_little_and_only_to_the_newcomer(
    count: int, partitions: int, replication: int, zones: int | None
) -> None:
    before = place(equal_nodes(count, zones), partitions, replication)
    nodes = [*equal_nodes(count, zones), RingNode("new", "new" if zones is None else "z0", 1)]
    after = replan(nodes, partitions, replication, before)
    check(nodes, replication, after)
    assert replan(nodes, partitions, replication, after) == after
    if count < replication:
        return  # then every partition also gains a copy
    mean = Fraction(partitions * replication, count + 1)
    received = moves(before, after)
    assert floor(mean) <= received["new"] <= Fraction(115, 100) * mean
    assert received.total() == received["new"], "nothing moves between two old nodes"


@few
@given(st.integers(4, 50), partition_counts, st.sampled_from([1, 2, 3]), st.data())
def test_leaving_moves_only_what_the_leaver_held(
    count: int, partitions: int, replication: int, data: st.DataObject
) -> None:
    nodes = equal_nodes(count)
    before = place(nodes, partitions, replication)
    gone = nodes.pop(data.draw(st.integers(0, count - 1)))
    after = replan(nodes, partitions, replication, before)
    check(nodes, replication, after)
    for old, new in zip(before, after, strict=True):
        assert set(old) - {gone.id} <= set(new)
    assert moves(before, after).total() == held(before)[gone.id]
    assert replan(nodes, partitions, replication, after) == after


@few
@given(clusters(smallest=2, largest=24), clusters(smallest=1, largest=24), partition_counts, replications)
def test_any_change_ends_in_a_good_placement_that_is_final(
    old: list[RingNode], new: list[RingNode], partitions: int, replication: int
) -> None:
    present = place(old, partitions, replication)
    target = replan(new, partitions, replication, present)
    check(new, replication, target)
    assert replan(new, partitions, replication, target) == target


@few
@given(clusters(smallest=1, largest=12), st.data())
def test_any_present_placement_is_mended(nodes: list[RingNode], data: st.DataObject) -> None:
    ids = [*(node.id for node in nodes), "gone"]
    present = data.draw(
        st.lists(st.lists(st.sampled_from(ids), max_size=5).map(tuple), min_size=16, max_size=16)
    )
    target = replan(nodes, 16, 3, present)
    check(nodes, 3, target)
    assert replan(nodes, 16, 3, target) == target


def test_a_long_life_keeps_balance_and_movement_small() -> None:
    nodes = equal_nodes(6, zones=3)
    present = place(nodes, 256, 3)
    for number in range(6, 30):
        nodes.append(RingNode(f"n{number}", f"z{number % 3}", 1))
        target = replan(nodes, 256, 3, present)
        check(nodes, 3, target)
        # While the zones differ in size, a newcomer's share is a part of what its zone must hold.
        share = max(256 * 3 / len(nodes), 256 / sum(node.zone == nodes[-1].zone for node in nodes))
        assert moves(present, target).total() <= 1.15 * share
        present = target
    for _ in range(24):
        lost = held(present)[nodes.pop(0).id]
        target = replan(nodes, 256, 3, present)
        check(nodes, 3, target)
        assert moves(present, target).total() == lost
        present = target


def test_changing_only_the_order_moves_no_data() -> None:
    nodes = equal_nodes(5)
    present = [tuple(sorted(voters)) for voters in place(nodes, 256, 3)]  # n0 leads far too much
    target = replan(nodes, 256, 3, present)
    assert moves(present, target).total() == 0
    check(nodes, 3, target)


# --- determinism and cost ---


@pytest.mark.parametrize("partitions", [64])
def test_every_process_computes_the_same_plan(partitions: int) -> None:
    script = f"""
from ringkeep.core.cluster.placement import place, replan
from ringkeep.core.cluster.ring import RingNode
nodes = [RingNode(f"n{{i}}", f"z{{i % 4}}", 1 + i % 3) for i in range(12)]
fresh = place(nodes, {partitions}, 3)
print(fresh, replan(nodes[2:], {partitions}, 3, fresh), replan(nodes[:3], {partitions}, 3, fresh))
"""
    source = str(Path(ringkeep.core.cluster.ring.__file__).parents[2])
    outputs = {
        subprocess.run(
            [sys.executable, "-c", script],
            env={**os.environ, "PYTHONHASHSEED": seed, "PYTHONPATH": source},
            check=True,
            capture_output=True,
            text=True,
        ).stdout
        for seed in ("1", "4242")
    }
    assert len(outputs) == 1


def test_a_large_cluster_is_planned_in_full() -> None:
    nodes = equal_nodes(200, zones=5)
    placement = place(nodes, 4_096, 3)
    check(nodes, 3, placement)
    assert replan(nodes, 4_096, 3, placement) == placement
