"""`ringkeep add`, `append`, `swap`, `take`, `touch` and `persist`: one key, changed in one step."""

import base64
import json
import re
import sys
from typing import Annotated, Any

import typer

from ringkeep.cli.cluster.http_client import Answer, object_of
from ringkeep.cli.cluster.key_requests import (
    checked_ttl,
    condition,
    not_found,
    print_value,
    refused,
    shown,
    value_bytes,
    write,
)
from ringkeep.cli.terminal import options
from ringkeep.cli.terminal.failure import Failure
from ringkeep.cli.terminal.tables import show_json
from ringkeep.exit_codes import USAGE

Ttl = Annotated[
    str | None,
    typer.Option(
        "--ttl",
        metavar="TIME",
        help="Delete it after this time, like 500ms, 30s, 5m, 2h or 7d. Without it a time to live is kept.",
    ),
]
SwapTtl = Annotated[
    str | None,
    typer.Option(
        "--ttl",
        metavar="TIME",
        help="Delete it after this time, like 500ms, 30s, 5m, 2h or 7d; keep: after what is left of its "
        "time. Without it the key lives for ever.",
    ),
]


def register(app: typer.Typer) -> None:
    """Add these commands."""
    app.command(
        context_settings={"ignore_unknown_options": True},  # BY may be negative
        epilog=options.examples(
            "ringkeep add visits",
            "ringkeep add stock -3",
            "ringkeep add requests:10.0.0.7 --ttl 1m --if-absent",
            "ringkeep add tickets --initial 1000",
        ),
    )(add)
    app.command(
        epilog=options.examples(
            "ringkeep append log 'one more line'", "tail -1 /var/log/syslog | ringkeep append log"
        )
    )(append)
    app.command(epilog=options.examples("ringkeep swap config --file new.toml > old.toml"))(swap)
    app.command(epilog=options.examples("ringkeep take job", "ringkeep take job --if-version 7"))(take)
    app.command(epilog=options.examples("ringkeep touch session 30m"))(touch)
    app.command(epilog=options.examples("ringkeep persist session"))(persist)


def add(
    key: options.Key,
    by: Annotated[str, typer.Argument(metavar="[BY]", help="What is added; it may be negative.")] = "1",
    initial: Annotated[
        int,
        typer.Option(
            "--initial", metavar="N", help="What a key that does not exist counts as.", show_default=True
        ),
    ] = 0,
    ttl: Ttl = None,
    if_version: options.IfVersion = None,
    if_absent: options.IfAbsent = False,
    endpoint: options.Endpoint = None,
    timeout: options.Timeout = "5s",
    as_json: options.Json = False,
) -> None:
    """Add to a number, and print the sum. A key that does not exist is created.

    The value is a decimal integer of 64 bits; anything else is refused.
    """
    members = {"by": _whole(by), "initial": initial} | _ttl(ttl)
    answer = _operate("add", key, members, condition(if_version, if_absent), endpoint, timeout)
    if as_json:
        _show(answer)
    else:
        print(object_of(answer)["value"])


def _whole(text: str) -> int:
    """Read BY, and say what is wrong with an option that was taken for it."""
    if text.startswith("--"):
        raise Failure(f"no such option: {text} (see: ringkeep add --help)", USAGE)
    if not re.fullmatch(r"-?[0-9]{1,19}", text):
        raise Failure(f"BY: '{text}' is not a whole number of 64 bits", USAGE)
    return int(text)


def append(
    key: options.Key,
    value: options.Value = None,
    file: options.ValueFile = None,
    ttl: Ttl = None,
    if_version: options.IfVersion = None,
    if_absent: options.IfAbsent = False,
    endpoint: options.Endpoint = None,
    timeout: options.Timeout = "5s",
    as_json: options.Json = False,
) -> None:
    """Add bytes to the end of a value. A key that does not exist is created."""
    conditions = condition(if_version, if_absent)
    members: dict[str, Any] = _ttl(ttl) | shown("value", value_bytes(value, file))
    answer = _operate("append", key, members, conditions, endpoint, timeout)
    said = object_of(answer)
    length = int(str(said["length"]))
    plural = "" if length == 1 else "s"
    _report(answer, as_json, f"appended: now {length} byte{plural}, version {said['version']}")


def swap(
    key: options.Key,
    value: options.Value = None,
    file: options.ValueFile = None,
    ttl: SwapTtl = None,
    if_version: options.IfVersion = None,
    if_absent: options.IfAbsent = False,
    endpoint: options.Endpoint = None,
    timeout: options.Timeout = "5s",
    as_json: options.Json = False,
) -> None:
    """Store a value, and write the old one to standard output, exactly its bytes.

    If there was none, nothing is written, and the exit code is 0.
    """
    conditions = condition(if_version, if_absent)
    members: dict[str, Any] = _ttl(ttl, keeps=True) | shown("value", value_bytes(value, file))
    answer = _operate("swap", key, members, conditions, endpoint, timeout)
    said = object_of(answer)
    if as_json:
        _show(answer)
    elif said["replaced"]:
        print_value(_old_value(said))
    elif sys.stdout.isatty():
        print(f"stored, version {said['version']}; there was no value before")


def take(
    key: options.Key,
    if_version: options.IfVersion = None,
    endpoint: options.Endpoint = None,
    timeout: options.Timeout = "5s",
    as_json: options.Json = False,
) -> None:
    """Delete a key, and write its value to standard output. Exit code 3: there is no such key."""
    answer = _operate("take", key, {}, condition(if_version), endpoint, timeout)
    if as_json:
        _show(answer)
    else:
        print_value(_old_value(object_of(answer)))


def touch(
    key: options.Key,
    ttl: Annotated[str, typer.Argument(metavar="TTL", help="Time to live from now, like 500ms, 30s or 7d.")],
    if_version: options.IfVersion = None,
    endpoint: options.Endpoint = None,
    timeout: options.Timeout = "5s",
    as_json: options.Json = False,
) -> None:
    """Give a key another time to live. Exit code 3: there is no such key."""
    members = {"ttl": checked_ttl("TTL", ttl)}
    answer = _operate("touch", key, members, condition(if_version), endpoint, timeout)
    _report(answer, as_json, f"lives {ttl} from now, version {answer.version}")


def persist(
    key: options.Key,
    if_version: options.IfVersion = None,
    endpoint: options.Endpoint = None,
    timeout: options.Timeout = "5s",
    as_json: options.Json = False,
) -> None:
    """Let a key live for ever. Exit code 3: there is no such key."""
    answer = _operate("persist", key, {}, condition(if_version), endpoint, timeout)
    _report(answer, as_json, f"lives for ever, version {answer.version}")


def _operate(
    op: str,
    key: str,
    members: dict[str, Any],
    conditions: dict[str, str],
    endpoint: str | None,
    timeout: str,
) -> Answer:
    """Send an operation, and return the answer of one that was done. Raises Failure."""
    body = json.dumps({"op": op, **members}).encode()
    headers = {"Content-Type": "application/json", **conditions}
    answer = write("POST", key, endpoint, timeout, headers, body)
    if answer.status == 404:
        raise not_found(key)
    if answer.status == 413 and op in ("swap", "take"):
        follows = "put" if op == "swap" else "delete"
        raise Failure(
            f"the old value is too large to be returned by {op} (not applied); "
            f"use ringkeep get --verbose, then ringkeep {follows} --if-version"
        )
    if answer.status not in (200, 201):
        raise refused(answer)
    return answer


def _ttl(text: str | None, *, keeps: bool = False) -> dict[str, Any]:
    return {} if text is None else {"ttl": checked_ttl("--ttl", text, keeps=keeps)}


def _old_value(said: dict[str, Any]) -> bytes:
    return base64.b64decode(said["value_base64"]) if "value_base64" in said else said["value"].encode()


def _report(answer: Answer, as_json: bool, sentence: str) -> None:
    """Say what was done: JSON for a program, a sentence on a terminal."""
    if as_json:
        _show(answer)
    elif sys.stdout.isatty():
        print(sentence)


def _show(answer: Answer) -> None:
    show_json({"status": "Success", **object_of(answer)})
