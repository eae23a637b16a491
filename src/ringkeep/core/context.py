"""The state that the parts of one node's core share: its identity, the time, and the effects of the turn.

A turn begins with events and ends with `Effects`. Within it, data written by the turn itself is visible
through `get`, though the shell has not written it yet.
"""

from collections.abc import Callable
from typing import Final, Protocol

from ringkeep.core.cluster.feature_level import FIRST
from ringkeep.core.disk_state import Disks
from ringkeep.core.protocol.bounds import IN_USE, Bounds
from ringkeep.core.protocol.cluster_map import ClusterMap
from ringkeep.core.protocol.effects import Effects, Family
from ringkeep.core.protocol.hot_messages import Reply
from ringkeep.core.protocol.messages import Message
from ringkeep.core.protocol.reader import Reader
from ringkeep.core.protocol.types import Incarnation, Index, Life, Millis, NodeId, PartitionId

MISSING: Final = object()
"""Stands for a row that nothing is known of, where None stands for one that was deleted."""


class Awaiting(Protocol):
    """Something that waits until its own entries are durable: a primary."""

    def on_own_durable(self, index: Index) -> None:
        """Everything up to `index` is on disk."""


class Stirred(Protocol):
    """Something with entries to commit or to send at the end of the turn: a primary."""

    def on_stirred(self) -> None:
        """Commit what a majority holds, and send what is new."""


class Unapplied(Protocol):
    """Something with committed entries that are not applied yet: a replica."""

    def apply_late(self) -> None:
        """Apply as much as the turn can bear."""


class Logging(Protocol):
    """Something that keeps a log in memory: a replica."""

    def trim_sooner(self, most: int) -> None:
        """Keep at most so many bytes of what is applied, if nobody who answers needs more."""


class Followed(Protocol):
    """Something whose changes somebody is told, with log rows that are kept for that: a replica."""

    partition: PartitionId

    def cut_history(self, most: int) -> None:
        """Keep at most so many bytes of log rows below the window."""


class Durable:
    """What waits for this turn's batch to be durable.

    `acks`: per peer, flat triples for Acks. `own`: per primary, its own log's end. `calls`: everything rarer.
    `turn`: when it was gathered.
    """

    __slots__ = ("acks", "calls", "own", "turn")

    def __init__(self, turn: int = 0) -> None:
        self.turn = turn
        self.acks: dict[NodeId, list[int]] = {}
        self.own: dict[Awaiting, Index] = {}
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
        self.links: dict[NodeId, Incarnation] = {}
        self.effects = Effects()
        self.durable = Durable()
        self.stirred: dict[Stirred, None] = {}
        self.unapplied: dict[Unapplied, None] = {}
        self.watched: dict[PartitionId, None] = {}  # whose primaries a tick looks at: see `watched.py`
        self.bulk_given: dict[NodeId, int] = {}  # bytes given to each peer's bulk lane in this turn
        self.turn_bytes = 0  # of entries committed, applied and sent in this turn
        self.log_sizes: dict[Logging, int] = {}  # bytes of each log, as something was last applied
        self.log_bytes = 0  # the sum of them
        self.history_sizes: dict[
            Followed, int
        ] = {}  # bytes of log rows that each replica keeps below its log
        self.history_bytes = 0  # the sum of them
        self.news: dict[Followed, None] = {}  # of those whose changes somebody is told: applied in this turn
        self.jammed: set[NodeId] = set()  # peers to whom much is still unsent
        self.turn = 0
        self.coordinators: frozenset[bytes] = frozenset()
        """The origins whose writes may be executed: the lives that the map names."""
        self.feature_level = FIRST
        """What the nodes of the cluster may send to each other and store, by the map."""
        self.recognised = False
        """Whether the map names this very life. Before, it has no vote: a copy of its directory may live."""
        self.counters: dict[str, int] = {}
        self.answer: Callable[[Reply], None]
        """Takes the answers to requests that this node coordinates."""
        self.damaged = False
        self.draining = False
        self.disks = Disks(me)

    def get(self, key: bytes) -> bytes | None:
        """Return the data row as it is after everything written so far, this turn included."""
        found = self.effects.batch.data.get(key, MISSING)
        if found is MISSING:
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
            self.answer(reply)
        elif self.links.get(peer) == incarnation:
            self.send_sized(peer, reply, len(reply.value))

    def note_log(self, holder: Logging, size: int) -> None:
        """Count how many bytes a log holds now; 0 when it is deleted."""
        self.log_bytes += size - self.log_sizes.get(holder, 0)
        if size:
            self.log_sizes[holder] = size
        else:
            self.log_sizes.pop(holder, None)

    def note_history(self, holder: Followed, size: int) -> None:
        """Count how many bytes of log rows are kept below a log now; 0 when there are none."""
        self.history_bytes += size - self.history_sizes.get(holder, 0)
        if size:
            self.history_sizes[holder] = size
        else:
            self.history_sizes.pop(holder, None)

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
