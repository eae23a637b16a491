"""Fills a cluster of five with real data, kills nodes while it writes, and compares every byte.

`python bench/demo.py [--small] [--data DIR] [--base-port N]`. The data are the package descriptions that this
machine's apt knows: the key is a package's name, the value its record. Two nodes are killed with SIGKILL
during the import, one after the other. Then every record is read back through every node; all nodes are
killed at once, started again, and read; stopped in order, started again, and read. Exit 0 only if no request
failed and every byte is there.
"""

import argparse
import asyncio
import shutil
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from cluster import Cluster, Trouble, alive, wait_for
from load import Job, Pace, Tally, drive, get_job, percentile, put_job, run

NODES: Final = 5
CONNECTIONS: Final = 64
SMALL: Final = 2_000
SMALL_IMPORT_S: Final = 10.0  # slow on purpose: two nodes have to fall and come back during it
FIRST_KILL: Final = 0.2  # shares of the import
SECOND_KILL: Final = 0.6
DOWN_S: Final = 1.5
DPKG_STATUS: Final = Path("/var/lib/dpkg/status")


class Failed(Exception):
    """The store did not keep a promise."""


def say(text: str) -> None:
    print(text, flush=True)


def packages() -> tuple[dict[bytes, bytes], str]:
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


class Progress:
    """One line on a terminal, nothing in a pipe."""

    def __init__(self, what: str, tally: Tally, total: int) -> None:
        self._what, self._tally, self._total = what, tally, total
        self._shown = sys.stderr.isatty()
        self.note = ""

    async def show(self) -> None:
        while self._shown:
            share = self._tally.done / max(self._total, 1)
            line = f"{self._what} {self._tally.done:,}/{self._total:,} {share:4.0%} {self.note}"
            print(f"\r\033[K{line}", end="", file=sys.stderr, flush=True)
            await asyncio.sleep(0.2)

    def clear(self) -> None:
        if self._shown:
            print("\r\033[K", end="", file=sys.stderr, flush=True)


async def import_all(
    cluster: Cluster, records: dict[bytes, bytes], rate: float | None, victims: list[str]
) -> Tally:
    """Write everything through all nodes; meanwhile two of them are killed and come back."""
    tally, pace = Tally(), Pace(rate)
    progress = Progress("importing", tally, len(records))
    handed_out = 0

    def jobs() -> Iterator[Job]:
        nonlocal handed_out
        batch = uuid.uuid4().hex
        for key, value in records.items():
            handed_out += 1
            if handed_out == int(SECOND_KILL * len(records)) + CONNECTIONS and not first_is_back.is_set():
                pace.gate.clear()  # the import would be over before the second kill
            yield put_job(key, value, f"{batch}-{handed_out}")

    async def until(share: float) -> None:
        while tally.done + tally.failed < share * len(records):
            await asyncio.sleep(0.01)

    async def kill_and_restart(name: str) -> None:
        command = await asyncio.to_thread(cluster.kill, name)
        progress.note = f"(killed {name})"
        say_above(progress, f"  {tally.done:6,} written: kill -9 {name}")
        await asyncio.sleep(DOWN_S)
        cluster.restart(name, command)
        started = time.monotonic()
        await asyncio.to_thread(wait_for, lambda: cluster.ready(name), f"{name} to be ready again")
        progress.note = ""
        took = time.monotonic() - started
        say_above(
            progress, f"  {tally.done:6,} written: {name} is ready again, {took:.1f} s after its restart"
        )

    async def trouble() -> None:
        await until(FIRST_KILL)
        await kill_and_restart(victims[0])
        first_is_back.set()
        if not pace.gate.is_set():
            tally.resume()
            pace.gate.set()
        await until(SECOND_KILL)
        await kill_and_restart(victims[1])

    first_is_back = asyncio.Event()
    shown = asyncio.create_task(progress.show())
    await asyncio.gather(trouble(), run(cluster.endpoints, jobs(), tally, connections=CONNECTIONS, pace=pace))
    shown.cancel()
    progress.clear()
    return tally


def say_above(progress: Progress, text: str) -> None:
    progress.clear()
    say(text)


async def compare(cluster: Cluster, records: dict[bytes, bytes], everywhere: bool) -> Tally:
    """Read everything back: every record through every node, or each through one of them in turn."""
    tally = Tally()
    nodes = range(len(cluster.endpoints))
    progress = Progress("comparing", tally, len(records) * (len(nodes) if everywhere else 1))

    async def through(node: int, keys: list[bytes]) -> None:
        # One node's share has connections of its own, so none of them moves between nodes.
        jobs = (get_job(key, records[key], via=node) for key in keys)
        await run(cluster.endpoints, jobs, tally, connections=max(CONNECTIONS // len(nodes), 1))

    keys = list(records)
    shown = asyncio.create_task(progress.show())
    await asyncio.gather(*(through(node, keys if everywhere else keys[node :: len(nodes)]) for node in nodes))
    shown.cancel()
    progress.clear()
    return tally


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


def choose_victims(cluster: Cluster) -> list[str]:
    """The node with the most primaries that is not the controller, then the controller."""
    status = cluster.status()
    controller = status["controller"]
    others = [each for each in status["members"] if each["name"] != controller]
    return [max(others, key=lambda each: each["primaries"])["name"], controller or cluster.names[0]]


def kill_all(cluster: Cluster) -> None:
    pids = cluster.pids()
    for name in pids:
        cluster.kill(name)
    wait_for(lambda: not any(map(alive, pids.values())), "all nodes to be dead")
    cluster.stop()


def show(cluster: Cluster, records: dict[bytes, bytes], small: bool) -> None:
    """The whole tour. Raises Failed, Trouble."""
    cluster.start()
    first = cluster.endpoints[0]
    say(f"{NODES} nodes are ready, the first on http://{first.host}:{first.port}")
    victims = choose_victims(cluster)
    rate = len(records) / SMALL_IMPORT_S if small else None

    report("import", drive(import_all(cluster, records, rate, victims)))
    report("every record through every node", drive(compare(cluster, records, everywhere=True)))
    kill_all(cluster)
    cluster.start()
    report("after kill -9 of all nodes", drive(compare(cluster, records, everywhere=small)))
    cluster.stop()
    cluster.start()
    report("after an orderly stop", drive(compare(cluster, records, everywhere=small)))
    cluster.stop()


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--small", action="store_true", help=f"{SMALL:,} records only")
    parser.add_argument("--data", type=Path, help="an empty directory to keep (default: a temporary one)")
    parser.add_argument("--base-port", type=int, help="the first node's HTTP port (default: free ones)")
    arguments = parser.parse_args()
    if arguments.data and arguments.data.exists() and any(arguments.data.iterdir()):
        parser.error(f"{arguments.data} is not empty")
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
        cluster = Cluster(data, NODES, arguments.base_port)
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


if __name__ == "__main__":
    sys.exit(main())
