"""A snapshot on its way, for unit tests: node a leads and sends, node c learns.

Messages are carried by hand, time passes and disks become durable when told to.
"""

from tests.support.core.parts import A, B, C, D, Host, P, a_part, a_promise, an_ack, map_of, to

from ringkeep.core.protocol import limits
from ringkeep.core.protocol.effects import Batch, Family
from ringkeep.core.protocol.keys import data_prefix
from ringkeep.core.protocol.messages import Message, SnapshotChunk, SnapshotOffer, SnapshotPull
from ringkeep.core.protocol.types import Epoch, NodeId

KIB = limits.KIB
C_LEARNS = a_part(A, (A, B, D), learner=C)
C_VOTES = a_part(A, (A, B, C))
Rows = list[tuple[bytes, bytes]]


def some_rows(count: int, value_bytes: int = 10) -> Rows:
    """Rows that begin as records do, each of `value_bytes`."""
    return [
        (b"\0key-%04d" % number, b"\1" + b"%d" % (number % 10) * (value_bytes - 1)) for number in range(count)
    ]


def size_of(rows: Rows) -> int:
    return sum(len(key) + len(value) for key, value in rows)


class Transfer:
    """a, ACTIVE, with these rows; c, empty; and what is under way between them."""

    def __init__(self, rows: Rows, learns: bool = True) -> None:
        self.rows = rows
        self.holder, self.newcomer = Host(A), Host(C)
        part = C_LEARNS if learns else C_VOTES
        self.holder.take(map_of(part, 8))
        self.holder.sync()
        self.holder.hear(B, a_promise())
        self.holder.sync()
        self.holder.hear(B, an_ack(1))
        self.holder.sync()
        self.holder.node.pace.bytes_per_s = 0  # the map's own is another matter
        stored = Batch()
        prefix = data_prefix(P, self.holder.replica.generation)
        stored.data.update({prefix + key: value for key, value in rows})
        self.holder.engine.write(stored)
        self.newcomer.take(map_of(part, 8))
        if not learns:
            self.newcomer.turn(lambda: self.newcomer.replica.promise(Epoch(3), A, a_part().incarnation))
        self.newcomer.sync()

    def offer(self) -> SnapshotOffer:
        """Let a be asked for a snapshot; return what it offers."""
        self.want()
        (offer,) = to(C, SnapshotOffer, self.holder.turn())
        assert isinstance(offer, SnapshotOffer)
        return offer

    def want(self) -> None:
        self.holder.node.senders.want(self.holder.replica, C, Epoch(3))

    def begin(self) -> list[Message]:
        """c takes the offer; return its first pull, not delivered."""
        return pulls(self.newcomer.hear(A, self.offer()))

    def begin_again(self) -> list[Message]:
        """c is heard to be behind, and told of the offer that stands, or of a new one."""
        offers = to(C, SnapshotOffer, self.holder.turn(self.want) + self.holder.turn())
        return pulls(self.newcomer.hear(A, *offers))

    def give(self, messages: list[Message]) -> list[Message]:
        """Let a hear c; return the chunks that it sends then."""
        return to(C, SnapshotChunk, self.holder.hear(C, *messages))

    def bring(self, messages: list[Message]) -> list[Message]:
        """Let c hear a; return its pulls."""
        return pulls(self.newcomer.hear(A, *messages))

    def tick(self, after: int = limits.LOOK_AFTER_MS) -> tuple[list[Message], list[Message]]:
        """Time passes on both sides; return the chunks of a and the pulls of c."""
        chunks = to(C, SnapshotChunk, self.holder.tick(after))
        return chunks, pulls(self.newcomer.tick(after))

    def finish(self, asked: list[Message]) -> None:
        """Carry everything to and fro until c has switched."""
        for _ in range(10_000):
            self.newcomer.sync()
            asked = self.bring(self.give(asked)) or self.tick()[1]
            if self.newcomer.node.context.counters.get("snapshot_installed"):
                return
        raise AssertionError("it does not come to an end")

    def taken(self) -> Rows:
        begin, end = self.newcomer.replica.live_range()
        found = self.newcomer.engine.scan(Family.DATA, begin, end, 1 << 30)
        return [(key[len(begin) :], value) for key, value in found]

    @property
    def moved(self) -> int:
        return self.holder.node.senders.moved[P, C]


def pulls(left: list[tuple[NodeId, Message]]) -> list[Message]:
    return to(A, SnapshotPull, left)


def rows_in(chunks: list[Message]) -> Rows:
    return [row for chunk in chunks if isinstance(chunk, SnapshotChunk) for row in chunk.rows]


def last_pull(messages: list[Message]) -> SnapshotPull:
    found = messages[-1]
    assert isinstance(found, SnapshotPull)
    return found
