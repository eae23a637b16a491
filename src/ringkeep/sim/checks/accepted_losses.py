"""The loss that a history may show: writes acknowledged and lost when a recovery was ordered."""

from collections.abc import Iterable
from dataclasses import dataclass

from ringkeep.core.cluster.slots import partition_of
from ringkeep.core.protocol.types import Millis
from ringkeep.sim.histories.history import Operation


@dataclass(frozen=True, slots=True)
class AcceptedLoss:
    """A loss: the versions of a partition above `kept`, up to `base`. Some of those writes have new versions.
    `since`: when the first of them was committed. `until`: when the survivor continued.
    """

    partition: int
    kept: int
    base: int
    since: Millis
    until: Millis

    def has_lost(self, version: int) -> bool:
        return self.kept < version <= self.base


def repeated(history: Iterable[Operation], accepted: Iterable[AcceptedLoss], partitions: int) -> str:
    """Return which version was given out twice, or is seen again after it was lost; "" if none is."""
    given: dict[tuple[int, int], Operation] = {}
    losses = list(accepted)
    for each in history:
        number = partition_of(each.key, partitions)
        if each.outcome == "ok" and each.kind != "get" and each.version:
            other = given.setdefault((number, each.version), each)
            if other is not each:
                return f"partition {number}: version {each.version} was given out twice: {other}; {each}"
        for loss in losses:
            if loss.partition == number and each.start > loss.until and loss.has_lost(each.version):
                return f"partition {number}: version {each.version} was lost, and is seen again: {each}"
    return ""


def forgive(history: Iterable[Operation], accepted: Iterable[AcceptedLoss], partitions: int) -> None:
    """Return the history without what these losses excuse. A lost write becomes one of unknown outcome: a
    copy of it may be in the remaining log. Answers that may be based on lost entries become unknown too.
    """
    losses = list(accepted)
    for each in history:
        for loss in losses:
            if loss.partition == partition_of(each.key, partitions) and _is_void(each, loss):
                each.outcome, each.version, each.end, each.read = "unknown", 0, None, None


def _is_void(operation: Operation, loss: AcceptedLoss) -> bool:
    if operation.kind != "get" and operation.outcome == "ok":
        return loss.has_lost(operation.version)
    ended_before = operation.end is not None and operation.end < loss.since
    return not ended_before and operation.start < loss.until
