"""Large values in listings: what they take of the memory of nodes, with readers that read and that do not."""

import random
import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Final

from harness.cluster import Cluster, Trouble, wait_for
from harness.load import Endpoint, Job, Tally, drive, get_job, put_job, run
from trials.judge import Faults
from trials.readers import Readers, Task
from trials.report import Report
from trials.resident import ALLOWED_MIB, Growth, shown
from trials.stock import Stock

VALUES: Final = Stock("large-", 200, 4 << 20)
QUERY: Final = f"values=true&prefix={VALUES.prefix}"
READERS: Final = 5  # one through each node
DEAF: Final = 10  # two through each node
DEAF_BUFFER: Final = 1 << 16
PASSES_S: Final = 20.0
DISCONNECTED_S: Final = 45.0  # a reader that takes nothing for 30 s is disconnected
CONNECTIONS: Final = 5


def value(number: int) -> bytes:
    return random.Random(number).randbytes(VALUES.value_bytes)


def measure(cluster: Cluster, report: Report) -> None:
    """Write them, list them, and hold readers open that read nothing. Raises Trouble."""
    numbers = range(VALUES.count)
    _all(cluster, (put_job(VALUES.key(n).encode(), value(n), f"large-{n}") for n in numbers))
    _all(cluster, (get_job(VALUES.key(n).encode(), value(n)) for n in numbers))  # into the caches
    growth = Growth(cluster.pids())
    readers = Readers(cluster.endpoints, READERS, Task(VALUES, QUERY, least_bytes=VALUES.value_bytes))
    began = time.monotonic()
    while time.monotonic() < began + PASSES_S or not readers.since(began):
        readers.look()
        time.sleep(0.2)
    readers.stop()
    took, faults = time.monotonic() - began, Faults()
    for each in readers.passes:
        faults.add(each.faults)
    told = sum(each.told for each in readers.passes)
    report.judge(
        f"{len(readers.passes)} listings of {VALUES.count} values of 4 MiB", "all right",
        f"{faults.missing} missing, {faults.twice} twice, {faults.disordered} out of order", faults.none,
    )  # fmt: skip
    report.figures["values of 4 MiB, MB/s"] = round(told * VALUES.value_bytes / took / 1e6)
    judge_growth(report, f"memory, {READERS} readers of values of 4 MiB", growth)
    growth, cut = Growth(cluster.pids()), deaf(cluster.endpoints)
    report.judge("readers that read nothing, disconnected", f"{DEAF}", f"{cut}", cut == DEAF)
    judge_growth(report, f"memory, {DEAF} readers that read nothing", growth)


def judge_growth(report: Report, what: str, growth: Growth) -> None:
    found = growth.mib()
    report.judge(what, f"+{ALLOWED_MIB:.0f} MiB a node", shown(found), max(found.values()) <= ALLOWED_MIB)


def deaf(endpoints: list[Endpoint]) -> int:
    """Ask for all values and read nothing until nodes have given up; return by how many streams they did."""
    with ExitStack() as stack:
        opened = [stack.enter_context(_ask(endpoints[n % len(endpoints)])) for n in range(DEAF)]
        time.sleep(DISCONNECTED_S)
        return sum(map(_is_cut, opened))


def _ask(endpoint: Endpoint) -> socket.socket:
    connection = socket.socket()
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, DEAF_BUFFER)
    connection.settimeout(5)
    connection.connect(endpoint)
    host = f"{endpoint.host}:{endpoint.port}"
    request = f"GET /v1/kv?{QUERY} HTTP/1.1\r\nHost: {host}\r\nAccept: application/x-ndjson\r\n\r\n"
    connection.sendall(request.encode())
    return connection


def _is_cut(connection: socket.socket) -> bool:
    """Whether no more comes than what was under way, and the stream has no end."""
    received, tail = 0, b""
    try:
        while part := connection.recv(1 << 16):
            received += len(part)
            tail = (tail + part)[-100:]
            if received > VALUES.count * VALUES.value_bytes // 2:
                return False
    except TimeoutError:
        return False
    except OSError:
        return True
    return b'"end":true' not in tail


def _all(cluster: Cluster, jobs: Iterator[Job]) -> None:
    tally = Tally()
    drive(run(cluster.endpoints, jobs, tally, connections=CONNECTIONS))
    if tally.failed:
        raise Trouble("\n".join(tally.failures))
    wait_for(lambda: cluster.status()["health"] == "healthy", "the cluster to be healthy")
