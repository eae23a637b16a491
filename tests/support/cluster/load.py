"""A light load from clients that know every node, and an account of what they were told.

A request moves to the next node only when a connection breaks: any answer that is no success is a failure.
Writes carry an Idempotency-Key, so one that is sent again is applied once. Every client writes and reads keys
of its own, so it knows what it must read.
"""

import itertools
import threading
import time
from collections import Counter

from tests.support.cluster.caller import Caller, Reply, Stopwatch, Unanswered, Waited
from tests.support.cluster.cluster import Cluster, kv
from tests.support.cluster.crowd import Crowd
from tests.support.wait import until

KEYS = 24  # of each client, over all partitions
PAUSE_S = 0.004  # between two requests of one client: light
UNREACHABLE = "no node can be reached"


class Load(Crowd):
    """One thread per node, which goes there first, writes and reads until it is stopped. Use as a context.

    `until_unreachable`: a client that reaches no node at all just ends.
    """

    def __init__(self, cluster: Cluster, *, until_unreachable: bool = False) -> None:
        self._cluster = cluster
        self._until_unreachable = until_unreachable
        over = threading.Event()
        self._clients = [_Client(cluster, number, over) for number in range(len(cluster.names))]
        super().__init__(over, self._clients)

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
        return {name for client in self._clients for name in client.caller.broken}

    @property
    def done(self) -> int:
        return min(client.done for client in self._clients)

    @property
    def pause_s(self) -> float:
        """The longest that any client waited for one request, all of its attempts included."""
        return max(client.watch.longest_s for client in self._clients)

    def slowest(self, most: int = 5) -> list[Waited]:
        """The requests that were waited for longest, longest first."""
        return sorted((each for client in self._clients for each in client.watch.slow), reverse=True)[:most]

    def go_on(self, more: int = 30) -> None:
        """Wait until every client was answered so many times more."""
        wanted = self.done + more
        until(lambda: self.done >= wanted or self.failures, "clients to be answered")
        assert not self.failures, self.failures

    def report(self) -> str:
        broken = sum((client.caller.broken for client in self._clients), Counter[str]())
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
        self.caller = Caller(cluster)
        self.watch = Stopwatch()
        self.acknowledged: dict[bytes, bytes] = {}
        self.unknown: dict[bytes, bytes] = {}
        self.done = 0
        self._id = f"load-{time.monotonic_ns()}-{number}"
        self._names = [*cluster.names[number:], *cluster.names[:number]]
        self._over = over

    def run(self) -> None:
        for step in itertools.count():
            if self._over.is_set() or self.failures:
                break
            self._put(f"{self._id}-{step % KEYS}".encode(), f"{self._id}:{step}".encode())
            if not self.failures:
                self._get(f"{self._id}-{step * 7 % KEYS}".encode())
            time.sleep(PAUSE_S)
        self.caller.close()

    def _put(self, key: bytes, value: bytes) -> None:
        reply = self._ask("PUT", key, value, {"Idempotency-Key": value.decode()})
        if reply is not None and reply.status in (200, 201):
            self.acknowledged[key] = value
            return
        self.unknown[key] = value
        if reply is not None:
            self.failures.append(f"PUT {key!r}: {reply.status} {reply.body!r}")

    def _get(self, key: bytes) -> None:
        wanted = self.acknowledged.get(key)
        reply = self._ask("GET", key, None, {})
        if reply is None or (reply.status, reply.body) == (200, wanted):
            return
        if reply.status != 404 or wanted is not None:
            self.failures.append(f"GET {key!r}: {reply.status} {reply.body!r}, wanted {wanted!r}")

    def _ask(self, method: str, key: bytes, body: bytes | None, headers: dict[str, str]) -> Reply | None:
        """Ask the node that answered last, or those after it; None if nobody answers, which is a failure."""
        began = time.monotonic()
        try:
            reply = self.caller.ask(self._names, method, kv(key), body, headers)
        except Unanswered as error:
            self.failures.append(f"{method} {key!r}: {error}")
            return None
        at = self._names.index(reply.tried[-1])
        self._names = [*self._names[at:], *self._names[:at]]
        self.done += 1
        self.watch.note(began, f"{method} {key.decode()} through {', '.join(reply.tried)}")
        return reply
