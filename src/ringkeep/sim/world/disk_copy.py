"""A copy of a node's data directory, as operators make them."""

from collections.abc import Sequence
from typing import NamedTuple

from ringkeep.admission import Claim
from ringkeep.core.protocol.effects import Family
from ringkeep.core.protocol.keys import log_key
from ringkeep.core.protocol.rows import POSITION_KEY, decode_position, decode_replica, replica_key
from ringkeep.core.protocol.types import Incarnation, Index, NodeId, PartitionId
from ringkeep.storage.memory import MemoryEngine


class DiskCopy(NamedTuple):
    """The identity in it, and its store."""

    id: NodeId
    incarnation: Incarnation
    cluster_id: str
    claims: Sequence[Claim]
    engine: MemoryEngine

    @property
    def position(self) -> int:
        row = self.engine.get(Family.META, POSITION_KEY)
        return decode_position(row) if row is not None else 0

    def log_end(self, partition: PartitionId) -> int:
        """Return the index of the last entry that is held: in the log window or, if all of that was applied
        and trimmed, the one before the window."""
        ends = log_key(partition, Index(0)), log_key(partition, Index(2**64 - 1))
        rows = self.engine.scan(Family.LOG, *ends, 1 << 30)
        if rows:
            return int.from_bytes(rows[-1][0][-8:], "big")
        row = self.engine.get(Family.META, replica_key(partition))
        return decode_replica(row).floor_index if row is not None else 0
