"""`/v1/kv`: GET lists keys in byte order, as pages of JSON, as a stream of lines, or counted; DELETE deletes
them.

A stream asks for one page after the other, each once its reader has taken the one before, so a reader that is
slow costs two pages. A page may end early; only where the store says so is the listing complete.
"""

import asyncio
from collections.abc import AsyncIterator
from typing import Any, Final

import msgspec
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import Route

from ringkeep.core.protocol.client_requests import Page
from ringkeep.core.protocol.limits import LISTED_KEYS
from ringkeep.http import problems
from ringkeep.http.admin.pages_of_keys import key_members, listed, page_of, positions_now
from ringkeep.http.admin.range_deletion import RangeDeletion
from ringkeep.http.admin.responses import json_answer, parameters_of
from ringkeep.http.parse.listing import (
    DELETION_PARAMETERS,
    PARAMETERS,
    USUAL_LIMIT,
    Listing,
    parse_deletion,
    parse_listing,
)
from ringkeep.http.parse.positions import cursor_of, positions_of
from ringkeep.http.problems import Problem
from ringkeep.http.routes import KEYS_PATH
from ringkeep.http.service import Service

LINES: Final = "application/x-ndjson"
STREAMED_KEYS: Final = 4_000  # in one page of a stream

NO_LINES: Final[tuple[bytes, ...]] = ()

_encoder: Final = msgspec.json.Encoder()


class ListingRoutes:
    """The handlers, over one service."""

    def __init__(self, service: Service) -> None:
        self._service = service

    def routes(self) -> list[Route]:
        """Return the routes with their methods."""
        return [Route(KEYS_PATH, self.keys, methods=["GET", "DELETE"])]

    async def keys(self, request: Request) -> Response:
        """`/v1/kv`: keys of a range."""
        return await (self._delete(request) if request.method == "DELETE" else self._list(request))

    def _check_serving(self, outcome: str) -> None:
        reason = self._service.serving()
        if reason is not None:
            raise Problem(problems.UNAVAILABLE, f"This node does not serve yet: {reason}. {outcome}.")

    # --- listing --------------------------------------------------------------------------------------

    async def _list(self, request: Request) -> Response:
        wanted = parse_listing(parameters_of(request, *PARAMETERS))
        self._check_serving("Nothing was read")
        if wanted.count:
            return json_answer({"count": (await page_of(self._service, wanted, wanted.begin, 1)).count})
        if LINES in request.headers.get("accept", ""):
            lines = self._nothing() if request.method == "HEAD" else await self._begin_lines(wanted)
            return StreamingResponse(lines, headers={"Cache-Control": "no-store"}, media_type=LINES)
        limit = USUAL_LIMIT if wanted.limit is None else min(wanted.limit, LISTED_KEYS)
        cursor = {} if wanted.goes_on else {"cursor": await self._cursor(wanted)}
        page = await page_of(self._service, wanted, wanted.begin, limit)
        members: dict[str, Any] = {"items": [listed(each, wanted.values) for each in page.items]}
        members |= key_members("next", page.items[-1].key) if page.next else {"next": None}
        return json_answer(members | cursor)

    async def _cursor(self, wanted: Listing) -> str:
        """Return where a feed of changes begins that goes on with a listing: call it before the first key is
        read."""
        cluster_id, _ = self._service.partitioning()
        return cursor_of(cluster_id, await positions_now(self._service, wanted.timeout_ms))

    async def _begin_lines(self, wanted: Listing) -> AsyncIterator[bytes]:
        """Read the first page before the answer begins: what goes wrong there has a status of its own."""
        cursor = await self._cursor(wanted)
        page = await page_of(self._service, wanted, wanted.begin, _room(wanted, 0))
        return self._lines(wanted, page, cursor)

    async def _nothing(self) -> AsyncIterator[bytes]:
        """Yield no line: a HEAD asks for none."""
        for line in NO_LINES:
            yield line

    async def _lines(self, wanted: Listing, page: Page, cursor: str) -> AsyncIterator[bytes]:
        """Yield the lines of a stream, a page at a time. The last one says that it is complete; or what
        failed."""
        count = 0
        while True:
            count += len(page.items)
            more = None
            if page.next and (room := _room(wanted, count)):
                further = page_of(self._service, wanted, page.next, room, patient=True)
                more = asyncio.ensure_future(further)
            try:
                if page.items:
                    yield _encoder.encode_lines([listed(each, wanted.values) for each in page.items])
                if more is None:
                    end: dict[str, Any] = {"end": True, "count": count, "cursor": cursor}
                    if page.next:
                        end |= key_members("next", page.items[-1].key)
                    yield _encoder.encode_lines([end])
                    return
                page = await more
            except Problem as problem:
                end = {"end": False, "count": count, "error": problem.document(original=False)}
                yield _encoder.encode_lines([end])
                return
            finally:
                if more is not None:
                    more.cancel()

    # --- deletion -------------------------------------------------------------------------------------

    async def _delete(self, request: Request) -> Response:
        found = parameters_of(request, *DELETION_PARAMETERS)
        wanted = parse_deletion(found, request.headers)
        self._check_serving("Nothing was applied")
        cluster_id, partitions = self._service.partitioning()
        if wanted.until:
            until: tuple[int, ...] = positions_of(cluster_id, partitions, "'until'", wanted.until)
        else:
            until = await positions_now(self._service, wanted.range.timeout_ms)
        shown = cursor_of(cluster_id, until)
        if not wanted.limit:
            return json_answer({"count": 0, **key_members("next", found.get("after", b"")), "until": shown})
        deletion = RangeDeletion(self._service, wanted.range, wanted.limit, until)
        try:
            await deletion.run()
        except Problem as problem:
            if problem.outcome == problems.UNKNOWN:
                problem.extra |= deletion.members(shown)
            raise
        return json_answer(deletion.members(shown))


def _room(wanted: Listing, count: int) -> int:
    """Return how many keys the next page of a stream may have, after so many."""
    return STREAMED_KEYS if wanted.limit is None else min(STREAMED_KEYS, wanted.limit - count)
