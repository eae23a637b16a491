"""Deliberate breaks of what listings, deletions of ranges and chains rely on. See `mutants.py`. They show in
the worlds that have listers.
"""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from tests.sim.mutants import patched

from ringkeep.chains import Chains
from ringkeep.core.protocol.client_requests import Page
from ringkeep.core.requests import listings
from ringkeep.core.requests.listings import Listings


def key_dropped_at_a_page_boundary() -> Any:
    """The next page begins behind the key at which this one ends."""

    def make(finish: Any) -> Any:
        def mutant(self: Listings, listing: Any, page: Page) -> None:
            finish(self, listing, replace(page, next=page.next + b"\0") if page.next else page)

        return mutant

    return patched(Listings, "_finish", make)


def newer_version_swept() -> Any:
    """A deletion of a range lists what was written after it began too."""

    def make(_: Any) -> Any:
        return lambda self, message, until: listings._rows_of(message)

    return patched(Listings, "_rows_of", make)


def chain_overtaken() -> Any:
    """Nothing waits for what stands before it on the same key."""

    def make(_: Any) -> Any:
        def mutant(self: Chains) -> None:
            self._deadline = self._now_ms() + self._requests[0].timeout_ms
            self._ready.extend(range(len(self._requests)))
            self._send()

        return mutant

    return patched(Chains, "start", make)


OF_LISTINGS: dict[str, Callable[[], Any]] = {
    "key dropped at a page boundary": key_dropped_at_a_page_boundary,
    "newer version swept": newer_version_swept,
    "chain overtaken": chain_overtaken,
}
