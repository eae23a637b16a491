"""Which map may follow which: every single step that two majorities could disagree on is refused."""

from dataclasses import replace

import pytest
from tests.support.core.parts import A, B, C, D, E, a_map, a_part

from ringkeep.core.protocol.cluster_map import ClusterMap, NodeState, Partition
from ringkeep.core.protocol.types import Epoch, Incarnation, MapVersion
from ringkeep.sim.checks.map_rules import illegal

NODES = (A, B, C, D, E)
NOW = MapVersion(8)
"""The config of a map whose step it is to change the replicas: it follows map 7."""

STABLE = a_part(A)
LEARNER = a_part(A, learner=D, replaces=C)
GROWING = a_part(A, learner=D)
JOINT = a_part(A, (A, B, D), old_voters=(A, B, C))


def reason(before: Partition, after: Partition) -> str:
    return illegal(a_map(before, nodes=NODES), a_map(after, nodes=NODES, version=8))


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (STABLE, a_part(B, epoch=Epoch(4))),
        (STABLE, a_part(A, (C, B, A))),
        (STABLE, replace(LEARNER, config=NOW)),
        (LEARNER, replace(JOINT, config=NOW)),
        (LEARNER, replace(STABLE, config=NOW)),
        (GROWING, a_part(A, (A, B, C, D), old_voters=(A, B, C), config=NOW)),
        (JOINT, a_part(A, (A, B, D), config=NOW)),
        (JOINT, replace(STABLE, config=NOW)),
        (JOINT, replace(JOINT, primary=B, epoch=Epoch(4))),
        (STABLE, a_part(A, (A, B), old_voters=(A, B, C), config=NOW)),
    ],
)
def test_every_step_of_a_change_is_legal(before: Partition, after: Partition) -> None:
    assert reason(before, after) == ""


@pytest.mark.parametrize(
    ("before", "after", "why"),
    [
        (STABLE, a_part(A, (A, B, D), config=NOW), "voters change without a joint step"),
        (STABLE, a_part(A, (A, B, C, D), config=NOW), "voters change without a joint step"),
        (STABLE, replace(JOINT, config=NOW), "a voter that was no learner"),
        (STABLE, a_part(A, (A,), old_voters=(A, B, C), config=NOW), "a voter that was no learner"),
        (LEARNER, a_part(A, (A, B, E), old_voters=(A, B, C), config=NOW), "than the learner was meant for"),
        (LEARNER, a_part(A, (A, D), old_voters=(A, B, C), config=NOW), "than the learner was meant for"),
        (LEARNER, a_part(A, (A, B, D), old_voters=(A, B, E), config=NOW), "starts from the present voters"),
        (JOINT, a_part(A, (A, C, D), config=NOW), "a joint change ends in"),
        (
            JOINT,
            a_part(A, (A, B, D), old_voters=(A, B, E), config=NOW),
            "a joint change ends in",
        ),
        (JOINT, replace(STABLE, learner=D, config=NOW), "a joint change ends in"),
        (STABLE, replace(LEARNER, config=MapVersion(1)), "under an older config"),
        (STABLE, replace(STABLE, config=NOW), "a new config without a change"),
        (STABLE, replace(LEARNER, config=NOW, epoch=Epoch(4)), "change in one step"),
        (STABLE, a_part(B), "has two holders"),
        (STABLE, a_part(A, incarnation=Incarnation(2)), "has two holders"),
        (STABLE, a_part(B, epoch=Epoch(5)), "epoch 3 is followed by 5"),
        (STABLE, a_part(B, epoch=Epoch(2)), "epoch 3 is followed by 2"),
        (STABLE, a_part(D, epoch=Epoch(4)), "not among the voters"),
        (JOINT, replace(JOINT, primary=D, epoch=Epoch(4)), "not among the voters"),
        (STABLE, a_part(A, learner=B, config=NOW), "a learner that votes already"),
        (STABLE, a_part(A, learner=D, replaces=E, config=NOW), "a learner replaces a voter"),
        (STABLE, a_part(A, (A, B, B), config=NOW), "twice"),
        (STABLE, a_part(A, ()), "no voters"),
    ],
)
def test_every_other_step_is_not(before: Partition, after: Partition, why: str) -> None:
    assert why in reason(before, after)


def test_a_map_follows_the_one_before_it_of_the_same_cluster() -> None:
    old = a_map()
    assert illegal(old, a_map(version=8)) == ""
    wrong: list[tuple[ClusterMap, str]] = [
        (a_map(version=9), "map 9 follows map 7"),
        (replace(a_map(version=8), cluster_id="2" * 32), "another cluster"),
        (a_map(a_part(), a_part(), version=8), "the number of partitions never changes"),
        (a_map(nodes=(A, B, C, C), version=8), "two nodes share"),
    ]
    for new, why in wrong:
        assert why in illegal(old, new)


def test_nodes_come_and_go_but_never_with_a_replica_or_an_earlier_life() -> None:
    old = a_map(nodes=(A, B, C, D))
    assert illegal(old, a_map(nodes=(A, B, C, E), version=8, states={E: NodeState.JOINING})) == ""
    assert "removed" in illegal(old, replace(a_map(nodes=(A, B, D), version=8), partitions=old.partitions))
    younger = replace(old.nodes[0], incarnation=Incarnation(0))
    assert "incarnation of a falls" in illegal(old, old.next(nodes=(younger, *old.nodes[1:])))
