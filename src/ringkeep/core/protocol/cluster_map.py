"""The cluster map: who holds which partition, and who leads it under which epoch.

The one configuration register of the cluster. It is a value: every change makes a new map with the next
number, which takes effect by a compare-and-set in the coordination service.
Source of the idea: Vertical Paxos (PODC 2009), PacificA (MSR-TR-2008-25).
"""

from dataclasses import dataclass, field, replace
from enum import StrEnum

from ringkeep.core.protocol.types import Epoch, Incarnation, Index, MapVersion, NodeId, PartitionId


class NodeState(StrEnum):
    """A node's state in the map. Whether the node answers is known to the failure detector, not to the
    map."""

    JOINING = "joining"  # receives its share of replicas: it is new, or its weight has grown
    ACTIVE = "active"
    DRAINING = "draining"  # leads nothing
    LEAVING = "leaving"  # its replicas move to other nodes; then it leaves
    DEAD = "dead"  # was given up; the same node id never returns


@dataclass(frozen=True, slots=True)
class NodeInfo:
    """A node as the map knows it. Addresses are "HOST:PORT". `incarnation` is the highest ever seen."""

    id: NodeId
    name: str
    http: str
    peer: str
    zone: str
    weight: int
    incarnation: Incarnation
    state: NodeState = NodeState.ACTIVE


@dataclass(frozen=True, slots=True)
class Partition:
    """Placement and primaryship of one partition.

    `voters` in preference order, the first being the preferred primary. `old_voters` is empty unless a joint
    change is under way. `config` is the number of the map that last changed the replicas. `base`: no entry up
    to this index is ever appended again; a recovery after a loss raises it above all indices that were used.
    """

    epoch: Epoch
    primary: NodeId
    incarnation: Incarnation
    voters: tuple[NodeId, ...]
    config: MapVersion
    old_voters: tuple[NodeId, ...] = ()
    learner: NodeId | None = None
    replaces: NodeId | None = None
    base: Index = Index(0)

    @property
    def replicas(self) -> tuple[NodeId, ...]:
        """Every node that holds a copy: voters, voters being left, learner; each once."""
        found = dict.fromkeys(self.voters + self.old_voters)
        if self.learner is not None:
            found[self.learner] = None
        return tuple(found)


@dataclass(frozen=True, slots=True)
class ClusterMap:
    """The whole map. `partitions[p]` is partition p; their number Q never changes."""

    version: MapVersion
    cluster: str
    cluster_id: str
    replication: int
    nodes: tuple[NodeInfo, ...]
    partitions: tuple[Partition, ...]
    settings: dict[str, int] = field(default_factory=dict)
    format: int = 1

    def node(self, node_id: NodeId) -> NodeInfo | None:
        """Return the node of that id, or None. Cost: linear in the number of nodes."""
        return next((node for node in self.nodes if node.id == node_id), None)

    def next(self, **changes: object) -> "ClusterMap":
        """Return a map with these fields changed and the next number."""
        return replace(self, version=MapVersion(self.version + 1), **changes)  # type: ignore[arg-type]  # replace is untyped


@dataclass(frozen=True, slots=True)
class Member:
    """One live process, as it announces itself in the coordination service.

    `sequence` is the number that the service gave to the registration; the member with the lowest is the
    controller. `cluster_id` is "" for a directory that belongs to no cluster yet. `feature_level`: the newest
    that its software speaks (`core.cluster.feature_level`).
    """

    id: NodeId
    name: str
    http: str
    peer: str
    zone: str
    weight: int
    expect: int
    replication: int
    partitions: int
    incarnation: Incarnation
    map_version: MapVersion
    cluster_id: str = ""
    software: str = ""
    protocol: int = 1
    sequence: int = 0
    feature_level: int = 1


def partitions_of(cluster_map: ClusterMap, node: NodeId) -> list[PartitionId]:
    """Return the partitions that `node` holds a replica of, ascending."""
    return [PartitionId(p) for p, part in enumerate(cluster_map.partitions) if node in part.replicas]
