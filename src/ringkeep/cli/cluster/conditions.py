"""When a drain or a decommission is over, judged by what the cluster shows of the node.

Each goal is made with the member as it was when the order was taken.
"""

from ringkeep.cli.cluster.cluster_poller import ClusterPoller
from ringkeep.cli.cluster.responses import Json, cell, counted, items, number, same_member
from ringkeep.cli.cluster.wait import Look, frozen, held_up, transfer
from ringkeep.cli.terminal.failure import Failure

GIVES_UP: tuple[str, ...] = ("draining", "leaving")
"""The states in which a node hands its primaries over."""


STAYS: tuple[str, ...] = ("active", "joining")
"""Those after an order was taken back; joining: it is given anew what it has lost meanwhile."""


class Drained:
    """The goal of `drain`: the node leads nothing, or only what nobody else could."""

    def __init__(self, watched: ClusterPoller, member: Json) -> None:
        self._watched = watched
        self._before = member
        self._name = str(member.get("name"))
        self._primaries = number(member, "primaries")
        self._taken = False

    def __call__(self, cluster: Json) -> Look:
        """Judge it. Raises Failure if the order was taken back."""
        member = same_member(cluster, self._before)
        if member is None:
            return Look(f"{self._name} has left the cluster meanwhile")
        led = number(member, "primaries")
        if member.get("state") in GIVES_UP:
            self._taken = True
            if not led:
                gone = counted(self._primaries, "primary", "primaries")
                return Look(f"{self._name} leads nothing any more ({gone} handed over)")
            if self._alone() == led:
                kept = counted(led, "partition")
                return Look(f"{self._name} leads only {kept} of which no other node has a replica that votes")
        elif self._taken and member.get("state") in STAYS:
            raise Failure(f"{self._name} is not drained any more: the order was taken back")
        return Look(None, counted(led, "primary", "primaries"), reasons=self._reasons(cluster))

    def _alone(self) -> int:
        mine = [part for part in self._watched.partitions() if part.get("primary") == self._name]
        return sum(part.get("voters") == [self._name] and not part.get("old_voters") for part in mine)

    def _reasons(self, cluster: Json) -> tuple[str, ...]:
        silent = [
            cell(each.get("name"))
            for each in items(cluster, "members")
            if each.get("state") in ("suspect", "dead") and number(each, "replicas")
        ]
        return (*frozen(cluster), *([f"no answer from {', '.join(silent)}"] if silent else ()))


class Left:
    """The goal of `decommission`: the node is no member any more."""

    def __init__(self, watched: ClusterPoller, member: Json) -> None:
        self._watched = watched
        self._before = member
        self._name = str(member.get("name"))
        self._replicas = number(member, "replicas")
        self._taken = False

    def __call__(self, cluster: Json) -> Look:
        """Judge it. Raises Failure if the order was taken back."""
        member = same_member(cluster, self._before)
        if member is None:
            return Look(f"{self._name} has left ({counted(self._replicas, 'replica')} moved to the others)")
        if member.get("state") == "leaving":
            self._taken = True
        elif self._taken and member.get("state") in STAYS:
            raise Failure(f"{self._name} stays: the order was taken back")
        return replicas_left(self._watched, cluster, member)


class GivenUp:
    """The goal of `decommission --dead`: nothing counts on the node any more."""

    def __init__(self, watched: ClusterPoller, member: Json) -> None:
        self._watched = watched
        self._before = member
        self._name = str(member.get("name"))
        self._replicas = number(member, "replicas")

    def __call__(self, cluster: Json) -> Look:
        """Judge it."""
        member = same_member(cluster, self._before)
        if member is None or (member.get("state") == "dead" and not number(member, "replicas")):
            made = counted(self._replicas, "replica")
            return Look(f"{self._name} is given up ({made} copied anew to other nodes)")
        return replicas_left(self._watched, cluster, member)


def replicas_left(watched: ClusterPoller, cluster: Json, member: Json) -> Look:
    """Return how far it is with a node that loses its replicas."""
    name, moves = str(member.get("name")), watched.moves()
    left = counted(number(member, "replicas"), "replica")
    return Look(None, left, transfer(moves, name), held_up(cluster, moves, name))
