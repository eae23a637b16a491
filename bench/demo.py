"""Fills a cluster of five with real data, kills nodes while it writes, and compares every byte.

`python bench/demo.py [--small] [--data DIR] [--base-port N]`. The data are the package descriptions that this
machine's apt knows: the key is a package's name, the value its record. Two nodes are killed with SIGKILL
during the import, one after the other. Then every record is read back through every node; all nodes are
killed at once, started again, and read; stopped in order, started again, and read. Exit 0 only if no request
failed and every byte is there.
"""

import asyncio
import sys
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from harness.cluster import Cluster, alive, wait_for
from harness.load import Job, Pace, Tally, drive, put_job, run
from harness.tour import CONNECTIONS, Progress, Records, compare, report, run_demo, say

NODES: Final = 5
SMALL_IMPORT_S: Final = 10.0  # slow on purpose: two nodes have to fall and come back during it
FIRST_KILL: Final = 0.2  # shares of the import
SECOND_KILL: Final = 0.6
DOWN_S: Final = 1.5


async def import_all(cluster: Cluster, records: Records, rate: float | None, victims: list[str]) -> Tally:
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
        progress.say(f"  {tally.done:6,} written: kill -9 {name}")
        await asyncio.sleep(DOWN_S)
        cluster.restart(name, command)
        started = time.monotonic()
        await asyncio.to_thread(wait_for, lambda: cluster.ready(name), f"{name} to be ready again")
        progress.note = ""
        took = time.monotonic() - started
        progress.say(f"  {tally.done:6,} written: {name} is ready again, {took:.1f} s after its restart")

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
    async with progress:
        await asyncio.gather(
            trouble(), run(cluster.endpoints, jobs(), tally, connections=CONNECTIONS, pace=pace)
        )
    return tally


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


def prepare(data: Path, base_port: int | None, _small: bool) -> Cluster:
    return Cluster(data, NODES, base_port)


def show(cluster: Cluster, records: Records, small: bool) -> None:
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


if __name__ == "__main__":
    sys.exit(run_demo(__doc__ or "", prepare, show))
