"""One call of an operation by a simulated client: what was asked, when, through whom, and the answer."""

from dataclasses import dataclass, field

from ringkeep.core.protocol.client_requests import Kind, Request, Result
from ringkeep.core.protocol.types import Millis
from ringkeep.sim.histories.history import short


@dataclass(slots=True, eq=False)
class Call:
    """`start`, `end`: event numbers, all distinct. `result`: the final answer, None if there was none.
    `tries`: of each, the coordinator's origin and the request, which has its counter once it was accepted.
    """

    client: int
    kind: Kind
    key: bytes
    value: bytes
    content_type: bytes
    condition: int
    ttl_ms: Millis
    stale: bool
    at_least: int
    name: bytes
    start: int
    start_ms: Millis
    end: int = 0
    end_ms: Millis = 0
    result: Result | None = None
    tries: list[tuple[bytes, Request]] = field(default_factory=list)

    @property
    def ids(self) -> list[tuple[bytes, int]]:
        """The ids under which an entry of it may be in the log."""
        return [(origin, request.counter) for origin, request in self.tries if request.counter]

    def __str__(self) -> str:
        asked = [self.kind.name.lower(), repr(self.key)]
        if self.value:
            asked.append(short(self.value))
        asked += [f"{name} {getattr(self, name)}" for name in ("condition", "ttl_ms", "at_least")
                  if getattr(self, name)]  # fmt: skip
        asked += ["stale"] if self.stale else []
        asked += [self.name.decode()] if self.name else []
        return f"{self.start}-{self.end} client {self.client}: {' '.join(asked)} -> {self._answer()}"

    def _answer(self) -> str:
        result = self.result
        if result is None:
            return "unknown"
        text = f"{result.status.name.lower()} {result.version}"
        shown = f" {short(result.value)}" if result.value or result.content_type else ""
        return text + shown + (f" ttl {result.ttl_ms}" if result.ttl_ms else "")
