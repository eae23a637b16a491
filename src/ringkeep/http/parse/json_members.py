"""Members of JSON bodies: bytes as text or as base64, none of them null, none given twice.

Knows nothing of what a member means.
"""

import binascii
import json
from base64 import b64decode, b64encode
from typing import Any

from ringkeep.http.problems import Problem, bad


def put_member(members: dict[str, Any], name: str, raw: bytes) -> None:
    """Add `name` to an answer's members; as `…_base64` if the bytes are not UTF-8."""
    try:
        members[name] = raw.decode()
    except UnicodeDecodeError:
        members[f"{name}_base64"] = b64encode(raw).decode()


def bytes_of(name: str, text: str | None, coded: str | None) -> bytes:
    """Return the bytes of the member `name`, or of `name`_base64. Raises Problem (400) unless it is one."""
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


def check_once(body: bytes, names: int, texts: int) -> None:
    """Raise Problem (400) for a member that is given twice or is null: which was meant is not ours to guess.

    A decoder that found so many names, and so many texts among their values, has checked all else. Without
    further quotation marks there is no room for another member, and nothing more is read.
    """
    if body.count(b'"') != 2 * (names + texts):
        json.loads(body, object_pairs_hook=_check)


def _check(pairs: list[tuple[str, Any]]) -> None:
    names = [name for name, _ in pairs]
    if len(set(names)) != len(names):
        raise bad("The body holds a member twice.")
    for name, value in pairs:
        if value is None:
            raise null_member(name)


def null_member(name: str) -> Problem:
    """Return the 400 of a member that is null."""
    return bad(f"The member {name!r} is null; leave it out instead.")
