"""Fixtures that several kinds of test share."""

from collections.abc import Iterator

import pytest
from hypothesis import settings
from tests.support.coordination.zookeeper import start_zookeeper

from ringkeep.coordination.server import ZooKeeperServer

settings.register_profile("untimed", deadline=None)  # how long an example takes says more of what runs beside
settings.load_profile("untimed")


@pytest.fixture(scope="session")
def zookeeper(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ZooKeeperServer]:
    """One real ZooKeeper for the whole run: use a cluster name of your own, and leave it running."""
    server = start_zookeeper(tmp_path_factory.mktemp("zookeeper"))
    yield server
    server.stop()


@pytest.fixture
def private_zookeeper(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ZooKeeperServer]:
    """A real ZooKeeper for one test, which may do to it what it likes."""
    server = start_zookeeper(tmp_path_factory.mktemp("private-zookeeper"))
    yield server
    server.stop()


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--rewrite", action="store_true", help="write the golden texts anew; review the diff")
