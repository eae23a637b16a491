"""A cluster of real nodes per module; and a failed test shows the ends of its nodes' logs."""

from collections.abc import Generator, Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.support.cluster.cluster import LIVE, Cluster
from tests.support.cluster.make_cluster import MakeCluster
from tests.support.coordination.zookeeper import operating

from ringkeep.coordination.server import ZooKeeperServer

NODES = 4  # with three replicas of each key: so every key has one node that can only forward


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Add them to the report; clusters that other tests left are gone, or share the module."""
    report = yield
    if report.failed:
        for cluster in list(LIVE):
            if tails := cluster.tails():
                report.sections.append((f"nodes of {cluster.id}", tails))
    return report


@pytest.fixture
def make_cluster(zookeeper: ZooKeeperServer, tmp_path: Path) -> Iterator[MakeCluster]:
    """Makes clusters for one test."""
    make = MakeCluster(tmp_path / "clusters", zookeeper.hosts)
    yield make
    make.end()


@pytest.fixture(scope="module")
def make_shared(
    zookeeper: ZooKeeperServer, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[MakeCluster]:
    """Makes clusters that the tests of a module use one after the other."""
    make = MakeCluster(tmp_path_factory.mktemp("shared"), zookeeper.hosts)
    yield make
    make.end()


@pytest.fixture(scope="module")
def shared(make_shared: MakeCluster) -> Cluster:
    return make_shared(NODES, partitions=16).start().wait_ready().wait_active()


@pytest.fixture
def operator(zookeeper: ZooKeeperServer) -> Iterator[Any]:
    """A ZooKeeper client of the test's own."""
    with operating(zookeeper) as client:
        yield client


@pytest.fixture
def nodes(shared: Cluster) -> Iterator[Cluster]:
    """The module's cluster, all of it running and serving, before and after the test."""
    yield shared.restore().wait_ready().wait_active()
    shared.restore().wait_ready().wait_active()
