"""The operators' requests to a node: moves, plans and orders, as `http.service` describes them.

An order is checked here, against what this node knows, so that it is refused at once and with a reason. The
controller checks it again, and decides.
"""

from base64 import b64encode
from collections.abc import Collection, Mapping, Sequence
from typing import Any, Final, Literal

from ringkeep.core.cluster import cluster_settings, quorum_loss
from ringkeep.core.cluster.observations import Reachability
from ringkeep.core.cluster.orders import Verb, lost_by
from ringkeep.core.node import Node
from ringkeep.core.protocol.cluster_map import ClusterMap, NodeInfo, NodeState
from ringkeep.core.protocol.messages import Order
from ringkeep.core.protocol.rows import promises_stored
from ringkeep.core.protocol.types import NodeId
from ringkeep.errors import NoSuchNode, Refusal, Unavailable
from ringkeep.server import plans
from ringkeep.server.moves import moves
from ringkeep.server.views import Views, settings
from ringkeep.status.move_history import MoveHistory

_HOLDS: Final = {
    "pause": cluster_settings.PAUSED,
    "resume": cluster_settings.RUNNING,
    "cancel": cluster_settings.CANCELLED,
}


class OperatorService:
    """The operators' side of one node."""

    def __init__(self, node: Node, history: MoveHistory, views: Views, name: str) -> None:
        self._node = node
        self._history = history
        self._views = views
        self._name = name

    def moves(self) -> dict[str, Any]:
        """Return `GET /v1/cluster/moves`."""
        return moves(self._node, self._history, self._views.name_of)

    def plan(self, action: Literal["join", "leave"], name: str, zone: str, weight: int) -> dict[str, Any]:
        """Return what a join or a leave would move. Raises NoSuchNode, Refusal, Unavailable."""
        cluster_map = self._map()
        if action == "leave":
            leaver = self._named(cluster_map, name)
            self._check((leaver.id, Verb.DECOMMISSION, 0))
            return plans.leave(cluster_map, leaver, self._node, self._history.to_send)
        if any(node.name == name and node.state != NodeState.DEAD for node in cluster_map.nodes):
            raise Refusal(f"there is already a node {name}; choose another name for the new node")
        return plans.join(cluster_map, name, zone or name, weight, self._node, self._history.to_send)

    def steer(self, verb: str, name: str, weight: int = 0) -> dict[str, Any]:
        """Accept an order about a node; return the member. Raises NoSuchNode, Refusal, Unavailable."""
        cluster_map = self._map(to_change=True)
        node = self._named(cluster_map, name)
        self._order((node.id, verb, weight))
        return self._views.member(node)

    def hold_moves(self, verb: Literal["pause", "resume", "cancel"]) -> dict[str, Any]:
        """Accept an order about all moves. Raises Unavailable."""
        self._map(to_change=True)
        self._order((cluster_settings.MOVES, Verb.SET, _HOLDS[verb]))
        return self.moves()

    def change_settings(self, wanted: Mapping[str, int]) -> dict[str, Any]:
        """Change settings, all or none of these. Raises Refusal, Unavailable."""
        cluster_map = self._map(to_change=True)
        for name, value in wanted.items():
            if name not in cluster_settings.all_settings(cluster_map):
                raise Refusal(cluster_settings.objection(name, value))
        if self._views.alone and wanted.get(cluster_settings.REPLICATION, 1) != 1:
            raise Refusal("this node is alone, and will be: there is no other one to hold a second copy")
        self._order(*((name, Verb.SET, value) for name, value in wanted.items()))
        return settings(cluster_map) | dict(wanted)

    def recover_partitions(self, partitions: Sequence[int], lost: Sequence[str]) -> dict[str, Any]:
        """Order that partitions continue with their best copies. Raises NoSuchNode, Refusal, Unavailable."""
        cluster_map, reachability = self._map(to_change=True), self._node.controller.reachability
        numbers = list(partitions) or [
            number
            for number, part in enumerate(cluster_map.partitions)
            if quorum_loss.is_lost(part, reachability)
        ]
        if not numbers:
            raise Refusal(
                "every partition has a majority of its replicas: nothing to recover, and nothing was changed"
            )
        named = [self._named(cluster_map, name) for name in lost]
        epochs = {number: part.epoch for number, part in enumerate(cluster_map.partitions)}
        self._order(
            *((node.id, Verb.LOST, 0) for node in named if node.state != NodeState.DEAD),
            *((str(number), Verb.RECOVER, epochs.get(number, 0)) for number in numbers),
        )
        return {"partitions": [self._recovered(cluster_map, number, reachability) for number in numbers]}

    def _recovered(self, cluster_map: ClusterMap, number: int, reachability: Reachability) -> dict[str, Any]:
        """Return how a partition will be recovered, as far as this node knows."""
        name, left = self._views.name_of, quorum_loss.copies_of(cluster_map, number, reachability)
        home = quorum_loss.home_of(cluster_map, number, reachability)
        voters = quorum_loss.voters_of(cluster_map.partitions[number])
        return {
            "partition": number,
            "gone": [name(node) for node in voters if not reachability.answers(node)],
            "left": [name(node) for node in left],
            "goes_on_with": name(home) if home is not None else None,
            "begins_empty": not left,
        }

    def map_copy(self) -> dict[str, Any]:
        """Return this node's copy of the map, and its promises."""
        context = self._node.context
        cluster_map, payload = context.cluster_map, self._node.map_payload
        return {
            "name": self._name,
            "id": context.me,
            "cluster": cluster_map.cluster if cluster_map is not None else None,
            "cluster_id": cluster_map.cluster_id if cluster_map is not None else None,
            "map_version": cluster_map.version if cluster_map is not None else 0,
            "map": b64encode(payload).decode() if payload else None,
            "promised": [[partition, said.epoch] for partition, said in promises_stored(context.reader)],
        }

    # --- checks ---------------------------------------------------------------------------------------

    def _map(self, to_change: bool = False) -> ClusterMap:
        """Return the map. Raises Unavailable if there is none, or if it cannot be changed just now."""
        cluster_map, controller = self._node.context.cluster_map, self._node.controller
        if cluster_map is None:
            raise Unavailable("the cluster is not formed yet; nothing was changed")
        if to_change and controller.frozen:
            raise Unavailable(f"{controller.frozen}. Nothing was changed")
        if to_change and controller.addressee() is None:
            raise Unavailable(
                "no node that this one can reach is connected to ZooKeeper, and changes of the cluster need"
                " it. Data is served meanwhile; nothing was changed: try again when ZooKeeper is back"
            )
        return cluster_map

    def _named(self, cluster_map: ClusterMap, name: str) -> NodeInfo:
        node = next((node for node in cluster_map.nodes if node.name == name), None)
        if node is None:
            names = ", ".join(sorted(node.name for node in cluster_map.nodes))
            raise NoSuchNode(f"there is no node {name} in the cluster; its nodes are: {names}")
        return node

    def _check(self, order: Order, lost: Collection[NodeId] = ()) -> None:
        reason = self._node.controller.objection(order, lost)
        if reason:
            raise Refusal(reason)

    def _order(self, *orders: Order) -> None:
        """Accept all of these orders, or none. Raises Refusal."""
        lost = lost_by(orders)
        for order in orders:
            self._check(order, lost)
        for order in orders:
            self._node.controller.order(order)
