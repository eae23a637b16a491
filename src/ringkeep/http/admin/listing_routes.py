"""`GET /v1/kv`: keys in byte order, as pages of JSON, as a stream of lines, or counted.

A stream asks for one page after the other, each once its reader has taken the one before, so a reader that is
slow costs two pages. A page may end early; only where the store says so is the listing complete.
"""

import asyncio
from base64 import b64encode
from collections.abc import AsyncIterator
from typing import Any, Final

import msgspec
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import Route

from ringkeep.core.protocol.client_requests import Item, Page, Status
from ringkeep.core.protocol.limits import LISTED_KEYS
from ringkeep.http import problems
from ringkeep.http.admin.responses import json_answer, parameters_of
from ringkeep.http.parse.listing import PARAMETERS, USUAL_LIMIT, Listing, parse_listing
from ringkeep.http.problems import Problem
from ringkeep.http.routes import KEYS_PATH
from ringkeep.http.service import Service

LINES: Final = "application/x-ndjson"
STREAMED_KEYS: Final = 4_000  # in one page of a stream

_encoder: Final = msgspec.json.Encoder()


class ListingRoutes:
    """The handlers, over one service."""

    def __init__(self, service: Service) -> None:
        self._service = service

    def routes(self) -> list[Route]:
        """Return the routes with their methods."""
        return [Route(KEYS_PATH, self.listing, methods=["GET"])]

    async def listing(self, request: Request) -> Response:
        """`/v1/kv`: keys of a range."""
        wanted = parse_listing(parameters_of(request, *PARAMETERS))
        reason = self._service.serving()
        if reason is not None:
            raise Problem(problems.UNAVAILABLE, f"This node does not serve yet: {reason}. Nothing was read.")
        if wanted.count:
            return json_answer({"count": (await self._page(wanted, wanted.begin, 1)).count})
        if LINES in request.headers.get("accept", ""):
            first = await self._page(wanted, wanted.begin, _room(wanted, 0, STREAMED_KEYS))
            return StreamingResponse(
                self._lines(wanted, first), headers={"Cache-Control": "no-store"}, media_type=LINES
            )
        limit = USUAL_LIMIT if wanted.limit is None else min(wanted.limit, LISTED_KEYS)
        page = await self._page(wanted, wanted.begin, limit)
        members: dict[str, Any] = {
            "items": [item_of(each, wanted.values) for each in page.items],
            "next": None,
        }
        if page.next:
            members |= key_members("next", page.items[-1].key)
        return json_answer(members)

    async def _lines(self, wanted: Listing, page: Page) -> AsyncIterator[bytes]:
        """Yield the lines of a stream, a page at a time. The last one says that it is complete; or what
        failed."""
        count = 0
        while True:
            count += len(page.items)
            room = _room(wanted, count, STREAMED_KEYS)
            more = None
            if page.next and room:
                more = asyncio.ensure_future(self._page(wanted, page.next, room))
            try:
                if page.items:
                    yield _encoder.encode_lines([item_of(each, wanted.values) for each in page.items])
                if more is None:
                    end = {"end": True, "count": count}
                    if page.next:
                        end |= key_members("next", page.items[-1].key)
                    yield _encoder.encode_lines([end])
                    return
                page = await more
            except Problem as problem:
                yield _encoder.encode_lines(
                    [{"end": False, "count": count, "error": problem.document(False)}]
                )
                return
            finally:
                if more is not None:
                    more.cancel()

    async def _page(self, wanted: Listing, begin: bytes, limit: int) -> Page:
        """Return a page that has a key, or is the last one. Raises Problem if there is none in time."""
        if wanted.empty:
            return Page(Status.FOUND)
        while True:
            page = await self._asked(wanted, begin, limit)
            if page.status == Status.BUSY:
                raise problems.busy()
            if page.status != Status.FOUND:
                detail = f"{page.detail[:1].upper()}{page.detail[1:]}. Nothing was changed; ask again"
                raise Problem(problems.UNAVAILABLE, f"{detail}, a stream from its last key on.")
            if page.items or not page.next:
                return page
            begin = page.next

    async def _asked(self, wanted: Listing, begin: bytes, limit: int) -> Page:
        answer: asyncio.Future[Page] = asyncio.get_running_loop().create_future()

        def done(page: Page) -> None:
            if not answer.done():
                answer.set_result(page)

        request = wanted.request(begin, limit)
        request.done = done
        self._service.submit_listing(request)
        return await answer


def _room(wanted: Listing, count: int, most: int) -> int:
    """Return how many keys the next page of a stream may have, after so many."""
    return most if wanted.limit is None else min(most, wanted.limit - count)


def key_members(name: str, key: bytes) -> dict[str, Any]:
    """Return bytes as members of an answer: as text, or as base64 if they are not UTF-8."""
    try:
        return {name: key.decode()}
    except UnicodeDecodeError:
        return {f"{name}_base64": b64encode(key).decode()}


def item_of(item: Item, values: bool) -> dict[str, Any]:
    """Return a key of a listing as members of an answer."""
    members = key_members("key", item.key)
    members["version"] = item.version
    if item.ttl_ms:
        members["ttl"] = item.ttl_ms
    if values:
        members |= key_members("value", item.value)
        members["content_type"] = item.content_type.decode("latin-1") or "application/octet-stream"
    return members
