"""Header fields with a meaning to the store: conditions, idempotency key, content type.

Knows nothing of connections; every function takes field values and returns a value or raises Problem.
"""

import re
from typing import Final

from ringkeep.core.protocol.client_requests import ABSENT, ANY, PRESENT
from ringkeep.core.protocol.limits import CONTENT_TYPE_BYTES, IDEMPOTENCY_KEY_BYTES
from ringkeep.http.parse.target import MAX_VERSION
from ringkeep.http.problems import MEDIA_TYPE, Problem, bad

_ETAG: Final = re.compile(rb'(W/)?"([\x21\x23-\x7e\x80-\xff]*)"')
_ETAG_LIST: Final = re.compile(rb'[ \t,]*(?:(W/)?"([\x21\x23-\x7e\x80-\xff]*)"[ \t]*(?:,[ \t,]*|$))')
_DECIMAL: Final = re.compile(rb"[1-9][0-9]{0,18}")
_VISIBLE: Final = re.compile(rb"[\x21-\x7e]{1,%d}" % IDEMPOTENCY_KEY_BYTES)
_CONTENT_TYPE: Final = re.compile(rb"[\x20-\x7e]{1,%d}" % CONTENT_TYPE_BYTES)
_CHARSET: Final = re.compile(rb';\s*charset\s*=\s*("[^"]*"|[^;\s]*)', re.IGNORECASE)
_UTF8: Final = frozenset({b"utf-8", b"utf8"})

ANYTHING: Final = 0
"""The entity tag `*`."""
NO_VERSION: Final = MAX_VERSION
"""Stands for entity tags that no version of ours has: a condition on it does not hold."""


def _version(opaque: bytes) -> int:
    if _DECIMAL.fullmatch(opaque):
        return min(int(opaque), NO_VERSION)
    return NO_VERSION


def write_condition(if_match: bytes | None, if_none_match: bytes | None) -> int:
    """Return the condition of a write, as `Request.condition` has it. Raises Problem (400).

    A write is conditional on one thing: one version, being there, or not being there.
    """
    if if_match is not None:
        if if_none_match is not None:
            raise bad("A write takes If-Match or If-None-Match, not both.")
        if if_match == b"*":
            return PRESENT
        match = _ETAG.fullmatch(if_match)
        if match is None or match[1]:
            raise bad("If-Match on a write must be '*' or one version in quotes, such as If-Match: \"42\".")
        return _version(match[2])
    if if_none_match is not None:
        if if_none_match != b"*":
            raise bad("If-None-Match on a write must be '*': only if the key does not exist.")
        return ABSENT
    return ANY


def read_tags(name: str, value: bytes | None, weak: bool) -> frozenset[int] | None:
    """Return the versions that a conditional read lists (ANYTHING for `*`), None without the field.

    Weak tags count where comparison is weak (If-None-Match) and match nothing elsewhere (RFC 9110, 13.1).
    """
    if value is None:
        return None
    if value == b"*":
        return frozenset({ANYTHING})
    found = set()
    position = 0
    while position < len(value):
        match = _ETAG_LIST.match(value, position)
        if match is None:
            raise bad(f"{name} must be '*' or a list of versions in quotes, such as {name}: \"42\".")
        found.add(_version(match[2]) if weak or not match[1] else NO_VERSION)
        position = match.end()
    if not found:
        raise bad(f"{name} is empty.")
    return frozenset(found)


def idempotency_key(value: bytes) -> bytes:
    """Return the client's idempotency key. Raises Problem (400) unless it is short, visible ASCII."""
    if _VISIBLE.fullmatch(value):
        return value
    raise bad(f"Idempotency-Key must be 1 to {IDEMPOTENCY_KEY_BYTES} visible ASCII characters.")


def stored_content_type(value: bytes) -> bytes:
    """Return the content type to keep with a value. Raises Problem (400) if it cannot be given back."""
    if not value or _CONTENT_TYPE.fullmatch(value):
        return value
    raise bad(f"Content-Type must be at most {CONTENT_TYPE_BYTES} printable ASCII characters.")


def check_charset(content_type: bytes) -> None:
    """Raise Problem (415) if a content type names a charset other than UTF-8."""
    match = _CHARSET.search(content_type)
    if match and match[1].strip(b'"').lower() not in _UTF8:
        raise Problem(
            MEDIA_TYPE,
            "The charset of the body is not UTF-8. Nothing was applied; send the JSON in UTF-8.",
        )


def check_encoding(content_encoding: bytes) -> None:
    """Raise Problem (415) for an encoded body: values are kept as they are sent."""
    if content_encoding.lower() not in (b"", b"identity"):
        raise Problem(
            MEDIA_TYPE,
            "Content-Encoding is not supported. Nothing was applied; send the body as it is.",
        )
