"""Deliberate breaks of what nodes say of the cluster's health. See `mutants.py`."""

from collections.abc import Callable
from typing import Any

from tests.sim.mutants import patched

from ringkeep.core.replication.in_sync import InSync


def laggard_in_sync() -> Any:
    """A voter that answers counts as in sync, whatever it holds."""

    def make(lagging: Any) -> Any:
        def mutant(self: InSync, voters: Any, answering: Any, *others: Any) -> list[Any]:
            return [voter for voter in voters if voter not in answering]

        return mutant

    return patched(InSync, "lagging", make)


def nobody_lags() -> Any:
    """A primary counts the voters that the map names, and does not look at them."""
    return patched(InSync, "lagging", lambda _: lambda self, *others: [])


OF_HEALTH: dict[str, Callable[[], Any]] = {
    "laggard in sync": laggard_in_sync,
    "nobody lags": nobody_lags,
}
