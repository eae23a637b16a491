"""Conditions that `drain` and `decommission` wait for, evaluated on what `/v1/cluster` says of the node.

Each is made with the member as it was when the order was accepted.
"""

from ringkeep.cli.cluster.cluster_poller import ClusterPoller
from ringkeep.cli.cluster.responses import Json, cell, counted, items, number, same_member
from ringkeep.cli.cluster.wait import Look, frozen, held_up, transfer
from ringkeep.cli.terminal.failure import Failure

GIVES_UP: tuple[str, ...] = ("draining", "leaving")
"""The states in which a node hands its primaries over."""


STAYS: tuple[str, ...] = ("active", "joining")
"""The states after an order was cancelled; joining: the node gets back the replicas it has lost meanwhile."""


class Drained:
    """The condition of `drain`: the node leads nothing, or only partitions that no other node could lead."""

    def __init__(self, poller: ClusterPoller, member: Json) -> None:
        self._poller = poller
        self._before = member
        self._name = str(member.get("name"))
        self._primaries = number(member, "primaries")
        self._taken = False

    def __call__(self, cluster: Json) -> Look:
        """Evaluate it. Raises Failure if the order was cancelled."""
        member = same_member(cluster, self._before)
        if member is None:
            return Look(f"{self._name} has left the cluster meanwhile")
        led = number(member, "primaries")
        if member.get("state") in GIVES_UP:
            self._taken = True
            if not led:
                moved = counted(self._primaries, "primary", "primaries")
                return Look(f"{self._name} leads nothing any more ({moved} handed over)")
            if self._alone() == led:
                kept = counted(led, "partition")
                return Look(f"{self._name} still leads {kept} without a voter on any other node")
        elif self._taken and member.get("state") in STAYS:
            raise Failure(f"{self._name} is not being drained any more: the order was cancelled")
        return Look(None, counted(led, "primary", "primaries"), reasons=self._reasons(cluster))

    def _alone(self) -> int:
        mine = [part for part in self._poller.partitions() if part.get("primary") == self._name]
        return sum(part.get("voters") == [self._name] and not part.get("old_voters") for part in mine)

    def _reasons(self, cluster: Json) -> tuple[str, ...]:
        silent = [
            cell(each.get("name"))
            for each in items(cluster, "members")
            if each.get("state") in ("suspect", "dead") and number(each, "replicas")
        ]
        return (*frozen(cluster), *([f"no answer from {', '.join(silent)}"] if silent else ()))


class Left:
    """The condition of `decommission`: the node is not a member any more."""

    def __init__(self, poller: ClusterPoller, member: Json) -> None:
        self._poller = poller
        self._before = member
        self._name = str(member.get("name"))
        self._replicas = number(member, "replicas")
        self._taken = False

    def __call__(self, cluster: Json) -> Look:
        """Evaluate it. Raises Failure if the order was cancelled."""
        member = same_member(cluster, self._before)
        if member is None:
            return Look(f"{self._name} has left ({counted(self._replicas, 'replica')} moved to the others)")
        if member.get("state") == "leaving":
            self._taken = True
        elif self._taken and member.get("state") in STAYS:
            raise Failure(f"{self._name} stays: the order was cancelled")
        return replicas_left(self._poller, cluster, member)


class GivenUp:
    """The condition of `decommission --dead`: no partition has a replica on the node any more."""

    def __init__(self, poller: ClusterPoller, member: Json) -> None:
        self._poller = poller
        self._before = member
        self._name = str(member.get("name"))
        self._replicas = number(member, "replicas")

    def __call__(self, cluster: Json) -> Look:
        """Evaluate it."""
        member = same_member(cluster, self._before)
        if member is None or (member.get("state") == "dead" and not number(member, "replicas")):
            made = counted(self._replicas, "replica")
            return Look(f"{self._name} is given up ({made} rebuilt on other nodes)")
        return replicas_left(self._poller, cluster, member)


def replicas_left(poller: ClusterPoller, cluster: Json, member: Json) -> Look:
    """Return the progress of a node that loses its replicas."""
    name, moves = str(member.get("name")), poller.moves()
    left = counted(number(member, "replicas"), "replica")
    return Look(None, left, transfer(moves, name), held_up(cluster, moves, name))
