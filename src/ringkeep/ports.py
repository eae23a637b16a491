"""What the shell must provide, as protocols: Engine, Syncer, Network, Coordination, Clock, Shell.

Production and the simulator implement each once; one contract test per port holds for both.
All calls come from one thread (the loop), and so do all events that a port hands back.
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
"""The version of a mark that is not there."""


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
        ticket. What was staged by them has then been written out, too, as far as the disk is concerned.
        Blocks without the interpreter lock: call it in the storage thread only. Raises
        StorageError."""
        ...

    def get(self, family: Family, key: bytes) -> bytes | None: ...

    def scan(self, family: Family, begin: bytes, end: bytes, limit: int) -> list[tuple[bytes, bytes]]:
        """Return at most `limit` rows in byte order, begin <= key < end."""
        ...

    def snapshot(self) -> Snapshot: ...

    def stalled(self) -> bool:
        """Whether the next write might be refused: looked at before anything is admitted.

        Raises StorageError when the store has failed behind our back.
        """
        ...

    def record_damage(self, what: str) -> None:
        """Remember, durably, that this store lost something; `what`, for people. Raises StorageError."""
        ...

    def clear_damaged(self) -> None:
        """Forget, durably, that something was lost: nobody counts on what was here any more."""
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

        `refused`: its address answers that nobody listens there, the sign that the process is gone. Called
        once per loss, and once more when a lost link turns out to be refused.
        """
        ...

    def jam(self, peer: NodeId, jammed: bool) -> None:
        """Much of what was given to the bulk lane of the link to that peer is unsent, or not any more.

        A new link is not jammed.
        """
        ...

    def sign_of_life(self, peer: NodeId) -> None:
        """Something came from that peer that makes no whole message yet: it lives."""
        ...

    def received(self, peer: NodeId, incarnation: Incarnation, messages: list[Message]) -> None:
        """These came, in the order in which they were sent on one lane, from that life of that peer.

        Its link to us and our link to it are two connections: neither says anything of the other.
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
        """Give up the link to a peer, as if it were lost, and make it anew at once.

        A cut that no refusal tells of leaves a connection that waits ever longer before it tries again.
        """
        ...


class CoordinationEvents(Protocol):
    """What a coordination port gives back, always on the loop and never from within a call to the port.

    Silence means nothing: without a connection no event comes, and what was read last stays what is known.
    """

    def members_changed(self, members: list[Member]) -> None:
        """The complete list, by sequence: when it changes, and after every (re)connection and refresh."""
        ...

    def barrier_read(self, stands: bool) -> None:
        """Whether the start-up barrier stands. A map beats a barrier."""
        ...

    def map_read(self, znode_version: int, payload: bytes | None) -> None:
        """The map as it was after a sync: on every change, (re)connection and refresh. -1 and None:
        no map."""
        ...

    def map_written(self, ok: bool | None) -> None:
        """The answer to one write_map. True: it is the map now. False: not written, and it never will be.
        None: unknown, the connection was lost; a map_read follows once it is back."""
        ...

    def mark_read(self, version: int, mark: Mark | None) -> None:
        """A node's mark, and its znode's version; NO_MARK and None: there is none. Follows a `read_mark`, and
        a `write_mark`, whether that was carried out or not; neither if the connection is lost."""
        ...

    def session_changed(self, connected: bool) -> None:
        """True: connected, everything is being read anew. False: the session expired, or the service has been
        out of reach for as long as a session lasts; a shorter interruption is not told."""
        ...


class Coordination(Protocol):
    """The coordination service: members, barrier, map, marks. Every call returns at once; results are events.

    Gives back: see CoordinationEvents. Each write of the map is answered exactly once, in order.
    `session_ms`: for how long a process that ended without a word stays registered, about.
    """

    session_ms: Millis

    def announce(self, member: Member) -> None:
        """Register this process, or update what its registration says.

        Repeated after a lost session by itself.
        """
        ...

    def reregister(self) -> None:
        """Give up the registration and take a new one at the end of the line."""
        ...

    def write_map(self, expected: int, payload: bytes) -> None:
        """Compare-and-set the map znode. `expected` is the znode's version as map_read gave it; -1 forms:
        creates the map and removes the barrier in one transaction. Followed by map_written and a map_read.

        Refused, without leaving, until the map was read over the present connection: this may be another
        service than the one before (wiped, restored), whose map has the same znode version by chance."""
        ...

    def read_mark(self, node: NodeId) -> None:
        """Sync and read that node's mark. Followed by a mark_read."""
        ...

    def write_mark(self, node: NodeId, expected: int, mark: Mark) -> None:
        """Compare-and-set that node's mark. `expected` is the version as mark_read gave it. Followed by a
        mark_read of what is there then."""
        ...

    def refresh(self) -> None:
        """Sync and read everything anew but the marks."""
        ...


class Clock(Protocol):
    """Monotonic time."""

    def now(self) -> Millis: ...


class Ending(Enum):
    """Why a node stops by itself."""

    FAILED = "failed"  # a defect
    DISK = "disk"  # its disk failed
    REFUSED = "refused"  # its configuration or directory does not fit the cluster
    RETIRED = "retired"  # it was given up for dead: its directory is set aside, and begins as a new node
    LEFT = "left"  # it was asked to leave, and holds nothing any more


class Shell(Protocol):
    """What the driver's owner does for it."""

    def soon(self, call: Callable[[], None]) -> None:
        """Run at the end of this turn of the event loop."""

    def later(self, delay_ms: Millis, call: Callable[[], None]) -> None: ...

    def joined(self, cluster_id: str) -> None:
        """Record durably that this directory belongs to that cluster, before anything else is done for it."""

    def claiming(self, claims: Sequence[Claim]) -> None:
        """Record durably, in place of those recorded before, which starts may have made the mark theirs."""

    def superseded(self) -> None:
        """Record durably that this directory is an old copy, so that it is never taken for new."""

    def departed(self) -> None:
        """Record durably that this directory's node has left its cluster, and must not be started again."""

    def alarm(self, text: str) -> None: ...

    def stop(self, reason: str, ending: Ending) -> None:
        """End the process."""

    def disk_free(self) -> tuple[int, int]:
        """Bytes free where the data is, as last seen, and the number of that look: it stays the same while
        the file system does not answer. Returns at once."""
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
