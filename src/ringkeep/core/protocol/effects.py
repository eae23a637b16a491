"""The effects of a turn: what the core asks the driver to do at its end.

The order is part of the meaning: the batch is written (not yet durable) before anything is sent or
answered; what must wait for durability is sent in a later turn, which `synced` starts.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import IntEnum

from ringkeep.core.protocol.client_requests import ListRequest, Page, ReadGroup, Request, Result
from ringkeep.core.protocol.cluster_map import ClusterMap
from ringkeep.core.protocol.messages import Message
from ringkeep.core.protocol.types import NodeId


class Family(IntEnum):
    """The three tables of a node's store."""

    META = 0
    LOG = 1
    DATA = 2


class Lane(IntEnum):
    """The lanes to a peer. Each keeps its order; none waits for another, and all of them are lost
    together."""

    PULSE = 0  # heartbeats alone, so that no other traffic delays them
    MAIN = 1  # everything small
    BULK = 2  # values and entries that are large, and what must not overtake them


class Batch:
    """Writes that become visible together and durable together.

    `ranges` (family, begin, end: half open) are deleted first; then every put or delete (None) is carried
    out. Within one batch a key has one final value, so the order among puts does not matter.

    `staged`: rows of the data family that are not visible yet, by prefix; their keys are given without it.
    The rows of one prefix come in key order, over all batches. They are lost when the process ends, and when
    a deleted range covers their prefix. `taken`: prefixes whose rows become visible with this batch. These
    rows may become durable before the rest of the batch, and without it, so the caller makes sure, durably,
    that no prefix is used twice and that left-over rows are found and deleted.
    """

    __slots__ = ("data", "log", "meta", "ranges", "staged", "taken")

    def __init__(self) -> None:
        self.data: dict[bytes, bytes | None] = {}
        self.log: dict[bytes, bytes | None] = {}
        self.meta: dict[bytes, bytes | None] = {}
        self.ranges: list[tuple[Family, bytes, bytes]] = []
        self.staged: dict[bytes, list[list[tuple[bytes, bytes]]]] = {}
        self.taken: list[bytes] = []

    def __bool__(self) -> bool:
        return bool(self.data or self.log or self.meta or self.ranges or self.staged or self.taken)

    def delete_data(self, begin: bytes, end: bytes) -> None:
        """Delete a range of the data family, including what this batch has put, staged or taken there."""
        for key in [key for key in self.data if begin <= key < end]:
            del self.data[key]
        for prefix in [prefix for prefix in self.staged if begin <= prefix < end]:
            del self.staged[prefix]
        self.taken = [prefix for prefix in self.taken if not begin <= prefix < end]
        self.ranges.append((Family.DATA, begin, end))


@dataclass(slots=True)
class MapWrite:
    """Write `next_map` if the register is still at `expected` (0: there is no map yet, and this write forms
    the cluster)."""

    expected: int
    next_map: ClusterMap


class Effects:
    """Everything that one turn of the core asks for.

    `sync`: whether the batch must become durable; `Node.synced` reports that. `sends`, `bulk`: what goes to
    each peer, in order, on the main and on the bulk lane; `beats`: heartbeats, on their own lane. `renewals`:
    peers whose link must be closed and made again. `again`: work is left, so another turn follows at once.
    `answers`, `pages`, `groups`: finished client requests. `fed`: calls to readers of changes, in
    order. `reregister`: register again, with the highest sequence number. `repaired`: nobody relies any more
    on what the damaged store lost; clear the damage. `damage`: what the store has lost; it must be recorded
    durably before anything is sent. `alarms`: for the log and the operator.
    """

    __slots__ = (
        "again", "alarms", "answers", "batch", "beats", "bulk", "damage", "fed", "groups", "map_write",
        "pages", "renewals", "repaired", "reregister", "sends", "sync",
    )  # fmt: skip

    def __init__(self) -> None:
        self.batch = Batch()
        self.sync = False
        self.sends: dict[NodeId, list[Message]] = {}
        self.bulk: dict[NodeId, list[Message]] = {}
        self.beats: dict[NodeId, list[Message]] = {}
        self.renewals: list[NodeId] = []
        self.again = False
        self.answers: list[tuple[Request, Result]] = []
        self.pages: list[tuple[ListRequest, Page]] = []
        self.groups: list[tuple[ReadGroup, list[Result]]] = []
        self.fed: list[Callable[[], None]] = []
        self.map_write: MapWrite | None = None
        self.reregister = False
        self.repaired = False
        self.damage = ""
        self.alarms: list[str] = []

    def frames(self) -> Iterator[tuple[NodeId, Lane, list[Message]]]:
        """Yield (peer, lane, messages) in the order of sending."""
        for lane, queues in ((Lane.PULSE, self.beats), (Lane.MAIN, self.sends), (Lane.BULK, self.bulk)):
            for peer, messages in queues.items():
                yield peer, lane, messages
