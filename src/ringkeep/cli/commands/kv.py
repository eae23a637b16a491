"""`ringkeep put`, `get` and `delete`: one key at a time, through any node."""

import base64
import os
import sys
import uuid
from pathlib import Path
from typing import Annotated

import typer

from ringkeep.cli.cluster import http_client
from ringkeep.cli.terminal import options
from ringkeep.cli.terminal.failure import Failure
from ringkeep.cli.terminal.tables import show_json
from ringkeep.core.protocol.limits import KEY_BYTES
from ringkeep.exit_codes import NOT_FOUND, USAGE

IfVersion = Annotated[
    int | None,
    typer.Option("--if-version", metavar="V", min=1, help="Only if the key has this version."),
]


def register(app: typer.Typer) -> None:
    """Add these commands."""
    app.command(
        epilog=options.examples(
            "ringkeep put hello world",
            "ringkeep put picture --file photo.jpg",
            "echo -n world | ringkeep put hello",
            "ringkeep put hello there --if-version 7",
        )
    )(put)
    app.command(
        epilog=options.examples(
            "ringkeep get hello", "ringkeep get picture > photo.jpg", "ringkeep get hello --json"
        )
    )(get)
    app.command(epilog=options.examples("ringkeep delete hello", "ringkeep delete hello --if-version 7"))(
        delete
    )


def put(
    key: options.Key,
    value: Annotated[
        str | None, typer.Argument(metavar="[VALUE]", help="The value; `-` or no argument: standard input.")
    ] = None,
    file: Annotated[
        Path | None, typer.Option("--file", metavar="FILE", help="Take the value from a file.")
    ] = None,
    if_version: IfVersion = None,
    if_absent: Annotated[bool, typer.Option("--if-absent", help="Only if there is no such key.")] = False,
    endpoint: options.Endpoint = None,
    timeout: options.Timeout = "5s",
    as_json: options.Json = False,
) -> None:
    """Store a value under a key."""
    if if_absent and if_version is not None:
        raise Failure("--if-absent and --if-version contradict each other; give one of them", USAGE)
    if file is not None and value is not None:
        raise Failure("VALUE and --file both give a value; give one of them", USAGE)
    headers = {"Content-Type": "application/octet-stream"} | _condition(if_version)
    if if_absent:
        headers["If-None-Match"] = "*"
    answer = _write("PUT", key, endpoint, timeout, headers, _value(value, file))
    if answer.status not in (200, 201):
        raise _refused(answer)
    if as_json:
        created = answer.status == 201
        show_json({"status": "Success", **_shown_key(key), "version": answer.version, "created": created})
    elif sys.stdout.isatty():
        print(f"stored, version {answer.version}")


def get(
    key: options.Key,
    stale: Annotated[
        bool, typer.Option("--stale", help="Any replica may answer, perhaps with an old value.")
    ] = False,
    endpoint: options.Endpoint = None,
    timeout: options.Timeout = "5s",
    as_json: options.Json = False,
) -> None:
    """Write the value of a key to standard output, exactly its bytes. Exit code 3: there is no such key.

    On a terminal a newline is added to a value that does not end with one.
    """
    target = http_client.path_of(_key_bytes(key)) + ("?consistency=stale" if stale else "")
    request = http_client.HttpRequest(
        "GET", target, timeout_ms=http_client.timeout_ms_of(timeout), tell_deadline=True
    )
    answer = http_client.send(http_client.endpoints_of(endpoint), request)
    if answer.status == 404:
        raise _not_found(key)
    if answer.status != 200:
        raise http_client.refuse(answer, is_write=False)
    if as_json:
        show_json({**_shown_key(key), **_shown("value", answer.body), "version": answer.version})
    else:
        sys.stdout.buffer.write(answer.body)
        if sys.stdout.isatty() and not answer.body.endswith(b"\n"):
            sys.stdout.buffer.write(b"\n")  # so that the prompt begins a line
        sys.stdout.buffer.flush()


def delete(
    key: options.Key,
    if_version: IfVersion = None,
    endpoint: options.Endpoint = None,
    timeout: options.Timeout = "5s",
    as_json: options.Json = False,
) -> None:
    """Delete a key. Exit code 3: there is no such key."""
    answer = _write("DELETE", key, endpoint, timeout, _condition(if_version), b"")
    if answer.status == 404:
        if as_json:
            show_json({"status": "Success", **_shown_key(key), "deleted": False})
        raise _not_found(key)
    if answer.status not in (200, 204):
        raise _refused(answer)
    if as_json:
        show_json({"status": "Success", **_shown_key(key), "deleted": True})
    elif sys.stdout.isatty():
        print("deleted")


def _write(
    method: str, key: str, endpoint: str | None, timeout: str, headers: dict[str, str], body: bytes
) -> http_client.Answer:
    request = http_client.HttpRequest(
        method,
        http_client.path_of(_key_bytes(key)),
        body,
        {**headers, "Idempotency-Key": str(uuid.uuid4())},
        http_client.timeout_ms_of(timeout),
        is_write=True,
        tell_deadline=True,
    )
    return http_client.send(http_client.endpoints_of(endpoint), request)


def _condition(if_version: int | None) -> dict[str, str]:
    return {} if if_version is None else {"If-Match": f'"{if_version}"'}


def _key_bytes(key: str) -> bytes:
    raw = os.fsencode(key)  # what was typed, byte for byte: a key need not be UTF-8
    if not 1 <= len(raw) <= KEY_BYTES:
        raise Failure(f"a key has 1 to {KEY_BYTES} bytes, this one has {len(raw)}", USAGE)
    return raw


def _value(value: str | None, file: Path | None) -> bytes:
    if file is not None:
        return file.read_bytes()
    if value is not None and value != "-":
        return os.fsencode(value)
    if sys.stdin.isatty():
        print("Type the value, then Ctrl-D:", file=sys.stderr)
    return sys.stdin.buffer.read()


def _shown_key(key: str) -> dict[str, str]:
    return _shown("key", os.fsencode(key))


def _shown(name: str, raw: bytes) -> dict[str, str]:
    """Return bytes as JSON can hold them: text where they are UTF-8, else base64 under another name."""
    try:
        return {name: raw.decode()}
    except UnicodeDecodeError:
        return {f"{name}_base64": base64.b64encode(raw).decode()}


def _not_found(key: str) -> Failure:
    return Failure(f"there is no key {key!r}", NOT_FOUND)


def _refused(answer: http_client.Answer) -> Failure:
    if answer.status == 412:
        present = (
            "there is no such key" if answer.version is None else f"the key has version {answer.version}"
        )
        return Failure(f"the condition does not hold: {present} (not applied)")
    return http_client.refuse(answer, is_write=True)
