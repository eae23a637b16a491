"""Sends every node the sizes of partitions, and how much their learners were sent, for people.

Nothing that is decided depends on it. Who keeps it is a `Listener`: `status.move_history` is the one.
"""

from collections.abc import Collection
from typing import Protocol

from ringkeep.core.context import Context
from ringkeep.core.protocol import limits
from ringkeep.core.protocol.cluster_map import ClusterMap
from ringkeep.core.protocol.messages import Sizes
from ringkeep.core.protocol.types import Millis
from ringkeep.core.replication.primary import Phase, Primary
from ringkeep.core.replication.snapshot_sender import SnapshotSenders


class Listener(Protocol):
    """Hears what the core learns and has no use for."""

    def on_map(self, cluster_map: ClusterMap, now: Millis) -> None:
        """The node took over this map, or started with it."""

    def on_sizes(self, message: Sizes, now: Millis) -> None:
        """A primary has told its sizes, of this node or another."""


class SizeReports:
    """Tells what this node's primaries have to tell.

    A size is told when something happened to its primary; and all are now and then, for those who had not
    heard of the partition yet.
    """

    def __init__(self, context: Context) -> None:
        self._context = context
        self._tell_at: Millis = 0
        self._tell_all_at: Millis = 0
        self._stirred: dict[Primary, None] = {}

    def note(self, watched: Collection[Primary]) -> None:
        """Something may have happened to these."""
        self._stirred.update(dict.fromkeys(watched))

    def due(
        self, watched: Collection[Primary], everyone: Collection[Primary], senders: SnapshotSenders
    ) -> Sizes | None:
        """Return what is to be told: of moves always, of the rest now and then."""
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
