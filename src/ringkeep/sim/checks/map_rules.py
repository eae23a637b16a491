"""Which cluster map may follow which: one step at a time, and no step in which two majorities could disagree.

The controller makes only such maps. Nodes do not check that; the simulator and the model do. The rules do not
depend on which nodes are alive, or on why a map changes. Source: joint consensus, Ongaro's dissertation
(2014), section 4.3, with the voters in an outside register.
"""

from ringkeep.core.protocol import limits
from ringkeep.core.protocol.cluster_map import ClusterMap, Partition
from ringkeep.core.protocol.types import MapVersion


def illegal(old: ClusterMap, new: ClusterMap) -> str:
    """Return why `new` must not follow `old`; "" if it may. Cost: linear in nodes and partitions."""
    if new.version != old.version + 1:
        return f"map {new.version} follows map {old.version}"
    if (new.cluster, new.cluster_id, new.format) != (old.cluster, old.cluster_id, old.format):
        return "a map of another cluster, or format"
    if len(new.partitions) != len(old.partitions):
        return "the number of partitions never changes"
    ids = {node.id for node in new.nodes}
    if len(ids) < len(new.nodes) or len({node.name for node in new.nodes}) < len(new.nodes):
        return "two nodes share an id or a name"
    known = {node.id: node for node in old.nodes}
    for node in new.nodes:
        if node.id in known and node.incarnation < known[node.id].incarnation:
            return f"the incarnation of {node.name} falls"
    for number, (before, after) in enumerate(zip(old.partitions, new.partitions, strict=True)):
        if after is before:
            continue
        strangers = [node for node in (after.primary, *after.replicas) if node not in ids]
        reason = f"a replica on {strangers[0]}, which the map does not name" if strangers else ""
        reason = reason or _well_formed(after)
        if after.base != before.base:
            reason = reason or _recovery(before, after, new.version)
        else:
            reason = reason or _epoch(before, after) or _step(before, after, new.version)
        if reason:
            return f"partition {number}: {reason}"
    held = {node for part in new.partitions for node in part.replicas}
    if not held <= ids:
        return "a node that holds replicas is removed"
    return ""


def _well_formed(part: Partition) -> str:
    if not part.voters or any(len(set(some)) < len(some) for some in (part.voters, part.old_voters)):
        return "no voters, or one of them twice"
    if part.primary not in part.voters or (part.old_voters and part.primary not in part.old_voters):
        return "the primary is not among the voters, old and new"
    if part.learner is not None and (part.learner in part.voters or part.old_voters):
        return "a learner that votes already, or beside a joint change"
    if part.replaces is not None and (part.learner is None or part.replaces not in part.voters):
        return "a learner replaces a voter, and nothing else is replaced"
    return ""


def _recovery(before: Partition, after: Partition, version: MapVersion) -> str:
    """Check a recovery after a loss: one copy continues, above all promises."""
    if after.base % limits.RECOVERY_STEP or after.base < before.base:
        return f"the indices go on above {after.base}, where they may have been given out"
    if after.epoch <= before.epoch or after.config != version:
        return "a recovery under an epoch or a config that was there before"
    alone = after.voters == (after.primary,) and not after.old_voters and after.learner is None
    return "" if alone else "a recovery with more than one copy"


def _epoch(before: Partition, after: Partition) -> str:
    if after.epoch not in (before.epoch, before.epoch + 1):
        return f"epoch {before.epoch} is followed by {after.epoch}"
    holder = (after.primary, after.incarnation)
    if after.epoch == before.epoch and holder != (before.primary, before.incarnation):
        return f"epoch {after.epoch} has two holders"
    return ""


def _step(before: Partition, after: Partition, version: MapVersion) -> str:
    """Check that the replicas change by one legal step; the order of voters is free."""
    if _same_replicas(before, after):
        return "" if after.config == before.config else "a new config without a change of replicas"
    if after.config != version:
        return "a change of replicas under an older config"
    if after.epoch != before.epoch:
        return "replicas and epoch change in one step"
    old, new = set(before.voters), set(after.voters)
    if before.old_voters:
        back = new == set(before.old_voters)
        done = not after.old_voters and after.learner is None and (back or new == old)
        return "" if done else "a joint change ends in the new voters or in the old ones"
    if not after.old_voters:
        return "" if new == old else "voters change without a joint step"
    if set(after.old_voters) != old or after.learner is not None:
        return "a joint change starts from the present voters"
    if before.learner is not None:
        wanted = (old - {before.replaces}) | {before.learner}
        return "" if new == wanted else "a joint change to others than the learner was meant for"
    return "" if new < old and len(old - new) == 1 else "a voter that was no learner"


def _same_replicas(before: Partition, after: Partition) -> bool:
    return (
        set(before.voters) == set(after.voters)
        and set(before.old_voters) == set(after.old_voters)
        and (before.learner, before.replaces) == (after.learner, after.replaces)
    )
