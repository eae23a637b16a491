"""Finds coordinators that have ended for good, so that the de-duplication table drops their rows.

A primary executes a write only for a coordinator whose present life the map names, and a life that has left
the map never comes back to it. So once a primary has such a map, neither it nor a later one executes another
copy from there: a later primary has its epoch from a newer map. Copies that are in the log already come
before the entry that says who is forgotten. Being an entry, it takes effect at the same index on every
replica.
"""

from typing import Final, Protocol

from ringkeep.core.context import Context
from ringkeep.core.protocol.cluster_map import ClusterMap, NodeState
from ringkeep.core.protocol.entry import EntryKind, origins_tail
from ringkeep.core.protocol.types import Index, origin_of
from ringkeep.core.replication.replica import Replica

AT_ONCE: Final = 1_000
"""So many are named by one entry."""


def coordinators_of(cluster_map: ClusterMap) -> frozenset[bytes]:
    """Return the origins whose writes may be executed."""
    return frozenset(origin_of(n.id, n.incarnation) for n in cluster_map.nodes if n.state != NodeState.DEAD)


class Leader(Protocol):
    """A primary, as far as this needs it."""

    context: Context
    replica: Replica

    @property
    def may_execute(self) -> bool: ...

    def append_own(self, kind: EntryKind, tail: bytes = b"") -> Index: ...


class Departed:
    """One primary's look for coordinators that its partition may forget."""

    __slots__ = ("_coordinators", "_from", "_primary")

    def __init__(self, primary: Leader) -> None:
        self._primary = primary
        self._coordinators: frozenset[bytes] = frozenset()
        self._from = Index(0)  # what is applied up to here tells all who were known; 0: nobody is looked for

    @property
    def waits(self) -> bool:
        """Whether there is somebody to be looked for still."""
        return bool(self._from) or self._coordinators != self._primary.context.coordinators

    def on_tick(self) -> None:
        """Append what is to be forgotten, after a change of the map and at the beginning of an epoch."""
        primary = self._primary
        context, replica = primary.context, primary.replica
        if not primary.may_execute or not context.disks.own.takes_entries:
            return
        if self._coordinators != context.coordinators:
            self._coordinators, self._from = context.coordinators, replica.log.last_index
        if not self._from or replica.applied < self._from:
            return
        gone = sorted(replica.state.sessions.origins - self._coordinators)
        self._from = Index(0)
        if gone:
            context.count("coordinators_forgotten")
            primary.append_own(EntryKind.FORGET, origins_tail(gone[:AT_ONCE]))
            if len(gone) > AT_ONCE:
                self._from = replica.log.last_index
