"""What can happen next in a state of the world.

A move is a kind and its arguments: nodes, and numbers that mean the same in every exploration, so that a path
can be repeated.
"""

from typing import Any, Final

from ringkeep.sim.model.layout import State
from ringkeep.sim.model.local_states import LocalState
from ringkeep.sim.model.machine import NUMBERS
from ringkeep.sim.model.tables import Spent, Tables

Move = tuple[Any, ...]

BY_ITSELF: Final = frozenset(("take", "sync", "learn", "nudge", "give up"))
"""Moves without an outside cause: they happen sooner or later."""


def moves_of(tables: Tables, state: State) -> list[Move]:
    """Return every move that the bounds allow."""
    bounds, layout = tables.bounds, tables.layout
    spent = tables.spents.things[state[layout.spent]]
    chain = tables.chains.things[state[layout.chain]]
    found: list[Move] = [("take", a, b) for a, b in layout.pairs if state[layout.queue[a, b]]]
    for node in range(layout.nodes):
        local = tables.locals.states[state[node]]
        found += [("sync", node, batches) for batches in range(1, local.unsynced + 1)]
        if local.place != chain[-1]:
            unknown = chain[chain.index(local.place) + 1 :]
            found += [("learn", node, tables.locals.places.things[place][0]) for place in unknown]
        if local.active:
            found += _requests(tables, node, spent)
        found += _ticks(tables, state, node, local)
        if spent.crashes < bounds.crashes:
            found += [("crash", node, keep) for keep in range(local.unsynced + 1)]
    if spent.cuts < bounds.cuts:
        found += [("cut", a, b) for a, b in layout.pairs]
    return found + [("map", what) for what, _ in tables.next_places(state)]


def _requests(tables: Tables, node: int, spent: Spent) -> list[Move]:
    """A client asks an ACTIVE primary: for the next write, once more for an earlier one, or for a read."""
    found: list[Move] = []
    if spent.puts < tables.bounds.puts:
        found.append(("put", node, spent.puts + 1))
    if spent.again < tables.bounds.again:
        found += [("again", node, number) for number in range(1, spent.puts + 1)]
    if spent.reads < tables.bounds.reads:
        found.append(("read", node, spent.reads + 1))
    return found


def _ticks(tables: Tables, state: State, node: int, local: LocalState) -> list[Move]:
    """What a node does at a tick, each part as a move of its own. A silent peer is asked again, and a surplus
    replica asks for its release, once no answer is in flight any more.
    """
    found: list[Move] = [
        ("nudge", node, peer) for peer in local.silent if _is_quiet(tables, state, node, peer)
    ]
    if tables.bounds.commits and local.untold:
        found.append(("tell", node))
    if tables.bounds.applies and local.applied < local.commit:
        found.append(("apply", node))
    if local.surplus:
        part = tables.locals.places.things[local.place][1]
        if _is_quiet(tables, state, node, NUMBERS[part.primary]):
            found.append(("give up", node))
    return found


def _is_quiet(tables: Tables, state: State, node: int, peer: int) -> bool:
    """Return whether nothing is in flight between two nodes that could still bring an answer."""
    queue = tables.layout.queue
    on_its_way = state[queue[node, peer]] or state[queue[peer, node]]
    return not on_its_way and not tables.locals.states[state[peer]].unsynced
