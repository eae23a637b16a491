"""Measures a restart of all nodes, and a failover, with and without many keys: `python bench/restart.py`.

Three nodes as `ringkeep up` starts them. A failover is a kill -9 of one node, until a write to every
partition is answered by another node. A restart is a SIGTERM, or a kill -9 of every node, and the same start
again until all nodes are ready, ZooKeeper's own start included. Linux only.
"""

import argparse
import asyncio
import os
import random
import signal
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from harness.cluster import Cluster, Trouble, alive, wait_for
from harness.load import Endpoint, Tally, drive, key_path, put_job, run
from harness.resources import memory
from ringkeep.core.cluster.slots import partition_of

NODES: Final = 3
CONNECTIONS: Final = 96  # each has its writes done one after the other
AT_ONCE: Final = 16  # requests on one connection that are not answered yet


def key(number: int) -> bytes:
    return b"key-%08d" % number


# --- filling ---------------------------------------------------------------------------------------------


def fill(endpoints: list[Endpoint], keys: int, value: bytes) -> float:
    """Write every key, many at once on each connection; return the seconds it took. Raises Trouble."""
    numbers = iter(range(keys))

    async def everything() -> None:
        async with asyncio.TaskGroup() as group:
            for each in range(CONNECTIONS):
                group.create_task(_fill_through(endpoints[each % len(endpoints)], numbers, value))

    began = time.monotonic()
    drive(everything())
    return time.monotonic() - began


async def _fill_through(endpoint: Endpoint, numbers: Iterator[int], value: bytes) -> None:
    reader, writer = await asyncio.open_connection(*endpoint)
    host = f"Host: {endpoint.host}:{endpoint.port}\r\n".encode()
    while batch := [number for number, _ in zip(numbers, range(AT_ONCE), strict=False)]:
        for number in batch:
            head = b"PUT %b?timeout=20s HTTP/1.1\r\n%bContent-Length: %d\r\n\r\n"
            writer.write(head % (key_path(key(number)), host, len(value)) + value)
        for _ in batch:
            answer = await reader.readuntil(b"\r\n\r\n")
            if answer[9:12] not in (b"200", b"201"):
                raise Trouble(f"a write was answered with {answer!r}")
            length = answer.lower().partition(b"content-length:")[2].partition(b"\r\n")[0]
            await reader.readexactly(int(length or 0))
    writer.close()


# --- what is measured ----------------------------------------------------------------------------------


def failover(cluster: Cluster, partitions: int) -> float:
    """Kill the first node; return the seconds until each partition takes a write. It is started again."""
    left, wanted = cluster.endpoints[1:], range(100 * partitions)
    numbers: dict[int, int] = {}  # of a key of each partition
    for number in wanted:
        numbers.setdefault(partition_of(key(number), partitions), number)
    command = cluster.kill(cluster.names[0])
    began, tally = time.monotonic(), Tally()
    jobs = [put_job(key(n), b"again", f"{os.getpid()}-{began}-{n}") for n in numbers.values()]
    drive(run(left, iter(jobs), tally, connections=len(jobs)))
    took = time.monotonic() - began
    if tally.failed:
        raise Trouble("\n".join(tally.failures))
    cluster.restart(cluster.names[0], command)
    wait_for(lambda: cluster.ready(cluster.names[0]), "the killed node to be ready again")
    wait_for(lambda: cluster.status()["health"] == "healthy", "the cluster to be healthy again")
    return took


def restart(cluster: Cluster, crash: bool) -> float:
    """End all nodes and start them again; return the seconds from then until the last of them is ready."""
    if crash:
        pids = cluster.pids().values()
        for pid in pids:
            os.kill(pid, signal.SIGKILL)
        wait_for(lambda: not any(map(alive, pids)), "all nodes to be dead")
        cluster.end()
    else:
        cluster.stop()
    began = time.monotonic()
    cluster.start()
    return time.monotonic() - began


def report(cluster: Cluster, partitions: int, what: str, rounds: int) -> None:
    """Measure and print all of it."""
    failovers = sorted(failover(cluster, partitions) for _ in range(rounds))
    stopped = sorted(restart(cluster, crash=False) for _ in range(rounds))
    crashed = sorted(restart(cluster, crash=True) for _ in range(rounds))
    sizes = [memory(pid)["VmRSS"] for pid in cluster.pids().values()]
    for name, times in (("failover", failovers), ("stop, start", stopped), ("kill all, start", crashed)):
        shown = " ".join(f"{each:.2f}" for each in times)
        print(f"{what:<12} {name:<16} {shown} s", flush=True)
    print(f"{what:<12} resident then   {' '.join(f'{each:.0f}' for each in sizes)} MB", flush=True)


def main() -> None:
    """Measure without keys, then with them."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--keys", type=int, default=1_000_000)
    parser.add_argument("--value-bytes", type=int, default=128)
    parser.add_argument("--partitions", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--data", type=Path, help="where to put it; else a directory that is deleted again")
    arguments = parser.parse_args()
    value = random.Random(1).randbytes(arguments.value_bytes)
    with tempfile.TemporaryDirectory(prefix="ringkeep-restart-") as root:
        options = ("--partitions", str(arguments.partitions))
        cluster = Cluster(arguments.data or Path(root), NODES, options=options)
        try:
            began = time.monotonic()
            cluster.start()
            print(f"first start    {time.monotonic() - began:.2f} s", flush=True)
            report(cluster, arguments.partitions, "no keys", arguments.rounds)
            took = fill(cluster.endpoints, arguments.keys, value)
            print(f"{arguments.keys:,} keys written in {took:.0f} s", flush=True)
            report(cluster, arguments.partitions, f"{arguments.keys:,}", arguments.rounds)
            cluster.stop()
        except Trouble as trouble:
            raise SystemExit(str(trouble)) from None
        finally:
            cluster.end()


if __name__ == "__main__":
    main()
