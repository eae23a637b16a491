"""Tracks each peer's log at the primary: how far it is known to match, and how much is in flight.

A position is learned from a Promise only; until then nothing is sent to that peer. Knows nothing of votes.
Source: the leader's nextIndex and matchIndex, Raft (USENIX ATC 2014), figure 2.
"""

from collections.abc import Collection

from ringkeep.core.context import Context
from ringkeep.core.protocol import limits
from ringkeep.core.protocol.hot_messages import Append
from ringkeep.core.protocol.messages import Promise
from ringkeep.core.protocol.types import Epoch, Incarnation, Index, Millis, NodeId
from ringkeep.core.replication.budget import Budget


class PeerProgress:
    """One primary's view of its peers.

    `match`: durable there, and equal to the log here. `next`: what is sent next; absent while the position is
    not known. `lives`: which life of each peer reported it. `lost`: (epoch, index) of the last entry that a
    peer held durably in an earlier life, if it lacks that. `heard`: when the peer last made progress, for
    sending again. `given`: bytes of entries sent to the peer; what was sent again counts once.
    """

    __slots__ = (
        "_budget",
        "_bulk_to",
        "_context",
        "_given_to",
        "_in_flight",
        "given",
        "heard",
        "lives",
        "lost",
        "match",
        "next",
    )

    def __init__(self, context: Context, budget: Budget) -> None:
        self._context = context
        self._budget = budget
        self.match: dict[NodeId, Index] = {}
        self.next: dict[NodeId, Index] = {}
        self.lives: dict[NodeId, Incarnation] = {}
        self.lost: dict[NodeId, tuple[Epoch, Index]] = {}
        self.heard: dict[NodeId, Millis] = {}
        self.given: dict[NodeId, int] = {}
        self._given_to: dict[NodeId, Index] = {}  # the last entry of these
        self._in_flight: dict[NodeId, int] = {}  # bytes of entries sent and not acknowledged
        self._bulk_to: dict[NodeId, Index] = {}  # the last entry that went on the bulk lane

    def mark_unknown(self, peer: NodeId) -> None:
        """Mark the position as unknown: what is on its way may be lost."""
        self.next.pop(peer, None)
        self.landed(peer)
        self.heard[peer] = self._context.now

    def keep_only(self, peers: Collection[NodeId]) -> None:
        """Forget all other peers: they are not replicas any more. A peer that becomes one again starts from
        nothing, because its old copy may be deleted.
        """
        for gone in [peer for peer in self.heard if peer not in peers]:
            self.landed(gone)
            self.match.pop(gone, None)
            self.next.pop(gone, None)
            self.lives.pop(gone, None)
            self.lost.pop(gone, None)
            self.given.pop(gone, None)
            self._given_to.pop(gone, None)
            self._bulk_to.pop(gone, None)
            del self.heard[gone]

    def lacks(
        self, peer: NodeId, life: Incarnation, promise: Promise, held: tuple[Epoch, Index] | None
    ) -> bool:
        """Return whether a restarted peer lacks what it held durably before: an older copy of its disk was
        put back, or its disk lost something. From then on its copy does not count. Not checked within one
        life, because two of its messages may arrive in the other order.
        """
        due = self.lost.get(peer)
        if due is None and self.lives.get(peer, life) != life:
            due = held
        self.lives[peer] = life
        if due is None or (promise.last_epoch >= due[0] and promise.last_index >= due[1]):
            self.lost.pop(peer, None)
            return False
        self.lost[peer] = due
        self.match.pop(peer, None)
        self.next.pop(peer, None)
        return True

    def at(self, peer: NodeId, position: Index, match: Index | None) -> None:
        """Set the position that a Promise reported; `match`: the index up to which the logs are known to be
        equal, if any. What was sent before has arrived or is sent again, so it no longer counts as in flight.
        """
        self.landed(peer)
        if match is not None:
            self.match[peer] = max(match, self.match.get(peer, Index(0)))
        self.next[peer] = Index(position + 1)

    def is_known(self, node: NodeId) -> bool:
        """Return whether a node's position is known; this node's always is."""
        return node in self.next or node == self._context.me

    def stands(self, peer: NodeId, life: Incarnation) -> bool:
        """Return whether this life of a peer has said where it stands. Of one that was started again an older
        Promise may be on its way still, and would seem to lack what is acknowledged meanwhile.
        """
        return peer in self.next and self.lives.get(peer, life) == life

    def has_all(self, peer: NodeId, last: Index) -> bool:
        """Return whether a peer is known to hold the whole log, which ends at `last`, durably."""
        return self.next.get(peer) == last + 1 and self.match.get(peer) == last

    def acknowledged(self, peer: NodeId, index: Index) -> bool:
        """Note what a peer holds durably; return whether that is new."""
        self.heard[peer] = self._context.now
        if index + 1 >= self.next.get(peer, 0):
            self.landed(peer)  # even if it is not new: an older promise may have caused it to be sent twice
        if index <= self.match.get(peer, 0):
            return False
        self.match[peer] = index
        return True

    def has_room(self, peer: NodeId) -> bool:
        """Return whether more may be sent to a peer at present: its disk takes entries, and the bound over
        all partitions is not reached."""
        context = self._context
        return self._budget.in_flight.get(
            peer, 0
        ) < context.bounds.inflight_bytes and context.disks.takes_entries(peer)

    def is_held_back(self, peer: NodeId, message: Append) -> bool:
        """Return whether a message must wait because it is for the bulk lane of a link with too much unsent.
        Unacknowledged bytes do not bound this: entries in doubt are sent again.
        """
        if peer not in self._context.jammed:
            return False
        return self.uses_bulk(peer) or sum(map(len, message.entries)) > self._context.bounds.bulk_bytes

    def uses_bulk(self, peer: NodeId) -> bool:
        """Return whether an Append may still be on its way to a peer on the bulk lane. Then later Appends of
        this partition use the same lane: on another they could overtake it, and would be refused.
        """
        to = self._bulk_to.get(peer)
        if to is None:
            return False
        if self.match.get(peer, 0) < to:
            return True
        del self._bulk_to[peer]
        return False

    def _count_given(self, peer: NodeId, message: Append, size: int) -> None:
        """Count what the peer is sent for the first time: what is told of a move is how far it has come."""
        before = self._given_to.get(peer, 0)
        again = before - message.prev_index
        last = self.next[peer] - 1
        if last > before:
            if again > 0:
                size -= sum(map(len, message.entries[:again]))
            self._given_to[peer] = Index(last)
            self.given[peer] = self.given.get(peer, 0) + size

    def send(self, peer: NodeId, message: Append) -> None:
        """Send an Append, and count its bytes as in flight."""
        if self.match.get(peer) == message.prev_index:
            self.heard[peer] = self._context.now  # nothing was due from it until now
        self.next[peer] = Index(message.prev_index + 1 + len(message.entries))
        size = sum(map(len, message.entries))
        self._context.turn_bytes += size
        self._count_given(peer, message, size)
        self._in_flight[peer] = self._in_flight.get(peer, 0) + size
        self._budget.in_flight[peer] = self._budget.in_flight.get(peer, 0) + size
        if size > self._context.bounds.bulk_bytes or self.uses_bulk(peer):
            self._bulk_to[peer] = Index(self.next[peer] - 1)
            self._context.send_bulk(peer, message, size)
        else:
            self._context.send(peer, message)

    def landed(self, peer: NodeId) -> None:
        """Everything sent to a peer is acknowledged or lost: nothing counts as in flight any more."""
        size = self._in_flight.pop(peer, 0)
        if size:
            self._budget.in_flight[peer] -= size

    def is_silent(self, peer: NodeId, last: Index) -> bool:
        """Return whether a peer has not answered for too long: a question about its position, or an
        Append."""
        position = self.next.get(peer)
        waiting = position is None or self.match.get(peer, 0) < min(position - 1, last)
        if not waiting:
            return False
        patience = limits.RESEND_MS + self._budget.in_flight.get(peer, 0) // limits.BULK_BYTES_PER_MS
        return self._context.now - self.heard.get(peer, 0) >= patience

    def clear(self) -> None:
        """Drop everything: nothing of this primary counts as in flight any more."""
        for peer in list(self._in_flight):
            self.landed(peer)
