"""A million keys with one time at which they are due, and what clients of other keys feel of their removal.

Five nodes as `ringkeep up` starts them. The keys are loaded by batches, each with the ttl that is left until
the common time. A closed loop reads and writes other keys of the same partitions before it, while the keys
are removed, and after. From that time on due keys are looked for through every node, by reads and listings.
Two forms: over all partitions, or all in one. Run it in bench/: `python -m trials.expiry [--one]`.
"""

import argparse
import re
import shutil
import signal
import sys
import tempfile
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final

from harness.cluster import Cluster, Trouble, alive, fetch, wait_for
from harness.load import Dated, Endpoint, drive
from harness.resources import cpu_s
from trials.due import Look, Seen, count
from trials.felt import Clients, felt, worst_second
from trials.report import Report
from trials.stock import Loaded, Stock, load

NODES: Final = 5
BESIDE: Final = 2_000  # keys of the clients: some in every partition
SAMPLE: Final = 20_000  # keys that are loaded first, to learn how long the others take
LEAST_LEAD_S: Final = 20.0
SPREAD_S: Final = 1.0  # within which all are due
TIMES_P99: Final = 3.0
POLL_S: Final = 0.5
REMOVED_WITHIN_S: Final = 900.0


def expired(endpoints: list[Endpoint]) -> int:
    """Return how many records all nodes have counted as removed because they were due."""
    found = 0
    for endpoint in endpoints:
        _, body = fetch(endpoint, "/metrics")
        shown = re.search(rb'^ringkeep_events_total\{event="expired"\} ([\d.e+]+)', body, re.MULTILINE)
        found += int(float(shown[1])) if shown else 0
    return found


def judge(
    report: Report, loaded: Loaded, seen: Seen, tally: Dated, times: tuple[float, float, float, float]
) -> None:
    """Judge one run. `times`: when the measurement began, when the keys were due, when all were removed, and
    when it ended.
    """
    begin, due_at, removed_at, end = times
    spread = loaded.due_last - loaded.due_first
    report.judge("all are due within", f"{SPREAD_S:.0f} s", f"{spread:.2f} s", spread <= SPREAD_S)
    before, during, after = (
        felt(tally, *pair) for pair in ((begin, due_at), (due_at, removed_at), (removed_at, end))
    )
    ratio = during.p99 / before.p99 if before.p99 else float("inf")
    report.judge(
        "p99 while they are removed", f"{TIMES_P99:.0f} × before", f"{ratio:.2f} × before", ratio <= TIMES_P99
    )
    report.judge(
        "due keys that are readable", "0",
        f"{len(seen.readable)} of {seen.reads:,} reads, {seen.listings:,} listings",
        not seen.readable and not seen.faults and seen.reads > 0 and seen.listings > 0,
    )  # fmt: skip
    report.judge("requests that failed", "0", str(tally.failed), not tally.failed)
    report.figures |= {
        "removal_s": round(removed_at - due_at, 1),
        **{name: asdict(each) for name, each in (("before", before), ("during", during), ("after", after))},
        "worst second before, p99 ms": round(worst_second(tally, begin, due_at), 1),
        "worst second during, p99 ms": round(worst_second(tally, due_at, removed_at), 1),
        "tried again": dict(tally.retries),
        "examples": [*seen.readable[:5], *seen.faults[:5], *tally.failures[:5]],
    }


def run(cluster: Cluster, stock: Stock, options: argparse.Namespace) -> Report:
    """Load the keys, and let them expire. Raises Trouble."""
    report, endpoints = Report("expiry, one partition" if stock.atomic else "expiry"), cluster.endpoints
    sample = drive(load(endpoints, stock, range(min(SAMPLE, stock.count))))
    estimate = sample.seconds * stock.count / min(SAMPLE, stock.count)
    lead = options.lead or max(4 * estimate + options.seconds, LEAST_LEAD_S)
    print(f"{min(SAMPLE, stock.count):,} keys took {sample.seconds:.1f} s to load", flush=True)
    due_at = time.monotonic() + lead
    loaded = drive(load(endpoints, stock, due_at=due_at))
    print(
        f"{stock.count:,} keys loaded in {loaded.seconds:.0f} s, due {lead:.0f} s after it began", flush=True
    )
    if time.monotonic() > due_at - options.seconds - 2:
        raise Trouble("the load took too long for a measurement before: give --lead")
    beside = [f"{stock.prefix}~{number:04d}".encode() for number in range(BESIDE)]
    time.sleep(max(due_at - options.seconds - 4 - time.monotonic(), 0))
    known, pids = expired(endpoints), cluster.pids().values()
    clients, look = Clients(endpoints, beside, options.connections), Look(endpoints, stock, loaded.due_last)
    look.start()
    begin = due_at - options.seconds
    time.sleep(max(begin - time.monotonic(), 0))
    used = [sum(map(cpu_s, pids))]
    time.sleep(max(due_at - time.monotonic(), 0))
    used.append(sum(map(cpu_s, pids)))
    wait_for(lambda: _removed(cluster, known + stock.count), "the keys to be removed", REMOVED_WITHIN_S)
    removed_at = time.monotonic()
    used.append(sum(map(cpu_s, pids)))
    time.sleep(options.seconds)
    seen, tally = look.stop(), clients.stop()
    judge(report, loaded, seen, tally, (begin, due_at, removed_at, removed_at + options.seconds))
    left = [count(endpoint, Stock(stock.prefix + "0", 1)) for endpoint in endpoints]
    report.judge("counted afterwards through each node", "0", " ".join(map(str, left)), not any(left))
    report.figures["load_s"] = round(loaded.seconds, 1)
    report.figures["batches written again: refused, slow"] = [loaded.repeated, loaded.slow]
    cores = (used[1] - used[0]) / options.seconds, (used[2] - used[1]) / (removed_at - due_at)
    report.figures["cores of the nodes before, during"] = [round(each, 2) for each in cores]
    return report


def _removed(cluster: Cluster, wanted: int) -> bool:
    time.sleep(POLL_S)
    for name, pid in cluster.pids().items():
        if not alive(pid):
            raise Trouble(f"{name} has ended")
    return expired(cluster.endpoints) >= wanted


def parsed() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--keys", type=int, default=1_000_000)
    parser.add_argument("--one", action="store_true", help="all keys in one partition")
    parser.add_argument("--connections", type=int, default=8, help="of the closed loop")
    parser.add_argument("--seconds", type=float, default=15.0, help="measured before and after")
    parser.add_argument("--lead", type=float, help="seconds from the first write until all are due")
    parser.add_argument("--data", type=Path, help="where the data are while it runs (default: temporary)")
    parser.add_argument("--json", type=Path, help="where to write what was found")
    return parser.parse_args()


def main() -> int:
    options = parsed()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that what was started is stopped
    data = Path(tempfile.mkdtemp(prefix="ringkeep-expiry-", dir=options.data))
    cluster, keep = Cluster(data, NODES), False
    stock = Stock("{hot}" if options.one else "due-", options.keys, atomic=options.one)
    try:
        cluster.start()
        report = run(cluster, stock, options)
        print(report.text(), flush=True)
        settings: dict[str, Any] = {
            "nodes": NODES, "keys": options.keys, "one partition": options.one,
            "connections": options.connections, "seconds": options.seconds,
        }  # fmt: skip
        if options.json:
            report.save(options.json, data, settings)
        return int(not report.kept)
    except Trouble as trouble:
        keep = True
        print(f"expiry: {trouble}\nthe nodes' logs are in {data}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    finally:
        cluster.end()
        if not keep:
            shutil.rmtree(data, ignore_errors=True)


if __name__ == "__main__":
    sys.exit(main())
