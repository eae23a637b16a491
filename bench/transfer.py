"""How fast a partition's data moves to a newcomer, what it takes, and what clients feel of it.

Starts three nodes, fills them, starts a fourth, and measures until it votes and leads wherever it should:
bytes, seconds, memory of both sides, and the latency of a steady load (in a process of its own) before,
meanwhile and afterwards. For comparison, right before and after: how fast this machine's disk takes the same
bytes, written once with one fsync, and how fast they go over the loopback interface. The values are random
bytes: nothing compresses them.
"""

import argparse
import http.client
import json
import multiprocessing
import os
import random
import re
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from harness.cluster import HOST, PORT_STEP, Cluster, Trouble, command_line, fetch, free_base, wait_for
from harness.load import Dated, Endpoint, Job, Pace, Tally, drive, get_job, percentile, put_job, run
from harness.resources import MB, cpu_s, disk_rate, forget_peak, loopback_rate, memory, written_bytes
from ringkeep.core.cluster.slots import partition_of

NODES: Final = 3
NEWCOMER: Final = f"node-{NODES + 1}"
FILL_CONNECTIONS: Final = 32
LOAD_VALUE: Final = b"x" * 100
WARM_UP_S: Final = 2.0
STEADY_S: Final = 10.0  # measured before and after the move
POLL_S: Final = 0.25  # to list many partitions takes a node some milliseconds
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

    def set(self, setting: str, value: int) -> None:
        """Change a setting of the cluster. Raises Trouble."""
        connection = http.client.HTTPConnection(*self.endpoints[0], timeout=5)
        order = json.dumps({setting: value})
        connection.request("PATCH", "/v1/cluster/settings", order, {"Content-Type": "application/json"})
        reply = connection.getresponse()
        text = reply.read()
        connection.close()
        if reply.status != 202:
            raise Trouble(f"{setting} is answered with {reply.status}: {text!r}")

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


def steady_load(rows: Rows, is_over: Callable[[], bool]) -> Iterator[Job]:
    """Half reads of what was filled, half writes of small values beside it."""
    chosen = random.Random(7)
    number = 0
    while not is_over():
        number += 1
        if number % 2:
            which = chosen.randrange(rows.count)
            yield get_job(rows.key(which), rows.value(which))
        else:
            yield put_job(b"load-%04d" % chosen.randrange(1_000), LOAD_VALUE, f"load-{os.getpid()}-{number}")


class Load:
    """Runs the load in a process of its own, from the start to `stop`."""

    def __init__(self, cluster: Transfer, rows: Rows, rate: float, connections: int) -> None:
        context = multiprocessing.get_context("spawn")
        self._over = context.Event()
        self._results, results = context.Pipe(duplex=False)
        job = cluster.endpoints, rows, rate, connections, self._over, results
        self._process = context.Process(target=_run_load, args=job, daemon=True)
        self._process.start()
        results.close()  # so that its end is noticed here, should it fail

    def stop(self) -> Dated:
        self._over.set()
        tally: Dated = self._results.recv()
        self._process.join()
        return tally


def _run_load(
    endpoints: list[Endpoint], rows: Rows, rate: float, connections: int, over: Any, results: Any
) -> None:
    tally = Dated()
    jobs = steady_load(rows, over.is_set)
    drive(run(endpoints, jobs, tally, connections=connections, pace=Pace(rate or None)))
    results.send(tally)


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
    afterwards: list[float] = field(default_factory=list)
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
            f"  first learner to the newcomer leading its share: {self.settled_s:.2f} s",
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
        ratio = percentile(self.meanwhile, 0.99) / percentile(self.before, 0.99)
        lines.append(f"  p99 meanwhile is {ratio:.2f} times that before")
        lines.append(f"  requests tried again: {self.retries}, failed: {self.failed}")
        return "\n".join(lines)


def _pair(rates: list[float]) -> str:
    return " and ".join(f"{rate:,.0f}" for rate in rates)


class Watch:
    """Follows the move from the first learner to the end, without asking much."""

    def __init__(self, cluster: Transfer) -> None:
        self._cluster = cluster
        self.first = self.last = self.settled = 0.0
        self.snapshots = 0

    def look(self) -> bool:
        """Take a look; True when the newcomer votes and leads wherever it should."""
        now = time.monotonic()
        parts = self._cluster.parts()
        learning = [part for part in parts if NEWCOMER in part["learners"]]
        mine = [part for part in parts if NEWCOMER in part["voters"]]
        if (learning or mine) and not self.first:
            self.first = now
        installed = self._cluster.events(self._cluster.newcomer).get("snapshot_installed", 0)
        if installed > self.snapshots:
            self.snapshots, self.last = installed, now
        moving = any(
            part["learners"] or part["old_voters"] or part["primary"] != part["voters"][0] for part in parts
        )
        if moving or not mine:
            self.settled = 0.0
        elif not self.settled:
            self.settled = now
        return bool(self.settled) and now - self.settled > 2.0  # nothing further is begun


def measure(cluster: Transfer, rows: Rows, rate: float, connections: int) -> Result:
    """Let the newcomer join and take its share over."""
    result = Result()
    size = rows.count * rows.value_bytes * NODES // (NODES + 1)
    result.disk.append(disk_rate(cluster.data, size) / MB)
    result.loopback.append(loopback_rate(size) / MB)
    load = Load(cluster, rows, rate, connections)
    time.sleep(WARM_UP_S + STEADY_S)
    steady = time.monotonic()
    cluster.join(cluster.partitions)
    wait_for(lambda: fetch(cluster.newcomer, "/metrics")[0] == 200, f"{NEWCOMER} to answer")
    pids = {**cluster.pids(), NEWCOMER: cluster.pid(NEWCOMER)}
    then = {name: memory(pid)["VmRSS"] for name, pid in pids.items()}
    used = {name: cpu_s(pid) for name, pid in pids.items()}
    for pid in pids.values():
        forget_peak(pid)
    watch = Watch(cluster)
    try:
        deadline = time.monotonic() + SETTLE_S
        while not watch.look():
            if time.monotonic() > deadline:
                raise Trouble(f"waited {SETTLE_S:.0f} s for {NEWCOMER} to take its share over")
            time.sleep(POLL_S)
        took = {name: cpu_s(pid) for name, pid in pids.items()}
        over = time.monotonic()
        time.sleep(STEADY_S)
    finally:
        everything = load.stop()
    result.before = everything.between(steady - STEADY_S, steady)
    result.meanwhile = everything.between(watch.first, watch.settled)
    result.afterwards = everything.between(over, over + STEADY_S)
    result.retries, result.failed = sum(everything.retries.values()), everything.failed
    for name, pid in pids.items():
        result.memory[name] = then[name], memory(pid)["VmHWM"]
        result.cpu[name] = took[name] - used[name]
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
    drive(run(endpoints, jobs, tally, connections=FILL_CONNECTIONS))
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
    parser.add_argument("--rate", type=float, default=100.0, help="requests per second (0: what goes)")
    parser.add_argument("--connections", type=int, default=8, help="of the load (default 8)")
    parser.add_argument("--at-once", type=int, help="moves at one time (default: Ringkeep's own)")
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
            cluster.set("move_bytes_per_s", int(arguments.limit * MB))
        if arguments.at_once is not None:
            cluster.set("moves_at_once", arguments.at_once)
        result = measure(cluster, rows, arguments.rate, arguments.connections)
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
