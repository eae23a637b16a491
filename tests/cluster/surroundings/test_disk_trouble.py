"""A disk that hangs, runs full or refuses: others lead, nothing piles up, and the node ends or comes back."""

import contextlib
import shutil
from collections.abc import Iterator
from functools import partial
from http.client import HTTPException
from pathlib import Path

import pytest
from tests.support.cluster.cluster import Cluster
from tests.support.cluster.recorder import Recorder
from tests.support.cluster.steering import member
from tests.support.storage.bad_disk import LOOK, SYNC, WRITE, BadDisk
from tests.support.storage.small_disk import SmallDisk
from tests.support.wait import until

from ringkeep.coordination.server import ZooKeeperServer

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(240)]

MIB = 1024 * 1024
DISK_FAILED = 1
LINE = "the disk failed, nothing more is acknowledged: "
NOTICED_S = 15.0  # three seconds, and what a busy machine needs
VALUE = bytes(range(256)) * 512  # 128 KiB
LARGE = 8 * VALUE


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[BadDisk]:
    """What n1 lives on."""
    bad = BadDisk(tmp_path, "n1")
    yield bad
    bad.well()


def cluster_on(disk: BadDisk, zookeeper: ZooKeeperServer, directory: Path, nodes: int = 3) -> Cluster:
    options = ("--replication", "1") if nodes == 1 else ()
    cluster = Cluster(directory / "c", zookeeper.hosts, nodes, partitions=8, options=options)
    cluster.places["n1"].environment |= disk.environment
    return cluster


def leads(nodes: Cluster, name: str) -> int:
    found = member(nodes, name, via="n2")
    assert found is not None
    return int(found["primaries"])


def gauge(nodes: Cluster, name: str, metric: str) -> float:
    lines = nodes.request(name, "GET", "/metrics").body.decode().splitlines()
    return next(float(line.split()[-1]) for line in lines if line.startswith(f"ringkeep_{metric} "))


def state(nodes: Cluster, name: str) -> str:
    """Return how this node's disk does, as n2 has heard."""
    found = member(nodes, name, via="n2")
    assert found is not None
    return str(found["disk"])


@pytest.mark.parametrize(("calls", "path"), [(SYNC, "/n1/"), (LOOK, "/n1")], ids=["fsync", "statvfs"])
def test_a_disk_that_hangs_leads_no_more_and_comes_back_by_itself(
    disk: BadDisk, zookeeper: ZooKeeperServer, tmp_path: Path, calls: str, path: str
) -> None:
    with cluster_on(disk, zookeeper, tmp_path) as nodes:
        nodes.start().wait_whole()
        assert leads(nodes, "n1")
        with Recorder(nodes) as load:
            load.go_on()
            disk.hang(calls, path)
            until(lambda: not leads(nodes, "n1"), "others to lead", NOTICED_S)
            load.go_on()
            assert "disk" in nodes.waits_for("n1") and nodes.request("n1", "GET", "/readyz").status == 503
            assert state(nodes, "n1") == "silent"
            assert any("n1" in each and "disk" in each for each in nodes.cluster("n2")["problems"])
            waiting = gauge(nodes, "n1", "turns_unsynced")
            for _ in range(4):
                load.go_on(200)
            assert gauge(nodes, "n1", "turns_unsynced") <= waiting + 4, "nothing piles up behind the disk"
            disk.well()
            nodes.wait_whole()
            load.go_on()
        print(load.report())
        load.verify()
        nodes.wait_healthy()
        assert nodes.log("n1").count("the disk has not answered") == 1
        assert "Traceback" not in nodes.log("n1") + nodes.said("n1")


def test_a_node_whose_disk_hangs_can_be_stopped(
    disk: BadDisk, zookeeper: ZooKeeperServer, tmp_path: Path
) -> None:
    with cluster_on(disk, zookeeper, tmp_path) as nodes:
        nodes.start().wait_whole()
        disk.hang(SYNC, "/n1/")
        for partition in range(nodes.partition_count):
            nodes.stored("n2", nodes.key_in(partition, "k"), b"v")
        until(lambda: not leads(nodes, "n1"), "others to lead", NOTICED_S)
        assert nodes.terminate("n1") == DISK_FAILED
        assert "does not answer" in nodes.said("n1")
        disk.well()
        nodes.start("n1").wait_whole()
        for partition in range(nodes.partition_count):
            nodes.holds("n1", nodes.key_in(partition, "k"), b"v")


@pytest.mark.parametrize(
    ("calls", "path"),
    [(SYNC, ".log"), (WRITE, ".log"), (SYNC, "/synced"), (SYNC, ".sst"), (SYNC, "identity.json")],
    ids=["sync of the log", "write of the log", "mark", "table", "identity"],
)
def test_a_disk_that_refuses_ends_the_node_with_one_line_and_one_code(
    disk: BadDisk, zookeeper: ZooKeeperServer, tmp_path: Path, calls: str, path: str
) -> None:
    with cluster_on(disk, zookeeper, tmp_path, 1) as nodes:
        if path == ".sst":  # so that it writes tables all the time
            reserve = 2 * shutil.disk_usage(tmp_path).free
            nodes.places["n1"].options += ("--disk-reserve-bytes", str(reserve))
        if path == "identity.json":
            disk.refuse(calls, path)
            nodes.start()
        else:
            nodes.start().wait_ready()
            disk.refuse(calls, path)
            until(partial(writes_end, nodes), "the node to end")
        assert nodes.wait_end("n1") == DISK_FAILED
        said = nodes.said("n1")
        assert said.count("CRITICAL") == said.count("the disk failed, nothing more is acknowledged: ") == 1, (
            said
        )
        assert "Traceback" not in said + nodes.log("n1")
        disk.well()
        nodes.start().wait_ready()


def writes_end(nodes: Cluster) -> bool:
    """Write; tell whether the node is gone."""
    with contextlib.suppress(OSError, HTTPException, AssertionError):
        nodes.put("n1", b"k", b"v", timeout="1s")
    return "n1" not in nodes.running()


SMALL_MIB, RESERVE_MIB = 192, 64


def fill(directory: Path, left_mib: int) -> None:
    """Leave so much room there, whoever else writes."""
    ballast = directory / "log.ballast"  # a name that a node takes no offence at
    with ballast.open("ab", buffering=0) as opened, contextlib.suppress(OSError):
        while (free := shutil.disk_usage(directory).free) > left_mib * MIB:
            opened.write(bytes(min(MIB, free)))


def test_a_full_disk_leads_no_more_survives_as_a_backup_and_catches_up(
    zookeeper: ZooKeeperServer, tmp_path: Path
) -> None:
    data = tmp_path / "c" / "n1"
    with (
        SmallDisk(data, SMALL_MIB),
        Cluster(tmp_path / "c", zookeeper.hosts, 3, partitions=8) as nodes,
    ):
        nodes.places["n1"].options += ("--disk-reserve-bytes", str(RESERVE_MIB * MIB))
        nodes.start().wait_whole()
        with Recorder(nodes) as load:
            fill(data, RESERVE_MIB - 8)
            until(lambda: not leads(nodes, "n1"), "others to lead", NOTICED_S)
            load.go_on()
            assert state(nodes, "n1") == "short"
            fill(data, RESERVE_MIB // 4 - 4)
            until(lambda: state(nodes, "n1") == "spent", "n1 to say that it takes nothing")
            load.go_on(200)
            for number in range(2 * SMALL_MIB):  # it would not survive these
                nodes.stored("n2", b"large-%d" % (number % 24), LARGE)
            load.go_on()
            fill(data, 0)
            load.go_on(400)
            assert "n1" in nodes.running(), nodes.said("n1")[-600:]
            (data / "log.ballast").unlink()
            nodes.wait_whole()
            load.go_on()
        print(load.report())
        load.verify()
        nodes.wait_healthy()
        nodes.holds("n1", b"large-7", LARGE)


def test_deletes_make_room_on_a_full_disk(zookeeper: ZooKeeperServer, tmp_path: Path) -> None:
    with (
        SmallDisk(tmp_path / "c" / "n1", SMALL_MIB),
        Cluster(
            tmp_path / "c", zookeeper.hosts, 1, partitions=4,
            options=("--replication", "1", "--disk-reserve-bytes", str(RESERVE_MIB * MIB)),
        ) as nodes,
    ):  # fmt: skip
        nodes.start().wait_ready()
        stored = 0
        while (answer := nodes.put("n1", b"%d" % stored, VALUE)).status in (201, 429):
            stored += answer.status == 201
            assert stored * len(VALUE) < 2 * SMALL_MIB * MIB, "it must be full by now"
        assert answer.status == 507 and b"Nothing was applied" in answer.body, answer
        assert nodes.put("n1", b"one more", VALUE).status == 507
        for number in range(stored):
            assert nodes.delete("n1", b"%d" % number).status == 204
        until(lambda: nodes.put("n1", b"again", VALUE).status in (200, 201), "room to have been made")
        assert nodes.get("n1", b"0").status == 404
