"""One node of the model: the real core in one life, its disk, and what waits for a sync.

Carries out a turn's effects in the driver's order, and returns messages and answers. Time does not advance.
Knows nothing of the other nodes.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import cache
from typing import Final, NamedTuple

from ringkeep.core.context import Durable
from ringkeep.core.node import Node
from ringkeep.core.protocol import limits
from ringkeep.core.protocol.bounds import IN_USE
from ringkeep.core.protocol.cluster_map import ClusterMap, NodeInfo, Partition
from ringkeep.core.protocol.effects import Family
from ringkeep.core.protocol.hot_messages import Reply
from ringkeep.core.protocol.keys import log_key
from ringkeep.core.protocol.messages import Heartbeat, MapPush, Message, Report, Sizes
from ringkeep.core.protocol.rows import (
    NOBODY,
    Promised,
    applied_key,
    decode_applied,
    decode_promised,
    promised_key,
    replica_key,
)
from ringkeep.core.protocol.types import Incarnation, Index, MapVersion, NodeId, PartitionId, origin_of
from ringkeep.core.replication.handover import StatementRow
from ringkeep.core.replication.primary import Phase, Primary
from ringkeep.core.replication.replica import Replica
from ringkeep.sim.model.disk import ModelDisk, Rows
from ringkeep.wire import mapcodec

ONLY: Final = PartitionId(0)
"""The only partition."""

IDS: Final = tuple(NodeId(f"{number:032x}") for number in range(1, 5))
NAMES: Final = {node: f"n{number}" for number, node in enumerate(IDS, 1)}
NUMBERS: Final = {node: number for number, node in enumerate(IDS)}

CLIENT: Final = NodeId("f" * 32)
"""A coordinator that is not a replica: its requests are moves, and its answers are checked."""
CLIENT_LIFE: Final = Incarnation(1)
_COORDINATORS: Final = frozenset({origin_of(CLIENT, CLIENT_LIFE)})

UNSAID: Final = (Heartbeat, MapPush, Report, Sizes)
"""Messages that are not modelled: learning a map, and acts of the controller, are moves of their own."""

AT_ONCE: Final = replace(IN_USE, unwritten_bytes=-1)
"""Rows are written as they are applied: written late they would double the states."""

_LIVES: Final = 64  # more than one node ever starts


class Codec:
    """The map's codec as an object without state: a module could not be copied together with a core."""

    @staticmethod
    def encode(cluster_map: ClusterMap) -> bytes:
        return mapcodec.encode(cluster_map)

    @staticmethod
    def size(cluster_map: ClusterMap) -> int:
        return mapcodec.size(cluster_map)

    @staticmethod
    @cache
    def decode(payload: bytes) -> ClusterMap:
        return mapcodec.decode(payload)


def version_of(number: int, life: int = 0) -> MapVersion:
    """Return the number of the map in which the partition has its `number`-th place.

    It grows with the place and with a node's life, so that a newer one is always taken.
    """
    return MapVersion(number * _LIVES + life)


def number_of(cluster_map: ClusterMap) -> int:
    """Return which place of the partition a map shows."""
    return cluster_map.version // _LIVES


def map_of(version: MapVersion, place: Partition, count: int, me: int, life: Incarnation) -> ClusterMap:
    """Return a cluster map with this place as node `me` sees it: only its own life matters to it."""
    lives = [life if node == me else Incarnation(1) for node in range(count)]
    nodes = [NodeInfo(IDS[n], NAMES[IDS[n]], f"{n}:1", f"{n}:2", f"{n}", 1, lives[n]) for n in range(count)]
    return ClusterMap(version, "model", "1" * 32, 3, tuple(nodes), (place,))


@cache
def _payload(number: int, place: Partition, count: int, me: int, life: Incarnation) -> bytes:
    return mapcodec.encode(map_of(version_of(number, life), place, count, me, life))


class Image(NamedTuple):
    """What a process would find on the disk if it started at this moment. `held`: whether there is a
    replica."""

    held: bool
    promised: Promised
    applied: Index
    log: tuple[bytes, ...]


def _image_of(tables: list[Rows]) -> Image:
    meta, log = tables[Family.META], tables[Family.LOG]
    promised, applied = meta.get(promised_key(ONLY)), meta.get(applied_key(ONLY))
    return Image(
        replica_key(ONLY) in meta,
        decode_promised(promised) if promised is not None else NOBODY,
        decode_applied(applied)[0] if applied is not None else Index(0),
        tuple(log[log_key(ONLY, Index(number))] for number in range(1, len(log) + 1)),
    )


def _owes(primary: Primary, peer: NodeId) -> bool:
    """Return whether this primary waits for a promise, a log, or an acknowledgement of a peer."""
    if primary.phase in (Phase.PREPARING, Phase.FETCHING):
        return peer not in primary.takeover.promises or peer == primary.takeover.holder
    position = primary.progress.next.get(peer)
    last = primary.replica.log.last_index
    return position is None or primary.progress.match.get(peer, 0) < min(position - 1, last)


class Output:
    """The messages and answers that one event produced."""

    __slots__ = ("replies", "sends")

    def __init__(self) -> None:
        self.sends: list[tuple[int, list[Message]]] = []
        self.replies: list[Reply] = []


class ModelMachine:
    """A node, from its start on. `waiting`: how many batches must be synced first, and what waits for it.

    `count`: how many nodes there are. `split`: whether a message carries one log entry at most.
    """

    __slots__ = ("count", "disk", "node", "waiting")

    def __init__(self, me: int, life: Incarnation, count: int, disk: ModelDisk, split: bool) -> None:
        self.disk = disk
        self.count = count
        self.waiting: list[tuple[int, Durable]] = []
        bounds = replace(AT_ONCE, append_entries=1) if split else AT_ONCE
        self.node = Node(IDS[me], life, disk, Codec(), "model", "1" * 32, bounds=bounds)

    @property
    def replica(self) -> Replica | None:
        return self.node.replicas.get(ONLY)

    @property
    def primary(self) -> Primary | None:
        return self.node.primaries.get(ONLY)

    def images(self) -> list[Image]:
        """Return what a crash would leave that keeps 0, 1, … of the batches that are not durable."""
        return [_image_of(tables) for tables in self.disk.images()]

    def said(self) -> tuple[StatementRow, ...]:
        """Return what its primary would report to the controller. Changes this copy, which must not be used
        afterwards."""
        primaries = [self.primary] if self.primary is not None else []
        return tuple(self.node.handover.on_tick(primaries, may_change=True))

    def silent(self) -> tuple[int, ...]:
        """Return the peers that its primary waits for, and would ask once more at a tick."""
        primary = self.primary
        return (
            tuple(NUMBERS[peer] for peer in primary.peers if _owes(primary, peer))
            if primary is not None
            else ()
        )

    # --- events -----------------------------------------------------------------------------------------

    def start(self, number: int, place: Partition, lives: Sequence[Incarnation]) -> Output:
        """Read the register, whose map names this life; load what is stored, and link to everybody."""
        output = self.learn(number, place)

        def begin(node: Node) -> None:
            node.replica_set.load()
            node.on_peer_up(CLIENT, CLIENT_LIFE)
            for peer, life in zip(IDS, lives, strict=False):
                if peer != node.context.me:
                    node.on_peer_up(peer, life)

        return self._run(begin, output)

    def learn(self, number: int, place: Partition) -> Output:
        """Take over the map with this place."""
        context = self.node.context
        payload = _payload(number, place, self.count, NUMBERS[context.me], context.incarnation)
        return self._run(lambda node: node.take_map(payload))

    def relink(self, peer: int, life: Incarnation) -> Output:
        """Lose the link to a peer, and have a new one."""

        def again(node: Node) -> None:
            node.on_peer_down(IDS[peer], False)
            node.on_peer_up(IDS[peer], life)

        return self._run(again)

    def take(self, sender: NodeId, life: Incarnation, messages: list[Message]) -> Output:
        """Take one frame."""
        return self._run(lambda node: node.on_messages(sender, life, messages))

    def sync(self, batches: int) -> Output:
        """A sync has completed that began after this number of batches was written."""
        self.disk.sync(batches)
        self.waiting = [(ticket - batches, durable) for ticket, durable in self.waiting]
        return self._settle(Output())

    def tell(self) -> Output:
        """Send the backups a commit index, as the tick does."""
        return self._run(lambda node: node._tell_commits([p for p in [self.primary] if p is not None]))

    def nudge(self, peer: int) -> Output:
        """Ask a silent peer once more, as the tick does: for its log if that is fetched, or its position."""

        def ask(_: Node) -> None:
            primary = self.primary
            assert primary is not None
            if primary.takeover.holder == IDS[peer]:
                primary.takeover.fetch()
            else:
                primary.prepare(IDS[peer])

        return self._run(ask)

    def apply(self) -> Output:
        """Apply what is committed, as the tick does."""

        def late(node: Node) -> None:
            node.context.unapplied = {}
            for replica in node.replicas.values():
                replica.apply()

        return self._run(late)

    def give_up(self) -> Output:
        """Ask for the release of a replica that the map gives to others, as the tick does."""

        def ask(node: Node) -> None:
            node.replica_set._asked_at = -limits.SURPLUS_MS
            node.replica_set.on_tick()
            node.replica_set._asked_at = 0

        return self._run(ask)

    # --- turns ------------------------------------------------------------------------------------------

    def _run(self, event: Callable[[Node], object], output: Output | None = None) -> Output:
        """Run one turn: the event, then its effects; then what needs no sync."""
        output = Output() if output is None else output
        node = self.node
        node.begin_turn(0)
        event(node)
        node.context.coordinators = _COORDINATORS  # the client is not in the map, because it is not a node
        effects, durable = node.end_turn()
        assert not effects.bulk and not effects.again, "nothing is large"
        assert not effects.alarms, f"alarm: {effects.alarms}"
        assert effects.map_write is None and not effects.answers, (
            "nobody steers, nobody asks this coordinator"
        )
        self.disk.write(effects.batch)
        if durable:
            self.waiting.append((self.disk.unsynced, durable))
        for peer, _, messages in effects.frames():
            if peer == CLIENT:
                output.replies += [message for message in messages if isinstance(message, Reply)]
                continue
            said: list[Message] = [message for message in messages if not isinstance(message, UNSAID)]
            if said:
                output.sends.append((NUMBERS[peer], said))
        return self._settle(output)

    def _settle(self, output: Output) -> Output:
        """Settle what is durable, in a turn of its own, as the driver does."""
        due = [durable for ticket, durable in self.waiting if ticket <= 0]
        if not due:
            return output
        self.waiting = [(ticket, durable) for ticket, durable in self.waiting if ticket > 0]

        def settle(node: Node) -> None:
            for durable in due:
                node.settle(durable)

        return self._run(settle, output)
