"""Followers: the nodes that are told the changes in this node's replicas, for readers there.

A replica tells what it has applied, by consecutive index from the follower's position on, from its log in
memory or from what is kept below that. Those that have read all wait together (`tails`): one with nothing
new costs nothing in a turn. One that reads slowly is sent no more than the credit that it has given, and
nothing is gathered for it meanwhile.
"""

from collections.abc import Callable, Mapping

from ringkeep.core.context import Context
from ringkeep.core.protocol import limits
from ringkeep.core.protocol.feed import NOW, EventKind, Refusal, Told, size_of
from ringkeep.core.protocol.messages import Changes, Follow
from ringkeep.core.protocol.types import Index, Life, Millis, NodeId, PartitionId
from ringkeep.core.replication.primary import Primary
from ringkeep.core.replication.replica import Replica
from ringkeep.core.replication.told_changes import read_changes
from ringkeep.core.requests.confirmed_reads import ConfirmedReads
from ringkeep.core.requests.tails import Prefixed, Tail

Piece = list[tuple[Index, list[Told]]]


class _Follower:
    """One reader's questions to this node. `read`: up to where each partition was read for it, or further:
    where it waits, in `waiting`, the tail says that. `told`: the same, as it knows. `unsaid`: where they
    differ. `behind`: where there may be more to read. `due`: it is to be told how far all is; `spoke_at`:
    when it was, the last time.
    """

    __slots__ = (
        "behind", "caller", "credit", "due", "number", "prefix", "read", "spoke_at", "tag", "told", "unsaid",
        "values", "waiting",
    )  # fmt: skip

    def __init__(self, caller: Life, message: Follow) -> None:
        self.caller = caller
        self.tag = message.tag
        self.prefix = message.prefix
        self.values = message.values
        self.credit = 0
        self.number = 0
        self.read: dict[PartitionId, Index] = {}
        self.told: dict[PartitionId, Index] = {}
        self.unsaid: dict[PartitionId, None] = {}
        self.behind: dict[PartitionId, None] = {}
        self.waiting: dict[PartitionId, Tail] = {}
        self.due = False
        self.spoke_at: Millis = -1


class _Now:
    """A follower's question for the present end of a partition's log, while it waits to be confirmed."""

    __slots__ = ("_follower", "_followers", "_primary", "deadline")

    def __init__(self, followers: "Followers", follower: _Follower, primary: Primary, until: Millis) -> None:
        self._followers = followers
        self._follower = follower
        self._primary = primary
        self.deadline = until

    def confirmed(self) -> None:
        """Everything acknowledged before the question is applied here."""
        self._followers.begin_now(self._follower, self._primary.replica)

    def refused(self) -> None:
        """The primary is none any more, or was not confirmed in time."""
        self._followers.refuse(self._follower, self._primary.replica.partition, Refusal.NOT_HERE)


class Followers:
    """All followers of this node's replicas."""

    def __init__(
        self, context: Context, replicas: Mapping[PartitionId, Replica],
        primaries: Mapping[PartitionId, Primary], reads: ConfirmedReads, age_of: Callable[[Replica], Millis],
        to_self: Callable[[NodeId, Changes], None],
    ) -> None:  # fmt: skip
        """`to_self`: takes what this node's own readers are told."""
        self._context = context
        self._replicas = replicas
        self._primaries = primaries
        self._reads = reads
        self._age_of = age_of
        self._to_self = to_self
        self._known: dict[tuple[Life, int], _Follower] = {}
        self._of: dict[PartitionId, dict[_Follower, None]] = {}  # those that do not wait in a tail
        self._tails: dict[PartitionId, Tail] = {}
        self._ready: dict[_Follower, None] = {}
        self._refused: dict[_Follower, list[int]] = {}
        self._rows_left = 0
        self._pieces: dict[tuple[PartitionId, Index], Piece] = {}  # read in this turn: others are there too

    @property
    def count(self) -> int:
        """How many there are: one for each reader, at any node, of some replica here."""
        return len(self._known)

    # --- questions ------------------------------------------------------------------------------------

    def on_follow(self, caller: Life, message: Follow) -> None:
        """Begin to tell, or go on, or end."""
        follower = self._known.get((caller, message.tag))
        if message.closed:
            if follower is not None:
                self._drop(follower)
            return
        if follower is None:
            if not message.positions:
                return  # it was given up here meanwhile: the other side will notice
            follower = self._known[caller, message.tag] = _Follower(caller, message)
            follower.spoke_at = self._context.now
        follower.credit += message.credit
        for partition in message.ended:
            self._leave(follower, partition)
        for at in range(0, len(message.positions), 2):
            self._begin(follower, PartitionId(message.positions[at]), Index(message.positions[at + 1]))
        self._stir(follower)

    def _begin(self, follower: _Follower, partition: PartitionId, after: Index) -> None:
        replica = self._replicas.get(partition)
        self._leave(follower, partition)
        if replica is None or self._context.damaged:
            self.refuse(follower, partition, Refusal.NOT_HERE)
        elif after == NOW:
            primary = self._primaries.get(partition)
            if primary is None or not primary.may_execute:
                self.refuse(follower, partition, Refusal.NOT_HERE)
                return
            until = self._context.now + limits.TIMEOUT_MS
            self._reads.add_slice(primary, _Now(self, follower, primary, until), Index(0))
        else:
            self._enter(follower, replica, after, after)

    def begin_now(self, follower: _Follower, replica: Replica) -> None:
        """The end of the log is confirmed: tell it, and what follows."""
        if self._is_known(follower) and self._replicas.get(replica.partition) is replica:
            self._enter(follower, replica, NOW, replica.applied)
            follower.unsaid[replica.partition] = None
            follower.due = True
            self._stir(follower)

    def _enter(self, follower: _Follower, replica: Replica, told: Index, read: Index) -> None:
        partition = replica.partition
        follower.told[partition], follower.read[partition] = told, read
        follower.behind[partition] = None
        self._of.setdefault(partition, {})[follower] = None
        replica.followed = True

    def refuse(self, follower: _Follower, partition: PartitionId, why: Refusal) -> None:
        """Tell a follower to ask another node."""
        self._refused.setdefault(follower, []).extend((partition, why))
        self._stir(follower)

    def _leave(self, follower: _Follower, partition: PartitionId) -> None:
        follower.read.pop(partition, None)
        follower.told.pop(partition, None)
        follower.behind.pop(partition, None)
        follower.unsaid.pop(partition, None)
        tail = follower.waiting.pop(partition, None)
        if tail is not None:
            tail.remove(follower)
            if tail.empty:
                del self._tails[partition]
        others = self._of.get(partition)
        if others is not None and others.pop(follower, 0) is None and not others:
            del self._of[partition]
        if partition not in self._of and partition not in self._tails:
            replica = self._replicas.get(partition)
            if replica is not None:
                replica.followed = False

    def _drop(self, follower: _Follower) -> None:
        for partition in list(follower.read):
            self._leave(follower, partition)
        self._known.pop((follower.caller, follower.tag), None)
        self._ready.pop(follower, None)
        self._refused.pop(follower, None)

    def _is_known(self, follower: _Follower) -> bool:
        return self._known.get((follower.caller, follower.tag)) is follower

    def _stir(self, follower: _Follower) -> None:
        if self._is_known(follower):
            self._ready[follower] = None
            self._context.effects.again = True

    def on_link_lost(self, peer: NodeId) -> None:
        """What was sent there is lost: whoever still reads there asks again."""
        for follower in [each for each in self._known.values() if each.caller[0] == peer]:
            self._drop(follower)

    def on_tick(self) -> None:
        """Let those hear something who have not for a while, and go on where a link was jammed."""
        now = self._context.now
        for follower in self._known.values():
            if now - follower.spoke_at >= limits.POSITIONS_MS:
                follower.due = True
                self._ready[follower] = None
            elif follower.behind and follower.credit > 0:
                self._ready[follower] = None

    # --- answers --------------------------------------------------------------------------------------

    def serve(self) -> None:
        """At the end of the turn: tell what was applied in it, and go on with those that are behind."""
        context = self._context
        if not context.news and not self._ready:
            return
        self._rows_left = context.bounds.feed_turn_rows
        news, context.news = context.news, {}
        for replica in news:
            self._take_news(replica.partition)
        self._rows_left = max(self._rows_left, 1)  # those that are behind get on, however much is new
        for _ in range(len(self._ready)):
            if self._rows_left <= 0 or not self._ready:
                break
            follower = next(iter(self._ready))
            del self._ready[follower]
            if self._is_known(follower) and self._serve(follower) and self._is_known(follower):
                self._ready[follower] = None
        self._pieces.clear()
        if self._ready:
            context.effects.again = True

    def _take_news(self, partition: PartitionId) -> None:
        """Something was applied, or a replica is another one now: see whom that concerns."""
        for follower in self._of.get(partition, ()):
            follower.behind[partition] = None
            self._ready[follower] = None
        tail, replica = self._tails.get(partition), self._replicas.get(partition)
        if tail is None:
            return
        concerned: dict[Prefixed, None] = {}
        if replica is None or self._context.damaged or tail.end < replica.history.begin:
            concerned.update(dict.fromkeys(tail.members()))
            end = tail.end
        else:
            end = self._look_at_news(tail, replica, concerned)
        for each in concerned:
            assert isinstance(each, _Follower)
            self._pull_out(each, partition, tail)
        tail.end = end
        if replica is not None and end < replica.applied and not tail.empty:
            self._context.news[replica] = None  # more than is looked at in one turn
            self._context.effects.again = True

    def _look_at_news(self, tail: Tail, replica: Replica, concerned: dict[Prefixed, None]) -> Index:
        """Read on for a tail; return up to where."""
        end = tail.end
        if end < replica.applied and self._rows_left > 0:
            piece = self._piece(replica, end, self._context.bounds.feed_piece_bytes)
            for _, told in piece:
                for event in told:
                    tail.concerned(event[3], concerned)
            self._rows_left -= len(piece)
            end = piece[-1][0]
        return end

    def _pull_out(self, follower: _Follower, partition: PartitionId, tail: Tail) -> None:
        """A follower reads on by itself from the end of the tail."""
        tail.remove(follower)
        if tail.empty:
            del self._tails[partition]
        del follower.waiting[partition]
        self._catch_up(follower, partition, tail)
        self._of.setdefault(partition, {})[follower] = None
        follower.behind[partition] = None
        self._ready[follower] = None

    def _catch_up(self, follower: _Follower, partition: PartitionId, tail: Tail) -> None:
        """What was read for the tail was read for the follower."""
        if follower.read[partition] != tail.end:
            follower.read[partition] = tail.end
            follower.unsaid[partition] = None

    def _wait(self, follower: _Follower, partition: PartitionId) -> None:
        """A follower has read all: it waits with the others."""
        end = follower.read[partition]
        tail = self._tails.get(partition)
        if tail is None:
            tail = self._tails[partition] = Tail(end)
        if tail.end == end:
            tail.add(follower)
            follower.waiting[partition] = tail
            others = self._of[partition]
            del others[follower]
            if not others:
                del self._of[partition]

    def _serve(self, follower: _Follower) -> bool:
        """Tell one follower some of what it lacks; return whether it can be told more at once."""
        context, (peer, life) = self._context, follower.caller
        if peer != context.me and context.links.get(peer) != life:
            self._drop(follower)
            return False
        answer = Changes(follower.tag, 0, [], [], [], -1)
        size = 0
        if peer == context.me or context.takes_bulk(peer):
            size = self._gather(follower, answer)
        elif not follower.due:
            return False
        answer.refused = self._refused.pop(follower, [])
        if follower.due or answer.events or answer.refused:
            self._send(follower, answer, size)
        open_way = peer == context.me or context.takes_bulk(peer)
        return bool(follower.behind) and follower.credit > 0 and open_way

    def _gather(self, follower: _Follower, answer: Changes) -> int:
        """Read on where it is behind, as much as one message holds; return the size of the events."""
        size = 0
        most = min(self._context.bounds.feed_piece_bytes, follower.credit)
        for partition in list(follower.behind):
            if size >= most or self._rows_left <= 0:
                break
            replica = self._replicas.get(partition)
            del follower.behind[partition]
            if replica is None or self._context.damaged:
                self._give_back(follower, partition, Refusal.NOT_HERE, answer)
            elif follower.read[partition] < replica.history.begin:
                self._give_back(follower, partition, Refusal.CUT, answer)
            else:
                size = self._read(follower, replica, answer, size, most)
                if follower.read[partition] < replica.applied:
                    follower.behind[partition] = None  # behind the others
                else:
                    self._wait(follower, partition)
        return size

    def _give_back(self, follower: _Follower, partition: PartitionId, why: Refusal, answer: Changes) -> None:
        """A partition cannot be told any further: the follower learns how far it was."""
        if partition in follower.unsaid:
            answer.marks += (partition, follower.told[partition], follower.read[partition])
        self._leave(follower, partition)
        self.refuse(follower, partition, why)

    def _read(
        self, follower: _Follower, replica: Replica, answer: Changes, size: int, most: int
    ) -> int:  # fmt: skip
        partition = replica.partition
        after = follower.read[partition]
        for index, told in self._piece(replica, after, most - size):
            for event in told:
                if event[3].startswith(follower.prefix):
                    if event[2] == EventKind.PUT and not follower.values:
                        event = (*event[:4], b"", b"", event[6])
                    answer.events.append(event)
                    size += size_of(event)
            follower.read[partition] = index
            self._rows_left -= 1
            if size >= most:
                break
        if follower.read[partition] > after:
            follower.unsaid[partition] = None
        return size

    def _piece(self, replica: Replica, after: Index, most: int) -> Piece:
        """Read some entries, of `most` bytes or a little more; followers at the same position share them."""
        name = replica.partition, after
        piece = self._pieces.get(name)
        if piece is None:
            piece = self._pieces[name] = read_changes(replica, after, max(self._rows_left, 1), most)
        return piece

    def _send(self, follower: _Follower, answer: Changes, size: int) -> None:
        """Send an answer, with how far everything is told."""
        context = self._context
        if follower.due:
            for partition, tail in follower.waiting.items():
                self._catch_up(follower, partition, tail)
        for partition in follower.unsaid:
            answer.marks += (partition, follower.told[partition], follower.read[partition])
            follower.told[partition] = follower.read[partition]
        follower.unsaid.clear()
        if follower.due:
            answer.age = self._age(follower)
            follower.due, follower.spoke_at = False, context.now
        follower.credit -= size
        follower.number += 1
        answer.number = follower.number
        if follower.caller[0] == context.me:
            self._to_self(context.me, answer)
        else:
            context.send_sized(follower.caller[0], answer, size)

    def _age(self, follower: _Follower) -> Millis:
        """Return how old what the follower knows may be at most; -1 if it has not been told all there is."""
        age: Millis = 0
        for partition, read in follower.read.items():
            replica = self._replicas.get(partition)
            if replica is None or read < replica.applied or not replica.caught_up:
                return -1
            age = max(age, self._age_of(replica))
        return age if follower.read else -1
