"""What a cluster says of its health while nodes, disks and ZooKeeper come and go: exactly what is missing."""

import shutil
from functools import partial
from pathlib import Path

import pytest
from tests.support.cluster.cluster import Cluster
from tests.support.cluster.health import health, missing, wait_missing
from tests.support.cluster.make_cluster import MakeCluster
from tests.support.cluster.steering import MOVED_S, member
from tests.support.coordination.zookeeper import start_zookeeper
from tests.support.wait import until

from ringkeep.coordination.server import ZooKeeperServer

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(240)]

PARTITIONS = 16
ALL = list(range(PARTITIONS))


@pytest.fixture
def three(make_cluster: MakeCluster) -> Cluster:
    return make_cluster(3, partitions=PARTITIONS).start().wait_ready().wait_healthy()


def test_one_of_three_is_killed_and_then_another(three: Cluster) -> None:
    nodes = three
    nodes.kill("n3")
    found = wait_missing(nodes, "n1", "degraded", "copies", "silent")
    until(lambda: missing(nodes, "n1")["copies"]["partitions"] == ALL, "every primary to have counted")
    copies = missing(nodes, "n1")["copies"]
    assert (copies["have"], copies["want"], copies["count"]) == (2, 3, PARTITIONS), copies
    assert found["silent"]["nodes"] == ["n3"] and "n3 does not answer" in found["silent"]["text"]
    nodes.stored("n1", b"key", b"goes on")

    nodes.kill("n2")
    found = wait_missing(nodes, "n1", "unavailable", "no-majority", "silent")
    lost = found["no-majority"]
    assert lost["partitions"] == ALL and lost["nodes"] == ["n2", "n3"] and lost["count"] == 1, lost
    assert "bring back 1 of n2, n3" in lost["text"], lost
    until(partial(nodes.is_unready, "n1"), "n1 to want no requests")
    assert "no answer from n2, n3" in nodes.waits_for("n1")

    nodes.start("n2")
    wait_missing(nodes, "n1", "degraded", "copies", "silent")
    nodes.wait_ready("n1", "n2")
    nodes.start("n3").wait_healthy()
    nodes.holds("n3", b"key", b"goes on")


def test_a_node_that_is_cut_off_wants_no_requests_and_those_that_it_misses_do(
    zookeeper: ZooKeeperServer, tmp_path: Path
) -> None:
    """Two are frozen: to the other three they are silent. Then the others are, and two hear nobody else."""
    with Cluster(tmp_path / "five", zookeeper.hosts, 5, partitions=PARTITIONS) as nodes:
        nodes.start().wait_ready().wait_healthy()
        few, most = nodes.names[:2], nodes.names[2:]
        nodes.freeze(*few)
        found = wait_missing(nodes, "n3", "unavailable", "no-majority", "copies", "silent")
        assert found["no-majority"]["nodes"] == few, found
        assert not any(map(nodes.is_unready, most)), "they have a majority, and serve"
        nodes.thaw(*few)
        nodes.wait_ready().wait_healthy()

        nodes.freeze(*most)
        for name in few:
            until(partial(nodes.is_unready, name), f"{name} to want no requests")
            assert nodes.request(name, "GET", "/livez").status == 200
            said = nodes.waits_for(name)
            assert all(other in said for other in most), said
            assert health(nodes, name) == "unavailable"
        nodes.thaw(*most)
        nodes.wait_ready().wait_healthy()


def test_zookeeper_is_away(tmp_path: Path) -> None:
    server = start_zookeeper(tmp_path / "zookeeper")
    try:
        with Cluster(tmp_path / "three", server.hosts, 3, partitions=PARTITIONS) as nodes:
            nodes.start().wait_ready().wait_healthy()
            server.stop()
            for name in nodes.names:
                found = wait_missing(nodes, name, "degraded", "zookeeper")
                assert "ZooKeeper cannot be used from here" in found["zookeeper"]["text"]
            nodes.stored("n1", b"key", b"goes on")
            assert nodes.request("n1", "GET", "/readyz").status == 200

            nodes.kill("n3")  # what it led is led by nobody until ZooKeeper is back
            led = [number for number, part in enumerate(nodes.partitions("n1")) if part["primary"] == "n3"]
            found = wait_missing(nodes, "n1", "unavailable", "no-primary", "copies", "silent", "zookeeper")
            assert found["no-primary"]["partitions"] == led and found["no-primary"]["nodes"] == ["n3"]
            assert "ZooKeeper is needed" in found["no-primary"]["text"]

            server.start(timeout_s=60)
            wait_missing(nodes, "n1", "degraded", "copies", "silent")
            nodes.start("n3").wait_healthy()
    finally:
        server.stop()


def test_a_wiped_node_counts_once_all_of_its_replicas_are_full_copies(three: Cluster) -> None:
    nodes = three
    for number in range(200):
        nodes.stored("n1", f"key-{number}".encode(), b"v" * 1_000)
    assert nodes.terminate("n3") == 0
    shutil.rmtree(nodes.places["n3"].data)
    wait_missing(nodes, "n1", "degraded", "copies", "silent")
    nodes.start("n3")

    def filled() -> bool:
        """Nobody says healthy before each partition has its three copies on nodes that live."""
        said = {name: health(nodes, name) for name in ("n1", "n2")}
        parts = nodes.partitions("n1")
        whole = all(
            sorted(part["voters"]) == ["n1", "n2", "n3"] and not part["old_voters"] and not part["learners"]
            for part in parts
        )
        assert whole or "healthy" not in said.values(), (said, parts)
        return set(said.values()) == {"healthy"}

    until(filled, lambda: f"n3 to be filled: {nodes.cluster('n1')}", MOVED_S)
    nodes.wait_healthy()
    found = member(nodes, "n3", "n1")
    assert found is not None and found["replicas"] == PARTITIONS


def test_one_node_is_no_healthy_cluster_unless_one_copy_is_all_that_is_wanted(
    zookeeper: ZooKeeperServer, tmp_path: Path
) -> None:
    with Cluster(tmp_path / "three-copies", zookeeper.hosts, 1, partitions=PARTITIONS) as nodes:
        nodes.start().wait_ready()
        found = wait_missing(nodes, "n1", "degraded", "copies", "too-few-nodes")
        assert (found["copies"]["have"], found["copies"]["want"]) == (1, 3)
        assert found["copies"]["count"] == 2 * PARTITIONS
        assert "add 2 nodes" in found["too-few-nodes"]["text"]
    one = ("--replication", "1")
    with Cluster(tmp_path / "one-copy", zookeeper.hosts, 1, partitions=PARTITIONS, options=one) as nodes:
        nodes.start().wait_ready().wait_healthy()
        assert set(missing(nodes, "n1")) == {"one-copy"}
