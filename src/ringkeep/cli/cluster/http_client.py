"""Sends one request to a cluster through whichever of several endpoints answers.

A request is tried on one endpoint after the other until its deadline. A write carries the same
Idempotency-Key each time, so that repeating one that may have been applied changes nothing.
"""

import json
import os
import re
import socket
import time
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Final
from urllib.parse import quote, quote_from_bytes

from ringkeep.cli.terminal.failure import Failure
from ringkeep.core.protocol.limits import MAX_TIMEOUT_MS
from ringkeep.exit_codes import INTERRUPTED, UNAVAILABLE, USAGE
from ringkeep.parsing import address, host_port

if TYPE_CHECKING:
    from http.client import HTTPResponse

DEFAULT_ENDPOINT: Final = "http://127.0.0.1:8000"
ENDPOINTS_VARIABLE: Final = "RINGKEEP_ENDPOINTS"
CONNECT_S: Final = 1.0  # an unreachable host must not use up the deadline
REPLY_GRACE_S: Final = 1.0  # how long past the deadline a node's own time-out answer is waited for
FIRST_PAUSE_S: Final = 0.05
LAST_PAUSE_S: Final = 0.5
TRY_ELSEWHERE: Final = frozenset({429, 503})
UNKNOWN: Final = 504


@dataclass(frozen=True, slots=True)
class Answer:
    """What the node at `endpoint` ("HOST:PORT") answered.

    `stream`: the body of a streamed request that succeeded, still to be read. `repeated`: an earlier attempt
    of this write may have been applied, and its answer is lost.
    """

    status: int
    headers: Mapping[str, str]
    body: bytes
    endpoint: str = ""
    stream: "HTTPResponse | None" = None
    repeated: bool = False

    @property
    def version(self) -> int | None:
        """The key's version as the ETag gives it."""
        digits = self.headers.get("etag", "").strip('"')
        return int(digits) if digits.isdecimal() else None

    @property
    def ttl_ms(self) -> int | None:
        """The milliseconds that a key still lives; None: for ever."""
        digits = self.headers.get("ringkeep-ttl", "")
        return int(digits) if digits.isdecimal() else None

    def json(self) -> object:
        """Return the decoded body. Raises Failure if it is not JSON."""
        try:
            return json.loads(self.body)
        except ValueError:
            raise Failure(f"the answer is not JSON (HTTP {self.status}): is this a Ringkeep node?") from None


@dataclass(slots=True)
class HttpRequest:
    """A request with its deadline. `target` begins with "/" and is percent-encoded.

    `tell_deadline`: whether the route takes `?timeout`, as those of the data do. `streamed`: the body of a
    success is left to the caller; the deadline is then that of each part. `wants_unknown`: a 504 is an
    answer, and not tried again.
    """

    method: str
    target: str
    body: bytes = b""
    headers: dict[str, str] = field(default_factory=dict)
    timeout_ms: int = 5_000
    is_write: bool = False
    tell_deadline: bool = False
    streamed: bool = False
    wants_unknown: bool = False

    def within(self, budget_s: float) -> str:
        """Return the target that tells the node how long it has."""
        if not self.tell_deadline:
            return self.target
        milliseconds = max(1, int(budget_s * 1_000))
        return f"{self.target}{'&' if '?' in self.target else '?'}timeout={milliseconds}ms"


def endpoints_of(option: str | None) -> list[str]:
    """Return "HOST:PORT" of each endpoint: the option, else the environment, else the default."""
    source, text = "--endpoint", option
    if text is None:
        source, text = ENDPOINTS_VARIABLE, os.environ.get(ENDPOINTS_VARIABLE) or DEFAULT_ENDPOINT
    endpoints = []
    for part in text.split(","):
        url = part.strip()
        try:
            endpoints.append(_endpoint(url))
        except ValueError as error:
            raise Failure(f"{source}: {error}", USAGE) from None
    return list(dict.fromkeys(endpoints))


def _endpoint(url: str) -> str:
    """Return "HOST:PORT" of an endpoint. Raises ValueError with what is wrong and the remedy."""
    scheme, separator, rest = url.rpartition("://")
    if separator and scheme.lower() == "https":
        raise ValueError(f"'{url}': nodes do not support TLS; write it like {DEFAULT_ENDPOINT}")
    if separator and scheme.lower() != "http":
        raise ValueError(f"'{url}' is not an http:// URL; write it like {DEFAULT_ENDPOINT}")
    if "@" in rest:
        raise ValueError("nodes do not support credentials in a URL; leave out the part before the @")
    host, slash, path = rest.partition("/")
    if path:
        raise ValueError(f"'{url}' has a path, but routes begin at /; leave out '{slash + path}'")
    return address(host)


def timeout_ms_of(text: str) -> int:
    """Read "2s" or "500ms", at most 30 s."""
    match = re.fullmatch(r"([0-9]{1,6})(ms|s)", text)
    milliseconds = int(match[1]) * (1 if match[2] == "ms" else 1_000) if match else 0
    if not 1 <= milliseconds <= MAX_TIMEOUT_MS:
        raise Failure(f"--timeout: '{text}' is invalid; write it like 500ms or 5s, at most 30s", USAGE)
    return milliseconds


def path_of(key: bytes) -> str:
    """Return the path of one key: every byte but letters, digits and `-._~` percent-encoded."""
    return f"/v1/kv/{quote_from_bytes(key, safe='')}"


def send(endpoints: list[str], request: HttpRequest) -> Answer:
    """Send it until a node gives an answer that another node could not improve. Raises Failure (4)."""
    attempt = _Attempts(endpoints, request)
    try:
        answer = attempt.run()
    except KeyboardInterrupt:
        if not request.is_write:
            raise
        raise Failure(attempt.interrupted(), INTERRUPTED) from None
    if answer is None:
        raise Failure(attempt.verdict(), UNAVAILABLE)
    return answer


class _Attempts:
    """The attempts of one request, and whether one of them may have been applied."""

    def __init__(self, endpoints: list[str], request: HttpRequest) -> None:
        self._endpoints = endpoints
        self._request = request
        self._deadline = time.monotonic() + request.timeout_ms / 1_000
        self._last = "no answer in time"
        self._said = False  # `_last` is from a node: it matters more than an endpoint that does not answer
        self._maybe_applied = False
        self._sent = False  # in the attempt under way

    def run(self) -> Answer | None:
        """Try the endpoints in turn until the deadline; None if none of them could serve it."""
        pause_s = FIRST_PAUSE_S
        while True:
            answered = False
            for position, endpoint in enumerate(self._endpoints):
                left_s = self._deadline - time.monotonic()
                if left_s <= 0:
                    return None
                # An endpoint that hangs gets its share of the time, so that the next has a chance.
                answer = self._try(endpoint, left_s / (len(self._endpoints) - position))
                answered = answered or answer is not None
                if answer is not None and answer.status == UNKNOWN and not self._request.wants_unknown:
                    self._maybe_applied = self._maybe_applied or self._request.is_write
                elif answer is not None and answer.status not in TRY_ELSEWHERE:
                    return replace(answer, repeated=self._maybe_applied)
            if not answered and not self._maybe_applied:
                return None  # no endpoint is reachable: waiting would only delay the error
            time.sleep(max(0.0, min(pause_s, self._deadline - time.monotonic())))
            pause_s = min(pause_s * 2, LAST_PAUSE_S)

    def verdict(self) -> str:
        """Return why there is no usable answer and, of a write, whether it was applied."""
        if not self._request.is_write:
            return self._last
        if self._maybe_applied:
            return f"{self._last} (outcome unknown: the write may have been applied)"
        return f"{self._last} (not applied)"

    def interrupted(self) -> str:
        """Return whether a write was applied that the user has interrupted."""
        if self._sent or self._maybe_applied:
            return "interrupted (outcome unknown: the write may have been applied)"
        return "interrupted (not applied)"

    def _try(self, endpoint: str, budget_s: float) -> Answer | None:
        from http.client import HTTPConnection, HTTPException  # a third of the start of `ringkeep --help`

        host, port = host_port(endpoint)
        connection = HTTPConnection(host, port, timeout=min(CONNECT_S, budget_s))
        self._sent = False
        stream = None
        try:
            connection.connect()
            sock = connection.sock
            sock.settimeout(budget_s + REPLY_GRACE_S)
            self._sent = True
            request = self._request
            connection.request(
                request.method, request.within(budget_s), request.body or None, request.headers
            )
            response = connection.getresponse()
            headers = {name.lower(): value for name, value in response.getheaders()}
            if request.streamed and response.status == 200:
                sock.settimeout(2 * budget_s + REPLY_GRACE_S)  # a node waits for room, then for the part
                stream = response
            body = response.read() if stream is None else b""
            answer = Answer(response.status, headers, body, endpoint, stream)
        except (OSError, HTTPException) as error:
            if not self._said:
                self._last = f"http://{endpoint}: {reason_of(error)}"
            self._maybe_applied = self._maybe_applied or (self._sent and self._request.is_write)
            return None
        finally:
            if stream is None:  # it reads from the connection, and closes it
                connection.close()
        if answer.status >= 400:
            self._last = f"http://{endpoint}: {problem_of(answer)}"
            self._said = True
        return answer


def reason_of(error: Exception) -> str:
    """Return why a node gave no answer, or not all of it, for people."""
    if isinstance(error, TimeoutError):
        return "no answer in time"
    if isinstance(error, ConnectionRefusedError):
        return "connection refused; is a node running there? (ringkeep up)"
    if isinstance(error, socket.gaierror):
        return "the host name cannot be resolved"
    if isinstance(error, OSError):
        return error.strerror or str(error) or type(error).__name__
    return f"the connection broke, or this is not an HTTP server ({type(error).__name__})"


def problem_of(answer: Answer) -> str:
    """Return an error answer in one line."""
    try:
        problem = json.loads(answer.body)
        title, detail = problem.get("title"), problem.get("detail") or problem.get("error")
    except (ValueError, AttributeError):
        title, detail = None, None
    said = ": ".join(str(part) for part in (title, detail) if part)
    return " ".join(said.split()) or f"HTTP {answer.status}"


def refuse(answer: Answer, is_write: bool) -> Failure:
    """Return the Failure for an answer that is an error, with the outcome of a write."""
    try:
        outcome = json.loads(answer.body).get("outcome")
    except (ValueError, AttributeError):
        outcome = None
    known = {
        "not-applied": " (not applied)",
        "unknown": " (outcome unknown: the write may have been applied)",
    }
    return Failure(problem_of(answer) + (known.get(str(outcome), "") if is_write else ""))


def get_json(endpoint: str | None, path: str, timeout: str, **query: bytes) -> dict[str, object]:
    """GET a JSON object from any endpoint. Raises Failure."""
    pairs = "&".join(f"{name}={quote(value, safe='')}" for name, value in query.items())
    request = HttpRequest("GET", path + ("?" + pairs if pairs else ""), timeout_ms=timeout_ms_of(timeout))
    return object_of(send(endpoints_of(endpoint), request))


def order(
    endpoints: list[str], path: str, timeout_ms: int, body: object = None, method: str = "POST"
) -> dict[str, object]:
    """Give an order, with `body` as its JSON, and return the answer. Raises Failure.

    An order names what the cluster should become, so that sending it twice changes nothing more.
    """
    raw = b"" if body is None else json.dumps(body).encode()
    headers = {"Content-Type": "application/json"} if raw else {}
    request = HttpRequest(method, path, raw, headers, timeout_ms, is_write=True)
    return object_of(send(endpoints, request))


def object_of(answer: Answer) -> dict[str, object]:
    """Return the JSON object that a node answered. Raises Failure for an error, and for anything else."""
    if not 200 <= answer.status < 300:
        raise refuse(
            answer, is_write=False
        )  # of an order, the problem's own text says whether it was applied
    decoded = answer.json()
    if not isinstance(decoded, dict):
        raise Failure("the answer is not a JSON object: is this a Ringkeep node?")
    return decoded
