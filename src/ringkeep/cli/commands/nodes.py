"""`ringkeep drain`, `undrain`, `decommission`, `forget`, `weight` and `settings`: the operator's orders.

Any node accepts an order; the controller carries it out. `drain` and `decommission` wait until it is done.
"""

import time
from typing import Annotated, Final
from urllib.parse import quote

import typer

from ringkeep.cli.cluster import http_client, wait
from ringkeep.cli.cluster.cluster_poller import CLUSTER, ClusterPoller
from ringkeep.cli.cluster.conditions import Drained, GivenUp, Left
from ringkeep.cli.cluster.responses import Json, cell
from ringkeep.cli.terminal import options
from ringkeep.cli.terminal.failure import Failure
from ringkeep.cli.terminal.tables import show_json, show_table
from ringkeep.cli.terminal.units import duration
from ringkeep.core.protocol.limits import WEIGHTS
from ringkeep.exit_codes import USAGE

SETTINGS: Final = "/v1/cluster/settings"
WATCH: Final = "watch it with: ringkeep moves --watch"

Name = Annotated[str, typer.Argument(metavar="NAME", help="The node's name.")]
NoWait = Annotated[bool, typer.Option("--no-wait", help="Return once the order is accepted.")]


def register(app: typer.Typer) -> None:
    """Add these commands."""
    app.command(epilog=options.examples("ringkeep drain node-3", "ringkeep drain node-3 --no-wait"))(drain)
    app.command(epilog=options.examples("ringkeep undrain node-3"))(undrain)
    app.command(
        epilog=options.examples(
            "ringkeep plan leave node-3        # what it would move",
            "ringkeep decommission node-3",
            "ringkeep decommission node-3 --dead",
        )
    )(decommission)
    app.command(epilog=options.examples("ringkeep forget node-3~0a1b2c3d"))(forget)
    app.command(epilog=options.examples("ringkeep weight node-3 2"))(weight)
    app.command(
        epilog=options.examples(
            "ringkeep settings", "ringkeep settings moves_at_once=4 move_bytes_per_s=20000000"
        )
    )(settings)


def drain(
    name: Name,
    no_wait: NoWait = False,
    endpoint: options.Endpoint = None,
    timeout: options.Timeout = "5s",
    as_json: options.Json = False,
) -> None:
    """Hand a node's primaries to other nodes, and wait until it leads nothing; it keeps its replicas.

    For maintenance: stopping the node afterwards does not interrupt requests.
    """
    poller = _poller(endpoint, timeout)
    poller.cluster()
    member = _order(poller, name, "drain")
    if not no_wait:
        go_on = f"the order stands; check with: ringkeep status, cancel it with: ringkeep undrain {name}"
        _wait(poller, Drained(poller, member), name, go_on, as_json)
    elif as_json:
        show_json({"node": member})
    else:
        print(f"{name} is being drained; check with: ringkeep status")


def undrain(
    name: Name,
    endpoint: options.Endpoint = None,
    timeout: options.Timeout = "5s",
    as_json: options.Json = False,
) -> None:
    """Cancel a drain or a decommission: the node stays, and leads partitions again."""
    member = _order(_poller(endpoint, timeout), name, "undrain")
    if as_json:
        show_json({"node": member})
    else:
        print(f"{name} stays, and gets its primaries back gradually")


def decommission(
    name: Name,
    dead: Annotated[
        bool,
        typer.Option("--dead", help="The node is lost for good: rebuild its replicas on other nodes."),
    ] = False,
    no_wait: NoWait = False,
    endpoint: options.Endpoint = None,
    timeout: options.Timeout = "5s",
    as_json: options.Json = False,
) -> None:
    """Move all replicas off a node, remove it from the cluster, and wait until it has left.

    The node's process ends when it holds nothing any more. Requests are served meanwhile.
    """
    poller = _poller(endpoint, timeout)
    poller.cluster()
    member = _order(poller, name, "decommission", {"dead": True} if dead else None)
    if not no_wait:
        goal = GivenUp if dead else Left
        go_on = f"the order stands; {WATCH}" + ("" if dead else f", cancel it with: ringkeep undrain {name}")
        _wait(poller, goal(poller, member), name, go_on, as_json)
    elif as_json:
        show_json({"node": member})
    else:
        print(f"{name} {'is given up for dead' if dead else 'is leaving'}; {WATCH}")


def forget(
    name: Name,
    endpoint: options.Endpoint = None,
    timeout: options.Timeout = "5s",
    as_json: options.Json = False,
) -> None:
    """Remove a dead node from all lists; it must hold nothing, and have been given up or replaced.

    This happens automatically after `forget_ms`. If the node comes back, it learns that it was given up.
    """
    member = _order(_poller(endpoint, timeout), name, "forget")
    if as_json:
        show_json({"node": member})
    else:
        print(f"{name} is being forgotten; check with: ringkeep members")


def weight(
    name: Name,
    share: Annotated[
        int,
        typer.Argument(
            metavar="W",
            min=WEIGHTS[0],
            max=WEIGHTS[-1],
            help="Its share of the data, relative to the others'.",
        ),
    ],
    endpoint: options.Endpoint = None,
    timeout: options.Timeout = "5s",
    as_json: options.Json = False,
) -> None:
    """Change a node's share of the data."""
    member = _order(_poller(endpoint, timeout), name, "weight", {"weight": share})
    if as_json:
        show_json({"node": member})
    else:
        print(f"{name} gets the weight {share}; {WATCH}")


def settings(
    changes: Annotated[
        list[str] | None, typer.Argument(metavar="[NAME=VALUE]...", help="Settings to change.")
    ] = None,
    endpoint: options.Endpoint = None,
    timeout: options.Timeout = "5s",
    as_json: options.Json = False,
) -> None:
    """Show the cluster's settings; change those that are given first.

    moves_at_once: how many partitions change their replicas at a time. move_bytes_per_s: how fast one node
    sends for moves, 0: no limit. grace_ms: how long a node may be silent before it counts as lost.
    forget_ms: how long a dead node that holds nothing is still listed.
    replication: copies of each key, 1, 3 or 5.
    """
    wanted = dict(_setting(change) for change in changes or ())
    if len(wanted) < len(changes or ()):
        raise Failure("a setting is given twice, nothing was changed; give each once", USAGE)
    if wanted:
        answer = _poller(endpoint, timeout).order(SETTINGS, wanted, method="PATCH")
    else:
        answer = http_client.get_json(endpoint, SETTINGS, timeout)
    values = answer.get("settings")
    if as_json:
        show_json(values)
    else:
        shown = values if isinstance(values, dict) else {}
        show_table(("NAME", "VALUE"), [[name, cell(value)] for name, value in shown.items()])


def _setting(change: str) -> tuple[str, int]:
    name, separator, value = change.partition("=")
    if not (name and separator and value.isascii() and value.isdecimal()):
        raise Failure(
            f"'{change}' is not NAME=VALUE with a whole number; write it like moves_at_once=4", USAGE
        )
    return name.replace("-", "_"), int(value)


def _poller(endpoint: str | None, timeout: str) -> ClusterPoller:
    return ClusterPoller(http_client.endpoints_of(endpoint), http_client.timeout_ms_of(timeout))


def _order(poller: ClusterPoller, name: str, verb: str, body: object = None) -> Json:
    """Give an order about a node, and return the node as a member. Raises Failure."""
    member = poller.order(f"{CLUSTER}/nodes/{quote(name, safe='')}/{verb}", body).get("node")
    return member if isinstance(member, dict) else {"name": name}


def _wait(poller: ClusterPoller, goal: wait.Goal, name: str, go_on: str, as_json: bool) -> None:
    """Wait until the order is done, and print what was done."""
    began = time.monotonic()
    said = wait.wait(poller, goal, go_on)
    spent = time.monotonic() - began
    if as_json:
        show_json({"name": name, "done": said, "seconds": round(spent, 3)})
    else:
        print(f"{said}, {duration(spent)}")
