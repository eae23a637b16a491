"""docs/client-benchmarks.md, made from the JSON of a run: nothing on the page is written by hand.

A run is what clients.py keeps: `run`, `machine`, `systems`, `clients`, `figures` and `memory`.
"""

import json
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final

from reporting.figures import KINDS, Figure, from_json, grid, median_share, shown, void_runs
from reporting.page import BUSY, ENOUGH_ROUNDS, VOID_SHOWN, machine_table, promises

NAME: Final = "client-benchmarks"
PLAIN: Final = "plain HTTP, each key's primary"
UNLED: Final = "plain HTTP, one node"

HEAD: Final = """\
# What a call costs in Python

<!-- Written by bench/reporting/client_page.py from the JSON of a run: the next run replaces it. -->

The processor time of one call, in the client and in all servers together: Ringkeep's clients, HTTP by hand,
and Python clients of etcd and Redis that do the same. `make bench-clients` measures; `make bench-clients
ARGS=--reference` also writes this page and {kept}. How much the systems
can do is in [benchmarks.md](benchmarks.md).
"""
KEPT: Final = f"[all figures]({NAME}.json)"

COLUMNS: Final = """\
µs are user and system time of one call: medians over the rounds, in parentheses the lowest and the highest.
**client**: of the client's process. **servers**: of all processes of its system, ZooKeeper's included, with
what they use while nobody asks. **of plain**: client and servers together, over those of plain HTTP to each
key's primary in the same round (median). **p50**: half of the calls took no longer.
"""

UNLIKE: Final = """\
- **plain HTTP** is a Python program with a socket and no library: requests are bytes that it formats, and of
  an answer it reads the status, the length and the body. No repeats, no time limits, no second node when one
  dies. Writes carry an `Idempotency-Key`, as the client's do. *One node*: it asks one of three, which
  forwards the calls for keys that others lead. *Each key's primary*: it was told the primaries beforehand.
- **Client** and **AsyncClient** are used with their defaults: they follow the map, repeat what fails, and
  name each write. They run as `pip` installs them, also where the servers' core is compiled.
- **etcd3** and **aetcd** speak gRPC, with one node: the leader, which is best for it. etcd3 is the known one,
  and blocks. Its last release has messages that only protobuf 3.20 and older reads, which for this Python
  is pure Python: a part of its cost. aetcd is asynchronous and kept up to date.
- **redis-py** asks the primary, without hiredis. A write is `SET` and `WAIT 1` in one packet.

What an answer promises differs, and a promise has its price:
"""

METHOD: Final = """\
Three nodes of each system, from empty, on one machine and one disk. Each client is a process of its own, with
{keys:,} keys and values of 128 bytes, one call after the other; with 64 tasks, 64 calls are under way. They
take turns (A B C …), first all with writes, then all with reads, {seconds:g} s each; the others wait. Rounds:
{rounds}. Clients of one system write and read the same keys.

**Every value is checked**: a read must return exactly what was written last. One wrong, missing or refused
answer makes a run void. {void}

The client's time is read by itself before and after (the clock of its process, all threads), the servers' by
the kernel's counters, from outside. All share the processors of one machine: calls per second and p50 are
what this machine had to give, and for writes its disk.
"""

RESTING: Final = """\
Resident memory (RSS) of a process in MB (10⁶ bytes), medians of {rounds} processes each. **interpreter**:
Python itself. **imports**: what the import of the library adds. **client at rest**: what is added by an open
client that has read {keys} keys once, from all nodes that it uses, and does nothing now; with 64 tasks, after
64 calls side by side; it takes first what imports have left free. What measures is left out.
"""


def write(out: Path, result: Mapping[str, Any]) -> str:
    """Write the page and the JSON below `out`; return the page."""
    out.mkdir(parents=True, exist_ok=True)
    (out / f"{NAME}.json").write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    return rewrite(out)


def rewrite(out: Path) -> str:
    """Write the page anew from the JSON that is below `out`, or one that says that there is none."""
    kept = out / f"{NAME}.json"
    text = page(json.loads(kept.read_text(encoding="utf-8")) if kept.exists() else None)
    (out / f"{NAME}.md").write_text(text, encoding="utf-8")
    return text


def page(result: Mapping[str, Any] | None) -> str:
    """Return the whole page as Markdown. None: there was no run."""
    if result is None:
        return HEAD.format(kept="all figures") + "\n> **Not measured yet.**\n"
    figures, run = from_json(result["figures"]), result["run"]
    names = list(result["clients"])
    sections = [HEAD.format(kept=KEPT), label(result, figures)]
    for figure in figures:
        sections += [f"## {KINDS[figure.load]}\n", costs(figure, names) + "\n"]
    sections += [COLUMNS, following(figures), "## Memory of a client at rest\n"]
    sections += [
        RESTING.format(rounds=len(result["memory"]), keys=run["resting_keys"]),
        resting(result) + "\n",
    ]
    sections += ["## What is compared\n", UNLIKE, promises(result), "## How it was measured\n"]
    sections += [METHOD.format(**_method(run, figures)), versions(result), machine_table(result)]
    return "\n".join(each for each in sections if each)


def figures_json(figures: Sequence[Figure]) -> list[dict[str, Any]]:
    """Every run; `from_json` reads it again. Medians are made when the page is."""
    return [
        {
            "load": figure.load,
            "connections": figure.connections,
            "rounds": [{name: asdict(sample) for name, sample in each.items()} for each in figure.rounds],
        }
        for figure in figures
    ]


def label(result: Mapping[str, Any], figures: Sequence[Figure]) -> str:
    """Say when it was, of what, and how far it can be trusted."""
    run, cores = result["run"], result["machine"]["cores"]
    foreign, idle = (median_share(figures, what, cores) for what in ("foreign_cpu", "idle_cpu"))
    lines = [
        f"Measured on {run['date']}, of commit {run['commit']}, in {run['took_s']:.0f} s; {run['core']}."
    ]
    if run["rounds"] < ENOUGH_ROUNDS or run["seconds"] < 1:
        lines.append(
            f"**This is a short run** ({run['rounds']} rounds of {run['seconds']:g} s): it shows that all "
            f"works, and its figures are rough."
        )
    if foreign > BUSY:
        lines.append(
            f"**The machine was busy with other work**, which took {foreign:.0%} of its processors (median "
            f"over the runs). Calls per second are too low, and times too high; ratios within a round suffer "
            f"less."
        )
    else:
        lines.append(f"Other work took {foreign:.1%} of the processors (median over the runs).")
    lines.append(f"Systems and clients that waited for their turn took {idle:.1%}.")
    return "\n".join(f"> {line}" for line in lines) + "\n"


def costs(figure: Figure, names: Sequence[str]) -> str:
    """One load on every client."""
    head = ["client", "client, µs", "servers, µs", "together, µs", "of plain", "calls/s", "p50, ms"]
    rows = [
        [
            name,
            spread(figure, name, "generator_us"),
            spread(figure, name, "server_us"),
            shown(_together(figure, name)),
            shown(ratio(figure, name, PLAIN), 2),
            shown(figure.median(name, "rate"), 0),
            shown(figure.median(name, "p50_ms"), 2),
        ]
        for name in names
    ]
    return grid(head, rows)


def spread(figure: Figure, name: str, what: str) -> str:
    """The median of an attribute of a `Sample`, and in parentheses the lowest and the highest."""
    values = [getattr(sample, what) for sample in figure.valid(name)]
    if not values:
        return "void" if any(name in each for each in figure.rounds) else "–"
    return f"{shown(statistics.median(values))} ({shown(min(values))}–{shown(max(values))})"


def _together(figure: Figure, name: str) -> float | None:
    values = [sample.generator_us + sample.server_us for sample in figure.valid(name)]
    return statistics.median(values) if values else None


def ratio(figure: Figure, name: str, other: str, servers_only: bool = False) -> float | None:
    """The median, over rounds in which both were right, of one's processor time over the other's."""
    found = []
    for each in figure.rounds:
        pair = [each[one] for one in (name, other) if one in each and not each[one].faults]
        if len(pair) == 2:
            above, below = (one.server_us + (0 if servers_only else one.generator_us) for one in pair)
            found += [above / below] if below else []
    return statistics.median(found) if found else None


def following(figures: Sequence[Figure]) -> str:
    """What it saves to ask each key's primary, in the servers; "" if that was not measured."""
    parts = []
    for figure in figures:
        share = ratio(figure, PLAIN, UNLED, servers_only=True)
        if share is not None:
            parts.append(f"{share:.2f} for {KINDS[figure.load]}")
    if not parts:
        return ""
    return (
        f"**What following the map saves**: the servers' time for plain HTTP to each key's primary is "
        f"{' and '.join(parts)} of that through one node (median of the rounds).\n"
    )


def resting(result: Mapping[str, Any]) -> str:
    """Memory in MB: of the bare process, and what is added."""
    rows = []
    for name in result["clients"]:
        found = [each[name] for each in result["memory"] if name in each]
        bare = statistics.median(each["bare"] for each in found)
        imports = statistics.median(each["imported"] - each["bare"] for each in found)
        client = statistics.median(each["rest"] - each["before"] for each in found)
        whole = bare + imports + client  # without what measures it
        rows.append([name, shown(bare, 1), f"+ {imports:.1f}", f"+ {client:.1f}", shown(whole, 1)])
    return grid(["client", "interpreter", "imports", "client at rest", "together"], rows)


def versions(result: Mapping[str, Any]) -> str:
    """The versions of all libraries, as they said themselves."""
    rows = {
        ", ".join(f"{name} {version}" for name, version in each["versions"].items())
        for each in result["clients"].values()
    }
    return f"Libraries: {'; '.join(sorted(rows - {''}))}.\n"


def _method(run: Mapping[str, Any], figures: Sequence[Figure]) -> dict[str, Any]:
    void, words = void_runs(figures), "No run of this page was void."
    if void:
        words = f"Void in this run: {'; '.join(void[:VOID_SHOWN])}"
        words += f"; and {len(void) - VOID_SHOWN} more." if len(void) > VOID_SHOWN else "."
    return {"keys": run["keys"], "rounds": run["rounds"], "seconds": run["seconds"], "void": words}
