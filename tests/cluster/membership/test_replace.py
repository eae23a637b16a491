"""A node comes back with an empty disk under its old name: a new node, filled by the others."""

import shutil

import pytest
from tests.support.cluster.ballast import Ballast
from tests.support.cluster.cluster import SHORT_SESSION, Cluster
from tests.support.cluster.make_cluster import MakeCluster
from tests.support.cluster.recorder import Recorder
from tests.support.cluster.steering import member, wait_even, wait_state

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(240)]

REFUSED = 78


@pytest.fixture(scope="module")
def nodes(make_shared: MakeCluster) -> Cluster:
    """The tests use it one after the other: four nodes."""
    return make_shared(4, partitions=16, options=SHORT_SESSION).start().wait_whole()


def test_a_wiped_disk_is_a_new_node(nodes: Cluster) -> None:
    ballast, name = Ballast(nodes), "n2"
    before = member(nodes, name)
    assert before is not None
    with Recorder(nodes) as load:
        load.go_on()
        assert nodes.terminate(name) == 0
        shutil.rmtree(nodes.places[name].data)
        nodes.start(name).wait_ready(name)
        load.use(name)
        wait_state(nodes, name, "active")
        wait_even(nodes, nodes.names)
        load.go_on()
    print(load.report())
    load.verify()
    assert load.broken <= {name}, load.report()
    ballast.verify(name)
    now, known = member(nodes, name), member(nodes, f"{name}~{before['id'][:8]}")
    assert now is not None and now["id"] != before["id"], now
    assert known is not None and known["id"] == before["id"] and known["state"] == "dead", known
    assert known["replicas"] == known["primaries"] == 0, known
    nodes.wait_healthy()


def test_the_name_of_a_node_that_answers_is_refused(nodes: Cluster) -> None:
    before = nodes.cluster()["members"]
    nodes.add("stranger", name="n1")
    nodes.start("stranger")
    assert nodes.wait_end("stranger") == REFUSED, nodes.said("stranger")[-600:]
    nodes.forget("stranger")
    said = nodes.said("stranger")
    assert "the name n1 belongs to another data directory" in said and "Traceback" not in said, said
    assert nodes.cluster()["members"] == before
