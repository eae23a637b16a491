"""Asks the service for pages of a listing, and shows their keys as members of an answer."""

import asyncio
import time
from base64 import b64encode
from typing import Any, Final

import msgspec

from ringkeep.core.protocol.client_requests import Item, ListRequest, Page, Status
from ringkeep.http import problems
from ringkeep.http.parse.listing import Listing
from ringkeep.http.problems import Problem
from ringkeep.http.service import Service

BUSY_PAUSE_S: Final = 0.05


class Listed(msgspec.Struct, omit_defaults=True):
    """A key of a listing as an answer has it."""

    key: str | None = None
    key_base64: str | None = None
    version: int = 0
    ttl: int | None = None
    value: str | None = None
    value_base64: str | None = None
    content_type: str | None = None


async def page_of(
    service: Service,
    wanted: Listing,
    begin: bytes,
    limit: int,
    until: tuple[int, ...] = (),
    patient: bool = False,
) -> Page:
    """Return a page that has a key, or is the last one. Raises Problem if there is none in time.

    `until`: without what is newer. `patient`: a node that is busy is asked again, for as long as one page
    may take.
    """
    if wanted.empty:
        return Page(Status.FOUND)
    give_up_at = time.monotonic() + wanted.timeout_ms / 1_000
    while True:
        request = wanted.request(begin, limit)
        request.until = until
        page = await ask(service, request)
        if page.status == Status.BUSY and patient and time.monotonic() < give_up_at:
            await asyncio.sleep(BUSY_PAUSE_S)
            continue
        check(page)
        if page.items or not page.next:
            return page
        begin = page.next


async def positions_now(service: Service, timeout_ms: int) -> tuple[int, ...]:
    """Return of each partition the version that it has reached, confirmed. Raises Problem."""
    page = await ask(service, ListRequest(b"", b"", 1, False, False, timeout_ms, positions=True))
    check(page)
    return page.positions


def check(page: Page) -> None:
    """Raise the Problem of a page that is none."""
    if page.status == Status.BUSY:
        raise problems.busy()
    if page.status != Status.FOUND:
        detail = f"{page.detail[:1].upper()}{page.detail[1:]}. Nothing was changed; ask again"
        raise Problem(problems.UNAVAILABLE, f"{detail}, a stream from its last key on.")


async def ask(service: Service, request: ListRequest) -> Page:
    """Return what the service answers."""
    answer: asyncio.Future[Page] = asyncio.get_running_loop().create_future()

    def done(page: Page) -> None:
        if not answer.done():
            answer.set_result(page)

    request.done = done
    service.submit_listing(request)
    return await answer


def key_members(name: str, key: bytes) -> dict[str, Any]:
    """Return bytes as members of an answer: as text, or as base64 if they are not UTF-8."""
    try:
        return {name: key.decode()}
    except UnicodeDecodeError:
        return {f"{name}_base64": b64encode(key).decode()}


def listed(item: Item, values: bool) -> Listed:
    """Return a key of a listing as an answer has it."""
    shown = Listed(version=item.version)
    try:
        shown.key = item.key.decode()
    except UnicodeDecodeError:
        shown.key_base64 = b64encode(item.key).decode()
    if item.ttl_ms:
        shown.ttl = item.ttl_ms
    if values:
        try:
            shown.value = item.value.decode()
        except UnicodeDecodeError:
            shown.value_base64 = b64encode(item.value).decode()
        shown.content_type = item.content_type.decode("latin-1") or "application/octet-stream"
    return shown
