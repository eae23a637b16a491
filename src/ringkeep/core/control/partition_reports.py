"""Collects the primaries' reports: which partitions serve, and how many of their copies are in sync.

Each node reports on the partitions that it leads in its heartbeats, as bit fields, and keeps the others'
reports. A partition's last report counts for LAPSE_MS, so that a change of primary does not make the state
flicker.
"""

from collections.abc import Collection, Iterator, Sequence

from ringkeep.core.context import Context
from ringkeep.core.liveness.failure_detector import Detector
from ringkeep.core.liveness.heartbeat_relay import Relay
from ringkeep.core.protocol import limits, quorum
from ringkeep.core.protocol.cluster_map import ClusterMap, NodeState
from ringkeep.core.protocol.types import Millis, NodeId, PartitionId
from ringkeep.core.replication.primary import Phase, Primary

_LONG_AGO = -(1 << 40)

Lag = tuple[Sequence[NodeId], int]
"""The voters of a partition that are not in sync, and how many are missing from the set that lacks most."""


def members(bits: int) -> Iterator[int]:
    """Yield the positions of the bits that are set, ascending."""
    while bits:
        lowest = bits & -bits
        yield lowest.bit_length() - 1
        bits ^= lowest


class Since:
    """Since when partitions lack something; usually none does. Cost: proportional to the changes."""

    def __init__(self) -> None:
        self.bits = 0
        self._since: dict[int, Millis] = {}

    def update(self, bits: int, now: Millis) -> None:
        """Set the partitions that lack it now, as bits."""
        for number in members(bits & ~self.bits):
            self._since[number] = now
        for number in members(self.bits & ~bits):
            del self._since[number]
        self.bits = bits

    def for_long(self, now: Millis) -> int:
        """Return those that have lacked it for more than LAPSE_MS, as bits."""
        found = 0
        for number, since in self._since.items():
            if now - since > limits.LAPSE_MS:
                found |= 1 << number
        return found


class Reach:
    """Whether requests should be sent to this node, as far as its contact to the others decides. After its
    first change it changes only when the opposite was true for CUT_OFF_HOLD_MS.
    """

    def __init__(self) -> None:
        self.good = False
        self._never = True
        self._agreed: Millis = 0

    def look(self, good: bool, now: Millis) -> None:
        """Take the present state."""
        if good == self.good:
            self._agreed = now
        elif now - self._agreed >= limits.CUT_OFF_HOLD_MS or self._never:
            self.good, self._agreed = good, now
            self._never = False


class PartitionReports:
    """One node's reports on the partitions that it leads, and what it has heard about all partitions.
    `active`, `copies`, `behind`: its own reports, as in `messages.Heartbeat`. `serving`: the partitions whose
    primary reports at present that it serves, as bits. `counted`: those whose copies were counted within
    LAPSE_MS.
    """

    def __init__(self, context: Context, detector: Detector, relay: Relay) -> None:
        self._context = context
        self._detector = detector
        self._relay = relay
        self.active = b""
        self.copies: list[bytes] = []
        self.behind: list[tuple[NodeId, int]] = []
        self.serving = 0
        self.counted = 0
        self.reach = Reach()
        self._served = bytearray()  # `active`, with zeros at its end
        self._words: dict[PartitionId, Lag] = {}  # of the copies of those that are led here
        self._recount = False
        self._lacking: list[int] = []  # those that lack at least one copy, at least two, …
        self._idle = Since()
        self._uncounted = Since()
        self._map: ClusterMap | None = None
        self._led: dict[NodeId, int] = {}  # by node: the partitions that the map has it lead, as bits
        self._voting: tuple[NodeId, ...] = ()
        self._look_at: Millis = 0

    def on_tick(self, watched: list[Primary]) -> bool:
        """Update the reports for these partitions, which are led here, and every HEARTBEAT_MS the view of all
        partitions. Return whether their copies were counted: a primary at rest is then not needed here until
        something happens to it.
        """
        for primary in watched:
            self._serves(primary.replica.partition, primary.phase == Phase.ACTIVE and not primary.paused)
        if self._context.now < self._look_at:
            return False
        self._look_at = self._context.now + limits.HEARTBEAT_MS
        self._count_copies(watched)
        self._listen()
        return True

    def forget(self, partition: PartitionId) -> None:
        """Drop a partition that is not led here any more."""
        self._serves(partition, False)
        if self._words.pop(partition, None) is not None:
            self._recount = True

    def _serves(self, partition: PartitionId, serves: bool) -> None:
        served, at, bit = self._served, partition >> 3, 1 << (partition & 7)
        if serves and at >= len(served):
            served.extend(bytes(at + 1 - len(served)))
        if at < len(served) and bool(served[at] & bit) != serves:
            served[at] ^= bit
            self.active = bytes(served).rstrip(b"\0")

    def _count_copies(self, watched: list[Primary]) -> None:
        context, suspects = self._context, self._detector.suspects
        answering = {context.me, *[peer for peer in context.links if not suspects(peer)]}
        for primary in watched:
            partition, found = primary.replica.partition, _lagging(primary, answering, context.now)
            if found == self._words.get(partition):
                continue
            self._recount = True
            if found is None:
                del self._words[partition]
            else:
                self._words[partition] = found
        if self._recount:
            self._recount = False
            self._tell_copies()

    def _tell_copies(self) -> None:
        counted, lacking = 0, [0]
        behind: dict[NodeId, int] = {}
        for partition, (nodes, missing) in self._words.items():
            bit = 1 << partition
            counted |= bit
            if missing:
                lacking += [0] * (missing - len(lacking))
                for number in range(missing):
                    lacking[number] |= bit
                for node in nodes:
                    behind[node] = behind.get(node, 0) + 1
        self.copies = [_packed(bits) for bits in (counted, *lacking) if bits]
        self.behind = list(behind.items())

    def _listen(self) -> None:
        cluster_map, now = self._context.cluster_map, self._context.now
        if cluster_map is None:
            return
        if cluster_map is not self._map:
            self._follow(cluster_map)
        serving, planes = 0, [0]
        for node, led in self._led.items():
            active, copies = self.words_of(node)
            mine = led & _bits(active)
            serving |= mine
            planes += [0] * (len(copies) - len(planes))
            for number, plane in enumerate(copies):
                planes[number] |= mine & _bits(plane)
        self.serving = serving
        self._idle.update(self.unserved(cluster_map), now)
        self._uncounted.update(self.counted & ~planes[0], now)
        kept = self._uncounted.bits & ~self._uncounted.for_long(now)
        self.counted = planes[0] | kept
        before, after = self._lacking, planes[1:]
        after += [0] * (len(before) - len(after))
        self._lacking = [
            bits | (before[number] & kept if number < len(before) else 0) for number, bits in enumerate(after)
        ]
        while self._lacking and not self._lacking[-1]:
            self._lacking.pop()
        heard = [node for node in self._voting if not self._detector.suspects(node)]
        most = 2 * serving.bit_count() >= len(cluster_map.partitions)
        self.reach.look(bool(serving) and (most or quorum.won(self._voting, (), heard)), now)

    def _follow(self, cluster_map: ClusterMap) -> None:
        if self._map is None:
            self._idle.update(_all(cluster_map), _LONG_AGO)  # nothing was reported about any of them
        self._map = cluster_map
        led: dict[NodeId, int] = {}
        voting: dict[NodeId, None] = {}
        for number, part in enumerate(cluster_map.partitions):
            led[part.primary] = led.get(part.primary, 0) | 1 << number
            voting.update(dict.fromkeys(part.voters))
        dead = {node.id for node in cluster_map.nodes if node.state == NodeState.DEAD}
        self._led, self._voting = led, tuple(node for node in voting if node not in dead)

    def words_of(self, node: NodeId) -> tuple[bytes, list[bytes]]:
        """Return the newest `active` and `copies` of a node, direct or relayed; empty ones if it is
        silent."""
        if node == self._context.me:
            return self.active, self.copies
        beat = self._relay.beat_of(node)
        return (b"", []) if beat is None else (beat.active, beat.copies)

    def behind_of(self, node: NodeId) -> list[tuple[NodeId, int]]:
        """Return the nodes that `node` reports as behind, with numbers of partitions; empty if it is
        silent."""
        if node == self._context.me:
            return self.behind
        beat = self._relay.beat_of(node)
        return [] if beat is None else beat.behind

    def unserved(self, cluster_map: ClusterMap) -> int:
        """Return the partitions of this map whose primary does not report that it serves, as bits."""
        return _all(cluster_map) & ~self.serving

    @property
    def idle(self) -> int:
        """The partitions whose primary has not been serving for longer than a change of primary takes."""
        return self._idle.for_long(self._context.now)

    @property
    def stale(self) -> int:
        """Those of `counted` whose last report is from a primary that does not report them any more."""
        return self._uncounted.bits & self.counted

    @property
    def lacking(self) -> int:
        """The partitions of which some voter was not in sync, by their primary's last report, as bits."""
        return self._lacking[0] if self._lacking else 0

    def missing(self, number: int) -> int:
        """Return how many voters of that partition were not in sync, by its primary's last report."""
        return sum(bits >> number & 1 for bits in self._lacking)


def _lagging(primary: Primary, answering: Collection[NodeId], now: Millis) -> Lag | None:
    """Return the voters that are not in sync; None while that is not known."""
    if primary.phase != Phase.ACTIVE or primary.paused:
        return None
    place = primary.place
    voters = place.voters
    if place.old_voters:
        voters += tuple(node for node in place.old_voters if node not in place.voters)
    found = primary.in_sync.lagging(voters, answering, primary.progress, primary.replica.commit, now)
    if not found:
        return None if found is None else ((), 0)
    return found, max(sum(node in each for node in found) for each in (place.voters, place.old_voters))


def _packed(bits: int) -> bytes:
    """Return bits as bytes, the lowest first."""
    return bits.to_bytes((bits.bit_length() + 7) // 8, "little")


def _bits(packed: bytes) -> int:
    return int.from_bytes(packed, "little")


def _all(cluster_map: ClusterMap) -> int:
    return (1 << len(cluster_map.partitions)) - 1
