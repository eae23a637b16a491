"""Stale reads: from any replica, with an upper bound of their age.

The age of a replica's data counts from the newest probe of its node that reached the primary before a Confirm
round that succeeded, if the entries committed then are applied here.
"""

from ringkeep.core.cluster.feature_level import OPERATIONS
from ringkeep.core.context import Context
from ringkeep.core.liveness.failure_detector import Detector
from ringkeep.core.protocol.client_requests import Status
from ringkeep.core.protocol.hot_messages import Clocks, Commits, Reply
from ringkeep.core.protocol.messages import StaleRead
from ringkeep.core.protocol.record import deadline_of, read_record
from ringkeep.core.protocol.types import Epoch, Life, Millis, NodeId, PartitionId
from ringkeep.core.replication.primary import Phase, Primary
from ringkeep.core.replication.replica import Replica


class StaleReads:
    """Reads of this node's replicas, whatever their role."""

    def __init__(self, context: Context, replicas: dict[PartitionId, Replica], detector: Detector) -> None:
        self._context = context
        self._replicas = replicas
        self._detector = detector
        self._waiting: list[tuple[Millis, Life, StaleRead]] = []

    def on_read(self, caller: Life, message: StaleRead) -> None:
        """Answer from what is applied, once `at_least` is; give up at the deadline."""
        if not self._answer(caller, message):
            self._waiting.append((self._context.now + message.remaining_ms, caller, message))

    def _answer(self, caller: Life, message: StaleRead) -> bool:
        replica = self._replicas.get(message.partition)
        if replica is None or not replica.caught_up or replica.applied < message.at_least:
            return False
        if not replica.readable:
            return False
        record = replica.state.record(message.key)
        age, time = self.age_of(replica), replica.applied_time
        deadline = deadline_of(record) if record is not None else 0
        if record is None or 0 < deadline <= time:
            reply = Reply(message.tag, replica.promised.epoch, Status.NOT_FOUND, active=False, age_ms=age)
        else:
            version, content_type, _ = read_record(record)
            value = replica.state.value(message.key, record)
            reply = Reply(
                message.tag,
                replica.promised.epoch,
                Status.FOUND,
                False,
                version,
                value,
                content_type,
                age_ms=age,
                ttl=max(deadline - self._time_of(replica), 1) if deadline else 0,
            )
        self._context.reply(caller, reply)
        return True

    def _time_of(self, replica: Replica) -> Millis:
        """Return the log time as far as it is known here. What is gone is judged by what is applied alone: in
        between a write may have been committed that keeps the record.
        """
        primary = replica.primary
        known = max(replica.clock, replica.applied_time)
        return max(known, primary.log_time) if primary is not None else known

    def age_of(self, replica: Replica) -> Millis:
        """Return how old a replica's data may be at most, in milliseconds."""
        primary = replica.primary
        fresh = primary.confirmed_at if primary is not None else replica.fresh_at
        return self._context.now - fresh if fresh >= 0 else self._context.now

    def on_tick(self) -> None:
        """Try again; answer that the version was not reached at the deadline."""
        waiting, self._waiting = self._waiting, []
        for deadline, caller, message in waiting:
            if self._answer(caller, message):
                continue
            if self._context.now < deadline:
                self._waiting.append((deadline, caller, message))
            else:
                detail = "the replica that was asked has not reached that version"
                self._context.reply(
                    caller,
                    Reply(message.tag, Epoch(0), Status.UNAVAILABLE, active=False, detail=detail),
                )

    def tell_confirmed(self, primaries: list[Primary]) -> None:
        """Send backups the partitions confirmed since the last call, and the probe of theirs that came
        before; and the log times of those whose records expire."""
        told: dict[tuple[NodeId, int], list[int]] = {}
        clocks: dict[NodeId, list[int]] = {}
        for primary in primaries:
            probes, primary.confirmed_probes = primary.confirmed_probes, {}
            if primary.phase != Phase.ACTIVE:
                continue
            if probes and primary.expiry.waits:
                for peer in primary.peers:
                    items = clocks.setdefault(peer, [])
                    items += (primary.replica.partition, primary.epoch, primary.log_time)
            for peer in primary.peers:
                probe = probes.get(peer)
                if probe:
                    items = told.setdefault((peer, probe), [])
                    items += (primary.replica.partition, primary.epoch, primary.replica.commit)
        for (peer, probe), items in told.items():
            if peer in self._context.links:
                self._context.send(peer, Commits(probe, items))
        for peer, items in clocks.items() if self._context.feature_level >= OPERATIONS else ():
            if peer in self._context.links:
                self._context.send(peer, Clocks(items))

    def on_confirmed(self, replica: Replica, commit: int, probe: int) -> None:
        """A primary reports that it was confirmed after our probe, and its commit index."""
        sent = self._detector.sent_at(probe)
        if sent is not None and replica.applied >= commit:
            replica.fresh_at = max(replica.fresh_at, sent)
