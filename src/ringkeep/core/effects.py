"""What the core asks of the world at the end of a turn.

The order is part of the meaning: the batch is written (not yet durable) before anything is sent or
answered; what must wait for durability is not in this turn at all, but in the one that `synced` starts.
"""

from dataclasses import dataclass, field
from enum import IntEnum
from typing import TYPE_CHECKING

from ringkeep.core.types import NodeId

if TYPE_CHECKING:
    from ringkeep.core.clustermap import ClusterMap
    from ringkeep.core.messages import Message
    from ringkeep.core.requests import Request, Result


class Family(IntEnum):
    """The three tables of a node's store."""

    META = 0
    LOG = 1
    DATA = 2


class Batch:
    """Writes that become visible together and durable together.

    `ranges` (family, begin, end: half open) are deleted first; then every put or delete (None) is carried
    out. Within one batch a key has one final value, so the order among puts does not matter.
    """

    __slots__ = ("data", "log", "meta", "ranges")

    def __init__(self) -> None:
        self.data: dict[bytes, bytes | None] = {}
        self.log: dict[bytes, bytes | None] = {}
        self.meta: dict[bytes, bytes | None] = {}
        self.ranges: list[tuple[Family, bytes, bytes]] = []

    def __bool__(self) -> bool:
        return bool(self.data or self.log or self.meta or self.ranges)


@dataclass(slots=True)
class MapWrite:
    """Make `next_map` the cluster's, if the register is still at `expected` (0: no map yet, which forms)."""

    expected: int
    next_map: "ClusterMap"


@dataclass(slots=True)
class Effects:
    """Everything that one turn of the core asks for.

    `sync`: whether the batch must become durable, told back through `Node.synced`. `sends`: per peer, in
    order, one frame each. `answers`: finished client requests. `reregister`: go to the end of the members'
    line. `repaired`: nothing that the damaged store lost is counted on any more; forget the damage.
    `alarms`: for the log and the operator.
    """

    batch: Batch = field(default_factory=Batch)
    sync: bool = False
    sends: "dict[NodeId, list[Message]]" = field(default_factory=dict)
    answers: "list[tuple[Request, Result]]" = field(default_factory=list)
    map_write: MapWrite | None = None
    reregister: bool = False
    repaired: bool = False
    alarms: list[str] = field(default_factory=list)
