"""Clients that contend for a few keys through the Python client, and a record of what they saw."""

import random
import threading
import time
from collections.abc import Callable
from typing import Any

from tests.support.cluster.crowd import Crowd
from tests.support.wait import until

from ringkeep.client import Conflict, Indeterminate, NotFound, Rejected
from ringkeep.sim.histories.checker import check
from ringkeep.sim.histories.history import Operation

KINDS = ("get", "put", "cas", "delete")
WEIGHTS = (40, 25, 25, 10)
ABSENT = 0


class ClientRecorder(Crowd):
    """`make` makes the client of each thread. Use as a context, then `verify`. Nothing may fail meanwhile."""

    def __init__(self, make: Callable[[], Any], *, clients: int = 4, keys: int = 10) -> None:
        over = threading.Event()
        stem = str(time.monotonic_ns())
        names = [f"recorded-{number}-{stem}".encode() for number in range(keys)]
        self.clients = [_Client(make, number, names, over) for number in range(clients)]
        super().__init__(over, self.clients)

    @property
    def failures(self) -> list[str]:
        return [failure for client in self.clients for failure in client.failures]

    @property
    def done(self) -> int:
        return min(len(client.history) for client in self.clients)

    def go_on(self, more: int = 30) -> None:
        """Wait until every client was answered so many times more."""
        wanted = self.done + more
        until(lambda: self.done >= wanted or self.failures, "clients to be answered")
        assert not self.failures, self.failures

    def verify(self) -> None:
        """One register per key explains every answer."""
        violation = check([operation for client in self.clients for operation in client.history])
        assert violation is None, violation


class _Client(threading.Thread):
    def __init__(
        self, make: Callable[[], Any], number: int, keys: list[bytes], over: threading.Event
    ) -> None:
        super().__init__(daemon=True)
        self.history: list[Operation] = []
        self.failures: list[str] = []
        self._make = make
        self._number = number
        self._keys = keys
        self._over = over
        self._random = random.Random(number)
        self._seen: dict[bytes, int] = {}

    def run(self) -> None:
        with self._make() as store:
            while not self._over.is_set() and not self.failures:
                [kind] = self._random.choices(KINDS, WEIGHTS)
                self._call(store, kind, self._random.choice(self._keys))

    def _call(self, store: Any, kind: str, key: bytes) -> None:
        value = b"%d.%d" % (self._number, len(self.history)) if kind in ("put", "cas") else None
        expected = self._seen.get(key, ABSENT) if kind == "cas" else None
        operation = Operation(self._number, kind, key, value, expected, time.monotonic_ns(), None, "unknown")
        self.history.append(operation)
        try:
            self._do(store, operation)
        except (NotFound, Conflict) as error:
            operation.outcome = "failed"
            operation.version = getattr(error, "version", None) or ABSENT
            self._seen[key] = operation.version
        except Rejected as error:
            operation.outcome = "rejected"
            self.failures.append(f"{operation}: {error!r}")
        except Indeterminate as error:
            self.failures.append(f"{operation}: {error!r}")
            return
        operation.end = time.monotonic_ns()

    def _do(self, store: Any, operation: Operation) -> None:
        key, expected = operation.key, operation.expected
        match operation.kind:
            case "get":
                found = store.get(key)
                operation.read, operation.version = found.value, found.version
            case "put":
                operation.version = store.put(key, operation.value).version
            case "cas" if expected:
                operation.version = store.put(key, operation.value, if_version=expected).version
            case "cas":
                operation.version = store.put(key, operation.value, if_absent=True).version
            case "delete":
                if not store.delete(key):
                    raise NotFound("nothing was deleted", status=404)
        operation.outcome = "ok"
        self._seen[key] = operation.version
