"""How fast a partition's data moves to a newcomer, what it takes, and what clients feel of it.

Starts three nodes with few partitions, fills them, starts a fourth, and measures until it votes wherever it
should: bytes, seconds, memory of both sides, and the latency of a light load before and meanwhile. For
comparison, right before and after: how fast this machine's disk takes the same bytes, written once with one
fsync, and how fast they go over the loopback interface. The values are random bytes: nothing compresses them.
"""

import argparse
import asyncio
import http.client
import json
import os
import random
import re
import shutil
import signal
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from cluster import HOST, PORT_STEP, Cluster, Trouble, command_line, fetch, free_base, wait_for
from load import Endpoint, Job, Pace, Tally, drive, get_job, percentile, put_job, run
from resources import MB, cpu_s, disk_rate, forget_peak, loopback_rate, memory, written_bytes
from ringkeep.core.slots import partition_of

NODES: Final = 3
NEWCOMER: Final = f"node-{NODES + 1}"
FILL_CONNECTIONS: Final = 32
LOAD_CONNECTIONS: Final = 8
LOAD_VALUE: Final = b"x" * 100
BEFORE_S: Final = 8.0
POLL_S: Final = 0.1
SETTLE_S: Final = 1_200.0


class Transfer(Cluster):
    """Three nodes with few partitions, and the one that comes later."""

    def __init__(self, data: Path, partitions: int) -> None:
        super().__init__(data, NODES, free_base(NODES + 1))
        self.partitions = partitions
        self._command += ["--partitions", str(partitions)]
        self.newcomer = Endpoint(HOST, self.endpoints[0].port + NODES * PORT_STEP)

    def join(self, expect_partitions: int) -> None:
        """Start the fourth node as the first was started, with what differs said again."""
        command = command_line(self.pid("node-1"))
        port = self.newcomer.port
        http, peer = f"{HOST}:{port}", f"{HOST}:{port + 2}"
        changes = {
            "--name": NEWCOMER, "--zone": NEWCOMER, "--http": http, "--advertise-http": http, "--peer": peer,
            "--advertise-peer": peer, "--data": str(self.data / NEWCOMER),
            "--partitions": str(expect_partitions),
        }  # fmt: skip
        for flag, value in changes.items():
            command[command.index(flag) + 1] = value
        self.restart(NEWCOMER, command)

    def limit(self, bytes_per_s: int) -> None:
        """Let each node send so much of snapshots in a second; 0: no limit. Raises Trouble."""
        connection = http.client.HTTPConnection(*self.endpoints[0], timeout=5)
        order = json.dumps({"move_bytes_per_s": bytes_per_s})
        connection.request("PATCH", "/v1/cluster/settings", order, {"Content-Type": "application/json"})
        reply = connection.getresponse()
        text = reply.read()
        connection.close()
        if reply.status != 202:
            raise Trouble(f"the limit is answered with {reply.status}: {text!r}")

    def parts(self, endpoint: Endpoint | None = None) -> list[dict[str, Any]]:
        """Return every partition as a node sees it. Raises Trouble."""
        status, body = fetch(endpoint or self.endpoints[0], "/v1/cluster/partitions")
        if status != 200:
            raise Trouble(f"/v1/cluster/partitions is answered with {status}")
        found: list[dict[str, Any]] = json.loads(body)["partitions"]
        return found

    def events(self, endpoint: Endpoint) -> dict[str, int]:
        """Return what a node's core has counted, by name; nothing while it does not answer."""
        _, body = fetch(endpoint, "/metrics")
        found = re.findall(r'^ringkeep_events_total\{event="(\w+)"\} ([\d.e+]+)', body.decode(), re.MULTILINE)
        return {name: int(float(count)) for name, count in found}


# --- what is moved -------------------------------------------------------------------------------------


@dataclass
class Rows:
    """The data: `count` values of `value_bytes`, each a function of its number."""

    count: int
    value_bytes: int

    def key(self, number: int) -> bytes:
        return b"row-%08d" % number

    def value(self, number: int) -> bytes:
        return random.Random(number).randbytes(self.value_bytes)

    def bytes_of(self, partitions: set[int], of: int) -> int:
        """Return how many bytes of keys and values these partitions hold."""
        size = self.value_bytes + len(self.key(0))
        return sum(size for n in range(self.count) if partition_of(self.key(n), of) in partitions)


def fill(cluster: Transfer, rows: Rows) -> float:
    """Write every row; return how many seconds it took. Raises Trouble if a write failed."""
    tally = Tally()
    jobs = (put_job(rows.key(n), rows.value(n), f"fill-{n}") for n in range(rows.count))
    began = time.monotonic()
    drive(run(cluster.endpoints, jobs, tally, connections=FILL_CONNECTIONS))
    if tally.failed:
        raise Trouble("filling failed:\n" + "\n".join(tally.failures))
    return time.monotonic() - began


# --- what clients feel -----------------------------------------------------------------------------------


def light_load(rows: Rows, until: threading.Event) -> Iterator[Job]:
    """Half reads of what was filled, half writes of small values beside it."""
    chosen = random.Random(7)
    number = 0
    while not until.is_set():
        number += 1
        if number % 2:
            which = chosen.randrange(rows.count)
            yield get_job(rows.key(which), rows.value(which))
        else:
            yield put_job(b"load-%04d" % chosen.randrange(1_000), LOAD_VALUE, f"load-{os.getpid()}-{number}")


class Load:
    """Runs the light load in a thread of its own from `start` to `stop`."""

    def __init__(self, cluster: Transfer, rows: Rows, rate: float) -> None:
        self.tally = Tally()
        self._over = threading.Event()
        jobs = light_load(rows, self._over)

        async def main() -> None:
            await run(cluster.endpoints, jobs, self.tally, connections=LOAD_CONNECTIONS, pace=Pace(rate))

        self._thread = threading.Thread(target=asyncio.run, args=(main(),))
        self._thread.start()

    def stop(self) -> Tally:
        self._over.set()
        self._thread.join()
        return self.tally


# --- the measurement -------------------------------------------------------------------------------------


@dataclass
class Result:
    """What one move took. Rates in MB/s, memory in MB, latencies in ms."""

    moved: int = 0
    partitions: int = 0
    snapshots: int = 0
    transfer_s: float = 0.0
    settled_s: float = 0.0
    disk: list[float] = field(default_factory=list)
    loopback: list[float] = field(default_factory=list)
    memory: dict[str, tuple[float, float]] = field(default_factory=dict)
    cpu: dict[str, float] = field(default_factory=dict)
    written: float = 0.0
    before: list[float] = field(default_factory=list)
    meanwhile: list[float] = field(default_factory=list)
    afterwards: list[float] = field(
        default_factory=list
    )  # from the last snapshot on: votes and primaries move
    retries: int = 0
    failed: int = 0

    @property
    def rate(self) -> float:
        return self.moved / MB / self.transfer_s

    def text(self) -> str:
        bound = min(min(self.disk), min(self.loopback))
        lines = [
            f"moved {self.moved / MB:,.0f} MB in {self.partitions} partitions ({self.snapshots} snapshots)",
            f"  first learner to last snapshot installed: {self.transfer_s:.2f} s, {self.rate:,.0f} MB/s",
            f"  first learner to the newcomer voting everywhere: {self.settled_s:.2f} s",
            f"  the same bytes once, before and after: disk {_pair(self.disk)} MB/s, "
            f"loopback {_pair(self.loopback)} MB/s; reached {self.rate / bound:.2f} of the slowest",
            f"  the newcomer caused {self.written:,.0f} MB of writes, {self.written * MB / self.moved:.1f} "
            "times what it received",
        ]
        for name, (then, peak) in self.memory.items():
            lines.append(
                f"  {name}: {then:,.0f} MB before, {peak:,.0f} MB at the peak, {self.cpu[name]:.1f} s of CPU"
            )
        for name in ("before", "meanwhile", "afterwards"):
            took = getattr(self, name)
            middle, late, last = (1_000 * percentile(took, share) for share in (0.5, 0.99, 1.0))
            lines.append(
                f"  clients {name}: {len(took):,} requests, median {middle:.1f} ms, p99 {late:.1f} ms, "
                f"worst {last:.0f} ms"
            )
        lines.append(f"  requests tried again: {self.retries}, failed: {self.failed}")
        return "\n".join(lines)


def _pair(rates: list[float]) -> str:
    return " and ".join(f"{rate:,.0f}" for rate in rates)


class Watch:
    """Follows the move from the first learner to the end, without asking much."""

    def __init__(self, cluster: Transfer, tally: Tally) -> None:
        self._cluster = cluster
        self._tally = tally
        self.first = self.last = self.settled = 0.0
        self.snapshots = 0
        self.requests = 0  # answered until the last snapshot was installed

    def look(self) -> bool:
        """Take a look; True when the newcomer votes wherever it should."""
        now = time.monotonic()
        parts = self._cluster.parts()
        learning = [part for part in parts if NEWCOMER in part["learners"]]
        mine = [part for part in parts if NEWCOMER in part["voters"]]
        if (learning or mine) and not self.first:
            self.first = now
        installed = self._cluster.events(self._cluster.newcomer).get("snapshot_installed", 0)
        if installed > self.snapshots:
            self.snapshots, self.last, self.requests = installed, now, self._tally.done
        moving = any(part["learners"] or part["old_voters"] for part in parts)
        if moving or not mine:
            self.settled = 0.0
        elif not self.settled:
            self.settled = now
        return bool(self.settled) and now - self.settled > 2.0  # nothing further is begun


def measure(cluster: Transfer, rows: Rows, rate: float) -> Result:
    """Let the newcomer join and take its share over."""
    result = Result()
    load = Load(cluster, rows, rate)
    time.sleep(BEFORE_S)
    result.before = list(load.stop().latencies)
    size = rows.count * rows.value_bytes * NODES // (NODES + 1)
    result.disk.append(disk_rate(cluster.data, size) / MB)
    result.loopback.append(loopback_rate(size) / MB)
    cluster.join(cluster.partitions)
    wait_for(lambda: fetch(cluster.newcomer, "/metrics")[0] == 200, f"{NEWCOMER} to answer")
    pids = {**cluster.pids(), NEWCOMER: cluster.pid(NEWCOMER)}
    then = {name: memory(pid)["VmRSS"] for name, pid in pids.items()}
    used = {name: cpu_s(pid) for name, pid in pids.items()}
    for pid in pids.values():
        forget_peak(pid)
    load = Load(cluster, rows, rate)
    watch = Watch(cluster, load.tally)
    try:
        deadline = time.monotonic() + SETTLE_S
        while not watch.look():
            if time.monotonic() > deadline:
                raise Trouble(f"waited {SETTLE_S:.0f} s for {NEWCOMER} to take its share over")
            time.sleep(POLL_S)
    finally:
        everything = load.stop()
    result.meanwhile = list(everything.latencies[: watch.requests])
    result.afterwards = list(everything.latencies[watch.requests :])
    result.retries, result.failed = sum(everything.retries.values()), everything.failed
    for name, pid in pids.items():
        result.memory[name] = then[name], memory(pid)["VmHWM"]
        result.cpu[name] = cpu_s(pid) - used[name]
    result.written = written_bytes(pids[NEWCOMER]) / MB
    mine = {part["partition"] for part in cluster.parts() if NEWCOMER in part["voters"]}
    result.partitions, result.snapshots = len(mine), watch.snapshots
    result.moved = rows.bytes_of(mine, cluster.partitions)
    if not watch.snapshots:
        raise Trouble("no snapshot was sent: there is too little data, and the log reaches back to all of it")
    result.transfer_s, result.settled_s = watch.last - watch.first, watch.settled - watch.first
    result.disk.append(disk_rate(cluster.data, size) / MB)
    result.loopback.append(loopback_rate(size) / MB)
    return result


def check(cluster: Transfer, rows: Rows, sample: int) -> None:
    """Read a sample of what was moved through the newcomer. Raises Trouble if a byte differs."""
    tally = Tally()
    chosen = random.Random(11).sample(range(rows.count), min(sample, rows.count))
    endpoints = [*cluster.endpoints, cluster.newcomer]
    jobs = (get_job(rows.key(n), rows.value(n), via=NODES) for n in chosen)
    drive(run(endpoints, jobs, tally, connections=LOAD_CONNECTIONS))
    if tally.failed:
        raise Trouble("read back after the move:\n" + "\n".join(tally.failures))


def prepare(cluster: Transfer, rows: Rows, filled: Path | None) -> None:
    """Start the three nodes with the data: copied from an earlier run, or written now and kept for the
    next."""
    if filled is not None and filled.exists():
        shutil.copytree(filled, cluster.data, dirs_exist_ok=True)
        os.sync()  # what is measured shall not wait for the copy
        cluster.start()
        return
    cluster.start()
    took = fill(cluster, rows)
    print(f"filled {rows.count:,} rows of {rows.value_bytes:,} bytes in {took:.0f} s", flush=True)
    if filled is not None:
        cluster.stop()
        shutil.copytree(cluster.data, filled)
        os.sync()
        cluster.start()


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--megabytes", type=int, default=100, help="data in the cluster (default 100)")
    parser.add_argument("--value-kib", type=int, default=4, help="size of a value (default 4; also try 64)")
    parser.add_argument("--partitions", type=int, default=8)
    parser.add_argument("--rate", type=float, default=100.0, help="requests per second of the light load")
    parser.add_argument("--limit", type=float, help="MB/s of each sender, 0: none (default: Ringkeep's own)")
    parser.add_argument("--data", type=Path, help="where it is kept while it runs (default: temporary)")
    parser.add_argument(
        "--filled", type=Path, help="keep the filled cluster here, or begin with what is there"
    )
    arguments = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that what was started is stopped
    value_bytes = arguments.value_kib * 1_024
    rows = Rows(int(arguments.megabytes * MB) // value_bytes, value_bytes)
    data = Path(tempfile.mkdtemp(prefix="ringkeep-transfer-", dir=arguments.data))
    cluster = Transfer(data, arguments.partitions)
    try:
        prepare(cluster, rows, arguments.filled)
        if arguments.limit is not None:
            cluster.limit(int(arguments.limit * MB))
        result = measure(cluster, rows, arguments.rate)
        print(result.text(), flush=True)
        check(cluster, rows, 500)
        return 0
    except Trouble as trouble:
        print(f"transfer: {trouble}\nthe ends of the logs:", file=sys.stderr)
        for log in sorted(data.glob("node-*/log")):
            print(log.parent.name, *log.read_text().splitlines()[-5:], sep="\n  ", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    finally:
        cluster.end()
        shutil.rmtree(data, ignore_errors=True)


if __name__ == "__main__":
    sys.exit(main())
