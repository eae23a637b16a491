"""etcd, through the HTTP gateway of its nodes."""

import base64
import json
import os
from pathlib import Path
from typing import Any

from harness.cluster import HOST, PORT_STEP, fetch, free_base, wait_for
from harness.load import Endpoint, Job, Reply
from systems.base import NODES, Processes, key_of, value_of, version_of


class Etcd:
    """Three etcd processes with their defaults, asked through the HTTP gateway."""

    name = "etcd"
    settings = "3 nodes, defaults, quorum fsync, linearizable reads, HTTP gateway"
    writes = "Raft: fsync on a majority"
    reads = "linearizable: the leader, confirmed by a majority (ReadIndex)"

    def __init__(self, data: Path) -> None:
        base = free_base(NODES, first=22000)
        self._data = data
        self._nodes = Processes(self.name, data)
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
            flags = [part for name, value in options.items() for part in (f"--{name}", value)]
            self._nodes.begin(["etcd", *flags], environment)
        wait_for(lambda: all(map(self._healthy, self.endpoints)), "etcd to be healthy")

    def _healthy(self, endpoint: Endpoint) -> bool:
        self._nodes.check()
        status, body = fetch(endpoint, "/health")
        return status == 200 and b'"true"' in body

    def pids(self) -> list[int]:
        return self._nodes.pids()

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
        self._nodes.end()


def _text(value: bytes) -> str:
    return base64.b64encode(value).decode("ascii")


def _range(i: int) -> bytes:
    return json.dumps({"key": _text(key_of(i))}).encode()


def _is_200(reply: Reply) -> str | None:
    return None if reply.status == 200 else f"answered {reply.status}: {reply.body[:200]!r}"
