"""Finds coordinators that have left the map, so that the de-duplication table drops their rows.

A primary executes a write only for a coordinator whose present life the map names, and a life that has left
the map never returns to it. So once a primary has such a map, neither it nor a later one executes another
copy from that life: a later primary has its epoch from a newer map. Copies already in the log come before the
FORGET entry. As an entry, it takes effect at the same index on every replica.
"""

from typing import Final, Protocol

from ringkeep.core.context import Context
from ringkeep.core.protocol.cluster_map import ClusterMap, NodeState
from ringkeep.core.protocol.entry import EntryKind, origins_tail
from ringkeep.core.protocol.types import Index, origin_of
from ringkeep.core.replication.replica import Replica

AT_ONCE: Final = 1_000
"""How many coordinators one entry may name."""


def coordinators_of(cluster_map: ClusterMap) -> frozenset[bytes]:
    """Return the origins whose writes may be executed."""
    return frozenset(origin_of(n.id, n.incarnation) for n in cluster_map.nodes if n.state != NodeState.DEAD)


class Leader(Protocol):
    """What `Departed` uses of a primary."""

    context: Context
    replica: Replica

    @property
    def may_execute(self) -> bool: ...

    def append_own(self, kind: EntryKind, tail: bytes = b"") -> Index: ...


class Departed:
    """One primary's search for coordinators that its partition may forget."""

    __slots__ = ("_coordinators", "_from", "_primary")

    def __init__(self, primary: Leader) -> None:
        self._primary = primary
        self._coordinators: frozenset[bytes] = frozenset()
        self._from = Index(0)  # search once everything up to here is applied; 0: no search is due

    @property
    def waits(self) -> bool:
        """Whether a search is still due."""
        return bool(self._from) or self._coordinators != self._primary.context.coordinators

    def on_tick(self) -> None:
        """Append a FORGET entry if one is due, after a change of the map and at the beginning of an epoch."""
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
