"""Which node a request is sent to: the primary of its key, as clients do, or each node in turn.

The map is read at the beginning, and again after something has failed, at most once a second.
"""

import json
import time
from collections.abc import Callable, Mapping
from itertools import cycle
from typing import Any, Final

from ringkeep.core.cluster.slots import partition_of

REST_S: Final = 1.0
"""For so long an endpoint that failed is left out."""


class Route:
    """`endpoints`: "HOST:PORT" of the nodes that were given. `follows`: primaries are asked directly."""

    def __init__(self, endpoints: list[str], follows: bool) -> None:
        self._turns = cycle(endpoints)
        self._number = len(endpoints)
        self._follows = follows
        self._primaries: list[str] = []
        self._rests: dict[str, float] = {}
        self._read_at = 0.0
        self.nodes = len(endpoints)
        """To how many nodes requests are sent."""

    def learn(self, cluster: Mapping[str, Any], partitions: Mapping[str, Any]) -> None:
        """Take the answers of /v1/cluster and /v1/cluster/partitions."""
        addresses = {each["name"]: each["http"] for each in cluster["members"]}
        rows = sorted(partitions["partitions"], key=lambda each: each["partition"])
        self._primaries = [addresses.get(each["primary"] or "", "") for each in rows]
        self._read_at = time.monotonic()
        if self._follows:
            self.nodes = len(set(self._primaries) - {""})

    def to(self, key: bytes) -> str:
        """Return the endpoint for a request on this key."""
        if self._follows and self._primaries:
            primary = self._primaries[partition_of(key, len(self._primaries))]
            if primary and not self._is_resting(primary):
                return primary
        for _ in range(self._number):
            endpoint = next(self._turns)
            if not self._is_resting(endpoint):
                return endpoint
        return next(self._turns)

    def failed(self, endpoint: str) -> None:
        """It did not answer."""
        self._rests[endpoint] = time.monotonic() + REST_S

    @property
    def is_due(self) -> bool:
        """Whether the map should be read again."""
        return self._follows and time.monotonic() - self._read_at >= REST_S

    async def read_again(self, ask: "Callable[[str, bytes], Any]") -> None:
        """Read the map from some node: `ask` returns the body of a path's answer, or raises Broken."""
        self._read_at = time.monotonic()
        endpoint = self.to(b"?")
        bodies = [await ask(endpoint, path) for path in (b"/v1/cluster", b"/v1/cluster/partitions")]
        self.learn(json.loads(bodies[0]), json.loads(bodies[1]))

    def _is_resting(self, endpoint: str) -> bool:
        return bool(self._rests) and self._rests.get(endpoint, 0.0) > time.monotonic()
