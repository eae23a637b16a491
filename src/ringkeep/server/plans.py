"""Dry runs of a join or a leave: which replicas would move, computed as the controller does it.

`to_send`: bytes that must be sent to a newcomer, by partition, as far as known.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from hashlib import blake2b
from typing import Any

from ringkeep.core.cluster.replica_changes import Voters, intended, targets
from ringkeep.core.node import Node
from ringkeep.core.protocol.cluster_map import ClusterMap, NodeInfo, NodeState
from ringkeep.core.protocol.types import Incarnation, NodeId, PartitionId
from ringkeep.errors import Unavailable


def join(
    current: ClusterMap, name: str, zone: str, weight: int, node: Node, to_send: Mapping[PartitionId, int]
) -> dict[str, Any]:
    """Return what a new node would receive.

    Its position on the ring depends on its future id: only the number of its partitions can be computed.
    """
    made_up = NodeId(blake2b(name.encode(), digest_size=16).hexdigest())
    newcomer = NodeInfo(made_up, name, "", "", zone, weight, Incarnation(0), NodeState.JOINING)
    return _plan("join", name, current, replace(current, nodes=(*current.nodes, newcomer)), node, to_send)


def leave(
    current: ClusterMap, leaver: NodeInfo, node: Node, to_send: Mapping[PartitionId, int]
) -> dict[str, Any]:
    """Return what would be moved off a node."""
    gone = replace(leaver, state=NodeState.LEAVING)
    after = replace(current, nodes=tuple(gone if each is leaver else each for each in current.nodes))
    return _plan("leave", leaver.name, current, after, node, to_send)


def _plan(
    action: str,
    name: str,
    current: ClusterMap,
    planned: ClusterMap,
    node: Node,
    to_send: Mapping[PartitionId, int],
) -> dict[str, Any]:
    damaged = node.controller.reachability.damaged
    before = [intended(part, current.replication) for part in current.partitions]
    after = targets(planned, damaged)
    moved = [
        (PartitionId(number), newcomer)
        for number, (old, new) in enumerate(zip(before, after, strict=True))
        for newcomer in new
        if newcomer not in old
    ]
    if missing := [number for number, _ in moved if number not in to_send]:
        raise Unavailable(
            f"the primaries of {len(missing)} partitions (among them {missing[0]}) have not reported their"
            " size yet; nothing was changed: try again in a second"
        )
    subject = next(each.id for each in planned.nodes if each.name == name)
    theirs = sum(subject in voters for voters in (before if action == "leave" else after))
    held, holds, led, leads = _held(before), _held(after), _led(before), _led(after)
    return {
        "action": action,
        "node": name,
        "replicas": len(moved),
        "bytes": sum(to_send[number] for number, _ in moved),
        "minimum": theirs,
        "members": [
            {
                "name": each.name, "replicas": held[each.id], "after": holds[each.id],
                "primaries": led[each.id], "primaries_after": leads[each.id],
            }
            for each in planned.nodes
            if each.state != NodeState.DEAD
        ],
    }  # fmt: skip


def _held(placement: Sequence[Voters]) -> Counter[NodeId]:
    return Counter(node for voters in placement for node in voters)


def _led(placement: Sequence[Voters]) -> Counter[NodeId]:
    return Counter(voters[0] for voters in placement if voters)
