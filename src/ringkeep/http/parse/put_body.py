"""What `POST /put` takes: exactly one key and one value, each as text or as base64, perhaps a ttl."""

import json
from typing import Final, NamedTuple

import msgspec

from ringkeep.http.parse.json_members import bytes_of, check_once, null_member
from ringkeep.http.parse.target import check_key
from ringkeep.http.parse.time_to_live import parse_ttl, wrong_ttl
from ringkeep.http.problems import TOO_LARGE, Problem, bad

_EXAMPLE: Final = '{"key": "k", "value": "v"}'


class _Put(msgspec.Struct, forbid_unknown_fields=True, gc=False):
    key: str | None = None
    value: str | None = None
    key_base64: str | None = None
    value_base64: str | None = None
    ttl: str | None = None


class Put(NamedTuple):
    """What is to be stored."""

    key: bytes
    value: bytes
    ttl_ms: int


_decode: Final = msgspec.json.Decoder(_Put).decode


def parse_put(body: bytes) -> Put:
    """Return what is to be stored. Raises Problem: 400 for anything that is not the documented object, 413.

    Costs one pass over the body, two where a quotation mark is part of a member.
    """
    try:
        put = _decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise _refusal(body, str(error)) from None
    texts = 2 if put.ttl is None else 3
    check_once(body, texts, texts)
    key = bytes_of("key", put.key, put.key_base64)
    value = bytes_of("value", put.value, put.value_base64)
    check_key(key)
    return Put(key, value, 0 if put.ttl is None else parse_ttl(put.ttl, "The member"))


def _refusal(body: bytes, error: str) -> Problem:
    """Say what is wrong with a body that the decoder refused, and how to send it."""
    try:
        members = json.loads(body)
    except (ValueError, RecursionError):
        members = None
    if not isinstance(members, dict):
        return bad(f"The body is not a JSON object like {_EXAMPLE}: {error[:200]}.")
    for name, value in members.items():
        if name not in _Put.__struct_fields__:
            return bad(
                f"The body has a member {name[:80]!r}; it takes 'key' and 'value', or the same with _base64, "
                "and 'ttl'."
            )
        if value is None:
            return null_member(name)
        if not isinstance(value, str):
            if name == "ttl":
                return wrong_ttl()
            return bad(
                f"The member {name!r} must be a JSON string, like {_EXAMPLE}. To store another value, "
                "send its JSON as that string, or as the body of PUT /v1/kv/KEY with "
                "Content-Type: application/json."
            )
    return bad(f"The body must be JSON like {_EXAMPLE}: {error[:200]}.")


def check_value(value: bytes, most: int) -> None:
    """Raise Problem (413) for a value of more than `most` bytes."""
    if len(value) > most:
        raise Problem(
            TOO_LARGE,
            f"The value has more than {most} bytes. Nothing was applied; store it in smaller pieces.",
        )
