"""A stream of changes as a client reads it: through one endpoint after the other, from its last cursor on.

What a new connection tells again is left out, so that every change comes once.
"""

import json
import sys
import time
from collections.abc import Iterator
from typing import Any, Final
from urllib.parse import quote_from_bytes

from ringkeep.cli.cluster.http_client import (
    CONNECT_S,
    FIRST_PAUSE_S,
    LAST_PAUSE_S,
    TRY_ELSEWHERE,
    Answer,
    problem_of,
)
from ringkeep.cli.terminal.failure import Failure
from ringkeep.exit_codes import FAILED, UNAVAILABLE
from ringkeep.parsing import host_port

SILENT_S: Final = 30.0
"""A node that says nothing for so long is left: bookmarks come each 10 s at least."""


class ChangeStream:
    """Changes of the keys with a prefix, after a cursor or from now on. `first_s`: how long the first
    connection may take; later ones are tried for ever."""

    def __init__(self, endpoints: list[str], prefix: bytes, values: bool, after: str, first_s: float) -> None:
        self._endpoints = endpoints
        self._target = f"/v1/changes?prefix={quote_from_bytes(prefix, safe='')}{'&values=true' * values}"
        self._cursor = after
        self._give_up_at = time.monotonic() + first_s
        self._first = True
        self._last = "no answer in time"
        self._pause_s = FIRST_PAUSE_S
        self._began_at = 0.0
        self._heard: dict[str, int] = {}  # the last version of each key that may be told again

    def documents(self) -> Iterator[dict[str, Any]]:
        """Yield events and bookmarks, as the nodes tell them. Raises Failure if it cannot go on."""
        while True:
            for endpoint in self._endpoints:
                for document in self._lines(endpoint):
                    if document["event"] == "bookmark":
                        self._on_bookmark(document)
                        yield document
                    elif document["event"] == "gone":
                        raise Failure(document["detail"], FAILED)
                    elif self._is_new(document):
                        yield document
                self._on_break(endpoint)
            time.sleep(self._pause_s)
            self._pause_s = min(self._pause_s * 2, LAST_PAUSE_S)

    def _on_bookmark(self, document: dict[str, Any]) -> None:
        self._cursor = document["cursor"]
        age = document["age"]
        if age is not None and age / 1_000 + SILENT_S < time.monotonic() - self._began_at:
            self._heard.clear()  # all that was committed before this connection is told, and read

    def _is_new(self, document: dict[str, Any]) -> bool:
        name = document.get("key") or "base64:" + document["key_base64"]
        if document["version"] <= self._heard.get(name, 0):
            return False
        self._heard[name] = document["version"]
        return True

    def _on_break(self, endpoint: str) -> None:
        if self._first:
            if time.monotonic() > self._give_up_at:
                raise Failure(self._last, UNAVAILABLE)
        elif self._pause_s == FIRST_PAUSE_S:
            print(f"ringkeep: http://{endpoint}: {self._last}; going on", file=sys.stderr)

    def _lines(self, endpoint: str) -> Iterator[dict[str, Any]]:
        """Yield what one connection tells, until it breaks."""
        from http.client import HTTPConnection, HTTPException  # a third of the start of `ringkeep --help`

        connection = HTTPConnection(*host_port(endpoint), timeout=CONNECT_S)
        headers = {"Accept": "application/x-ndjson", "Ringkeep-After": self._cursor}
        try:
            connection.connect()
            connection.sock.settimeout(SILENT_S)
            connection.request("GET", self._target, headers=headers)
            response = connection.getresponse()
            if response.status != 200:
                self._refused(Answer(response.status, {}, response.read(), endpoint))
                return
            self._began_at = time.monotonic()
            self._first, self._pause_s, self._last = False, FIRST_PAUSE_S, "the stream ended"
            while (line := response.readline()).endswith(b"\n"):
                yield json.loads(line)
        except (OSError, HTTPException) as error:
            self._last = str(error) or "the connection broke"
        finally:
            connection.close()

    def _refused(self, answer: Answer) -> None:
        self._last = f"http://{answer.endpoint}: {problem_of(answer)}"
        if answer.status not in TRY_ELSEWHERE:
            raise Failure(problem_of(answer), FAILED)
