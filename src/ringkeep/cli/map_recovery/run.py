"""`ringkeep recover map`: writes the cluster map anew into a ZooKeeper that has lost it.

Gathers the copies, has the next map made of them, shows what it will do, and asks. What the map has to be is
`ringkeep.recovery`.
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
            found, version = register.read()
            recovery = plan(copies, found, without)
            _show(copies, silent, found, hosts, recovery)
            _confirm(yes)
            register.write(recovery.next_map, version)
    except CannotRecover:
        for line in silent:
            print(f"ringkeep: not read: {line}", file=sys.stderr)
        raise
    print(
        f"map {recovery.next_map.version} is written. Nodes that run go on by themselves; start those that"
        " are stopped, as always. Look: ringkeep status"
    )


def _endpoints(endpoint: str | None, directories: Sequence[str]) -> list[str]:
    """Return whom to ask first. Beside directories the default is nobody: it could be another cluster's."""
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
    copies: Sequence[MapCopy], silent: Sequence[str], found: ClusterMap | None, hosts: str, recovery: Recovery
) -> None:
    """Say what was found, and what is about to be done."""
    rows = [[copy.source, "none" if copy.held is None else str(copy.held.version)] for copy in copies]
    show_table(("READ FROM", "MAP"), sorted(rows))
    for line in silent:
        print(f"not read: {line}")
    print(f"ZooKeeper at {hosts} holds {'no map' if found is None else f'map {found.version}'}")
    new = recovery.next_map
    print(
        f"map {new.version} of the cluster {new.cluster} ({new.cluster_id}) will be written there, made from"
        f" that of {recovery.newest.source}: the same replicas and primaries, under epochs that nobody has"
        " promised yet"
    )
    for warning in recovery.warnings:
        print(f"warning: {warning}")
    sys.stdout.flush()


def _confirm(yes: bool) -> None:
    if yes:
        return
    if not (sys.stdin.isatty() and sys.stdout.isatty()):
        raise Failure("nothing was written; repeat it with --yes if that is what you want", USAGE)
    if not typer.confirm("Write it?"):
        raise Failure("nothing was written")
