"""A cluster of real nodes per module; and a failed test shows the ends of its nodes' logs."""

from collections.abc import Generator, Iterator

import pytest
from tests.support.cluster.cluster import LIVE, Cluster

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


@pytest.fixture(scope="module")
def shared(zookeeper: ZooKeeperServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    with Cluster(tmp_path_factory.mktemp("shared"), zookeeper.hosts, NODES, partitions=16) as cluster:
        cluster.start().wait_ready().wait_active()
        yield cluster


@pytest.fixture
def nodes(shared: Cluster) -> Iterator[Cluster]:
    """The module's cluster, all of it running and serving, before and after the test."""
    yield shared.restore().wait_ready().wait_active()
    shared.restore().wait_ready().wait_active()
