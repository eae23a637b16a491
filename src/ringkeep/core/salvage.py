"""A partition whose majority is gone for good goes on with what is left, because an operator says so.

The one step that may lose acknowledged writes: those that only the gone nodes held. So it is taken on an
order alone, never by itself, and only where no majority answers. The gone nodes are given up in the same
map: if one comes back, what it has is set aside, and nothing is merged.
"""

from dataclasses import replace

from ringkeep.core import quorum
from ringkeep.core.changes import holds_data
from ringkeep.core.clustermap import ClusterMap, NodeState, Partition
from ringkeep.core.seen import Hearing
from ringkeep.core.types import Epoch, MapVersion, NodeId


def voters_of(part: Partition) -> tuple[NodeId, ...]:
    """Return every voter of a partition, old and new, each once."""
    return tuple(dict.fromkeys(part.voters + part.old_voters))


def left_of(part: Partition, hearing: Hearing) -> tuple[NodeId, ...]:
    """Return the voters that answer, and lost nothing."""
    return tuple(node for node in voters_of(part) if hearing.votes(node))


def is_lost(part: Partition, hearing: Hearing) -> bool:
    """Tell whether no majority of a partition's voters answers."""
    return not quorum.won(part.voters, part.old_voters, left_of(part, hearing))


def partition_of(now: ClusterMap, subject: str) -> Partition | None:
    """Return the partition of that number, as an order names it; None if there is none."""
    known = subject.isascii() and subject.isdecimal() and int(subject) < len(now.partitions)
    return now.partitions[int(subject)] if known else None


def objection(now: ClusterMap, subject: str, hearing: Hearing) -> str:
    """Say why a partition must not be salvaged; "" if it may: no majority, and nobody hears one either."""
    part = partition_of(now, subject)
    if part is None:
        return f"there is no partition {subject}: they are 0 to {len(now.partitions) - 1}"
    if not is_lost(part, hearing):
        return f"partition {subject} has a majority of its replicas, and needs no recovery"
    for silent in map(now.node, voters_of(part)):
        if silent is None or silent.state == NodeState.DEAD or hearing.answers(silent.id):
            continue  # nobody watches the dead
        listener = next((other.name for other in now.nodes if hearing.hears(other.id, silent.id)), None)
        if listener is not None:
            return (
                f"{silent.name} still answers to {listener}, and may have all of partition {subject}:"
                " mend the network, or stop it first"
            )
        if silent.id in hearing.registered:
            return (
                f"{silent.name} is still registered in ZooKeeper: it lives and cannot be reached, or it died"
                " just now. Mend the network, or try again in some seconds"
            )
    return ""


def salvaged(now: ClusterMap, number: int, hearing: Hearing) -> ClusterMap:
    """Return the map in which a partition has only those voters that answer, under the next epoch.

    With none left it begins empty on a node that answers. The others' votes are void: they are dead.
    """
    part = now.partitions[number]
    left = left_of(part, hearing)
    gone = [node for node in voters_of(part) if node not in left]
    nodes = tuple(replace(n, state=NodeState.DEAD) if n.id in gone else n for n in now.nodes)
    if not left:
        left = tuple(n.id for n in nodes if holds_data(n.state) and hearing.votes(n.id))[:1]
    if not left:
        return now
    incarnations = {node.id: node.incarnation for node in nodes}
    parts = list(now.partitions)
    parts[number] = Partition(
        Epoch(part.epoch + 1), left[0], incarnations[left[0]], left, MapVersion(now.version + 1)
    )
    return replace(now, nodes=nodes, partitions=tuple(parts))
