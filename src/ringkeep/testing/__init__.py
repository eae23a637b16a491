"""Real nodes for tests of programs that use Ringkeep: one alone, or a cluster whose nodes can fail.

from ringkeep.testing import Cluster, Node

with Node() as node, node.client() as store:
    store.put("hello", b"world")

With pytest there are fixtures for them (`ringkeep.pytest_plugin`). docs/testing.md has examples.
"""

from ringkeep.errors import StartError
from ringkeep.testing.cluster import Cluster, ClusterNode
from ringkeep.testing.node import Node

__all__ = ["Cluster", "ClusterNode", "Node", "StartError"]
