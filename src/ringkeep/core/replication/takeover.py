"""Brings every committed entry to a new primary: promises of a majority, then the greatest log among them.

Committing took a majority, and so do the promises: the two share a voter, and among logs the greatest (last
epoch, last index) contains every committed entry of all of them.
Source: Raft (USENIX ATC 2014), section 5.4.1, with the log pulled by the winner instead of the vote refused.
"""

from collections.abc import Collection
from typing import Protocol

from ringkeep.core.context import Context
from ringkeep.core.protocol import limits
from ringkeep.core.protocol.messages import Entries, Fetch, Promise
from ringkeep.core.protocol.types import Epoch, Index, NodeId
from ringkeep.core.replication.peer_progress import PeerProgress
from ringkeep.core.replication.replica import Replica


class Candidate(Protocol):
    """What a takeover uses of the primary of a new epoch.

    `started`: the entry with which the epoch began; 0 before.
    """

    context: Context
    replica: Replica
    epoch: Epoch
    progress: PeerProgress
    started: Index

    def won(self, yes: Collection[NodeId]) -> bool:
        """Return whether these nodes form the majorities that are needed."""

    def on_fetching(self) -> None:
        """Another node has the greatest log: it is adopted first."""

    def begin(self) -> None:
        """Begin the epoch: the greatest log is here."""


class Takeover:
    """The promises that a primary was given, and the log that it adopts.

    `holder`: whose log is being fetched; None before there is a majority, and once all of it is here.
    """

    __slots__ = ("_primary", "holder", "promises")

    def __init__(self, primary: Candidate) -> None:
        self._primary = primary
        self.promises: dict[NodeId, Promise] = {}
        self.holder: NodeId | None = None

    def look(self) -> None:
        """With promises of a majority, including this node's, choose the greatest log, and fetch it unless it
        is this node's."""
        primary = self._primary
        if primary.context.me not in self.promises or not primary.won(self.promises):
            return
        log = primary.replica.log
        best = (log.last_epoch, log.last_index)
        for peer, promise in self.promises.items():
            if (promise.last_epoch, promise.last_index) > best:
                best, self.holder = (promise.last_epoch, promise.last_index), peer
        if self.holder is None:
            primary.begin()
            return
        primary.on_fetching()
        self.fetch()

    def keep_only(self, replicas: tuple[NodeId, ...]) -> bool:
        """Forget the promises of all other nodes; return whether the log of one of them was being fetched:
        then call `look` again."""
        self.promises = {node: said for node, said in self.promises.items() if node in replicas}
        if self.holder is None or self.holder in replicas:
            return False
        self.holder = None
        self._primary.context.count("takeover_looked_again")
        self._primary.replica.drop_staging()
        self._primary.replica.matched = Index(0)  # the log that it must match is another one now
        return True

    def held_by(self, peer: NodeId) -> tuple[Epoch, Index] | None:
        """Return the last entry that a peer is known to hold durably, and to keep while it lives."""
        primary = self._primary
        if not primary.started:  # nothing was sent there yet, so it holds the log of its promise
            told = self.promises.get(peer)
            return (told.last_epoch, told.last_index) if told is not None else None
        match, log = primary.progress.match.get(peer), primary.replica.log
        if match is None:
            return None
        return log.epoch_at(match) if match >= log.floor_index else Epoch(0), match

    def fetch(self) -> None:
        """Ask the holder of the greatest log for what follows the committed prefix, which both share."""
        assert self.holder is not None
        primary, context = self._primary, self._primary.context
        primary.progress.heard[self.holder] = context.now
        if self.holder in context.links:
            question = Fetch(primary.replica.partition, primary.epoch, self._fetched_to())
            context.send(self.holder, question)

    def _fetched_to(self) -> Index:
        replica = self._primary.replica
        return max(replica.commit, replica.matched)

    def on_entries(self, peer: NodeId, message: Entries) -> None:
        """Adopt fetched entries; continue until the holder's whole log is here."""
        primary, replica = self._primary, self._primary.replica
        if peer != self.holder or message.epoch != primary.epoch:
            return
        if message.prev_index > self._fetched_to() or not replica.log.matches(
            message.prev_epoch, message.prev_index
        ):
            return  # an answer to an older request
        last = replica.extend(message.prev_index, message.entries)
        replica.matched = max(replica.matched, last)  # equals the holder's log, and is not cut any more
        target = self.promises[peer]
        if replica.matched < target.last_index:
            self.fetch()
            return
        if replica.log.last_index > target.last_index:
            replica.cut_after(target.last_index)  # an older epoch's longer tail: the holder's is greater
        assert (replica.log.last_epoch, replica.log.last_index) == (target.last_epoch, target.last_index)
        self.holder = None
        primary.begin()

    def on_tick(self) -> None:
        """Ask a silent holder again."""
        primary = self._primary
        if self.holder is not None:
            silent = primary.context.now - primary.progress.heard.get(self.holder, 0)
            if silent >= limits.RESEND_MS:
                self.fetch()
