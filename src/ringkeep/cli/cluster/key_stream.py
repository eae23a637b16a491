"""Reads the lines of a listing while the node sends them. The last one says whether it is complete."""

import base64
import json
from collections.abc import Iterator
from typing import Any, Final

from ringkeep.cli.cluster import http_client
from ringkeep.cli.cluster.http_client import HttpRequest
from ringkeep.cli.terminal.failure import Failure
from ringkeep.exit_codes import UNAVAILABLE

LINES: Final = "application/x-ndjson"
_READ_BYTES: Final = 65_536
_END: Final = b'{"end":'

Row = dict[str, Any]
"""A key as the node's line has it."""


class KeyStream:
    """One listing. `count`: of lines given out. `last`: the last one. `next`: whether a limit ended it."""

    def __init__(self, endpoints: list[str], target: str, timeout_ms: int) -> None:
        """Ask for it. Raises Failure if no node gives one."""
        request = HttpRequest(
            "GET", target, headers={"Accept": LINES}, timeout_ms=timeout_ms, tell_deadline=True, streamed=True
        )
        answer = http_client.send(endpoints, request)
        if answer.status != 200:
            raise http_client.refuse(answer, is_write=False)
        assert answer.stream is not None, "a success is streamed"
        self._stream = answer.stream
        self._from = answer.endpoint
        self.count = 0
        self.last: bytes | None = None
        self.next = False

    def parts(self) -> Iterator[list[bytes]]:
        """Yield the lines of keys, some at a time, as they come. Raises Failure if it is not complete.

        `count` and `last` cover a part once the next one is asked for.
        """
        rest = b""
        while True:
            lines = (rest + self._read()).split(b"\n")
            rest = lines.pop()
            end = lines.pop() if lines and lines[-1].startswith(_END) else None
            if lines:
                yield lines
                self.count += len(lines)
                self.last = lines[-1]
            if end is not None:
                self._finish(end)
                return

    def close(self) -> None:
        """Leave the rest unread."""
        self._stream.close()

    def _read(self) -> bytes:
        from http.client import HTTPException  # it has long been loaded; `ringkeep --help` does without

        try:
            found = self._stream.read1(_READ_BYTES)
        except (OSError, HTTPException) as error:
            reason = http_client.reason_of(error)
            raise Failure(f"http://{self._from}: {reason}", UNAVAILABLE) from None
        if not found:
            raise Failure(f"http://{self._from}: the listing ended without its last line", UNAVAILABLE)
        return found

    def _finish(self, line: bytes) -> None:
        end: Row = json.loads(line)
        self.next = "next" in end or "next_base64" in end
        if end["end"] and end.get("count", self.count) != self.count:
            count = end["count"]
            raise Failure(f"http://{self._from}: {self.count} of {count} keys have come", UNAVAILABLE)
        if not end["end"]:
            error: Row = end["error"]
            raise Failure(f"http://{self._from}: {error.get('title')}: {error.get('detail')}", UNAVAILABLE)


def bytes_of(row: Row, name: str) -> bytes:
    """Return a member that is text or base64."""
    text = row.get(name)
    return base64.b64decode(row[f"{name}_base64"]) if text is None else text.encode()
