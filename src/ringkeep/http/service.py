"""What the HTTP interface asks of the node behind it: one protocol, and nothing else.

The node's assembly implements it; `tests/http_service.py` holds the verified fake. Everything here is called
from the loop's thread, and nothing here may block.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal, Protocol

from ringkeep.core.requests import Request

Labels = tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class Sample:
    """One metric at this moment: `values` maps label pairs (`()` for none) to a number.

    `name` is without the `ringkeep_` in front and without the `_total` of a counter.
    """

    name: str
    kind: Literal["counter", "gauge"]
    help: str
    values: Mapping[Labels, float]


class Service(Protocol):
    """One node of the cluster, as its HTTP interface sees it."""

    name: str
    """This node's name, for the header `Ringkeep-Node`."""

    def submit(self, request: Request) -> None:
        """Run one operation. `request.done(result)` is called exactly once, at once or later, on the loop.

        It always ends: at the latest `core.limits.REPLY_GRACE_MS` after the request's own timeout.
        """
        ...

    def serving(self) -> str | None:
        """Return None when data requests may be served, else the reason why not (becomes a 503)."""
        ...

    def cluster(self) -> dict[str, Any]:
        """Return the answer of `GET /v1/cluster`."""
        ...

    def partitions(self) -> dict[str, Any]:
        """Return the answer of `GET /v1/cluster/partitions`."""
        ...

    def where(self, key: bytes) -> dict[str, Any]:
        """Return slot, partition, primary and replicas of a key; the interface adds the key itself."""
        ...

    def ready(self) -> tuple[bool, list[str]]:
        """Return whether this node is ready, and what it still waits for, for people."""
        ...

    def version(self) -> dict[str, Any]:
        """Return the answer of `GET /version`: at least `version`."""
        ...

    def metrics(self) -> Iterable[Sample]:
        """Return this node's own metrics, read from plain numbers when somebody asks."""
        ...
