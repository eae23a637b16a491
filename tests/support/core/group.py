"""Whole nodes over disks in memory: messages arrive, and writes are durable, at once. For unit tests.

No faults and no time but what a test lets pass: for everything that only a working group of cores shows.
"""

from collections import deque
from collections.abc import Iterable
from dataclasses import replace

from tests.support.core.parts import A, B, C, D, Host, P, a_map, a_part, bound, map_of

from ringkeep.core.cluster import feature_level
from ringkeep.core.protocol import limits
from ringkeep.core.protocol.client_requests import Kind, Request
from ringkeep.core.protocol.cluster_map import ClusterMap
from ringkeep.core.protocol.effects import Family
from ringkeep.core.protocol.keys import after, data_prefix
from ringkeep.core.protocol.messages import Heartbeat, MapPush, Message
from ringkeep.core.protocol.types import NodeId
from ringkeep.core.replication.primary import Phase


def a_put(key: bytes, value: bytes = b"v", own: bytes = b"", kind: Kind = Kind.PUT) -> Request:
    return Request(kind, key, value, idempotency=own, fingerprint=bytes(16) if own else b"")


def scanned(host: Host) -> int:
    """The bytes of all rows of the live generation; keys without (partition, generation)."""
    prefix = data_prefix(P, host.replica.generation)
    rows = host.engine.scan(Family.DATA, prefix, after(prefix), 1 << 20)
    return sum(len(key) - len(prefix) + len(value) for key, value in rows)


def speaking_all(cluster_map: ClusterMap) -> ClusterMap:
    """The map of a cluster whose nodes all speak the newest feature level."""
    return replace(cluster_map, settings={feature_level.SETTING: feature_level.NEWEST})


class Speaking(Host):
    """A node that tells the sizes of its partitions too."""

    unsaid = (Heartbeat, MapPush)


class Group:
    """Whole nodes over disks in memory; what they say arrives, and what they write is durable, at once."""

    kind: type[Host] = Speaking

    def __init__(self, *voters: NodeId) -> None:
        self.hosts = {node: self.kind(node) for node in voters}
        self.version = 7
        self.take(speaking_all(a_map(a_part(A, voters), nodes=(A, B, C, D))))

    def take(self, found: ClusterMap) -> None:
        left = [(host, host.take(found)) for host in self.hosts.values()]
        for host, said in left:
            self.settle(host, said)
        self.tick()
        assert self.hosts[A].primary.phase == Phase.ACTIVE

    def settle(self, sender: Host, left: Iterable[tuple[NodeId, Message]]) -> None:
        """Deliver and sync until nobody has anything more to say."""
        mail = deque((sender, *each) for each in left)
        while mail or self._sync(mail):
            sender, peer, message = mail.popleft()
            if peer in self.hosts:
                said = self.hosts[peer].hear(sender.node.context.me, message)
                mail += [(self.hosts[peer], *each) for each in said]

    def _sync(self, mail: deque[tuple[Host, NodeId, Message]]) -> bool:
        for host in self.hosts.values():
            mail += [(host, *each) for each in host.sync()]
        return bool(mail)

    def tick(self, after_ms: int = 0) -> None:
        for host in self.hosts.values():
            self.settle(host, host.tick(after_ms))

    def ask(self, *requests: Request, after_ms: int = 100) -> None:
        """Let a's clients ask, all of them in one turn; then time passes, so that backups apply it too."""
        leader = self.hosts[A]
        self.settle(leader, leader.turn(*[lambda r=request: leader.node.submit(r) for request in requests]))
        self.tick(after_ms)

    def join(self, node: NodeId) -> None:
        """A node comes as a learner, and is filled by a snapshot: the logs keep nothing that is applied."""
        for host in self.hosts.values():
            bound(host.node.context, log_entries=0)
        self.ask(a_put(b"a", b"trims the log"))
        self.version += 1
        self.hosts[node] = self.kind(node)
        self.take(speaking_all(map_of(a_part(A, (A, B, C), learner=node), self.version)))
        self.tick(limits.RESEND_MS)
        assert self.hosts[node].node.context.counters["snapshot_installed"] == 1
