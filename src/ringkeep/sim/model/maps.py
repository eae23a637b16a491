"""What the controller may write next: by the real rules of the core, at every moment that they allow.

Suspicions of a primary, and newcomers being given up, may happen at any time. The report of a primary that a
map needs is made when that map is written. A report that outlives its primary would lead to the same map:
only that node, restarted in between, would have read the one before, and no longer leads.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import Final

from ringkeep.core.cluster.replica_changes import ChangeProgress, begin, step_on
from ringkeep.core.protocol.cluster_map import Partition
from ringkeep.core.protocol.messages import Said
from ringkeep.core.protocol.types import Epoch, Incarnation, NodeId
from ringkeep.sim.checks.map_rules import illegal
from ringkeep.sim.model.local_states import LocalState
from ringkeep.sim.model.machine import IDS, map_of, version_of

Change = tuple[str, Partition]
"""A description of the change, for people, and the partition's next place."""

_FIRST_LIFE: Final = Incarnation(1)


def next_places(
    number: int, part: Partition, nodes: Sequence[LocalState], epochs: int, steps: int
) -> list[Change]:
    """Return every place that may follow the partition's `number`-th one.

    `epochs`: how many more there may be. `steps`: how many more changes of replicas.
    """
    found = _leaders(part, nodes) if epochs > 0 else []
    if steps > 0:
        found += _steps(number, part, nodes)
    for what, place in found:
        _assert_legal(number, part, place, what, len(nodes))
    return found


def _leaders(part: Partition, nodes: Sequence[LocalState]) -> list[Change]:
    """Another voter leads, of both sets while joint; or the same one, if it was restarted."""
    found: list[Change] = []
    for voter, local in zip(IDS, nodes, strict=False):
        fit = voter in part.voters and (not part.old_voters or voter in part.old_voters)
        if fit and (voter, local.life) != (part.primary, part.incarnation):
            following = replace(part, epoch=Epoch(part.epoch + 1), primary=voter, incarnation=local.life)
            found.append((f"n{local.node + 1} is to lead epoch {following.epoch}", following))
    return found


def _never(_: NodeId) -> bool:
    return False


def _steps(number: int, part: Partition, nodes: Sequence[LocalState]) -> list[Change]:
    """The change of replicas goes one step on, or back, or a new one begins."""
    version = version_of(number + 1)
    said = {(what, who) for local in nodes for _, epoch, config, what, who in local.said
            if (epoch, config) == (part.epoch, part.config)}  # fmt: skip
    progress = ChangeProgress(
        caught_up=any(what == Said.CAUGHT_UP and who == part.learner for what, who in said),
        settled=any(what == Said.SETTLED for what, _ in said),
        active=any(local.active and local.primary == part.epoch for local in nodes),
    )
    found: list[Change] = []
    if part.old_voters or part.learner is not None:
        on = step_on(part, version, progress, _never, _never, len(part.voters))
        back = step_on(part, version, ChangeProgress(), lambda _: True, _never, len(part.voters))
        found += [("the change goes on", on)] if on is not None else []
        found += [("the change is taken back", back)] if back is not None else []
        return found
    for newcomer in [node for node in IDS[: len(nodes)] if node not in part.voters]:
        for leaver in [voter for voter in part.voters if voter != part.primary]:
            target = tuple(newcomer if voter == leaver else voter for voter in part.voters)
            place = begin(part, target, version, progress, lambda _: True, lambda _: True)
            if place is not None:
                found.append(
                    (f"n{IDS.index(newcomer) + 1} learns, to replace n{IDS.index(leaver) + 1}", place)
                )
    return found


def _assert_legal(number: int, part: Partition, place: Partition, what: str, count: int) -> None:
    """7. The map allows only such steps."""
    version = version_of(number + 1)
    before = map_of(version_of(number + 1, -1), part, count, 0, _FIRST_LIFE)
    reason = illegal(before, map_of(version, place, count, 0, _FIRST_LIFE))
    assert not reason, f"{what}: {reason}"
