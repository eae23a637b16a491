"""Requests about one key, as the commands make them, and what their answers mean to people and programs."""

import base64
import os
import sys
import uuid
from pathlib import Path

from ringkeep import parsing
from ringkeep.cli.cluster import http_client
from ringkeep.cli.terminal.failure import Failure
from ringkeep.core.protocol.limits import KEY_BYTES
from ringkeep.exit_codes import NOT_FOUND, USAGE


def write(
    method: str,
    key: str,
    endpoint: str | None,
    timeout: str,
    headers: dict[str, str],
    body: bytes = b"",
    query: str = "",
) -> http_client.Answer:
    """Send a write that is safe to repeat. `query` is percent-encoded, without its question mark."""
    request = http_client.HttpRequest(
        method,
        http_client.path_of(key_bytes(key)) + (f"?{query}" if query else ""),
        body,
        {**headers, "Idempotency-Key": str(uuid.uuid4())},
        http_client.timeout_ms_of(timeout),
        is_write=True,
        tell_deadline=True,
    )
    return http_client.send(http_client.endpoints_of(endpoint), request)


def condition(if_version: int | None, if_absent: bool = False) -> dict[str, str]:
    """Return the header field of a condition. Raises Failure for two of them."""
    if if_absent and if_version is not None:
        raise Failure("--if-absent and --if-version contradict each other; give one of them", USAGE)
    if if_absent:
        return {"If-None-Match": "*"}
    return {} if if_version is None else {"If-Match": f'"{if_version}"'}


def key_bytes(key: str) -> bytes:
    """Return what was typed, byte for byte: a key need not be UTF-8. Raises Failure for what is no key."""
    raw = os.fsencode(key)
    if not 1 <= len(raw) <= KEY_BYTES:
        raise Failure(f"a key has 1 to {KEY_BYTES} bytes, this one has {len(raw)}", USAGE)
    return raw


def value_bytes(value: str | None, file: Path | None) -> bytes:
    """Return the value that was given as an argument, in a file, or on standard input."""
    if file is not None and value is not None:
        raise Failure("VALUE and --file both give a value; give one of them", USAGE)
    if file is not None:
        return file.read_bytes()
    if value is not None and value != "-":
        return os.fsencode(value)
    if sys.stdin.isatty():
        print("Type the value, then Ctrl-D:", file=sys.stderr)
    return sys.stdin.buffer.read()


def checked_ttl(name: str, text: str, *, keeps: bool = False) -> str:
    """Return a time to live as it was typed. Raises Failure; `name` is the option's."""
    if keeps and text == "keep":
        return text
    try:
        parsing.ttl_ms(text)
    except ValueError as error:
        raise Failure(f"{name}: {error}{', or keep' if keeps else ''}", USAGE) from None
    return text


def shown_key(key: str) -> dict[str, str]:
    """Return a key as JSON can hold it."""
    return shown("key", os.fsencode(key))


def shown(name: str, raw: bytes) -> dict[str, str]:
    """Return bytes as JSON can hold them: text where they are UTF-8, else base64 under another name."""
    try:
        return {name: raw.decode()}
    except UnicodeDecodeError:
        return {f"{name}_base64": base64.b64encode(raw).decode()}


def print_value(raw: bytes) -> None:
    """Write a value to standard output, exactly its bytes; on a terminal it ends with a newline."""
    sys.stdout.buffer.write(raw)
    if sys.stdout.isatty() and not raw.endswith(b"\n"):
        sys.stdout.buffer.write(b"\n")  # so that the prompt begins a line
    sys.stdout.buffer.flush()


def not_found(key: str) -> Failure:
    """Return the Failure of a key that does not exist."""
    return Failure(f"there is no key {key!r}", NOT_FOUND)


def refused(answer: http_client.Answer) -> Failure:
    """Return the Failure of a write that was refused."""
    if answer.status == 412:
        present = (
            "there is no such key" if answer.version is None else f"the key has version {answer.version}"
        )
        return Failure(f"the condition does not hold: {present} (not applied)")
    return http_client.refuse(answer, is_write=True)
