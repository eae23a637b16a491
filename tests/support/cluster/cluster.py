"""A cluster of real node processes for tests: started on free ports, killed, frozen, asked over HTTP, ended.

Every process is ended by its own pid, whatever the test did. A test that fails shows the ends of the nodes'
logs (`tests/cluster/conftest.py`). Peer ports have nothing to do with the HTTP ports, on purpose.
"""

import contextlib
import http.client
import json
import os
import random
import signal
import subprocess
import sys
import time
import weakref
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import quote_from_bytes, urlencode

from tests.support.cluster.wires import Wires
from tests.support.wait import PATIENCE_S, until, until_each

from ringkeep.core.cluster.slots import partition_of
from ringkeep.process import die_with_parent, last_lines, port_is_free

RINGKEEP = (sys.executable, "-m", "ringkeep.cli.main")
HOST = "127.0.0.1"
SHORT_SESSION = ("--zookeeper-session-ms", "1000")
TAIL_LINES = 25

LIVE: "weakref.WeakSet[Cluster]" = weakref.WeakSet()
"""Every cluster that may have something to say about a failure."""


def free_ports(count: int) -> list[int]:
    """Return ports below those that systems hand out by themselves, in no order."""
    found: set[int] = set()
    while len(found) < count:
        port = random.randrange(12_000, 32_000)
        if port_is_free(HOST, port):
            found.add(port)
    return random.sample(sorted(found), count)


@dataclass(frozen=True, slots=True)
class Answer:
    """One HTTP answer. `seconds`: from the first byte sent to the last byte read."""

    status: int
    headers: http.client.HTTPMessage
    body: bytes
    seconds: float

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    def __str__(self) -> str:
        return f"{self.status} after {self.seconds:.3f} s: {self.body[:300]!r}"


def kv(key: bytes, **query: Any) -> str:
    """Return the path of a key."""
    return "/v1/kv/" + quote_from_bytes(key, safe="") + (f"?{urlencode(query)}" if query else "")


@dataclass(slots=True)
class Place:
    """Where one node lives."""

    http: int
    peer: int
    data: Path
    zookeeper: str
    options: tuple[str, ...] = ()  # beside those of all nodes
    environment: dict[str, str] = field(default_factory=dict)
    host: str = HOST
    inside: tuple[str, ...] = ()  # words before the program: where it runs
    process: "subprocess.Popen[bytes] | None" = None


class Cluster:
    """Nodes n1, n2, … under `directory`. `program`: the words in front of `node`."""

    def __init__(
        self,
        directory: Path,
        zookeeper: str,
        nodes: int = 3,
        *,
        partitions: int = 8,
        options: Sequence[str] = (),
        program: Sequence[str] = RINGKEEP,
        wires: Wires | None = None,
    ) -> None:
        self.directory = directory
        self.partition_count = partitions
        self.id = f"test-{os.getpid()}-{time.monotonic_ns()}"
        self.program = tuple(program)
        self._options = ("--expect", str(nodes), "--partitions", str(partitions), *options)
        self._zookeeper = zookeeper
        self._wires = wires
        self.names: list[str] = []
        self.places: dict[str, Place] = {}
        self._processes: list[subprocess.Popen[bytes]] = []
        for number in range(nodes):
            self.add(f"n{number + 1}")
        LIVE.add(self)

    def __enter__(self) -> "Cluster":
        return self

    def __exit__(self, *_: object) -> None:
        self.end()

    def add(self, name: str, /, **options: object) -> Place:
        """Give one more node a place, without starting it. Options are flags: `weight=2`, `zone="west"`."""
        flags = [word for flag, value in options.items() for word in (f"--{flag}", str(value))]
        taken = {port for place in self.places.values() for port in (place.http, place.peer)}
        http, peer = [port for port in free_ports(2 + len(taken)) if port not in taken][:2]
        place = Place(http, peer, self.directory / name, self._zookeeper, tuple(flags))
        if self._wires is not None:
            place.host, place.inside = self._wires.attach(name)
        self.places[name] = place
        self.names.append(name)
        return self.places[name]

    def forget(self, name: str) -> None:
        """Expect nothing of this node any more: it has left, or is lost."""
        self.names.remove(name)

    # --- processes -----------------------------------------------------------------------------------------

    def start(self, *names: str) -> "Cluster":
        """Start these nodes, all by default, without waiting for them."""
        for name in names or self.names:
            place = self.places[name]
            assert place.process is None or place.process.poll() is not None, f"{name} runs"
            command = [
                *place.inside, *self.program, "node", "--name", name, "--data", str(place.data),
                "--cluster", self.id,
                "--http", f"{place.host}:{place.http}", "--peer", f"{place.host}:{place.peer}",
                "--zookeeper", place.zookeeper, *self._options, *place.options,
            ]  # fmt: skip
            self.directory.mkdir(parents=True, exist_ok=True)
            environment = {k: v for k, v in os.environ.items() if not k.startswith("RINGKEEP_")}
            with (self.directory / f"{name}.out").open("ab") as output:
                place.process = subprocess.Popen(
                    command, stdin=subprocess.DEVNULL, stdout=output, stderr=output,
                    env=environment | place.environment,
                    preexec_fn=partial(die_with_parent, os.getpid()),
                )  # fmt: skip
            self._processes.append(place.process)
        return self

    def signal(self, number: signal.Signals, *names: str) -> None:
        """Send a signal to nodes of ours that run."""
        for name in names:
            process = self.places[name].process
            assert process is not None, f"{name} was never started"
            process.send_signal(number)

    def kill(self, *names: str) -> None:
        """kill -9; returns when they are gone."""
        self.signal(signal.SIGKILL, *names)
        for name in names:
            self.wait_end(name)

    def freeze(self, *names: str) -> None:
        """SIGSTOP; returns when the kernel says that they are stopped."""
        self.signal(signal.SIGSTOP, *names)
        until(lambda: all(self._state(n) == "T" for n in names), f"{names} to be stopped")

    def thaw(self, *names: str) -> None:
        self.signal(signal.SIGCONT, *names)

    def restore(self) -> "Cluster":
        """Have all nodes run again, whatever was done to them."""
        self.thaw(*self.running())
        if dead := [name for name in self.names if name not in self.running()]:
            self.start(*dead)
        return self

    def terminate(self, name: str) -> int:
        """SIGTERM, and the exit code."""
        self.signal(signal.SIGTERM, name)
        return self.wait_end(name)

    def wait_end(self, name: str, limit_s: float = PATIENCE_S) -> int:
        """Return the exit code of a node that ends by itself."""
        process = self.places[name].process
        assert process is not None, f"{name} was never started"
        try:
            return process.wait(limit_s)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"waited {limit_s:g} s for the end of {name}") from None

    def pid(self, name: str) -> int:
        process = self.places[name].process
        assert process is not None, f"{name} was never started"
        return process.pid

    def running(self) -> list[str]:
        """The nodes whose process has not ended."""
        return [n for n, p in self.places.items() if p.process is not None and p.process.poll() is None]

    def end(self) -> None:
        """Leave no process behind."""
        LIVE.discard(self)
        for process in self._processes:
            if process.poll() is None:
                process.kill()  # stopped ones die of it too
        for process in self._processes:
            process.wait(10)

    def rss_kib(self, name: str) -> int:
        """Memory that a node holds."""
        status = Path(f"/proc/{self.pid(name)}/status").read_text()
        return int(status.partition("VmRSS:")[2].split()[0])

    def _state(self, name: str) -> str:
        return Path(f"/proc/{self.pid(name)}/stat").read_text().rpartition(")")[2].split()[0]

    # --- waiting -------------------------------------------------------------------------------------------

    def wait_ready(self, *names: str, limit_s: float = PATIENCE_S) -> "Cluster":
        """Wait until /readyz of these nodes (all that run) says 200; none may end meanwhile."""
        wanted = names or tuple(self.running())
        until_each(
            wanted,
            self._is_ready,
            lambda name: f"{name} to be ready, which waits for: {self.waits_for(name)}",
            limit_s,
        )
        return self

    def _is_ready(self, name: str) -> bool:
        process = self.places[name].process
        assert process is not None and process.poll() is None, f"{name} ended: {self.said(name)[-600:]}"
        answer = self.ask(name, "GET", "/readyz")
        return answer is not None and answer.status == 200

    def is_unready(self, name: str) -> bool:
        """Whether a node answers, and says that no requests should be sent to it."""
        answer = self.ask(name, "GET", "/readyz")
        return answer is not None and answer.status == 503

    def waits_for(self, name: str) -> str:
        """Return what a node says that it waits for."""
        answer = self.ask(name, "GET", "/readyz?verbose")
        return answer.body.decode() if answer is not None else "(no answer)"

    def wait_active(self, via: str | None = None, limit_s: float = PATIENCE_S) -> "Cluster":
        """Wait until every partition has a primary that serves, as this node sees it, or as all do."""
        until_each(
            [via] if via else self.running(),
            self._all_active,
            lambda name: f"{name} to see every partition active; sees {self.partitions(name)}",
            limit_s,
        )
        return self

    def _all_active(self, via: str) -> bool:
        return all(each["state"] == "active" for each in self.partitions(via))

    def wait_whole(self, limit_s: float = PATIENCE_S) -> "Cluster":
        """Wait until all nodes run, are ready, and every partition is led by the node that it prefers."""
        self.wait_ready(*self.names, limit_s=limit_s)
        self.wait_active(limit_s=limit_s)
        until(
            lambda: all(p["primary"] == p["voters"][0] for n in self.names for p in self.partitions(n)),
            lambda: f"the preferred primaries to lead again: {self.partitions(self.names[0])}",
            limit_s,
        )
        return self

    def wait_healthy(self) -> "Cluster":
        """Wait until every node says that all is well."""
        until_each(
            self.names,
            lambda name: self.cluster(name)["health"] == "healthy",
            lambda name: f"{name} to see a healthy cluster; sees {self.cluster(name)}",
        )
        return self

    # --- HTTP ----------------------------------------------------------------------------------------------

    def request(
        self,
        via: str,
        method: str,
        path: str,
        body: bytes | None = None,
        headers: dict[str, str] | None = None,
        limit_s: float = 15.0,
    ) -> Answer:
        """Ask one node on a connection of its own. Raises OSError, HTTPException; no answer is a failure."""
        connection = http.client.HTTPConnection(self.places[via].host, self.places[via].http, timeout=limit_s)
        began = time.monotonic()
        try:
            connection.request(method, path, body, headers or {})
            reply = connection.getresponse()
            content = reply.read()
        except TimeoutError:
            raise AssertionError(f"{method} {path} through {via}: no answer within {limit_s:g} s") from None
        finally:
            connection.close()
        return Answer(reply.status, reply.headers, content, time.monotonic() - began)

    def ask(self, via: str, method: str, path: str) -> Answer | None:
        """As `request`, but None when nobody answers."""
        with contextlib.suppress(OSError, http.client.HTTPException, AssertionError):
            return self.request(via, method, path, limit_s=2.0)
        return None

    def put(self, via: str, key: bytes, value: bytes, **query: Any) -> Answer:
        return self.request(via, "PUT", kv(key, **query), value)

    def get(self, via: str, key: bytes, **query: Any) -> Answer:
        return self.request(via, "GET", kv(key, **query))

    def delete(self, via: str, key: bytes, **query: Any) -> Answer:
        return self.request(via, "DELETE", kv(key, **query))

    def stored(self, via: str, key: bytes, value: bytes) -> int:
        """Put, which must succeed; return the version."""
        answer = self.put(via, key, value)
        assert answer.status in (200, 201), f"PUT {key!r} through {via}: {answer}"
        return int(answer.headers["ETag"].strip('"'))

    def holds(self, via: str, key: bytes, value: bytes) -> None:
        """Read, which must find exactly this."""
        answer = self.get(via, key)
        assert (answer.status, answer.body) == (200, value), f"GET {key!r} through {via}: {answer}"

    def cluster(self, via: str | None = None) -> dict[str, Any]:
        found: dict[str, Any] = self.request(via or self.running()[0], "GET", "/v1/cluster").json
        return found

    def partitions(self, via: str | None = None) -> list[dict[str, Any]]:
        answer = self.request(via or self.running()[0], "GET", "/v1/cluster/partitions")
        found: list[dict[str, Any]] = answer.json["partitions"]
        return found

    def where(self, key: bytes, via: str | None = None) -> dict[str, Any]:
        path = "/v1/cluster/where?key=" + quote_from_bytes(key, safe="")
        found: dict[str, Any] = self.request(via or self.running()[0], "GET", path).json
        return found

    def event(self, name: str, event: str) -> int:
        """Return how often something happened in a node's core, from its /metrics."""
        for line in self.request(name, "GET", "/metrics").body.decode().splitlines():
            if "events" in line and f'event="{event}"' in line and not line.startswith("#"):
                return int(float(line.rpartition(" ")[2]))
        return 0

    # --- keys and roles ------------------------------------------------------------------------------------

    def key_in(self, partition: int, stem: str) -> bytes:
        """Return a key of that partition; keys of one stem and partition are the same."""
        return next(
            key
            for key in (f"{stem}-{i}".encode() for i in range(100_000))
            if partition_of(key, self.partition_count) == partition
        )

    def strangers(self, key: bytes) -> list[str]:
        """The nodes that run and hold no replica of a key: all they can do is to forward."""
        replicas = self.where(key)["replicas"]
        return [name for name in self.running() if name not in replicas]

    def most_primaries(self, names: Iterable[str]) -> str:
        """Return which of these nodes leads the most partitions."""
        led = {m["name"]: m["primaries"] for m in self.cluster()["members"]}
        return max(names, key=lambda name: int(led[name]))

    # --- what they said ------------------------------------------------------------------------------------

    def log(self, name: str) -> str:
        """A node's log file."""
        with contextlib.suppress(OSError):
            return (self.places[name].data / "log").read_text(errors="replace")
        return ""

    def said(self, name: str) -> str:
        """What a node printed."""
        with contextlib.suppress(OSError):
            return (self.directory / f"{name}.out").read_text(errors="replace")
        return ""

    def tails(self) -> str:
        """The ends of all logs and outputs, for a failure."""
        parts = []
        for name in self.names:
            for kind, path in (
                ("log", self.places[name].data / "log"),
                ("output", self.directory / f"{name}.out"),
            ):
                lines = last_lines(path, TAIL_LINES)
                if lines:
                    parts.append("\n".join([f"--- {name}: {kind}", *lines]))
        return "\n".join(parts)
