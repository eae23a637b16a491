"""The worlds that the contract of the coordination is run in."""

from collections.abc import Iterator

import pytest
from tests.support.coordination.embedded_world import EmbeddedWorld
from tests.support.coordination.world import MemoryWorld, World
from tests.support.coordination.zookeeper_world import ZooKeeperWorld


def made(kind: str, zookeeper: str, request: pytest.FixtureRequest) -> Iterator[World]:
    world: World
    if kind == "memory":
        world = MemoryWorld()
    elif kind == "embedded":
        world = EmbeddedWorld(request.getfixturevalue("tmp_path"))
    else:
        world = ZooKeeperWorld(request.getfixturevalue(zookeeper))
    yield world
    world.close()


@pytest.fixture(params=["memory", "embedded", "zookeeper"])
def world(request: pytest.FixtureRequest) -> Iterator[World]:
    """A world whose service is shared with other tests, and must be left running."""
    yield from made(request.param, "zookeeper", request)


@pytest.fixture(params=["memory", "zookeeper"])
def mortal_world(request: pytest.FixtureRequest) -> Iterator[World]:
    """A world whose service the test may kill."""
    yield from made(request.param, "private_zookeeper", request)
