"""What a client is made with, and what both clients make of it."""

import os
from collections.abc import Iterable
from enum import Enum
from typing import Final
from urllib.parse import urlsplit

DEFAULT_ENDPOINT: Final = "http://127.0.0.1:8000"
ENDPOINTS_VARIABLE: Final = "RINGKEEP_ENDPOINTS"


class Missing(Enum):
    """Stands for a default that was not given."""

    MISSING = 0


MISSING: Final = Missing.MISSING

TIMEOUT_S: Final = 5.0
CONNECTIONS: Final = 64
"""To one endpoint, kept open."""
PAGE: Final = 1_000
"""Keys of a listing that are asked for at once."""


def endpoints_of(given: str | Iterable[str] | None) -> list[str]:
    """Return each endpoint as "http://host:port". `given`: URLs, also with commas between, or those of
    RINGKEEP_ENDPOINTS, or the node that `ringkeep up` starts first.

    Raises ValueError for what is none.
    """
    if given is None:
        given = os.environ.get(ENDPOINTS_VARIABLE) or DEFAULT_ENDPOINT
    texts = given.split(",") if isinstance(given, str) else list(given)
    found = list(dict.fromkeys(_endpoint(text.strip()) for text in texts if text.strip()))
    if not found:
        raise ValueError(f"a client needs an endpoint, such as {DEFAULT_ENDPOINT}")
    return found


def _endpoint(text: str) -> str:
    url = urlsplit(text if "://" in text else f"http://{text}")
    wrong = (
        url.scheme not in ("http", "https") or not url.hostname or url.path not in ("", "/")
        or url.query or url.fragment or url.username is not None
    )  # fmt: skip
    try:
        wrong = wrong or url.port == 0
    except ValueError:  # a number above 65535, or none
        wrong = True
    if wrong:
        raise ValueError(f"{text!r} is no endpoint; write it like {DEFAULT_ENDPOINT}")
    return f"{url.scheme}://{url.netloc}"


def seconds_of(timeout: float | None, default: float) -> float:
    """Return how long a call may take. Raises ValueError unless it is positive."""
    seconds = default if timeout is None else timeout
    if not seconds > 0:
        raise ValueError(f"a timeout is a positive number of seconds, not {seconds!r}")
    return seconds
