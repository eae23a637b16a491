"""What must hold after every step, whatever happens: the invariants of `docs/guarantees.md`,
numbered as there."""

from typing import TYPE_CHECKING

from ringkeep.core import quorum
from ringkeep.core.effects import Batch, Family
from ringkeep.core.keys import after, data_prefix, log_key
from ringkeep.core.messages import Message, Promise
from ringkeep.core.primary import Phase, Primary
from ringkeep.core.replica import Replica
from ringkeep.core.types import Epoch, Index, NodeId, PartitionId

if TYPE_CHECKING:
    from ringkeep.sim.world import SimNode, World


class Violated(AssertionError):
    """An invariant does not hold."""


class Invariants:
    """Remembers what was true, and compares after each turn what may have changed."""

    def __init__(self, world: "World") -> None:
        self._world = world
        self.committed: dict[PartitionId, list[bytes]] = {}
        self._holders: dict[tuple[PartitionId, Epoch], NodeId] = {}
        self._active: dict[tuple[PartitionId, Epoch], tuple[NodeId, int]] = {}
        self._promised: dict[tuple[NodeId, PartitionId], Epoch] = {}
        self._told: dict[tuple[NodeId, PartitionId], Epoch] = {}
        self._checked: dict[tuple[NodeId, PartitionId], Index] = {}
        self._durable: dict[NodeId, dict[bytes, bytes]] = {}
        self._written: dict[NodeId, list[tuple[int, Batch]]] = {}

    def on_start(self, node: "SimNode") -> None:
        """A process starts: what it finds on its disk is what is durable there."""
        engine, end = node.engine, b"\xff" * 11
        self._durable[node.id] = dict(engine.scan(Family.LOG, b"", end, 1 << 30))
        written = self._written[node.id] = []
        for partition in list(self._checked):
            if partition[0] == node.id:
                del self._checked[partition]
        write = engine.write

        def recorded(batch: Batch) -> int:
            ticket = write(batch)
            if batch.log or batch.ranges:
                written.append((ticket, batch))
            return ticket

        engine.write = recorded  # type: ignore[method-assign]
        send = node.network.send

        def overheard(peer: NodeId, messages: list[Message]) -> None:
            for message in messages:
                if isinstance(message, Promise):
                    self._told[node.id, message.partition] = message.epoch
            send(peer, messages)

        node.network.send = overheard  # type: ignore[method-assign]

    def on_durable(self, node: "SimNode", ticket: int) -> None:
        """A flush is complete: keep the durable log beside the engine's own idea of it."""
        durable, written = self._durable[node.id], self._written[node.id]
        while written and written[0][0] <= ticket:
            _, batch = written.pop(0)
            for family, begin, end in batch.ranges:
                if family == Family.LOG:
                    for key in [key for key in durable if begin <= key < end]:
                        del durable[key]
            durable.update((key, value) for key, value in batch.log.items() if value is not None)

    def after_turn(self, node: "SimNode") -> None:
        """Check every replica of a node whose turn has just been carried out."""
        for replica in node.driver.node.replicas.values():
            self._check_promise(node, replica)
            self._check_commit(node, replica)
            if replica.primary is not None and replica.primary.phase == Phase.ACTIVE:
                self._check_active(node, replica, replica.primary)

    def _check_promise(self, node: "SimNode", replica: Replica) -> None:
        """2. `promised` never decreases, once told not even by a crash; one epoch has one holder."""
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

    def forget_promises(self, node: "SimNode") -> None:
        """A process died: a promise that it had not yet made durable was not made."""
        for partition in range(self._world.partitions):
            self._promised.pop((node.id, PartitionId(partition)), None)

    def _check_commit(self, node: "SimNode", replica: Replica) -> None:
        """3, 4, 6. What is committed is the same everywhere, is never cut, and a majority has it durably."""
        self._require(
            replica.applied <= replica.commit <= replica.log.last_index, node, replica, "applied past commit"
        )
        key = node.id, replica.partition
        start = self._checked.get(key, Index(0))
        if replica.commit == start:
            return
        self._require(replica.commit > start, node, replica, f"commit fell from {start}")
        known = self.committed.setdefault(replica.partition, [])
        for number in range(start + 1, replica.commit + 1):
            if number <= min(len(known), replica.log.floor_index):
                continue  # came with a snapshot, or went within the turn in which it came
            entry = self._entry(node, replica, Index(number))
            if number <= len(known):
                self._require(
                    known[number - 1] == entry,
                    node,
                    replica,
                    f"entry {number} differs from the committed one",
                )
                continue
            self._require(
                number == len(known) + 1, node, replica, f"entry {number} committed before those below it"
            )
            self._check_durable(node, replica, Index(number), entry)
            known.append(entry)
        self._checked[key] = replica.commit

    def _entry(self, node: "SimNode", replica: Replica, index: Index) -> bytes:
        """Find an entry in the window, or in the store if the turn that committed it has trimmed it away."""
        if index > replica.log.floor_index:
            return replica.log[index]
        row = log_key(replica.partition, index)
        found = self._durable[node.id].get(row, b"")
        for _, batch in self._written[node.id]:
            found = batch.log.get(row) or found
        return found

    def _check_durable(self, node: "SimNode", replica: Replica, index: Index, entry: bytes) -> None:
        place = node.driver.node.context.cluster_map.partitions[replica.partition]  # type: ignore[union-attr]
        row = log_key(replica.partition, index)
        holders = [voter for voter in place.replicas if self._durable.get(voter, {}).get(row) == entry]
        enough = quorum.won(place.voters, place.old_voters, holders)
        self._require(enough, node, replica, f"entry {index} committed, durable on {len(holders)} only")

    def _check_active(self, node: "SimNode", replica: Replica, primary: Primary) -> None:
        """1, 5. One ACTIVE primary per epoch, and it holds every committed entry."""
        name = replica.partition, primary.epoch
        if self._active.get(name) == (node.id, node.incarnation):
            return
        first = self._active.setdefault(name, (node.id, node.incarnation))
        self._require(
            first == (node.id, node.incarnation), node, replica, f"two ACTIVE primaries of {primary.epoch}"
        )
        known = self.committed.get(replica.partition, [])
        missing = replica.log.last_index < len(known)
        self._require(not missing, node, replica, f"primary of epoch {primary.epoch} lacks committed entries")
        self._world.count("epochs")

    def check_agreement(self) -> None:
        """9. At rest, replicas at the same applied index hold the same state, de-duplication included."""
        states: dict[tuple[PartitionId, Index], tuple[str, bytes, object]] = {}
        for node in self._world.nodes.values():
            for replica in node.driver.node.replicas.values():
                prefix = data_prefix(replica.partition, replica.generation)
                rows = node.engine.scan(Family.DATA, prefix, after(prefix), 1 << 30)
                bare = [(key[len(prefix) :], value) for key, value in rows]
                state = replica.state.sessions.encode(), bare
                name, *other = states.setdefault((replica.partition, replica.applied), (node.name, *state))
                self._require(
                    tuple(other) == state, node, replica, f"state at {replica.applied} differs from {name}'s"
                )

    def _require(self, holds: bool, node: "SimNode", replica: Replica, what: str) -> None:
        if not holds:
            raise Violated(f"{self._world.events.now} {node.name} partition {replica.partition}: {what}")
