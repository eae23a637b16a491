"""Deletes the keys of a range, a page at a time: each if it still has the version that was listed.

What is newer than `until`, the positions that the partitions had when the deletion began, is not listed, and
so it stays, however often the deletion is repeated with the same positions. Some deletes are under way at one
time. After the first that fails no further one is begun, and the answer says how far it came.
"""

import asyncio
import time
from typing import Any, Final

from ringkeep.core.protocol.client_requests import Item, Kind, Page, Request, Result, Status
from ringkeep.http import problems
from ringkeep.http.admin.pages_of_keys import key_members, page_of
from ringkeep.http.parse.listing import Listing
from ringkeep.http.problems import Problem, ProblemKind
from ringkeep.http.service import Service

AT_ONCE: Final = 64
PAGE_KEYS: Final = 1_000
_KINDS: Final[dict[Status, ProblemKind]] = {
    Status.BUSY: problems.BUSY, Status.NO_SPACE: problems.NO_SPACE,
}  # fmt: skip
_HANDLED: Final = frozenset({Status.DELETED, Status.NOT_FOUND, Status.CONDITION_FAILED})


class _Deletes:
    """The deletes of one page. `through`: all before this place are done. `failed`: the first that was not
    applied, or is not known.
    """

    def __init__(self, service: Service, items: list[Item], begin_until: float, deadline: float) -> None:
        self._service = service
        self._items = items
        self._begin_until = begin_until
        self._deadline = deadline
        self._next = 0
        self._in_flight = 0
        self._beginning = False
        self._handled = bytearray(len(items))
        self._ended: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.count = 0
        self.unknown = 0
        self.failed: Result | None = None

    async def run(self) -> None:
        """Return once all have ended that were begun."""
        self._begin()
        await self._ended

    @property
    def through(self) -> int:
        at = self._handled.find(0)
        return at if at >= 0 else len(self._items)

    def _begin(self) -> None:
        """Begin as many as may be under way. A service may answer at once: then this is called within."""
        if self._beginning:
            return
        self._beginning = True
        now = time.monotonic()
        left_ms = max(int((self._deadline - now) * 1_000), 1)
        late = now >= self._begin_until
        while self._in_flight < AT_ONCE and self._next < len(self._items) and not self.failed and not late:
            at, item = self._next, self._items[self._next]
            self._next += 1
            self._in_flight += 1
            request = Request(Kind.DELETE, item.key, condition=item.version, timeout_ms=left_ms)
            request.done = lambda result, at=at: self._done(at, result)  # type: ignore[misc]  # one argument
            self._service.submit(request)
        self._beginning = False
        if not self._in_flight and not self._ended.done():
            self._ended.set_result(None)

    def _done(self, at: int, result: Result) -> None:
        self._in_flight -= 1
        status = result.status
        if status in _HANDLED:
            self._handled[at] = 1
            self.count += status is Status.DELETED
        else:
            self.unknown += status in (Status.UNKNOWN, Status.DEFECT)
            self.failed = self.failed or result
        self._begin()


class RangeDeletion:
    """One request. It begins no delete in the second half of its time: those under way end in it.

    `count`: of keys deleted. `last`: this key, and every listed one before it, is done. `complete`: all are.
    """

    def __init__(self, service: Service, wanted: Listing, limit: int, until: tuple[int, ...]) -> None:
        self._service = service
        self._wanted = wanted
        self._limit = limit
        self._until = until
        self._deadline = time.monotonic() + wanted.timeout_ms / 1_000
        self._begin_until = self._deadline - wanted.timeout_ms / 2_000
        self._unknown = 0
        self.count = 0
        self.last: bytes | None = None
        self.complete = False

    async def run(self) -> None:
        """Delete page by page. Raises Problem if it came nowhere, or if the fate of a delete is not known."""
        begin, listed = self._wanted.begin, 0
        while True:
            page = await self._page(begin, min(PAGE_KEYS, self._limit - listed))
            deletes = _Deletes(self._service, page.items, self._begin_until, self._deadline)
            await deletes.run()
            listed += len(page.items)
            self.count += deletes.count
            self._unknown = deletes.unknown
            through = deletes.through
            if through:
                self.last = page.items[through - 1].key
            stopped = through < len(page.items)
            if deletes.unknown or (stopped and self.last is None):
                raise self._failure(deletes.failed)
            self.complete = not stopped and not page.next
            if self.complete or stopped or listed >= self._limit or time.monotonic() >= self._begin_until:
                return
            begin = page.next

    def members(self, until: str) -> dict[str, Any]:
        """Return the members of an answer; `until` as it is shown."""
        following = {"next": None} if self.complete or self.last is None else key_members("next", self.last)
        return {"count": self.count, **following, "until": until}

    async def _page(self, begin: bytes, limit: int) -> Page:
        """Return the next page. If there is none in time, that ends the deletion, where it has begun."""
        try:
            return await page_of(self._service, self._wanted, begin, limit, self._until)
        except Problem as problem:
            if not self.count:
                raise
            raise self._failure(None) from problem

    def _failure(self, failed: Result | None) -> Problem:
        """Return the problem of a deletion that cannot go on, or does not know how far it came."""
        if not self.count and not self._unknown:
            kind = _KINDS.get(failed.status, problems.UNAVAILABLE) if failed else problems.UNAVAILABLE
            return Problem(kind, "No key was deleted: the first could not be, or there was no time for it.")
        detail = (
            f"{self.count:,} keys were deleted; of {self._unknown:,} more it is not known. Repeat the request"
            " with this 'until': it deletes nothing that was written since it began."
        )
        extra = {"unknown": self._unknown}
        return Problem(problems.FATE_UNKNOWN, detail, problems.UNKNOWN, extra=extra)
