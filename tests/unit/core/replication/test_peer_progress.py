"""What a peer is sent, as the primary keeps account of it."""

from tests.support.core.parts import B, a_context

from ringkeep.core.protocol.hot_messages import Append
from ringkeep.core.protocol.types import Epoch, Index, PartitionId
from ringkeep.core.replication.budget import Budget
from ringkeep.core.replication.peer_progress import PeerProgress


def test_what_is_sent_again_counts_once_in_what_a_peer_was_given() -> None:
    """A busy newcomer is sent entries twice; a move would seem to have moved more than there is."""
    progress = PeerProgress(a_context(), Budget())
    progress.mark_unknown(B)
    log = [b"x" * size for size in (100, 20, 3, 1000)]  # of index 11 to 14

    def send(first: int, last: int) -> int:
        entries = log[first - 11 : last - 10]
        append = Append(PartitionId(0), Epoch(1), Epoch(1), Index(first - 1), Index(0), entries)
        progress.send(B, append)
        return progress.given[B]

    assert send(11, 12) == 120
    assert send(11, 12) == 120, "all of it again"
    assert send(12, 13) == 123, "a part again, and more"
    assert send(14, 13) == 123, "no entries"
    assert send(11, 14) == 1123
    progress.keep_only(())
    assert B not in progress.given
    progress.mark_unknown(B)
    assert send(13, 14) == 1003, "a peer that becomes one again starts from nothing"
