"""Grows a cluster of three to five under load, lets one node go and loses another, and compares every byte.

`python bench/demo_elastic.py [--small] [--data DIR] [--base-port N]`. The data are those of `demo.py`. Beside
a steady load of checked reads and writes: the import; two nodes that join, one after the other; the first
node, which is decommissioned and ends by itself; one that is killed for good and given up, so that the other
three make its replicas anew. Then every record is read through every node. Exit 0 only if no request failed,
every byte is there, no more than 1.15 times the replicas were moved that had to be, and after each change no
node has more than 1.1 times the mean.
"""

import sys
import time
import uuid
from pathlib import Path
from typing import Any, Final

from harness.elastic import (
    MOST_HELD,
    WITNESS,
    Change,
    Changing,
    Cost,
    Elastic,
    data_of_partitions,
    fullest,
    least_for_join,
    least_for_leave,
)
from harness.load import Tally, drive, put_job, run
from harness.steady import Phase, Steady
from harness.tour import CONNECTIONS, Failed, Line, Progress, Records, compare, report, run_demo, say
from ringkeep.cli.terminal.tables import show_table

RATE: Final = 100.0  # requests per second of the steady load
QUIET_S: Final = 8.0  # the load alone, to compare with
SMALL_QUIET_S: Final = 2.0
SMALL_PARTITIONS: Final = 32
MOST_MOVED: Final = 1.15  # times the minimum, of replicas
LEAVER: Final = "node-1"
LOST: Final = "node-3"


async def import_all(cluster: Elastic, records: Records) -> Tally:
    """Write everything through all nodes."""
    tally, batch = Tally(), uuid.uuid4().hex
    jobs = (put_job(key, value, f"{batch}-{at}") for at, (key, value) in enumerate(records.items()))
    async with Progress("importing", tally, len(records)):
        await run(cluster.endpoints, jobs, tally, connections=CONNECTIONS)
    return tally


class Tour:
    """The changes, one after the other."""

    def __init__(self, cluster: Elastic, load: Steady, records: Records) -> None:
        self._cluster = cluster
        self._load = load
        self._records = records
        settings = cluster.ask("/v1/cluster")["settings"]
        self._replication: int = settings["replication"]
        self._partitions: int = settings["partitions"]
        self._line = Line()
        self.changes: list[Change] = []

    def join(self, number: int) -> None:
        name = f"node-{number}"
        minimum = least_for_join(self._data(), self._replication, len(self._cluster.names) + 1)
        changing = self._begin(f"{name} joins", minimum)
        say(f"$ ringkeep node --name {name} …")
        self._load.use(self._cluster.join(number))
        self._finish(changing)

    def decommission(self, name: str) -> None:
        """It moves everything off, ends by itself, and is named no more."""
        changing = self._begin(f"{name} leaves", self._least_without(name))
        pid = self._cluster.pid(name)
        self._order("decommission", name, "--no-wait")
        endpoint = self._cluster.forget(name)
        changing.wait(self._show)
        self._cluster.wait_left(name, pid)
        self._load.forget(endpoint)
        self._finish(changing)
        say(f"  the process of {name} has ended by itself with exit code 0, and the map names it no more")

    def lose(self, name: str) -> None:
        """It is killed, and does not come back."""
        changing = self._begin(f"{name} is lost", self._least_without(name))
        self._cluster.kill(name)
        say(f"kill -9 {name}, for good")
        self._load.forget(self._cluster.forget(name))
        self._order("decommission", name, "--dead", "--no-wait")
        self._finish(changing)

    def _least_without(self, name: str) -> Cost:
        return least_for_leave(self._data(), self._cluster.parts(), name)

    def _data(self) -> list[int]:
        return data_of_partitions(self._records | self._load.contents, self._partitions)

    def _begin(self, what: str, minimum: Cost) -> Changing:
        self._load.mark(what)
        return Changing(self._cluster, what, minimum)

    def _order(self, *words: str) -> None:
        say(f"$ ringkeep {' '.join(words)}")
        say(f"  {self._cluster.order_once_silent(*words)}")

    def _finish(self, changing: Changing) -> None:
        changing.wait(self._show)
        self._line.clear()
        self.changes.append(changing.done())
        show_change(self.changes[-1])

    def _show(self, moves: dict[str, Any]) -> None:
        left = len(moves["planned"]) + len(moves["running"])
        seconds, tally = moves["seconds_left"], self._load.tally
        text = "primaries move to where they belong"
        if left:
            text = (
                f"{left} moves left, {moves['bytes_left'] / 1e6:,.1f} MB at {moves['rate'] / 1e6:,.1f} MB/s"
            )
            text += f", {seconds:,.0f} s" if seconds is not None else ""
        self._line.show(f"{text}; load: {tally.done:,} requests, {tally.failed} failed")


# --- what is shown and judged -----------------------------------------------------------------------------


def show_change(change: Change) -> None:
    """Print where the replicas lay before and lie now, and what it took."""
    names = sorted({*change.before, *change.after})
    nothing = (None, None)
    show_table(
        ("NODE", "REPLICAS BEFORE", "AFTER", "PRIMARIES BEFORE", "AFTER"),
        [
            [name, was[0], now[0], was[1], now[1]]
            for name in names
            for was, now in [(change.before.get(name, nothing), change.after.get(name, nothing))]
        ],
    )
    moved = change.moved
    say(
        f"  {change.what}: {moved.replicas:,.0f} replicas moved, {moved.data_bytes / 1e6:,.1f} MB, "
        f"in {change.seconds:.0f} s"
        + (f"; {change.undone} of the moves went back, and were made again" if change.undone else "")
    )


def show_summary(changes: list[Change], phases: list[Phase]) -> None:
    """Print what was moved against what had to be, and what clients felt of it. Fits 80 columns."""
    show_table(
        ("CHANGE", "MOVED", "LEAST", "TIMES", "MB", "LEAST", "TIMES", "MOST", "S"),
        [
            [
                each.what, f"{each.moved.replicas:,.0f}", f"{each.minimum.replicas:,.1f}",
                f"{each.replicas_ratio:.2f}", f"{each.moved.data_bytes / 1e6:,.2f}",
                f"{each.minimum.data_bytes / 1e6:,.2f}", f"{each.bytes_ratio:.2f}",
                f"{fullest(each.after):.3f}", f"{each.seconds:.0f}",
            ]
            for each in changes
        ],
    )  # fmt: skip
    say(
        "  moved: replicas; least: an even share for who joins, what it held for who is gone, of MB the\n"
        "  keys and values only; most: replicas or primaries of the fullest node, in times of the mean"
    )
    show_table(
        ("LOAD DURING", "COUNT", "P50", "P99", "WORST", "PAUSE", "AGAIN", "FAILED"),
        [
            [
                each.name, f"{len(each.latencies):,}",
                *(f"{each.percentile_ms(share):,.1f}" for share in (0.5, 0.99, 1.0)),
                f"{1_000 * each.longest_pause:,.0f}", each.tried_again, each.failed,
            ]
            for each in phases
        ],
    )  # fmt: skip
    say("  milliseconds; pause: the longest time without any answer; again: requests that were sent again")


def judge(changes: list[Change], load: Tally) -> None:
    """Raises Failed, with every promise that was not kept."""
    broken = []
    if load.failed:
        broken += [f"{load.failed} requests of the steady load failed:", *load.failures]
    for change in changes:
        if change.replicas_ratio > MOST_MOVED:
            moved, least = change.moved.replicas, change.minimum.replicas
            broken.append(
                f"{change.what}: {moved:.0f} replicas moved, more than {MOST_MOVED} times {least:.1f}"
            )
        if fullest(change.after) > MOST_HELD:
            broken.append(f"{change.what}: a node has {fullest(change.after):.3f} times the mean")
    if broken:
        raise Failed("\n  ".join(broken))


def prepare(data: Path, base_port: int | None, small: bool) -> Elastic:
    return Elastic(data, base_port, SMALL_PARTITIONS if small else None)


def show(cluster: Elastic, records: Records, small: bool) -> None:
    """The whole tour. Raises Failed, Trouble."""
    cluster.start()
    first = cluster.endpoints[0]
    say(f"{len(cluster.names)} nodes are ready, the first on http://{first.host}:{first.port}")
    with Steady(cluster.endpoints, RATE) as load:
        load.mark("the import")
        report("import", drive(import_all(cluster, records)))
        load.mark("nothing else")
        time.sleep(SMALL_QUIET_S if small else QUIET_S)
        tour = Tour(cluster, load, records)
        for number in (4, 5):
            tour.join(number)
        tour.decommission(LEAVER)
        tour.lose(LOST)
    show_summary(tour.changes, load.phases)
    say(f"{', '.join(cluster.names)} are left; moves are counted as {WITNESS} saw them")
    compared = drive(compare(cluster, records | load.contents, everywhere=True))
    report("every record through every node", compared)
    cluster.stop()
    judge(tour.changes, load.tally)


if __name__ == "__main__":
    sys.exit(run_demo(__doc__ or "", prepare, show))
