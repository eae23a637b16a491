"""The replicas of a node: creates, promotes and deletes them as the map says.

A replica that the map gives to other nodes is kept, and continues to answer, until a primary that serves
without it releases it: until then it may hold entries that the others need. Its `promised` is kept for ever.
"""

from ringkeep.core.context import Context
from ringkeep.core.liveness.heartbeat_relay import Relay
from ringkeep.core.protocol import limits
from ringkeep.core.protocol.cluster_map import ClusterMap, Partition, partitions_of
from ringkeep.core.protocol.keys import ALL_DATA
from ringkeep.core.protocol.messages import Refuse, Release, Surplus
from ringkeep.core.protocol.rows import NOBODY, partitions_stored
from ringkeep.core.protocol.types import Millis, NodeId, PartitionId
from ringkeep.core.replication.primary import Phase, Primary, PrimaryHost
from ringkeep.core.replication.replica import Replica


class ReplicaSet:
    """All replicas of one node, by partition."""

    def __init__(self, context: Context, relay: Relay, node: PrimaryHost) -> None:
        self._context = context
        self._relay = relay
        self._node = node
        self.replicas: dict[PartitionId, Replica] = {}
        self.primaries: dict[PartitionId, Primary] = {}
        """Of the replicas here, those that lead, or try to."""
        self.missed: dict[PartitionId, None] = {}
        """Partitions where something was dropped that the primary believes to be on its way."""
        self._asked_at: Millis = 0
        self._late: dict[PartitionId, None] = {}  # of the replicas here, those that had not caught up
        self._surplus: dict[PartitionId, None] = {}  # those that the newest map gives to other nodes
        self._deleted: dict[PartitionId, None] = {}  # in this turn: the store still has their rows
        self._deleted_in: dict[
            PartitionId, int
        ] = {}  # the turn in which a replica was deleted, the last time
        self._renewed: set[PartitionId] = set()  # on a damaged store: recovered after a loss, by the map

    def load(self) -> None:
        """Load the replicas that are stored here and were not deleted in an earlier life."""
        for partition in partitions_stored(self._context.reader):
            if partition not in self.replicas:
                self._add(partition)
        self._note_surplus()

    def _add(self, partition: PartitionId) -> Replica:
        replica = self.replicas[partition] = Replica(self._context, partition)
        self._late[partition] = None
        self._context.note_log(replica, replica.log.entry_bytes)
        return replica

    def _note_surplus(self) -> None:
        self._surplus = {partition: None for partition in self.replicas if self._is_surplus(partition)}

    def follow(self, cluster_map: ClusterMap) -> None:
        """Create, promote and depose replicas as a newer map says."""
        for partition in partitions_of(cluster_map, self._context.me):
            self._follow(partition, cluster_map.partitions[partition])
        self._note_surplus()
        for partition in self._surplus:
            primary = self.primaries.get(partition)
            if primary is not None:
                primary.depose()

    def _follow(self, partition: PartitionId, place: Partition) -> None:
        context, replica = self._context, self.replicas.get(partition)
        if partition in self._deleted:
            return  # created again in the next turn, when the store has deleted it
        if replica is None:
            replica = self._add(partition)
        primary = self.primaries.get(partition)
        if primary is not None and primary.epoch < place.epoch:
            primary.depose()
        elif primary is not None:
            primary.follow(place)
        if place.learner == context.me and place.epoch > replica.promised.epoch:
            # No older primary may count on its old promise: the log behind that promise was deleted.
            replica.promise(place.epoch, place.primary, place.incarnation)
        mine = place.primary == context.me and place.incarnation == context.incarnation
        if not mine or partition in self.primaries or replica.promised.epoch >= place.epoch:
            return
        if not context.damaged:
            primary = Primary(context, self._node, replica, place)
            replica.primary = self.primaries[partition] = primary
            primary.start()
        elif replica.log.last_index < place.base:
            # A recovery after a loss: what this store had lost before does not count any more.
            replica.continue_above(place.base, place.epoch)
            self._renewed.add(partition)

    def begin_turn(self) -> None:
        """Create again the replicas that were deleted in the turn before and that the map has given back
        since."""
        if self._deleted:
            deleted, self._deleted = self._deleted, {}
            cluster_map = self._context.cluster_map
            for partition in deleted:
                if cluster_map is not None and self._context.me in cluster_map.partitions[partition].replicas:
                    self._follow(partition, cluster_map.partitions[partition])

    @property
    def empty(self) -> bool:
        """Whether no replica is held here or is being deleted."""
        return not self.replicas and not self._deleted

    @property
    def ready(self) -> bool:
        """Whether every replica that votes has caught up to the first commit index that it received."""
        return self._context.cluster_map is not None and not self.behind

    @property
    def behind(self) -> list[PartitionId]:
        """The replicas that vote and have not caught up yet; learners do not count. A replica that has caught
        up stays so, so only the others are checked.
        """
        cluster_map, me, replicas = self._context.cluster_map, self._context.me, self.replicas
        if not self._late:
            return []
        self._late = {p: None for p in self._late if p in replicas and not replicas[p].caught_up}
        return [p for p in self._late if cluster_map is not None and me in cluster_map.partitions[p].voters]

    def on_deposed(self, primary: Primary) -> None:
        """Drop a primary that was deposed."""
        partition = primary.replica.partition
        if self.primaries.get(partition) is primary:
            del self.primaries[partition]

    def still_held(self, acks: list[int], turn: int) -> list[int]:
        """Return the triples without those of replicas that were deleted in that turn or later. Their
        acknowledgements would be counted for a new replica of the same partition here.
        """
        if not self._deleted_in:
            return acks
        kept: list[int] = []
        for at in range(0, len(acks), 3):
            if self._deleted_in.get(PartitionId(acks[at]), -1) < turn:
                kept += acks[at : at + 3]
        return kept

    # --- giving up ------------------------------------------------------------------------------------

    def _is_surplus(self, partition: PartitionId) -> bool:
        cluster_map = self._context.cluster_map
        return cluster_map is not None and self._context.me not in cluster_map.partitions[partition].replicas

    def on_tick(self) -> None:
        """Ask for releases of the replicas that the map gives to other nodes."""
        context, cluster_map = self._context, self._context.cluster_map
        if self.missed and context.disks.own.takes_entries:
            self._report_missed()
        if context.log_bytes > context.bounds.all_logs_bytes:
            self._trim_longest()
        allowed = 0 if context.disks.own.nearly_full else context.bounds.history_bytes
        if context.history_bytes > allowed:
            self._cut_histories(allowed)
        if cluster_map is None or context.now - self._asked_at < limits.SURPLUS_MS:
            return
        self._asked_at = context.now
        if self._is_repaired and context.recognised and context.disks.own.answers:
            self._drop_all_but_live()
            context.durable.calls.append(self._clear_damage)  # once the deletion is durable
        for partition in [partition for partition in self._surplus if partition in self.replicas]:
            place = cluster_map.partitions[partition]
            way = self._relay.way_to(place.primary)
            if way is not None and way in context.links:
                asks = NodeId("") if way == place.primary else context.me
                context.send(way, Surplus(partition, place.config, asks))

    def _trim_longest(self) -> None:
        """Bring all logs together well below their bound, by what the longest have more than others."""
        sizes = self._context.log_sizes
        level = _level(sorted(sizes.values()), self._context.bounds.all_logs_bytes * 3 // 4)
        for log, size in list(sizes.items()):
            if size > level:
                self._context.count("log_trimmed_sooner")
                log.trim_sooner(level)

    def _cut_histories(self, most: int) -> None:
        """Bring what all replicas keep below their logs within `most` bytes, where there is most of it."""
        sizes = self._context.history_sizes
        level = _level(sorted(sizes.values()), most)
        for replica, size in list(sizes.items()):
            if size > level:
                replica.cut_history(level)

    def _report_missed(self) -> None:
        """Inform primaries that something was dropped although no link was lost: they ask for the positions
        again."""
        missed, self.missed = self.missed, {}
        for partition in missed:
            replica = self.replicas.get(partition)
            promised = replica.promised if replica is not None else NOBODY
            if promised.node in self._context.links:
                refusal = Refuse(partition, promised.epoch, promised.epoch)
                self._context.send(promised.node, refusal)

    @property
    def _is_repaired(self) -> bool:
        """Whether a damaged store holds nothing any more that another node may expect to be complete."""
        return self._context.damaged and not self._deleted and self.replicas.keys() <= self._renewed

    def _drop_all_but_live(self) -> None:
        """Delete staged rows: they may have survived a loss of their generation's number, which is then used
        again."""
        batch, (begin, end) = self._context.effects.batch, ALL_DATA
        for partition in sorted(self.replicas):
            live, begin_next = self.replicas[partition].live_range()
            batch.delete_data(begin, live)
            begin = begin_next
        batch.delete_data(begin, end)

    def _clear_damage(self) -> None:
        """Clear the damage: nobody counts any more on what the store had lost."""
        if self._is_repaired:
            self._context.damaged = False
            self._context.effects.repaired = True
            self._context.count("damage_repaired")
            self._renewed.clear()
            if self._context.cluster_map is not None:
                self.follow(self._context.cluster_map)

    def on_surplus(self, peer: NodeId, message: Surplus) -> None:
        """A former holder asks for its release. Only a primary that serves under stable voters without it may
        grant it."""
        primary = self.primaries.get(message.partition)
        if primary is None or primary.phase != Phase.ACTIVE or primary.paused:
            return  # without a majority, the holder's copy may be one of the last
        place = primary.place
        if place.config == message.config and not place.old_voters and peer not in place.replicas:
            way = self._relay.way_to(peer) or peer
            to = NodeId("") if way == peer else peer
            self._context.send(way, Release(message.partition, primary.epoch, place.config, to))

    def on_release(self, message: Release) -> None:
        """Delete a replica, if the map held here agrees and nothing higher was promised since. A deposed
        primary may not know that the map has given the replica back meanwhile.
        """
        cluster_map, replica = self._context.cluster_map, self.replicas.get(message.partition)
        if replica is None or cluster_map is None or not self._is_surplus(message.partition):
            return
        config = cluster_map.partitions[message.partition].config
        if message.config != config or message.epoch < replica.promised.epoch:
            return
        self._context.count("replica_deleted")
        del self.replicas[message.partition]
        self._deleted[message.partition] = None
        self._deleted_in[message.partition] = self._context.turn
        replica.delete()


def _level(sizes: list[int], room: int) -> int:
    """Return to what the longest of these are to be cut, so that all fit the room. `sizes`: ascending."""
    for number, size in enumerate(sizes):
        left = len(sizes) - number
        if size * left > room:
            return room // left
        room -= size
    return max(sizes, default=0)
