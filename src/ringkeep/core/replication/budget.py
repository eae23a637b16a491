"""Bounds that all partitions of one node share, so that their sum is limited."""

from ringkeep.core.protocol.types import NodeId
from ringkeep.core.replication.removal_pace import RemovalPace


class Budget:
    """`in_flight`: bytes of entries sent to each peer and not acknowledged. `parked_bytes`: bytes of values
    in requests that wait at primaries which cannot execute yet. `removals`: of records that are due."""

    __slots__ = ("in_flight", "parked_bytes", "removals")

    def __init__(self) -> None:
        self.in_flight: dict[NodeId, int] = {}
        self.parked_bytes = 0
        self.removals = RemovalPace()
