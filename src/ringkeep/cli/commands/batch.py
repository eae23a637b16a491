"""`ringkeep batch`: several operations in one request."""

import json
import sys
import uuid
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Final

import typer

from ringkeep.cli.cluster import http_client
from ringkeep.cli.cluster.http_client import HttpRequest
from ringkeep.cli.terminal import options
from ringkeep.cli.terminal.failure import Failure
from ringkeep.cli.terminal.tables import show_json, show_table
from ringkeep.exit_codes import FAILED, NOT_FOUND, OK, UNAVAILABLE, USAGE

_SHOWN: Final = 60  # characters of a value in a table
_NOT_SERVED: Final = (429, 503, 504)


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command(
        epilog=options.examples(
            "ringkeep batch operations.json",
            """echo '{"operations": [{"op": "add", "key": "a"}]}' | ringkeep batch -""",
        )
    )(batch)


def batch(
    file: Annotated[
        str,
        typer.Argument(metavar="FILE", help="The batch as JSON, as /v1/batch takes it; `-`: standard input."),
    ],
    endpoint: options.Endpoint = None,
    timeout: options.Timeout = "5s",
    as_json: options.Json = False,
) -> None:
    """Do several operations in one request, and print the result of each.

    Exit code 0: all were done. 3: some key does not exist. 4: some operation could not be served, or it is
    unknown whether it was. 1: some failed otherwise; an atomic batch was undone.
    """
    body = _read(file)
    request = HttpRequest(
        "POST",
        "/v1/batch",
        body,
        {"Content-Type": "application/json", "Idempotency-Key": str(uuid.uuid4())},
        http_client.timeout_ms_of(timeout),
        is_write=True,
        tell_deadline=True,
    )
    answer = http_client.send(http_client.endpoints_of(endpoint), request)
    if answer.status != 200:
        raise _undone(answer)
    said: dict[str, Any] = http_client.object_of(answer)
    results: list[dict[str, Any]] = said["results"]
    if as_json:
        show_json(said)
    else:
        operations = json.loads(body)["operations"]
        rows = [_row(*pair) for pair in zip(operations, results, strict=True)]
        show_table(("OP", "KEY", "STATUS", "VERSION", "VALUE"), rows)
    code = _exit_code([each["status"] for each in results])
    if code != OK:
        raise typer.Exit(code)


def _read(file: str) -> bytes:
    """Return the batch. Raises Failure for a file that cannot be read."""
    if file == "-":
        return sys.stdin.buffer.read()
    try:
        return Path(file).read_bytes()
    except OSError as error:
        raise Failure(f"{file}: {error.strerror or error}", USAGE) from None


def _undone(answer: http_client.Answer) -> Failure:
    """Return the Failure of a batch that was refused as a whole, with what undid it."""
    try:
        failed = json.loads(answer.body).get("failed", [])
    except (ValueError, AttributeError):
        failed = []
    if not failed:
        return http_client.refuse(answer, is_write=True)
    names = []
    for each in failed:
        what = f"operation {each['position']}" if "position" in each else f"condition {each['condition']}"
        stands = f"has version {each['version']}" if each["version"] else "does not exist"
        names.append(f"{what}, whose key {each.get('key', each.get('key_base64'))!r} {stands}")
    title = {409: "a value has the wrong type", 412: "a condition does not hold", 413: "too large"}
    return Failure(f"{title.get(answer.status, 'refused')}: {'; '.join(names)} (not applied)")


def _row(operation: dict[str, Any], result: dict[str, Any]) -> tuple[object, ...]:
    """Return what a table says of one operation."""
    value = result.get("value", result.get("value_base64", result.get("length", result.get("detail"))))
    if isinstance(value, str):
        shown = repr(value[:_SHOWN])[1:-1]
        value = shown if len(value) <= _SHOWN else f"{shown}…"
    key = operation.get("key", operation.get("key_base64"))
    return operation["op"], key, result["status"], result.get("version"), value


def _exit_code(statuses: Sequence[int]) -> int:
    """Return the exit code of a batch: of what matters most."""
    failed = [status for status in statuses if status >= 400]
    if any(status in _NOT_SERVED for status in failed):
        return UNAVAILABLE
    if any(status != 404 for status in failed):
        return FAILED
    return NOT_FOUND if failed else OK
