"""Error answers: `application/problem+json` (RFC 9457), with the outcome of the request.

Knows the kinds of problems and their encoding; not their causes.
"""

import json
from dataclasses import dataclass, field
from typing import Any, Final

NOT_APPLIED: Final = "not-applied"
UNKNOWN: Final = "unknown"


@dataclass(frozen=True, slots=True)
class ProblemKind:
    """One row of the table of problems. `slug` is the anchor in /docs that its `type` points to."""

    status: int
    slug: str
    title: str
    retryable: bool = False
    headers: bytes = b""


_SOON: Final = b"Retry-After: 1\r\n"

BAD_REQUEST: Final = ProblemKind(400, "bad-request", "Bad request")
FOREIGN: Final = ProblemKind(403, "foreign-page", "Foreign origin or host")
NOT_FOUND: Final = ProblemKind(404, "not-found", "Key not found")
NO_ROUTE: Final = ProblemKind(404, "no-such-route", "No such route")
NO_SUCH_NODE: Final = ProblemKind(404, "no-such-node", "No such node")
METHOD: Final = ProblemKind(405, "method-not-allowed", "Method not allowed")
TOO_SLOW: Final = ProblemKind(408, "request-timeout", "Request not received in time", retryable=True)
REFUSED: Final = ProblemKind(409, "refused", "Refused")
GONE: Final = ProblemKind(410, "history-cut", "History is cut")
LENGTH: Final = ProblemKind(411, "length-required", "Length required")
WRONG_TYPE: Final = ProblemKind(409, "wrong-type", "Wrong type of value")
CONDITION: Final = ProblemKind(412, "condition-failed", "Condition failed")
TOO_LARGE: Final = ProblemKind(413, "too-large", "Content too large")
URI_TOO_LONG: Final = ProblemKind(414, "uri-too-long", "URI too long")
MEDIA_TYPE: Final = ProblemKind(415, "unsupported-media-type", "Unsupported encoding")
EXPECTATION: Final = ProblemKind(417, "expectation-failed", "Expectation failed")
KEY_REUSED: Final = ProblemKind(422, "idempotency-key-reused", "Idempotency key reused")
BUSY: Final = ProblemKind(429, "busy", "Node is full", retryable=True, headers=_SOON)
HEADERS: Final = ProblemKind(431, "headers-too-large", "Header fields too large")
DEFECT: Final = ProblemKind(500, "defect", "Internal error")
UNAVAILABLE: Final = ProblemKind(503, "unavailable", "Unavailable", retryable=True, headers=_SOON)
FATE_UNKNOWN: Final = ProblemKind(504, "outcome-unknown", "Outcome unknown")
NO_SPACE: Final = ProblemKind(507, "insufficient-storage", "Insufficient storage", retryable=True)

KINDS: Final = tuple(value for value in list(globals().values()) if isinstance(value, ProblemKind))
BY_STATUS: Final = {kind.status: kind for kind in reversed(KINDS)}

BUSY_TEXT: Final = "This node is full just now. Nothing was applied; try again later or at another node."


@dataclass(slots=True)
class Problem(Exception):
    """One error answer. `detail` says what happened, whether it was applied, and what to do.

    `extra` are further members of the body, `headers` further header lines, each with its line end.
    """

    kind: ProblemKind
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


def wrong_method(methods: str) -> Problem:
    """Return a 405; `methods` are those that the route serves, as the header field Allow lists them."""
    return Problem(
        METHOD,
        f"This route does not serve that method. Nothing was applied; it serves: {methods}.",
        headers=f"Allow: {methods}\r\n".encode(),
    )


def busy() -> Problem:
    """Return the 429 of a node that holds as much as it may."""
    return Problem(BUSY, BUSY_TEXT)
