"""A partition whose majority is gone for good goes on with the best copy left, on an operator's order.

The one step that may lose acknowledged writes: those that only the lost nodes held. So it is taken on an
order alone, never by itself, only where no majority answers, and only once every node of the map either says
what it holds or is named as lost: silence is no proof, since a silent node may serve on the other side of a
broken network. The lost nodes are given up in the same map: if one comes back, what it has is set aside, and
nothing is merged.

Of all copies the one with the greatest (last epoch, last index) goes on, whatever part its node had. It holds
every committed entry that any of the others holds: whoever took office under an epoch had adopted all that
was committed before, and of two logs that end in one epoch the longer one contains the other.

What only the lost nodes knew of must not be mistaken for what comes after: the epoch is raised past every
promise, and the indices, which are the versions of keys, past all that can have been given out.
"""

from collections.abc import Collection, Sequence
from dataclasses import replace

from ringkeep.core.cluster.observations import Copy, Reachability
from ringkeep.core.cluster.replica_changes import holds_data
from ringkeep.core.protocol import limits, quorum
from ringkeep.core.protocol.cluster_map import ClusterMap, NodeInfo, NodeState, Partition
from ringkeep.core.protocol.types import Epoch, Index, MapVersion, NodeId


def voters_of(part: Partition) -> tuple[NodeId, ...]:
    """Return every voter of a partition, old and new, each once."""
    return tuple(dict.fromkeys(part.voters + part.old_voters))


def left_of(part: Partition, reachability: Reachability) -> tuple[NodeId, ...]:
    """Return the voters that answer, and lost nothing."""
    return tuple(node for node in voters_of(part) if reachability.votes(node))


def is_lost(part: Partition, reachability: Reachability) -> bool:
    """Tell whether no majority of a partition's voters answers."""
    return not quorum.won(part.voters, part.old_voters, left_of(part, reachability))


def partition_of(now: ClusterMap, subject: str) -> Partition | None:
    """Return the partition of that number, as an order names it; None if there is none."""
    known = subject.isascii() and subject.isdecimal() and int(subject) < len(now.partitions)
    return now.partitions[int(subject)] if known else None


# --- what is left ------------------------------------------------------------------------------------


def copies_of(now: ClusterMap, number: int, reachability: Reachability) -> tuple[NodeId, ...]:
    """Return the nodes that answer and hold a copy of a partition, the most advanced first.

    A damaged store's copy is a copy too, though it lost its end; of equal ones it comes last, and before it
    those that the map had given up already.
    """
    replicas = now.partitions[number].replicas
    found = [(node.id, copy) for node, copy in _said(now, number, reachability) if copy.last_index]

    def rank(each: tuple[NodeId, Copy]) -> tuple[int, int, bool, bool]:
        node, copy = each
        return -copy.last_epoch, -copy.last_index, reachability.damaged(node), node not in replicas

    return tuple(node for node, _ in sorted(found, key=rank))


def home_of(now: ClusterMap, number: int, reachability: Reachability) -> NodeId | None:
    """Return the node with which a partition goes on: the best copy's; without any copy, an empty one."""
    left = copies_of(now, number, reachability)
    empty = (n.id for n in now.nodes if holds_data(n.state) and reachability.votes(n.id))
    return left[0] if left else next(empty, None)


def _said(now: ClusterMap, number: int, reachability: Reachability) -> list[tuple[NodeInfo, Copy]]:
    """Return what the nodes that answer have said of a partition."""
    said = [
        (node, reachability.copy(node.id, number)) for node in _living(now) if reachability.answers(node.id)
    ]
    return [(node, copy) for node, copy in said if copy is not None]


def _living(now: ClusterMap) -> list[NodeInfo]:
    return [node for node in now.nodes if node.state != NodeState.DEAD]


# --- whether it may be done --------------------------------------------------------------------------


def objection(now: ClusterMap, subject: str, reachability: Reachability, lost: Collection[NodeId]) -> str:
    """Say why a partition must not be salvaged; "" if it may. `lost`: the nodes that were named as lost."""
    part = partition_of(now, subject)
    if part is None:
        return f"there is no partition {subject}: they are 0 to {len(now.partitions) - 1}"
    if not is_lost(part, reachability):
        return f"partition {subject} has a majority of its replicas, and needs no recovery"
    silent = [node for node in _living(now) if not reachability.answers(node.id)]
    alive = next(filter(None, (sign_of_life(now, node, reachability) for node in silent)), "")
    if alive:
        return f"{alive} It may have all of partition {subject}"
    unnamed = [node.name for node in silent if node.id not in lost]
    if unnamed:
        return _name_them(unnamed)
    waits = [
        n.name
        for n in _living(now)
        if reachability.answers(n.id) and reachability.copy(n.id, int(subject)) is None
    ]
    if waits:
        return (
            f"{waits[0]} has not said yet what it holds of partition {subject}, and it may be the best copy:"
            " try again in some seconds, and mend the network if they hear each other only through others"
        )
    if home_of(now, int(subject), reachability) is None:
        return f"no node is left that could hold partition {subject}: add one first"
    return ""


def sign_of_life(now: ClusterMap, silent: NodeInfo, reachability: Reachability) -> str:
    """Say how a node that does not answer here is known to live nevertheless; "" if it is not."""
    listener = next((other.name for other in now.nodes if reachability.hears(other.id, silent.id)), None)
    if listener is not None:
        return f"{silent.name} still answers to {listener}: mend the network, or stop it first."
    if silent.id in reachability.registered:
        return (
            f"{silent.name} is still registered in ZooKeeper: it is unreachable, or its session has not"
            " expired. Retry in some seconds, or mend the network."
        )
    return ""


def loss_objection(now: ClusterMap, node: NodeInfo, reachability: Reachability) -> str:
    """Say why a node must not be named as lost; "" if it may."""
    if reachability.answers(node.id):
        return f"{node.name} answers, and is not lost: leave it out, or stop it first"
    return sign_of_life(now, node, reachability)


def _name_them(names: Sequence[str]) -> str:
    listed = ", ".join(names)
    options = " ".join(f"--lost {name}" for name in names)
    return (
        f"silence is no proof of loss, and these nodes are silent: {listed}. If they live where this node"
        " cannot reach them, whatever they acknowledged would be lost. Start them, or mend the network, and"
        f" nothing is lost. Those that are gone for good must be named: {options}"
    )


# --- the map in which it is --------------------------------------------------------------------------


def salvaged(
    now: ClusterMap, number: int, reachability: Reachability, lost: Collection[NodeId]
) -> ClusterMap:
    """Return the map in which a partition goes on with its best copy alone, and the lost nodes are dead.

    Everybody else who holds a copy may delete it once this one serves: it holds all that they hold.
    """
    part, home = now.partitions[number], home_of(now, number, reachability)
    assert home is not None, "nobody to go on with was objected to"
    copies = [copy for _, copy in _said(now, number, reachability)]
    promised = max((copy.promised for copy in copies), default=Epoch(0))
    highest = max((copy.last_index for copy in copies), default=Index(0))
    step = limits.RECOVERY_STEP
    gone = [node for node in lost if not reachability.answers(node)]
    nodes = tuple(replace(n, state=NodeState.DEAD) if n.id in gone else n for n in now.nodes)
    incarnations = {node.id: node.incarnation for node in nodes}
    parts = list(now.partitions)
    parts[number] = Partition(
        Epoch(max(part.epoch, promised) + 1), home, incarnations[home], (home,), MapVersion(now.version + 1),
        base=Index(step * (1 + max(part.base, highest) // step)),
    )  # fmt: skip
    return replace(now, nodes=nodes, partitions=tuple(parts))
