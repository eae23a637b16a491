"""What the demos share: real data, what is shown meanwhile, comparing every byte, beginning and end.

Knows nothing of what a demo does to its cluster.
"""

import argparse
import asyncio
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final, TypeVar

from harness.cluster import Cluster, Trouble
from harness.load import Tally, get_job, percentile, run

CONNECTIONS: Final = 64
SMALL: Final = 2_000
SHOW_S: Final = 0.2
DPKG_STATUS: Final = Path("/var/lib/dpkg/status")
C = TypeVar("C", bound=Cluster)

Records = dict[bytes, bytes]


class Failed(Exception):
    """The store did not keep a promise."""


# --- what people see ------------------------------------------------------------------------------------


def say(text: str) -> None:
    print(text, flush=True)


class Line:
    """One line at the bottom of a terminal, nothing in a pipe."""

    def __init__(self) -> None:
        self._shown = sys.stderr.isatty()

    def show(self, text: str) -> None:
        if self._shown:
            width = shutil.get_terminal_size().columns - 1  # a line that is broken in two is not taken back
            print(f"\r\033[K{text[:width]}", end="", file=sys.stderr, flush=True)

    def clear(self) -> None:
        if self._shown:
            print("\r\033[K", end="", file=sys.stderr, flush=True)

    def say(self, text: str) -> None:
        """Print above the line what is to stay."""
        self.clear()
        say(text)


class Progress(Line):
    """How many of so many requests are done. Use as a context, within a running loop."""

    def __init__(self, what: str, tally: Tally, total: int) -> None:
        super().__init__()
        self._what, self._tally, self._total = what, tally, total
        self._task: asyncio.Task[None] | None = None
        self.note = ""

    async def __aenter__(self) -> "Progress":
        self._task = asyncio.create_task(self._go_on())
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._task is not None
        self._task.cancel()
        self.clear()

    async def _go_on(self) -> None:
        while True:
            share = self._tally.done / max(self._total, 1)
            self.show(f"{self._what} {self._tally.done:,}/{self._total:,} {share:4.0%} {self.note}")
            await asyncio.sleep(SHOW_S)


def report(what: str, tally: Tally) -> None:
    """Print the figures of one phase. Raises Failed when a request failed or bytes differ."""
    milliseconds = [1_000 * percentile(tally.latencies, share) for share in (0.5, 0.99)]
    say(
        f"{what}: {tally.done:,} requests, {tally.rate:,.0f}/s, "
        f"median {milliseconds[0]:.1f} ms, 99 % within {milliseconds[1]:.1f} ms"
    )
    retries = ", ".join(f"{name} {count}" for name, count in tally.retries.most_common()) or "none"
    say(
        f"  longest pause {tally.longest_pause:.2f} s, slowest request {tally.slowest:.2f} s, "
        f"failed {tally.failed}, tried again: {retries}"
    )
    if tally.failed:
        raise Failed(f"{what}: {tally.failed} failed\n  " + "\n  ".join(tally.failures))


# --- the data -------------------------------------------------------------------------------------------


def packages() -> tuple[Records, str]:
    """Return name → record, and where they come from. Of several records of one name the last counts."""
    text, source = b"", "apt-cache dumpavail"
    if shutil.which("apt-cache"):
        text = subprocess.run(["apt-cache", "dumpavail"], capture_output=True, check=False).stdout
    if not text.strip():
        if not DPKG_STATUS.exists():
            raise Trouble("no package descriptions here: neither from apt-cache nor in " + str(DPKG_STATUS))
        say(f"apt-cache has no package lists (`apt-get update` fetches them); taking {DPKG_STATUS} instead")
        text, source = DPKG_STATUS.read_bytes(), str(DPKG_STATUS)
    records = {}
    for record in text.split(b"\n\n"):
        record = record.strip(b"\n")
        if record.startswith(b"Package: "):
            records[record[9:].split(b"\n", 1)[0].strip()] = record + b"\n"
    return records, source


async def compare(cluster: Cluster, records: Records, everywhere: bool) -> Tally:
    """Read everything back: every record through every node, or each through one of them in turn."""
    tally = Tally()
    nodes = range(len(cluster.endpoints))

    async def through(node: int, keys: list[bytes]) -> None:
        # One node's share has connections of its own, so none of them moves between nodes.
        jobs = (get_job(key, records[key], via=node) for key in keys)
        await run(cluster.endpoints, jobs, tally, connections=max(CONNECTIONS // len(nodes), 1))

    keys = list(records)
    async with Progress("comparing", tally, len(records) * (len(nodes) if everywhere else 1)):
        await asyncio.gather(
            *(through(node, keys if everywhere else keys[node :: len(nodes)]) for node in nodes)
        )
    return tally


# --- beginning and end ----------------------------------------------------------------------------------


def run_demo(
    description: str,
    prepare: Callable[[Path, int | None, bool], C],
    show: Callable[[C, Records, bool], None],
) -> int:
    """Read the command line, do the tour, clean up; return the exit code.

    `prepare` makes the cluster from its directory, its first port, and whether it is small; it starts
    nothing. `show` is the tour; it raises Failed or Trouble.
    """
    parser = argparse.ArgumentParser(description=description.split("\n")[0])
    parser.add_argument("--small", action="store_true", help=f"{SMALL:,} records only")
    parser.add_argument("--data", type=Path, help="an empty directory to keep (default: a temporary one)")
    parser.add_argument("--base-port", type=int, help="the first node's HTTP port (default: free ones)")
    arguments = parser.parse_args()
    if arguments.data and arguments.data.exists() and any(arguments.data.iterdir()):
        parser.error(f"{arguments.data} is not empty")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that what was started is stopped
    data = arguments.data or Path(tempfile.mkdtemp(prefix="ringkeep-demo-"))
    keep = arguments.data is not None
    cluster = None
    began = time.monotonic()
    try:
        records, source = packages()
        if arguments.small:
            records = dict(list(records.items())[:SMALL])
        size = sum(map(len, records.values()))
        say(f"{len(records):,} package descriptions from {source}, {size / 1e6:.1f} MB")
        cluster = prepare(data, arguments.base_port, arguments.small)
        show(cluster, records, arguments.small)
    except (Failed, Trouble) as failure:
        keep = True
        say(f"FAILED: {failure}\nthe nodes' logs are in {data}")
        return 1
    except KeyboardInterrupt:
        return 130
    finally:
        if cluster is not None:
            cluster.end()
        if not keep:
            shutil.rmtree(data, ignore_errors=True)
    say(f"every byte is there, no request failed ({time.monotonic() - began:.0f} s in all)")
    return 0
