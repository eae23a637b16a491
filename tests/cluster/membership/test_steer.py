"""Operators steer moves: zones, weights, replication, pause and cancel, and plans that come true."""

from typing import Any

import pytest
from tests.support.cluster.ballast import Ballast
from tests.support.cluster.cluster import Cluster
from tests.support.cluster.make_cluster import MakeCluster
from tests.support.cluster.recorder import Recorder
from tests.support.cluster.steering import (
    MOVED_S,
    is_still,
    member,
    moves,
    ordered,
    replicas,
    settings,
    shares,
    wait_even,
    wait_moved,
    wait_state,
)
from tests.support.wait import until, until_each

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(240)]

PARTITIONS = 16
ZONES = {"n1": "east", "n2": "east", "n3": "west", "n4": "west", "n5": "north", "n6": "north"}
NEAR = 0.1  # a plan comes true up to a tenth


@pytest.fixture(scope="module")
def nodes(make_shared: MakeCluster) -> Cluster:
    """The tests use it one after the other: six nodes in three zones, and then without the last."""
    cluster = make_shared(6, partitions=PARTITIONS)
    for name, zone in ZONES.items():
        cluster.places[name].options = ("--zone", zone)
    return cluster.start().wait_whole()


@pytest.fixture(scope="module")
def ballast(nodes: Cluster) -> Ballast:
    return Ballast(nodes, value_bytes=65_536)  # beside which what the load writes counts for little


def zones_apart(nodes: Cluster) -> bool:
    """Whether no partition has two replicas in one zone."""
    held = [[ZONES[name] for name in each["voters"]] for each in nodes.partitions()]
    return all(len(set(zones)) == len(zones) for zones in held)


def plan(nodes: Cluster, query: str, ballast: Ballast) -> dict[str, Any]:
    """Return a plan, once all sizes have been told and nothing is under way that would change it."""
    wait_moved(nodes)

    def look() -> Any:
        answer = nodes.request("n1", "GET", f"/v1/cluster/plan?{query}")
        if answer.status == 503:  # not all sizes are known yet
            return None
        found = answer.json
        return found if found["bytes"] >= found["replicas"] * ballast.each_bytes else None

    found: dict[str, Any] = until(look, f"a plan for {query} with all bytes in it")
    return found


def done_moves(nodes: Cluster) -> list[Any]:
    """The moves that gave somebody a replica, as n1 knows them, newest first."""
    ended = moves(nodes, "n1")["finished"]
    return [each for each in ended if each["outcome"] == "done" and each["to"] is not None]


def came_true(nodes: Cluster, planned: dict[str, Any], before: int) -> None:
    """Compare a plan with the moves that have ended since; `before`: how many there were."""
    wait_moved(nodes)
    done = done_moves(nodes)
    done = done[: len(done) - before]
    moved = len(done), sum(each["bytes"] for each in done)
    print(f"planned {planned['replicas']} replicas, {planned['bytes']} bytes; moved {moved}")
    assert abs(moved[0] - planned["replicas"]) <= NEAR * planned["replicas"], (moved, planned, done)
    assert abs(moved[1] - planned["bytes"]) <= NEAR * planned["bytes"], (moved, planned, done)


def test_replicas_are_in_zones_of_their_own_also_after_a_leave(nodes: Cluster, ballast: Ballast) -> None:
    assert zones_apart(nodes)
    planned, before = plan(nodes, "leave=n6", ballast), len(done_moves(nodes))
    ordered(nodes, "nodes/n6/decommission")
    assert nodes.wait_end("n6", MOVED_S) == 0
    nodes.forget("n6")
    until(lambda: member(nodes, "n6") is None, "n6 to be gone")
    came_true(nodes, planned, before)
    nodes.wait_active("n1")
    assert zones_apart(nodes)
    assert shares(nodes)[0]["n5"] == PARTITIONS, "one node alone in its zone holds a replica of everything"
    ballast.verify("n5")


def test_more_copies_and_fewer_again(nodes: Cluster, ballast: Ballast) -> None:
    with Recorder(nodes) as load:
        settings(nodes, replication=5)
        wait_even(nodes, nodes.names, replication=5)
        load.go_on()
        settings(nodes, replication=3)
        until(
            lambda: is_still(nodes.partitions()) and {len(replicas(p)) for p in nodes.partitions()} == {3},
            lambda: f"three replicas of each partition; there are {shares(nodes)}",
            MOVED_S,
        )
        nodes.wait_active()
        load.go_on()
    print(load.report())
    load.verify()
    assert zones_apart(nodes)
    for name in nodes.names:
        ballast.verify(name)


def test_moves_pause_go_on_and_are_cancelled(nodes: Cluster) -> None:
    """A heavier node is given more. The first moves are held as they are, then undone, then made."""
    wait_moved(nodes)
    heavy, was = "n1", {p["partition"]: set(p["voters"]) for p in nodes.partitions()}
    made = len(done_moves(nodes))
    settings(nodes, moves_at_once=1)  # so that some are left to hold
    ordered(nodes, f"nodes/{heavy}/weight", {"weight": 5})  # five sixths of what its zone holds
    until(lambda: moves(nodes)["running"], "a move to begin")
    ordered(nodes, "moves/pause")
    until_each(
        nodes.names,
        lambda name: moves(nodes, name)["state"] == "paused",
        lambda name: f"{name} to know of the pause",
    )
    until(lambda: not any(p["old_voters"] for p in nodes.partitions()), "what was joint to end")
    held = moves(nodes)
    assert held["planned"], held
    assert all(each["waits_for"] for each in held["planned"]), held
    with Recorder(nodes) as load:
        load.go_on(100)  # time for the controller to look, more than once
        assert len(moves(nodes)["planned"]) == len(held["planned"]), "nothing begins while paused"
        ordered(nodes, "moves/cancel")
        until(lambda: not moves(nodes)["running"], "what was under way to go back")
        now = {p["partition"]: replicas(p) for p in nodes.partitions()}
        made = len(done_moves(nodes)) - made
        assert sum(now[number] != was[number] for number in was) == made, "all else is as it was"
        before = shares(nodes)[0][heavy]
        settings(nodes, moves_at_once=8)
        ordered(nodes, "moves/resume")
        wait_moved(nodes)
        load.go_on()
    load.verify()
    held_now, _ = shares(nodes)
    assert before < held_now[heavy] >= PARTITIONS * 5 // 6 - 1, held_now
    assert zones_apart(nodes)
    ordered(nodes, f"nodes/{heavy}/weight", {"weight": 1})
    until(lambda: member(nodes, heavy)["weight"] == 1, "the weight to be as before")  # type: ignore[index]
    wait_moved(nodes)


def test_a_join_goes_as_planned(nodes: Cluster, ballast: Ballast) -> None:
    newcomer = "n7"
    ZONES[newcomer] = "north"
    planned, before = plan(nodes, f"join={newcomer}&zone=north", ballast), len(done_moves(nodes))
    nodes.add(newcomer, zone="north")
    nodes.start(newcomer).wait_ready(newcomer)
    wait_state(nodes, newcomer, "active")
    came_true(nodes, planned, before)
    foreseen = {each["name"]: each["after"] for each in planned["members"]}
    held, _ = shares(nodes)
    assert all(abs(held[name] - foreseen[name]) <= 1 + NEAR * foreseen[name] for name in held), (
        held,
        foreseen,
    )
    assert zones_apart(nodes)
    ballast.verify(newcomer)
