"""Error answers: `application/problem+json` (RFC 9457) with what matters most to a caller, the outcome.

Knows the problems by name and how they are written; not how they come about.
"""

import json
from dataclasses import dataclass, field
from typing import Any, Final

NOT_APPLIED: Final = "not-applied"
UNKNOWN: Final = "unknown"


@dataclass(frozen=True, slots=True)
class Kind:
    """One row of the table of problems. `slug` is the anchor in /docs that its `type` points to."""

    status: int
    slug: str
    title: str
    retryable: bool = False
    headers: bytes = b""


_SOON: Final = b"Retry-After: 1\r\n"

BAD_REQUEST: Final = Kind(400, "bad-request", "Bad request")
FOREIGN: Final = Kind(403, "foreign-page", "Foreign origin or host")
NOT_FOUND: Final = Kind(404, "not-found", "Key not found")
NO_ROUTE: Final = Kind(404, "no-such-route", "No such route")
NO_SUCH_NODE: Final = Kind(404, "no-such-node", "No such node")
METHOD: Final = Kind(405, "method-not-allowed", "Method not allowed")
TOO_SLOW: Final = Kind(408, "request-timeout", "Request not received in time", retryable=True)
REFUSED: Final = Kind(409, "refused", "Refused")
LENGTH: Final = Kind(411, "length-required", "Length required")
CONDITION: Final = Kind(412, "condition-failed", "Condition failed")
TOO_LARGE: Final = Kind(413, "too-large", "Content too large")
URI_TOO_LONG: Final = Kind(414, "uri-too-long", "URI too long")
MEDIA_TYPE: Final = Kind(415, "unsupported-media-type", "Unsupported encoding")
EXPECTATION: Final = Kind(417, "expectation-failed", "Expectation failed")
KEY_REUSED: Final = Kind(422, "idempotency-key-reused", "Idempotency key reused")
BUSY: Final = Kind(429, "busy", "Node is full", retryable=True, headers=_SOON)
HEADERS: Final = Kind(431, "headers-too-large", "Header fields too large")
DEFECT: Final = Kind(500, "defect", "Internal error")
UNAVAILABLE: Final = Kind(503, "unavailable", "Unavailable", retryable=True, headers=_SOON)
FATE_UNKNOWN: Final = Kind(504, "outcome-unknown", "Outcome unknown")
NO_SPACE: Final = Kind(507, "insufficient-storage", "Insufficient storage", retryable=True)

KINDS: Final = tuple(value for value in list(globals().values()) if isinstance(value, Kind))
BY_STATUS: Final = {kind.status: kind for kind in reversed(KINDS)}


@dataclass(slots=True)
class Problem(Exception):
    """One error answer. `detail` says what happened, whether it was applied, and what to do.

    `extra` are further members of the body, `headers` further header lines, each with its line end.
    """

    kind: Kind
    detail: str
    outcome: str = NOT_APPLIED
    retryable: bool | None = None
    headers: bytes = b""
    extra: dict[str, Any] = field(default_factory=dict)

    def document(self, original: bool) -> dict[str, Any]:
        """Return the body's members. The original three routes say `"status": "Failed"` and `error`."""
        kind = self.kind
        members: dict[str, Any] = {
            "type": f"/docs#{kind.slug}",
            "title": kind.title,
            "status": "Failed" if original else kind.status,
            "detail": self.detail,
            "outcome": self.outcome,
            "retryable": kind.retryable if self.retryable is None else self.retryable,
        }
        if original:
            members["error"] = self.detail
        return members | self.extra

    def body(self, original: bool) -> bytes:
        """Return the body as JSON in UTF-8."""
        text = json.dumps(self.document(original), ensure_ascii=False, separators=(",", ":"))
        return text.encode("utf-8", "replace")

    def header_lines(self) -> bytes:
        """Return the header lines that this problem adds to an answer."""
        return self.kind.headers + self.headers


def bad(detail: str) -> Problem:
    """Return a 400 whose detail is completed by the usual advice."""
    return Problem(BAD_REQUEST, f"{detail} Nothing was applied; correct the request before sending it again.")
