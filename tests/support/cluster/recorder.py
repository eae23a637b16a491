"""Clients that contend for a few keys through all nodes, and a record of every call with its times.

The record is a history as docs/histories.md has it, judged by the checker behind `ringkeep check`. Some keys
are counters, raised by compare-and-set only: their final value is known exactly. As with `load`, a request
goes to another node only when a connection breaks, and any other failure counts.
"""

import random
import threading
import time
from collections import Counter, deque

from tests.support.cluster.caller import Caller, Reply, Stopwatch, Unanswered, Waited
from tests.support.cluster.cluster import Cluster, kv
from tests.support.cluster.crowd import Crowd
from tests.support.wait import until

from ringkeep.sim.histories.checker import Undecided, check
from ringkeep.sim.histories.history import Operation, write_history

PAUSE_S = 0.005  # between two calls of one client: light
CALLS = ("get", "put", "cas", "delete", "raise")
WEIGHTS = (40, 20, 20, 6, 14)
DONE = {"get": (200,), "put": (200, 201), "cas": (200, 201), "delete": (204,)}
FOUND_OTHERWISE = {"get": 404, "cas": 412, "delete": 404}  # definite, and an observation
NOT_APPLIED = (429, 503, 507)
ABSENT = 0
FINAL_CLIENT = -1  # who reads everything at the end


class Recorder(Crowd):
    """Writes, reads, deletes and compares-and-sets until it is stopped. Use as a context, then `verify`.

    `use` names nodes that are asked too from then on: newcomers, and those that are back and ready. A node to
    which a connection broke is not asked again before that.
    """

    def __init__(self, cluster: Cluster, *, clients: int = 4, keys: int = 12, counters: int = 3) -> None:
        self._cluster = cluster
        over = threading.Event()
        stem = str(time.monotonic_ns())
        self._keys = [f"key-{i}-{stem}".encode() for i in range(keys)]
        self._counters = [f"counter-{i}-{stem}".encode() for i in range(counters)]
        self._clients = [
            _Client(cluster, number, self._keys, self._counters, over) for number in range(clients)
        ]
        super().__init__(over, self._clients)

    # --- while it runs -------------------------------------------------------------------------------------

    def use(self, *names: str) -> None:
        """Have these nodes asked too: they are ready."""
        for client in self._clients:
            client.back.extend(names)

    def go_on(self, more: int = 30) -> None:
        """Wait until every client was answered so many times more."""
        wanted = self.done + more
        until(lambda: self.done >= wanted or self.failures, "clients to be answered")
        assert not self.failures, self.failures

    @property
    def done(self) -> int:
        return min(len(client.history) for client in self._clients)

    @property
    def failures(self) -> list[str]:
        return [failure for client in self._clients for failure in client.failures]

    @property
    def broken(self) -> set[str]:
        """The nodes to which a connection broke or was refused."""
        return {name for client in self._clients for name in client.caller.broken}

    @property
    def pause_s(self) -> float:
        """The longest that any client waited for one request, all of its attempts included."""
        return max(client.watch.longest_s for client in self._clients)

    def slowest(self, most: int = 5) -> list[Waited]:
        """The requests that were waited for longest, longest first."""
        return sorted((each for client in self._clients for each in client.watch.slow), reverse=True)[:most]

    def report(self) -> str:
        broken = sum((client.caller.broken for client in self._clients), Counter[str]())
        calls = sum(len(client.history) for client in self._clients)
        longest = "; ".join(map(str, self.slowest(2)))
        return (
            f"{calls} calls, longest {1000 * self.pause_s:.0f} ms, sent again after {dict(broken)}. {longest}"
        )

    # --- at the end ----------------------------------------------------------------------------------------

    def verify(self) -> None:
        """Nothing failed, one register per key explains every answer, and no counter is off by one.

        Reads every key through every node that runs first, as part of the history.
        """
        assert not any(client.is_alive() for client in self._clients), "only a load at rest is verified"
        assert not self.failures, self.failures
        reader = _Client(self._cluster, FINAL_CLIENT, self._keys, self._counters, threading.Event())
        for name in self._cluster.running():
            reader.names = [name]
            for key in (*self._keys, *self._counters):
                reader.get(key)
        reader.caller.close()
        assert not reader.failures, reader.failures
        history = [operation for client in (*self._clients, reader) for operation in client.history]
        self._judge(history)
        for key in self._counters:
            self._count(key, history)

    def _judge(self, history: list[Operation]) -> None:
        try:
            violation: object = check(history)
        except Undecided as error:
            violation = error
        if violation is not None:
            path = self._cluster.directory / "history.jsonl"
            path.write_bytes(b"".join(write_history(history)))
            raise AssertionError(f"{violation}\n(ringkeep check {path})")

    def _count(self, key: bytes, history: list[Operation]) -> None:
        raised = [each for each in history if each.key == key and each.kind == "cas"]
        sure = sum(each.outcome == "ok" for each in raised)
        unsure = sum(each.outcome == "unknown" for each in raised)
        for read in history:
            if read.client == FINAL_CLIENT and read.key == key:
                found = int(read.read or b"0")
                assert sure <= found <= sure + unsure, f"{key!r}: {found}, raised {sure} times (+{unsure}?)"


class _Client(threading.Thread):
    """One client: its calls, one after the other, each through the next node."""

    def __init__(
        self, cluster: Cluster, number: int, keys: list[bytes], counters: list[bytes], over: threading.Event
    ) -> None:
        super().__init__(daemon=True)
        self.names = cluster.running()
        self.back: deque[str] = deque()  # nodes to ask again; filled by another thread
        self.caller = Caller(cluster)
        self.watch = Stopwatch()
        self.history: list[Operation] = []
        self.failures: list[str] = []
        self._number = number
        self._keys, self._counters = keys, counters
        self._over = over
        self._rng = random.Random(number)
        self._seen: dict[bytes, int] = {}  # key → the version that this client saw last
        self._step = 0

    def run(self) -> None:
        while not self._over.is_set() and not self.failures:
            [call] = self._rng.choices(CALLS, WEIGHTS)
            key = self._rng.choice(self._keys)
            value = f"{self._number}.{self._step}".encode()
            if call == "get":
                self.get(key)
            elif call == "raise":
                self._raise(self._rng.choice(self._counters))
            elif call == "cas":
                self._call("cas", key, value, self._seen.get(key, ABSENT))
            else:
                self._call(call, key, value if call == "put" else None)
            time.sleep(PAUSE_S)
        self.caller.close()

    def get(self, key: bytes) -> Operation:
        return self._call("get", key)

    def _raise(self, counter: bytes) -> None:
        """Read a counter, and write one more if nobody was faster."""
        read = self.get(counter)
        if read.outcome in ("ok", "failed"):
            self._call("cas", counter, b"%d" % (int(read.read or b"0") + 1), read.version)

    def _call(
        self, kind: str, key: bytes, value: bytes | None = None, expected: int | None = None
    ) -> Operation:
        self._step += 1
        headers = {} if kind == "get" else {"Idempotency-Key": f"{key.decode()}-{self._number}-{self._step}"}
        if expected is not None:
            headers |= {"If-Match": f'"{expected}"'} if expected else {"If-None-Match": "*"}
        method = {"get": "GET", "delete": "DELETE"}.get(kind, "PUT")
        names = self._in_turn()
        operation = Operation(self._number, kind, key, value, expected, time.monotonic_ns(), None, "unknown")
        try:
            reply = self.caller.ask(names, method, kv(key), value, headers)
        except Unanswered as error:
            self.failures.append(f"{operation}: {error}")
        else:
            operation.end = time.monotonic_ns()
            self._note(operation, reply)
            self.watch.note(operation.start / 1e9, f"{operation.call()} {key.decode()} through {reply.tried}")
        self.history.append(operation)
        return operation

    def _in_turn(self) -> list[str]:
        while self.back:
            if (name := self.back.popleft()) not in self.names:
                self.names.append(name)
        names = self.names
        at = self._step % len(names)
        return [*names[at:], *names[:at]]

    def _note(self, operation: Operation, reply: Reply) -> None:
        """Take an answer down, and do not ask again whom a connection broke to."""
        if gone := set(reply.tried[:-1]):
            self.names = [name for name in self.names if name not in gone] or self.names
        kind, status = operation.kind, reply.status
        if status in DONE[kind]:
            operation.outcome = "ok"
            operation.read = reply.body if kind == "get" else None
        elif status == FOUND_OTHERWISE.get(kind):
            operation.outcome = "failed"
        else:
            operation.outcome = "rejected" if status in NOT_APPLIED else "unknown"
            self.failures.append(f"{operation} through {reply.tried}: {status} {reply.body[:300]!r}")
            return
        operation.version = reply.version
        self._seen[operation.key] = ABSENT if kind == "delete" else reply.version
