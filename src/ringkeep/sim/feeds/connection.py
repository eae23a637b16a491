"""What one node has told one reader, in order."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from ringkeep.core.protocol.feed import Event, FeedRequest
from ringkeep.core.protocol.types import Index, Millis, PartitionId
from ringkeep.sim.world.machine import SimMachine


class Bookmark(NamedTuple):
    """`told`: how many groups of events came before it. `at`: the time."""

    told: int
    positions: dict[PartitionId, Index]
    age: Millis
    at: Millis


class Gone(NamedTuple):
    """The feed has ended. `reach`: after which index each replica of these partitions could tell at that
    moment. `at`: the number of the event."""

    partitions: list[PartitionId]
    reach: dict[PartitionId, dict[str, Index]]
    at: int


@dataclass(eq=False)
class Connection:
    """`begin`: the positions from which it reads; None: from its start on. `start`: the number of the event
    at which it began. `told`: groups of events, each with the number of the event in which it came.
    """

    node: SimMachine
    begin: Mapping[PartitionId, Index] | None
    start: int
    told: list[tuple[int, list[Event]]] = field(default_factory=list)
    bookmarks: list[Bookmark] = field(default_factory=list)
    lost: Gone | None = None
    is_open: bool = True
    life: int = 0
    request: FeedRequest = field(default_factory=FeedRequest)

    def __post_init__(self) -> None:
        self.life = self.node.births

    @property
    def alive(self) -> bool:
        """Whether the process that tells it still runs."""
        return self.node.alive and self.node.births == self.life

    @property
    def positions(self) -> Mapping[PartitionId, Index] | None:
        """Up to where the reader has heard all; None: it does not know."""
        return self.bookmarks[-1].positions if self.bookmarks else self.begin

    def close(self) -> None:
        """The reader leaves."""
        self.is_open = False
        if self.alive:
            self.node.driver.close_feed(self.request)
