"""The protocol by which the HTTP interface uses its node.

The node's assembly implements it; `tests/support/http/fake_service.py` holds the verified fake. Everything
here is called from the loop's thread, and nothing here may block.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol

from ringkeep.core.protocol.client_requests import ListRequest, ReadGroup, Request, Status
from ringkeep.core.protocol.feed import FeedRequest
from ringkeep.histogram import Histogram

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

        It always ends: at the latest `REPLY_GRACE_MS` (core/protocol/limits) after the request's own timeout.
        """
        ...

    def submit_reads(self, group: ReadGroup) -> None:
        """Read many keys, each as `submit` would. `group.done(results)` is called once, likewise."""
        ...

    def submit_listing(self, request: ListRequest) -> None:
        """Put a page of keys together. `request.done(page)` is called exactly once, later, on the loop."""
        ...

    def submit_feed(self, request: FeedRequest) -> Status | None:
        """Begin a feed of changes, or return why none may begin. BUSY: this node has as many readers as it
        may. UNAVAILABLE: a node of the cluster runs an older version, which tells no changes.

        Its functions are called later, on the loop, until `close_feed` or `request.on_gone`.
        """
        ...

    def pull_feed(self, request: FeedRequest, size: int) -> None:
        """The reader takes so many bytes more, as `feed.size_of` counts them."""
        ...

    def close_feed(self, request: FeedRequest) -> None:
        """The reader has gone; harmless where the feed has ended."""
        ...

    def partitioning(self) -> tuple[str, int]:
        """Return the cluster's id and how many partitions it has, for cursors. Call only while serving."""
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

    def moves(self) -> dict[str, Any]:
        """Return the answer of `GET /v1/cluster/moves`: planned, running and finished moves."""
        ...

    def plan(self, action: Literal["join", "leave"], name: str, zone: str, weight: int) -> dict[str, Any]:
        """Return what the node of that name would move by joining or leaving. Raises NoSuchNode, Refusal.

        `zone` ("": its name) and `weight` count for a join.
        """
        ...

    def steer(self, verb: str, name: str, weight: int = 0) -> dict[str, Any]:
        """Accept an order about a node, and return the member as `cluster` shows it.

        `verb`: decommission, give-up, drain, undrain, weight or forget. The order is carried out later, by
        the controller. Raises NoSuchNode, Refusal, and Unavailable while no order can be accepted.
        """
        ...

    def hold_moves(self, verb: Literal["pause", "resume", "cancel"]) -> dict[str, Any]:
        """Pause moves, resume them, or roll back those under way; return `moves`. Raises Unavailable."""
        ...

    def change_settings(self, wanted: Mapping[str, int]) -> dict[str, Any]:
        """Change settings of the running cluster; return them as they will be.

        Raises Refusal for an unknown setting or an invalid value, and Unavailable.
        """
        ...

    def recover_partitions(self, partitions: Sequence[int], lost: Sequence[str]) -> dict[str, Any]:
        """Recover partitions (none: all that need it) with their best copies, though writes may be lost.

        `lost`: the names of the nodes that are lost for good. Returns `{"partitions": [{"partition",`
        `"gone": [names], "left": [names], "goes_on_with", "begins_empty"}]}`. Raises NoSuchNode, Refusal for
        those that do not need it, if none does, and while a lost node may live, and Unavailable.
        """
        ...

    def map_copy(self) -> dict[str, Any]:
        """Return this node's copy of the cluster map and its promises, for `ringkeep recover map`.

        `{"name", "id", "cluster", "cluster_id", "map_version", "map": base64 or null,`
        `"promised": [[partition, epoch], …]}`
        """
        ...

    def ready(self) -> tuple[bool, list[str]]:
        """Return whether this node is ready, and what it still waits for, for people."""
        ...

    def version(self) -> dict[str, Any]:
        """Return the answer of `GET /version`: at least `version`."""
        ...

    def metrics(self) -> Iterable[Sample]:
        """Return this node's own metrics, read from plain counters."""
        ...

    def times(self) -> Iterable[tuple[str, str, Histogram]]:
        """Return name, help and counts of what this node times, apart from requests."""
        ...
