"""Which primaries a tick looks at: those for which something may be due. The others are at rest. A primary is
watched from the moment something happens to it until it is at rest. All are watched after a change on which
all depend. So the cost of a tick depends on events, not on the number of partitions.
"""

from collections.abc import Mapping
from typing import Any

from ringkeep.core.context import Context
from ringkeep.core.disk_state import DiskState
from ringkeep.core.liveness.failure_detector import Detector
from ringkeep.core.protocol.types import PartitionId
from ringkeep.core.replication.primary import Primary


class Watched:
    """The primaries of one node that are watched: `Context.watched` names their partitions."""

    def __init__(
        self, context: Context, detector: Detector, primaries: Mapping[PartitionId, Primary]
    ) -> None:
        self._context = context
        self._detector = detector
        self._primaries = primaries
        self._known: tuple[Any, ...] = ()
        self._unseen = False  # whether all are watched, and were not looked after since

    def look(self) -> list[Primary]:
        """Return the watched primaries: all of them if links, suspicions, the state of the own disk or
        draining have changed."""
        context, own = self._context, self._context.disks.own
        known = (
            tuple(context.links), tuple(self._detector.suspected()), own.state, own.answers, context.draining,
        )  # fmt: skip
        if known != self._known:
            self._known = known
            self.all()
        primaries = self._primaries
        return [primaries[partition] for partition in context.watched if partition in primaries]

    def all(self) -> None:
        """Watch all primaries, for example because the map has changed."""
        self._context.watched.update(dict.fromkeys(self._primaries))
        self._unseen = True

    def seen(self) -> None:
        """What `look` returned in this tick was looked after."""
        self._unseen = False

    def let_go(self) -> None:
        """Stop watching primaries at rest; none is at rest while other nodes should lead instead of this one,
        or before it was looked after what has changed: one without a majority is at rest, and must pause.
        """
        context, primaries = self._context, self._primaries
        if self._unseen or context.draining or context.disks.own.state != DiskState.FINE:
            return
        context.watched = {
            partition: None
            for partition in context.watched
            if partition in primaries and not primaries[partition].at_rest
        }
