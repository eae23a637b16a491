"""`ringkeep recover`: recovery from the two losses that need an operator's decision.

`partition`: a majority of a partition's replicas is lost for good. `map`: ZooKeeper was wiped, or restored
from an older copy. An operator must decide, because the cluster cannot know whether the lost data comes back.
"""

from typing import Annotated

import typer

from ringkeep.cli.cluster import http_client
from ringkeep.cli.cluster.responses import Json, cell, items
from ringkeep.cli.terminal import options
from ringkeep.cli.terminal.failure import Failure
from ringkeep.cli.terminal.tables import show_json, show_table
from ringkeep.exit_codes import USAGE

RECOVER = "/v1/cluster/recover"
_FIELDS = ("partition", "gone", "left")

recover_commands = typer.Typer(
    help="Recover from losses that need a decision: a majority of replicas, or ZooKeeper's data.",
    epilog=options.examples(
        "ringkeep recover partition 17 --accept-loss --lost node-2 --lost node-3",
        "ringkeep recover map --zookeeper zk1:2181 --cluster shop --endpoint http://10.0.0.1:8000",
    ),
)


def register(app: typer.Typer) -> None:
    """Add these commands."""
    app.add_typer(recover_commands, name="recover")


@recover_commands.command(
    epilog=options.examples(
        "ringkeep partitions        # which have no quorum",
        "ringkeep recover partition 17 --accept-loss --lost node-2 --lost node-3",
        "ringkeep recover partition all --accept-loss --lost node-2 --lost node-3",
    )
)
def partition(
    which: Annotated[
        list[str], typer.Argument(metavar="P|all", help="Numbers of partitions; all: those that need it.")
    ],
    accept_loss: Annotated[
        bool,
        typer.Option("--accept-loss", help="Accept the loss of writes that only the lost replicas had."),
    ] = False,
    lost: Annotated[
        list[str] | None,
        typer.Option("--lost", metavar="NAME", help="A node that is lost for good; repeat it for each."),
    ] = None,
    endpoint: options.Endpoint = None,
    timeout: options.Timeout = "5s",
    as_json: options.Json = False,
) -> None:
    """Continue partitions with the best remaining copies after a majority of replicas was lost for good.

    Acknowledged writes may be lost. If any of the lost nodes can come back, start it instead: then nothing
    is lost, and the partition serves again by itself. Every node that does not answer must be named with
    --lost, and is given up. If it is alive nevertheless, the writes that it has acknowledged meanwhile are
    lost; its files are kept under another name.
    """
    partitions = _partitions(which)
    if not accept_loss:
        raise Failure(
            "nothing was changed: writes that only the lost replicas had would be lost for good; start their "
            "nodes if you can, else repeat this with --accept-loss",
            USAGE,
        )
    body = {"partitions": partitions, "accept_loss": True, "lost": lost or []}
    endpoints, timeout_ms = http_client.endpoints_of(endpoint), http_client.timeout_ms_of(timeout)
    answer = http_client.order(endpoints, RECOVER, timeout_ms, body)
    if as_json:
        show_json(answer)
        return
    rows = [[*(cell(row.get(field)) for field in _FIELDS), _home(row)] for row in items(answer, "partitions")]
    show_table(("PARTITION", "LOST", "COPIES", "CONTINUES WITH"), rows)
    print("check with: ringkeep partitions")


@recover_commands.command(
    name="map",
    epilog=options.examples(
        "ringkeep recover map --zookeeper zk1:2181 --cluster shop --endpoint http://10.0.0.1:8000",
        "ringkeep recover map --zookeeper zk1:2181 --cluster shop --data /var/lib/a --data /var/lib/b",
    ),
)
def recover_map(
    zookeeper: Annotated[
        str | None, typer.Option(metavar="HOSTS", help="The ZooKeeper to write to, as given to the nodes.")
    ] = None,
    cluster: Annotated[str | None, typer.Option(metavar="NAME", help="The cluster's name.")] = None,
    data: Annotated[
        list[str] | None, typer.Option(metavar="DIR", help="The directory of a stopped node.")
    ] = None,
    without: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME", help="A node that is lost for good: continue without its copy."),
    ] = None,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask before writing.")] = False,
    endpoint: options.Endpoint = None,
    timeout: options.Timeout = "5s",
) -> None:
    """Write the cluster map again after ZooKeeper was wiped, or restored from an older copy.

    Takes the newest copy that any node holds, and gives it a version and epochs above all that were ever
    used. Reads every node: running ones at the endpoints and at the addresses in the map, stopped ones from
    their directories. Asks before it writes.
    """
    from ringkeep.cli.map_recovery.run import run

    run({"zookeeper": zookeeper, "cluster": cluster}, endpoint, data or (), without or (), timeout, yes)


def _home(row: Json) -> str:
    empty = ", empty: no copy is left" if row.get("begins_empty") else ""
    return cell(row.get("goes_on_with")) + empty


def _partitions(which: list[str]) -> list[int] | str:
    if which == ["all"]:
        return "all"
    if not all(each.isascii() and each.isdecimal() for each in which):
        raise Failure("give partition numbers, or all; to list them: ringkeep partitions", USAGE)
    return sorted({int(each) for each in which})
