"""Deliberate breaks of what readers of changes are promised. See `mutants.py`. They show in the worlds that
have readers.
"""

from collections.abc import Callable
from typing import Any

from tests.sim.mutants import patched

from ringkeep.core.protocol.entry import decode
from ringkeep.core.protocol.feed import NOW, Refusal
from ringkeep.core.protocol.messages import Changes
from ringkeep.core.protocol.types import Index, PartitionId
from ringkeep.core.replication.replica import Replica
from ringkeep.core.replication.told_changes import changes_of
from ringkeep.core.requests import followers
from ringkeep.core.requests.feeds import Feeds
from ringkeep.core.requests.followers import Followers
from ringkeep.sim.feeds import readers


def change_told_before_commit() -> Any:
    """A primary tells what it has appended."""

    def make(read: Any) -> Any:
        def mutant(replica: Replica, after: Index, rows: int, size: int) -> Any:
            if after < replica.log.floor_index:
                return read(replica, after, rows, size)
            entries = replica.log.slice(after, rows, size)
            return [
                (Index(number), changes_of(replica.partition, decode(entry)))
                for number, entry in enumerate(entries, after + 1)
            ]

        return mutant

    return patched(followers, "read_changes", make)


def change_skipped_at_a_handover() -> Any:
    """The next node is asked for what follows the entry after the position."""

    def make(detach: Any) -> Any:
        def mutant(self: Feeds, tail: Any, avoid_ms: int = 0) -> None:
            detach(self, tail, avoid_ms)
            if tail.position != NOW:
                tail.position = Index(tail.position + 1)

        return mutant

    return patched(Feeds, "_detach", make)


def _jumps(concerned: Callable[[Replica], bool]) -> Any:
    """A replica that does not reach back goes on where its history begins, and says nothing."""

    def make(give_back: Any) -> Any:
        def mutant(
            self: Followers, follower: Any, partition: PartitionId, why: Refusal, answer: Changes
        ) -> None:
            replica = self._replicas.get(partition)
            if why != Refusal.CUT or replica is None or not concerned(replica):
                give_back(self, follower, partition, why, answer)
                return
            follower.read[partition] = replica.history.begin
            follower.unsaid[partition] = follower.behind[partition] = None

        return mutant

    return patched(Followers, "_give_back", make)


def change_skipped_at_a_snapshot() -> Any:
    """A replica that has taken a snapshot tells what follows that."""
    return _jumps(lambda replica: not replica.history.size)


def history_cut_under_a_reader() -> Any:
    """A replica whose history was cut tells what is left."""
    return _jumps(lambda replica: replica.history.size > 0)


def bookmark_inside_a_batch() -> Any:
    """A bookmark comes when the first change of an entry has been told."""

    def make(tell: Any) -> Any:
        def mutant(self: Feeds, feed: Any, events: list[Any]) -> None:
            tell(self, feed, events[:1])
            if not feed.unknown:
                positions = {partition: tail.position for partition, tail in feed.tails.items()}
                self._mark(feed, positions, 0)
            if events[1:]:
                tell(self, feed, events[1:])

        return mutant

    return patched(Feeds, "_tell", make)


def gone_by_one_replicas_word() -> Any:
    """A feed ends as soon as one replica does not reach back."""
    return patched(Feeds, "_is_gone", lambda _: lambda self, tail: bool(tail.cut))


def now_without_confirmation() -> Any:
    """A feed from now on begins at what the replica that is asked has applied."""

    def make(begin: Any) -> Any:
        def mutant(self: Followers, follower: Any, partition: PartitionId, after: Index) -> None:
            replica = self._replicas.get(partition)
            if after == NOW and replica is not None:
                self.begin_now(follower, replica)
            else:
                begin(self, follower, partition, after)

        return mutant

    return patched(Followers, "_begin", make)


def cursor_that_skips_a_partition() -> Any:
    """A cursor's text leaves out where the last partition was: it goes on from now."""

    def make(decode: Any) -> Any:
        def mutant(cluster_id: str, text: str, partitions: int) -> Any:
            positions = decode(cluster_id, text, partitions)
            positions[PartitionId(partitions - 1)] = NOW
            return positions

        return mutant

    return patched(readers, "decode_cursor", make)


OF_FEEDS: dict[str, Callable[[], Any]] = {
    "change told before commit": change_told_before_commit,
    "change skipped at a handover": change_skipped_at_a_handover,
    "change skipped at a snapshot": change_skipped_at_a_snapshot,
    "history cut under a reader": history_cut_under_a_reader,
    "bookmark inside a batch": bookmark_inside_a_batch,
    "gone by one replica's word": gone_by_one_replicas_word,
    "cursor that skips a partition": cursor_that_skips_a_partition,
    "now without confirmation": now_without_confirmation,
}
