"""One client's connections, one per node: a request goes to the next node only when a connection breaks.

Whatever a node answers is the answer: no status is tried again. Not for use by several threads.
"""

import http.client
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import cycle, islice

from tests.support.cluster.cluster import HOST, Cluster

ATTEMPTS = 200
ANSWER_S = 20.0  # the product answers within its own deadline of 5 s


class Unanswered(Exception):
    """No node could be reached, or one took the request and never answered."""


class Unreachable(Unanswered):
    """No node could be reached."""


@dataclass(frozen=True, slots=True)
class Reply:
    """What came back. `tried`: the nodes that were asked, the one that answered last."""

    status: int
    headers: http.client.HTTPMessage
    body: bytes
    tried: tuple[str, ...]

    @property
    def version(self) -> int:
        """The version in the ETag, 0 if there is none."""
        return int(self.headers.get("ETag", "0").strip('"'))


class Caller:
    """Asks nodes of one cluster. `broken`: how often a connection to each broke or was refused."""

    def __init__(self, cluster: Cluster) -> None:
        self.broken: Counter[str] = Counter()
        self._cluster = cluster
        self._connections: dict[str, http.client.HTTPConnection] = {}

    def ask(
        self, names: Sequence[str], method: str, path: str, body: bytes | None, headers: dict[str, str]
    ) -> Reply:
        """Ask these nodes in turn until one answers, with whatever it has to say. Raises `Unanswered`."""
        tried: list[str] = []
        for name in islice(cycle(names), ATTEMPTS):
            tried.append(name)
            try:
                connection = self._connection(name)
                connection.request(method, path, body, headers)
                reply = connection.getresponse()
                content = reply.read()
            except (ConnectionError, http.client.HTTPException):
                self.broken[name] += 1
                self._drop(name)
                continue
            except TimeoutError:
                raise Unanswered(f"no answer within {ANSWER_S:g} s from {name}") from None
            if reply.will_close:
                self._drop(name)
            return Reply(reply.status, reply.headers, content, tuple(tried))
        raise Unreachable("no node can be reached")

    def close(self) -> None:
        for name in list(self._connections):
            self._drop(name)

    def _connection(self, name: str) -> http.client.HTTPConnection:
        found = self._connections.get(name)
        if found is None:
            port = self._cluster.places[name].http
            found = self._connections[name] = http.client.HTTPConnection(HOST, port, timeout=ANSWER_S)
        return found

    def _drop(self, name: str) -> None:
        connection = self._connections.pop(name, None)
        if connection is not None:
            connection.close()


@dataclass(frozen=True, slots=True, order=True)
class Waited:
    """One request that took long, all attempts included. `began`: by the monotonic clock."""

    seconds: float
    began: float
    what: str

    def __str__(self) -> str:
        return f"{1000 * self.seconds:.0f} ms for {self.what}"


class Stopwatch:
    """The longest waits of one client."""

    SLOW_S = 0.1  # remembered one by one beyond it, to be told about in a failure

    def __init__(self) -> None:
        self.longest_s = 0.0
        self.slow: list[Waited] = []

    def note(self, began: float, what: str) -> None:
        """Note a request that began then and was answered just now."""
        took_s = time.monotonic() - began
        self.longest_s = max(self.longest_s, took_s)
        if took_s > self.SLOW_S:
            self.slow.append(Waited(took_s, began, what))
