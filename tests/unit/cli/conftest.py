"""Nodes for the tests of the command line."""

import socket
from collections.abc import Callable, Iterator

import pytest
from tests.support.cli.fake_node import FakeNode, Reply


@pytest.fixture
def fake() -> Iterator[Callable[..., FakeNode]]:
    """Start scripted nodes that end with the test."""
    nodes: list[FakeNode] = []

    def make(*replies: Reply) -> FakeNode:
        node = FakeNode(list(replies))
        node.start()
        nodes.append(node)
        return node

    yield make
    for node in nodes:
        assert node.server is not None
        node.server.shutdown()
        node.server.server_close()


@pytest.fixture
def nowhere() -> Iterator[str]:
    """The URL of a port that is bound, so that nobody else gets it, and refuses connections."""
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        yield f"http://127.0.0.1:{bound.getsockname()[1]}"
