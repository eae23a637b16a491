"""`ringkeep recover map`: writes the cluster map again into a ZooKeeper that has lost it.

Reads the copies, makes the next map from them, shows what it will do, and asks. `ringkeep.recovery` decides
what the map must be.
"""

import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import typer

from ringkeep import parsing
from ringkeep.cli.cluster import http_client
from ringkeep.cli.map_recovery.copies import gather
from ringkeep.cli.map_recovery.znode import opened
from ringkeep.cli.terminal.failure import Failure
from ringkeep.cli.terminal.tables import show_table
from ringkeep.core.protocol.cluster_map import ClusterMap
from ringkeep.exit_codes import USAGE
from ringkeep.recovery import CannotRecover, MapCopy, Recovery, newest_of, plan
from ringkeep.settings import DEFAULT_CLUSTER, DEFAULT_ZOOKEEPER, SETTINGS, Layers


def run(
    flags: Mapping[str, str | None],
    endpoint: str | None,
    directories: Sequence[str],
    without: Sequence[str],
    timeout: str,
    yes: bool,
) -> None:
    """Carry the command out; `flags` may hold "zookeeper" and "cluster". Raises Failure, CannotRecover."""
    layers = Layers({key: SETTINGS[key] for key in ("zookeeper", "cluster")}, flags, os.environ)
    hosts = layers.get("zookeeper") or DEFAULT_ZOOKEEPER
    cluster = layers.get("cluster") or DEFAULT_CLUSTER
    timeout_ms = http_client.timeout_ms_of(timeout)
    copies, silent = gather(_endpoints(endpoint, directories), map(_directory, directories), timeout_ms)
    try:
        _check_name(newest_of(copies), cluster)
        with opened(hosts, cluster) as register:
            stored, version = register.read()
            recovery = plan(copies, stored, without)
            _show(copies, silent, stored, hosts, recovery)
            _confirm(yes)
            register.write(recovery.next_map, version)
    except CannotRecover:
        for line in silent:
            print(f"ringkeep: not read: {line}", file=sys.stderr)
        raise
    print(
        f"map {recovery.next_map.version} is written. Running nodes continue by themselves; start the stopped"
        " ones as usual. Check with: ringkeep status"
    )


def _endpoints(endpoint: str | None, directories: Sequence[str]) -> list[str]:
    """Return the first endpoints. With directories there is no default: it could be of another cluster."""
    if endpoint is None and directories and not os.environ.get(http_client.ENDPOINTS_VARIABLE):
        return []
    return http_client.endpoints_of(endpoint)


def _directory(text: str) -> Path:
    try:
        return parsing.directory(text)
    except ValueError as error:
        raise Failure(f"--data: {error}", USAGE) from None


def _check_name(newest: MapCopy, cluster: str) -> None:
    assert newest.held is not None, "the newest copy has a map"
    if newest.held.cluster != cluster:
        raise CannotRecover(
            f"the nodes belong to the cluster {newest.held.cluster}, not to {cluster}; check --cluster and"
            " --endpoint"
        )


def _show(
    copies: Sequence[MapCopy],
    silent: Sequence[str],
    stored: ClusterMap | None,
    hosts: str,
    recovery: Recovery,
) -> None:
    """Print which copies were read, what ZooKeeper holds, and what will be written."""
    rows = [[copy.source, "none" if copy.held is None else str(copy.held.version)] for copy in copies]
    show_table(("READ FROM", "MAP"), sorted(rows))
    for line in silent:
        print(f"not read: {line}")
    print(f"ZooKeeper at {hosts} holds {'no map' if stored is None else f'map {stored.version}'}")
    new = recovery.next_map
    print(
        f"map {new.version} of the cluster {new.cluster} ({new.cluster_id}) will be written there, made from"
        f" that of {recovery.newest.source}: the same replicas and primaries, under epochs that no node has"
        " promised yet"
    )
    for warning in recovery.warnings:
        print(f"warning: {warning}")
    sys.stdout.flush()


def _confirm(yes: bool) -> None:
    if yes:
        return
    if not (sys.stdin.isatty() and sys.stdout.isatty()):
        raise Failure(
            "nothing was written, as there is no terminal to ask; to write, repeat with --yes", USAGE
        )
    if not typer.confirm("Write it?"):
        raise Failure("nothing was written")
