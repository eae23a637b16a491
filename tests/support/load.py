"""A light load from clients that know every node, and an account of what they were told.

A request moves to the next node only when a connection breaks: any answer that is no success is a failure.
Writes carry an Idempotency-Key, so one that is sent again is applied once. Every client writes and reads keys
of its own, so it knows what it must read.
"""

import http.client
import itertools
import threading
import time
from collections import Counter
from types import TracebackType

from tests.support.cluster import HOST, Cluster, kv

KEYS = 24  # of each client, over all partitions
PAUSE_S = 0.004  # between two requests of one client: light
ATTEMPTS = 200
UNREACHABLE = "no node can be reached"


class Load:
    """One thread per node, which goes there first, writes and reads until it is stopped. Use as a context.

    `until_unreachable`: a client that reaches no node at all just ends.
    """

    def __init__(self, cluster: Cluster, *, until_unreachable: bool = False) -> None:
        self._cluster = cluster
        self._until_unreachable = until_unreachable
        self._over = threading.Event()
        self._clients = [_Client(cluster, number, self._over) for number in range(len(cluster.names))]

    def __enter__(self) -> "Load":
        for client in self._clients:
            client.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._over.set()
        for client in self._clients:
            client.join(60)
        assert kind is not None or not self.failures, self.failures

    @property
    def failures(self) -> list[str]:
        found = [failure for client in self._clients for failure in client.failures]
        return [each for each in found if not (self._until_unreachable and UNREACHABLE in each)]

    @property
    def ended(self) -> bool:
        """Whether all clients have given up."""
        return not any(client.is_alive() for client in self._clients)

    @property
    def broken(self) -> set[str]:
        """The nodes to which a connection broke or was refused."""
        return {name for client in self._clients for name in client.broken}

    @property
    def done(self) -> int:
        return min(client.done for client in self._clients)

    @property
    def pause_s(self) -> float:
        """The longest that any client waited for one request, all of its attempts included."""
        return max(client.longest_s for client in self._clients)

    def report(self) -> str:
        broken = sum((client.broken for client in self._clients), Counter[str]())
        total = sum(client.done for client in self._clients)
        return f"{total} requests, longest {1000 * self.pause_s:.0f} ms, sent again after {dict(broken)}"

    def verify(self) -> None:
        """Every value that was acknowledged last is there, or the one after it whose fate is not known."""
        via = self._cluster.running()[0]
        for client in self._clients:
            assert not client.is_alive(), "only a load at rest is verified"
            for key, value in client.acknowledged.items():
                answer = self._cluster.get(via, key)
                allowed = {value, client.unknown.get(key, value)}
                assert answer.status == 200 and answer.body in allowed, f"{key!r}: {answer}, not {allowed}"


class _Client(threading.Thread):
    def __init__(self, cluster: Cluster, number: int, over: threading.Event) -> None:
        super().__init__(daemon=True)
        self.failures: list[str] = []
        self.broken: Counter[str] = Counter()
        self.acknowledged: dict[bytes, bytes] = {}
        self.unknown: dict[bytes, bytes] = {}
        self.done = 0
        self.longest_s = 0.0
        self._names = cluster.names
        self._ports = [cluster.places[name].http for name in cluster.names]
        self._id = f"load-{time.monotonic_ns()}-{number}"
        self._at = number
        self._over = over
        self._connection: http.client.HTTPConnection | None = None

    def run(self) -> None:
        for step in itertools.count():
            if self._over.is_set() or self.failures:
                break
            self._put(f"{self._id}-{step % KEYS}".encode(), f"{self._id}:{step}".encode())
            if not self.failures:
                self._get(f"{self._id}-{step * 7 % KEYS}".encode())
            time.sleep(PAUSE_S)
        self._drop()

    def _put(self, key: bytes, value: bytes) -> None:
        status, body = self._ask("PUT", key, value, {"Idempotency-Key": value.decode()})
        if status in (200, 201):
            self.acknowledged[key] = value
        else:
            self.unknown[key] = value
            self.failures.append(f"PUT {key!r}: {status} {body!r}")

    def _get(self, key: bytes) -> None:
        wanted = self.acknowledged.get(key)
        status, body = self._ask("GET", key, None, {})
        if (status, body) != (200, wanted) and not (status == 404 and wanted is None):
            self.failures.append(f"GET {key!r}: {status} {body!r}, wanted {wanted!r}")

    def _ask(self, method: str, key: bytes, body: bytes | None, headers: dict[str, str]) -> tuple[int, bytes]:
        began = time.monotonic()
        for _ in range(ATTEMPTS):
            at = self._at % len(self._ports)
            try:
                if self._connection is None:
                    self._connection = http.client.HTTPConnection(HOST, self._ports[at], timeout=20)
                self._connection.request(method, kv(key), body, headers)
                reply = self._connection.getresponse()
                content = reply.read()
            except (ConnectionError, http.client.HTTPException):
                self.broken[self._names[at]] += 1
                self._drop()
                self._at += 1
                continue
            except TimeoutError:
                return 0, b"no answer within 20 s"
            if reply.will_close:
                self._drop()
            self.done += 1
            self.longest_s = max(self.longest_s, time.monotonic() - began)
            return reply.status, content
        return 0, UNREACHABLE.encode()

    def _drop(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None
