"""Sends every node the sizes of partitions, and how much their learners were sent, for people.

Nothing that is decided depends on it. Who keeps it is a `Listener`: `status.move_history` is the one.
"""

from collections.abc import Iterable
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

    def on_map(self, found: ClusterMap, now: Millis) -> None:
        """The node took over this map, or started with it."""

    def on_sizes(self, message: Sizes, now: Millis) -> None:
        """A primary has told its sizes, of this node or another."""


class SizeReports:
    """Tells what this node's primaries have to tell."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._tell_at: Millis = 0

    def due(self, primaries: Iterable[Primary], senders: SnapshotSenders) -> Sizes | None:
        """Return what is to be told: of moves always, of the rest now and then."""
        now = self._context.now
        all_of_them = now >= self._tell_at
        if all_of_them:
            self._tell_at = now + limits.SIZES_MS
        told = Sizes()
        for primary in primaries:
            replica, learner = primary.replica, primary.place.learner
            if primary.phase != Phase.ACTIVE:
                continue
            if all_of_them:
                to_send = replica.state.data_bytes if primary.fills_whole else replica.log.entry_bytes
                told.sizes += (replica.partition, to_send)
            if learner is not None:
                by_snapshot = senders.moved.get((replica.partition, learner), 0)
                told.sent += (replica.partition, by_snapshot + primary.progress.given.get(learner, 0))
        return told if told.sizes or told.sent else None
