"""A newcomer's disk is too small for its share: that stops the moves to it, and nothing else."""

from pathlib import Path

import pytest
from tests.support.cluster.ballast import Ballast
from tests.support.cluster.cluster import Cluster
from tests.support.cluster.recorder import Recorder
from tests.support.cluster.steering import member, moves, wait_even
from tests.support.storage.small_disk import SmallDisk
from tests.support.wait import until

from ringkeep.coordination.server import ZooKeeperServer

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(240)]

MIB = 1024 * 1024
SMALL_MIB, RESERVE_MIB, LARGE_MIB = 96, 48, 1024
VALUES, VALUE_BYTES = 160, 128 * 1024  # 20 MiB in each of four partitions; three of them are the share


def test_a_full_disk_stops_the_moves_to_it_and_nothing_else(
    zookeeper: ZooKeeperServer, tmp_path: Path
) -> None:
    newcomer = "n4"
    with (
        SmallDisk(tmp_path / "c" / newcomer, SMALL_MIB) as disk,
        Cluster(tmp_path / "c", zookeeper.hosts, 3, partitions=4) as nodes,
    ):
        nodes.start().wait_whole()
        ballast = Ballast(nodes, each=VALUES, value_bytes=VALUE_BYTES)
        with Recorder(nodes) as load:
            nodes.add(newcomer, **{"disk-reserve-bytes": RESERVE_MIB * MIB})
            nodes.start(newcomer).wait_ready(newcomer)
            load.use(newcomer)
            undone = {"to": newcomer, "outcome": "undone"}
            until(
                lambda: any(each.items() >= undone.items() for each in moves(nodes)["finished"]),
                lambda: f"a move to go back: {moves(nodes)}",
            )
            seen = moves(nodes)["planned"]
            assert any("less free disk than its reserve" in str(each["waits_for"]) for each in seen), seen
            found = member(nodes, newcomer)
            assert found is not None and found["state"] == "joining", found
            assert any(newcomer in each and "free disk" in each for each in nodes.cluster()["problems"])
            load.go_on()
            assert newcomer in nodes.running(), nodes.said(newcomer)[-600:]

            disk.grow(LARGE_MIB)
            wait_even(nodes, nodes.names)
            load.go_on()
        print(load.report())
        load.verify()
        ballast.verify(newcomer)
        nodes.wait_healthy()
