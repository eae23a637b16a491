"""What a reader of changes asks for: by a query with header fields, or by a body where the cursor is long."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import msgspec

from ringkeep.core.protocol.limits import KEY_BYTES
from ringkeep.http.parse.json_members import bytes_of
from ringkeep.http.parse.listing import parse_switch, part_of_key
from ringkeep.http.problems import bad

PARAMETERS: Final = ("prefix", "after", "values")
AFTER: Final = "Ringkeep-After"
"""The header field for a cursor that is too long for a URL."""
LAST: Final = "Last-Event-ID"
"""The header field by which an EventSource says what it has heard last."""
NOW: Final = b"now"


@dataclass(slots=True)
class Wanted:
    """`after`: a cursor as it was sent, and where it stood; b"": from now on."""

    prefix: bytes
    values: bool
    after: bytes
    place: str


class _Body(msgspec.Struct, forbid_unknown_fields=True):
    prefix: str | None = None
    prefix_base64: str | None = None
    after: str = "now"
    values: bool = False


_decode: Final = msgspec.json.Decoder(_Body).decode


def parse_wanted(found: dict[str, bytes], fields: Mapping[str, str]) -> Wanted:
    """Return what a query and header fields ask for. Raises Problem (400).

    Last-Event-ID comes before all else: a browser that connects again sends it beside the first query.
    """
    after, place = found.get("after", NOW), "'after'"
    if AFTER in fields:
        if "after" in found:
            raise bad(f"Give 'after' or the field {AFTER}, not both.")
        after, place = fields[AFTER].encode("latin-1"), AFTER
    if fields.get(LAST):
        after, place = fields[LAST].encode("latin-1"), LAST
    return Wanted(part_of_key(found, "prefix"), parse_switch(found, "values"), _cursor(after, place), place)


def parse_body(body: bytes) -> Wanted:
    """Return what the JSON of a POST asks for. Raises Problem (400)."""
    try:
        asked = _decode(body or b"{}")
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise bad(f"The body is not the JSON of this route: {error}.") from None
    prefix = b""
    if asked.prefix is not None or asked.prefix_base64 is not None:
        prefix = bytes_of("prefix", asked.prefix, asked.prefix_base64)
    if len(prefix) > KEY_BYTES:
        raise bad(f"The member 'prefix' has {len(prefix):,} bytes; a key has {KEY_BYTES:,} at most.")
    after = _cursor(asked.after.encode(), "the member 'after'")
    return Wanted(prefix, asked.values, after, "the member 'after'")


def _cursor(after: bytes, place: str) -> bytes:
    if not after:
        raise bad(f"{place} is empty; 'now' begins with what changes next.")
    return b"" if after == NOW else after
