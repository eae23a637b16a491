"""Pauses primaries without a majority, hands primaryships over gracefully, and reports failed takeovers.

A primary that another node should replace serves until the map says who leads. It asks the controller only
while its successor lacks few entries, so that the takeover is short.
"""

from collections.abc import Iterable

from ringkeep.core.context import Context
from ringkeep.core.disk_state import DiskState
from ringkeep.core.liveness.failure_detector import Detector
from ringkeep.core.protocol import limits
from ringkeep.core.protocol.messages import Said
from ringkeep.core.protocol.rows import NO_NODE
from ringkeep.core.protocol.types import Epoch, MapVersion, Millis, NodeId, PartitionId
from ringkeep.core.replication.primary import Phase, Primary

StatementRow = tuple[PartitionId, Epoch, MapVersion, int, NodeId]


class Handover:
    """Watches this node's primaries over time."""

    def __init__(self, context: Context, detector: Detector) -> None:
        self._context = context
        self._detector = detector
        self._answers_since: dict[NodeId, Millis] = {}

    def on_tick(self, primaries: Iterable[Primary], may_change: bool) -> list[StatementRow]:
        """Check every primary; return the statements for the controller, as in `messages.Report`. A statement
        is repeated while it holds, because it may be lost with a controller. `may_change`: whether the map
        can be changed at present.
        """
        self._note_who_answers()
        said: list[StatementRow] = []
        left = self._context.bounds.handovers_at_once
        for primary in primaries:
            self._pause_or_resume(primary)
            if self._failed(primary):
                primary.since = self._context.now
                said.append(_statement(primary, Said.FAILED))
            if primary.phase != Phase.ACTIVE:
                continue
            learner = primary.place.learner
            if learner is not None and primary.is_close(learner):
                said.append(_statement(primary, Said.CAUGHT_UP, learner))
            if primary.settled:
                said.append(_statement(primary, Said.SETTLED))
            if may_change and (left > 0 or self._context.draining):
                to = self._better(primary) if not primary.paused else None
                if to is not None and primary.lacks_little(to):
                    self._context.count("handover_asked")
                    said.append(_statement(primary, Said.HANDOVER, to))
                    left -= 1
        return said

    def can_hand_over(self, primaries: Iterable[Primary]) -> bool:
        """Return whether some primaryship of this node could be handed over at present."""
        return any(p.phase == Phase.ACTIVE and not p.paused and self._better(p) for p in primaries)

    def _note_who_answers(self) -> None:
        now = self._context.now
        for peer in self._detector.peers:
            beat = self._detector.beat_of(peer)
            fit = beat is not None and beat.ready and not beat.draining and not beat.damaged
            if fit and self._context.disks.state_of(peer) == DiskState.FINE:
                self._answers_since.setdefault(peer, now)
            else:
                self._answers_since.pop(peer, None)

    def _pause_or_resume(self, primary: Primary) -> None:
        """Pause a primary without a majority or without a disk that answers: it appends nothing. The same
        incarnation continues when they answer again."""
        suspects = self._detector.suspects
        answering = primary.won([node for node in primary.place.replicas if not suspects(node)])
        paused = not answering or not self._context.disks.own.answers
        if paused and not primary.paused:
            self._context.count("primary_paused")
            primary.since = self._context.now
        primary.paused = paused
        primary.unpark()

    def _failed(self, primary: Primary) -> bool:
        """Return whether this primary should report that another must be chosen."""
        waited = self._context.now - primary.since
        if primary.phase == Phase.ACTIVE and not primary.paused:
            return False
        patience = limits.TAKE_OFFICE_MS if self._context.disks.own.answers else limits.RESEND_MS
        return waited >= patience and len(primary.place.voters) > 1

    def _better(self, primary: Primary) -> NodeId | None:
        """Return the first voter that should lead instead, or None; while joint, a voter of both sets."""
        me, now, place = self._context.me, self._context.now, primary.place
        leaves = self._context.draining or self._context.disks.own.state != DiskState.FINE
        wait = 0 if leaves else limits.GIVE_BACK_AFTER_MS
        for voter in place.voters:
            if voter == me:
                if not leaves:
                    return None  # every more preferred voter is absent
                continue
            if place.old_voters and voter not in place.old_voters:
                continue
            beat = self._detector.beat_of(voter)
            if beat is not None and place.learner in beat.suspects:
                continue  # it does not reach the learner
            since = self._answers_since.get(voter)
            if since is not None and now - since >= wait and primary.is_close(voter):
                return voter
        return None


def _statement(primary: Primary, what: Said, node: NodeId = NO_NODE) -> StatementRow:
    return primary.replica.partition, primary.epoch, primary.place.config, int(what), node
