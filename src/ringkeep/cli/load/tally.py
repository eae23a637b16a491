"""What is counted while a cluster is under load."""

import time
from collections import Counter
from typing import Any, Final

from ringkeep.cli.load.latencies import Latencies

PERCENTILES: Final = (50.0, 90.0, 99.0, 99.9)

REJECTED: Final = "rejected"
INDETERMINATE: Final = "indeterminate"


class Tally:
    """`latencies` by operation, of what was answered; `errors` by (operation, outcome, what was said);
    `missing`: reads and deletions of keys that do not exist; `lag`: how late requests were sent for which a
    connection was free; `unsent`: requests of a schedule that had not begun at its end."""

    def __init__(self) -> None:
        self.latencies: dict[str, Latencies] = {}
        self.errors: Counter[tuple[str, str, str]] = Counter()
        self.operations: Counter[str] = Counter()
        self.missing = 0
        self.lag = Latencies()
        self.unsent = 0
        self.seconds = 0.0
        self.cpu_seconds = 0.0
        self.start()

    def start(self) -> None:
        """The time begins."""
        self._began = time.monotonic()
        self._cpu_began = time.process_time()

    def answered(self, operation: str, count: int, took_s: float) -> None:
        """Count a request that was answered as it should be, and the operations in it."""
        found = self.latencies.get(operation)
        if found is None:
            found = self.latencies[operation] = Latencies()
        found.add(took_s)
        self.operations[operation] += count

    def failed(self, operation: str, outcome: str, what: str) -> None:
        """Count a request that failed: `outcome` says whether it may have been applied."""
        self.errors[operation, outcome, what] += 1

    def finish(self) -> None:
        """The time is over."""
        self.seconds = time.monotonic() - self._began
        self.cpu_seconds = time.process_time() - self._cpu_began

    @property
    def all(self) -> Latencies:
        """All latencies together."""
        found = Latencies()
        for each in self.latencies.values():
            found.merge(each)
        return found

    def document(self) -> dict[str, Any]:
        """Return all of it for a program: times in seconds, latencies in microseconds."""
        return {
            "seconds": round(self.seconds, 3),
            "cpu_seconds": round(self.cpu_seconds, 3),
            "requests": {name: self._shown(each, name) for name, each in self.latencies.items()},
            "all": self._shown(self.all, ""),
            "missing": self.missing,
            "errors": [
                {"operation": operation, "outcome": outcome, "error": what, "count": count}
                for (operation, outcome, what), count in sorted(self.errors.items())
            ],
            "lag": _percentiles(self.lag),
            "unsent": self.unsent,
        }

    def _shown(self, found: Latencies, name: str) -> dict[str, Any]:
        operations = self.operations[name] if name else self.operations.total()
        return {
            "count": found.count,
            "operations": operations,
            "per_second": round(found.count / max(self.seconds, 1e-9), 1),
            "operations_per_second": round(operations / max(self.seconds, 1e-9), 1),
            **_percentiles(found),
        }


def _percentiles(found: Latencies) -> dict[str, int]:
    named = {f"p{percent:g}_us": found.percentile_us(percent) for percent in PERCENTILES}
    return {**named, "max_us": found.max_us, "mean_us": round(found.total_us / max(found.count, 1))}
