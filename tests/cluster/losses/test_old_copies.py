"""Copies of a node's directory: put back in its place, or started beside it; and restarts of the original.

What was acknowledged is never served older than it was, whatever is put back; and the node that lives is not
disturbed by a copy of itself.
"""

import shutil
from pathlib import Path

import pytest
from tests.support.cluster.cluster import SHORT_SESSION, Cluster
from tests.support.cluster.make_cluster import MakeCluster
from tests.support.cluster.steering import recovered
from tests.support.wait import until

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(240)]

KEYS = [f"key-{number}".encode() for number in range(60)]
REFUSED = 78


@pytest.fixture
def nodes(make_cluster: MakeCluster) -> Cluster:
    cluster = make_cluster(3, options=SHORT_SESSION).start().wait_whole()
    write(cluster, b"old")
    return cluster


def write(nodes: Cluster, value: bytes, via: str = "n1") -> None:
    for key in KEYS:
        nodes.stored(via, key, value + b" of " + key)


def read(nodes: Cluster, value: bytes, via: str) -> None:
    for key in KEYS:
        nodes.holds(via, key, value + b" of " + key)


def copy_of(nodes: Cluster, name: str) -> Path:
    """Copy a node's directory as it is, running or not."""
    copy = nodes.directory / f"copy-of-{name}"
    shutil.copytree(nodes.places[name].data, copy, ignore_dangling_symlinks=True)
    return copy


def put_back(nodes: Cluster, name: str, copy: Path) -> None:
    shutil.rmtree(nodes.places[name].data)
    shutil.copytree(copy, nodes.places[name].data)


def is_damaged(nodes: Cluster, name: str, via: str) -> bool:
    answer = nodes.ask(via, "GET", "/v1/cluster")
    members = answer.json["members"] if answer is not None else ()
    return any(each["name"] == name and each["damaged"] for each in members)


def test_an_older_copy_put_back_is_never_believed(nodes: Cluster) -> None:
    copy = copy_of(nodes, "n2")
    assert nodes.terminate("n3") == 0
    nodes.wait_active("n1")
    write(nodes, b"new")
    nodes.kill("n2")
    nodes.kill("n1")
    put_back(nodes, "n2", copy)
    nodes.start("n2", "n3")
    until(lambda: is_damaged(nodes, "n2", "n3"), lambda: f"n2 to be called damaged: {nodes.log('n2')[-900:]}")
    for via in ("n2", "n3"):
        answer = nodes.request(via, "GET", f"/v1/kv/{KEYS[0].decode()}?timeout=1s")
        assert answer.status in (503, 504), f"n2 has no vote, and n3 alone is no majority: {answer}"
        assert nodes.cluster(via)["health"] != "healthy"
    assert "older than in its start" in nodes.log("n2")
    nodes.start("n1")
    nodes.wait_whole(60)
    for via in nodes.names:
        read(nodes, b"new", via)
    nodes.wait_healthy()
    assert not is_damaged(nodes, "n2", "n1"), "filled anew"


def test_an_older_copy_can_be_recovered_when_nothing_else_is_left(nodes: Cluster) -> None:
    """It has no vote, and no other node can join: an operator's order lets it continue."""
    copy = copy_of(nodes, "n2")
    write(nodes, b"new")
    nodes.kill(*nodes.names)
    put_back(nodes, "n2", copy)
    for name in ("n1", "n3"):
        shutil.rmtree(nodes.places[name].data)
    nodes.start("n2")
    until(lambda: nodes.ask("n2", "GET", "/livez"), "n2 to listen")
    recovered(nodes, "n1", "n3")
    nodes.start("n1", "n3")
    nodes.wait_whole(60)
    nodes.wait_healthy()
    assert not is_damaged(nodes, "n2", "n1")
    for via in nodes.names:
        read(nodes, b"old", via)


def test_a_copy_of_a_stopped_node_is_measured_exactly(nodes: Cluster) -> None:
    """One write is enough: a clean stop leaves the exact mark."""
    key = next(key for key in KEYS if "n2" in nodes.where(key)["replicas"])
    copy = copy_of(nodes, "n2")
    nodes.stored("n1", key, b"the last write")
    until(lambda: nodes.terminate("n2") == 0, "a clean stop")
    put_back(nodes, "n2", copy)
    nodes.start("n2")
    until(
        lambda: "older than in its start" in nodes.log("n2"), lambda: f"the copy found out: {nodes.log('n2')}"
    )
    nodes.wait_whole(60)
    nodes.holds("n2", key, b"the last write")


def test_the_newest_directory_is_believed(nodes: Cluster) -> None:
    """Killed or stopped, alone or with all others, and moved to another address."""
    nodes.kill("n2")
    write(nodes, b"new")
    nodes.start("n2").wait_whole()
    nodes.kill(*nodes.names)
    nodes.start().wait_whole()
    for name in nodes.names:
        assert nodes.terminate(name) == 0
    moved = nodes.add("elsewhere")
    del nodes.places["elsewhere"]
    nodes.forget("elsewhere")
    nodes.places["n3"].peer = moved.peer
    shutil.copytree(nodes.places["n3"].data, moved.data)
    nodes.places["n3"].data = moved.data  # a copy, but the newest
    nodes.start().wait_whole()
    read(nodes, b"new", "n3")
    for name in nodes.names:
        assert "older than in its start" not in nodes.log(name)
        assert "old copy" not in nodes.log(name)


def test_a_copy_beside_its_living_original_loses(nodes: Cluster) -> None:
    twin = nodes.add("twin", name="n2")
    nodes.forget("twin")
    shutil.copytree(nodes.places["n2"].data, twin.data)
    nodes.start("twin")
    assert nodes.wait_end("twin") == REFUSED
    assert f"runs already, at 127.0.0.1:{nodes.places['n2'].peer}" in nodes.said("twin")
    read(nodes, b"old", "n2")
    nodes.wait_healthy()
    nodes.start("twin")
    assert nodes.wait_end("twin") == REFUSED, "however often it is started"
    for stop in (nodes.kill, nodes.terminate):
        stop("n2")
        nodes.start("n2").wait_whole()
        read(nodes, b"old", "n2")
    nodes.start("twin")
    assert nodes.wait_end("twin") == REFUSED
    nodes.kill("n2")
    nodes.start("twin")
    assert nodes.wait_end("twin") == REFUSED, "it knows nothing of the starts since"
    assert "old copy" in nodes.said("twin")
    nodes.start("n2").wait_whole()
    nodes.wait_healthy()


def test_a_node_that_was_just_started_gives_definite_answers(nodes: Cluster) -> None:
    """It takes requests once their answers can reach it: none ends as unknown."""
    for _ in range(3):
        nodes.kill("n1")
        nodes.start("n1")
        until(lambda: nodes.ask("n1", "GET", "/livez"), "n1 to listen")
        said: list[int] = []
        while len(said) < 16:
            answer = nodes.put("n1", KEYS[len(said)], b"v", timeout="3s")
            if answer.status != 503:  # which says that nothing was applied
                said.append(answer.status)
        assert set(said) <= {200, 201}, said
        nodes.wait_whole()
