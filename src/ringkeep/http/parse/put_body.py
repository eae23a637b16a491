"""Keys and values in JSON, each as text or as base64: what `POST /put` takes, and what answers show.

`POST /put` takes exactly one key and one value, and nothing else.
"""

import binascii
import json
from base64 import b64decode, b64encode
from typing import Any, Final

import msgspec

from ringkeep.core.protocol.limits import VALUE_BYTES
from ringkeep.http.parse.target import check_key
from ringkeep.http.problems import TOO_LARGE, Problem, bad

_EXAMPLE: Final = '{"key": "k", "value": "v"}'
_PLAIN_QUOTES: Final = 8  # "key" : "…" , "value" : "…"


class _Put(msgspec.Struct, forbid_unknown_fields=True, gc=False):
    key: str | None = None
    value: str | None = None
    key_base64: str | None = None
    value_base64: str | None = None


_decode: Final = msgspec.json.Decoder(_Put).decode


def parse_put(body: bytes) -> tuple[bytes, bytes]:
    """Return key and value. Raises Problem: 400 for anything that is not the documented object, 413.

    A member that is `null` counts as wrong, and so does one given twice: which one was meant is not ours to
    guess. Costs one pass over the body, two where a quotation mark is part of a member.
    """
    try:
        put = _decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise bad(_advice(body, str(error))) from None
    # Eight quotation marks are two members' names and texts: there is no room for a third, repeated one.
    if body.count(b'"') != _PLAIN_QUOTES:
        _check_members(body)
    key = _bytes("key", put.key, put.key_base64)
    value = _bytes("value", put.value, put.value_base64)
    check_key(key)
    check_value(value)
    return key, value


def _advice(body: bytes, error: str) -> str:
    """Say what is wrong with a body that the decoder refused, and how to send it."""
    try:
        members = json.loads(body)
    except (ValueError, RecursionError):
        members = None
    if not isinstance(members, dict):
        return f"The body is not a JSON object like {_EXAMPLE}: {error[:200]}."
    for name, value in members.items():
        if name not in _Put.__struct_fields__:
            return (
                f"The body has a member {name[:80]!r}; it takes 'key' and 'value', or the same with _base64."
            )
        if value is None:
            return f"The member {name!r} is null; leave it out instead."
        if not isinstance(value, str):
            return (
                f"The member {name!r} must be a JSON string, like {_EXAMPLE}. To store another value, "
                "send its JSON as that string, or as the body of PUT /v1/kv/KEY with "
                "Content-Type: application/json."
            )
    return f"The body must be JSON like {_EXAMPLE}: {error[:200]}."


def put_member(members: dict[str, Any], name: str, raw: bytes) -> None:
    """Add `name` to an answer's members; as `…_base64` if the bytes are not UTF-8."""
    try:
        members[name] = raw.decode()
    except UnicodeDecodeError:
        members[f"{name}_base64"] = b64encode(raw).decode()


def check_value(value: bytes) -> None:
    """Raise Problem (413) for a value over the limit."""
    if len(value) > VALUE_BYTES:
        raise Problem(
            TOO_LARGE,
            f"The value has more than {VALUE_BYTES} bytes. Nothing was applied; store it in smaller pieces.",
        )


def _bytes(name: str, text: str | None, coded: str | None) -> bytes:
    if text is not None:
        if coded is not None:
            raise bad(f"The body holds both {name!r} and '{name}_base64'; give one of them.")
        return text.encode()
    if coded is None:
        raise bad(f"The body holds neither {name!r} nor '{name}_base64'.")
    try:
        return b64decode(coded, validate=True)
    except (binascii.Error, ValueError):
        raise bad(f"The member '{name}_base64' is not base64 (RFC 4648, with its padding).") from None


def _check_members(body: bytes) -> None:
    """Raise Problem (400) for a repeated member or a null. All else has been checked: the body is flat."""

    def check(pairs: list[tuple[str, Any]]) -> None:
        names = [name for name, _ in pairs]
        if len(set(names)) != len(names):
            raise bad("The body holds a member twice.")
        if None in (value for _, value in pairs):
            raise bad("A member of the body is null; leave it out instead.")

    json.loads(body, object_pairs_hook=check)
