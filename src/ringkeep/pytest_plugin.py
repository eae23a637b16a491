"""Fixtures for the tests of programs that use Ringkeep; pytest loads them by itself. See docs/testing.md.

Loaded in every run of pytest where Ringkeep is installed: so nothing is imported before a fixture is used.
"""

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from ringkeep.testing import Cluster, Node


@pytest.fixture(scope="session")
def _ringkeep_node() -> "Iterator[Node]":
    from ringkeep.testing import Node

    with Node() as node:
        yield node


@pytest.fixture
def ringkeep(_ringkeep_node: "Node") -> "Iterator[Node]":
    """A running node of Ringkeep without a key in it: `endpoints`, `client()`, `async_client()`, `kill()` …

    The process is that of the whole session (with pytest-xdist: of the worker); every key is deleted before
    each test. Its clients are closed after the test.
    """
    node = _ringkeep_node
    node.restore()
    node.clear()
    yield node
    node.close_clients()


@pytest.fixture(scope="session")
def _ringkeep_cluster() -> "Iterator[Cluster]":
    import os

    from ringkeep.testing import Cluster
    from ringkeep.testing.cluster import missing

    reason = missing()
    if reason and not os.environ.get("CI"):
        pytest.skip(f"a cluster of Ringkeep cannot run here: {reason}")
    with Cluster() as cluster:
        yield cluster


@pytest.fixture
def ringkeep_cluster(_ringkeep_cluster: "Cluster") -> "Iterator[Cluster]":
    """A healthy cluster of three nodes without a key in it, whose nodes have `kill()`, `start()`, `pause()`,
    `resume()`, `partition()` and `heal()`.

    Before each test all nodes run, nothing is cut, and every key is deleted. Needs Java: without it the test
    is skipped; if the variable CI is set, it fails.
    """
    cluster = _ringkeep_cluster
    cluster.restore()
    cluster.clear()
    yield cluster
    cluster.close_clients()
