"""docs/benchmarks.md and its charts, made from the JSON of a run: nothing on the page is written by hand.

A run is what peers.py keeps: `run`, `machine`, `systems`, `figures`, `idle`, and `memory` if it was measured.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from reporting import charts
from reporting.figures import (
    KINDS,
    Figure,
    comparison,
    costs,
    from_json,
    grid,
    latencies,
    median_share,
    rates,
    shown,
    void_runs,
)

ENOUGH_ROUNDS: Final = 5  # of a run that is more than a trial
BUSY: Final = 0.03  # share of the machine that others took: beyond, the page says so
VOID_SHOWN: Final = 10
OURS: Final = "ringkeep"

HEAD: Final = """\
# Benchmarks

<!-- Written by bench/reporting/page.py from the JSON of a run: the next run replaces it. -->

Ringkeep beside three systems that people know, each with three nodes, on one machine and one disk. `make
bench` measures; `make bench ARGS=--reference` also writes this page, its charts, and [all
figures](benchmarks/reference.json). No figure here is from memory or from anybody else's page.
"""

UNLIKE: Final = """\
The four do not promise the same, and a system that promises less has less to do:

- **Ringkeep** divides the keys: each partition has a primary of its own, so all three nodes take part of
  the writes. A read is linearizable, and a majority confirms it. Values are on disk (RocksDB). Its
  ZooKeeper is counted in its CPU time and memory. A node is one process of Python with one event loop.
- **etcd** promises as much for one key, and more besides: one order over all keys, transactions, watches.
  All requests go through one leader. It is asked as Ringkeep is, with HTTP and JSON, through its gateway:
  that translates each request to gRPC, which costs processor time. Clients that speak gRPC spare it that.
- **ZooKeeper** syncs its writes on a majority, and one leader orders them. But **a read is the server's
  own copy**: it asks nobody, and may be stale. All data are in memory, so it is no store for large data.
- **Redis** replicates asynchronously. `WAIT 1` after each write waits until one replica has received it.
  **That is no consensus**: after a failover an acknowledged write may be missing, and nothing decides
  here who becomes the primary. Requests go to the primary only, so one process does all the work, and
  reads ask nobody. All data are in memory. Both the primary and the replicas sync their append-only files
  (`appendfsync always`).

All nodes and the generator share the processors of one machine, and the network between them is the
loopback interface. So the figures say what a request *costs*, more than how far a system scales on
machines of its own.
"""

METHOD: Final = """\
One generator drives all four: a program in C with one thread (`bench/generator`), in a closed loop. Each
connection has one request under way, and sends the next when the answer has come. Only the bytes differ:
HTTP for Ringkeep and etcd, RESP for Redis (`SET` and `WAIT` in one packet), ZooKeeper's own protocol
(`setData`, `getData`). Connections are spread over the three nodes, with Redis all to the primary. With
one connection, each round asks another node.

Every system starts from empty, {keys:,} keys are loaded, and one run of each kind warms up. Then, for
each load, the systems take turns (A B C D, A B C D, …) for {rounds} rounds of {seconds:g} s each. The others
stay up, idle. Figures are medians over the rounds; ratios are taken within a round, as the machine
may be busier in the next.

**Every answer is checked.** A connection has keys of its own, so a read must return exactly the last
write of this run, or a whole value of an earlier run. After a run with writes, {read_back} of the written
keys are read back through each node (ZooKeeper: after `sync`). One wrong, missing or refused answer makes
that system's run void. {void}

**°** marks figures where the generator used more CPU than all servers together: there the generator is
measured as much as the system, and nothing is claimed.
"""
READ_BACK: Final = 30  # as in generator/main.c


def write(out: Path, result: Mapping[str, Any]) -> str:
    """Write `benchmarks.md`, and charts and JSON into `benchmarks/`, below `out`; return the page."""
    folder = out / "benchmarks"
    folder.mkdir(parents=True, exist_ok=True)
    for name, drawing in drawings(result).items():
        (folder / f"{name}.svg").write_text(drawing, encoding="utf-8")
    (folder / "reference.json").write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    text = page(result)
    (out / "benchmarks.md").write_text(text, encoding="utf-8")
    return text


def drawings(result: Mapping[str, Any]) -> dict[str, str]:
    """Return every chart by its name."""
    figures, systems = from_json(result["figures"]), list(result["systems"])
    middle = middle_of(figures)
    costs_of = {
        KINDS[figure.load]: {name: figure.median(name, "server_us") or 0.0 for name in systems}
        for figure in figures
        if figure.connections == middle
    }
    return {
        "throughput-latency": charts.throughput_latency(figures, systems),
        "percentiles": charts.percentiles(figures, systems, middle),
        "cpu": charts.bars(f"CPU of all servers per request, {middle} connections", costs_of, "µs"),
        "memory": charts.bars("Memory of all servers together (RSS)", memory_groups(result), "MB"),
    }


def middle_of(figures: list[Figure]) -> int:
    """The number of connections that charts with one of them show: 64, or what is nearest."""
    return min({figure.connections for figure in figures}, key=lambda count: abs(count - 64))


def memory_groups(result: Mapping[str, Any]) -> dict[str, dict[str, float]]:
    """RSS in MB, by what was in the systems."""
    idle, keys = result["idle"], result["run"]["keys"]
    groups = {
        "empty": {name: each["empty_mb"] for name, each in idle.items()},
        f"{keys:,} keys, after all loads": {name: each["loaded_mb"] for name, each in idle.items()},
    }
    if memory := result.get("memory"):
        name = f"{memory['keys']:,} keys, loaded from empty"
        groups[name] = {name: each["loaded_mb"] for name, each in memory["systems"].items()}
    return groups


def page(result: Mapping[str, Any]) -> str:
    """Return the whole page as Markdown."""
    figures, systems = from_json(result["figures"]), list(result["systems"])
    others = [name for name in systems if name != OURS]
    middle = middle_of(figures)
    sections = [
        HEAD,
        label(result, figures),
        "## What is compared\n",
        promises(result),
        UNLIKE,
        "## Throughput\n",
        "![throughput against latency](benchmarks/throughput-latency.svg)\n",
        "Requests per second:\n",
        rates(figures, systems) + "\n",
        *_comparison(figures, systems, others),
        "## Latency\n",
        f"![percentiles with {middle} connections](benchmarks/percentiles.svg)\n",
        "p50 / p99 / p99.9 in ms:\n",
        latencies(figures, systems) + "\n",
        "## CPU\n",
        "![CPU per request](benchmarks/cpu.svg)\n",
        "User and system time of all servers per request in µs (in parentheses: the generator's):\n",
        costs(figures, systems) + "\n",
        "## Memory\n",
        "![memory](benchmarks/memory.svg)\n",
        memory_text(result),
        "## How it was measured\n",
        method(result, figures),
        machine_table(result),
    ]
    return "\n".join(sections)


def _comparison(figures: list[Figure], systems: list[str], others: list[str]) -> list[str]:
    if OURS not in systems or not others:
        return []
    words = "Ringkeep's requests per second over those of each other system (median, lowest to highest):\n"
    return [words, comparison(figures, OURS, others) + "\n"]


def label(result: Mapping[str, Any], figures: list[Figure]) -> str:
    """Say when it was, of what, and how far it can be trusted."""
    run, cores = result["run"], result["machine"]["cores"]
    foreign, idle = (median_share(figures, what, cores) for what in ("foreign_cpu", "idle_cpu"))
    lines = [f"Measured on {run['date']}, of commit {run['commit']}, in {run['took_s'] / 60:.0f} minutes."]
    if run["rounds"] < ENOUGH_ROUNDS:
        lines.append(
            f"**This is a short run** ({run['rounds']} rounds of {run['seconds']:g} s): it shows that all "
            f"works, and its figures are rough."
        )
    if foreign > BUSY:
        lines.append(
            f"**The machine was busy with other work**, which took {foreign:.0%} of its processors (median "
            f"over the runs). Throughput is too low, and latencies are too high; ratios within a round "
            f"suffer less."
        )
    else:
        lines.append(f"Other work took {foreign:.1%} of the processors (median over the runs).")
    lines.append(f"The systems that waited for their turn took {idle:.1%}.")
    return "\n".join(f"> {line}" for line in lines) + "\n"


def promises(result: Mapping[str, Any]) -> str:
    rows = [
        [name, each["version"], each["settings"], each["writes"], each["reads"]]
        for name, each in result["systems"].items()
    ]
    head = ["system", "version", "settings", "a write is answered after", "a read is answered by"]
    rule = "|" + "---|" * len(head)
    return (
        "\n".join(["| " + " | ".join(head) + " |", rule, *("| " + " | ".join(row) + " |" for row in rows)])
        + "\n"
    )


def memory_text(result: Mapping[str, Any]) -> str:
    """What the processes of each system have in memory."""
    idle = result["idle"]
    rows = [
        [name, str(each["processes"]), shown(each["empty_mb"], 0), shown(each["loaded_mb"], 0)]
        for name, each in idle.items()
    ]
    head = ["system", "processes", "empty", f"{result['run']['keys']:,} keys, after all loads"]
    text = "Resident memory (RSS) of all servers of a system together, in MB (10⁶ bytes):\n\n" + grid(
        head, rows
    )
    text += "\n\nA Java process keeps what its heap once took, up to its limit.\n"
    memory = result.get("memory")
    if not memory:
        return text + "Memory with 1 M keys was not measured in this run (`--memory` does).\n"
    rows = [
        [name, *(shown(each[what], 0) for what in ("empty_mb", "loaded_mb", "disk_mb", "seconds"))]
        for name, each in memory["systems"].items()
    ]
    text += f"\n{memory['keys']:,} keys with values of 128 bytes, loaded into an empty system over "
    text += f"{memory['connections']} connections, each key written to three nodes:\n\n"
    return text + grid(["system", "empty, MB", "loaded, MB", "on disk, MB", "loading, s"], rows) + "\n"


def method(result: Mapping[str, Any], figures: list[Figure]) -> str:
    run, void = result["run"], void_runs(figures)
    words = "No run of this page was void."
    if void:
        words = f"Void in this run: {'; '.join(void[:VOID_SHOWN])}"
        words += f"; and {len(void) - VOID_SHOWN} more." if len(void) > VOID_SHOWN else "."
    return METHOD.format(
        keys=run["keys"], rounds=run["rounds"], seconds=run["seconds"], read_back=READ_BACK, void=words
    )


def machine_table(result: Mapping[str, Any]) -> str:
    """The machine, in plain rows."""
    rows = [f"| {name} | {value} |" for name, value in result["machine"].items()]
    return "\n".join(["| machine | |", "|---|---|", *rows]) + "\n"
