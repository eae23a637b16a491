"""A disk loses what was acknowledged: noticed, not voted with, shown, and made good by the others at once."""

from collections.abc import Callable
from pathlib import Path

import pytest
from tests.support.cluster.ballast import Ballast
from tests.support.cluster.cluster import SHORT_SESSION, Cluster
from tests.support.cluster.make_cluster import MakeCluster
from tests.support.cluster.recorder import Recorder
from tests.support.cluster.steering import member, moves, ordered, replicas, wait_even, wait_state
from tests.support.storage.damage import cut_synced_tail, flip_bits, lose_manifest
from tests.support.wait import until, until_each

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(240)]


@pytest.fixture(scope="module")
def nodes(make_shared: MakeCluster) -> Cluster:
    """The tests use it one after the other: four nodes."""
    return make_shared(4, partitions=8, options=SHORT_SESSION).start().wait_whole()


@pytest.fixture
def ballast(nodes: Cluster, request: pytest.FixtureRequest) -> Ballast:
    return Ballast(nodes, stem=request.node.name)


def damaged(nodes: Cluster, name: str, via: str) -> bool:
    found = member(nodes, name, via)
    assert found is not None
    return bool(found["damaged"])


def metric(nodes: Cluster, name: str, of: str) -> float:
    lines = nodes.request(name, "GET", "/metrics").body.decode().splitlines()
    return next(float(line.split()[-1]) for line in lines if line.startswith(f"ringkeep_{of} "))


def has_no_vote(nodes: Cluster, hurt: str) -> None:
    """With one of the two sound replicas frozen, no write is acknowledged: the hurt one is not counted."""
    place = next(each for each in nodes.partitions() if hurt in replicas(each))
    frozen = next(name for name in place["voters"] if name not in (hurt, place["primary"]))
    via = place["primary"]
    nodes.freeze(frozen)
    answer = nodes.put(via, nodes.key_in(place["partition"], "unvoted"), b"v", timeout="1500ms")
    nodes.thaw(frozen)
    assert answer.status in (503, 504), f"acknowledged by {via} and {hurt} alone: {answer}"
    nodes.wait_active(via)


@pytest.mark.parametrize(("hurt", "harm"), [("n2", flip_bits), ("n3", cut_synced_tail)])
def test_a_hurt_log_is_noticed_and_made_good(
    nodes: Cluster, ballast: Ballast, hurt: str, harm: Callable[[Path], None]
) -> None:
    nodes.kill(hurt)
    harm(nodes.places[hurt].data)
    ordered(nodes, "moves/pause")  # or it would be made good before anybody has looked
    until(lambda: moves(nodes, "n1")["state"] == "paused", "the order to be carried out")
    nodes.start(hurt)
    until_each(
        nodes.names,
        lambda via: nodes.ask(via, "GET", "/v1/cluster") and damaged(nodes, hurt, via),
        lambda via: f"{via} to call {hurt} damaged: {nodes.cluster(via)}",
    )
    assert metric(nodes, hurt, "damaged") == 1
    has_no_vote(nodes, hurt)
    with Recorder(nodes) as load:
        load.go_on()
        ordered(nodes, "moves/resume", via=hurt)  # the one that was frozen may have lost its session
        until(
            lambda: not damaged(nodes, hurt, "n1"),
            lambda: f"{hurt} to be sound again: {moves(nodes, 'n1')}, {nodes.partitions()}",
            60,
        )
        wait_even(nodes, nodes.names)
        load.go_on()
    print(load.report())
    load.verify()
    assert metric(nodes, hurt, "damaged") == 0
    nodes.wait_healthy()
    for name in nodes.names:
        ballast.verify(name)


def test_a_database_that_does_not_open_is_set_aside(nodes: Cluster, ballast: Ballast) -> None:
    hurt = "n4"
    before = member(nodes, hurt)
    assert before is not None
    with Recorder(nodes) as load:
        load.go_on()
        nodes.kill(hurt)
        lose_manifest(nodes.places[hurt].data)
        nodes.start(hurt).wait_ready(hurt)
        load.use(hurt)
        wait_state(nodes, hurt, "active")
        wait_even(nodes, nodes.names)
        load.go_on()
    print(load.report())
    load.verify()
    ballast.verify(hurt)
    now, known = member(nodes, hurt), member(nodes, f"{hurt}~{before['id'][:8]}")
    assert now is not None and now["id"] != before["id"], now
    assert known is not None and known["state"] == "dead", known
    kept = sorted(path.name for path in nodes.places[hurt].data.glob("*.damaged-*"))
    assert {name.partition(".damaged-")[0] for name in kept} >= {"db", "identity.json"}, kept
    assert "starts as a new node" in nodes.log(hurt)
    nodes.wait_healthy()
