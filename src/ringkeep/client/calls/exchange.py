"""Requests and answers as the client's parts hand them to each other. No sockets here: `attempts` decides
what is sent to whom, the transports send it.
"""

from collections.abc import Callable, Generator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Generic, TypeAlias, TypeVar
from urllib.parse import quote_from_bytes

T = TypeVar("T")

GRACE_S: Final = 0.25
"""So long after a node's own deadline its answer is waited for."""


@dataclass(slots=True)
class Request:
    """A request of the store's HTTP interface (docs/http.md).

    `path` begins with "/" and is percent-encoded; `query` holds encoded pairs. `key`: of which the primary is
    asked; None: any node will do. `idempotency_key`: of a write. `timed`: the route takes `timeout`.
    `streamed`: the body of a success is left to be read as it comes.
    `changes`: it may change something, though it has no idempotency key. `waits_s`: so long the node may wait
    before it answers. `name`: of the call, for observers; `operations`: so many are in it.
    """

    method: str
    path: str
    query: list[str] = field(default_factory=list)
    body: bytes = b""
    headers: dict[str, str] = field(default_factory=dict)
    key: bytes | None = None
    idempotency_key: str = ""
    timed: bool = True
    streamed: bool = False
    changes: bool = False
    waits_s: float = 0.0
    name: str = ""
    operations: int = 1

    def target(self, timeout_ms: int) -> str:
        """Return what stands in the request's first line."""
        query = [*self.query, f"timeout={timeout_ms}ms"] if self.timed else self.query
        return f"{self.path}?{'&'.join(query)}" if query else self.path

    @property
    def is_write(self) -> bool:
        """Whether it may change something: only then is an outcome unknown."""
        return self.changes or bool(self.idempotency_key)


@dataclass(slots=True)
class Response:
    """An answer. `headers`: by lower-case name. `stream`: what the transport reads a streamed body from."""

    status: int
    headers: Mapping[str, str]
    body: bytes
    stream: Any = None


@dataclass(slots=True)
class Failure:
    """There was no answer. `sent`: the request may have reached the node."""

    reason: str
    sent: bool


@dataclass(slots=True)
class Send:
    """To be done: send to this endpoint, and wait for an answer until `until`, by the monotonic clock."""

    endpoint: str
    request: Request
    until: float
    connect_s: float


@dataclass(slots=True)
class Pause:
    """To be done: wait so many seconds."""

    seconds: float


Action: TypeAlias = Send | Pause
Steps: TypeAlias = Generator[Action, Response | Failure | None, T]
"""What is done for one call. Who runs it carries out each action, and sends in what came of it."""


@dataclass(slots=True)
class Call(Generic[T]):
    """A request, and what its answer means. `read` raises a StoreError where that is no success."""

    request: Request
    read: Callable[[Response], T]


def quoted(data: bytes) -> str:
    """Percent-encode all but letters, digits, "-", "_" and "~": dots too, as some libraries resolve them."""
    return quote_from_bytes(data, safe="").replace(".", "%2E")
