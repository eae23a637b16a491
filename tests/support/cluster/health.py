"""What `/v1/cluster` says of a cluster's health, for tests."""

from typing import Any

from tests.support.cluster.cluster import Cluster
from tests.support.wait import PATIENCE_S, until


def health(nodes: Cluster, via: str) -> str:
    return str(nodes.cluster(via)["health"])


def missing(nodes: Cluster, via: str) -> dict[str, dict[str, Any]]:
    """Return the reasons by kind; of several of one kind, the last."""
    return {each["kind"]: each for each in nodes.cluster(via)["missing"]}


def wait_missing(
    nodes: Cluster, via: str, wanted: str, *kinds: str, limit_s: float = PATIENCE_S
) -> dict[str, dict[str, Any]]:
    """Wait until a node says this health, and exactly these kinds of reasons; return them."""
    found: dict[str, dict[str, Any]] = {}

    def seen() -> bool:
        nonlocal found
        found = missing(nodes, via)
        return health(nodes, via) == wanted and set(found) == set(kinds)

    until(seen, lambda: f"{via} to say {wanted}, for {kinds}; it says {nodes.cluster(via)}", limit_s)
    return found
