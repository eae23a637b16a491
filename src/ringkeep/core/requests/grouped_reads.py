"""Reads of many keys at once: one question to each node that leads some of them, one answer.

Every partition is confirmed as for a single read, after the question has come; what is read of it then is as
good as any read's. Whatever is not plain (another node leads, a record is due, a value is large, an answer is
late) is left to single reads, which wait out failovers. So a group saves work where nothing is the matter,
and decides nothing.
"""

from collections.abc import Callable, Iterable, Mapping
from functools import partial
from typing import Final, Protocol

from ringkeep.core.cluster.feature_level import OPERATIONS
from ringkeep.core.cluster.slots import partition_of
from ringkeep.core.context import Context
from ringkeep.core.protocol.client_requests import Kind, ReadGroup, Request, Result, Status
from ringkeep.core.protocol.limits import RESEND_MS
from ringkeep.core.protocol.messages import ReadMany, Records
from ringkeep.core.protocol.record import deadline_of, is_parted, read_record, value_bytes_of
from ringkeep.core.protocol.types import Index, Life, Millis, NodeId, PartitionId
from ringkeep.core.replication.primary import Primary
from ringkeep.core.requests.confirmed_reads import ConfirmedReads

UNTOLD: Final = -1
"""As a version: the key is to be read alone."""


class _Question:
    """A question at the node that was asked. `left`: parts that are not confirmed or refused yet."""

    __slots__ = ("answer", "caller", "left", "message", "size")

    def __init__(self, caller: Life, message: ReadMany, left: int) -> None:
        count = len(message.keys)
        self.caller = caller
        self.message = message
        self.left = left
        self.size = 0
        self.answer = Records(message.tag, [UNTOLD] * count, [0] * count, [b""] * count, [b""] * count)


class _Part:
    """The keys of one partition in a question, while it waits to be confirmed."""

    __slots__ = ("_at", "_end", "_primary", "_question", "_reads", "deadline")

    def __init__(
        self, reads: "NodeReads", question: _Question, primary: Primary, at: int, end: int, deadline: Millis
    ) -> None:
        self._reads = reads
        self._question = question
        self._primary = primary
        self._at = at
        self._end = end
        self.deadline = deadline

    def confirmed(self) -> None:
        """The partition may be read."""
        self._reads.read(self._question, self._primary, self._at, self._end)
        self._reads.settle(self._question)

    def refused(self) -> None:
        """It may not: the primary is none any more, or was not confirmed in time."""
        self._reads.settle(self._question)


class NodeReads:
    """Answers questions about what this node's primaries hold."""

    def __init__(
        self, context: Context, primaries: Mapping[PartitionId, Primary], reads: ConfirmedReads,
        to_self: Callable[[Records], None],
    ) -> None:  # fmt: skip
        """`to_self`: takes the answers to what this node has asked itself."""
        self._context = context
        self._primaries = primaries
        self._reads = reads
        self._to_self = to_self

    def on_question(self, caller: Life, message: ReadMany) -> None:
        """Read what is asked for, once it is confirmed."""
        triples = message.partitions
        question = _Question(caller, message, len(triples) // 3 + 1)
        deadline, at = self._context.now + message.remaining_ms, 0
        for each in range(0, len(triples), 3):
            primary = self._primaries.get(PartitionId(triples[each]))
            end = min(at + triples[each + 2], len(message.keys))
            if primary is not None and primary.epoch == triples[each + 1] and primary.may_execute:
                part = _Part(self, question, primary, at, end, deadline)
                self._reads.add_slice(primary, part, Index(0))
            else:
                question.left -= 1
            at = end
        self.settle(question)

    def read(self, question: _Question, primary: Primary, at: int, end: int) -> None:
        """Read keys of a partition that is confirmed."""
        keys, answer, state = question.message.keys, question.answer, primary.replica.state
        time, bounds = primary.log_time, self._context.bounds
        for place in range(at, end):
            record = state.record(keys[place])
            if record is None:
                answer.versions[place] = 0
                continue
            deadline = deadline_of(record)
            large = is_parted(record) or value_bytes_of(record) > bounds.bulk_bytes
            if (deadline and deadline <= time) or large or question.size >= bounds.page_bytes:
                continue
            version, answer.types[place], value = read_record(record)
            answer.versions[place], answer.values[place] = version, value
            question.size += len(value)
            if deadline:
                answer.ttls[place] = max(deadline - primary.clock.unconfirmed(self._context.now), 1)

    def settle(self, question: _Question) -> None:
        """A part of a question is settled; answer it after the last one."""
        question.left -= 1
        if question.left:
            return
        context, answer = self._context, question.answer
        peer, life = question.caller
        if peer == context.me:
            self._to_self(answer)
        elif context.links.get(peer) == life:
            if question.size > context.bounds.bulk_bytes and not context.takes_bulk(peer):
                context.count("large_answer_held_back")
                answer = Records(answer.tag, [UNTOLD] * len(answer.versions), [], [], [])
            context.send_sized(peer, answer, question.size)


class Asking(Protocol):
    """The node of the groups: it may lead partitions itself, and reads single keys."""

    def on_question(self, caller: Life, message: ReadMany) -> None:
        """A coordinator asks for what this node leads."""

    def submit(self, request: Request) -> None:
        """Take a request."""


class _Group:
    """A group under way. `left`: keys without a result."""

    __slots__ = ("deadline", "left", "request", "results")

    def __init__(self, request: ReadGroup, deadline: Millis) -> None:
        self.request = request
        self.deadline = deadline
        self.left = len(request.keys)
        self.results: list[Result | None] = [None] * self.left


class _Asked:
    """A question that is not answered yet."""

    __slots__ = ("group", "partitions", "peer", "places", "since")

    def __init__(self, group: _Group, peer: NodeId, since: Millis) -> None:
        self.group = group
        self.peer = peer
        self.since = since
        self.partitions: dict[PartitionId, list[int]] = {}  # places of the keys of each
        self.places: list[int] = []  # in the order of the question


class GroupedReads:
    """All groups that clients have asked this node for. `names`: of the nodes in the map."""

    def __init__(self, context: Context, node: Asking) -> None:
        self._context = context
        self._node = node
        self.names: Mapping[NodeId, str] = {}
        self._life = (context.me, context.incarnation)
        self._number = (context.incarnation & 0xFFFF) << 32  # no life takes an answer to another's questions
        self._asked: dict[int, _Asked] = {}  # by tag, so the oldest first

    def submit(self, request: ReadGroup) -> None:
        """Take a group. `request.done` is called once, with a result for each key."""
        context = self._context
        cluster_map = context.cluster_map
        assert cluster_map is not None, "nobody serves before there is a map"
        assert request.keys, "there is something to read"
        group = _Group(request, context.now + request.timeout_ms)
        count, plain = len(cluster_map.partitions), context.feature_level >= OPERATIONS
        asked: dict[NodeId, _Asked] = {}
        alone: list[int] = []
        for place, key in enumerate(request.keys):
            partition = PartitionId(partition_of(key, count))
            leads = cluster_map.partitions[partition]
            peer = leads.primary
            if not plain or (peer != context.me and context.links.get(peer) != leads.incarnation):
                alone.append(place)
                continue
            question = asked.get(peer)
            if question is None:
                question = asked[peer] = _Asked(group, peer, context.now)
            places = question.partitions.get(partition)
            if places is None:
                question.partitions[partition] = [place]
            else:
                places.append(place)
        for question in asked.values():
            self._ask(question)
        self._read_alone(group, alone)

    def _ask(self, question: _Asked) -> None:
        context, group = self._context, question.group
        assert context.cluster_map is not None
        self._number += 1
        triples: list[int] = []
        keys: list[bytes] = []
        for partition, places in question.partitions.items():
            triples += (partition, context.cluster_map.partitions[partition].epoch, len(places))
            question.places += places
            keys += [group.request.keys[place] for place in places]
        self._asked[self._number] = question
        message = ReadMany(self._number, group.deadline - context.now, triples, keys)
        if question.peer == context.me:
            self._node.on_question(self._life, message)
        else:
            context.send(question.peer, message)

    def on_records(self, message: Records) -> None:
        """Take a node's answer; read alone what it does not tell."""
        question = self._asked.pop(message.tag, None)
        if question is None:
            return
        if len(message.versions) != len(question.places):
            self._read_alone(question.group, question.places)
            return
        group, primary = question.group, self.names.get(question.peer, "")
        alone: list[int] = []
        for at, place in enumerate(question.places):
            version = message.versions[at]
            if version == UNTOLD:
                alone.append(place)
            elif version:
                group.results[place] = Result(
                    Status.FOUND, version, message.values[at], message.types[at], primary, "", 0,
                    message.ttls[at],
                )  # fmt: skip
            else:
                group.results[place] = Result(Status.NOT_FOUND, 0, b"", b"", primary)
        group.left -= len(question.places) - len(alone)
        self._read_alone(group, alone)

    def _read_alone(self, group: _Group, places: list[int]) -> None:
        """Read what no group could; finish the group if nothing is left."""
        if not group.left:
            self._context.effects.groups.append((group.request, [each for each in group.results if each]))
            return
        left = max(group.deadline - self._context.now, 1)
        for place in places:
            self._context.count("read_alone")
            self._context.effects.again = True  # the answer may come while this turn ends
            self._node.submit(Request(
                Kind.GET, group.request.keys[place], timeout_ms=left, inside=True,
                done=partial(self._answered, group, place),
            ))  # fmt: skip

    def _answered(self, group: _Group, place: int, result: Result) -> None:
        group.results[place] = result
        group.left -= 1
        if not group.left:
            self._read_alone(group, [])

    # --- what changes around it -----------------------------------------------------------------------

    def on_map(self, changed: Iterable[PartitionId]) -> None:
        """Read alone where another node leads now."""
        gone = set(changed)
        self._give_up([tag for tag, each in self._asked.items() if not gone.isdisjoint(each.partitions)])

    def on_link(self, peer: NodeId) -> None:
        """A link is up or down: an answer may have been lost with the old one."""
        self._give_up([tag for tag, each in self._asked.items() if each.peer == peer])

    def on_tick(self) -> None:
        """Read alone what is not answered in time."""
        late: list[int] = []
        for tag, each in self._asked.items():
            if self._context.now - each.since < RESEND_MS:
                break
            late.append(tag)
        self._give_up(late)

    def _give_up(self, tags: list[int]) -> None:
        for tag in tags:
            question = self._asked.pop(tag)
            self._read_alone(question.group, question.places)
