"""Tracks which voters of a partition are in sync, at its primary.

A voter is in sync if it answers, and holds durably what was committed SYNC_MS ago, so that entries in flight
do not count as lag. For people and scripts; safety does not depend on it.
"""

from collections.abc import Collection, Sequence

from ringkeep.core.protocol import limits
from ringkeep.core.protocol.types import Index, Millis, NodeId
from ringkeep.core.replication.peer_progress import PeerProgress


class InSync:
    """One primary's view of its voters.

    `_mark` is the commit index of at least SYNC_MS ago; `_next_mark` replaces it. `_seen`: when a
    voter was last found in sync.
    """

    __slots__ = ("_began", "_mark", "_marked_at", "_next_mark", "_seen")

    def __init__(self) -> None:
        self._began: Millis = -1
        self._marked_at: Millis = 0
        self._mark = self._next_mark = Index(0)
        self._seen: dict[NodeId, Millis] = {}

    def lagging(
        self, voters: Sequence[NodeId], answering: Collection[NodeId], progress: PeerProgress, commit: Index,
        now: Millis,
    ) -> list[NodeId] | None:  # fmt: skip
        """Return the voters that are not in sync; None as long as it is too early to tell.

        `answering`: this node, and the peers that hear it and are heard. Call while the primary is ACTIVE.
        A voter that answers is lagging once it was not in sync for SYNC_MS: its position may just have been
        asked for again.
        """
        if self._began < 0:
            self._began = self._marked_at = now
            self._mark = self._next_mark = commit  # with the first entry of the epoch
        elif now - self._marked_at >= limits.SYNC_MS:
            self._mark, self._next_mark, self._marked_at = self._next_mark, commit, now
        match, mark, seen = progress.match, self._mark, self._seen
        found: list[NodeId] = []
        early = False
        for voter in voters:
            if voter not in answering:
                found.append(voter)
            elif match.get(voter, 0) >= mark and progress.is_known(voter):
                seen[voter] = now
            elif now - seen.get(voter, self._began) >= limits.SYNC_MS:
                found.append(voter)
            elif voter not in seen:
                early = True
        return None if early else found
