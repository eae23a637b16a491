"""The systems that are compared: how each is started, where it listens, how it is asked.

Keys and values are made as in systems.lua, which asks the same of them from inside wrk.
"""

import base64
import json
import os
import subprocess
from pathlib import Path
from typing import Any, Final, Protocol

import ringkeep
from cluster import HOST, PORT_STEP, Cluster, Trouble, fetch, free_base, wait_for
from load import Endpoint, Job, Reply, get_job, put_job
from ringkeep.core.replication import primary

NODES: Final = 3
VALUE_BYTES: Final = 128


def key_of(i: int) -> bytes:
    return b"key-%08d" % i


def value_of(i: int, generation: int) -> bytes:
    return (b"%08d-%06d-" % (i, generation)).ljust(VALUE_BYTES, b"v")


def version_of(program: str, option: str) -> str:
    """Return the first line that a program says of itself."""
    shown = subprocess.run([program, option], capture_output=True, text=True, check=False)
    return (shown.stdout + shown.stderr).strip().split("\n")[0]


CORE: Final = "core in plain Python" if str(primary.__file__).endswith(".py") else "core compiled (mypyc)"


class System(Protocol):
    """One system under load. `settings` says what it promises, for the table."""

    name: str
    version: str
    settings: str
    endpoints: list[Endpoint]

    def start(self) -> None:
        """Start it from empty and wait until every node serves. Raises Trouble."""

    def pids(self) -> list[int]:
        """Every process whose CPU time counts."""

    def __hash__(self) -> int: ...
    def put_job(self, i: int, generation: int) -> Job: ...
    def get_job(self, i: int, generation: int, via: int) -> Job: ...
    def get_request(self, i: int, endpoint: Endpoint) -> bytes: ...
    def end(self) -> None:
        """Stop everything. Never raises."""


class Ringkeep:
    """`ringkeep up --nodes 3`."""

    name = "ringkeep"
    settings = f"3 nodes, 3 replicas, quorum fsync, linearizable reads; {CORE}"

    def __init__(self, data: Path, checkout: Path | None = None) -> None:
        self._data = data
        self._cluster = Cluster(data, NODES, checkout=checkout)
        self.endpoints = self._cluster.endpoints
        self.version = f"Ringkeep {ringkeep.__version__}"

    def start(self) -> None:
        self._cluster.start()

    def pids(self) -> list[int]:
        zookeeper = int((self._data / "zookeeper" / "pid").read_text())
        return [*self._cluster.pids().values(), zookeeper]

    def put_job(self, i: int, generation: int) -> Job:
        return put_job(key_of(i), value_of(i, generation), f"{i}-{generation}")

    def get_job(self, i: int, generation: int, via: int) -> Job:
        return get_job(key_of(i), value_of(i, generation), via)

    def get_request(self, i: int, endpoint: Endpoint) -> bytes:
        host = f"{endpoint.host}:{endpoint.port}".encode()
        return b"GET /v1/kv/%b HTTP/1.1\r\nHost: %b\r\n\r\n" % (key_of(i), host)

    def end(self) -> None:
        self._cluster.end()


class Etcd:
    """Three etcd processes with their defaults, asked through the HTTP gateway."""

    name = "etcd"
    settings = "3 nodes, defaults, quorum fsync, linearizable reads, HTTP gateway"

    def __init__(self, data: Path) -> None:
        base = free_base(NODES, first=22000)
        self._data = data
        self._nodes: list[subprocess.Popen[bytes]] = []
        self.endpoints = [Endpoint(HOST, base + i * PORT_STEP) for i in range(NODES)]
        self.version = version_of("etcd", "--version")

    def start(self) -> None:
        self._data.mkdir(parents=True)
        peers = [f"http://{each.host}:{each.port + 2}" for each in self.endpoints]
        cluster = ",".join(f"etcd-{i}={peer}" for i, peer in enumerate(peers))
        environment = {k: v for k, v in os.environ.items() if not k.startswith("ETCD_")}
        for i, (endpoint, peer) in enumerate(zip(self.endpoints, peers, strict=True)):
            client = f"http://{endpoint.host}:{endpoint.port}"
            options = {
                "name": f"etcd-{i}",
                "data-dir": str(self._data / str(i)),
                "listen-client-urls": client,
                "advertise-client-urls": client,
                "listen-peer-urls": peer,
                "initial-advertise-peer-urls": peer,
                "initial-cluster": cluster,
                "initial-cluster-state": "new",
                "logger": "zap",
                "log-level": "warn",
            }
            with (self._data / f"log-{i}").open("wb") as log:
                command = [
                    "etcd",
                    *(part for name, value in options.items() for part in (f"--{name}", value)),
                ]
                self._nodes.append(subprocess.Popen(command, stdout=log, stderr=log, env=environment))
        wait_for(lambda: all(map(self._healthy, self.endpoints)), "etcd to be healthy")

    def _healthy(self, endpoint: Endpoint) -> bool:
        for node in self._nodes:
            if node.poll() is not None:
                raise Trouble(f"etcd ended with {node.returncode}: its log is in {self._data}")
        status, body = fetch(endpoint, "/health")
        return status == 200 and b'"true"' in body

    def pids(self) -> list[int]:
        return [node.pid for node in self._nodes]

    def put_job(self, i: int, generation: int) -> Job:
        body = json.dumps({"key": _text(key_of(i)), "value": _text(value_of(i, generation))}).encode()
        return Job(b"POST", b"/v3/kv/put", _is_200, body=body)

    def get_job(self, i: int, generation: int, via: int) -> Job:
        wanted = _text(value_of(i, generation))

        def accept(reply: Reply) -> str | None:
            found: dict[str, Any] = json.loads(reply.body) if reply.status == 200 else {}
            values = [each["value"] for each in found.get("kvs", [])]
            return None if values == [wanted] else f"key {i} through node {via}: {reply.status} {values}"

        return Job(b"POST", b"/v3/kv/range", accept, body=_range(i), via=via)

    def get_request(self, i: int, endpoint: Endpoint) -> bytes:
        host, body = f"{endpoint.host}:{endpoint.port}".encode(), _range(i)
        head = b"POST /v3/kv/range HTTP/1.1\r\nHost: %b\r\nContent-Length: %d\r\n\r\n" % (host, len(body))
        return head + body

    def end(self) -> None:
        for node in self._nodes:
            node.kill()  # its data are thrown away, and an orderly stop takes many seconds
        for node in self._nodes:
            node.wait()


def _text(value: bytes) -> str:
    return base64.b64encode(value).decode("ascii")


def _range(i: int) -> bytes:
    return json.dumps({"key": _text(key_of(i))}).encode()


def _is_200(reply: Reply) -> str | None:
    return None if reply.status == 200 else f"answered {reply.status}: {reply.body[:200]!r}"
