"""The request target: path and query as bytes, decoded strictly.

The query is split before it is decoded, so that `%26` and `%3D` belong to names and values. In a query `+` is
a space, in a path it is itself. Paths are never normalised. Knows nothing of routes.
"""

import re
from typing import Final
from urllib.parse import unquote_to_bytes

from ringkeep.core.protocol.limits import KEY_BYTES, MAX_TIMEOUT_MS
from ringkeep.http.problems import bad

_BROKEN_ESCAPE: Final = re.compile(rb"%(?![0-9A-Fa-f]{2})")
_TIMEOUT: Final = re.compile(rb"([0-9]{1,9})(ms|s)")
_VERSION: Final = re.compile(rb"[0-9]{1,19}")
MAX_WAIT_MS: Final = 60_000
USUAL_WAIT_MS: Final = 30_000
MAX_VERSION: Final = 2**63 - 1

_IN_BODY: Final = " It is a member of the JSON body of POST /v1/kv/KEY."
_ELSEWHERE: Final = {
    b"ttl": ' PUT /v1/kv/KEY takes a ttl there; the JSON of POST has it as a member, such as "ttl": "30s".',
    b"op": _IN_BODY,
    b"by": _IN_BODY,
}  # what is easily put into the wrong place


def unquote(raw: bytes) -> bytes:
    """Return the percent-decoded bytes. Raises Problem (400) for a broken escape."""
    if b"%" not in raw:
        return raw
    if _BROKEN_ESCAPE.search(raw):
        raise bad("A '%' in the URL is not followed by two hexadecimal digits; write a plain '%' as '%25'.")
    return unquote_to_bytes(raw)


def parse_query(raw: bytes, allowed: frozenset[bytes]) -> dict[bytes, bytes]:
    """Return the parameters of a query. Raises Problem (400) for an unknown or repeated one.

    Empty pieces (`a=1&&b=2`, a trailing `&`) are passed over; a name without `=` has the empty value.
    """
    found: dict[bytes, bytes] = {}
    for piece in raw.split(b"&"):
        if not piece:
            continue
        name, _, value = piece.replace(b"+", b" ").partition(b"=")
        name = unquote(name)
        if name not in allowed:
            shown = name[:64].decode("utf-8", "replace")
            takes = ", ".join(sorted(each.decode() for each in allowed)) or "none"
            raise bad(
                f"Unknown query parameter {shown!r}; this route takes: {takes}.{_ELSEWHERE.get(name, '')}"
            )
        if name in found:
            raise bad(f"The query parameter {name.decode()!r} is given twice.")
        found[name] = unquote(value)
    return found


def check_key(key: bytes) -> bytes:
    """Return the key itself. Raises Problem (400) unless it has 1 to KEY_BYTES bytes."""
    if not key:
        raise bad(f"The key is empty; a key has 1 to {KEY_BYTES:,} bytes.")
    if len(key) > KEY_BYTES:
        raise bad(f"The key has {len(key)} bytes; a key has 1 to {KEY_BYTES:,} bytes.")
    return key


def parse_key(raw: bytes | None) -> bytes:
    """Return the key that a query names. Raises Problem (400) if it names none, or one that is no key."""
    if raw is None:
        raise bad("The query parameter 'key' is missing.")
    return check_key(raw)


def parse_timeout(raw: bytes) -> int:
    """Return milliseconds. Raises Problem (400) unless it is `<int>ms` or `<int>s`, up to 30 s."""
    match = _TIMEOUT.fullmatch(raw)
    if match:
        timeout_ms = int(match[1]) * (1 if match[2] == b"ms" else 1_000)
        if 1 <= timeout_ms <= MAX_TIMEOUT_MS:
            return timeout_ms
    raise bad(
        "The parameter 'timeout' must be an integer and a unit, '1ms' to '30s', such as '500ms' or '2s'."
    )


def parse_wait(raw: bytes) -> int:
    """Return milliseconds. Raises Problem (400) unless it is `<int>ms` or `<int>s`, up to MAX_WAIT_MS."""
    match = _TIMEOUT.fullmatch(raw)
    if match:
        wait_ms = int(match[1]) * (1 if match[2] == b"ms" else 1_000)
        if wait_ms <= MAX_WAIT_MS:
            return wait_ms
    raise bad("The parameter 'wait' must be an integer and a unit, '0s' to '60s', such as '500ms' or '30s'.")


def parse_version(name: str, raw: bytes) -> int:
    """Return a version. Raises Problem (400) for anything but a decimal of at most 63 bits."""
    if _VERSION.fullmatch(raw) and int(raw) <= MAX_VERSION:
        return int(raw)
    raise bad(f"The parameter {name!r} must be a version: a decimal integer.")


def parse_stale(raw: bytes) -> bool:
    """Return whether a stale read is asked for. Raises Problem (400) for an unknown consistency."""
    if raw == b"stale":
        return True
    if raw == b"linearizable":
        return False
    raise bad("The parameter 'consistency' must be 'linearizable' (the default) or 'stale'.")
