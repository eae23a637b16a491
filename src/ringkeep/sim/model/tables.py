"""What the numbers in a state stand for; each thing is stored once."""

from collections.abc import Sequence
from typing import NamedTuple

from ringkeep.core.protocol.cluster_map import Partition
from ringkeep.sim.model.bounds import ModelBounds
from ringkeep.sim.model.layout import Layout
from ringkeep.sim.model.local_states import LocalState, LocalStates, LogTuple
from ringkeep.sim.model.mail import Frames, Queues
from ringkeep.sim.model.maps import Change, next_places
from ringkeep.sim.model.numbers import Numbers


class Past(NamedTuple):
    """The history that the invariants need, though no node may hold it any more. `committed`: every entry
    that any node has considered committed. `seen`: the newest version that a client received. `reads`: (read,
    `seen` when it began) of those without an answer.
    """

    committed: LogTuple = ()
    seen: int = 0
    reads: tuple[tuple[int, int], ...] = ()


class Spent(NamedTuple):
    """The part of the bounds that is used up."""

    puts: int = 0
    again: int = 0
    reads: int = 0
    crashes: int = 0
    cuts: int = 0
    steps: int = 0


class Tables:
    """Looks things up by the numbers in a state.

    `chains`: the maps that some node does not know yet, the newest last, as numbers of places.
    """

    def __init__(self, bounds: ModelBounds, permutations: Sequence[Sequence[int]]) -> None:
        self.bounds = bounds
        self.layout = Layout(bounds.nodes, permutations)
        self.frames = Frames()
        self.queues = Queues(self.frames)
        self.locals = LocalStates(bounds, permutations, self.frames)
        self.chains: Numbers[tuple[int, ...]] = Numbers()
        self.pasts: Numbers[Past] = Numbers()
        self.spents: Numbers[Spent] = Numbers()

    def nodes_of(self, state: Sequence[int]) -> list[LocalState]:
        """Return the state of each node."""
        return [self.locals.states[node] for node in state[: self.layout.nodes]]

    def newest(self, state: Sequence[int]) -> tuple[int, Partition]:
        """Return (number, place) of the partition in the register."""
        chain = self.chains.things[state[self.layout.chain]]
        return self.locals.places.things[chain[-1]]

    def place_numbered(self, state: Sequence[int], number: int) -> int:
        """Return the partition's `number`-th place, which some node does not know yet."""
        chain = self.chains.things[state[self.layout.chain]]
        return next(place for place in chain if self.locals.places.things[place][0] == number)

    def next_places(self, state: Sequence[int]) -> list[Change]:
        """Return what the controller may write next."""
        number, part = self.newest(state)
        steps = self.bounds.steps - self.spents.things[state[self.layout.spent]].steps
        epochs = self.bounds.epochs - part.epoch
        if epochs <= 0 and steps <= 0:
            return []
        return next_places(number, part, self.nodes_of(state), epochs, steps)
