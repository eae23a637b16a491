"""A node comes back with an empty disk under its old name: a new node, filled by the others."""

import shutil
from collections.abc import Iterator

import pytest
from tests.support.cluster.ballast import Ballast
from tests.support.cluster.cluster import Cluster
from tests.support.cluster.recorder import Recorder
from tests.support.cluster.steering import member, wait_even, wait_state

from ringkeep.coordination.server import ZooKeeperServer

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(240)]

REFUSED = 78


@pytest.fixture(scope="module")
def nodes(zookeeper: ZooKeeperServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """The tests use it one after the other: four nodes."""
    options = ("--zookeeper-session-ms", "1000")
    directory = tmp_path_factory.mktemp("replace")
    with Cluster(directory, zookeeper.hosts, 4, partitions=16, options=options) as cluster:
        cluster.start().wait_whole()
        yield cluster


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
