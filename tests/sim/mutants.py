"""Deliberate breaks of the rules, for tests only: each must be caught by the simulator.

A mutant replaces one method for as long as its context lasts. What it breaks is in its name.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

from ringkeep.core.context import Context
from ringkeep.core.messages import Acks
from ringkeep.core.node import Node
from ringkeep.core.primary import Primary
from ringkeep.core.reads import Reads
from ringkeep.core.replica import Replica
from ringkeep.core.rows import Promised, promised_key
from ringkeep.core.sessions import Sessions
from ringkeep.core.snapshots import Staging
from ringkeep.core.types import Incarnation


@contextmanager
def patched(owner: type, name: str, make: Callable[[Any], Any]) -> Iterator[None]:
    """Replace a method by `make(original)`."""
    original = getattr(owner, name)
    setattr(owner, name, make(original))
    try:
        yield
    finally:
        setattr(owner, name, original)


def ack_before_fsync() -> Any:
    """A backup acknowledges, and the primary counts its own copy, when written and not when durable."""

    def make(end: Any) -> Any:
        def mutant(self: Context) -> Any:
            durable = self.durable
            for peer, items in durable.acks.items():
                self.send(peer, Acks(items))
            durable.acks = {}
            for primary, index in durable.own.items():
                primary.match[self.me] = index
            return end(self)

        return mutant

    return patched(Context, "end", make)


def read_without_confirm() -> Any:
    """A primary that believes to be ACTIVE reads at once."""

    def make(_: Any) -> Any:
        def mutant(self: Reads, primary: Primary, call: Any, result: Any, evidence: Any) -> None:
            self._serve(primary, (call, result, evidence))

        return mutant

    return patched(Reads, "add", make)


def promise_not_persisted() -> Any:
    """The promise is kept in memory only, and forgotten by a crash."""

    def make(promise: Any) -> Any:
        def mutant(self: Replica, *arguments: Any) -> Any:
            found = promise(self, *arguments)
            self.context.effects.batch.meta.pop(promised_key(self.partition), None)
            return found

        return mutant

    return patched(Replica, "promise", make)


def epoch_resumed_after_restart() -> Any:
    """A restarted primary goes on in its old epoch, as if one epoch did not belong to one incarnation."""

    def make(follow: Any) -> Any:
        def mutant(self: Node, partition: Any) -> None:
            follow(self, partition)
            context, replica = self.context, self.replicas[partition]
            place = context.cluster_map.partitions[partition]
            held = replica.promised
            if place.primary == context.me and replica.primary is None and held.epoch == place.epoch:
                context.recognised = True
                replica.promised = Promised(held.epoch, context.me, context.incarnation)
                replica.primary = Primary(context, replica, replace(place, incarnation=context.incarnation))
                replica.primary.start()

        return mutant

    return patched(Node, "_follow", make)


def promise_ignores_incarnation() -> Any:
    """Voters do not look at the incarnation of the holder of an epoch."""

    def make(promise: Any) -> Any:
        def mutant(self: Replica, epoch: Any, node: Any, incarnation: Incarnation) -> Any:
            if (epoch, node) == (self.promised.epoch, self.promised.node):
                self.promised = Promised(epoch, node, incarnation)
            return promise(self, epoch, node, incarnation)

        return mutant

    return patched(Replica, "promise", make)


@contextmanager
def epoch_resumed() -> Iterator[None]:
    """Both halves of the mistake: the primary resumes, and the voters let it."""
    with epoch_resumed_after_restart(), promise_ignores_incarnation():
        yield


def deduplication_lost_in_a_snapshot() -> Any:
    """The receiver of a snapshot forgets which requests took effect."""

    def make(switch: Any) -> Any:
        def mutant(self: Staging) -> None:
            before = self.replica.generation
            switch(self)
            if self.replica.generation != before:
                self.replica.state.sessions = Sessions()

        return mutant

    return patched(Staging, "switch", make)


MUTANTS: dict[str, Callable[[], Any]] = {
    "ack before fsync": ack_before_fsync,
    "read without confirm": read_without_confirm,
    "promise not persisted": promise_not_persisted,
    "epoch resumed after restart": epoch_resumed,
    "de-duplication lost in a snapshot": deduplication_lost_in_a_snapshot,
}
