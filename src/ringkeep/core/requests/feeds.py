"""Feeds: what this node's readers of changes are told, put together from the nodes that hold the partitions.

Each partition is read from one replica: its primary if that can be reached, as changes are known there first,
or else another one. When a link is lost, or a replica is moved away or cut short, another is asked from the
position reached. What is told says from where to where it goes, so nothing is left out and nothing told twice
whoever tells it. A feed ends by itself only if no replica reaches back to its position.
"""

from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from typing import Final, Protocol

from ringkeep.core.cluster.feature_level import OPERATIONS
from ringkeep.core.context import Context
from ringkeep.core.protocol import limits
from ringkeep.core.protocol.client_requests import Status
from ringkeep.core.protocol.feed import NOW, Event, FeedRequest, Refusal, Told, size_of
from ringkeep.core.protocol.messages import Changes, Follow
from ringkeep.core.protocol.types import Index, Life, Millis, NodeId, PartitionId
from ringkeep.core.replication.replica import Replica

LOOK_MS: Final = 1_000
"""How often it is looked whether a feed is told by those by whom it should be."""


class Telling(Protocol):
    """This node's own replicas, which may be followed like others."""

    def on_follow(self, caller: Life, message: Follow) -> None:
        """Begin to tell, or go on, or end."""


class _Tail:
    """One partition of a feed: told up to `position`, by `stream` from now on, if by any. `cut`: nodes whose
    log does not reach back to the position beside each. `avoided`: nodes that are not asked before then."""

    __slots__ = ("avoided", "cut", "partition", "position", "stream")

    def __init__(self, partition: PartitionId, position: Index) -> None:
        self.partition = partition
        self.position = position
        self.stream: _Stream | None = None
        self.cut: dict[NodeId, Index] = {}
        self.avoided: dict[NodeId, Millis] = {}


class _Stream:
    """What one node tells one feed, under one tag. `next`: the number of the message to come; `held`: those
    that have overtaken it. `heard_at`: when the last one was taken; `moved_at`: the last one that told
    anything. `fresh_at`: all that was committed then is told; -1: not known.
    """

    __slots__ = ("credit", "feed", "fresh_at", "heard_at", "held", "moved_at", "next", "peer", "tag", "tails")

    def __init__(self, tag: int, feed: "_Feed", peer: NodeId, now: Millis) -> None:
        self.tag = tag
        self.feed = feed
        self.peer = peer
        self.tails: dict[PartitionId, _Tail] = {}
        self.credit = 0
        self.next = 1
        self.held: dict[int, Changes] = {}
        self.heard_at = self.moved_at = now
        self.fresh_at: Millis = -1


class _Feed:
    """One reader's feed. `idle`: partitions that nobody is asked for. `credit`: bytes that may yet be told.
    `unknown`: partitions whose position is not known yet. `cut`: some node's log did not reach back."""

    __slots__ = (
        "begun_at", "changed", "credit", "cut", "due_at", "fresh_at", "idle", "look_at", "marked_at",
        "request", "streams", "tails", "unknown",
    )  # fmt: skip

    def __init__(self, request: FeedRequest, positions: Mapping[PartitionId, Index], now: Millis) -> None:
        self.request = request
        self.tails = {partition: _Tail(partition, at) for partition, at in positions.items()}
        self.idle = dict(self.tails)
        self.streams: dict[NodeId, _Stream] = {}
        self.credit = 0
        self.unknown = sum(position == NOW for position in positions.values())
        self.changed = True
        self.cut = False
        self.due_at: Millis = now
        self.look_at: Millis = now + LOOK_MS
        self.marked_at: Millis = now - limits.KEEP_ALIVE_MS
        self.begun_at = now
        self.fresh_at: Millis = -1

    def refresh(self) -> bool:
        """See how far all has been told; return whether that is news: all that was there when it began."""
        streams, before = self.streams.values(), self.fresh_at
        if not self.idle and all(stream.fresh_at >= 0 for stream in streams):
            self.fresh_at = max([before, min(stream.fresh_at for stream in streams)])
        return before < self.begun_at <= self.fresh_at


class Feeds:
    """All feeds of this node's readers."""

    def __init__(self, context: Context, replicas: Mapping[PartitionId, Replica], own: Telling) -> None:
        self._context = context
        self._replicas = replicas
        self._own = own
        self._life = (context.me, context.incarnation)
        self._number = (context.incarnation & 0xFFFF) << 32
        self._open: dict[FeedRequest, _Feed] = {}
        self._streams: dict[int, _Stream] = {}

    @property
    def refusal(self) -> Status | None:
        """Why no feed may begin: to be asked before `submit`. BUSY: this node has as many readers as it may.
        UNAVAILABLE: a node of the cluster runs an older version, which tells no changes.
        """
        if self._context.feature_level < OPERATIONS:
            return Status.UNAVAILABLE
        return Status.BUSY if len(self._open) >= self._context.bounds.feeds_at_once else None

    @property
    def count(self) -> int:
        """How many readers there are."""
        return len(self._open)

    # --- what readers do ------------------------------------------------------------------------------

    def submit(self, request: FeedRequest) -> None:
        """Begin a feed. It goes on until `close`, or until it calls `on_gone`."""
        context = self._context
        assert context.cluster_map is not None, "nobody serves before there is a map"
        positions = request.positions
        if positions is None:
            every = range(len(context.cluster_map.partitions))
            positions = {PartitionId(number): NOW for number in every}
        feed = self._open[request] = _Feed(request, positions, context.now)
        self._ask(feed)
        self._mark_if_due(feed)

    def pull(self, request: FeedRequest, size: int) -> None:
        """The reader can take so many bytes more."""
        feed = self._open.get(request)
        if feed is not None:
            feed.credit += size
            self._balance(feed)

    def close(self, request: FeedRequest) -> None:
        """The reader has gone: none of its functions is called any more."""
        feed = self._open.pop(request, None)
        if feed is not None:
            for stream in list(feed.streams.values()):
                self._end_stream(stream)

    # --- asking ---------------------------------------------------------------------------------------

    def _ask(self, feed: _Feed) -> None:
        """Ask for every partition that nobody is asked for; those whose holders cannot be reached wait. The
        feed ends if one of them is gone.
        """
        context = self._context
        feed.due_at = context.now + limits.FEED_RETRY_MS
        gone = [tail.partition for tail in feed.idle.values() if tail.cut and self._is_gone(tail)]
        if gone:
            context.count("feed_gone")
            context.effects.fed.append(partial(feed.request.on_gone, gone))
            self.close(feed.request)
            return
        asked: dict[NodeId, list[_Tail]] = {}
        for tail in feed.idle.values():
            peer = self._holder_for(tail)
            if peer is not None:
                asked.setdefault(peer, []).append(tail)
        for peer, tails in asked.items():
            stream = feed.streams.get(peer)
            if stream is None:
                self._number += 1
                stream = _Stream(self._number, feed, peer, context.now)
                self._streams[stream.tag] = feed.streams[peer] = stream
            flat: list[int] = []
            for tail in tails:
                flat += (tail.partition, tail.position)
                tail.stream = stream
                stream.tails[tail.partition] = tail
                del feed.idle[tail.partition]
            self._send(stream, positions=flat)
        if asked:
            self._balance(feed)

    def _holder_for(self, tail: _Tail) -> NodeId | None:
        """Return whom to ask: the primary if it can be, then this node itself, then any other replica."""
        context, me = self._context, self._context.me
        assert context.cluster_map is not None
        place = context.cluster_map.partitions[tail.partition]
        ranked = [place.primary]
        if tail.position != NOW:
            ranked += [me] if me in place.replicas else []
            ranked += place.replicas
        for peer in ranked:
            if self._may_ask(tail, peer):
                return peer
        return None

    def _may_ask(self, tail: _Tail, peer: NodeId) -> bool:
        held = tail.partition in self._replicas and not self._context.damaged
        reached = held if peer == self._context.me else peer in self._context.links
        cut = tail.cut.get(peer) == tail.position
        return reached and not cut and tail.avoided.get(peer, 0) <= self._context.now

    def _send(
        self, stream: _Stream, positions: Sequence[int] = (), ended: Sequence[PartitionId] = (),
        credit: int = 0, closed: bool = False,
    ) -> None:  # fmt: skip
        request = stream.feed.request
        message = Follow(
            stream.tag, request.prefix, request.values, credit, list(positions), list(ended), closed
        )
        stream.credit += credit
        if stream.peer == self._context.me:
            self._own.on_follow(self._life, message)
        elif stream.peer in self._context.links:
            self._context.send(stream.peer, message)

    def _balance(self, feed: _Feed) -> None:
        """Divide what may yet be told among those who tell, when one of them has little left."""
        streams = feed.streams
        share = -(-max(feed.credit, 0) // len(streams)) if streams else 0
        if share and any(stream.credit <= share // 2 for stream in streams.values()):
            for stream in streams.values():
                if stream.credit != share:
                    self._send(stream, credit=share - stream.credit)

    def _detach(self, tail: _Tail, avoid_ms: Millis = 0) -> None:
        """The node that was asked does not tell this partition any more."""
        stream = tail.stream
        assert stream is not None
        del stream.tails[tail.partition]
        tail.stream = None
        stream.feed.idle[tail.partition] = tail
        if avoid_ms:
            tail.avoided[stream.peer] = self._context.now + avoid_ms
        if not stream.tails:
            self._end_stream(stream)

    def _end_stream(self, stream: _Stream, avoid_ms: Millis = 0) -> None:
        """What one node tells is not waited for any more."""
        del self._streams[stream.tag], stream.feed.streams[stream.peer]
        for tail in stream.tails.values():
            tail.stream = None
            stream.feed.idle[tail.partition] = tail
            if avoid_ms:
                tail.avoided[stream.peer] = self._context.now + avoid_ms
        stream.tails = {}
        self._send(stream, closed=True)

    # --- what is told ---------------------------------------------------------------------------------

    def on_changes(self, peer: NodeId, message: Changes) -> None:
        """Take what a node tells, in its order."""
        stream = self._streams.get(message.tag)
        if stream is None or stream.peer != peer:
            if peer != self._context.me and not message.refused:
                self._context.send(peer, Follow(message.tag, b"", False, 0, [], [], closed=True))
            return
        if message.number > stream.next:
            stream.held[message.number] = message
            return
        following: Changes | None = message if message.number == stream.next else None
        while following is not None:
            stream.next += 1
            self._take(stream, following)
            if stream.tag not in self._streams:
                return
            following = stream.held.pop(stream.next, None)

    def _take(self, stream: _Stream, message: Changes) -> None:
        feed, now = stream.feed, self._context.now
        stream.heard_at = now
        stream.credit -= sum(map(size_of, message.events))
        events = self._advance(stream, message)
        if events:  # what was told before is not granted again: it costs the reader nothing
            feed.credit -= sum(map(size_of, events))
            self._context.effects.fed.append(partial(self._tell, feed, events))
        if message.age >= 0:
            stream.fresh_at = max(stream.fresh_at, now - message.age)
        if message.refused:
            self._on_refused(stream, message.refused)
        if feed.request in self._open:
            self._mark_if_due(feed)

    def _advance(self, stream: _Stream, message: Changes) -> list[Event]:
        """Move the positions to where the message goes; return the events on the way there."""
        feed, marks = stream.feed, message.marks
        before: dict[PartitionId, Index] = {}
        for at in range(0, len(marks), 3):
            partition, after, until = PartitionId(marks[at]), marks[at + 1], Index(marks[at + 2])
            tail = stream.tails.get(partition)
            if tail is None or until <= tail.position:
                continue
            if after > tail.position:  # cannot be, unless a message was lost and the link was not
                self._context.count("feed_gap")
                self._send(stream, ended=[partition])
                self._detach(tail)
                continue
            if tail.position == NOW:
                feed.unknown -= 1
            before[partition] = tail.position
            tail.position = until
            feed.changed = True
        if before:
            stream.moved_at = self._context.now
        return [Event(*event) for event in message.events if _is_new(event, before.get(event[0]))]

    def _on_refused(self, stream: _Stream, refused: Sequence[int]) -> None:
        feed = stream.feed
        for at in range(0, len(refused), 2):
            tail = stream.tails.get(PartitionId(refused[at]))
            if tail is None:
                continue
            if refused[at + 1] == Refusal.CUT:
                tail.cut[stream.peer] = tail.position
                feed.cut = True
                self._detach(tail)
            else:
                self._detach(tail, limits.FEED_RETRY_MS)
        self._ask(feed)

    def _is_gone(self, tail: _Tail) -> bool:
        """Whether every replica has said that it does not reach back to the position: every one that the map
        names now, not then.
        """
        assert self._context.cluster_map is not None
        replicas = self._context.cluster_map.partitions[tail.partition].replicas
        return all(tail.cut.get(node) == tail.position for node in replicas)

    # --- what the reader hears ------------------------------------------------------------------------

    def _tell(self, feed: _Feed, events: list[Event]) -> None:
        if feed.request in self._open:
            feed.request.on_events(events)

    def _mark_if_due(self, feed: _Feed) -> None:
        """Give the reader a bookmark, once a second if it is another one; and at once when all has been told
        that was there when it began: from then on a copy of the data is complete."""
        now = self._context.now
        since = limits.BOOKMARK_MS if feed.changed else limits.KEEP_ALIVE_MS
        complete = feed.fresh_at < feed.begun_at and feed.refresh()
        if feed.unknown or (now - feed.marked_at < since and not complete):
            return
        feed.refresh()
        feed.marked_at, feed.changed = now, False
        positions = {partition: tail.position for partition, tail in feed.tails.items()}
        age = now - feed.fresh_at if feed.fresh_at >= 0 else -1
        self._context.effects.fed.append(partial(self._mark, feed, positions, age))

    def _mark(self, feed: _Feed, positions: dict[PartitionId, Index], age: Millis) -> None:
        if feed.request in self._open:
            feed.request.on_bookmark(positions, age)

    # --- what changes around it -----------------------------------------------------------------------

    def on_map(self) -> None:
        """Others may lead now: look at the next tick."""
        for feed in self._open.values():
            feed.due_at = feed.look_at = self._context.now

    def on_link(self, peer: NodeId) -> None:
        """Messages from a peer, or to it, may have been lost: ask it again, or another."""
        for stream in [each for each in self._streams.values() if each.peer == peer]:
            stream.feed.due_at = self._context.now
            self._end_stream(stream)
        for feed in self._open.values():
            if feed.cut:  # what it said may not be true of its next life
                for tail in feed.tails.values():
                    tail.cut.pop(peer, None)

    def on_tick(self) -> None:
        """Ask again where nobody is asked, or where nothing is heard; give bookmarks."""
        now = self._context.now
        for feed in list(self._open.values()):
            if now >= feed.look_at:
                feed.look_at = now + LOOK_MS
                self._look(feed)
            if feed.idle and now >= feed.due_at:
                self._ask(feed)
            self._mark_if_due(feed)

    def _look(self, feed: _Feed) -> None:
        """Leave those who are silent, and those who are not the primary where that can be asked."""
        context = self._context
        assert context.cluster_map is not None
        for stream in list(feed.streams.values()):
            if context.now - stream.heard_at >= limits.FEED_SILENT_MS:
                context.count("feed_silence")
                self._end_stream(stream, LOOK_MS)
                continue
            stale = context.now - max(stream.fresh_at, stream.moved_at) >= limits.FEED_SILENT_MS
            left: list[_Tail] = []
            for tail in stream.tails.values():
                primary = context.cluster_map.partitions[tail.partition].primary
                if stream.peer != primary and (stale or self._may_ask(tail, primary)):
                    left.append(tail)
            if left:
                self._leave(stream, left, LOOK_MS if stale else 0)

    def _leave(self, stream: _Stream, left: Iterable[_Tail], avoid_ms: Millis) -> None:
        self._context.count("feed_moved")
        self._send(stream, ended=[tail.partition for tail in left])
        for tail in left:
            self._detach(tail, avoid_ms)


def _is_new(event: Told, position: Index | None) -> bool:
    return position is not None and event[1] > position
