"""`ringkeep zookeeper`: one local ZooKeeper server in the foreground."""

import math
from typing import Annotated

import typer

from ringkeep import parsing
from ringkeep.cli.local.stop_signals import StopRequests
from ringkeep.cli.terminal import options
from ringkeep.cli.terminal.failure import Failure
from ringkeep.exit_codes import USAGE


def register(app: typer.Typer) -> None:
    """Add this command."""
    app.command(
        epilog=options.examples(
            "ringkeep zookeeper", "ringkeep zookeeper --port 2191 --data ./zookeeper-data"
        )
    )(zookeeper)


def zookeeper(
    port: Annotated[int, typer.Option(metavar="PORT", help="The port that clients connect to.")] = 2_181,
    data: Annotated[
        str, typer.Option(metavar="DIR", help="Its directory, kept between runs.")
    ] = "ringkeep-data/zookeeper",
) -> None:
    """Run one local ZooKeeper server in the foreground.

    Ctrl-C or SIGTERM stops it. It is for trials: a real deployment has an ensemble of its own.
    """
    if not 1 <= port <= parsing.MAX_PORT:
        raise Failure(f"--port: {port} is not a port; give one from 1 to {parsing.MAX_PORT}", USAGE)
    try:
        directory = parsing.directory(data)
    except ValueError as error:
        raise Failure(f"--data: {error}", USAGE) from None
    from ringkeep.coordination.server import ZooKeeperServer

    server = ZooKeeperServer(directory, port)
    with StopRequests() as stop:
        server.start()
        try:
            print(
                f"ZooKeeper serves on {server.hosts}, its data is in {directory}; Ctrl-C stops it", flush=True
            )
            stop.wait(lambda: server.pid is None, limit_s=math.inf)
            if not stop:
                raise Failure(f"ZooKeeper ended; see {directory / 'log'}")
        finally:
            server.stop()
