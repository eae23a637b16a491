"""Listings: pages of keys in byte order over all partitions, put together by the node that was asked.

Each node is asked once for all the partitions that it leads, and merges them; this node merges the nodes.
What a node refuses, or never answers, is asked again of whoever leads it then, from the same key on. Nothing
is kept from one page to the next, so a page costs what it holds, and its reader may take any time.

A key present throughout is listed once: every partition is read once at every key, in order, after the
request began. Values that are large are read one by one, when their turn comes, so that no node holds many of
them.
"""

from collections.abc import Iterable
from typing import Protocol

from ringkeep.core.cluster.feature_level import OPERATIONS
from ringkeep.core.cluster.slots import partition_of
from ringkeep.core.context import Context
from ringkeep.core.protocol import limits
from ringkeep.core.protocol.client_requests import Item, Kind, ListRequest, Page, Request, Result, Status
from ringkeep.core.protocol.messages import Scan, Scanned, Wanted
from ringkeep.core.protocol.types import Life, Millis, NodeId, PartitionId
from ringkeep.core.requests.merge import END, Row, Source, first_of, merged, share_of, watermark


class Asking(Protocol):
    """The node of the listings: it may lead partitions itself, and reads large values."""

    def on_scan(self, caller: Life, message: Scan) -> None:
        """A coordinator reads slices of what this node leads."""

    def submit(self, request: Request) -> None:
        """Take a request."""


class _Part(Source):
    """Partitions that are read together: led by one node when they were asked for. `asked`: the tag of the
    question that is not answered yet, 0 for none; `peer`: who was asked.
    """

    __slots__ = ("asked", "partitions", "peer")

    def __init__(self, partitions: list[PartitionId], position: bytes) -> None:
        super().__init__(position)
        self.partitions = partitions
        self.asked = 0
        self.peer = NodeId("")


class _Listing:
    """One page under way. `count`: of keys that were only counted. `items`: once all rows are there.
    `positions`: by partition, where they are wanted.
    """

    __slots__ = ("count", "deadline", "due_at", "items", "next", "parts", "positions", "request", "rows")

    def __init__(self, request: ListRequest, deadline: Millis, parts: list[_Part]) -> None:
        self.request = request
        self.deadline = deadline
        self.parts = parts
        self.count = 0
        self.positions: dict[int, int] = {}
        self.due_at: Millis = 0  # when to ask again for what was refused
        self.rows: list[Row] = []  # of the page, those that are not among the items yet
        self.items: list[Item] = []
        self.next: bytes = b""


class Listings:
    """All listings that clients have asked this node for."""

    def __init__(self, context: Context, node: Asking) -> None:
        self._context = context
        self._node = node
        self._life = (context.me, context.incarnation)
        self._number = (context.incarnation & 0xFFFF) << 32
        self._open: dict[_Listing, None] = {}
        self._asked: dict[int, tuple[_Listing, _Part]] = {}

    def submit(self, request: ListRequest) -> None:
        """Take a request. `request.done` is called once, with its page."""
        context = self._context
        assert context.cluster_map is not None, "nobody serves before there is a map"
        if context.feature_level < OPERATIONS:
            detail = "some node of the cluster runs an older version, which cannot list"
            context.effects.pages.append((request, Page(Status.UNAVAILABLE, detail=detail)))
            return
        if len(self._open) >= context.bounds.listings_at_once:
            detail = "this node puts together as many listings as it may at one time"
            context.effects.pages.append((request, Page(Status.BUSY, detail=detail)))
            return
        every = [PartitionId(number) for number in range(len(context.cluster_map.partitions))]
        listing = _Listing(request, context.now + request.timeout_ms, [_Part(every, request.begin)])
        self._open[listing] = None
        self._ask(listing)

    def _ask(self, listing: _Listing) -> None:
        """Ask for every part that limits what is known: those are divided by who leads their partitions."""
        until = watermark(listing.parts)
        parts: list[_Part] = []
        fresh: list[_Part] = []
        for part in listing.parts:
            if part.asked or part.position == END or part.position != until:
                parts.append(part)
            else:
                divided = self._divided(part)
                parts += divided
                fresh += divided
        listing.parts = parts
        for part in fresh:
            if part.peer:
                self._send(listing, part)
            else:
                listing.due_at = listing.due_at or self._context.now + limits.TICK_MS

    def _divided(self, part: _Part) -> list[_Part]:
        """Return the part as one for each node that leads some of it and is linked; `peer` "": no such
        node."""
        context = self._context
        assert context.cluster_map is not None
        led: dict[NodeId, list[PartitionId]] = {}
        for partition in part.partitions:
            place = context.cluster_map.partitions[partition]
            linked = place.primary == context.me or context.links.get(place.primary) == place.incarnation
            led.setdefault(place.primary if linked else NodeId(""), []).append(partition)
        if len(led) == 1:
            part.peer = next(iter(led))
            return [part]
        divided: list[_Part] = []
        for peer, partitions in led.items():
            one = _Part(partitions, part.position)
            one.peer = peer
            divided.append(one)
        divided[0].rows = part.rows
        return divided

    def _send(self, listing: _Listing, part: _Part) -> None:
        context, request = self._context, listing.request
        assert context.cluster_map is not None and part.position != END
        self._number += 1
        part.asked = self._number
        self._asked[part.asked] = listing, part
        flat: list[int] = []
        for partition in part.partitions:
            flat += (partition, context.cluster_map.partitions[partition].epoch)
        limit = min(request.limit, context.bounds.listed_keys)
        message = Scan(
            part.asked, listing.deadline - context.now, part.position, request.end,
            share_of(limit, len(listing.parts)), _wanted(request), flat,
        )  # fmt: skip
        if part.peer == context.me:
            self._node.on_scan(self._life, message)
        else:
            context.send(part.peer, message)

    def on_scanned(self, message: Scanned) -> None:
        """Take a node's answer; finish the page, or ask further."""
        found = self._asked.pop(message.tag, None)
        if found is None:
            return
        listing, part = found
        part.asked = 0
        if message.refused:
            self._context.count("slice_refused")
            refused = set(message.refused)
            again = [partition for partition in part.partitions if partition in refused]
            part.partitions = [partition for partition in part.partitions if partition not in refused]
            listing.parts.append(_Part(again, part.position))
            listing.due_at = listing.due_at or self._context.now + limits.TICK_MS
        if part.partitions:
            part.rows += self._rows_of(message, listing.request.until)
            part.position = message.to or END
            listing.count += message.count
            at = message.positions
            listing.positions.update(zip(at[::2], at[1::2], strict=True))
        else:
            part.position = END
        self._look(listing)

    def _rows_of(self, message: Scanned, until: tuple[int, ...]) -> list[Row]:
        """Return the rows of an answer, without those that are newer than `until`."""
        rows = _rows_of(message)
        if not until:
            return rows
        return [row for row in rows if row[1] <= until[partition_of(row[0], len(until))]]

    def _look(self, listing: _Listing) -> None:
        """Finish the page if enough is known, else ask for what limits it, unless that is under way."""
        request = listing.request
        limit = min(request.limit, self._context.bounds.listed_keys)
        rows, until = merged(listing.parts)
        full = 0 if request.count else first_of(rows, limit, self._context.bounds.page_bytes)
        if until != END and not full:
            behind = [each for each in listing.parts if each.position == until]
            if not listing.due_at and not all(each.asked for each in behind):
                self._ask(listing)
            return
        if 0 < full < len(rows):
            rows, until = rows[:full], rows[full][0]
        self._forget(listing)
        listing.rows, listing.next = rows[::-1], until if until != END else b""
        self._fill(listing, 0)

    def _forget(self, listing: _Listing) -> None:
        for part in listing.parts:
            self._asked.pop(part.asked, None)
        listing.parts = []

    def _fill(self, listing: _Listing, size: int) -> None:
        """Move rows into the page until it holds enough; read a large value when its turn comes."""
        while listing.rows:
            if size >= self._context.bounds.page_bytes:
                listing.next = listing.rows[-1][0]
                break
            key, version, ttl, content_type, value, large = listing.rows.pop()
            if large:
                self._read(listing, key, size)
                return
            size += len(value)
            listing.items.append(Item(key, version, ttl, content_type, value))
        count = listing.count if listing.request.count else len(listing.items)
        positions = tuple([listing.positions[partition] for partition in sorted(listing.positions)])
        page = Page(Status.FOUND, listing.items, listing.next, count, positions=positions)
        self._finish(listing, page)

    def _read(self, listing: _Listing, key: bytes, size: int) -> None:
        """Read a large value. What was written meanwhile is newer, which is as good; or nothing is left."""

        def done(result: Result) -> None:
            if listing not in self._open:
                return
            if result.status == Status.FOUND:
                listing.items.append(
                    Item(key, result.version, result.ttl_ms, result.content_type, result.value)
                )
            elif result.status != Status.NOT_FOUND:
                self._finish(listing, Page(Status.UNAVAILABLE, detail=result.detail))
                return
            self._fill(listing, size + len(result.value))

        self._context.effects.again = True  # the answer may come while this turn ends
        left = max(listing.deadline - self._context.now, 1)
        self._node.submit(Request(Kind.GET, key, timeout_ms=left, inside=True, done=done))

    def _finish(self, listing: _Listing, page: Page) -> None:
        self._forget(listing)
        del self._open[listing]
        self._context.effects.pages.append((listing.request, page))

    # --- what changes around it -----------------------------------------------------------------------

    def on_map(self, changed: Iterable[PartitionId]) -> None:
        """Ask again where another node leads now: the one that was asked refuses, or is gone."""
        gone = set(changed)
        self._ask_again(lambda part: not gone.isdisjoint(part.partitions))

    def on_link(self, peer: NodeId) -> None:
        """A link is up again: an answer may have been lost with the old one."""
        self._ask_again(lambda part: part.peer == peer)

    def _ask_again(self, concerned: "Concerned") -> None:
        for listing in list(self._open):
            for part in listing.parts:
                if part.asked and concerned(part):
                    del self._asked[part.asked]
                    part.asked = 0
                    listing.due_at = listing.due_at or self._context.now + limits.TICK_MS

    def on_tick(self) -> None:
        """Ask again for what was refused; give up what has no time left."""
        now = self._context.now
        for listing in list(self._open):
            if now >= listing.deadline:
                detail = "some partition had no primary with a majority of its replicas by the deadline"
                self._finish(listing, Page(Status.UNAVAILABLE, detail=detail))
            elif listing.due_at and now >= listing.due_at:
                listing.due_at = 0
                self._ask(listing)


class Concerned(Protocol):
    """Whether something is to be asked for again."""

    def __call__(self, part: _Part, /) -> bool: ...


def _wanted(request: ListRequest) -> Wanted:
    if request.positions:
        return Wanted.POSITIONS
    if request.count:
        return Wanted.COUNT
    return Wanted.VALUES if request.values else Wanted.KEYS


def _rows_of(message: Scanned) -> list[Row]:
    """Return the rows of an answer."""
    large = set(message.large)
    if not message.values:
        return [
            (key, version, ttl, b"", b"", False)
            for key, version, ttl in zip(message.keys, message.versions, message.ttls, strict=True)
        ]
    columns = zip(message.keys, message.versions, message.ttls, message.types, message.values, strict=True)
    return [(*row, at in large) for at, row in enumerate(columns)]
