"""One call of an operation by a simulated client: what was asked, when, through whom, and the answer."""

from dataclasses import dataclass, field

from ringkeep.core.protocol.batch import CHECK, Step, decode_outcomes
from ringkeep.core.protocol.client_requests import Kind, Request, Result, Status
from ringkeep.core.protocol.types import Millis
from ringkeep.sim.histories.history import short


@dataclass(slots=True, eq=False)
class Call:
    """`start`, `end`: event numbers, all distinct. `result`: the final answer, None if there was none.
    `tries`: of each, the coordinator's origin and the request, which has its counter once it was accepted.
    `steps`, `goes_on`: of a batch. `follows`: the call before it in a chain.
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
    steps: list[Step] = field(default_factory=list)
    goes_on: bool = False
    follows: "Call | None" = None

    @property
    def keys(self) -> list[bytes]:
        """The keys that it concerns."""
        return [step.key for step in self.steps] or [self.key]

    @property
    def ids(self) -> list[tuple[bytes, int]]:
        """The ids under which an entry of it may be in the log."""
        return [(origin, request.counter) for origin, request in self.tries if request.counter]

    def __str__(self) -> str:
        asked = [self.kind.name.lower(), repr(self.key)]
        if self.steps:
            asked += [f"[{_text(step)}]" for step in self.steps] + ["goes on"] * self.goes_on
        elif self.value:
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
        if self.steps and result.value:
            told = [f"{Status(each.status).name.lower() if each.status else '?'} {each.version}"
                    for each in decode_outcomes(result.value)]  # fmt: skip
            return f"{text} [{', '.join(told)}]"
        shown = f" {short(result.value)}" if result.value or result.content_type else ""
        return text + shown + (f" ttl {result.ttl_ms}" if result.ttl_ms else "")


def _text(step: Step) -> str:
    kind = "check" if step.kind == CHECK else Kind(step.kind).name.lower()
    value = f" {short(step.value)}" if step.value else ""
    condition = f" if {step.condition}" if step.condition else ""
    return f"{kind} {step.key!r}{value}{condition}" + (f" ttl {step.ttl_ms}" if step.ttl_ms else "")
