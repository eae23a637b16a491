"""Deliberate breaks of the controller and of changes of membership. See `mutants.py`."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from tests.sim.mutants import patched, together

from ringkeep.core.cluster import planner
from ringkeep.core.cluster.observations import Statement
from ringkeep.core.control import controller
from ringkeep.core.control.controller import Controller
from ringkeep.core.dispatch import Dispatch
from ringkeep.core.liveness.heartbeat_relay import Relay
from ringkeep.core.node import Node
from ringkeep.core.protocol.messages import Said
from ringkeep.core.protocol.rows import NO_NODE
from ringkeep.core.protocol.types import Index
from ringkeep.core.replication.primary import Primary
from ringkeep.core.replication.replica_set import ReplicaSet
from ringkeep.sim.checks import all_checks

_NEXT_STEPS = (Said.CAUGHT_UP, Said.SETTLED)


def delayed_report_counts() -> Any:
    """A report about an earlier change completes a later one."""

    def make(next_map: Any) -> Any:
        def mutant(now: Any, seen: Any) -> Any:
            said = []
            for each in seen.statements:
                if each.what in _NEXT_STEPS and each.partition < len(now.partitions):
                    part = now.partitions[each.partition]
                    each = replace(each, epoch=part.epoch, config=part.config)
                said.append(each)
            return next_map(now, replace(seen, statements=said))

        return mutant

    return patched(controller, "next_map", make)


def single_step_replacement() -> Any:
    """A voter is replaced at once, without a joint step."""

    def make(step_on: Any) -> Any:
        def mutant(*arguments: Any) -> Any:
            after = step_on(*arguments)
            return replace(after, old_voters=()) if after is not None and after.old_voters else after

        return mutant

    return patched(planner, "step_on", make)


def single_step_unseen() -> Any:
    """The same, and nobody looks at the maps: what comes of it must be seen."""
    return together(single_step_replacement(), patched(all_checks, "illegal", lambda _: lambda old, new: ""))


def learner_counted() -> Any:
    """A learner's copy counts for a voter's that is behind."""

    def make(on_stirred: Any) -> Any:
        def mutant(self: Primary) -> None:
            match, learner = self.progress.match, self.place.learner
            copied = match.get(learner, Index(0)) if learner is not None else Index(0)
            weakest = min(self.place.voters, key=lambda voter: match.get(voter, 0))
            before = match.get(weakest)
            if copied > (before or 0):
                match[weakest] = copied
            on_stirred(self)
            if copied > (before or 0):
                if before is None:
                    match.pop(weakest, None)
                else:
                    match[weakest] = before

        return mutant

    return patched(Primary, "on_stirred", make)


def replica_deleted_early() -> Any:
    """A voter that is to be replaced deletes its replica as soon as the joint change begins."""

    def make(follow: Any) -> Any:
        def mutant(self: ReplicaSet, found: Any) -> None:
            follow(self, found)
            for partition, replica in list(self.replicas.items()):
                if self._context.me not in found.partitions[partition].voters and replica.primary is None:
                    if self._context.me == found.partitions[partition].learner:
                        continue
                    del self.replicas[partition]
                    self._deleted[partition] = None
                    replica.delete()

        return mutant

    return patched(ReplicaSet, "follow", make)


def barrier_opened_early() -> Any:
    """The cluster is formed before everybody who is expected is there."""

    def make(form: Any) -> Any:
        def mutant(self: Controller) -> None:
            members, self.members = self.members, [replace(m, expect=1) for m in self.members]
            form(self)
            self.members = members

        return mutant

    return patched(Controller, "_form", make)


def lost_registration_taken_for_death() -> Any:
    """Whoever is not registered in ZooKeeper is dead."""

    def make(successor: Any) -> Any:
        def mutant(part: Any, incarnations: Any, seen: Any, statement: Any, last: Any) -> Any:
            if statement is None and all(member.id != part.primary for member in seen.members):
                statement = Statement(0, part.epoch, part.config, Said.FAILED, NO_NODE)
            return successor(part, incarnations, seen, statement, last)

        return mutant

    return patched(planner, "_successor", make)


def one_suspicion_is_enough() -> Any:
    """Any one voter's suspicion deposes a primary: under a partial partition they take turns."""

    def make(_: Any) -> Any:
        def mutant(part: Any, suspicions: Any) -> bool:
            voters = (*part.voters, *part.old_voters)
            return any(part.primary in (suspicions(node) or ()) for node in voters if node != part.primary)

        return mutant

    return patched(planner, "_suspected_by_majority", make)


def nothing_relayed() -> Any:
    """Nobody passes heartbeats on: a controller knows what its own links tell it."""
    return patched(Relay, "pass_on", lambda _: lambda self: None)


def reports_not_passed_on() -> Any:
    """Orders and statements reach the controller by their sender's own link only."""
    return patched(Node, "_say", lambda say: lambda self, report: None if report.hops else say(self, report))


def far_newcomer_waited_for() -> Any:
    """A primary that cannot hear its learner keeps it, and the move stands still."""
    return patched(Controller, "_is_apart", lambda _: lambda self, current: lambda part: False)


def release_by_own_link_only() -> Any:
    """A former holder asks for its release on its own link to the primary, and nowhere else."""
    return patched(Dispatch, "_pass_on", lambda _: lambda self, to, message: None)


def unsteering_controller_waited_for() -> Any:
    """The first in line is the controller, though it says that ZooKeeper does not answer it."""

    def make(_: Any) -> Any:
        return lambda self, node: node == self._context.me or not self._relay.silent(node)

    return patched(Controller, "_stands", make)


def relayed_word_outlives_its_source() -> Any:
    """What was relayed once is believed for ever: nobody looks whether a path to its sender still stands."""

    def make(_: Any) -> Any:
        return lambda self: {node: node for node in self._words if self._detector.suspects(node)}

    return patched(Relay, "_look_for_ways", make)


OF_THE_MAP: dict[str, Callable[[], Any]] = {
    "delayed report counts": delayed_report_counts,
    "single-step replacement": single_step_replacement,
    "single-step replacement, maps not looked at": single_step_unseen,
    "learner counted": learner_counted,
    "replica deleted early": replica_deleted_early,
    "barrier opened early": barrier_opened_early,
    "lost registration taken for death": lost_registration_taken_for_death,
    "one suspicion is enough": one_suspicion_is_enough,
    "nothing relayed": nothing_relayed,
    "reports not passed on": reports_not_passed_on,
    "newcomer out of reach waited for": far_newcomer_waited_for,
    "release by one's own link only": release_by_own_link_only,
    "controller without ZooKeeper waited for": unsteering_controller_waited_for,
    "relayed word outlives its source": relayed_word_outlives_its_source,
}
