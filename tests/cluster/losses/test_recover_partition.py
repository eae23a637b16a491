"""Partitions lose their majority for good: they go on with what is left, on an operator's word only."""

import pytest
from tests.support.cluster.ballast import Ballast
from tests.support.cluster.cluster import SHORT_SESSION, Cluster
from tests.support.cluster.make_cluster import MakeCluster
from tests.support.cluster.recorder import Recorder
from tests.support.cluster.steering import RECOVER_ALL as ALL
from tests.support.cluster.steering import member, order, recovered, refused, wait_even
from tests.support.wait import until

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(240)]

BAD_REQUEST, NOT_FOUND = 400, 404


@pytest.fixture(scope="module")
def nodes(make_shared: MakeCluster) -> Cluster:
    """Five nodes, so that three are left."""
    return make_shared(5, partitions=16, options=SHORT_SESSION).start().wait_whole()


def all_have_all(nodes: Cluster) -> bool:
    """Whether every replica has committed as much as the others."""
    commits = [[p["commit"] for p in nodes.partitions(name)] for name in nodes.names]
    return all(len({c for c in of_one if c is not None}) == 1 for of_one in zip(*commits, strict=True))


def test_partitions_without_a_majority_go_on_when_told_to(nodes: Cluster) -> None:
    ballast = Ballast(nodes)
    until(lambda: all_have_all(nodes), "every replica to have everything")
    assert "majority" in refused(nodes, "recover", ALL)
    gone, rest = ["n2", "n5"], ["n1", "n3", "n4"]
    hit = [p["partition"] for p in nodes.partitions() if set(gone) <= set(p["voters"])]
    assert hit, "with five nodes and sixteen partitions some have both"
    nodes.kill(*gone)
    until(
        lambda: {p["partition"] for p in nodes.partitions() if p["state"] == "no-quorum"} == set(hit),
        lambda: f"{hit} to have no quorum: {nodes.partitions()}",
    )
    assert nodes.cluster()["health"] == "unavailable"
    key = nodes.key_in(hit[0], "stuck")
    assert nodes.put("n1", key, b"v", timeout="200ms").status in (503, 504)
    assert "needed" in refused(nodes, f"nodes/{gone[0]}/decommission", {"dead": True})
    assert order(nodes, "recover", {"partitions": "all"}).status == BAD_REQUEST, (
        "the loss is accepted in words"
    )
    sound = next(p["partition"] for p in nodes.partitions() if p["partition"] not in hit)
    refused(nodes, "recover", {"partitions": [sound], "accept_loss": True})

    until(lambda: "--lost n2 --lost n5" in refused(nodes, "recover", ALL), "the dead to be asked for by name")
    assert "must be named: --lost n5" in refused(nodes, "recover", ALL | {"lost": ["n2"]})
    assert "n3 answers, and is not lost" in refused(nodes, "recover", ALL | {"lost": [*gone, "n3"]})
    assert order(nodes, "recover", ALL | {"lost": [*gone, "n9"]}).status == NOT_FOUND
    told = recovered(nodes, *gone)
    assert {each["partition"] for each in told} == set(hit), told
    assert all(set(each["gone"]) == set(gone) and len(each["left"]) == 1 for each in told), told
    assert all([each["goes_on_with"]] == each["left"] and not each["begins_empty"] for each in told), told
    nodes.names[:] = rest
    nodes.wait_active()
    with Recorder(nodes) as load:
        nodes.stored("n1", key, b"after")
        wait_even(nodes, rest)  # made anew on the others, three replicas each
        load.go_on()
    load.verify()
    for name in rest:
        nodes.holds(name, key, b"after")
        ballast.verify(name)
    for name in gone:
        found = member(nodes, name)
        assert found is not None and found["state"] == "dead", found
    nodes.wait_healthy()
