"""`ringkeep dev`: a node that is alone, in one process, for development."""

from typing import Annotated, Any

import typer

from ringkeep.cli.terminal import options
from ringkeep.settings import DEV_SETTINGS, load_dev_settings


def register(app: typer.Typer) -> None:
    """Add this command."""
    app.command(
        epilog=options.examples("ringkeep dev", "ringkeep dev --http 127.0.0.1:9000 --data /tmp/try")
    )(dev)


def _option(key: str) -> Any:
    setting = DEV_SETTINGS[key]
    return typer.Option(f"--{setting.flag}", metavar=setting.metavar, help=setting.help, show_default=False)


def dev(
    http: Annotated[str | None, _option("http")] = None,
    data: Annotated[str | None, _option("data")] = None,
    partitions: Annotated[str | None, _option("partitions")] = None,
    allowed_hosts: Annotated[str | None, _option("allowed_hosts")] = None,
    log_level: Annotated[str | None, _option("log_level")] = None,
    value_bytes: Annotated[str | None, _option("value_bytes")] = None,
    disk_reserve_bytes: Annotated[str | None, _option("disk_reserve_bytes")] = None,
    history_bytes: Annotated[str | None, _option("history_bytes")] = None,
) -> None:
    """Run one node for development: one process, one port, no ZooKeeper and no Java.

    It has everything that a node of a cluster has, and keeps what it acknowledged, but it is the only copy:
    it tolerates no failure, and never joins a cluster. Flags override RINGKEEP_* variables. Ctrl-C or SIGTERM
    stops it; the data stays.
    """
    settings = load_dev_settings(locals())
    from ringkeep.server import run_node

    raise typer.Exit(run_node(settings))
