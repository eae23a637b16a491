"""Sends every node the sizes of partitions and the bytes sent to their learners, for people. No decision
depends on them. A `Listener` keeps them: `status.move_history`.
"""

from collections.abc import Collection
from typing import Protocol

from ringkeep.core.context import Context
from ringkeep.core.protocol import limits
from ringkeep.core.protocol.cluster_map import ClusterMap
from ringkeep.core.protocol.messages import Sizes
from ringkeep.core.protocol.types import Millis
from ringkeep.core.replication.primary import Phase, Primary
from ringkeep.core.snapshots.snapshot_sender import SnapshotSenders


class Listener(Protocol):
    """Receives what the core learns and does not use itself."""

    def on_map(self, cluster_map: ClusterMap, now: Millis) -> None:
        """The node has taken over this map, or started with it."""

    def on_sizes(self, message: Sizes, now: Millis) -> None:
        """The sizes of a node's primaries, this node's or another's."""


class SizeReports:
    """Makes the reports of this node's primaries. A size is reported after something happened to its primary.
    All sizes are reported every ALL_SIZES_MS, for nodes that have not received them yet.
    """

    def __init__(self, context: Context) -> None:
        self._context = context
        self._tell_at: Millis = 0
        self._tell_all_at: Millis = 0
        self._stirred: dict[Primary, None] = {}

    def note(self, watched: Collection[Primary]) -> None:
        """Mark primaries to which something may have happened."""
        self._stirred.update(dict.fromkeys(watched))

    def due(
        self, watched: Collection[Primary], everyone: Collection[Primary], senders: SnapshotSenders
    ) -> Sizes | None:
        """Return the report that is due, or None: bytes sent to learners always, sizes every SIZES_MS."""
        now, told = self._context.now, Sizes()
        self.note(watched)
        if now >= self._tell_at:
            self._tell_at = now + limits.SIZES_MS
            if now >= self._tell_all_at:
                self._tell_all_at = now + limits.ALL_SIZES_MS
                self.note(everyone)
            stirred, self._stirred = self._stirred, {}
            for primary in stirred:
                if primary.phase == Phase.ACTIVE:
                    replica = primary.replica
                    to_send = replica.state.data_bytes if primary.fills_whole else replica.log.entry_bytes
                    told.sizes += (replica.partition, to_send)
        for primary in watched:
            learner, partition = primary.place.learner, primary.replica.partition
            if learner is not None and primary.phase == Phase.ACTIVE:
                by_snapshot = senders.moved.get((partition, learner), 0)
                told.sent += (partition, by_snapshot + primary.progress.given.get(learner, 0))
        return told if told.sizes or told.sent else None
