"""Majorities, plain and joint: the only place where votes are counted.

While a change of replicas is under way (`old` not empty), both the old and the new voters must agree.
Source: joint consensus, Ongaro's dissertation (2014), section 4.3.
"""

from collections.abc import Collection, Mapping, Sequence

from ringkeep.core.protocol.types import Index, NodeId


def majority(count: int) -> int:
    """Return how many of `count` voters make a majority."""
    return count // 2 + 1


def won(voters: Sequence[NodeId], old: Sequence[NodeId], yes: Collection[NodeId]) -> bool:
    """Tell whether the nodes in `yes` are a majority of the voters, and of the old ones while joint."""
    return _is_majority(voters, yes) and (not old or _is_majority(old, yes))


def lost(voters: Sequence[NodeId], old: Sequence[NodeId], no: Collection[NodeId]) -> bool:
    """Tell whether, with these nodes against it, no majority is possible any more."""
    return not won(voters, old, [node for node in (*voters, *old) if node not in no])


def committed(voters: Sequence[NodeId], old: Sequence[NodeId], match: Mapping[NodeId, Index]) -> Index:
    """Return the highest index that a majority (both, while joint) holds durably; absent voters
    hold nothing."""
    reached = _held_by_majority(voters, match)
    return min(reached, _held_by_majority(old, match)) if old else reached


def _is_majority(voters: Sequence[NodeId], yes: Collection[NodeId]) -> bool:
    return sum(voter in yes for voter in voters) >= majority(len(voters))


def _held_by_majority(voters: Sequence[NodeId], match: Mapping[NodeId, Index]) -> Index:
    held = sorted([match.get(voter, Index(0)) for voter in voters], reverse=True)
    return held[majority(len(voters)) - 1]
