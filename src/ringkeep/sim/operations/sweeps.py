"""A client that deletes a range of keys as the HTTP interface does: it asks for positions, lists what is no
newer, page after page, and deletes each key if it still has the version that was listed.
"""

from collections.abc import Callable
from typing import Final, Protocol

from ringkeep.core.protocol.client_requests import Item, ListRequest
from ringkeep.sim.listings.listers import Asking, Shown
from ringkeep.sim.world.world import World

_RANGES: Final = ((b"op", b"oq"), (b"op1", b"op2"), (b"op2", b"op3"), (b"op3", b"oq"))
_LIMITS: Final = (1, 3, 100)


class Delete(Protocol):
    """Deletes a key if it has a version; then calls `then`, whatever came of it."""

    def __call__(self, key: bytes, version: int, then: Callable[[], None], /) -> None: ...


class Sweep:
    """One deletion. `shown`: receives all that was listed. `over` is called at the end."""

    def __init__(
        self, world: World, delete: Delete, shown: Callable[[Shown], None], over: Callable[[], None]
    ) -> None:
        self._world = world
        self._delete = delete
        self._shown = shown
        self._over = over
        self._range = world.random.choice(_RANGES)
        self._limit = world.random.choice(_LIMITS)
        self._until: tuple[int, ...] = ()
        self._items: list[Item] = []
        self._next = b""
        self._ask(ListRequest(positions=True), self._take_positions)

    def _ask(self, request: ListRequest, then: Callable[[Shown], None]) -> None:
        Asking(self._world, self._world.random, "sweep", request, then)

    def _take_positions(self, shown: Shown) -> None:
        self._shown(shown)
        self._until = shown.page.positions
        self._list(self._range[0])

    def _list(self, begin: bytes) -> None:
        self._ask(ListRequest(begin, self._range[1], self._limit, until=self._until), self._take_page)

    def _take_page(self, shown: Shown) -> None:
        self._shown(shown)
        self._items = shown.page.items[::-1]
        self._next = shown.page.next
        self._go_on()

    def _go_on(self) -> None:
        if self._items:
            item = self._items.pop()
            self._delete(item.key, item.version, self._go_on)
        elif self._next:
            self._list(self._next)
        else:
            self._world.count("swept")
            self._over()
