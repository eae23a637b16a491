"""What must hold after every step, whatever happens: the invariants of `docs/guarantees.md`,
numbered as there."""

from collections.abc import Collection
from typing import Any

from ringkeep.core.protocol import quorum
from ringkeep.core.protocol.cluster_map import ClusterMap
from ringkeep.core.protocol.effects import Batch, Family
from ringkeep.core.protocol.entry import Entry, EntryKind, decode, origins_in
from ringkeep.core.protocol.hot_messages import Acks, Confirmed
from ringkeep.core.protocol.keys import log_key
from ringkeep.core.protocol.messages import Message, Promise
from ringkeep.core.protocol.rows import decode_promised, decode_replica, promised_key, replica_key
from ringkeep.core.protocol.types import Epoch, Index, NodeId, PartitionId
from ringkeep.core.replication.primary import Phase, Primary
from ringkeep.core.replication.replica import Replica
from ringkeep.sim.checks.accepted_losses import AcceptedLoss
from ringkeep.sim.checks.committed_log import CommittedLog
from ringkeep.sim.checks.recoveries import holders, recovered, unfounded
from ringkeep.sim.checks.stored_rows import disagreement, rows_of
from ringkeep.sim.errors import Violated
from ringkeep.sim.world.machine import SimMachine
from ringkeep.sim.world.world import World


class Invariants:
    """Remembers the state of every replica, and checks after each turn what may have changed."""

    def __init__(self, world: World) -> None:
        self._world = world
        self.committed: dict[PartitionId, CommittedLog] = {}
        self.accepted: list[AcceptedLoss] = []
        self._turn_began = 0  # an event number before everything that this turn caused
        self._holders: dict[tuple[PartitionId, Epoch], NodeId] = {}
        self._active: dict[tuple[PartitionId, Epoch], tuple[NodeId, int]] = {}
        self._promised: dict[tuple[NodeId, PartitionId], Epoch] = {}
        self._acked: dict[tuple[NodeId, PartitionId], tuple[Epoch, int]] = {}
        self._forgotten: dict[PartitionId, set[bytes]] = {}
        self._gone: dict[tuple[NodeId, PartitionId], Epoch] = {}
        self._settled: set[tuple[int, Epoch, int]] = set()
        self._told: dict[tuple[NodeId, PartitionId], Epoch] = {}
        self._checked: dict[tuple[NodeId, PartitionId], Index] = {}
        self._durable: dict[NodeId, dict[bytes, bytes]] = {}
        self._written: dict[NodeId, list[tuple[int, Batch]]] = {}
        self._seen: dict[NodeId, dict[PartitionId, tuple[object, ...]]] = {}  # what was checked last

    def on_start(self, node: SimMachine) -> None:
        """A process starts: what is on its disk is durable."""
        engine, end = node.engine, b"\xff" * 11
        self._durable[node.id] = dict(engine.scan(Family.LOG, b"", end, 1 << 30))
        self._durable[node.id].update(engine.scan(Family.META, b"R", b"S", 1 << 30))
        for partition in list(self._checked):
            if partition[0] == node.id:
                del self._checked[partition]
        self._written[node.id] = []
        self._seen[node.id] = {}
        self._check_told(node, ())

    def on_damage(self, node: SimMachine) -> None:
        """A disk has lost durable data: promises and acknowledgements based on it do not hold any more."""
        told: tuple[dict[tuple[NodeId, PartitionId], Any], ...] = (self._told, self._acked)
        for names in told:
            for name in [name for name in names if name[0] == node.id]:
                del names[name]

    def on_old_copy(self, node: SimMachine, lost: Collection[tuple[PartitionId, Epoch]]) -> None:
        """Under these epochs a living primary remembers more of a node than its disk holds now."""
        for name in [name for name in self._gone if name[0] == node.id]:
            del self._gone[name]
        self._gone.update(((node.id, partition), epoch) for partition, epoch in lost)

    def on_write(self, node: SimMachine, ticket: int, batch: Batch) -> None:
        """A batch was written, and is not durable yet."""
        if batch.log or batch.ranges or batch.meta:
            self._written[node.id].append((ticket, batch))

    def on_send(self, node: SimMachine, messages: list[Message]) -> None:
        """A frame leaves: note the promises and acknowledgements in it."""
        for message in messages:
            if node.beyond_mark and type(message) in (Promise, Acks, Confirmed):
                raise Violated(f"{self._world.events.now} {node.name}: an old copy of its disk votes")
            if type(message) is Promise:
                self._told[node.id, message.partition] = message.epoch
            elif type(message) is Acks:
                for at in range(0, len(message.items), 3):
                    partition, epoch, index = message.items[at : at + 3]
                    name = node.id, PartitionId(partition)
                    if self._gone.get(name) == epoch:
                        raise Violated(
                            f"{self._world.events.now} {node.name}: an old copy is filled up again"
                        )
                    before = self._acked.get(name, (0, 0))
                    if (epoch, index) > before:
                        self._acked[name] = Epoch(epoch), index

    def on_durable(self, node: SimMachine, ticket: int) -> None:
        """A flush is complete: keep the durable log beside the engine's own idea of it."""
        durable, written = self._durable[node.id], self._written[node.id]
        while written and written[0][0] <= ticket:
            _, batch = written.pop(0)
            for family, begin, end in batch.ranges:
                if family == Family.LOG:
                    for key in [key for key in durable if begin <= key < end]:
                        del durable[key]
            durable.update((key, value) for key, value in batch.log.items() if value is not None)
            for key, value in batch.meta.items():
                if key[:1] == b"R":
                    if value is not None:
                        durable[key] = value
                    else:
                        durable.pop(key, None)

    def after_turn(self, node: SimMachine) -> None:
        """Check every replica of a node whose turn has just been carried out."""
        replicas, primaries = node.driver.node.replicas, node.driver.node.primaries
        seen = self._seen[node.id]
        if len(replicas) < self._world.partitions and seen.keys() - replicas.keys():
            self._check_told(node, replicas)
        for number, replica in replicas.items():
            primary = primaries.get(number)
            if primary is not None and primary.parked:
                # An earlier turn that was refused may be written just now: no turn of the node itself.
                held = node.driver.node.disk_held or primary.context.disks.own.pauses_writes
                waits = not primary.may_execute or held
                self._require(waits, node, replica, "requests wait, and could be executed")
            state = replica, replica.promised, replica.commit, replica.applied, primary and primary.phase
            if seen.get(number) == state:
                continue
            seen[number] = state
            self._check_promise(node, replica)
            self._check_acked(node, replica)
            self._check_commit(node, replica)
            if primary is not None and primary.settled:
                self._settled.add((number, primary.epoch, primary.place.config))
            if primary is not None and primary.phase == Phase.ACTIVE:
                self._check_active(node, replica, primary)
        self._turn_began = self._world.events.count

    def _check_told(self, node: SimMachine, held: Collection[PartitionId]) -> None:
        """2. A promise that was sent outlives the process and the replica."""
        for number in range(self._world.partitions):
            name = node.id, PartitionId(number)
            if number in held:
                continue
            if self._seen[node.id].pop(name[1], None) is not None:
                self._check_deleted(node, name[1])
            self._checked.pop(name, None)
            row = node.engine.get(Family.META, promised_key(name[1]))
            kept = decode_promised(row).epoch if row is not None else 0
            told = self._told.get(name, 0)
            if kept < told:
                detail = f"partition {number}: 2. promise {told} was told, and is forgotten"
                raise Violated(f"{self._world.events.now} {node.name} {detail}")

    def _check_deleted(self, node: SimMachine, partition: PartitionId) -> None:
        """A replica that votes is not deleted."""
        self._acked.pop((node.id, partition), None)
        cluster_map = self._world.map
        if cluster_map is not None:
            part = cluster_map.partitions[partition]
            if node.id in part.voters or node.id in part.old_voters:
                raise Violated(
                    f"{self._world.events.now} {node.name} partition {partition}: deleted, and votes"
                )

    def _check_acked(self, node: SimMachine, replica: Replica) -> None:
        """Entries acknowledged under an epoch stay as long as that epoch is followed."""
        epoch, index = self._acked.get((node.id, replica.partition), (0, 0))
        gone = replica.promised.epoch == epoch and replica.log.last_index < index
        self._require(not gone, node, replica, f"entry {index} was acknowledged, and is gone")

    def check_step(self, before: ClusterMap, after: ClusterMap) -> None:
        """7. A joint change ends in the new voters only after both majorities hold an entry of its own.

        Nothing is remembered of a former replica: if it becomes one again, it starts as a learner, whose copy
        does not count.
        """
        for number, (old, new) in enumerate(zip(before.partitions, after.partitions, strict=True)):
            for left in set(old.replicas) - set(new.replicas):
                self._gone.pop((left, PartitionId(number)), None)
            ends = bool(old.old_voters) and not new.old_voters and set(new.voters) == set(old.voters)
            if ends and (number, old.epoch, old.config) not in self._settled:
                raise Violated(
                    f"{self._world.events.now} partition {number}: 7. a joint change was not settled"
                )

    def _check_promise(self, node: SimMachine, replica: Replica) -> None:
        """2. `promised` never decreases; once it was sent, not even by a crash. One epoch has one holder."""
        promised = replica.promised
        told = self._told.get((node.id, replica.partition), Epoch(0))
        self._require(promised.epoch >= told, node, replica, f"promise {told} was told, and is forgotten")
        before = self._promised.get((node.id, replica.partition), Epoch(0))
        if promised.epoch == before:
            return
        self._require(promised.epoch > before or not before, node, replica, f"promise fell from {before}")
        self._promised[node.id, replica.partition] = promised.epoch
        holder = self._holders.setdefault((replica.partition, promised.epoch), promised.node)
        self._require(holder == promised.node, node, replica, f"epoch {promised.epoch} has two holders")

    def check_held(self) -> None:
        """5. No majority that could elect a primary lacks a committed entry."""
        cluster_map = self._world.map
        if cluster_map is None:
            return
        for number, part in enumerate(cluster_map.partitions):
            log = self.committed.get(PartitionId(number))
            if log is None or not log.last or log.going_on:
                continue
            lacking = [
                voter
                for voter in part.replicas
                if voter in self._world.nodes
                and not self._world.nodes[voter].lost
                and not self.holds(voter, PartitionId(number), log.last)
            ]
            if quorum.won(part.voters, part.old_voters, lacking):
                raise Violated(
                    f"{self._world.events.now} partition {number}: 5. entry {log.last} is committed, and"
                    f" voters that can elect a primary lack it (map {cluster_map.version})"
                )

    def holds(self, node: NodeId, partition: PartitionId, index: int) -> bool:
        """Tell whether an index is in what is durable on a node, as an entry or below the floor."""
        durable = self._durable.get(node, {})
        entry = self.committed[partition].entries.get(index)  # none if it was lost since
        if entry is not None and durable.get(log_key(partition, Index(index))) == entry:
            return True
        row = durable.get(replica_key(partition))
        return row is not None and decode_replica(row).floor_index >= index

    def forget_promises(self, node: SimMachine) -> None:
        """A process died: promises that were not durable yet do not count."""
        for partition in range(self._world.partitions):
            self._promised.pop((node.id, PartitionId(partition)), None)

    def _check_commit(self, node: SimMachine, replica: Replica) -> None:
        """3, 4, 6. What is committed is the same everywhere, is never cut, and a majority has it durably."""
        self._require(
            replica.applied <= replica.commit <= replica.log.last_index, node, replica, "applied past commit"
        )
        key = node.id, replica.partition
        start = self._checked.get(key, Index(0))
        if replica.commit == start:
            return
        self._require(replica.commit > start, node, replica, f"commit fell from {start}")
        log = self.committed.setdefault(replica.partition, CommittedLog())
        if log.going_on and replica.log.floor_index >= log.base:
            self._gone_on(node, replica, log, start)
        below = min(log.next - 1, replica.log.floor_index)  # from a snapshot, or trimmed in this turn
        for number in range(max(start, below) + 1, replica.commit + 1):
            entry = self._entry(node, replica, Index(number))
            if number < log.next:
                self._require(
                    log.at(number) == entry,
                    node,
                    replica,
                    f"entry {number} differs from the committed one",
                )
                continue
            self._require(
                number == log.next, node, replica, f"entry {number} committed before those below it"
            )
            self._check_durable(node, replica, Index(number), entry)
            events = self._world.events
            log.add(entry, self._turn_began, (events.count, events.now))
            self._check_asked(node, replica, decode(entry))
        self._checked[key] = replica.commit

    def _check_asked(self, node: SimMachine, replica: Replica, entry: Entry) -> None:
        """8. No request of a forgotten coordinator is executed: it might have taken effect before."""
        forgotten = self._forgotten.setdefault(replica.partition, set())
        if entry.kind == EntryKind.FORGET:
            forgotten.update(origins_in(entry.tail))
        late = f"entry {entry.index} is of a coordinator that was forgotten"
        self._require(entry.origin not in forgotten, node, replica, late)

    # --- after a loss ---------------------------------------------------------------------------------

    def check_recoveries(self, before: ClusterMap, after: ClusterMap) -> None:
        """A partition continues with its best copy, and only if a majority of its disks is lost."""
        for number in recovered(before.partitions, after.partitions):
            new = after.partitions[number]
            log = self.committed.setdefault(PartitionId(number), CommittedLog())
            text = f"{self._world.events.now} partition {number}: "
            if unfounded(self._world, before, before.partitions[number]):
                raise Violated(f"{text}recovered, and a majority of its disks is there")
            reached = {
                each.id: self._reach(each.id, PartitionId(number)) for each in holders(self._world, before)
            }
            best = max(reached.values())
            if reached.get(new.primary, 0) < best:
                raise Violated(f"{text}recovered without entry {best}, which a copy holds")
            log.base, log.going_on = new.base, True
            self._world.count("partition_recovered")

    def _reach(self, node: NodeId, partition: PartitionId) -> int:
        """Return the highest committed entry that is durable on a node."""
        entries = self.committed[partition].entries
        return max((index for index in entries if self.holds(node, partition, index)), default=0)

    def _gone_on(self, node: SimMachine, replica: Replica, log: CommittedLog, kept: int) -> None:
        """The survivor continues from what it knew to be committed, and appends its other entries again.
        Entries above `kept` have lost their versions; those that it did not hold are lost.
        """
        log.going_on = False
        own = replica.log
        there = [decode(own[Index(number)]) for number in range(log.base + 1, own.last_index + 1)]
        ids = {(entry.origin, entry.counter) for entry in there}
        for number in range(kept + 1, self._reach(node.id, replica.partition) + 1):
            entry = decode(log.entries[number])
            held = entry.kind == EntryKind.NOOP or (entry.origin, entry.counter) in ids
            self._require(
                held, node, replica, f"entry {number} was in the best copy, and is not appended anew"
            )
        began = log.cut(kept)
        told = [decode(entry) for entry in log.entries.values()]
        forgets = [entry for entry in told if entry.kind == EntryKind.FORGET]
        self._forgotten[replica.partition] = {
            origin for entry in forgets for origin in origins_in(entry.tail)
        }
        if began is not None:
            self._world.count("acknowledged_lost")
            now = self._world.events.count
            self.accepted.append(AcceptedLoss(replica.partition, kept, log.base, began, now))

    # --- helpers --------------------------------------------------------------------------------------

    def _entry(self, node: SimMachine, replica: Replica, index: Index) -> bytes:
        """Find an entry in the window, or in the store if the turn that committed it has trimmed it away."""
        if index > replica.log.floor_index:
            return replica.log[index]
        row = log_key(replica.partition, index)
        found = self._durable[node.id].get(row, b"")
        for _, batch in self._written[node.id]:
            found = batch.log.get(row) or found
        return found

    def _check_durable(self, node: SimMachine, replica: Replica, index: Index, entry: bytes) -> None:
        place = node.driver.node.context.cluster_map.partitions[replica.partition]  # type: ignore[union-attr]
        row = log_key(replica.partition, index)
        machines = self._world.nodes
        holders = [
            voter
            for voter in place.replicas
            if self._durable.get(voter, {}).get(row) == entry
            or (voter in machines and machines[voter].lost)  # perhaps acknowledged, and lost since
        ]
        enough = quorum.won(place.voters, place.old_voters, holders)
        self._require(enough, node, replica, f"entry {index} committed, durable on {len(holders)} only")

    def _check_active(self, node: SimMachine, replica: Replica, primary: Primary) -> None:
        """1, 5. One ACTIVE primary per epoch, and it holds every committed entry."""
        name = replica.partition, primary.epoch
        if self._active.get(name) == (node.id, node.incarnation):
            return
        first = self._active.setdefault(name, (node.id, node.incarnation))
        self._require(
            first == (node.id, node.incarnation), node, replica, f"two ACTIVE primaries of {primary.epoch}"
        )
        missing = replica.log.last_index < self.committed.get(replica.partition, CommittedLog()).last
        self._require(not missing, node, replica, f"primary of epoch {primary.epoch} lacks committed entries")
        self._world.count("epochs")
        self._world.log(node, f"leads partition {replica.partition} under epoch {primary.epoch}")

    def check_agreement(self) -> None:
        """9. At rest, all replicas of a partition hold the same state, de-duplication included, and know how
        large it is."""
        states: dict[PartitionId, tuple[str, Index, bytes, object]] = {}
        for node in self._world.nodes.values():
            for replica in node.driver.node.replicas.values():
                bare = rows_of(node, replica)
                wrong = disagreement(bare)
                self._require(not wrong, node, replica, wrong)
                size, counted = sum(len(key) + len(value) for key, value in bare), replica.state.data_bytes
                self._require(counted == size, node, replica, f"{size} bytes of rows, counted {counted}")
                state = replica.applied, replica.state.sessions.encode(), bare
                name, *other = states.setdefault(replica.partition, (node.name, *state))
                what = f"applied up to {replica.applied}, {name} up to {other[0]}"
                self._require(other[0] == replica.applied, node, replica, what)
                what = f"state at {replica.applied} differs from {name}'s"
                self._require(tuple(other) == state, node, replica, what)

    def _require(self, holds: bool, node: SimMachine, replica: Replica, what: str) -> None:
        if not holds:
            raise Violated(f"{self._world.events.now} {node.name} partition {replica.partition}: {what}")
