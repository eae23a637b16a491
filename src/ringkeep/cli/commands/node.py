"""`ringkeep node`: one node in the foreground. `ringkeep.settings` reads and checks its settings."""

from typing import Annotated, Any

import typer

from ringkeep.cli.terminal import options
from ringkeep.settings import SETTINGS, load_node_settings


def register(app: typer.Typer) -> None:
    """Add this command."""
    app.command(
        epilog=options.examples(
            "ringkeep node --name a --http 127.0.0.1:8000 --data ./a --expect 3 --zookeeper 127.0.0.1:2181",
            "RINGKEEP_ZOOKEEPER=zk1:2181,zk2:2181 ringkeep node --config node.toml",
        )
    )(node)


def _option(key: str) -> Any:
    setting = SETTINGS[key]
    return typer.Option(f"--{setting.flag}", metavar=setting.metavar, help=setting.help, show_default=False)


def node(
    name: Annotated[str | None, _option("name")] = None,
    http: Annotated[str | None, _option("http")] = None,
    peer: Annotated[str | None, _option("peer")] = None,
    advertise_http: Annotated[str | None, _option("advertise_http")] = None,
    advertise_peer: Annotated[str | None, _option("advertise_peer")] = None,
    data: Annotated[str | None, _option("data")] = None,
    zookeeper: Annotated[str | None, _option("zookeeper")] = None,
    cluster: Annotated[str | None, _option("cluster")] = None,
    expect: Annotated[str | None, _option("expect")] = None,
    replication: Annotated[str | None, _option("replication")] = None,
    partitions: Annotated[str | None, _option("partitions")] = None,
    zone: Annotated[str | None, _option("zone")] = None,
    weight: Annotated[str | None, _option("weight")] = None,
    allowed_hosts: Annotated[str | None, _option("allowed_hosts")] = None,
    config: Annotated[
        str | None, typer.Option(metavar="FILE", help="TOML with any of these settings.", show_default=False)
    ] = None,
    log_level: Annotated[str | None, _option("log_level")] = None,
    value_bytes: Annotated[str | None, _option("value_bytes")] = None,
    disk_reserve_bytes: Annotated[str | None, _option("disk_reserve_bytes")] = None,
    history_bytes: Annotated[str | None, _option("history_bytes")] = None,
    zookeeper_session_ms: Annotated[str | None, _option("zookeeper_session_ms")] = None,
) -> None:
    """Run one node in the foreground.

    Flags override RINGKEEP_* variables (the flag's name, `-` as `_`), these override --config, and that
    overrides the defaults. SIGTERM and Ctrl-C stop it gracefully, a second one at once.
    """
    settings = load_node_settings(locals())
    from ringkeep.server import run_node

    raise typer.Exit(run_node(settings))
