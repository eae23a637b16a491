"""Both clients have the same names, and take the same arguments."""

import inspect
from typing import Any

import pytest

from ringkeep.client.asynchronous import cached as asynchronous_cached
from ringkeep.client.asynchronous import client as asynchronous_client
from ringkeep.client.asynchronous import lock as asynchronous_lock
from ringkeep.client.asynchronous import watch as asynchronous_watch
from ringkeep.client.blocking import cached, client, lock, watch

PAIRS = [
    (client.Client, asynchronous_client.AsyncClient),
    (client.Batch, asynchronous_client.AsyncBatch),
    (client.Transaction, asynchronous_client.AsyncTransaction),
    (cached.Cached, asynchronous_cached.AsyncCached),
    (lock.Lock, asynchronous_lock.AsyncLock),
    (watch.Watch, asynchronous_watch.AsyncWatch),
]


def public(kind: type[Any]) -> dict[str, list[tuple[str, object]]]:
    """Return the public names of a class, with the parameters and defaults of its methods."""
    return {
        name: [(each.name, each.default) for each in inspect.signature(found).parameters.values()]
        if inspect.isfunction(found)
        else []
        for name, found in inspect.getmembers(kind)
        if not name.startswith("_")
    }


@pytest.mark.parametrize(("blocking", "asynchronous"), PAIRS, ids=lambda kind: kind.__name__)
def test_they_are_used_alike(blocking: type[Any], asynchronous: type[Any]) -> None:
    assert public(blocking) == public(asynchronous)
