"""Deliberate breaks of how a partition goes on after a loss for good. See `mutants.py`."""

from collections.abc import Callable
from typing import Any

from tests.sim.mutants import patched

from ringkeep.core.cluster import quorum_loss
from ringkeep.core.cluster.observations import Copy
from ringkeep.core.control.copy_survey import CopySurvey
from ringkeep.core.protocol import limits
from ringkeep.core.replication import replica
from ringkeep.core.replication.replica import Replica


def only_voters_count_as_copies() -> Any:
    """A learner's copy is no copy, nor is one that the map has given up."""

    def make(copies_of: Any) -> Any:
        def mutant(now: Any, number: int, reachability: Any) -> Any:
            voters = quorum_loss.voters_of(now.partitions[number])
            return tuple(node for node in copies_of(now, number, reachability) if node in voters)

        return mutant

    return patched(quorum_loss, "copies_of", make)


def any_copy_does() -> Any:
    """The first copy goes on, and not the most advanced."""

    def make(copies_of: Any) -> Any:
        return lambda now, number, reachability: tuple(sorted(copies_of(now, number, reachability)))

    return patched(quorum_loss, "copies_of", make)


def silence_taken_for_loss() -> Any:
    """Whoever is silent, and not registered, is gone, though nobody has said so."""

    def make(objection: Any) -> Any:
        def mutant(now: Any, subject: str, reachability: Any, lost: Any) -> Any:
            return objection(now, subject, reachability, [node.id for node in now.nodes])

        return mutant

    return patched(quorum_loss, "objection", make)


def unsaid_taken_for_nothing() -> Any:
    """Who has not said what it holds holds nothing."""

    def make(copy: Any) -> Any:
        return lambda self, node, number: copy(self, node, number) or Copy()

    return patched(CopySurvey, "copy", make)


def versions_go_on_from_the_copy() -> Any:
    """The indices go on where the best copy ends, though the lost ones have used the next."""
    return patched(limits, "RECOVERY_STEP", lambda _: 1)


def end_of_the_copy_keeps_its_versions() -> Any:
    """What the copy does not know to be committed is taken for committed, under its old indices."""

    def make(continue_above: Any) -> Any:
        def mutant(self: Replica, base: Any, epoch: Any) -> None:
            self.commit = self.log.last_index
            continue_above(self, base, epoch)

        return mutant

    return patched(Replica, "continue_above", make)


def end_of_the_copy_dropped() -> Any:
    """What the copy does not know to be committed is left out."""
    return patched(replica, "renumbered", lambda _: lambda entries, epoch, above: [])


OF_LOSSES: dict[str, Callable[[], Any]] = {
    "only voters count as copies": only_voters_count_as_copies,
    "any copy does": any_copy_does,
    "silence taken for loss": silence_taken_for_loss,
    "unsaid taken for nothing": unsaid_taken_for_nothing,
    "versions go on from the copy": versions_go_on_from_the_copy,
    "end of the copy keeps its versions": end_of_the_copy_keeps_its_versions,
    "end of the copy dropped": end_of_the_copy_dropped,
}
