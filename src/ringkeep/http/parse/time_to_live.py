"""How long a record is to live, as a query or a JSON body says it."""

from typing import Final

from ringkeep import parsing
from ringkeep.core.protocol.client_requests import KEEP
from ringkeep.http.problems import Problem, bad

KEEP_WORD: Final = "keep"


def parse_ttl(text: str, place: str, *, keeps: bool = True) -> int:
    """Return milliseconds, or KEEP where it may be kept. Raises Problem (400); `place` names what is wrong.

    `place` begins the sentence: "The parameter", "The member".
    """
    if keeps and text == KEEP_WORD:
        return KEEP
    try:
        return parsing.ttl_ms(text)
    except ValueError:
        keep = f", or {KEEP_WORD!r} for the time that the record has left" if keeps else ""
        raise bad(f"{place} 'ttl' must be {parsing.TTL_FORM}{keep}.") from None


def wrong_ttl() -> Problem:
    """Return the 400 of a ttl in JSON that is no string."""
    return bad("The member 'ttl' must be a JSON string with a unit, such as \"30s\": a number has none.")
