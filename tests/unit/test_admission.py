"""Who may serve in a cluster, join it, and leave it: a directory is compared with the map that was found."""

from typing import Any

from tests.support.core.parts import MINE, A, B, C, D, E, a_map, a_member, a_part

from ringkeep.admission import given_up, has_left, may_leave, name_taken, refusal
from ringkeep.core.protocol.cluster_map import ClusterMap, NodeState
from ringkeep.core.protocol.types import Incarnation


def refused(
    stored: ClusterMap | None, found: ClusterMap | None, asked_for: int | None = None, **member: Any
) -> str:
    return refusal(a_member(A, **({"incarnation": Incarnation(2)} | member)), stored, found, asked_for)


def test_a_fresh_directory_and_a_true_member_may_start() -> None:
    assert refused(None, None) == ""
    assert refused(None, a_map()) == ""
    assert refused(a_map(), a_map(version=8), cluster_id="1" * 32) == ""


def test_a_directory_that_does_not_fit_is_told_why() -> None:
    assert "no cluster map" in refused(None, None, cluster_id="1" * 32)
    assert "no cluster map" in refused(a_map(), None)
    assert f"ZooKeeper holds {'1' * 32}" in refused(None, a_map(), cluster_id="2" * 32)
    assert "older than this node's 9" in refused(a_map(version=9), a_map(), cluster_id="1" * 32)
    assert "an old copy" in refused(None, a_map(), incarnation=Incarnation(1))


def test_the_number_of_partitions_counts_only_if_it_was_asked_for() -> None:
    for newcomer in ({}, {"cluster_id": "1" * 32}):
        assert "--partitions is 4 here" in refused(None, a_map(), 4, **newcomer)
        assert refused(None, a_map(), 1, **newcomer) == ""
        assert refused(None, a_map(), None, **newcomer, partitions=4) == "", "a default is no wish"
    assert "--partitions is 4 here" in refusal(a_member(D), None, a_map(), 4)


def test_a_newcomer_may_join_under_addresses_of_its_own() -> None:
    assert refusal(a_member(D), None, a_map()) == ""
    assert "a has the same http address" in refusal(a_member(D, http="a:1"), None, a_map())
    assert "a has the same peer address" in refusal(a_member(D, peer="a:2"), None, a_map())
    dead = a_map(states={A: NodeState.DEAD})
    assert refusal(a_member(D, name="a", http="a:1", peer="a:2"), None, dead) == "", "the dead have no claims"


def test_a_name_that_is_taken_is_no_refusal_yet_for_its_node_may_be_gone() -> None:
    newcomer = a_member(D, name="a")
    assert refusal(newcomer, None, a_map()) == ""
    assert refusal(a_member(D, name="a", http="a:1", peer="a:2"), None, a_map()) == "", "it is a's machine"
    assert "b has the same" in refusal(a_member(D, name="a", http="b:1"), None, a_map())
    assert "whose node answers at a:2" in name_taken(newcomer, a_map(), [B, A])
    assert name_taken(newcomer, a_map(), [B]) == "", "a is silent"
    assert name_taken(newcomer, a_map(states={A: NodeState.DEAD}), [A]) == ""
    assert name_taken(a_member(D), a_map(), [A]) == ""
    assert name_taken(a_member(A), a_map(), [A]) == "", "its own name"


def test_who_was_given_up_for_dead_is_told_that_its_directory_is_needed_no_more() -> None:
    dead = a_map(states={A: NodeState.DEAD})
    for cluster_id in ("", "1" * 32):
        assert "gave this node up for dead" in given_up(a_member(A, cluster_id=cluster_id), None, dead)
    assert given_up(a_member(A, cluster_id="2" * 32), None, dead) == "", (
        "by another cluster: nothing is set aside"
    )
    assert "ZooKeeper holds" in refused(None, dead, cluster_id="2" * 32)
    assert given_up(a_member(B), None, dead) == ""
    assert given_up(a_member(D), None, dead) == ""


def test_so_is_one_that_the_map_names_no_more_unless_it_was_about_to_leave() -> None:
    """Dead nodes are forgotten in the end; what they hold must not come back for that."""
    found, mine = a_map(nodes=(B, C, D), version=9), a_member(A, cluster_id=MINE)
    assert "gave this node up for dead" in given_up(mine, a_map(version=7), found)
    leaving = a_map(version=7, states={A: NodeState.LEAVING})
    assert given_up(mine, leaving, found) == "", "it has left"
    assert given_up(mine, None, found) == "", "it does not know: nothing is set aside"
    assert given_up(mine, a_map(version=10), found) == "", "the map is older than what it knows"
    assert given_up(a_member(E), a_map(version=7), found) == "", "a newcomer was never named"


def test_who_has_left_never_comes_back() -> None:
    gone = a_map(nodes=(B, C))
    assert "has left the cluster" in refused(a_map(version=6), gone, cluster_id="1" * 32)
    assert has_left(a_member(A, cluster_id="1" * 32), gone)
    assert not has_left(a_member(A, cluster_id="2" * 32), gone), "another cluster's"
    assert not has_left(a_member(A), gone), "it is new"
    assert not has_left(a_member(B, cluster_id="1" * 32), gone)


def test_who_was_asked_to_leave_may_once_the_map_gives_it_nothing() -> None:
    leaving = {D: NodeState.LEAVING}
    asked = a_map(a_part(A), nodes=(A, B, C, D), states=leaving)
    assert may_leave(a_member(D), asked)
    assert not may_leave(a_member(C), asked)
    assert not may_leave(a_member(E), asked)
    for part in (a_part(A, (A, B, D)), a_part(A, learner=D), a_part(A, old_voters=(A, B, D))):
        assert not may_leave(a_member(D), a_map(part, nodes=(A, B, C, D), states=leaving))
