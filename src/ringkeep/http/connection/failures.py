"""The problems that results of the service stand for. Knows what was asked, nothing of how it is answered."""

from typing import Final

from ringkeep.core.protocol.client_requests import Kind, Result, Status
from ringkeep.core.protocol.limits import KEPT_RESULT_BYTES, KIB, VALUE_BYTES
from ringkeep.http import problems
from ringkeep.http.problems import UNKNOWN, Problem


def failure(kind: int, idempotent: bool, result: Result) -> Problem:
    """Return the problem of an operation of `kind`, for which it did not get what it asked.

    `idempotent`: it may be sent again with the same Idempotency-Key.
    """
    status = result.status
    if status in PRESENT:
        problem_kind, text = PRESENT[status]
        if status is Status.TOO_LARGE and kind != Kind.APPEND:
            text = _NOT_KEPT_TEXT
        etag = b'ETag: "%d"\r\n' % result.version if result.version else b""
        return Problem(problem_kind, text, headers=etag)
    if status is Status.UNKNOWN and kind != Kind.GET:
        return Problem(
            problems.FATE_UNKNOWN,
            _with("The write was handed on and its fate is not known: it may have been applied.", result)
            + (
                " Send it again with the same Idempotency-Key to learn its result."
                if idempotent
                else " Read the key before writing again; with an Idempotency-Key a retry is safe."
            ),
            outcome=UNKNOWN,
            retryable=idempotent,
        )
    problem_kind, text = _REFUSALS.get(status, _UNAVAILABLE)
    return Problem(problem_kind, _with(text, result))


def _with(text: str, result: Result) -> str:
    return f"{text} The node says: {result.detail.rstrip('.')}." if result.detail else text


CONDITION_TEXT: Final = (
    "The condition of the request does not hold. Nothing was applied; "
    "read the key and decide again (a present version comes as ETag)."
)
_NOT_KEPT_TEXT: Final = (
    f"The old value has more than {KEPT_RESULT_BYTES // KIB} KiB, so that the answer cannot be kept for an "
    "Idempotency-Key. Nothing was applied; send the request without one, or read the key and write it with "
    "If-Match."
)
# Where the answer has the version that stands.
PRESENT: Final = {
    Status.CONDITION_FAILED: (problems.CONDITION, CONDITION_TEXT),
    Status.WRONG_TYPE: (
        problems.WRONG_TYPE,
        "The value is not a decimal integer of 64 bits, or would not be one after this. Nothing was applied; "
        "read the key, or replace its value.",
    ),
    Status.TOO_LARGE: (
        problems.TOO_LARGE,
        f"The value would have more than {VALUE_BYTES} bytes. Nothing was applied; go on under another key.",
    ),
}
_UNAVAILABLE: Final = (
    problems.UNAVAILABLE,
    "Nobody could serve the request by its deadline. Nothing was applied, and it never will be; try again.",
)
_REFUSALS: Final = {
    Status.KEY_REUSED: (
        problems.KEY_REUSED,
        "The Idempotency-Key stands for another request (method, body, condition or ttl differ). "
        "Nothing was applied; use a new key for a new request.",
    ),
    Status.BUSY: (problems.BUSY, problems.BUSY_TEXT),
    Status.NO_SPACE: (
        problems.NO_SPACE,
        "There is less free disk than the reserve. Nothing was applied; make room, then try again. Deletes "
        "are taken for as long as a part of the reserve is left.",
    ),
}
