"""`ringkeep watch`: the changes of keys, as they are committed."""

import json
from typing import Annotated, Any

import typer

from ringkeep.cli.cluster import http_client
from ringkeep.cli.cluster.change_stream import ChangeStream
from ringkeep.cli.cluster.key_requests import key_bytes
from ringkeep.cli.terminal import options


def register(app: typer.Typer) -> None:
    """Add this command."""
    app.command(
        epilog=options.examples(
            "ringkeep watch",
            "ringkeep watch user/ --values",
            "ringkeep watch user/ --json --after AX6…",
        )
    )(watch)


def watch(
    prefix: Annotated[str, typer.Argument(metavar="[PREFIX]", help="Keys that begin with this.")] = "",
    values: Annotated[bool, typer.Option("--values", help="With the values of puts.")] = False,
    after: Annotated[
        str,
        typer.Option(
            "--after",
            metavar="CURSOR",
            help="Go on after this cursor, of a bookmark (--json) or a listing. Without it: from now on.",
        ),
    ] = "now",
    endpoint: options.Endpoint = None,
    timeout: options.Timeout = "5s",
    as_json: options.Json = False,
) -> None:
    """Show every committed change of the keys with a prefix, until it is interrupted.

    One line for each change: what happened (put, touch, delete or expire), key, version and, with --values,
    the value, with tabs between them. If its node ends, it goes on through another: nothing is left out, and
    nothing comes twice. With --json the lines are JSON, bookmarks with their cursor among them.
    """
    endpoints = http_client.endpoints_of(endpoint)
    first_s = http_client.timeout_ms_of(timeout) / 1_000
    begin = key_bytes(prefix) if prefix else b""
    for document in ChangeStream(endpoints, begin, values, after, first_s).documents():
        if as_json:
            print(json.dumps(document, ensure_ascii=False), flush=True)
        elif document["event"] != "bookmark":
            print(_line(document, values), flush=True)


def _line(document: dict[str, Any], values: bool) -> str:
    parts = [document["event"], _text(document, "key"), str(document["version"])]
    if values and document["event"] == "put":
        parts.append(_text(document, "value"))
    return "\t".join(parts)


def _text(document: dict[str, Any], name: str) -> str:
    """Return text as one line, without what a terminal would obey."""
    text = document.get(name)
    if text is None:
        return f"base64:{document[f'{name}_base64']}"
    return "".join(each if each.isprintable() else each.encode("unicode_escape").decode() for each in text)
