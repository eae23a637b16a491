"""The documents that a node returns about itself and the cluster, as `docs/http.md` describes them.

Reads the core, changes nothing.
"""

from collections.abc import Callable, Collection, Mapping
from typing import Any

from ringkeep.core.cluster import cluster_settings
from ringkeep.core.cluster.slots import partition_of, slot_of
from ringkeep.core.node import Node
from ringkeep.core.protocol import limits
from ringkeep.core.protocol.cluster_map import ClusterMap, NodeInfo, NodeState
from ringkeep.core.protocol.types import Millis, NodeId, PartitionId
from ringkeep.server.health import Sentences, coordination_of
from ringkeep.status.cluster_health import Health, Judge, Reason, health_of


class Views:
    """The status of a cluster, as one of its nodes sees it.

    Endless retries have a last cause: `zookeeper_trouble` returns why ZooKeeper cannot be used ("" if it
    can), `peer_troubles` why there is no link to a peer. `alone`: there is no ZooKeeper, and no other node.
    """

    def __init__(
        self,
        node: Node,
        software: str,
        zookeeper_trouble: Callable[[], str],
        peer_troubles: Callable[[], Mapping[NodeId, str]],
        now: Callable[[], Millis],
        alone: bool = False,
    ) -> None:
        self._node = node
        self._judge = Judge(node)
        self._software = software
        self._zookeeper_trouble = zookeeper_trouble
        self._peer_troubles = peer_troubles
        self._now = now
        self.alone = alone
        self._names: dict[NodeId, str] = {}
        self._named: ClusterMap | None = None

    def name_of(self, node: str) -> str:
        """Return a node's name by its id."""
        cluster_map = self._node.context.cluster_map
        if cluster_map is not self._named and cluster_map is not None:
            self._named = cluster_map
            self._names |= {each.id: each.name for each in cluster_map.nodes}  # those of departed nodes stay
        return self._names.get(NodeId(node), node)

    def cluster(self) -> dict[str, Any]:
        """Return `GET /v1/cluster`."""
        node = self._node
        cluster_map, controller = node.context.cluster_map, node.controller
        acting = controller.acting()
        names = {m.id: m.name for m in controller.members}
        health, reasons = self.health()
        without = self._without_zookeeper()
        sentences = Sentences(
            self.name_of, cluster_map, controller, without, self._peer_troubles(), self.alone
        )
        members = (
            [self.member(each) for each in cluster_map.nodes] if cluster_map is not None else self._forming()
        )
        return {
            "cluster": cluster_map.cluster if cluster_map is not None else None,
            "cluster_id": cluster_map.cluster_id if cluster_map is not None else None,
            "map_version": cluster_map.version if cluster_map is not None else 0,
            "controller": names.get(acting) if acting is not None else None,
            "health": health.value,
            "problems": [sentences.say(reason) for reason in reasons],
            "missing": [sentences.fields(reason) for reason in reasons],
            "coordination": "embedded" if self.alone else "zookeeper",
            "zookeeper": None if self.alone else "disconnected" if without else "connected",
            "settings": settings(cluster_map),
            "alarm": controller.frozen or None,
            "members": members,
        }

    def member(self, each: NodeInfo) -> dict[str, Any]:
        """Return a node of the map as `cluster` shows it."""
        cluster_map = self._node.context.cluster_map
        assert cluster_map is not None
        return {
            "name": each.name,
            "id": each.id,
            "http": each.http,
            "peer": each.peer or None,
            "zone": each.zone,
            "weight": each.weight,
            "state": self._state_of(each),
            "damaged": self._node.controller.reachability.damaged(each.id),
            "disk": self._node.context.disks.state_of(each.id).name.lower(),
            "disk_full": self._node.controller.is_full(each.id),
            "primaries": sum(part.primary == each.id for part in cluster_map.partitions),
            "replicas": sum(each.id in part.replicas for part in cluster_map.partitions),
            "version": self._version_of(each.id),
        }

    def _forming(self) -> list[dict[str, Any]]:
        return [
            {
                "name": m.name, "id": m.id, "http": m.http, "peer": m.peer or None, "zone": m.zone,
                "weight": m.weight, "state": "joining", "damaged": False, "disk": "fine",
                "disk_full": False, "primaries": 0, "replicas": 0,
                "version": m.software,
            }
            for m in self._node.controller.members
        ]  # fmt: skip

    def _state_of(self, each: NodeInfo) -> str:
        if each.state != NodeState.ACTIVE:
            return each.state.value
        if each.id == self._node.context.me:
            return "draining" if self._node.context.draining else "active"
        if self._node.relay.silent(each.id):
            registered = any(m.id == each.id for m in self._node.controller.members)
            return "suspect" if registered else "dead"
        beat = self._node.relay.beat_of(each.id)
        return "draining" if beat is not None and beat.draining else "active"

    def _version_of(self, node: NodeId) -> str | None:
        if node == self._node.context.me:
            return self._software
        return next((m.software for m in self._node.controller.members if m.id == node), None)

    def health(self) -> tuple[Health, list[Reason]]:
        """Return the cluster's health, and what keeps it from being better."""
        reasons = self._judge.reasons(not self._without_zookeeper(), self._now())
        return health_of(reasons), reasons

    def states(self) -> dict[str, int]:
        """Return how many partitions are in which state."""
        cluster_map = self._node.context.cluster_map
        counts = dict.fromkeys(("active", "preparing", "no-quorum"), 0)
        if cluster_map is not None:
            lost = frozenset(self._judge.lost(cluster_map))
            for number in range(len(cluster_map.partitions)):
                counts[self._state(number, lost)] += 1
        return counts

    def _state(self, number: int, lost: Collection[int]) -> str:
        """Return a partition's state: as its primary reports it, else by which voters answer."""
        if self._node.reports.serving >> number & 1:
            return "active"
        return "no-quorum" if number in lost else "preparing"

    def partitions(self) -> dict[str, Any]:
        """Return `GET /v1/cluster/partitions`.

        `commit` is null for partitions of which no replica is here.
        """
        cluster_map = self._node.context.cluster_map
        lost = frozenset(self._judge.lost(cluster_map)) if cluster_map is not None else frozenset()
        rows = []
        for number, part in enumerate(cluster_map.partitions if cluster_map is not None else ()):
            replica = self._node.replicas.get(PartitionId(number))
            rows.append({
                "partition": number,
                "epoch": part.epoch,
                "primary": self.name_of(part.primary),
                "voters": [self.name_of(node) for node in part.voters],
                "old_voters": [self.name_of(node) for node in part.old_voters],
                "learners": [self.name_of(part.learner)] if part.learner is not None else [],
                "commit": replica.commit if replica is not None else None,
                "state": self._state(number, lost),
            })  # fmt: skip
        return {"partitions": rows}

    def where(self, key: bytes) -> dict[str, Any]:
        """Return slot, partition, primary and replicas of a key."""
        cluster_map = self._node.context.cluster_map
        if cluster_map is None:
            return {"slot": slot_of(key), "partition": None, "primary": None, "replicas": []}
        number = partition_of(key, len(cluster_map.partitions))
        part = cluster_map.partitions[number]
        return {
            "slot": slot_of(key),
            "partition": number,
            "primary": self.name_of(part.primary),
            "replicas": [self.name_of(node) for node in part.replicas],
        }

    def waiting_for(self, expect: int) -> list[str]:
        """Return what this node waits for before it is ready, and the obstacles; empty when it is ready."""
        node = self._node
        if node.context.cluster_map is None:
            without = self._without_zookeeper()
            waits = (
                []
                if without and not node.controller.members
                else [node.controller.barrier_stands_for(expect)]
            )
        elif not node.context.recognised:
            waits = ["the cluster map to name this start of the node"]
        elif not node.context.disks.own.answers:
            waits = ["the disk, which has not answered for seconds; other nodes lead meanwhile"]
        elif behind := node.replica_set.behind:
            waits = [f"{len(behind)} of {len(node.replicas)} partitions to catch up (among them {behind[0]})"]
        elif (late := self._now() - node.context.now) > limits.SUSPECT_AFTER_MS:
            waits = [f"its own store, which has accepted no writes for {late / 1_000:.1f} s"]
        elif not node.reports.reach.good:
            waits = [self._cut_off()]
        else:
            return []
        return waits + self._obstacles()

    def _cut_off(self) -> str:
        """Return why requests to this node could not be served."""
        if self.alone:
            return "most of its partitions to be led"
        silent = ", ".join(sorted(map(self.name_of, self._node.detector.suspected())))
        why = f"no answer from {silent}" if silent else "hardly any partition has an active primary"
        return f"the other nodes: {why}, so most requests to this node could not be served"

    def _obstacles(self) -> list[str]:
        """Return what keeps failing and is retried, each with its last cause."""
        names = {member.id: member.name for member in self._node.controller.members}
        peers = sorted(
            f"{names.get(peer) or self.name_of(peer)} cannot be reached ({cause})"
            for peer, cause in self._peer_troubles().items()
        )
        return [said for said in (self._node.controller.frozen, self._without_zookeeper(), *peers) if said]

    def _without_zookeeper(self) -> str:
        """Return why this node cannot use ZooKeeper, "" if it can."""
        trouble = self._zookeeper_trouble()
        if not trouble and self._node.controller.connected:
            return ""
        return f"{coordination_of(self.alone)} cannot be used from here ({trouble or 'no answer yet'})"


def settings(cluster_map: ClusterMap | None) -> dict[str, int]:
    """Return the settings of the cluster, the number of partitions among them, which never changes."""
    return (
        {}
        if cluster_map is None
        else {"partitions": len(cluster_map.partitions)} | cluster_settings.all_settings(cluster_map)
    )
