"""Nodes are replaced by those of a newer version, one by one and under load: nothing is lost, and what the
older ones cannot read is not written before the last of them is gone.
"""

import json
from pathlib import Path

import pytest
from tests.support.cluster.cluster import Cluster
from tests.support.cluster.make_cluster import MakeCluster
from tests.support.cluster.older import BEFORE_OPERATIONS, unpack
from tests.support.cluster.recorder import Recorder
from tests.support.wait import until

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(240)]

OPERATIONS = json.dumps({"operations": [{"op": "add", "key": "n", "by": 2}]}).encode()


@pytest.fixture
def older(make_cluster: MakeCluster, tmp_path: Path) -> Cluster:
    """Three nodes of the older version."""
    cluster = make_cluster(3, partitions=8)
    environment = unpack(BEFORE_OPERATIONS, tmp_path / "older")
    for place in cluster.places.values():
        place.environment = environment
    return cluster.start().wait_whole()


def refused(nodes: Cluster, via: str) -> None:
    """What is new is refused, definitely, while some nodes cannot read it; with words for people."""
    batch = nodes.request(via, "POST", "/v1/batch", OPERATIONS).json["results"]
    answers = [
        nodes.put(via, b"brief", b"v", ttl="30s"),
        nodes.request(via, "GET", "/v1/kv?prefix="),
        nodes.request(via, "GET", "/v1/changes"),
        nodes.get(via, b"brief", newer_than=0),
    ]
    for said in [*batch, *[answer.json for answer in answers]]:
        assert said["status"] == 503 and said.get("outcome") != "unknown", said
        assert "older version" in said["detail"], said
    assert nodes.get(via, b"brief").status == 404


def test_a_rolling_upgrade_under_load(older: Cluster) -> None:
    nodes, last, before = older, older.names[-1], older.places["n1"].environment
    with Recorder(nodes) as load:
        load.go_on()
        for name in nodes.names:
            assert nodes.terminate(name) == 0, nodes.said(name)[-600:]
            nodes.places[name].environment = {}
            nodes.start(name).wait_whole()
            load.use(name)
            load.go_on()
            if name != last:
                refused(nodes, name)
        until(lambda: nodes.put("n1", b"brief", b"v", ttl="30s").status == 201, "the new operations")
        nodes.stored("n1", b"stays", b"v")
        added = nodes.request("n2", "POST", "/v1/batch", OPERATIONS)
        assert added.json["results"][0]["value"] == "2", str(added)
        nodes.kill("n1")  # what was written by both versions is served by the others, and read again
        load.go_on()
        nodes.start("n1").wait_whole()
        load.use("n1")
        load.go_on()
    print(load.report())
    load.verify()
    assert 0 < int(nodes.get("n3", b"brief").headers["Ringkeep-TTL"]) <= 30_000
    listed = nodes.request("n1", "GET", "/v1/kv?prefix=&limit=1000").json["items"]
    assert {"brief", "n", "stays"} <= {item["key"] for item in listed}
    older_is_refused(nodes, before)


def older_is_refused(nodes: Cluster, environment: dict[str, str]) -> None:
    """There is no way back: an older version does not start on what it cannot read, and leaves it."""
    assert nodes.terminate("n1") == 0
    nodes.places["n1"].environment = environment
    nodes.start("n1")
    assert nodes.wait_end("n1") != 0
    assert "this node reads 1" in nodes.said("n1"), nodes.said("n1")[-600:]
    nodes.places["n1"].environment = {}
    nodes.start("n1").wait_whole()
    nodes.holds("n1", b"stays", b"v")
