"""Measures what a cluster costs while nobody asks it anything: `python bench/idle.py [--partitions Q ...]`.

Three nodes from empty; after a moment in which they settle, the processor time of each over some seconds, and
its resident memory. Linux only: it reads /proc.
"""

import argparse
import tempfile
import time
from pathlib import Path
from typing import Final

from harness.cluster import Cluster, Trouble
from harness.resources import cpu_s, memory

NODES: Final = 3
PARTITIONS: Final = (64, 4_096)
SETTLE_S: Final = 5.0
SECONDS: Final = 20.0


def measure(partitions: int, data: Path, seconds: float) -> None:
    """Print one row per node. Raises Trouble."""
    cluster = Cluster(data, NODES, options=("--partitions", str(partitions)))
    try:
        cluster.start()
        time.sleep(SETTLE_S)
        pids = cluster.pids()
        began, before = time.monotonic(), {name: cpu_s(pid) for name, pid in pids.items()}
        time.sleep(seconds)
        took = time.monotonic() - began
        for name, pid in pids.items():
            share, rss = (cpu_s(pid) - before[name]) / took, memory(pid)["VmRSS"]
            print(f"{partitions:>10}  {name:<8}  {share:>7.2%} of a core  {rss:>6.1f} MB", flush=True)
        cluster.stop()
    finally:
        cluster.end()


def main() -> None:
    """Measure one cluster after the other."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--partitions", type=int, nargs="+", default=PARTITIONS)
    parser.add_argument("--seconds", type=float, default=SECONDS)
    arguments = parser.parse_args()
    print("partitions  node      processor          resident")
    with tempfile.TemporaryDirectory(prefix="ringkeep-idle-") as root:
        for partitions in arguments.partitions:
            try:
                measure(partitions, Path(root) / str(partitions), arguments.seconds)
            except Trouble as trouble:
                raise SystemExit(str(trouble)) from None


if __name__ == "__main__":
    main()
