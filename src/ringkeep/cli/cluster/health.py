"""The health that `/v1/cluster` reports: as lines, as an exit code, and as a condition to wait for."""

import time
from collections.abc import Mapping
from typing import Any, Final

from ringkeep.cli.cluster.cluster_poller import ClusterPoller
from ringkeep.cli.cluster.responses import Json, items, text
from ringkeep.cli.terminal.failure import Failure
from ringkeep.exit_codes import CLUSTER_DEGRADED, CLUSTER_UNAVAILABLE, OK

POLL_S: Final = 0.25
ANSWER_MS: Final = 2_000
NOTE: Final = "healthy"  # the health of a reason that keeps nothing from being healthy


def exit_code_of(cluster: Mapping[str, Any]) -> int:
    """Return what `/v1/cluster` means as an exit code."""
    return {"healthy": OK, "degraded": CLUSTER_DEGRADED}.get(text(cluster, "health"), CLUSTER_UNAVAILABLE)


def settled(endpoint: str, limit_s: float) -> Json:
    """Return `/v1/cluster` as soon as it is healthy, or as it is after `limit_s`; {} if the node fails."""
    poller = ClusterPoller([endpoint], ANSWER_MS)
    until = time.monotonic() + limit_s
    while True:
        try:
            cluster = poller.cluster()
        except Failure:
            return {}
        if "health" not in cluster or exit_code_of(cluster) == OK or time.monotonic() >= until:
            return cluster
        time.sleep(POLL_S)


def lines_of(cluster: Mapping[str, Any]) -> list[str]:
    """Return what is missing, a line for each reason."""
    return [
        f"note: {each.get('text')}" if each.get("health") == NOTE else str(each.get("text"))
        for each in items(cluster, "missing")
    ]
