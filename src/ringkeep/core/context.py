"""What the parts of one node's core share: who it is, what time it is, and the turn's effects being gathered.

A turn begins with events and ends with `Effects`. Within it, data written by the turn itself is visible
through `get`, though the shell has not written it yet.
"""

from collections.abc import Callable
from typing import TYPE_CHECKING, Final, Protocol

from ringkeep.core.liveness.disk_state import DiskState, OwnDisk
from ringkeep.core.protocol.bounds import IN_USE, Bounds
from ringkeep.core.protocol.cluster_map import ClusterMap
from ringkeep.core.protocol.effects import Effects, Family
from ringkeep.core.protocol.messages import Acks, Forward, Message, Reply, StaleRead
from ringkeep.core.protocol.reader import Reader
from ringkeep.core.protocol.types import Incarnation, Index, Life, Millis, NodeId, PartitionId
from ringkeep.core.replication.snapshot_flow import Intake

if TYPE_CHECKING:
    from ringkeep.core.replication.execute import Call
    from ringkeep.core.replication.primary import Primary
    from ringkeep.core.replication.replica import Replica

_MISSING: Final = object()


class Parts(Protocol):
    """What one part of the node's core asks of another; the node connects them."""

    def on_reply(self, reply: Reply) -> None:
        """A request that this node coordinates was answered by a primary."""

    def on_forward(self, caller: Life, message: Forward) -> None:
        """A coordinator (this node too) sends a request to this node as its primary."""

    def on_stale_read(self, caller: Life, message: StaleRead) -> None:
        """A coordinator (this node too) reads from the replica here."""

    def execute(self, primary: "Primary", call: "Call") -> None:
        """Run a request at a primary of this node, or park it."""

    def confirm_read(
        self, primary: "Primary", call: "Call", result: tuple[int, int] | None, evidence: Index
    ) -> None:
        """Answer with `result`, or the record if None, once confirmed and once `evidence` is committed."""

    def drop_reads(self, primary: "Primary") -> None:
        """Send back every read that waits for a primary that was deposed."""

    def snapshot_wanted(self, primary: "Primary", peer: NodeId) -> None:
        """This peer is to be sent the whole state."""


class Durable:
    """What waits for this turn's batch to be durable.

    `acks`: per peer, flat triples for Acks. `own`: per primary, its own log's end. `calls`: everything rarer.
    `turn`: when it was gathered.
    """

    __slots__ = ("acks", "calls", "own", "turn")

    def __init__(self, turn: int = 0) -> None:
        self.turn = turn
        self.acks: dict[NodeId, list[int]] = {}
        self.own: dict[Primary, Index] = {}
        self.calls: list[Callable[[], None]] = []

    def __bool__(self) -> bool:
        return bool(self.acks or self.own or self.calls)


class Context:
    """One node's shared state. `links` holds the incarnation at the other end of each live outgoing link."""

    def __init__(self, me: NodeId, incarnation: Incarnation, reader: Reader, bounds: Bounds = IN_USE) -> None:
        self.me = me
        self.incarnation = incarnation
        self.reader = reader
        self.bounds = bounds
        self.now: Millis = 0
        self.cluster_map: ClusterMap | None = None
        self.names: dict[NodeId, str] = {}
        self.links: dict[NodeId, Incarnation] = {}
        self.effects = Effects()
        self.durable = Durable()
        self.stirred: dict[Primary, None] = {}
        self.unapplied: dict[Replica, None] = {}
        self.in_flight: dict[NodeId, int] = {}  # bytes of entries sent to each peer and not acknowledged
        self.bulk_given: dict[NodeId, int] = {}  # bytes given to each peer's bulk lane in this turn
        self.turn_bytes = 0  # of entries committed, applied and sent in this turn
        self.jammed: set[NodeId] = set()  # peers to whom much is still unsent
        self.parked_bytes = 0
        self.turn = 0
        self.deleted: dict[PartitionId, int] = {}  # in which turn a replica was deleted here, the last time
        self.coordinators: frozenset[bytes] = frozenset()
        """The origins whose writes may be executed: the lives that the map names."""
        self.recognised = False
        """Whether the map names this very life. Before, it has no vote: a copy of its directory may live."""
        self.counters: dict[str, int] = {}
        self.parts: Parts
        self.intake = Intake(bounds)
        self.damaged = False
        self.draining = False
        self.disk = OwnDisk()
        self.disks: dict[NodeId, DiskState] = {}  # of the others, where they are not fine
        self.move_bytes_per_s = 0  # of snapshots that this node sends; 0: no limit
        self.moves_paused = False

    def note_disk_of(self, peer: NodeId, state: int) -> None:
        """Take what another node says of its disk; remembered until it says something else."""
        if state:
            self.disks[peer] = DiskState(min(state, DiskState.SILENT))
        else:
            self.disks.pop(peer, None)

    def disk_of(self, node: NodeId) -> DiskState:
        """Return the state of a node's disk, by its own word; fine if it has said nothing."""
        return self.disk.state if node == self.me else self.disks.get(node, DiskState.FINE)

    def takes_entries(self, peer: NodeId) -> bool:
        """Tell whether another node takes entries, as far as its disk is concerned."""
        return self.disks.get(peer, DiskState.FINE) < DiskState.SPENT

    def get(self, key: bytes) -> bytes | None:
        """Return the data row as it is after everything applied so far, this turn included."""
        found = self.effects.batch.data.get(key, _MISSING)
        if found is _MISSING:
            return self.reader.get(Family.DATA, key)
        return found  # type: ignore[return-value]  # the sentinel is excluded above

    def send(self, peer: NodeId, message: Message) -> None:
        """Add a message to the frame that leaves for `peer` at the end of this turn."""
        queue = self.effects.sends.get(peer)
        if queue is None:
            self.effects.sends[peer] = [message]
        else:
            queue.append(message)

    def send_bulk(self, peer: NodeId, message: Message, size: int) -> None:
        """Send what is large, or must not overtake it, beside the frame of what is small.

        `size`: bytes of values and entries in it.
        """
        self.effects.bulk.setdefault(peer, []).append(message)
        self.bulk_given[peer] = self.bulk_given.get(peer, 0) + size

    def send_sized(self, peer: NodeId, message: Message, size: int) -> None:
        """Send what may come in any order, by how large it is."""
        if size > self.bounds.bulk_bytes:
            self.send_bulk(peer, message, size)
        else:
            self.send(peer, message)

    @property
    def turn_is_full(self) -> bool:
        """Whether what else there is to commit, apply and send is left for the turn that follows at once."""
        return self.turn_bytes >= self.bounds.turn_bytes

    def takes_bulk(self, peer: NodeId) -> bool:
        """Tell whether more that is large may be given to the link to `peer` just now.

        Held back by whoever can wait: requests and answers. What a replica is sent has bounds of its own.
        """
        return peer not in self.jammed and self.bulk_given.get(peer, 0) < self.bounds.bulk_turn_bytes

    def reply(self, caller: Life, reply: Reply) -> None:
        """Answer a coordinator: this node, or another one, unless it has begun a new life since it asked."""
        peer, incarnation = caller
        if peer == self.me:
            self.parts.on_reply(reply)
        elif self.links.get(peer) == incarnation:
            self.send_sized(peer, reply, len(reply.value))

    def count(self, name: str, by: int = 1) -> None:
        """Count an event by name: rare paths must be shown to be taken, and metrics read the same numbers."""
        self.counters[name] = self.counters.get(name, 0) + by

    def alarm(self, text: str) -> None:
        """Say something to the operator."""
        self.effects.alarms.append(text)

    def begin(self, now: Millis) -> None:
        """Start a turn: nothing is gathered yet."""
        assert now >= self.now, "the clock is monotonic"
        self.now = now
        self.turn_bytes = 0
        if self.bulk_given:
            self.bulk_given = {}

    def end(self) -> tuple[Effects, Durable]:
        """Finish a turn: hand over what was gathered, and start anew."""
        effects, durable = self.effects, self.durable
        effects.sync = bool(durable)
        self.turn += 1
        self.effects, self.durable = Effects(), Durable(self.turn)
        return effects, durable

    def settle(self, durable: Durable) -> None:
        """Carry out what waited for a batch that is durable now.

        What a replica acknowledged that has been deleted meanwhile is not said: it would be taken for the
        word of the one that is begun there anew. Nor does a store say anything that was found damaged.
        """
        for peer, items in durable.acks.items() if not self.damaged else ():
            kept = self._still_held(items, durable.turn) if self.deleted else items
            if kept:
                self.send(peer, Acks(kept))
        for primary, index in durable.own.items():
            primary.on_own_durable(index)
        for call in durable.calls:
            call()

    def _still_held(self, items: list[int], turn: int) -> list[int]:
        """Leave out the triples of replicas that were deleted in that turn or later."""
        kept: list[int] = []
        for at in range(0, len(items), 3):
            if self.deleted.get(PartitionId(items[at]), -1) < turn:
                kept += items[at : at + 3]
        return kept
