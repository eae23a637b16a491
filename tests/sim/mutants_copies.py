"""Deliberate breaks of how older and other copies of a disk are found out. See `mutants.py`."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from tests.sim.mutants import patched

from ringkeep.core.replication.peer_progress import PeerProgress
from ringkeep.driver.enrolment import Enrolment


def mark_not_compared() -> Any:
    """A start takes its directory for the newest, as long as it knows the life of the mark."""

    def make(compare: Any) -> Any:
        def mutant(self: Enrolment, mark: Any) -> None:
            compare(self, replace(mark, position=0) if mark is not None else None)

        return mutant

    return patched(Enrolment, "_compare", make)


def loss_overlooked() -> Any:
    """A primary takes a voter's promise as it is, whatever an earlier life of that voter acknowledged."""
    return patched(PeerProgress, "lacks", lambda _: lambda *arguments: False)


def others_not_looked_for() -> Any:
    """A start speaks for its node, whoever else is registered as that node."""
    return patched(Enrolment, "on_members", lambda on_members: lambda self, members: on_members(self, []))


OF_COPIES: dict[str, Callable[[], Any]] = {
    "mark not compared": mark_not_compared,
    "loss told by a promise overlooked": loss_overlooked,
    "copy beside not looked for": others_not_looked_for,
}
