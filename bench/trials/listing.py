"""A million keys listed again and again while nodes die, join and leave: is each there, once, and in order?

Five nodes as `ringkeep up` starts them. Readers in processes of their own stream all keys through one node
after the other, and judge them. Meanwhile nothing happens; a node is killed and started again; one joins, and
partitions move to it; it is decommissioned. A stream that ends early is read on behind its last key through
another node. Then values of 4 MiB are listed, also by readers that read nothing. The kernel's own peak of
each node's resident memory is compared with what it had before, where nothing else happens. Run it in bench/:
`python -m trials.listing`.
"""

import argparse
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from harness.cluster import HOST, PORT_STEP, Trouble, alive, wait_for
from harness.elastic import Elastic
from harness.load import Endpoint, drive
from trials import large
from trials.judge import Faults
from trials.passing import Passing, passing_keys
from trials.readers import Pass, Readers, Task, rate
from trials.report import Report
from trials.resident import Growth, shown
from trials.stock import Stock, load, read

NODES: Final = 5
VICTIM: Final = "node-3"
DEAD_S: Final = 3.0  # before it is started again
NEWCOMER: Final = f"node-{NODES + 1}"
SETTLED_S: Final = 600.0
LOOK_S: Final = 0.25
EVERY: Final = 10  # which keys are read first: some of each block


def kill_and_restart(cluster: Elastic) -> None:
    """End a node that leads partitions with -9; start it again; wait until it leads again."""
    led = cluster.placement()[VICTIM][1]
    if not led:
        raise Trouble(f"{VICTIM} leads nothing")
    command = cluster.kill(VICTIM)
    time.sleep(DEAD_S)
    cluster.restart(VICTIM, command)
    wait_for(lambda: cluster.ready(VICTIM), f"{VICTIM} to be ready again")
    wait_for(cluster.settled, "the cluster to be as before", SETTLED_S)


def join(cluster: Elastic) -> None:
    """Let a node join; wait until it has its share."""
    cluster.join(NODES + 1)
    wait_for(
        lambda: cluster.settled() and cluster.placement()[NEWCOMER][1] > 0,
        f"{NEWCOMER} to have its share",
        SETTLED_S,
    )


def leave(cluster: Elastic) -> None:
    """Decommission the newcomer; wait until it has ended by itself."""
    pid = cluster.pid(NEWCOMER)
    cluster.order("decommission", NEWCOMER, "--no-wait")
    cluster.forget(NEWCOMER)
    wait_for(cluster.settled, f"{NEWCOMER} to have left", SETTLED_S)
    wait_for(lambda: not alive(pid), f"{NEWCOMER} to end by itself")


EVENTS: Final[tuple[tuple[str, Callable[[Elastic], None]], ...]] = (
    ("a primary killed and restarted", kill_and_restart),
    ("a node joins", join),
    ("it is decommissioned", leave),
)


def judge(report: Report, passes: list[Pass], stock: Stock) -> None:
    """Judge all passes together."""
    faults = Faults()
    for each in passes:
        faults.add(each.faults)
    early = sum(sum(each.early.values()) for each in passes)
    report.judge("whole listings", "some", f"{len(passes)} of {stock.count:,} keys", bool(passes))
    for name in ("missing", "twice", "disordered", "strange"):
        count = getattr(faults, name)
        report.judge(f"keys {name}", "0", str(count), not count)
    report.figures["streams that ended early, and were read on"] = early
    report.figures["why"] = dict(sum((each.early for each in passes), start=type(passes[0].early)()))
    report.figures["a pass, s"] = [round(min(_seconds(passes)), 1), round(max(_seconds(passes)), 1)]
    report.figures["examples"] = faults.examples


def _seconds(passes: list[Pass]) -> list[float]:
    return [each.ended - each.began for each in passes]


def measure(cluster: Elastic, stock: Stock, readers: int, report: Report) -> None:
    """List the stock while all of it happens. Raises Trouble."""
    newcomer = Endpoint(HOST, cluster.endpoints[0].port + NODES * PORT_STEP)
    passing, spans = passing_keys(stock), []
    growth = Growth(cluster.pids())
    with Passing(cluster.endpoints, passing) as changing:
        reading = Readers([*cluster.endpoints, newcomer], readers, Task(stock, passing=passing))
        began = time.monotonic()
        while not reading.since(began):
            time.sleep(LOOK_S)
        spans.append(("nothing happens", began, time.monotonic()))
        large.judge_growth(report, f"memory, {readers} readers, nothing happens", growth)
        for what, happen in EVENTS:
            growth, began = Growth(cluster.pids()), time.monotonic()
            happen(cluster)
            happened = time.monotonic()
            while not reading.since(began):
                time.sleep(LOOK_S)
            spans.append((what, began, time.monotonic()))
            report.figures[f"{what}, s"] = round(happened - began, 1)
            if VICTIM in growth.before and happen is not kill_and_restart:
                report.figures[f"memory beside moves, {what}"] = shown(growth.mib())
        reading.stop()
    judge(report, reading.passes, stock)
    report.figures["keys that came and went, changes"] = changing.changes
    for what, begin, end in spans:
        report.figures[f"keys/s, {what}"] = round(rate(reading.passes, begin, end))


def parsed() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--keys", type=int, default=1_000_000)
    parser.add_argument("--readers", type=int, default=3)
    parser.add_argument("--data", type=Path, help="where the data are while it runs (default: temporary)")
    parser.add_argument("--json", type=Path, help="where to write what was found")
    return parser.parse_args()


def main() -> int:
    options = parsed()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that what was started is stopped
    data = Path(tempfile.mkdtemp(prefix="ringkeep-listing-", dir=options.data))
    cluster, keep = Elastic(data, None, nodes=NODES), False
    stock, report = Stock("key-", options.keys), Report("listing")
    try:
        cluster.start()
        loaded = drive(load(cluster.endpoints, stock))
        print(f"{stock.count:,} keys loaded in {loaded.seconds:.0f} s", flush=True)
        drive(read(cluster.endpoints, stock, EVERY))  # the caches are filled before memory is measured
        measure(cluster, stock, options.readers, report)
        large.measure(cluster, report)
        print(report.text(), flush=True)
        settings: dict[str, Any] = {
            "nodes": NODES, "keys": options.keys, "value bytes": stock.value_bytes,
            "readers": options.readers,
        }  # fmt: skip
        if options.json:
            report.save(options.json, data, settings)
        return int(not report.kept)
    except Trouble as trouble:
        keep = True
        print(f"listing: {trouble}\nthe nodes' logs are in {data}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    finally:
        cluster.end()
        if not keep:
            shutil.rmtree(data, ignore_errors=True)


if __name__ == "__main__":
    sys.exit(main())
