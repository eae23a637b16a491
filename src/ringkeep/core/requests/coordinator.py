"""The coordinator of client requests: finds the primary, forwards, waits out failovers, answers once.

A request's outcome is *not applied* only when no copy that was sent can still run. A copy is sent under one
epoch and can run only under that one. Under one epoch copies arrive in order or not at all, and a primary
looks for an earlier copy before it does anything else: so its answer settles the epoch's earlier copies too.
(All copies of a request have the same size, so they use the same lane of a link.)
RETRY settles only the copy that it answers: its sender may have been deposed, and an earlier copy may be in a
log, or may have run. An answer of an ACTIVE primary also settles the copies of all lower epochs.
"""

from typing import Final, Protocol

from ringkeep.core.cluster.feature_level import OPERATIONS
from ringkeep.core.cluster.slots import partition_of
from ringkeep.core.context import Context
from ringkeep.core.protocol import limits
from ringkeep.core.protocol.client_requests import WROTE, Kind, Request, Result, Status
from ringkeep.core.protocol.hot_messages import RETRY, Forward, Reply
from ringkeep.core.protocol.messages import StaleRead
from ringkeep.core.protocol.types import COPY_BITS, Epoch, Life, Millis, NodeId, PartitionId, origin_of

_BUCKET_MS = 64
_STATUSES: Final = {int(status): status for status in Status}  # calling the class takes longer


class OwnNode(Protocol):
    """The coordinator's node, which may itself hold the partition of a request."""

    def on_forward(self, caller: Life, message: Forward) -> None:
        """A coordinator sends a request to this node as its primary."""

    def on_stale_read(self, caller: Life, message: StaleRead) -> None:
        """A coordinator reads from the replica here."""


class Coordinator:
    """All unfinished requests that clients have sent to this node. `names`: of the nodes in the map."""

    def __init__(self, context: Context, node: OwnNode) -> None:
        self._context = context
        self._node = node
        self.names: dict[NodeId, str] = {}
        self._origin = origin_of(context.me, context.incarnation)
        self._life = (context.me, context.incarnation)
        self._number = (context.incarnation & 0xFFFF) << 32  # no life takes an answer to another's requests
        self._requests: dict[int, Request] = {}
        self._by_partition: dict[PartitionId, dict[int, Request]] = {}
        self._counters: dict[PartitionId, int] = {}
        self._unfinished: dict[PartitionId, dict[int, Request]] = {}  # writes, by counter, ascending
        self._waiting: dict[int, Request] = {}  # not sent at present: no link, or RETRY was answered
        self._deadlines: dict[int, list[int]] = {}  # numbers only: a finished request is freed at once
        self._next_bucket = 0
        self._retry_at: Millis = 0

    @property
    def unfinished(self) -> int:
        """How many requests wait for an answer."""
        return len(self._requests)

    def submit(self, request: Request) -> None:
        """Take a request. `request.done` is called once, with its result."""
        context = self._context
        assert context.cluster_map is not None, "nobody serves before there is a map"
        partition = PartitionId(partition_of(request.key, len(context.cluster_map.partitions)))
        self._number += 1
        request.tag = self._number << COPY_BITS
        request.partition = partition
        request.deadline = context.now + request.timeout_ms
        self._requests[self._number] = request
        known = self._by_partition.get(partition)
        if known is None:
            known = self._by_partition[partition] = {}
            self._unfinished[partition] = {}
        known[self._number] = request
        if request.kind != Kind.GET:
            request.counter = self._counters[partition] = self._counters.get(partition, 0) + 1
            self._unfinished[partition][request.counter] = request
        if (request.kind > Kind.DELETE or request.ttl_ms) and context.feature_level < OPERATIONS:
            detail = "some node of the cluster runs an older version, which does not know this operation"
            self._finish(request, Result(Status.UNAVAILABLE, detail=detail))
            return
        bucket = request.deadline // _BUCKET_MS
        queue = self._deadlines.get(bucket)
        if queue is None:
            self._deadlines[bucket] = [self._number]
        else:
            queue.append(self._number)
        self._send(request)

    def _send(self, request: Request) -> None:
        """Send a copy to the partition's primary, if it is known and linked; wait otherwise."""
        context = self._context
        assert context.cluster_map is not None
        if request.stale:
            self._send_stale(request)
            return
        place = context.cluster_map.partitions[request.partition]
        peer = place.primary
        if peer != context.me and context.links.get(peer) != place.incarnation:
            self._waiting[request.tag >> COPY_BITS] = request
            return
        large = len(request.value) > context.bounds.bulk_bytes and peer != context.me
        if large and not context.takes_bulk(peer):
            context.count("large_request_held_back")
            self._waiting[request.tag >> COPY_BITS] = request
            return
        self._waiting.pop(request.tag >> COPY_BITS, None)
        request.tag += 1
        request.open_copies[request.tag] = place.epoch
        counter = request.counter
        low = next(iter(self._unfinished[request.partition])) if counter else 0
        message = Forward(
            request.tag, request.partition, place.epoch, request.deadline - context.now, request.kind,
            request.condition or request.at_least, self._origin, counter, low, request.key, request.value,
            request.content_type, request.idempotency, request.fingerprint, request.ttl_ms,
        )  # fmt: skip
        if peer == context.me:
            self._node.on_forward(self._life, message)
        elif large:
            context.send_bulk(peer, message, len(request.value))
        else:
            context.send(peer, message)

    def _send_stale(self, request: Request) -> None:
        """Read from any replica: this node's own if it has one, else the first that is linked."""
        context = self._context
        assert context.cluster_map is not None
        replicas = context.cluster_map.partitions[request.partition].replicas
        message = StaleRead(
            request.tag, request.partition, request.deadline - context.now, request.at_least, request.key
        )
        if context.me in replicas:
            self._node.on_stale_read(self._life, message)
            return
        linked = [peer for peer in replicas if peer in context.links]
        number = request.tag >> COPY_BITS
        if linked:
            self._waiting.pop(number, None)
            context.send(linked[number % len(linked)], message)
        else:
            self._waiting[number] = request

    def on_reply(self, reply: Reply) -> None:
        """Handle an answer; finish the request unless another copy may still take effect."""
        number = reply.tag >> COPY_BITS
        request = self._requests.get(number)
        if request is None:
            return
        status, copies = reply.status, request.open_copies
        copies.pop(reply.tag, None)
        if copies and status != RETRY:
            self._settle_others(copies, reply)
        if status == RETRY:
            if copies and next(reversed(copies)) > reply.tag:
                return  # a later copy is on its way
            self._waiting[number] = request
            if not self._retry_at:
                self._retry_at = self._context.now + limits.TICK_MS
            return
        wrote = status in WROTE and reply.version  # a batch that is done may have changed nothing
        if request.kind != Kind.GET and not wrote and copies:
            self._context.count("answer_not_final")
            if next(reversed(copies)) < reply.tag:
                self._waiting[number] = request  # ask again: only an ACTIVE primary settles older copies
            return  # another copy may still run: its own answer decides
        self._finish(request, Result(
            _STATUSES[status], reply.version, reply.value, reply.content_type, "", reply.detail, reply.age_ms,
            reply.ttl,
        ))  # fmt: skip

    def _settle_others(self, copies: dict[int, Epoch], reply: Reply) -> None:
        """Forget the copies that this answer settles: they cannot run any more."""
        for tag, epoch in list(copies.items()):
            if (epoch == reply.epoch and tag < reply.tag) or (reply.active and epoch < reply.epoch):
                del copies[tag]

    def _finish(self, request: Request, result: Result) -> None:
        request.finished = True
        assert self._context.cluster_map is not None
        primary = self._context.cluster_map.partitions[request.partition].primary
        result.primary = self.names.get(primary, "")
        number = request.tag >> COPY_BITS
        del self._requests[number]
        del self._by_partition[request.partition][number]
        self._waiting.pop(number, None)
        if request.counter:
            del self._unfinished[request.partition][request.counter]
        if request.inside:
            request.done(result)
        else:
            self._context.effects.answers.append((request, result))

    # --- what changes around it -----------------------------------------------------------------------

    def on_map(self, changed: list[PartitionId]) -> None:
        """Send the unfinished requests of these partitions again: their primary has changed."""
        for partition in changed:
            for request in list(self._by_partition.get(partition, {}).values()):
                if not request.stale:
                    self._context.count("request_sent_again")
                    self._send(request)

    def on_link(self, peer: str) -> None:
        """A link is up (again): what was on its way to that peer, or from it, may be lost."""
        assert self._context.cluster_map is not None
        partitions = self._context.cluster_map.partitions
        for partition, requests in self._by_partition.items():
            if partitions[partition].primary == peer:
                for request in list(requests.values()):
                    if not (request.finished or request.stale):
                        self._send(request)
        self.on_link_lost()

    def on_link_lost(self) -> None:
        """What was sent on some link is lost: any other replica can serve its stale reads, too."""
        for request in [request for request in self._requests.values() if request.stale]:
            self._send_stale(request)

    def on_tick(self) -> None:
        """Send waiting requests again; finish those past their deadline."""
        now = self._context.now
        if self._waiting and now >= self._retry_at:
            self._retry_at = 0
            for request in list(self._waiting.values()):
                if now < request.deadline:
                    self._send(request)
        last = (now - limits.REPLY_GRACE_MS) // _BUCKET_MS
        if self._next_bucket == 0:
            self._next_bucket = last
        while self._next_bucket < last:
            for number in self._deadlines.pop(self._next_bucket, ()):
                late = self._requests.get(number)
                if late is not None:
                    self._expire(late)
            self._next_bucket += 1
        for request in [r for r in self._waiting.values() if now >= r.deadline]:
            if not request.finished:
                self._expire(request)

    def _expire(self, request: Request) -> None:
        """The deadline has passed. The outcome is unknown only for a write of which a copy may still run."""
        if request.kind == Kind.GET or not request.open_copies:
            detail = "no primary with a majority of its replicas could serve the key by the deadline"
            self._finish(request, Result(Status.UNAVAILABLE, detail=detail))
        else:
            detail = "the write was sent, and no answer came by the deadline: it may have been applied"
            self._finish(request, Result(Status.UNKNOWN, detail=detail))
