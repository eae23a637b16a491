"""Measures what a call costs in Python: `make bench-clients`, or `python bench/clients.py [OPTIONS]`.

Ringkeep's clients, plain HTTP, and Python clients of etcd and Redis, each in a process of its own, in turn in
one run: processor time of the client and of all servers per call, and the memory of a client at rest.
Libraries that are not the project's are installed into environments of their own, which are thrown away.
Linux only: it reads /proc.

  make bench-clients                                about four minutes; results in bench/results
  make bench-clients ARGS="--rounds 1 --seconds 0.5"   a short run
  make bench-clients ARGS=--reference               also writes docs/client-benchmarks.md
"""

import argparse
import contextlib
import datetime
import json
import os
import shutil
import signal
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final

from callers import resting
from callers.environments import python_for
from callers.kinds import BY_NAME, Kind
from callers.loops import key_of
from callers.measuring import Measuring
from callers.processes import Process
from harness.cluster import Trouble, fetch
from harness.load import Endpoint
from harness.resources import machine
from peers import SYSTEMS, commit
from reporting import client_page
from reporting.figures import void_runs
from ringkeep.client.calls.nodes import Nodes
from systems import System, check_programs
from systems.ringkeep_cluster import CORE

ROOT: Final = Path(__file__).parent.parent
KEYS: Final = 1_000
PROGRAMS: Final = {
    "etcd": ("etcd", "etcd-server"),
    "redis": ("redis-server", "redis-server"),
}  # and Debian packages
SETTLE_S: Final = 3.0


def homes_of(endpoints: Sequence[Endpoint]) -> dict[str, int]:
    """Return by key which of these nodes is its primary, as a client learns it. Raises Trouble."""
    nodes = Nodes([f"http://{each.host}:{each.port}" for each in endpoints])
    nodes.learned(*(fetch(endpoints[0], path)[1] for path in ("/v1/cluster", "/v1/cluster/partitions")))
    homes = {key: str(nodes.place(key)) for key in map(key_of, range(KEYS))}
    if not set(homes.values()) <= set(nodes.given):
        raise Trouble(f"the map names other primaries than {nodes.given}")
    return {key.decode(): nodes.given.index(home) for key, home in homes.items()}


def leader_of(endpoints: Sequence[Endpoint]) -> Endpoint:
    """Return the node of etcd that leads. Raises Trouble if none says so."""
    for each in endpoints:
        url = f"http://{each.host}:{each.port}/v3/maintenance/status"
        with urllib.request.urlopen(urllib.request.Request(url, b"{}"), timeout=5) as answer:
            status = json.load(answer)
        if status["leader"] == status["header"]["member_id"]:
            return each
    raise Trouble("no node of etcd leads")


class Clients:
    """Starts clients of systems that run."""

    def __init__(self, systems: dict[str, System], environments: Path, data: Path) -> None:
        self._environments = environments
        self._data = data
        self._nodes = {name: list(system.endpoints) for name, system in systems.items()}
        self._homes = homes_of(self._nodes["ringkeep"]) if "ringkeep" in systems else {}
        if "etcd" in systems:
            self._nodes["etcd"] = [leader_of(self._nodes["etcd"])]

    def start(self, kind: Kind) -> Process:
        """Begin a process. Raises Trouble if its library cannot be installed."""
        python = python_for(kind.library, self._environments)
        nodes, homes = self._nodes[kind.system], self._homes if kind.system == "ringkeep" else {}
        return Process(kind, python, nodes, homes, self._data / "client.log")


@contextlib.contextmanager
def running(names: Sequence[str], data: Path) -> Iterator[dict[str, System]]:
    """Systems from empty, all at the same time, and nothing of them left afterwards."""
    systems: dict[str, System] = {}
    try:
        for name in names:
            systems[name] = SYSTEMS[name](data / name)
            systems[name].start()
            print(f"{name}: {systems[name].version}; {systems[name].settings}", flush=True)
        yield systems
    finally:
        for system in systems.values():
            system.end()


def measure(options: argparse.Namespace, data: Path) -> dict[str, Any]:
    """Start all, measure all, end all. Raises Trouble."""
    began, kinds = time.monotonic(), [BY_NAME[name] for name in options.kinds]
    about: dict[str, Any] = {"cores": os.cpu_count(), **machine(data)}
    environments = options.environments or data / "environments"
    for kind in kinds:
        python_for(kind.library, environments)  # before anything runs beside
    open_clients: list[Process] = []
    with running(list(dict.fromkeys(kind.system for kind in kinds)), data) as systems:
        time.sleep(SETTLE_S)
        clients = Clients(systems, environments, data)
        memory = resting.measure(kinds, clients.start, options.processes)
        try:
            versions = {}
            for kind in kinds:
                open_clients.append(clients.start(kind))
                versions[kind.name] = resting.opened(open_clients[-1])
            measuring = Measuring(systems, open_clients, KEYS)
            measuring.warm_up()
            figures = measuring.rounds(options.rounds, options.seconds)
        finally:
            for client in open_clients:
                client.end()
        said = ("version", "settings", "writes", "reads")
        told = {name: {what: getattr(each, what) for what in said} for name, each in systems.items()}
    if "etcd" in told:  # these clients speak gRPC
        told["etcd"]["settings"] = told["etcd"]["settings"].replace("HTTP gateway", "gRPC")
    run = {
        "date": datetime.date.today().isoformat(),
        "commit": commit(),
        "core": CORE,
        "rounds": options.rounds,
        "seconds": options.seconds,
        "keys": KEYS,
        "resting_keys": resting.KEYS,
        "took_s": time.monotonic() - began,
    }
    about_clients = {kind.name: {"tasks": kind.tasks, "versions": versions[kind.name]} for kind in kinds}
    return {
        "run": run,
        "machine": about,
        "systems": told,
        "clients": about_clients,
        "figures": client_page.figures_json(figures),
        "memory": memory,
        "void": void_runs(figures),
    }


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=2.0, help="of each run of a client")
    parser.add_argument("--kinds", nargs="+", choices=list(BY_NAME), default=list(BY_NAME), metavar="KIND",
                        help=f"of {'; '.join(BY_NAME)}")  # fmt: skip
    parser.add_argument("--processes", type=int, default=3, help="of each kind whose memory is read")
    parser.add_argument("--reference", action="store_true", help="also replace docs/client-benchmarks.md")
    parser.add_argument(
        "--page", action="store_true", help="measure nothing: write docs/client-benchmarks.md from its JSON"
    )
    parser.add_argument("--environments", type=Path, metavar="DIR",
                        help="keep the environments of the other libraries there")  # fmt: skip
    parser.add_argument("--data", type=Path, help="where all keep their data meanwhile (default: temporary)")
    parser.add_argument("--out", type=Path, default=ROOT / "bench" / "results", help="where the results go")
    return parser.parse_args()


def main() -> int:
    options = arguments()
    if options.page:
        print(client_page.rewrite(ROOT / "docs"))
        return 0
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that what was started is stopped
    data = Path(tempfile.mkdtemp(prefix="ringkeep-clients-", dir=options.data))
    try:
        systems = {BY_NAME[name].system for name in options.kinds}
        check_programs(dict(PROGRAMS[name] for name in sorted(systems & set(PROGRAMS))))
        result = measure(options, data)
        print("\n" + client_page.write(options.out, result))
        if options.reference:
            client_page.write(ROOT / "docs", result)
        print(f"kept in {os.path.relpath(options.out)}")
        for each in result["void"]:
            print(f"VOID: {each}")
        return 1 if result["void"] else 0
    except Trouble as trouble:
        print(f"clients: {trouble}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    finally:
        shutil.rmtree(data, ignore_errors=True)


if __name__ == "__main__":
    sys.exit(main())
