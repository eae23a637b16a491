"""The query of a listing, and of a deletion by prefix: which keys, and how much of each."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from ringkeep.core.protocol.client_requests import ListRequest
from ringkeep.core.protocol.keys import after
from ringkeep.core.protocol.limits import KEY_BYTES, LISTED_KEYS, TIMEOUT_MS
from ringkeep.http.parse.target import parse_timeout
from ringkeep.http.problems import bad

PARAMETERS: Final = ("prefix", "after", "before", "limit", "values", "count", "timeout")
DELETION_PARAMETERS: Final = ("prefix", "after", "before", "limit", "all", "until", "timeout")
USUAL_LIMIT: Final = 1_000
UNTIL: Final = "Ringkeep-Until"
"""The header field for what is too long for a URL."""
_LIMIT: Final = re.compile(rb"[0-9]{1,18}")
_SWITCH: Final = {b"true": True, b"": True, b"1": True, b"false": False, b"0": False}


@dataclass(slots=True)
class Listing:
    """What a query asks for. `limit`: None if it names none. `empty`: no key can be in the range.
    `goes_on`: it begins after a key that was named.
    """

    begin: bytes
    end: bytes
    limit: int | None
    values: bool
    count: bool
    timeout_ms: int
    goes_on: bool = False

    @property
    def empty(self) -> bool:
        return bool(self.end) and self.begin >= self.end

    def request(self, begin: bytes, limit: int) -> ListRequest:
        """Return the request for a page of it, from a key on."""
        return ListRequest(begin, self.end, limit, self.values, self.count, self.timeout_ms)


@dataclass(slots=True)
class Deletion:
    """What a deletion asks for. `limit`: 0 if only for its `until`. `until`: what an earlier one answered, as
    it was sent; b"" for none.
    """

    range: Listing
    limit: int
    until: bytes


def parse_listing(found: dict[str, bytes]) -> Listing:
    """Return what a query's parameters ask for. Raises Problem (400)."""
    prefix = part_of_key(found, "prefix")
    begin, end = prefix, after(prefix) if prefix.strip(b"\xff") else b""
    if "after" in found:
        begin = max(begin, part_of_key(found, "after") + b"\0")
    if "before" in found:
        before = part_of_key(found, "before")
        if not before:
            raise bad(
                "The parameter 'before' is empty; no key comes before the empty one. Leave it out instead."
            )
        end = min(end, before) if end else before
    values, count = parse_switch(found, "values"), parse_switch(found, "count")
    if count and (values or "limit" in found):
        raise bad("'count' counts all keys of the range; it does not go together with 'values' and 'limit'.")
    timeout_ms = parse_timeout(found["timeout"]) if "timeout" in found else TIMEOUT_MS
    limit, goes_on = _limit(found.get("limit")), bool(found.get("after"))
    return Listing(begin, end, limit, values, count, timeout_ms, goes_on)


def parse_deletion(found: dict[str, bytes], fields: Mapping[str, str]) -> Deletion:
    """Return what the parameters and header fields of a deletion by prefix ask for. Raises Problem (400)."""
    for name in ("Idempotency-Key", "If-Match", "If-None-Match"):
        if name in fields:
            raise bad(f"A deletion by prefix takes no {name}; to repeat it, give its 'until'.")
    if not found.get("prefix") and not parse_switch(found, "all"):
        raise bad("Without a prefix every key would be deleted; say 'all=true' if that is meant.")
    if found.get("prefix") and "all" in found:
        raise bad("'all' is for a deletion without a prefix.")
    if UNTIL in fields and "until" in found:
        raise bad(f"Give 'until' or the field {UNTIL}, not both.")
    until = fields.get(UNTIL, "").encode("latin-1") or found.get("until", b"")
    if not until and (UNTIL in fields or "until" in found):
        raise bad("'until' is empty; leave it out in the first request.")
    given = _limit(found.get("limit"), least=0)
    wanted = parse_listing({name: found[name] for name in found if name not in ("all", "until", "limit")})
    return Deletion(wanted, LISTED_KEYS if given is None else min(given, LISTED_KEYS), until)


def part_of_key(found: dict[str, bytes], name: str) -> bytes:
    """Return a parameter that is no longer than a key. Raises Problem (400)."""
    part = found.get(name, b"")
    if len(part) > KEY_BYTES:
        raise bad(f"The parameter {name!r} has {len(part):,} bytes; a key has {KEY_BYTES:,} at most.")
    return part


def _limit(raw: bytes | None, least: int = 1) -> int | None:
    if raw is None:
        return None
    if not _LIMIT.fullmatch(raw) or int(raw) < least:
        raise bad(
            f"The parameter 'limit' must be an integer from {least}; a page has {LISTED_KEYS:,} keys at most."
        )
    return int(raw)


def parse_switch(found: dict[str, bytes], name: str) -> bool:
    """Return whether a parameter says yes. Raises Problem (400) unless it says yes or no."""
    if name not in found:
        return False
    if found[name] not in _SWITCH:
        raise bad(f"The parameter {name!r} must be 'true' or 'false'.")
    return _SWITCH[found[name]]
