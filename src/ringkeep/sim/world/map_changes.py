"""The differences between two cluster maps: for the counters, and for people."""

from collections import Counter
from collections.abc import Iterator

from ringkeep.core.cluster.feature_level import feature_level
from ringkeep.core.protocol.cluster_map import ClusterMap, NodeState, Partition


def rare_steps(before: ClusterMap, after: ClusterMap) -> Counter[str]:
    """Count the steps of changes that not every run takes."""
    gone = [node for node in before.nodes if after.node(node.id) is None]
    found = Counter(
        dead_forgotten=sum(node.state == NodeState.DEAD for node in gone),
        feature_level_raised=int(feature_level(after) > feature_level(before)),
    )
    for old, new in zip(before.partitions, after.partitions, strict=True):
        if old.old_voters and new.epoch != old.epoch:
            found["joint_failover"] += 1
        elif old.old_voters and not new.old_voters and set(new.voters) == set(old.old_voters):
            found["joint_rolled_back"] += 1
        elif old.learner is not None and new.learner is None and not new.old_voters:
            found["learner_given_up"] += 1
    return found


def lines_of(before: ClusterMap | None, after: ClusterMap) -> Iterator[str]:
    """Yield a line for each difference of a map to the one before."""
    for node in before.nodes if before is not None else ():
        if after.node(node.id) is None:
            yield f"{node.name} is named no more"
    states = {node.id: node.state for node in before.nodes} if before is not None else {}
    for node in after.nodes:
        if states.get(node.id) != node.state:
            yield f"{node.name} is {node.state}"
    if before is not None and feature_level(after) != feature_level(before):
        yield f"feature level {feature_level(after)}"
    for number, part in enumerate(after.partitions):
        old = before.partitions[number] if before is not None else None
        if part != old:
            yield f"partition {number}: {_replicas(old, part, after)}"


def _replicas(before: Partition | None, part: Partition, within: ClusterMap) -> str:
    names = {node.id: node.name for node in within.nodes}
    voters = " ".join(names[node] for node in part.voters)
    text = f"epoch {part.epoch} of {names[part.primary]}, voters {voters}"
    if part.old_voters:
        text += f" and {' '.join(names[node] for node in part.old_voters)}"
    if part.learner is not None:
        text += f", learner {names[part.learner]}"
    if before is not None and part.base != before.base:
        text += f", recovered, goes on above {part.base}"
    return text
