"""Polls a running cluster through whichever of its nodes answers.

The node at the given endpoint may be the one that leaves. So the poller learns the others from the members'
addresses, and ignores an answer that is older than an earlier one.
"""

import time
from typing import Final

from ringkeep.cli.cluster import http_client
from ringkeep.cli.cluster.responses import Json, items
from ringkeep.cli.terminal.failure import Failure
from ringkeep.exit_codes import UNAVAILABLE
from ringkeep.parsing import address

CLUSTER: Final = "/v1/cluster"
MOVES: Final = "/v1/cluster/moves"
PARTITIONS: Final = "/v1/cluster/partitions"

LOST_S: Final = 30.0
"""After so long without an answer from any node, a command stops waiting; the work itself may continue."""


class ClusterPoller:
    """The cluster behind some endpoints ("HOST:PORT")."""

    def __init__(self, endpoints: list[str], timeout_ms: int) -> None:
        self.endpoints = list(endpoints)
        self.timeout_ms = timeout_ms
        self._cluster_id: object = None
        self._map_version = 0
        self._answered_at = time.monotonic()

    def cluster(self) -> Json:
        """Return `/v1/cluster`, and learn the addresses of its members. Raises Failure."""
        cluster = self._get(CLUSTER)
        for member in items(cluster, "members"):
            self._learn(member.get("http"))
        self._cluster_id = self._cluster_id or cluster.get("cluster_id")
        self._map_version = max(self._map_version, _version(cluster))
        return cluster

    def look(self) -> Json | None:
        """Return `/v1/cluster`; None if no node answers just now, or one whose map is older than known.

        Raises Failure (4) once no node has answered for LOST_S.
        """
        try:
            cluster = self.cluster()
        except Failure as failure:
            if failure.exit_code != UNAVAILABLE:
                raise
            if time.monotonic() - self._answered_at >= LOST_S:
                raise Failure(f"no node has answered for {LOST_S:.0f} s: {failure}", UNAVAILABLE) from None
            return None
        self._answered_at = time.monotonic()
        if cluster.get("cluster_id") == self._cluster_id and _version(cluster) >= self._map_version:
            return cluster
        answered = self.endpoints[0]
        self.endpoints.sort(key=lambda endpoint: endpoint == answered)  # it is asked last from now on
        return None

    def moves(self) -> Json:
        """Return `/v1/cluster/moves`, {} if no node returns it."""
        return self._get_or_nothing(MOVES)

    def partitions(self) -> list[Json]:
        """Return the rows of `/v1/cluster/partitions`, [] if no node returns them."""
        return items(self._get_or_nothing(PARTITIONS), "partitions")

    def order(self, path: str, body: object = None, method: str = "POST") -> Json:
        """Give an order. Raises Failure."""
        return http_client.order(self.endpoints, path, self.timeout_ms, body, method)

    def _get_or_nothing(self, path: str) -> Json:
        try:
            return self._get(path)
        except Failure:
            return {}

    def _get(self, path: str) -> Json:
        answer = http_client.send(
            self.endpoints, http_client.HttpRequest("GET", path, timeout_ms=self.timeout_ms)
        )
        # The node that answered is asked first the next time, so that an unreachable one costs no time.
        self.endpoints.sort(key=lambda endpoint: endpoint != answer.endpoint)
        return http_client.object_of(answer)

    def _learn(self, advertised: object) -> None:
        try:
            endpoint = address(str(advertised))
        except ValueError:
            return
        if endpoint not in self.endpoints:
            self.endpoints.append(endpoint)


def _version(cluster: Json) -> int:
    version = cluster.get("map_version")
    return version if isinstance(version, int) else 0
