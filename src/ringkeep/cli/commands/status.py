"""`ringkeep status`, `members`, `partitions`, `ring` and `where`: print `/v1/cluster…` of any node."""

import os
from collections.abc import Mapping
from typing import Annotated, Any

import typer

from ringkeep.cli.cluster import health, http_client
from ringkeep.cli.cluster.cluster_poller import CLUSTER, MOVES
from ringkeep.cli.cluster.responses import cell, items, text
from ringkeep.cli.commands.moves import summary
from ringkeep.cli.terminal import options
from ringkeep.cli.terminal.failure import Failure
from ringkeep.cli.terminal.tables import show_json, show_table
from ringkeep.core.cluster.slots import ranges

_FEW = ("name", "http", "state", "primaries", "replicas")
_ALL = ("name", "http", "peer", "zone", "weight", "state", "primaries", "replicas", "version")

Wide = Annotated[bool, typer.Option("--wide", help="Show all columns, beyond the width of 80.")]


def register(app: typer.Typer) -> None:
    """Add these commands."""
    app.command(epilog=options.examples("ringkeep status", "ringkeep status --json"))(status)
    app.command(epilog=options.examples("ringkeep members", "ringkeep members --json"))(members)
    app.command(epilog=options.examples("ringkeep partitions", "ringkeep partitions --json"))(partitions)
    app.command(epilog=options.examples("ringkeep ring", "ringkeep ring --json"))(ring)
    app.command(epilog=options.examples("ringkeep where hello", "ringkeep where hello --json"))(where)


def status(
    wide: Wide = False,
    endpoint: options.Endpoint = None,
    timeout: options.Timeout = "5s",
    as_json: options.Json = False,
) -> None:
    """Show the cluster's health, what is missing, and the members.

    Ends with 0 if the cluster is healthy, 5 if it is degraded, 6 if some of it is unavailable.
    """
    cluster = http_client.get_json(endpoint, CLUSTER, timeout)
    if as_json:
        show_json(cluster)
    else:
        _show_status(cluster, _moves(endpoint, timeout), wide)
    raise typer.Exit(health.exit_code_of(cluster))


def _show_status(cluster: Mapping[str, Any], moves: str, wide: bool) -> None:
    print(
        f"cluster {text(cluster, 'cluster')} ({text(cluster, 'cluster_id')}): {text(cluster, 'health')}\n"
        f"map {text(cluster, 'map_version')}, controller {text(cluster, 'controller')}, "
        + (
            "coordination embedded"
            if cluster.get("coordination") == "embedded"
            else f"ZooKeeper {text(cluster, 'zookeeper')}"
        )
    )
    for line in health.lines_of(cluster):
        print(f"  {line}")
    if moves:
        print(moves)
    _show_members(cluster, wide)


def members(
    wide: Wide = False,
    endpoint: options.Endpoint = None,
    timeout: options.Timeout = "5s",
    as_json: options.Json = False,
) -> None:
    """Show the members of the cluster."""
    cluster = http_client.get_json(endpoint, CLUSTER, timeout)
    if as_json:
        show_json(items(cluster, "members"))
    else:
        _show_members(cluster, wide)


def partitions(
    endpoint: options.Endpoint = None, timeout: options.Timeout = "5s", as_json: options.Json = False
) -> None:
    """Show every partition: its epoch, primary, replicas and state."""
    answer = http_client.get_json(endpoint, f"{CLUSTER}/partitions", timeout)
    if as_json:
        show_json(answer)
        return
    headers = ("PARTITION", "EPOCH", "PRIMARY", "VOTERS", "LEAVING", "LEARNERS", "COMMIT", "STATE")
    fields = ("partition", "epoch", "primary", "voters", "old_voters", "learners", "commit", "state")
    show_table(headers, [[cell(part.get(name)) for name in fields] for part in items(answer, "partitions")])


def ring(
    endpoint: options.Endpoint = None, timeout: options.Timeout = "5s", as_json: options.Json = False
) -> None:
    """Show how the ring is distributed: which partitions each member leads."""
    answer = http_client.get_json(endpoint, f"{CLUSTER}/partitions", timeout)
    led: dict[str, list[int]] = {}
    held: dict[str, int] = {}
    for part in items(answer, "partitions"):
        led.setdefault(part.get("primary") or "", []).append(int(part["partition"]))
        for voter in part.get("voters") or ():
            held[voter] = held.get(voter, 0) + 1
    names = sorted(set(held) | set(led) - {""})
    if as_json:
        rows = [{"name": name, "replicas": held.get(name, 0), "leads": led.get(name, [])} for name in names]
        show_json({"members": rows, "without_primary": led.get("", [])})
        return
    table = [
        [name, str(len(led.get(name, []))), str(held.get(name, 0)), ", ".join(ranges(led.get(name, [])))]
        for name in names
    ]
    if "" in led:
        table.append(["(no primary)", str(len(led[""])), "–", ", ".join(ranges(led[""]))])
    show_table(("NAME", "PRIMARIES", "REPLICAS", "LEADS PARTITIONS"), table)


def where(
    key: options.Key,
    endpoint: options.Endpoint = None,
    timeout: options.Timeout = "5s",
    as_json: options.Json = False,
) -> None:
    """Show which nodes hold a key, whether or not the key exists."""
    answer = http_client.get_json(endpoint, f"{CLUSTER}/where", timeout, key=os.fsencode(key))
    if as_json:
        show_json(answer)
    else:
        fields = ("slot", "partition", "primary", "replicas")
        show_table(tuple(name.upper() for name in fields), [[cell(answer.get(name)) for name in fields]])


def _moves(endpoint: str | None, timeout: str) -> str:
    """Return the moves in one line, "" if there are none, or if the node has no such route (an older one)."""
    try:
        document = http_client.get_json(endpoint, MOVES, timeout)
    except Failure:
        return ""
    return summary(document) if items(document, "running") or items(document, "planned") else ""


def _show_members(cluster: Mapping[str, Any], wide: bool) -> None:
    fields = _ALL if wide else _FEW
    rows = [
        [*(cell(member.get(name)) for name in fields), cell(_trouble(member))]
        for member in items(cluster, "members")
    ]
    show_table((*(name.upper() for name in fields), "TROUBLE"), rows)


def _trouble(member: Mapping[str, Any]) -> list[str]:
    return [name.replace("_", " ") for name in ("damaged", "disk_full") if member.get(name)]
