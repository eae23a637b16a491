"""`ringkeep put`, `get` and `delete`: one key at a time, through any node. `delete` takes a prefix too."""

import sys
from typing import Annotated

import typer

from ringkeep.cli.cluster import http_client
from ringkeep.cli.cluster.key_ranges import key_range
from ringkeep.cli.cluster.key_requests import (
    checked_ttl,
    condition,
    key_bytes,
    not_found,
    print_value,
    refused,
    shown,
    shown_key,
    value_bytes,
    write,
)
from ringkeep.cli.cluster.range_deletion import RangeDeletion
from ringkeep.cli.terminal import options
from ringkeep.cli.terminal.failure import Failure
from ringkeep.cli.terminal.progress_line import ProgressLine
from ringkeep.cli.terminal.tables import show_json
from ringkeep.cli.terminal.units import duration
from ringkeep.exit_codes import USAGE


def register(app: typer.Typer) -> None:
    """Add these commands."""
    app.command(
        epilog=options.examples(
            "ringkeep put hello world",
            "ringkeep put session 'of Ada' --ttl 30s",
            "ringkeep put picture --file photo.jpg",
            "echo -n world | ringkeep put hello",
            "ringkeep put hello there --if-version 7",
        )
    )(put)
    app.command(
        epilog=options.examples(
            "ringkeep get hello",
            "ringkeep get picture > photo.jpg",
            "ringkeep get session --verbose",
            "ringkeep get hello --json",
        )
    )(get)
    app.command(
        epilog=options.examples(
            "ringkeep delete hello",
            "ringkeep delete hello --if-version 7",
            "ringkeep delete --prefix order-2024-",
            "ringkeep delete --all",
        )
    )(delete)


def put(
    key: options.Key,
    value: options.Value = None,
    file: options.ValueFile = None,
    ttl: Annotated[
        str | None,
        typer.Option(
            "--ttl",
            metavar="TIME",
            help="Delete it after this time, like 500ms, 30s, 5m, 2h or 7d; keep: after what is left of its "
            "time. Without it the key lives for ever.",
        ),
    ] = None,
    if_version: options.IfVersion = None,
    if_absent: options.IfAbsent = False,
    endpoint: options.Endpoint = None,
    timeout: options.Timeout = "5s",
    as_json: options.Json = False,
) -> None:
    """Store a value under a key."""
    headers = {"Content-Type": "application/octet-stream"} | condition(if_version, if_absent)
    query = "" if ttl is None else f"ttl={checked_ttl('--ttl', ttl, keeps=True)}"
    answer = write("PUT", key, endpoint, timeout, headers, value_bytes(value, file), query)
    if answer.status not in (200, 201):
        raise refused(answer)
    if as_json:
        created = answer.status == 201
        show_json({"status": "Success", **shown_key(key), "version": answer.version, "created": created})
    elif sys.stdout.isatty():
        print(f"stored, version {answer.version}")


def get(
    key: options.Key,
    stale: Annotated[
        bool, typer.Option("--stale", help="Any replica may answer, perhaps with an old value.")
    ] = False,
    verbose: Annotated[
        bool,
        typer.Option(
            "--verbose", "-v", help="Say version, content type and time to live, on standard error."
        ),
    ] = False,
    endpoint: options.Endpoint = None,
    timeout: options.Timeout = "5s",
    as_json: options.Json = False,
) -> None:
    """Write the value of a key to standard output, exactly its bytes. Exit code 3: there is no such key.

    On a terminal a newline is added to a value that does not end with one. With --json, "ttl" are the
    milliseconds that the key still lives.
    """
    target = http_client.path_of(key_bytes(key)) + ("?consistency=stale" if stale else "")
    request = http_client.HttpRequest(
        "GET", target, timeout_ms=http_client.timeout_ms_of(timeout), tell_deadline=True
    )
    answer = http_client.send(http_client.endpoints_of(endpoint), request)
    if answer.status == 404:
        raise not_found(key)
    if answer.status != 200:
        raise http_client.refuse(answer, is_write=False)
    ttl_ms = answer.ttl_ms
    if as_json:
        left = {} if ttl_ms is None else {"ttl": ttl_ms}
        show_json({**shown_key(key), **shown("value", answer.body), "version": answer.version, **left})
        return
    if verbose:
        lives = "lives for ever" if ttl_ms is None else f"expires in {duration(ttl_ms / 1_000)}"
        kind = answer.headers.get("content-type", "")
        print(f"version {answer.version}, {kind}, {lives}", file=sys.stderr)
    print_value(answer.body)


def delete(
    key: Annotated[str | None, typer.Argument(metavar="[KEY]", help="The key, 1 to 1024 bytes.")] = None,
    prefix: Annotated[
        str | None, typer.Option("--prefix", metavar="P", help="Delete all keys that begin with this.")
    ] = None,
    everything: Annotated[
        bool, typer.Option("--all", help="Delete all keys, or those of --after and --before.")
    ] = False,
    after: options.After = None,
    before: options.Before = None,
    until: Annotated[
        str | None,
        typer.Option(
            "--until", metavar="TEXT", help="Go on with a deletion that was broken off: what it has said."
        ),
    ] = None,
    if_version: options.IfVersion = None,
    endpoint: options.Endpoint = None,
    timeout: options.Timeout = "5s",
    as_json: options.Json = False,
) -> None:
    """Delete a key, or all keys with a prefix. Exit code 3: there is no such key.

    By prefix, the keys go that are there when it begins. What is written later stays, also where a request
    is repeated because its answer was lost. If it is broken off, standard error says how to go on. --timeout
    is how long it may take without coming any further.
    """
    if (key is not None) + (prefix is not None) + everything != 1:
        raise Failure("give a KEY, or --prefix, or --all (see: ringkeep delete --help)", USAGE)
    if key is None:
        if prefix == "":
            raise Failure("every key has the empty prefix; give --all if that is meant", USAGE)
        if if_version is not None:
            raise Failure("--if-version is for one KEY", USAGE)
        wanted = key_range(prefix, after, before)
        endpoints, timeout_ms = http_client.endpoints_of(endpoint), http_client.timeout_ms_of(timeout)
        _delete_range(RangeDeletion(endpoints, wanted, timeout_ms, until), as_json)
        return
    if (after, before, until) != (None, None, None):
        raise Failure("--after, --before and --until are for --prefix and --all", USAGE)
    answer = write("DELETE", key, endpoint, timeout, condition(if_version))
    if answer.status == 404:
        if as_json:
            show_json({"status": "Success", **shown_key(key), "deleted": False})
        raise not_found(key)
    if answer.status not in (200, 204):
        raise refused(answer)
    if as_json:
        show_json({"status": "Success", **shown_key(key), "deleted": True})
    elif sys.stdout.isatty():
        print("deleted")


def _delete_range(deletion: RangeDeletion, as_json: bool) -> None:
    with ProgressLine() as progress:
        while not deletion.complete:
            deletion.step()
            progress.show(f"{deletion.deleted:,} keys deleted so far")
    if as_json:
        unknown = {"unknown": deletion.unknown} if deletion.unknown else {}
        lost = {"at_least": True} if deletion.lost else {}
        show_json({"status": "Success", "deleted": deletion.deleted, **unknown, **lost})
    else:
        print(deletion.told())
