"""The ports of the driver, as protocols: Engine, Syncer, Network, Coordination, Clock, Shell.

Production and the simulator implement each once; one contract test per port holds for both.
All calls come from one thread (the loop), and so do all events that a port returns.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Final, Protocol

from ringkeep.admission import Claim, Mark
from ringkeep.core.node import MapCodec
from ringkeep.core.protocol.cluster_map import Member
from ringkeep.core.protocol.effects import Batch, Family, Lane
from ringkeep.core.protocol.messages import Message
from ringkeep.core.protocol.types import Incarnation, Millis, NodeId

NO_MARK: Final = -1
"""The version of a mark that does not exist."""


class Snapshot(Protocol):
    """A frozen view of the data family. Close it: it holds disk space."""

    def scan(self, begin: bytes, end: bytes, limit: int, limit_bytes: int) -> list[tuple[bytes, bytes]]:
        """Return rows in byte order, begin <= key < end; at most `limit` rows, stopping once `limit_bytes`
        of keys and values are passed (at least one row, if there is one)."""
        ...

    def close(self) -> None: ...


class Engine(Protocol):
    """The durable store of one node: three families of byte keys and byte values."""

    def write(self, batch: Batch) -> int:
        """Apply the batch atomically, visible at once, not yet durable; return its ticket (1, 2, 3 …).

        Staged rows (see `Batch`) are the exception: what is taken may be durable at once, and by itself.

        Raises StorageStalled (nothing was written; write the same batch again later, nothing else before it)
        and StorageError (final).
        """
        ...

    def flush(self) -> int:
        """Make durable every batch whose `write` had returned when this was called; return the highest such
        ticket. Rows that they staged have then been written to the disk too. Blocks without the interpreter
        lock: call it in the storage thread only. Raises StorageError."""
        ...

    def get(self, family: Family, key: bytes) -> bytes | None: ...

    def scan(
        self, family: Family, begin: bytes, end: bytes, limit: int, limit_bytes: int | None = None
    ) -> list[tuple[bytes, bytes]]:
        """Return rows in byte order, begin <= key < end; at most `limit`, stopping once `limit_bytes` of keys
        and values are reached, if that is given (at least one row, if there is one)."""
        ...

    def snapshot(self) -> Snapshot: ...

    def stalled(self) -> bool:
        """Whether the next write might be refused: checked before anything is admitted.

        Raises StorageError when the store has failed in the background.
        """
        ...

    def record_damage(self, what: str) -> None:
        """Record, durably, that this store lost data; `what` describes it. Raises StorageError."""
        ...

    def clear_damaged(self) -> None:
        """Clear, durably, the record of a loss: no node relies on the lost data any more."""
        ...

    def close(self) -> None: ...


class Syncer(Protocol):
    """Group commit: turns requests for durability into as few flushes as possible."""

    def request(self, ticket: int) -> None:
        """Ask that this ticket becomes durable; the driver's `synced(ticket)` follows, on the loop."""
        ...


class NetworkEvents(Protocol):
    """What a network gives back, always on the loop and never from within a call to the port."""

    def peer_up(self, peer: NodeId, incarnation: Incarnation) -> None:
        """The link *to* that peer is open: what is sent from now on may arrive."""
        ...

    def peer_down(self, peer: NodeId, refused: bool) -> None:
        """The link to that peer is lost, or cannot be made.

        `refused`: the connection was refused, so the process has ended. Called once per loss, and once more
        when a lost link turns out to be refused.
        """
        ...

    def jam(self, peer: NodeId, jammed: bool) -> None:
        """`jammed`: whether much of the bulk lane's data for that peer is still unsent.

        A new link is not jammed.
        """
        ...

    def sign_of_life(self, peer: NodeId) -> None:
        """A part of a message came from that peer: it is alive."""
        ...

    def received(self, peer: NodeId, incarnation: Incarnation, messages: list[Message]) -> None:
        """These messages came from that incarnation of that peer, in the order sent on one lane.

        Its link to us and our link to it are separate connections: the state of one says nothing of the
        other.
        """
        ...


class Network(Protocol):
    """Links to the other nodes. Gives back: see NetworkEvents."""

    def set_peers(self, peers: Mapping[NodeId, str]) -> None:
        """Keep a link to each of these nodes (id -> "HOST:PORT"), and to no other."""
        ...

    def send(self, peer: NodeId, lane: Lane, messages: list[Message]) -> None:
        """Send in order, within the lane. Lost silently if there is no link, or with the link."""
        ...

    def renew(self, peer: NodeId) -> None:
        """Drop the link to a peer, as if it were lost, and connect again at once.

        After a cut that drops packets silently, TCP waits ever longer before it sends again.
        """
        ...


class CoordinationEvents(Protocol):
    """What a coordination port gives back, always on the loop and never from within a call to the port.

    Without a connection no event comes, and what was read last stays valid.
    """

    def members_changed(self, members: list[Member]) -> None:
        """The complete list, by sequence: when it changes, and after every (re)connection and refresh."""
        ...

    def barrier_read(self, stands: bool) -> None:
        """Whether the start-up barrier exists. If there is a map, the barrier does not count."""
        ...

    def map_read(self, znode_version: int, payload: bytes | None) -> None:
        """The map as it was after a sync: on every change, (re)connection and refresh. -1 and None:
        no map."""
        ...

    def map_written(self, ok: bool | None) -> None:
        """The answer to one write_map. True: it is the map now. False: it was not written, and never will be.
        None: unknown, the connection was lost; a map_read follows after reconnection."""
        ...

    def mark_read(self, version: int, mark: Mark | None) -> None:
        """A node's mark, and its znode's version; NO_MARK and None: there is none. Follows a `read_mark` and
        a `write_mark`, whether that was carried out or not; it does not follow if the connection is lost."""
        ...

    def session_changed(self, connected: bool) -> None:
        """True: connected, everything is being read again. False: the session expired, or the service has
        been unreachable for as long as a session lasts; a shorter interruption is not reported."""
        ...


class Coordination(Protocol):
    """The coordination service: members, barrier, map, marks. Every call returns at once; results are events.

    Gives back: see CoordinationEvents. Each write of the map is answered exactly once, in order.
    `session_ms`: about how long a killed process stays registered.
    """

    session_ms: Millis

    def announce(self, member: Member) -> None:
        """Register this process, or update what its registration says.

        Repeated after a lost session by itself.
        """
        ...

    def reregister(self) -> None:
        """Replace the registration by a new one, with the highest sequence number."""
        ...

    def write_map(self, expected: int, payload: bytes) -> None:
        """Compare-and-set the map znode. `expected` is the znode's version as map_read gave it; -1 creates
        the map and removes the barrier in one transaction. Followed by map_written and a map_read.

        Refused, without being sent, until the map was read over the present connection: the service may have
        been wiped or restored, and its map may have the same znode version by chance."""
        ...

    def read_mark(self, node: NodeId) -> None:
        """Sync and read that node's mark. Followed by a mark_read."""
        ...

    def write_mark(self, node: NodeId, expected: int, mark: Mark) -> None:
        """Compare-and-set that node's mark. `expected` is the version as mark_read gave it. Followed by a
        mark_read of what is there then."""
        ...

    def refresh(self) -> None:
        """Sync and read everything again but the marks."""
        ...


class Clock(Protocol):
    """Monotonic time."""

    def now(self) -> Millis: ...


class Ending(Enum):
    """Why a node stops by itself."""

    FAILED = "failed"  # a defect
    DISK = "disk"  # its disk failed
    REFUSED = "refused"  # its configuration or directory does not fit the cluster
    RETIRED = "retired"  # it was given up for dead: its files are renamed, and a new node starts
    LEFT = "left"  # it was ordered to leave, and holds nothing any more


class Shell(Protocol):
    """What the driver's owner does for it."""

    def soon(self, call: Callable[[], None]) -> None:
        """Run at the end of this turn of the event loop."""

    def later(self, delay_ms: Millis, call: Callable[[], None]) -> None: ...

    def joined(self, cluster_id: str) -> None:
        """Record durably that this directory belongs to that cluster, before anything else is done for it."""

    def claiming(self, claims: Sequence[Claim]) -> None:
        """Record durably which starts may have written the mark, in place of those recorded before."""

    def superseded(self) -> None:
        """Record durably that this directory is an old copy, so that it never serves."""

    def departed(self) -> None:
        """Record durably that this directory's node has left its cluster, and must not be started again."""

    def alarm(self, text: str) -> None: ...

    def stop(self, reason: str, ending: Ending) -> None:
        """End the process."""

    def disk_free(self) -> tuple[int, int]:
        """Free bytes on the data's disk, and the number of the measurement: it stays the same while the file
        system does not answer. Returns at once."""
        ...


@dataclass(slots=True)
class Ports:
    """Everything that the driver drives."""

    engine: Engine
    syncer: Syncer
    network: Network
    coordination: Coordination
    clock: Clock
    shell: Shell
    codec: MapCodec
