"""Simulated clients that list keys, in worlds of their own: page after page, each through another node.

A page that fails, or whose node dies, is asked for again from the same key on. What they were shown is judged
by `verdict`.
"""

from collections.abc import Callable
from dataclasses import dataclass
from random import Random
from typing import Final

from ringkeep.core.cluster.feature_level import OPERATIONS, feature_level
from ringkeep.core.protocol.client_requests import ListRequest, Page, Status
from ringkeep.core.protocol.types import Millis
from ringkeep.sim.world.world import World

LISTERS: Final = 3
TIMEOUT_MS: Final[Millis] = 1_500
PAUSE_MS: Final[Millis] = 60
_RANGES: Final = (
    (b"", b""), (b"", b""), (b"k", b"l"), (b"op", b"oq"), (b"op1", b"op2"), (b"op2", b""), (b"", b"op3"),
)  # fmt: skip
_LIMITS: Final = (1, 2, 3, 7, 1_000)


@dataclass(slots=True)
class Shown:
    """One page, or count, or positions, as it was shown. `start`, `end`: event numbers."""

    by: str
    request: ListRequest
    page: Page
    start: int
    end: int

    def __str__(self) -> str:
        asked = self.request
        what = "positions" if asked.positions else "a count" if asked.count else f"{asked.limit} keys"
        return f"{self.start}-{self.end} {self.by}: {what} of [{asked.begin!r}, {asked.end!r})"


class Asking:
    """Asks for one page until it is there, through one node after the other; then calls `then` with it."""

    def __init__(
        self, world: World, random: Random, by: str, request: ListRequest, then: Callable[[Shown], None]
    ) -> None:
        self._world = world
        self._random = random
        self._by = by
        self._request = request
        self._then = then
        self._try()

    def _try(self) -> None:
        world = self._world
        node = self._random.choice(list(world.nodes.values()))
        world.events.count += 1
        start, asked = world.events.count, [True]

        def done(page: Page) -> None:
            if asked:
                asked.clear()
                self._done(start, page)

        def lost() -> None:
            if asked:
                asked.clear()
                world.count("listing_unanswered")
                self._try()

        request = self._request
        again = ListRequest(
            request.begin, request.end, request.limit, request.values, request.count, TIMEOUT_MS,
            request.positions, request.until, done,
        )  # fmt: skip
        if world.submit_listing(node, again):
            world.events.after(3 * TIMEOUT_MS, lost)
        else:
            self._later()

    def _later(self) -> None:
        self._world.events.after(self._random.randint(1, PAUSE_MS), self._try)

    def _done(self, start: int, page: Page) -> None:
        world = self._world
        world.events.count += 1
        if page.status == Status.FOUND:
            world.count("listing_page")
            self._then(Shown(self._by, self._request, page, start, world.events.count))
            return
        refused = page.status in (Status.UNAVAILABLE, Status.BUSY)
        assert refused, f"{self._by}: a listing is answered {page.status}"
        world.count("listing_refused")
        self._later()


class Lister:
    """Lists ranges again and again. `shown`: every page. `complete`: how many ranges were listed whole."""

    def __init__(self, world: World, number: int) -> None:
        self._world = world
        self._random = random = Random(f"lister {number} of {world.seed}")
        self._name = f"lister {number}"
        self.shown: list[Shown] = []
        self.complete = 0
        world.events.after(random.randint(0, 1_000), self._begin)

    def _begin(self) -> None:
        random = self._random
        begin, end = random.choice(_RANGES)
        count = random.random() < 0.15
        self._ask(ListRequest(begin, end, random.choice(_LIMITS), random.random() < 0.4, count))

    def _ask(self, request: ListRequest) -> None:
        Asking(self._world, self._random, self._name, request, self._take)

    def _take(self, shown: Shown) -> None:
        request, page = shown.request, shown.page
        self.shown.append(shown)
        if page.next:
            assert page.next > request.begin, f"{shown}: goes on at {page.next!r}"
            following = ListRequest(page.next, request.end, request.limit, request.values, request.count)
            self._ask(following)
            return
        self.complete += 1
        self._world.count("listing_complete")
        self._world.events.after(self._random.randint(0, 10 * PAUSE_MS), self._begin)


class Listers:
    """All listers of one world."""

    def __init__(self, world: World, count: int) -> None:
        self._world = world
        self.all = [Lister(world, number) for number in range(count)]
        self._wanted = [0] * count

    def go_on_calmly(self) -> None:
        """Each is to complete two more ranges: one that it began before, and one in a calm cluster."""
        assert self._world.map is not None
        if feature_level(self._world.map) >= OPERATIONS:  # or else the run was cut short
            self._wanted = [each.complete + 2 for each in self.all]

    @property
    def finished(self) -> bool:
        """Whether they have."""
        return all(each.complete >= wanted for each, wanted in zip(self.all, self._wanted, strict=True))
