"""Measures large values, and small reads beside them: `python bench/large.py [OLD] [--rounds N]`.

A cluster of three nodes. 16 connections write values of 4 MiB, then of 1 MiB: MB/s, what the disks wrote for
each byte, and whether a primary changed meanwhile. Then 4 connections read values of 128 bytes, alone and
beside 4 that write 4 MiB. OLD is another checkout (see compare.py): both are measured in turn. Linux only.
"""

import argparse
import json
import random
import socket
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

from harness.cluster import Trouble, fetch
from harness.load import Endpoint, percentile
from harness.resources import written_bytes
from systems import Ringkeep

KIB: Final = 1 << 10
MIB: Final = 1 << 20
WRITERS: Final = 16
BESIDE: Final = 4
READERS: Final = 4
KEYS_EACH: Final = 8  # of each writer: the data stays small, and is replaced
SMALL_KEYS: Final = 256
SMALL: Final = b"s" * 128
ANSWER_S: Final = 40.0


class Client:
    """One blocking connection: large requests cost this process next to nothing."""

    def __init__(self, endpoint: Endpoint) -> None:
        self._host = f"{endpoint.host}:{endpoint.port}".encode()
        self._socket = socket.create_connection(endpoint, timeout=ANSWER_S)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def ask(self, method: bytes, key: bytes, body: bytes = b"") -> int:
        """Send a request; return the status of its answer. Raises OSError."""
        head = b"%b /v1/kv/%b HTTP/1.1\r\nHost: %b\r\nContent-Length: %d\r\n\r\n"
        self._socket.sendall(head % (method, key, self._host, len(body)))
        if body:
            self._socket.sendall(body)
        return self._answer()

    def _answer(self) -> int:
        data = b""
        while b"\r\n\r\n" not in data:
            data += self._more()
        head, _, rest = data.partition(b"\r\n\r\n")
        length = int(head.lower().partition(b"content-length: ")[2].split(b"\r\n")[0] or b"0")
        while len(rest) < length:
            rest += self._more()
        return int(head[9:12])

    def _more(self) -> bytes:
        data = self._socket.recv(MIB)
        if not data:
            raise ConnectionError("the node closed the connection")
        return data

    def close(self) -> None:
        self._socket.close()


class Loop:
    """Clients that each repeat one request after the other, in threads. Use as a context."""

    def __init__(self, work: list[Callable[[], tuple[float, int]]]) -> None:
        """`work`: per client, what does one request and returns its seconds and status."""
        self.took: list[float] = []
        self.others: list[int] = []  # statuses that are no success
        self._over = False
        self._threads = [threading.Thread(target=self._run, args=(each,), daemon=True) for each in work]

    def _run(self, once: Callable[[], tuple[float, int]]) -> None:
        while not self._over:
            took, status = once()
            if status in (200, 201):
                self.took.append(took)
            else:
                self.others.append(status)
                time.sleep(0.05)

    def __enter__(self) -> "Loop":
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over = True
        for thread in self._threads:
            thread.join()


def writer(client: Client, number: int, value: bytes) -> Callable[[], tuple[float, int]]:
    turn = 0

    def once() -> tuple[float, int]:
        nonlocal turn
        turn += 1
        began = time.perf_counter()
        status = client.ask(b"PUT", b"large-%d-%d" % (number, turn % KEYS_EACH), value)
        return time.perf_counter() - began, status

    return once


def reader(client: Client, number: int) -> Callable[[], tuple[float, int]]:
    choose = random.Random(number)

    def once() -> tuple[float, int]:
        key = b"small-%d" % choose.randrange(SMALL_KEYS)
        began = time.perf_counter()
        status = client.ask(b"GET", key)
        return time.perf_counter() - began, status

    return once


def epochs(system: Ringkeep) -> dict[int, int]:
    """Return the epoch of each partition. Raises Trouble."""
    status, body = fetch(system.endpoints[0], "/v1/cluster/partitions")
    if status != 200:
        raise Trouble(f"/v1/cluster/partitions answered {status}")
    return {each["partition"]: each["epoch"] for each in json.loads(body)["partitions"]}


def clients(system: Ringkeep, count: int) -> list[Client]:
    return [Client(system.endpoints[i % len(system.endpoints)]) for i in range(count)]


def throughput(system: Ringkeep, size: int, seconds: float) -> dict[str, float]:
    """Let WRITERS write values of `size`; return MB/s and more. Raises Trouble, OSError."""
    value = random.Random(1).randbytes(size)
    opened = clients(system, WRITERS)
    before, disk = epochs(system), sum(map(written_bytes, system.pids()))
    with Loop([writer(client, i, value) for i, client in enumerate(opened)]) as loop:
        time.sleep(seconds)
        done = len(loop.took)
    after = epochs(system)
    for client in opened:
        client.close()
    written = len(loop.took) * size
    return {
        "MB/s": done * size / seconds / 1e6,
        "p50 ms": 1e3 * statistics.median(loop.took),
        "p99 ms": 1e3 * percentile(loop.took, 0.99),
        "disk": (sum(map(written_bytes, system.pids())) - disk) / written / len(system.endpoints),
        "refused": len(loop.others),
        "epochs": sum(after[each] != before[each] for each in before),
    }


def small_reads(system: Ringkeep, beside: int, seconds: float) -> dict[str, float]:
    """Read small values beside so many writers of 4 MiB. Raises OSError."""
    value = random.Random(1).randbytes(4 * MIB)
    readers, writers = clients(system, READERS), clients(system, beside)
    with Loop([writer(client, i, value) for i, client in enumerate(writers)]) as large:
        time.sleep(1 if beside else 0)
        before = len(large.took)
        with Loop([reader(client, i) for i, client in enumerate(readers)]) as small:
            time.sleep(seconds)
            done = len(large.took) - before
    for client in (*readers, *writers):
        client.close()
    return {
        "p50 ms": 1e3 * statistics.median(small.took),
        "p99 ms": 1e3 * percentile(small.took, 0.99),
        "max ms": 1e3 * max(small.took),
        "reads/s": len(small.took) / seconds,
        "MB/s beside": done * len(value) / seconds / 1e6,
    }


def measure(system: Ringkeep, seconds: float) -> dict[str, dict[str, float]]:
    return {
        "write 4 MiB": throughput(system, 4 * MIB, seconds),
        "write 1 MiB": throughput(system, MIB, seconds),
        "read small alone": small_reads(system, 0, seconds / 2),
        "read small beside": small_reads(system, BESIDE, seconds),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("old", type=Path, nargs="?", help="a checkout of the commit to compare with")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=8)
    options = parser.parse_args()
    sys.setswitchinterval(0.0005)  # the readers' clock must not wait for the writers' threads
    here = Path(__file__).resolve().parent.parent
    with tempfile.TemporaryDirectory(prefix="ringkeep-large-") as scratch:
        systems = {"new": Ringkeep(Path(scratch) / "new", here)}
        if options.old is not None:
            systems["old"] = Ringkeep(Path(scratch) / "old", options.old.resolve())
        kept: dict[tuple[str, str], list[dict[str, float]]] = {}
        try:
            for system in systems.values():
                system.start()
                client = Client(system.endpoints[0])
                for i in range(SMALL_KEYS):
                    client.ask(b"PUT", b"small-%d" % i, SMALL)
                client.close()
            for _ in range(options.rounds):
                for name, system in systems.items():
                    for what, found in measure(system, options.seconds).items():
                        kept.setdefault((what, name), []).append(found)
                        print(line(what, name, found), flush=True)
        except (Trouble, OSError) as error:
            sys.exit(str(error))
        finally:
            for system in systems.values():
                system.end()
    print("medians:")
    for (what, name), rounds in kept.items():
        print(line(what, name, {key: statistics.median(each[key] for each in rounds) for key in rounds[0]}))


def line(what: str, name: str, found: dict[str, float]) -> str:
    return f"{what:18} {name}: " + "  ".join(f"{key} {value:.1f}" for key, value in found.items())


if __name__ == "__main__":
    main()
