"""Deletes the keys of a range, request by request, and knows at any time how far it came.

The first request deletes nothing: it marks the beginning (`until`). All others name that, so each may be
repeated, and none deletes what was written since.
"""

import base64
import json
import time
from dataclasses import replace
from typing import Any, Final

from ringkeep.cli.cluster import http_client
from ringkeep.cli.cluster.http_client import UNKNOWN, Answer, HttpRequest
from ringkeep.cli.cluster.key_ranges import KeyRange, go_on_after
from ringkeep.cli.terminal.failure import Failure
from ringkeep.exit_codes import INTERRUPTED, UNAVAILABLE

UNTIL: Final = "Ringkeep-Until"


class RangeDeletion:
    """One deletion. `deleted`: keys of which that is known. `unknown`: at most so many deletes whose fate was
    not known once; they were repeated, so the key is gone, or was written since. `lost`: some answer was
    lost, with the number in it.
    """

    def __init__(self, endpoints: list[str], wanted: KeyRange, timeout_ms: int, until: str | None) -> None:
        self._endpoints = endpoints
        self._range = wanted
        self._timeout_ms = timeout_ms
        self._until = until
        self.deleted = 0
        self.unknown = 0
        self.lost = False
        self.complete = False

    def step(self) -> None:
        """Do one request, or several until one has come further. Raises Failure that says how to go on."""
        give_up_at = time.monotonic() + self._timeout_ms / 1_000
        try:
            if self._until is None:
                self._note(self._ask(limit="0"))
                return
            while not self._note(answer := self._ask()):
                if time.monotonic() >= give_up_at:
                    raise Failure(http_client.problem_of(answer), UNAVAILABLE)
        except Failure as failure:
            raise Failure(f"{failure}; {self._so_far()}", failure.exit_code) from None
        except KeyboardInterrupt:
            raise Failure(f"interrupted; {self._so_far()}", INTERRUPTED) from None

    def told(self) -> str:
        """Return what was deleted, for people."""
        keys = "1 key" if self.deleted == 1 else f"{self.deleted:,} keys"
        if self.lost:
            return f"{keys} deleted, and perhaps more: an answer was lost"
        if self.unknown:
            return f"{keys} deleted, and up to {self.unknown:,} more of which it is not known"
        return f"{keys} deleted"

    def _ask(self, **parameters: str) -> Answer:
        if not self._range.prefix:
            parameters["all"] = "true"
        request = HttpRequest(
            "DELETE",
            self._range.target(**parameters),
            headers={UNTIL: self._until} if self._until is not None else {},
            timeout_ms=self._timeout_ms,
            is_write=self._until is not None,
            tell_deadline=True,
            wants_unknown=True,
        )
        answer = http_client.send(self._endpoints, request)
        self.lost = self.lost or answer.repeated
        return answer

    def _note(self, answer: Answer) -> bool:
        """Take over how far a request came, and return whether that is any further. Raises Failure."""
        if answer.status not in (200, UNKNOWN):
            raise http_client.refuse(answer, is_write=True)
        try:
            said: dict[str, Any] = json.loads(answer.body)
            self._until, count = str(said["until"]), int(said["count"])
        except (ValueError, KeyError, TypeError):
            if answer.status == UNKNOWN:
                return False
            raise Failure("the answer is not that of a deletion: is this a Ringkeep node?") from None
        self.deleted += count
        self.unknown += int(said.get("unknown", 0))
        following = _next(said)
        self.complete = following is None and answer.status == 200
        further = count > 0 or (following is not None and following != self._range.after)
        if following is not None:
            self._range = replace(self._range, after=following)
        return further or self.complete

    def _so_far(self) -> str:
        """Return what was deleted before the failure, and how to go on."""
        if self._until is None:
            return "nothing was deleted"
        after = f"{go_on_after(self._range.after)} " if self._range.after else ""
        return f"{self.told()}; go on with the same command and {after}--until={self._until}"


def _next(said: dict[str, Any]) -> bytes | None:
    if "next_base64" in said:
        return base64.b64decode(said["next_base64"])
    return None if said["next"] is None else str(said["next"]).encode()
