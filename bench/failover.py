"""How long a crash is felt: kill -9 a node that leads partitions, and time every step until all serve again.

Five nodes as `ringkeep up` starts them; every other victim is the controller. A client that knows all nodes
writes every 5 ms all the time. Right after each kill one more write goes to every partition that the victim
led: when the last of them is answered, all partitions serve again. Prints a line per kill, then a summary.
"""

import argparse
import asyncio
import contextlib
import json
import os
import re
import signal
import statistics
import sys
import tempfile
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any, Final

from harness.cluster import Cluster, Trouble, alive, command_line, fetch, wait_for
from harness.load import Broken, Connection, Endpoint, drive, key_path
from ringkeep.core.cluster.slots import default_partitions, partition_of

PROBE_S: Final = 0.005
VALUE: Final = b"x" * 100
NODES: Final = 5
SETTLE_S: Final = 60.0


def put(key: bytes, endpoint: Endpoint, number: int) -> bytes:
    """Return the bytes of one write, which may be sent again through any node."""
    head = f"Host: {endpoint.host}:{endpoint.port}\r\nIdempotency-Key: {os.getpid()}-{number}\r\n"
    return b"PUT %b?timeout=20s HTTP/1.1\r\n%bContent-Length: %d\r\n\r\n%b" % (
        key_path(key), head.encode(), len(VALUE), VALUE,
    )  # fmt: skip


@dataclass
class Kill:
    """What one kill did; seconds after it. `refused`: the last survivor that noticed. `mapped`: the last
    survivor that had the new map. `first`, `all`: partitions that serve again."""

    victim: str
    controller: bool
    led: int
    refused: float = 0.0
    mapped: float = 0.0
    first: float = 0.0
    all: float = 0.0
    pause: float = 0.0
    give_back: float = 0.0


@dataclass
class Prober:
    """Starts a write every PROBE_S, whatever became of the others; each moves on if it must."""

    endpoints: list[Endpoint]
    keys: list[bytes]
    longest: float = 0.0
    since: float = 0.0
    failures: list[str] = field(default_factory=list)
    _idle: dict[Endpoint, list[Connection]] = field(default_factory=dict)
    _open: set["asyncio.Task[None]"] = field(default_factory=set)
    _number: int = 0

    async def run(self) -> None:
        while True:
            self._number += 1
            task = asyncio.create_task(self._write(self._number))
            self._open.add(task)
            task.add_done_callback(self._open.discard)
            await asyncio.sleep(PROBE_S)

    async def _write(self, number: int) -> None:
        began = time.monotonic()
        for attempt in range(2 * len(self.endpoints)):
            endpoint = self.endpoints[(number + attempt) % len(self.endpoints)]
            idle = self._idle.setdefault(endpoint, [])
            try:
                connection = idle.pop() if idle else await Connection.open(endpoint)
                status = (
                    await connection.ask(put(self.keys[number % len(self.keys)], endpoint, number))
                ).status
            except (Broken, OSError):
                continue
            idle.append(connection)
            if status == 503:  # a node that is just starting; nothing was applied
                continue
            if status not in (200, 201):
                self.failures.append(f"answered {status}")
            if began >= self.since:
                self.longest = max(self.longest, time.monotonic() - began)
            return
        self.failures.append("no node answered")

    def take(self) -> float:
        """Return how long the slowest write took of those that began, and ended, since the last call."""
        longest, self.longest = self.longest, 0.0
        self.since = time.monotonic()
        return longest


def see(endpoint: Endpoint, path: str) -> Any:
    """GET, as JSON. Raises Trouble."""
    status, body = fetch(endpoint, path)
    if status != 200:
        raise Trouble(f"{endpoint.port} answers {status} to {path}")
    return json.loads(body)


def whole(cluster: Cluster) -> bool:
    """Whether all nodes are ready, and every partition serves where it should."""
    if not all(fetch(each, "/readyz")[0] == 200 for each in cluster.endpoints):
        return False
    parts = see(cluster.endpoints[0], "/v1/cluster/partitions")["partitions"]
    return all(part["state"] == "active" and part["primary"] == part["voters"][0] for part in parts)


def noticed(cluster: Cluster, names: list[str], victim_port: int, killed: float) -> float:
    """Return how long after the kill the last survivor found the connection refused, by their logs."""
    found = []
    for name in names:
        text = (cluster.data / name / "log").read_text(errors="replace")
        pattern = rf"^(\S+) WARNING .*:{victim_port}\) is down: (?:nobody listens|the connection is lost)"
        times = [datetime.fromisoformat(each).timestamp() for each in re.findall(pattern, text, re.MULTILINE)]
        found += [min(each - killed for each in times if each >= killed - 0.005)]
    return max(found)


async def mapped(endpoint: Endpoint, key: bytes, victim: str, killed: float) -> float:
    """Return how long after the kill this node knew of another primary for the key."""
    connection = await Connection.open(endpoint)
    path = b"/v1/cluster/where?key=" + key
    request = b"GET %b HTTP/1.1\r\nHost: %b:%d\r\n\r\n" % (path, endpoint.host.encode(), endpoint.port)
    while f'"primary":"{victim}"'.encode() in (await connection.ask(request)).body.replace(b": ", b":"):
        await asyncio.sleep(PROBE_S)
    connection.close()
    return time.monotonic() - killed


async def served(connection: Connection, endpoint: Endpoint, key: bytes, number: int, killed: float) -> float:
    """Return how long after the kill a write to this key was acknowledged."""
    status = (await connection.ask(put(key, endpoint, number))).status
    if status not in (200, 201):
        raise Trouble(f"a write after the kill was answered {status}")
    return time.monotonic() - killed


async def kill_once(
    cluster: Cluster, victim: str, controller: bool, keys: list[bytes], prober: Prober
) -> Kill:
    at = cluster.names.index(victim)
    survivors = [each for each in cluster.endpoints if each != cluster.endpoints[at]]
    names = [name for name in cluster.names if name != victim]
    parts = see(survivors[0], "/v1/cluster/partitions")["partitions"]
    led = [keys[part["partition"]] for part in parts if part["primary"] == victim]
    ways = [(await Connection.open(survivors[i % 4]), survivors[i % 4]) for i in range(len(led))]
    result = Kill(victim, controller, len(led))
    pid = cluster.pid(victim)
    command = command_line(pid)
    prober.take()
    killed_at, killed = time.time(), time.monotonic()
    os.kill(pid, signal.SIGKILL)
    asked = [served(*way, key, -1 - i, killed) for i, (way, key) in enumerate(zip(ways, led, strict=True))]
    seen = [mapped(each, led[0], victim, killed) for each in survivors]
    times = await asyncio.gather(*asked, *seen)
    result.first, result.all = min(times[: len(led)]), max(times[: len(led)])
    result.mapped = max(times[len(led) :])
    await asyncio.sleep(10 * PROBE_S)  # so that writes under way are counted
    result.pause = prober.take()
    result.refused = noticed(cluster, names, cluster.endpoints[at].port + 2, killed_at)
    for connection, _ in ways:
        connection.close()
    await asyncio.to_thread(wait_for, lambda: not alive(pid), f"{victim} to be dead")
    cluster.restart(victim, command)
    await asyncio.to_thread(wait_for, lambda: whole(cluster), f"{victim} to lead again", SETTLE_S)
    result.give_back = prober.take()
    return result


@contextlib.asynccontextmanager
async def probing(prober: Prober) -> AsyncIterator[None]:
    task = asyncio.create_task(prober.run())
    try:
        yield
    finally:
        task.cancel()


async def measure(cluster: Cluster, kills: int) -> list[Kill]:
    partitions = default_partitions(len(cluster.endpoints))
    keys: list[bytes] = [b""] * partitions
    for number in range(100 * partitions):
        keys[partition_of(b"key-%d" % number, partitions)] = b"key-%d" % number
    prober, results = Prober(cluster.endpoints, keys), []
    await asyncio.to_thread(wait_for, lambda: whole(cluster), "every partition to serve", SETTLE_S)
    async with probing(prober):
        for number in range(kills):
            shown = see(cluster.endpoints[0], "/v1/cluster")
            controller = shown["controller"]
            led = {m["name"]: m["primaries"] for m in shown["members"] if m["name"] != controller}
            victim = controller if number % 2 else max(led, key=lambda name: led[name])
            result = await kill_once(cluster, victim, victim == controller, keys, prober)
            results.append(result)
            print(line(result), flush=True)
    if prober.failures:
        raise Trouble(f"{len(prober.failures)} writes failed: {prober.failures[:5]}")
    return results


def states(cluster: Cluster) -> str:
    """What is not as it should be, for a failure."""
    said = []
    for name, endpoint in zip(cluster.names, cluster.endpoints, strict=True):
        ready = fetch(endpoint, "/readyz?verbose")
        said.append(f"{name} {ready[0]} {ready[1].decode()!r}; its log:")
        with contextlib.suppress(OSError):
            said += (cluster.data / name / "log").read_text(errors="replace").splitlines()[-8:]
        with contextlib.suppress(Trouble):
            parts = see(endpoint, "/v1/cluster/partitions")["partitions"]
            said += [f"  {p}" for p in parts if p["state"] != "active" or p["primary"] != p["voters"][0]][:5]
    return "\n".join(said)


def line(each: Kill) -> str:
    role = "controller" if each.controller else "          "
    steps = [("refused", each.refused), ("map", each.mapped), ("first", each.first), ("all", each.all)]
    shown = "  ".join(f"{name} {1000 * value:4.0f}" for name, value in steps)
    return (
        f"{each.victim} {role} led {each.led:3d}: {shown}  client pause {1000 * each.pause:4.0f}"
        f"  while it came back {1000 * each.give_back:4.0f} ms"
    )


def summary(results: list[Kill]) -> str:
    rows = [f"{'ms':<34}{'min':>6}{'median':>8}{'max':>6}"]
    for name, text in (
        ("refused", "every survivor found it refused"),
        ("mapped", "every survivor has the new map"),
        ("first", "first partition serves"),
        ("all", "all partitions serve"),
        ("pause", "longest write of the client"),
        ("give_back", "the same while the victim returns"),
    ):
        values = [1000 * getattr(each, name) for each in results]
        rows.append(f"{text:<34}{min(values):6.0f}{statistics.median(values):8.0f}{max(values):6.0f}")
    return "\n".join(rows)


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--kills", type=int, default=20)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="ringkeep-failover-") as directory:
        cluster = Cluster(Path(directory) / "data", NODES)
        try:
            cluster.start()
            results = drive(measure(cluster, asked.kills))
        except Trouble as trouble:
            print(f"failover: {trouble}\n{states(cluster)}", file=sys.stderr)
            return 1
        finally:
            cluster.end()
    print(f"\n{len(results)} kills, load average {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores")
    print(summary(results))
    return 0


if __name__ == "__main__":
    sys.exit(main())
