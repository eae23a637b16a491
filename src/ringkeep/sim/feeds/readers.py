"""Simulated readers of changes, in worlds of their own: each reads through one node for a while, and goes on
through another from its last bookmark. Some read slowly. What they were told is judged by `verdict`.
"""

from collections.abc import Mapping, Sequence
from functools import partial
from random import Random
from typing import Final

from ringkeep.core.protocol.cursor import decode_cursor, encode_cursor
from ringkeep.core.protocol.feed import Event, FeedRequest, size_of
from ringkeep.core.protocol.types import Index, Millis, PartitionId
from ringkeep.sim.feeds.connection import Bookmark, Connection, Gone
from ringkeep.sim.world.world import World

READERS: Final = 3
LOOK_MS: Final = 100
"""How often a reader looks whether its node lives, and whether it has had enough of it."""
_PREFIXES: Final = (b"", b"", b"k", b"k1", b"op", b"op1")
_WINDOWS: Final = (1, 200, 2_000, 1_000_000)
"""So many bytes a reader takes at first, and then what it has taken before."""
_SLOW_MS: Final = (0, 0, 0, 50, 2_000)
"""How long a reader takes for each group of events, at most."""
_STAYS_MS: Final = (300, 3_000, 20_000)
"""How long a reader stays with one node, on average."""


def has_readers(seed: int) -> bool:
    """Return whether somebody reads changes in this seed's world."""
    return seed % 8 in (4, 6)


class Reader:
    """One reader: `connections`: all that it has been told, by one node after the other."""

    def __init__(self, world: World, number: int) -> None:
        self._world = world
        self._random = random = Random(f"reader {number} of {world.seed}")
        self.name = f"reader {number}"
        self.prefix = random.choice(_PREFIXES)
        self.values = random.random() < 0.7
        self._slow_ms = random.choice(_SLOW_MS)
        self._stays_ms = random.choice(_STAYS_MS)
        self.connections: list[Connection] = []
        self._calm = False
        world.events.after(random.randint(0, 2_000), self._look)

    @property
    def positions(self) -> Mapping[PartitionId, Index] | None:
        """Where the reader goes on; None: it begins now."""
        last = self.connections[-1] if self.connections else None
        return last.positions if last is not None and last.lost is None else None

    def stay(self) -> None:
        """Read on without slowness or change from now on, with whom it is."""
        self._calm = True

    def _look(self) -> None:
        self._world.events.after(LOOK_MS, self._look)
        current = self.connections[-1] if self.connections else None
        if current is not None and current.is_open:
            enough = not self._calm and self._random.random() < LOOK_MS / self._stays_ms
            if current.alive and not enough:
                return
            current.close()
        self._connect()

    def _connect(self) -> None:
        world, random = self._world, self._random
        node = random.choice(list(world.nodes.values()))
        if not node.alive or not node.driver.serving or world.events.now < node.paused_until:
            return
        begin = kept = self.positions
        if begin is not None:  # as it would come back with a text
            held = node.driver.node.context.cluster_map
            assert held is not None
            kept = _kept(held.cluster_id, begin)
        connection = Connection(node, begin, world.events.count)
        request = FeedRequest(
            self.prefix, self.values, kept,
            partial(self._on_events, connection),
            partial(self._on_bookmark, connection),
            partial(self._on_gone, connection),
        )  # fmt: skip
        connection.request = request
        if node.driver.submit_feed(request) is not None:
            world.count("feed_refused")
            return
        world.count("feed_resumed" if begin is not None else "feed_begun")
        self.connections.append(connection)
        node.driver.pull_feed(request, random.choice(_WINDOWS))

    def _on_events(self, connection: Connection, events: Sequence[Event]) -> None:
        assert connection.is_open, "told after it was closed"
        connection.told.append((self._world.events.count, list(events)))
        self._world.count("feed_event", len(events))
        taken = sum(map(size_of, events))
        wait = self._random.randint(0, self._slow_ms) if not self._calm else 0
        if wait:
            self._world.events.after(wait, partial(self._take, connection, taken))
        else:
            self._take(connection, taken)

    def _take(self, connection: Connection, size: int) -> None:
        if connection.is_open and connection.alive:
            connection.node.driver.pull_feed(connection.request, size)

    def _on_bookmark(
        self, connection: Connection, positions: Mapping[PartitionId, Index], age: Millis
    ) -> None:
        assert connection.is_open, "told after it was closed"
        mark = Bookmark(len(connection.told), dict(positions), age, self._world.events.now)
        connection.bookmarks.append(mark)
        self._world.count("feed_bookmark")

    def _on_gone(self, connection: Connection, partitions: Sequence[PartitionId]) -> None:
        assert connection.is_open, "told after it was closed"
        connection.is_open = False
        connection.lost = Gone(list(partitions), _reach(self._world, partitions), self._world.events.count)
        self._world.count("feed_gone_told")
        text = f"{self.name} has lost its place in {list(partitions)}: {connection.positions}"
        self._world.log(connection.node, text)


def _reach(world: World, partitions: Sequence[PartitionId]) -> dict[PartitionId, dict[str, Index]]:
    """Return after which index each replica can tell, of those that the map names and that live."""
    assert world.map is not None
    reach: dict[PartitionId, dict[str, Index]] = {}
    for partition in partitions:
        found = reach[partition] = {}
        for holder in world.map.partitions[partition].replicas:
            node = world.nodes.get(holder)
            replica = node.driver.node.replicas.get(partition) if node is not None and node.alive else None
            if node is not None and replica is not None and not node.lost:
                found[node.name] = replica.history.begin
    return reach


def _kept(cluster_id: str, positions: Mapping[PartitionId, Index]) -> Mapping[PartitionId, Index]:
    text = encode_cursor(cluster_id, positions)
    return decode_cursor(cluster_id, text, len(positions))


class Readers:
    """All readers of one world."""

    def __init__(self, world: World, count: int) -> None:
        self._world = world
        self.all = [Reader(world, number) for number in range(count)]

    def stay(self) -> None:
        """The faults are over: every reader reads on to the end."""
        for each in self.all:
            each.stay()

    def at_end(self, ends: Mapping[PartitionId, Index]) -> bool:
        """Whether every reader has a bookmark at these ends of the logs, or beyond."""
        return all(_has_read(each, ends) for each in self.all)


def _has_read(reader: Reader, ends: Mapping[PartitionId, Index]) -> bool:
    last = reader.connections[-1] if reader.connections else None
    if last is None or not last.is_open or not last.bookmarks:
        return False
    positions = last.bookmarks[-1].positions
    return all(positions[partition] >= end for partition, end in ends.items())
