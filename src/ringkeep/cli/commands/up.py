"""`ringkeep up`: a whole cluster on this machine, in the foreground.

`local.settings` reads its settings; `local.cluster` starts, watches and stops the processes.
"""

import os
from typing import Annotated, Any

import typer

from ringkeep.cli.local.settings import UP_SETTINGS, load_up_settings
from ringkeep.cli.terminal import options


def register(app: typer.Typer) -> None:
    """Add this command."""
    app.command(
        epilog=options.examples("ringkeep up", "ringkeep up --nodes 3 --base-port 9000 --data /tmp/try")
    )(up)


def _option(key: str) -> Any:
    setting = UP_SETTINGS[key]
    return typer.Option(f"--{setting.flag}", metavar=setting.metavar, help=setting.help, show_default=False)


def up(
    nodes: Annotated[str | None, _option("nodes")] = None,
    replication: Annotated[str | None, _option("replication")] = None,
    partitions: Annotated[str | None, _option("partitions")] = None,
    base_port: Annotated[str | None, _option("base_port")] = None,
    data: Annotated[str | None, _option("data")] = None,
    zookeeper: Annotated[str | None, _option("zookeeper")] = None,
    zookeeper_port: Annotated[str | None, _option("zookeeper_port")] = None,
    cluster: Annotated[str | None, _option("cluster")] = None,
    allowed_hosts: Annotated[str | None, _option("allowed_hosts")] = None,
) -> None:
    """Run a cluster on this machine in the foreground: ZooKeeper and each node as its own process.

    Waits until all nodes are ready. Ctrl-C or SIGTERM stops everything; a second one stops it at once. The
    data stays, and the next `ringkeep up` on the same directory continues with it. Nodes that have left the
    cluster are not started again.
    """
    settings = load_up_settings(locals(), os.environ)
    from ringkeep.cli.local.cluster import run_up

    raise typer.Exit(run_up(settings))
